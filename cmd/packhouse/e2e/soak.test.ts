import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { seededRandom, startServer, type TestPeer, type TestServer, testStores } from '../../../internal/testkit/mod.ts';
import { checkRepository, HURRIED, readOnce, SWEPT_UNDER_THE_CLIENT, Writer } from './soak-testing.ts';

/** How long each soak takes. `make soak` takes longer, and kills whoever does the maintenance when told to; `make torture` kills all. */
const SECONDS = Number(process.env.SOAK_SECONDS ?? 20);
const SEED = Number(process.env.SOAK_SEED ?? 1);
const KILLS = process.env.SOAK_KILLS === 'yes';
const WRITERS = 3;
/** How long a maintenance that had little of the machine is waited for. */
const SEALED_MS_MAX = 120_000;
/** How long maintenance lasts at least before it is killed, and at most beyond that: it gets something done. */
const LASTS_MS_MIN = 500;
const LASTS_MS_SPREAD = 20_000;

for (const store of testStores()) {
  describe(`maintenance under load on ${store}`, () => {
    test(`nothing acknowledged is lost, nothing wrong is served and no push fails (SOAK_SEED=${SEED})`, async (context) => {
      const server = await startServer({ store, env: { ...HURRIED, PACKHOUSE_MAINTENANCE_ENABLED: 'false' } });
      let maintainer: TestPeer | null = null;
      try {
        maintainer = await server.startPeer({ PACKHOUSE_MAINTENANCE_ENABLED: 'true' });
        await soak(server, maintainer, (line) => context.diagnostic(line));
      } finally {
        await maintainer?.stop();
        await server.close();
      }
    });
  });
}

/** Kills the process at random and starts another; how often. */
async function killAgainAndAgain(maintainer: TestPeer, going: () => boolean): Promise<number> {
  const random = seededRandom(SEED);
  let kills = 0;
  while (going()) {
    await sleep(LASTS_MS_MIN + random(LASTS_MS_SPREAD));
    await maintainer.kill9();
    await maintainer.restart();
    kills++;
  }
  return kills;
}

async function soak(server: TestServer, maintainer: TestPeer, say: (line: string) => void): Promise<void> {
  const deadline = performance.now() + SECONDS * 1000;
  const going = (): boolean => performance.now() < deadline;
  const killing = KILLS ? killAgainAndAgain(maintainer, going) : Promise.resolve(0);
  const writers = await Promise.all(Array.from({ length: WRITERS }, (_, i) => Writer.create(`soak/r${i}`, SEED * 100 + i)));
  for (const writer of writers) await writer.step(server.url);
  let clones = 0;
  let missed = 0;
  const write = async (writer: Writer): Promise<void> => {
    while (going()) await writer.step(server.url);
  };
  const read = async (): Promise<void> => {
    for (let i = 0; going(); i++) {
      const found = await readOnce(server.url, writers[i % WRITERS]!);
      if (typeof found !== 'string') clones++;
      else {
        assert.match(found, SWEPT_UNDER_THE_CLIENT);
        missed++;
      }
    }
  };
  await Promise.all([...writers.map(write), read(), killing]);

  for (const writer of writers) await checkRepository(server.url, writer);
  const fsck = await server.packhouse('fsck');
  assert.equal(fsck.code, 0, fsck.stdout + fsck.stderr);
  const swapsNow = (): Promise<{ reason: string; count: string }[]> =>
    server.query('select reason, count(*) from pack_swaps group by reason order by reason');
  const isSealed = (): boolean => swaps.some(({ reason }) => reason === 'seal');
  let swaps = await swapsNow();
  for (const end = performance.now() + SEALED_MS_MAX; !isSealed() && performance.now() < end; swaps = await swapsNow())
    await sleep(200);
  const pushes = writers.reduce((sum, writer) => sum + writer.pushes, 0);
  const done = swaps.map(({ reason, count }) => `${count} ${reason}`).join(', ');
  say(`${pushes} pushes, ${clones} clones (${missed} lost a ref while they asked), ${await killing} kills; swaps: ${done}`);
  assert(pushes > WRITERS && clones > 0, 'clients did something');
  assert(isSealed(), 'something was sealed');
  const [left] = await server.query<{ count: string }>('select count(*) from packs where state = $1', ['superseded']);
  const [made] = await server.query<{ id: string }>('select last_value as id from pack_ids');
  say(`${left?.count} replaced packs wait to be deleted, ${made?.id} pack ids were drawn`);
}
