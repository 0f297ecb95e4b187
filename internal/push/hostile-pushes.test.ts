import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import {
  buildDelta,
  buildPack,
  commitBody,
  describeOnStores,
  entry,
  fetchCommand,
  git,
  oidOf,
  packet,
  readPushAnswer,
  refDelta,
  refusalOf,
  scratchFolder,
  sendFetch,
  sendPush,
  treeBody,
  wireRequest,
  ZERO_OID,
} from '../testkit/mod.ts';

const ABSENT = 'deadbeef'.repeat(5);
const BLOB = Buffer.from('what the tree holds, long enough for a delta\n');
const TREE = treeBody([['100644', 'file', oidOf('blob', BLOB)]]);
const COMMIT = commitBody(oidOf('tree', TREE));
const BASE = oidOf('commit', COMMIT);
const GOOD = commitBody(oidOf('tree', TREE), [BASE], 'good\n');
const [BLOB_OID, TREE_OID, GOOD_OID] = [oidOf('blob', BLOB), oidOf('tree', TREE), oidOf('commit', GOOD)];

let count = 0;

describeOnStores('a hostile push', {}, (server) => {
  let url: string;

  before(async () => {
    url = `${server().url}/eve/hostile.git`;
    const pack = buildPack([entry('blob', BLOB), entry('tree', TREE), entry('commit', COMMIT)]);
    assert.equal(refusalOf(await sendPush(url, [[ZERO_OID, BASE, 'refs/heads/main']], pack)), undefined);
  });

  /** Pushes a bad and a good ref with one pack: the good one must stand. */
  async function refusesBadAlone(bad: string, objects: readonly Buffer[], words = 'missing necessary objects'): Promise<void> {
    const [badRef, goodRef] = [`refs/heads/bad${++count}`, `refs/heads/good${count}`];
    const pack = buildPack([entry('commit', GOOD), ...objects]);
    const answer = readPushAnswer(
      await sendPush(
        url,
        [
          [ZERO_OID, bad, badRef],
          [ZERO_OID, GOOD_OID, goodRef],
        ],
        pack,
      ),
    );
    assert.deepEqual(answer.lines.slice(0, 3), ['unpack ok', `ng ${badRef} ${words}`, `ok ${goodRef}`], answer.fatal);
  }

  const misnamed: readonly (readonly [string, string, string])[] = [
    ['a stored commit as a file', '100644', BASE],
    ['a stored tree as a file', '100644', TREE_OID],
    ['a stored file as a folder', '40000', BLOB_OID],
    ['a commit of the same pack as a folder', '40000', GOOD_OID],
    ['a commit of the same pack as a file', '100644', GOOD_OID],
    ['what is nowhere', '100644', ABSENT],
  ];
  for (const [what, mode, oid] of misnamed) {
    test(`whose tree names ${what} loses that ref alone`, async () => {
      const tree = treeBody([[mode, 'a', oid]]);
      const commit = commitBody(oidOf('tree', tree), [BASE], what);
      await refusesBadAlone(oidOf('commit', commit), [entry('tree', tree), entry('commit', commit)]);
    });
  }

  for (const [what, rootOf] of [
    ['is nowhere', ABSENT],
    ['is a blob', BLOB_OID],
  ] as const) {
    test(`on a parent in the pack whose tree ${what} is refused`, async () => {
      const parent = commitBody(rootOf, [BASE], what);
      const tree = treeBody([['40000', 'folder', TREE_OID]]);
      const child = commitBody(oidOf('tree', tree), [oidOf('commit', parent)]);
      await refusesBadAlone(oidOf('commit', child), [entry('commit', parent), entry('tree', tree), entry('commit', child)]);
    });

    test(`on a parent in the pack with a folder that ${what} is refused`, async () => {
      const before = treeBody([['40000', 'folder', rootOf]]);
      const parent = commitBody(oidOf('tree', before), [BASE], what);
      const tree = treeBody([['40000', 'folder', TREE_OID]]);
      const child = commitBody(oidOf('tree', tree), [oidOf('commit', parent)], what);
      const objects = [entry('tree', before), entry('commit', parent), entry('tree', tree), entry('commit', child)];
      await refusesBadAlone(oidOf('commit', child), objects);
    });
  }

  test('with a history that ends where only the client is shallow is told so', async () => {
    const root = commitBody(TREE_OID, [ABSENT], 'shallow\n');
    const tip = oidOf('commit', root);
    const commands = [
      packet(`shallow ${tip}`),
      packet(`${ZERO_OID} ${tip} refs/heads/shallow\0 report-status`),
      Buffer.from('0000'),
    ];
    const answer = await wireRequest(`${url}/git-receive-pack`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/x-git-receive-pack-request' },
      body: Buffer.concat([...commands, buildPack([entry('commit', root)])]),
    });
    assert.equal(refusalOf(answer), 'ng refs/heads/shallow shallow update not allowed');
  });

  test('of a commit with more parents than the graph can count is refused', async () => {
    const commit = commitBody(TREE_OID, Array(65_536).fill(BASE));
    const answer = await sendPush(
      url,
      [[ZERO_OID, oidOf('commit', commit), 'refs/heads/parents']],
      buildPack([entry('commit', commit)]),
    );
    assert.match(refusalOf(answer) ?? 'accepted', /^unpack commit .* has 65536 parents/);
  });

  test('that is no request is answered by an error packet', async () => {
    const line = packet(`${ZERO_OID} ${GOOD_OID} refs/heads/x\0report-status`);
    for (const body of [
      '',
      '0003',
      'zzzz',
      'fff1',
      '00',
      line.subarray(0, 30),
      line,
      Buffer.concat([line, packet('junk'), Buffer.from('0000')]),
    ]) {
      const answer = await wireRequest(`${url}/git-receive-pack`, {
        method: 'POST',
        headers: { 'Content-Type': 'application/x-git-receive-pack-request' },
        body: Buffer.from(body),
      });
      assert.equal(answer.status, 200);
      assert.match(answer.body.toString(), /^[0-9a-f]{4}ERR /, String(body));
    }
  });

  test('with a NUL in a push option is taken as git takes it', async () => {
    const line = packet(`${ZERO_OID} ${BASE} refs/heads/options\0report-status push-options`);
    const body = Buffer.concat([line, Buffer.from('0000'), packet('one\0two'), Buffer.from('0000'), buildPack([])]);
    const answer = await wireRequest(`${url}/git-receive-pack`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/x-git-receive-pack-request' },
      body,
    });
    assert.equal(refusalOf(answer), undefined);
    const rows = await server().query(`select options from pushes where 'one' = any (options)`);
    assert.equal(rows.length, 1);
  });

  test('whose delta base only a deleted branch has hears what it would hear if nobody had it', async () => {
    const secret = Buffer.from('what only a deleted branch reaches '.repeat(10));
    const tree = treeBody([['100644', 'secret', oidOf('blob', secret)]]);
    const commit = commitBody(oidOf('tree', tree), [BASE], 'secret\n');
    const tip = oidOf('commit', commit);
    const pack = buildPack([entry('blob', secret), entry('tree', tree), entry('commit', commit)]);
    assert.equal(refusalOf(await sendPush(url, [[ZERO_OID, tip, 'refs/heads/secret']], pack)), undefined);
    assert.equal(refusalOf(await sendPush(url, [[tip, ZERO_OID, 'refs/heads/secret']], Buffer.alloc(0))), undefined);
    const answers = new Set<string | undefined>();
    for (const base of [ABSENT, oidOf('blob', secret)]) {
      for (const size of [5, secret.length]) {
        const thin = buildPack([entry('commit', GOOD), refDelta(base, buildDelta(size, 5, [{ insert: 'hello' }]))]);
        answers.add(refusalOf(await sendPush(url, [[ZERO_OID, GOOD_OID, 'refs/heads/thin']], thin)));
      }
    }
    assert.deepEqual([...answers], ['unpack pack has unresolved deltas']);
  });

  test('of a chain of ref deltas on a stored object is served again', async () => {
    const [one, two] = [Buffer.from('one'.repeat(20)), Buffer.from('two'.repeat(20))];
    const tree = treeBody([
      ['100644', 'one', oidOf('blob', one)],
      ['100644', 'two', oidOf('blob', two)],
    ]);
    const commit = commitBody(oidOf('tree', tree), [BASE], 'chain\n');
    const deltas = [
      refDelta(oidOf('blob', one), buildDelta(60, 60, [{ insert: two.toString() }])),
      refDelta(BLOB_OID, buildDelta(BLOB.length, 60, [{ insert: one.toString() }])),
    ];
    const pack = buildPack([...deltas, entry('tree', tree), entry('commit', commit)]);
    assert.equal(refusalOf(await sendPush(url, [[ZERO_OID, oidOf('commit', commit), 'refs/heads/chain']], pack)), undefined);
    const clone = scratchFolder('clone');
    await git(['clone', '-q', '--mirror', url, clone]);
    await git(['fsck', '--strict'], { cwd: clone });
    assert.equal(await git(['cat-file', 'blob', oidOf('blob', two)], { cwd: clone }), two.toString());
  });

  test('whose trees are met by more paths than there are atoms is taken, and a filter by paths of it is given up', async () => {
    const patterns = Buffer.from('/*\n!*.txt\n');
    const objects: Buffer[] = [patterns];
    let below = BLOB_OID;
    for (let level = 0; level < 40; level++) {
      const mode = level === 0 ? '100644' : '40000';
      const tree = treeBody(['a', 'b', 'c', 'd'].map((letter) => [mode, letter.repeat(400), below]));
      objects.push(tree);
      below = oidOf('tree', tree);
    }
    const root = treeBody([
      ['100644', 'patterns', oidOf('blob', patterns)],
      ['40000', 'top', below],
    ]);
    const commit = commitBody(oidOf('tree', root), [BASE], 'paths\n');
    const tip = oidOf('commit', commit);
    const pack = buildPack([
      ...objects.map((data, i) => entry(i === 0 ? 'blob' : 'tree', data)),
      entry('tree', root),
      entry('commit', commit),
    ]);
    assert.equal(refusalOf(await sendPush(url, [[ZERO_OID, tip, 'refs/heads/paths']], pack)), undefined);
    const ask = (...filter: string[]) => sendFetch(url, fetchCommand([tip], [], [...filter, 'done']));
    const [sparse, plain] = await Promise.all([ask('filter sparse:oid=paths:patterns'), ask()]);
    assert.match(
      sparse.body.toString('latin1'),
      /ERR upload-pack: the patterns of the sparse filter take too long on these trees/,
    );
    for (const answer of [plain, await ask('filter blob:none'), await ask('filter tree:30')])
      assert.ok(answer.body.includes('PACK'));
  });
});
