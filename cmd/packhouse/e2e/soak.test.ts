import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { startServer, type TestPeer, type TestServer, testStores } from '../../../internal/testkit/mod.ts';
import { CHUNKED_BYTES, checkRepository, readOnce, Writer } from './soak-testing.ts';

/** How long each soak takes; `make soak` takes longer. */
const SECONDS = Number(process.env.SOAK_SECONDS ?? 20);
const SEED = Number(process.env.SOAK_SEED ?? 1);
const WRITERS = 3;

/** Everything is due at once, and what is replaced or unreachable goes within seconds. */
const HURRIED = {
  PACKHOUSE_MAINTENANCE_INTERVAL: '500ms',
  PACKHOUSE_MAINTENANCE_LEASE: '3s',
  PACKHOUSE_SEAL_AGE: '1s',
  PACKHOUSE_SEAL_PACKS: '5',
  PACKHOUSE_SEAL_CRATE_BYTES: '1MiB',
  PACKHOUSE_SWEEP_INTERVAL: '3s',
  PACKHOUSE_SWEEP_RETENTION: '4s',
  PACKHOUSE_SWEEP_CONDEMNED_PERCENT_MAX: '100',
  PACKHOUSE_FETCH_MAX_DURATION: '10s',
  PACKHOUSE_MAINTENANCE_READER_MARGIN: '1s',
  PACKHOUSE_SNAPSHOT_INTERVAL: '3s',
  PACKHOUSE_CHUNKING_THRESHOLD: `${CHUNKED_BYTES}`,
  PACKHOUSE_CHUNKING_MIN: '4KiB',
  PACKHOUSE_CHUNKING_AVG: '16KiB',
  PACKHOUSE_CHUNKING_MAX: '64KiB',
};

for (const store of testStores()) {
  // Killing takes the long form: leases pass, and much is left half done.
  for (const kills of SECONDS >= 60 ? [false, true] : [false]) {
    describe(`maintenance under load on ${store}${kills ? ', killed at random' : ''}`, () => {
      test(`nothing acknowledged is lost and nothing wrong is served (SOAK_SEED=${SEED})`, async (context) => {
        const server = await startServer({ store, env: { ...HURRIED, PACKHOUSE_MAINTENANCE_ENABLED: 'false' } });
        let maintainer: TestPeer | null = null;
        try {
          maintainer = await server.startPeer({ PACKHOUSE_MAINTENANCE_ENABLED: 'true' });
          await soak(server, maintainer, kills, (line) => context.diagnostic(line));
        } finally {
          await maintainer?.stop();
          await server.close();
        }
      });
    });
  }
}

async function soak(server: TestServer, maintainer: TestPeer, kills: boolean, say: (line: string) => void): Promise<void> {
  const deadline = performance.now() + SECONDS * 1000;
  const going = (): boolean => performance.now() < deadline;
  const writers = await Promise.all(Array.from({ length: WRITERS }, (_, i) => Writer.create(`soak/r${i}`, SEED * 100 + i)));
  for (const writer of writers) await writer.step(server.url);
  let clones = 0;
  let missed = 0;
  let killed = 0;
  const write = async (writer: Writer): Promise<void> => {
    while (going()) await writer.step(server.url);
  };
  const read = async (): Promise<void> => {
    for (let i = 0; going(); i++) {
      if ((await readOnce(server.url, writers[i % WRITERS]!)) === null) missed++;
      else clones++;
    }
  };
  const kill = async (): Promise<void> => {
    let wait = SEED;
    while (going()) {
      wait = (wait * 7919 + 13) % 2500;
      await sleep(300 + wait);
      await maintainer.kill9();
      killed++;
      await maintainer.restart();
    }
  };
  await Promise.all([...writers.map(write), read(), ...(kills ? [kill()] : [])]);

  for (const writer of writers) await checkRepository(server.url, writer);
  const fsck = await server.packhouse('fsck');
  assert.equal(fsck.code, 0, fsck.stdout + fsck.stderr);
  const swaps = await server.query<{ reason: string; count: string }>(
    'select reason, count(*) from pack_swaps group by reason order by reason',
  );
  const pushes = writers.reduce((sum, writer) => sum + writer.pushes, 0);
  const done = swaps.map(({ reason, count }) => `${count} ${reason}`).join(', ');
  say(`${pushes} pushes, ${clones} clones (${missed} lost a ref while they asked), ${killed} kills; swaps: ${done}`);
  assert(pushes > WRITERS && clones > 0, 'clients did something');
  assert(
    swaps.some(({ reason }) => reason === 'seal'),
    'something was sealed',
  );
  const [left] = await server.query<{ count: string }>('select count(*) from packs where state = $1', ['superseded']);
  const [made] = await server.query<{ id: string }>('select last_value as id from pack_ids');
  say(`${left?.count} replaced packs wait to be deleted, ${made?.id} pack ids were drawn`);
  if (kills) assert(killed > 0, 'the maintainer was killed');
}
