import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  buildDelta,
  buildPack,
  commitBody,
  describeOnAStore,
  entry,
  fetchCommand,
  git,
  ofsDelta,
  oidOf,
  refDelta,
  refusalOf,
  scratchFolder,
  sendFetch,
  sendPush,
  type TestServer,
  treeBody,
  ZERO_OID,
} from '../../../internal/testkit/mod.ts';
import { branch, made, packOf } from './isolation-testing.ts';

/** Small packs stay in PostgreSQL, or none does. */
for (const tier of ['tail', 'store']) {
  const env: Record<string, string> = tier === 'tail' ? {} : { PACKHOUSE_PUSH_TAIL_BYTES_MAX: '1' };
  describeOnAStore(`forks whose packs are ${tier} packs`, { env }, (server) => {
    describeFetches(server);
  });
}

async function allObjects(cwd: string): Promise<string[]> {
  const out = await git(['cat-file', '--batch-all-objects', '--batch-check=%(objectname)'], { cwd });
  return out.split('\n').sort();
}

function describeFetches(server: () => TestServer): void {
  describe('of which one lacks the base of a stored delta', () => {
    const text = 'what the two files share, long enough to be worth a delta, and a little longer\n';
    const [hidden, shown] = [made('blob', `${text}hidden`), made('blob', `${text}shown`)];
    const trees = [hidden, shown].map((blob) => made('tree', treeBody([['100644', 'file', blob.oid]])));
    const root = made('commit', commitBody(oidOf('tree', ''), [], 'root\n'));
    const commits = trees.map((tree) => made('commit', commitBody(tree.oid, [root.oid])));
    const delta = buildDelta(hidden.data.length, shown.data.length, [{ copy: [0, text.length] }, { insert: 'shown' }]);
    const hiddenEntry = entry('blob', hidden.data);
    const kinds = { ofs: ofsDelta(hiddenEntry.length, delta), ref: refDelta(hidden.oid, delta) };

    for (const [kind, deltaEntry] of Object.entries(kinds)) {
      test(`by ${kind === 'ofs' ? 'distance' : 'name'}, its clients get the object and do not hear of the base`, async () => {
        const url = `${server().url}/bases/${kind}.git`;
        const rest = [...trees, root, ...commits].map(({ kind: type, data }) => entry(type, data));
        const bytes = buildPack([hiddenEntry, deltaEntry, ...rest, entry('tree', '')]);
        const updates = commits.map((commit, i) => [ZERO_OID, commit.oid, `refs/heads/${i === 0 ? 'hidden' : 'shown'}`] as const);
        assert.equal(refusalOf(await sendPush(url, updates, bytes)), undefined);
        assert.equal(
          refusalOf(await sendPush(url, [[commits[0]!.oid, ZERO_OID, 'refs/heads/hidden']], Buffer.alloc(0))),
          undefined,
        );
        assert.equal((await server().packhouse('repo', 'fork', `bases/${kind}`, `fork/${kind}`)).code, 0);
        const fork = `${server().url}/fork/${kind}.git`;
        for (const extra of [['done'], ['ofs-delta', 'done'], ['thin-pack', 'ofs-delta', 'done']]) {
          for (const haves of [[], [root.oid]]) {
            const { body } = await sendFetch(fork, fetchCommand([commits[1]!.oid], haves, extra));
            assert.ok(body.includes('PACK'));
            assert.ok(!body.includes(Buffer.from(hidden.oid, 'hex')));
          }
        }
        const clone = scratchFolder('clone');
        await git(['clone', '-q', '--mirror', fork, clone]);
        assert.deepEqual(
          await allObjects(clone),
          [shown, trees[1]!, root, commits[1]!, made('tree', '')].map(({ oid }) => oid).sort(),
        );
        assert.match(
          (await sendFetch(fork, fetchCommand([hidden.oid]))).body.toString(),
          new RegExp(`not our ref ${hidden.oid}`),
        );
      });
    }
  });

  test('live on when their parent, or a fork, is deleted', async () => {
    const base = branch('main', null);
    const url = (name: string): string => `${server().url}/family/${name}.git`;
    assert.equal(refusalOf(await sendPush(url('parent'), base.updates, packOf(base.objects))), undefined);
    const expected = [...new Set(base.objects.map(({ oid }) => oid))].sort();
    for (const [from, to] of [
      ['parent', 'child'],
      ['child', 'grandchild'],
    ] as const)
      assert.equal((await server().packhouse('repo', 'fork', `family/${from}`, `family/${to}`)).code, 0);
    for (const [deleted, left] of [
      ['parent', 'child'],
      ['child', 'grandchild'],
    ] as const) {
      assert.equal((await server().packhouse('repo', 'delete', `family/${deleted}`)).code, 0);
      assert.equal((await sendFetch(url(deleted), fetchCommand([base.tip]))).status, 404);
      const clone = scratchFolder('clone');
      await git(['clone', '-q', '--mirror', url(left), clone]);
      assert.deepEqual(await allObjects(clone), expected);
    }
    const checked = await server().packhouse('fsck', 'family/grandchild');
    assert.equal(checked.code, 0, checked.stdout);
  });
}
