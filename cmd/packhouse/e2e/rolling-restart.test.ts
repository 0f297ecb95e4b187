import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { startServer, type TestPeer, type TestServer, testStores } from '../../../internal/testkit/mod.ts';
import { Health, TcpRoundRobin } from './balancer-testing.ts';
import { startPeers } from './fleet-testing.ts';
import { RoundRobin } from './round-robin-testing.ts';
import { checkRepository, readOnce, SWEPT_UNDER_THE_CLIENT, Writer } from './soak-testing.ts';

const SERVERS = 3;
const IS_LONG = process.env.TORTURE_SECONDS !== undefined;
const ROUNDS = IS_LONG ? 5 : 1;
const SEED = Number(process.env.TORTURE_SEED ?? 1);
/** Between two questions for /readyz; servers wait many times as long for it to be noticed. */
const CHECK_MS = 100;
const ENV = {
  PACKHOUSE_MAINTENANCE_ENABLED: 'true',
  PACKHOUSE_MAINTENANCE_INTERVAL: '300ms',
  PACKHOUSE_SEAL_PACKS: '5',
  PACKHOUSE_HTTP_DRAIN_DELAY: '2500ms',
};

interface Outcome {
  readonly operations: number;
  readonly failures: readonly string[];
}

/** A rolling restart of all servers while clients push and clone through the URLs, each without a second try of its own. */
async function roll(peers: readonly TestPeer[], urls: readonly string[], rounds: number, seed: number): Promise<Outcome> {
  const writers = await Promise.all(urls.map((_, i) => Writer.create(`roll/r${seed}-${i}`, seed * 100 + i, true)));
  for (const [i, writer] of writers.entries()) while (writer.pushes === 0) await writer.step(urls[i]!);
  let going = true;
  let clones = 0;
  const missed: string[] = [];
  const write = async (writer: Writer, url: string): Promise<void> => {
    while (going) await writer.step(url);
  };
  const read = async (writer: Writer, url: string): Promise<void> => {
    while (going) {
      const found = await readOnce(url, writer);
      clones++;
      if (typeof found === 'string') missed.push(found);
    }
  };
  const clients = urls.flatMap((url, i) => [write(writers[i]!, url), read(writers[i]!, url)]);
  try {
    for (let round = 0; round < rounds; round++) {
      for (const peer of peers) {
        assert.equal(await peer.stop(), 0, peer.log().slice(-4000));
        await peer.restart();
      }
    }
  } finally {
    going = false;
    await Promise.all(clients);
  }
  for (const [i, writer] of writers.entries()) await checkRepository(urls[i]!, writer);
  const pushes = writers.reduce((sum, { sent }) => sum + sent.length, 0);
  // A ref that was deleted while a client asked for it is no failure of servers.
  const lost = missed.filter((text) => !SWEPT_UNDER_THE_CLIENT.test(text));
  return { operations: pushes + clones, failures: [...lost, ...writers.flatMap(({ failures }) => failures)] };
}

async function withPeers(
  store: 'fs' | 's3',
  env: Readonly<Record<string, string>>,
  work: (peers: readonly TestPeer[], server: TestServer) => Promise<void>,
): Promise<void> {
  const server = await startServer({ store });
  const peers: TestPeer[] = [];
  try {
    peers.push(...(await startPeers(server, Array(SERVERS).fill(env))));
    await work(peers, server);
  } finally {
    await Promise.all(peers.map((peer) => peer.stop()));
    await server.close();
  }
}

for (const store of IS_LONG ? testStores() : (['fs'] as const)) {
  describe(`a rolling restart of ${SERVERS} servers (${store})`, () => {
    test('fails no push and no clone behind a balancer that asks for /readyz and knows no second try, of requests or of connections', async (context) => {
      await withPeers(store, ENV, async (peers, server) => {
        const servers = peers.map(({ url }) => url);
        const health = new Health(servers, CHECK_MS);
        const requests = await RoundRobin.start(health.ready, { others: false });
        const connections = await TcpRoundRobin.start(health.ready, { others: false });
        try {
          const { operations, failures } = await roll(peers, [requests.url, connections.url], ROUNDS, SEED);
          context.diagnostic(`${ROUNDS * SERVERS} restarts, ${operations} pushes and clones, ${failures.length} failed`);
          assert.deepEqual(failures, []);
          assert(operations > 10, 'clients did something');
          const fsck = await server.packhouse('fsck');
          assert.equal(fsck.code, 0, fsck.stdout + fsck.stderr);
        } finally {
          await requests.stop();
          await connections.stop();
          await health.stop();
        }
      });
    });

    test('behind one that only passes over who does not accept, loses nothing acknowledged', {
      skip: !IS_LONG,
    }, async (context) => {
      for (const delay of ['0s', '1500ms']) {
        await withPeers(store, { ...ENV, PACKHOUSE_HTTP_DRAIN_DELAY: delay }, async (peers) => {
          const all = (): readonly string[] => peers.map(({ url }) => url);
          const connections = await TcpRoundRobin.start(all);
          try {
            const { operations, failures } = await roll(peers, [connections.url, connections.url], ROUNDS, SEED);
            const said = [...new Set(failures)].join(' | ').slice(0, 500);
            context.diagnostic(`drain_delay ${delay}: ${operations} pushes and clones, ${failures.length} failed: ${said}`);
          } finally {
            await connections.stop();
          }
        });
      }
    });
  });
}
