import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { FAILPOINTS } from '../../../internal/base/mod.ts';
import { seededRandom, startServer, type TestPeer, type TestServer, testStores } from '../../../internal/testkit/mod.ts';
import { assertNothingLeft } from './leftovers-testing.ts';
import { RoundRobin } from './round-robin-testing.ts';
import { checkRepository, HURRIED, readOnce, Writer } from './soak-testing.ts';
import { assertLogTells } from './torture-testing.ts';

/** `make torture` takes longer, ends at so many kills, and prints the seed: the choices are its, the timing is the machine's. */
const SECONDS = Number(process.env.TORTURE_SECONDS ?? 12);
const SEED = Number(process.env.TORTURE_SEED ?? 1);
const KILLS_MAX = Number(process.env.TORTURE_KILLS ?? Number.POSITIVE_INFINITY);
const IS_LONG = process.env.TORTURE_SECONDS !== undefined;
const SERVERS = 3;
const WRITERS = IS_LONG ? 4 : 3;
/** How long a server lasts at least before it is killed, and at most beyond that. */
const LASTS_MS_MIN = 300;
const LASTS_MS_SPREAD = 1500;
/** What a client sees of a server that is killed while it is served. */
const CUT =
  /curl (18|52|55|56)|hung up|early EOF|unexpected disconnect|502|503|not our ref|unknown ref|unexpected EOF|expected (flush|packfile|response end)|Empty reply|invalid index-pack|the remote end|protocol error: bad/;

/** The processes, all alike: each serves and has one of its own for maintenance; both are killed at a failpoint, or the first whenever. */
class Victim {
  readonly #peer: TestPeer;
  readonly #random: (below: number) => number;
  atRandom = 0;
  isUp = true;

  constructor(peer: TestPeer, seed: number) {
    this.#peer = peer;
    this.#random = seededRandom(seed);
  }

  get url(): string {
    return this.#peer.url;
  }

  get kills(): number {
    return this.atFailpoints.length + this.atRandom;
  }

  /** Where it was killed by itself, or its maintenance was. */
  get atFailpoints(): readonly string[] {
    return [...this.#peer.log().matchAll(/^failpoint (\S+): kill$/gm)].map(([, name]) => name!);
  }

  /** It is killed while the others are up, so that clients get something done; at failpoints whenever it comes to them. */
  async suffer(going: () => boolean, others: () => readonly Victim[]): Promise<void> {
    for (; ; this.isUp = true) {
      const exited = this.#peer.exited().then(() => true);
      const lastsMs = LASTS_MS_MIN + this.#random(LASTS_MS_SPREAD);
      let died = await Promise.race([exited, sleep(lastsMs).then(() => false)]);
      while (!died && going() && others().some(({ isUp }) => !isUp))
        died = await Promise.race([exited, sleep(20).then(() => false)]);
      if (!going()) break;
      if (!died) this.atRandom++;
      this.isUp = false;
      await this.#peer.kill9();
      await this.#peer.restart({ ...MAINTAINING, PACKHOUSE_FAILPOINTS: this.#arm() });
    }
    await this.#peer.kill9();
    // Clients that wait for an answer get one.
    await this.#peer.restart({ PACKHOUSE_MAINTENANCE_ENABLED: 'false' });
  }

  /** A third waits for a moment of its own, a third for any. */
  #arm(): string {
    const choice = this.#random(3);
    if (choice === 0) return '';
    if (choice === 1) return `any=kill:${1 + this.#random(300)}`;
    return `${FAILPOINTS[this.#random(FAILPOINTS.length)]}=kill:${1 + this.#random(4)}`;
  }

  stop(): Promise<number | null> {
    return this.#peer.stop();
  }
}

const MAINTAINING = { PACKHOUSE_MAINTENANCE_ENABLED: 'true' };

for (const store of testStores()) {
  describe(`${SERVERS} servers on one catalog and ${store}, killed all the time`, () => {
    test(`lose nothing acknowledged and show nothing half (TORTURE_SEED=${SEED})`, async (context) => {
      const server = await startServer({ store, env: { ...HURRIED, PACKHOUSE_MAINTENANCE_ENABLED: 'false' } });
      const victims: Victim[] = [];
      let proxy: RoundRobin | null = null;
      try {
        for (let i = 0; i < SERVERS; i++)
          victims.push(new Victim(await server.startPeer(MAINTAINING, { mayDie: true }), SEED * 1000 + i));
        proxy = await RoundRobin.start(() => victims.map(({ url }) => url));
        await torture(server, victims, proxy.url, (line) => context.diagnostic(line));
      } finally {
        await proxy?.stop();
        await Promise.all(victims.map((victim) => victim.stop()));
        await server.close();
      }
    });
  });
}

async function torture(server: TestServer, victims: readonly Victim[], url: string, say: (line: string) => void): Promise<void> {
  const writers = await Promise.all(Array.from({ length: WRITERS }, (_, i) => Writer.create(`fire/r${i}`, SEED * 100 + i, true)));
  for (const writer of writers) while (writer.pushes === 0) await writer.step(url);
  const killed = (): number => victims.reduce((sum, victim) => sum + victim.kills, 0);
  const deadline = performance.now() + SECONDS * 1000;
  let failed = false;
  const going = (): boolean => performance.now() < deadline && killed() < KILLS_MAX && !failed;
  let clones = 0;
  const missed: string[] = [];
  const write = async (writer: Writer): Promise<void> => {
    while (going()) await writer.step(url);
  };
  const read = async (): Promise<void> => {
    for (let i = 0; going(); i++) {
      const found = await readOnce(url, writers[i % WRITERS]!);
      if (typeof found === 'string') missed.push(found);
      else clones++;
    }
  };
  const all = [
    ...writers.map(write),
    read(),
    ...victims.map((victim) => victim.suffer(going, () => victims.filter((other) => other !== victim))),
  ];
  // The first thing that is found wrong ends it all.
  for (const work of all) work.catch(() => (failed = true));
  const ends = await Promise.allSettled(all);
  const moments = victims.flatMap((victim) => victim.atFailpoints);
  say(`seed ${SEED}: ${killed()} kills, ${moments.length} of them at ${new Set(moments).size} failpoints`);
  const wrong = ends.find((end) => end.status === 'rejected');
  if (wrong !== undefined) throw wrong.reason;

  for (const writer of writers) await checkRepository(url, writer);
  const told = await assertLogTells(server, writers);
  say(`${told.attempts} pushes sent, ${told.acknowledged} acknowledged, ${told.silent} done without the client hearing of it`);
  say(`${clones} clones whole, ${missed.length} cut`);
  const swaps = await server.query<{ told: string }>(
    "select count(*) || ' ' || reason as told from pack_swaps group by reason order by reason",
  );
  say(`swaps: ${swaps.map((row) => row.told).join(', ')}`);
  const odd = [...missed, ...writers.flatMap((writer) => writer.failures)].filter((text) => !CUT.test(text));
  assert.deepEqual([...new Set(odd)], [], 'clients fail only because servers are gone');
  assert(told.acknowledged >= WRITERS && killed() > 0, 'something happened');
  await Promise.all(victims.map((victim) => victim.stop()));
  await assertNothingLeft(server, 3_500);
}
