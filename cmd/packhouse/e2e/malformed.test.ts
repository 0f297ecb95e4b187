import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import {
  bigBlobPack,
  buildPack,
  commitBody,
  describeOnAStore,
  entry,
  fetchCommand,
  git,
  MALFORMED_PACKS,
  oidOf,
  peakMemoryBytes,
  readPushAnswer,
  refusalOf,
  resetPeakMemory,
  SOUND_PACK,
  sendFetch,
  sendPush,
  syntheticHistory,
  wireRequest,
  ZERO_OID,
} from '../../../internal/testkit/mod.ts';

const MIB = 2 ** 20;
const EMPTY_TREE = oidOf('tree', '');
/** The largest thing that a pack may make the server hold is far below what these packs claim. */
const PEAK_BYTES_MAX = 640 * MIB;

describeOnAStore('a malformed pack is refused in a form that git shows', {}, (server) => {
  let url: string;

  /** Everything that a push can change. */
  async function everything(): Promise<string> {
    const rows = await server().query(
      `select (select count(*) from refs) refs, (select count(*) from pushes) pushes, (select count(*) from object_blocks) blocks,
              (select count(*) from packs where state = 'live') packs, (select count(*) from tail_bytes) tails,
              (select count(*) from graph_blocks) graph`,
    );
    return JSON.stringify(rows) + (await git(['ls-remote', url]));
  }

  before(async () => {
    url = `${server().url}/eve/target.git`;
    const local = await syntheticHistory({ commits: 10 }).into();
    await git(['push', '-q', url, 'main'], { cwd: local });
  });

  for (const malformed of MALFORMED_PACKS) {
    test(malformed.name, async () => {
      const pack = malformed.make();
      const { pid } = server();
      const state = await everything();
      resetPeakMemory(pid);
      const answer = await sendPush(url, [[ZERO_OID, malformed.tip, 'refs/heads/evil']], pack);
      const refusal = refusalOf(answer);
      assert.ok(refusal !== undefined, `accepted: ${answer.body.toString('latin1').slice(0, 400)}`);
      assert.notEqual(answer.status, 500, refusal);
      assert.doesNotMatch(refusal, /invariant|TypeError|undefined|RangeError|internal error/i);
      const peak = peakMemoryBytes(pid);
      assert.ok(peak < PEAK_BYTES_MAX, `the server's peak was ${Math.round(peak / MIB)} MiB`);
      assert.equal(server().pid, pid);
      assert.equal(await everything(), state, 'nothing changed');
    });
  }

  test('a zlib bomb that says what it is, 256 MiB in 256 KiB, is a blob like any other, in bounded memory', async () => {
    const { pack, tip } = bigBlobPack();
    assert.ok(pack.length < 0.3 * MIB, `${pack.length}`);
    resetPeakMemory(server().pid);
    const answer = await sendPush(url, [[ZERO_OID, tip, 'refs/heads/zeros']], pack);
    assert.equal(refusalOf(answer), undefined);
    const peak = peakMemoryBytes(server().pid);
    assert.ok(peak < PEAK_BYTES_MAX, `the server's peak was ${Math.round(peak / MIB)} MiB`);
    const rows = await server().query<{ bytes: number }>('select sum(extent_length)::float8 as bytes from packs');
    assert.ok(rows[0]!.bytes < 8 * MIB, `${rows[0]!.bytes} bytes are stored`);
  });

  test('what comes behind a pack is left alone, as git leaves it', async () => {
    const [first, second] = [commitBody(EMPTY_TREE, [], 'first\n'), commitBody(EMPTY_TREE, [], 'second\n')];
    const pack = (commit: Buffer): Buffer => buildPack([entry('tree', ''), entry('commit', commit)]);
    const both = Buffer.concat([pack(first), pack(second)]);
    assert.equal(refusalOf(await sendPush(url, [[ZERO_OID, oidOf('commit', first), 'refs/heads/first']], both)), undefined);
    const answer = await sendPush(url, [[ZERO_OID, oidOf('commit', second), 'refs/heads/second']], buildPack([]));
    assert.match(refusalOf(answer) ?? 'accepted', /^ng refs\/heads\/second missing necessary objects/);
    const rows = await server().query('select oid from v_objects where oid = $1', [oidOf('commit', second)]);
    assert.deepEqual(rows, []);
  });

  test('of two refs in one push only the whole one is taken, and the other finds nothing to stand on later', async () => {
    const whole = commitBody(EMPTY_TREE, [], 'whole\n');
    const broken = commitBody('ab'.repeat(20), [], 'broken\n');
    const [good, bad] = [oidOf('commit', whole), oidOf('commit', broken)];
    const pack = buildPack([entry('tree', ''), entry('commit', whole), entry('commit', broken)]);
    const both = [good, bad].map((oid, i) => [ZERO_OID, oid, `refs/heads/part${i}`] as const);
    const { lines } = readPushAnswer(await sendPush(url, both, pack));
    assert.deepEqual(lines, ['unpack ok', 'ok refs/heads/part0', 'ng refs/heads/part1 missing necessary objects']);
    const above = commitBody(EMPTY_TREE, [bad], 'above\n');
    const tries: readonly (readonly [string, Buffer[]])[] = [
      [bad, []],
      [oidOf('commit', above), [entry('commit', above)]],
    ];
    for (const [tip, entries] of tries) {
      const answer = await sendPush(url, [[ZERO_OID, tip, 'refs/heads/part2']], buildPack(entries));
      assert.match(refusalOf(answer) ?? 'accepted', /missing necessary objects/);
    }
    assert.match((await sendFetch(url, fetchCommand([bad]))).body.toString(), /not our ref/);
  });

  test('and the same objects in a sound pack are taken', async () => {
    const answer = await sendPush(url, [[ZERO_OID, SOUND_PACK.tip, 'refs/heads/sound']], SOUND_PACK.pack);
    assert.equal(refusalOf(answer), undefined);
    assert.match(await git(['ls-remote', url]), /refs\/heads\/sound/);
    assert.equal((await wireRequest(`${server().url}/readyz`)).status, 200);
    assert.doesNotMatch(server().log(), /"level":60|uncaught|unhandled/i);
  });
});
