import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  buildPack,
  FastImport,
  git,
  makeRepository,
  readPushAnswer,
  seededRandom,
  sendPush,
  startServer,
  type TestPeer,
  type TestServer,
  tryGit,
  wireRequest,
  ZERO_OID,
} from '../../../internal/testkit/mod.ts';
import { TcpRoundRobin } from './balancer-testing.ts';
import { Reader, refsOf, startPeers } from './fleet-testing.ts';
import { RoundRobin } from './round-robin-testing.ts';
import { checkRepository, Writer } from './soak-testing.ts';

const IS_LONG = process.env.TORTURE_SECONDS !== undefined;
const SEED = Number(process.env.TORTURE_SEED ?? 1);
const SERVERS = 3;
const WRITERS = 3;
const PUSHES = IS_LONG ? 300 : 12;
const RACES = IS_LONG ? 200 : 12;
const RACERS = 8;
const MAINTAINING = {
  PACKHOUSE_MAINTENANCE_ENABLED: 'true',
  PACKHOUSE_MAINTENANCE_INTERVAL: '200ms',
  PACKHOUSE_SEAL_PACKS: '4',
};

describe(`${SERVERS} servers on one catalog and one store`, () => {
  let server: TestServer;
  let peers: TestPeer[];
  let urls: string[];
  before(async () => {
    server = await startServer();
    peers = await startPeers(server, Array(SERVERS).fill(MAINTAINING));
    urls = peers.map(({ url }) => url);
  });
  after(async () => {
    await Promise.all(peers.map((peer) => peer.stop()));
    await server.close();
  });

  /** A verb of the command line, which is a process of its own. */
  async function verb(...args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await server.packhouse(...args);
    assert.equal(code, 0, stderr);
    return stdout;
  }

  test('what one has acknowledged all show at once: refs that were made, moved, forced back and deleted, and their objects', async (context) => {
    const path = '/fleet/refs.git';
    const readers = await Promise.all(
      Array.from({ length: WRITERS }, async (_, i) => new Reader(SEED, i, path, await makeRepository(), urls)),
    );
    // One after the other: the first push makes the repository.
    for (const reader of readers) await reader.push();
    await Promise.all(
      readers.map(async (reader) => {
        for (let i = 1; i < PUSHES; i++) await reader.push();
      }),
    );
    const [swaps] = await server.query<{ count: string }>('select count(*) from pack_swaps');
    const looks = readers.reduce((sum, reader) => sum + reader.looks, 0);
    context.diagnostic(`seed ${SEED}: ${WRITERS * PUSHES} pushes, ${looks} looks, ${swaps?.count} swaps of packs meanwhile`);
  });

  test('what a verb has done to a repository all show at once: name, visibility, deletion and return, HEAD', async () => {
    const local = await makeRepository();
    const importer = new FastImport(1_760_000_000);
    for (const ref of ['refs/heads/main', 'refs/heads/side']) importer.commit(ref, { [ref]: 'x\n' }, { parents: [] });
    await importer.into(local);
    await git(['push', '-q', `${urls[0]}/fleet/one.git`, 'main', 'side'], { cwd: local });
    const statuses = (name: string) =>
      Promise.all(
        urls.map(async (url) => (await wireRequest(`${url}/fleet/${name}.git/info/refs?service=git-upload-pack`)).status),
      );
    const all = (status: number): number[] => urls.map(() => status);
    assert.deepEqual(await statuses('one'), all(200));
    await verb('repo', 'rename', 'fleet/one', 'fleet/two');
    assert.deepEqual([await statuses('one'), await statuses('two')], [all(404), all(200)]);
    await verb('repo', 'delete', 'fleet/two');
    assert.deepEqual(await statuses('two'), all(404));
    await verb('undelete', 'fleet/two');
    assert.deepEqual(await statuses('two'), all(200));
    await verb('repo', 'set-head', 'fleet/two', 'side');
    for (const url of urls)
      assert.match(await git(['ls-remote', '--symref', `${url}/fleet/two.git`, 'HEAD']), /^ref: refs\/heads\/side\tHEAD$/m);
    await verb('repo', 'fork', 'fleet/two', 'fleet/three');
    assert.deepEqual(await statuses('three'), all(200));
    await verb('repo', 'create', 'fleet/four');
    assert.deepEqual(await statuses('four'), all(200));
  });

  test('what was done to tokens and visibility all servers go by with the next request', async () => {
    const guarded = await startPeers(server, Array(SERVERS).fill({ PACKHOUSE_AUTH_MODE: 'token' }));
    try {
      await verb('repo', 'create', 'fleet/guarded');
      const statuses = (token?: string) =>
        Promise.all(
          guarded.map(async ({ url }) => {
            const headers = token === undefined ? {} : { Authorization: `Basic ${Buffer.from(`x:${token}`).toString('base64')}` };
            return (await wireRequest(`${url}/fleet/guarded.git/info/refs?service=git-upload-pack`, { headers })).status;
          }),
        );
      const all = (status: number): number[] => guarded.map(() => status);
      assert.deepEqual(await statuses(), all(200));
      await verb('repo', 'visibility', 'fleet/guarded', 'private');
      assert.deepEqual(await statuses(), all(401));
      const { token } = JSON.parse(await verb('token', 'create', 'fleet', '--owner', 'fleet', '--json')) as { token: string };
      assert.deepEqual(await statuses(token), all(200));
      await verb('token', 'revoke', 'fleet');
      assert.deepEqual(await statuses(token), all(401));
      await verb('repo', 'visibility', 'fleet/guarded', 'public');
      assert.deepEqual(await statuses(), all(200));
    } finally {
      await Promise.all(guarded.map((peer) => peer.stop()));
    }
  });

  test('of pushes that race for a ref through all of them one wins, and the others are told so in the words of git', async (context) => {
    const path = '/fleet/races.git';
    const local = await makeRepository();
    const importer = new FastImport(1_760_000_000);
    const candidates = Array.from({ length: RACERS + 1 }, (_, i) => `refs/heads/c${i}`);
    for (const [i, ref] of candidates.entries()) importer.commit(ref, { file: `${i}\n` }, { parents: [] });
    await importer.into(local);
    await git(['push', '-q', urls[0]! + path, 'refs/heads/c*:refs/heads/c*'], { cwd: local });
    const oids = await Promise.all(candidates.map((ref) => git(['rev-parse', ref], { cwd: local })));
    const nothing = buildPack([]);
    /** What the catalog must have by now, in order: the log has to say the same. */
    const log: string[] = [];
    const now = new Map<string, string>();
    const random = seededRandom(SEED);
    let refused = 0;

    /** Each racer's updates; those of one win whole. */
    async function race(racers: readonly (readonly [ref: string, oid: string])[][], atomic: boolean): Promise<void> {
      const capabilities = `report-status${atomic ? ' atomic' : ''}`;
      const results = await Promise.all(
        racers.map(async (updates, i) => {
          const full = updates.map(([ref, oid]) => [now.get(ref) ?? ZERO_OID, oid, ref] as const);
          const pack = updates.every(([, oid]) => oid === ZERO_OID) ? Buffer.alloc(0) : nothing;
          return readPushAnswer(await sendPush(urls[i % SERVERS]! + path, full, pack, { capabilities })).lines;
        }),
      );
      const winners = results.flatMap((lines, i) => (lines.some((line) => line.startsWith('ok ')) ? [i] : []));
      assert.equal(winners.length, 1, JSON.stringify(results));
      for (const [i, lines] of results.entries()) {
        const [unpacked, ...reports] = lines;
        assert.equal(unpacked, 'unpack ok');
        if (i === winners[0])
          assert(
            reports.every((line) => line.startsWith('ok ')),
            JSON.stringify(lines),
          );
        else {
          refused++;
          for (const line of reports)
            assert.match(line, /^ng refs\/heads\/\S+ (failed to update ref|atomic transaction failed)$/);
        }
      }
      for (const [ref, oid] of racers[winners[0]!]!) {
        log.push(`${ref} ${now.get(ref) ?? null} ${oid === ZERO_OID ? null : oid}`);
        if (oid === ZERO_OID) now.delete(ref);
        else now.set(ref, oid);
      }
      const seen = await Promise.all(urls.map((url) => refsOf(url + path, 'refs/heads/')));
      for (const refs of seen)
        for (const ref of ['x', 'a', 'b'].map((name) => `refs/heads/${name}`)) assert.equal(refs.get(ref), now.get(ref));
    }

    for (let i = 0; i < RACES; i++) {
      const [x, a, b] = ['refs/heads/x', 'refs/heads/a', 'refs/heads/b'] as const;
      // Each brings another value than the one there is.
      const values = oids.filter((oid) => oid !== now.get(x) && oid !== now.get(a) && oid !== now.get(b));
      const kind = i < 2 ? i : random(4);
      if (kind === 0)
        await race(
          values.map((oid) => [[x, oid]]),
          false,
        );
      else if (kind === 1)
        await race(
          values.map((oid, at) =>
            at % 2 === 0
              ? [
                  [a, oid],
                  [b, oid],
                ]
              : [
                  [b, oid],
                  [a, oid],
                ],
          ),
          true,
        );
      else if (kind === 2 && now.has(x))
        await race(
          values.map((oid, at) => [[x, at % 2 === 0 ? oid : ZERO_OID]]),
          false,
        );
      else if (kind === 2) continue;
      else
        await race(
          values.map((oid) => [
            [a, oid],
            [b, oid],
            [x, oid],
          ]),
          true,
        );
    }
    const rows = await server.query<{ told: string }>(
      `select ref || ' ' || coalesce(old_oid, 'null') || ' ' || coalesce(new_oid, 'null') as told from v_pushes
         where repository = 'fleet/races' and ref in ('refs/heads/x', 'refs/heads/a', 'refs/heads/b') order by push_id, ref`,
    );
    const byRef = (lines: readonly string[]): unknown => Object.groupBy(lines, (line) => line.slice(0, line.indexOf(' ')));
    assert.deepEqual(byRef(rows.map((row) => row.told)), byRef(log), 'the push log tells of the winners, in order');
    context.diagnostic(`seed ${SEED}: ${RACES} races of ${RACERS}, ${refused} losers refused`);
  });

  test('when git clients race, those who lose are told to fetch first, or that the ref moved', async () => {
    const url = (i: number): string => `${urls[i % SERVERS]}/fleet/clients.git`;
    const locals = await Promise.all(Array.from({ length: 4 }, () => makeRepository()));
    let parents: string[] = [];
    for (let round = 0; round < 3; round++) {
      const pushed = await Promise.all(
        locals.map(async (local, i) => {
          const importer = new FastImport(1_760_000_000 + round * 10 + i);
          importer.commit('refs/heads/next', { file: `${round} ${i}\n` }, { parents });
          await importer.into(local);
          return tryGit(['push', '-q', url(i), 'refs/heads/next:refs/heads/main'], { cwd: local });
        }),
      );
      const won = pushed.flatMap(({ status }, i) => (status === 0 ? [i] : []));
      assert.equal(won.length, 1, pushed.map(({ stderr }) => stderr).join(''));
      for (const { status, stderr } of pushed) {
        if (status === 0) continue;
        assert.match(
          stderr,
          /! \[(remote rejected|rejected)\] +next -> main \((failed to update ref|fetch first|non-fast-forward)\)/,
        );
      }
      const tip = await git(['rev-parse', 'refs/heads/next'], { cwd: locals[won[0]!]! });
      for (const [i, local] of locals.entries()) {
        await git(['fetch', '-q', url(i + 1), '+refs/heads/main:refs/heads/main'], { cwd: local });
        assert.equal(await git(['rev-parse', 'main'], { cwd: local }), tip);
      }
      parents = [tip];
    }
  });

  test('one that is killed while it holds a ref keeps nobody from it, and one that is frozen no longer than a statement may take', async (context) => {
    const local = await makeRepository();
    const importer = new FastImport(1_760_000_000);
    for (const ref of ['one', 'two', 'three', 'four', 'five'])
      importer.commit(`refs/heads/${ref}`, { file: ref }, { parents: [] });
    await importer.into(local);
    const path = '/fleet/held.git';
    await git(['push', '-q', urls[0]! + path, 'one:main'], { cwd: local });
    const commits = ['two', 'three', 'four', 'five'];
    for (const end of ['SIGKILL', 'SIGSTOP'] as const) {
      const holder = await server.startPeer({
        PACKHOUSE_FAILPOINTS: 'push.before-commit=sleep(120000)',
        PACKHOUSE_PUSH_TAIL_BYTES_MAX: '1',
        PACKHOUSE_DATABASE_STATEMENT_TIMEOUT: '3s',
      });
      try {
        const [mine, next] = commits.splice(0, 2) as [string, string];
        const held = tryGit(['push', '-q', holder.url + path, `+${mine}:main`], { cwd: local });
        const deadline = performance.now() + 60_000;
        const idle = `select 1 from pg_stat_activity where datname = current_database() and state = 'idle in transaction'`;
        while ((await server.query(idle)).length === 0) {
          assert(performance.now() < deadline, 'the push holds its ref');
          await sleep(20);
        }
        const pushing = tryGit(['push', '-q', urls[1]! + path, `+${next}:main`], { cwd: local });
        if (end === 'SIGKILL') await sleep(300);
        process.kill(holder.pid, end);
        const began = performance.now();
        const { status, stderr } = await pushing;
        assert.equal(status, 0, stderr);
        context.diagnostic(`${end}: the next push was through after ${Math.round(performance.now() - began)} ms`);
        const tip = await git(['rev-parse', next], { cwd: local });
        if (end === 'SIGSTOP') process.kill(holder.pid, 'SIGCONT');
        await sleep(200);
        for (const url of urls) assert.equal((await refsOf(url + path, 'refs/')).get('refs/heads/main'), tip);
        await holder.kill9();
        assert.notEqual((await held).status, 0);
      } finally {
        await holder.kill9();
      }
    }
  });

  test('when one is killed, clients of the others notice nothing, and a balancer passes it over', async (context) => {
    const victim = peers[SERVERS - 1]!;
    const [requests, connections] = [await RoundRobin.start(() => urls), await TcpRoundRobin.start(() => urls)];
    const writers = await Promise.all([0, 1, 2, 3].map((i) => Writer.create(`fleet/kill${i}`, SEED * 10 + i, true)));
    const routes = [urls[0]!, urls[1]!, requests.url, connections.url];
    try {
      for (const [i, writer] of writers.entries()) while (writer.pushes === 0) await writer.step(routes[i]!);
      let going = true;
      const loops = writers.map(async (writer, i) => {
        while (going) await writer.step(routes[i]!);
      });
      const goOn = async (): Promise<void> => {
        const goals = writers.map(({ pushes }) => pushes + 2);
        const deadline = performance.now() + 60_000;
        while (writers.some(({ pushes }, i) => pushes < goals[i]!)) {
          assert(performance.now() < deadline, 'pushes go on');
          await sleep(20);
        }
      };
      await goOn();
      await victim.kill9();
      const failedBefore = writers.map(({ failures }) => failures.length);
      await sleep(500);
      const failedBy = writers.map(({ failures }) => failures.length);
      await goOn();
      going = false;
      await Promise.all(loops);
      assert.deepEqual(
        writers.slice(0, 2).flatMap(({ failures }) => failures),
        [],
        'they had nothing to do with it',
      );
      for (const { failures } of writers) assert(failures.length <= 1, 'at most what was on its way breaks');
      context.diagnostic(
        `failed pushes: ${failedBefore.join(' ')} at the kill, ${failedBy.join(' ')} soon after; ${writers.map(({ sent }) => sent.length).join(' ')} sent`,
      );
      for (const [i, writer] of writers.entries()) await checkRepository(routes[i]!, writer);
      await victim.restart();
      await checkRepository(victim.url, writers[0]!);
    } finally {
      await requests.stop();
      await connections.stop();
    }
  });
});
