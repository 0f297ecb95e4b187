import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { describeOnStores, git, scratchFolder, seededBytes, tryGit } from '../testkit/mod.ts';

const MIB = 1 << 20;
const ENV = {
  PACKHOUSE_CHUNKING_THRESHOLD: '1MiB',
  PACKHOUSE_CHUNKING_MIN: '16KiB',
  PACKHOUSE_CHUNKING_AVG: '64KiB',
  PACKHOUSE_CHUNKING_MAX: '256KiB',
};

/** Text and noise, in an order that changes with the seed. */
function asset(seed: number, length: number): Buffer {
  const text = Buffer.from(`block ${seed} of an asset that compresses well\n`.repeat(4000));
  const parts: Buffer[] = [];
  for (let i = 0, bytes = 0; bytes < length; i++) {
    parts.push(i % 3 === 0 ? text : seededBytes(seed * 100 + i, 300_000));
    bytes += parts.at(-1)!.length;
  }
  return Buffer.concat(parts, length);
}

function edited(bytes: Buffer, at: number, text: string): Buffer {
  return Buffer.concat([bytes.subarray(0, at), Buffer.from(text), bytes.subarray(at + 3)]);
}

describeOnStores('large blobs', { env: ENV }, (server) => {
  let work: string;
  let url: string;
  const versions: Buffer[] = [];

  before(async () => {
    url = `${server().url}/alice/assets.git`;
    work = scratchFolder('work');
    await git(['init', '-q', work]);
    await git(['remote', 'add', 'origin', url], { cwd: work });
    await commit({ 'asset.bin': asset(1, 9 * MIB), README: 'small\n', 'other/big.bin': asset(2, 2 * MIB) }, 'one');
    await git(['push', '-q', 'origin', 'HEAD:main'], { cwd: work });
    for (let v = 1; v < 6; v++) {
      const next = edited(edited(versions.at(-1)!, v * MIB, `edit ${v}`), v * MIB + 500_000, `and ${v}`);
      await commit({ 'asset.bin': next }, `version ${v}`);
      await git(['push', '-q', 'origin', 'HEAD:main'], { cwd: work });
    }
  });

  async function commit(files: Record<string, Buffer | string>, message: string): Promise<void> {
    for (const [name, body] of Object.entries(files)) {
      mkdirSync(join(work, name, '..'), { recursive: true });
      writeFileSync(join(work, name), body);
      if (name === 'asset.bin') versions.push(Buffer.from(body));
    }
    await git(['add', '-A'], { cwd: work });
    await git(['commit', '-qm', message], { cwd: work });
  }

  async function blob(cwd: string, revision: string): Promise<Buffer> {
    const { status, stdout, stderr } = await tryGit(['cat-file', 'blob', revision], { cwd });
    assert.equal(status, 0, stderr);
    return stdout;
  }

  /** Bytes of the packs of a repository. */
  async function packedBytes(cwd: string): Promise<number> {
    const counts = await git(['count-objects', '-v'], { cwd });
    return Number(/size-pack: (\d+)/.exec(counts)![1]) * 1024;
  }

  test('are stored as chunks, each once', async () => {
    const [row] = await server().query<{ blobs: number; stored: number; plain: number }>(
      `select (select count(*)::integer from chunked_blobs) blobs, (select sum(size)::bigint::float8 from chunked_blobs) plain,
        (select sum(extent_length)::bigint::float8 from packs where tier = 'chunks') stored`,
    );
    assert.equal(row!.blobs, 7);
    assert.ok(row!.stored < 11 * MIB, `${row!.stored} bytes of chunks for ${row!.plain}`);
    const rows = await server().query(`select 1 from packs where state = 'intent'`);
    assert.equal(rows.length, 0);
  });

  test('are shown to operators without a place in their pack', async () => {
    const oid = await git(['rev-parse', 'HEAD:asset.bin'], { cwd: work });
    const [located] = await server().query('select * from object_locate($1, $2)', ['alice/assets', oid]);
    assert.deepEqual([located!.pack_offset, Number(located!.size)], [null, versions.at(-1)!.length]);
    const [listed] = await server().query('select pack_offset from v_objects where oid = $1', [oid]);
    assert.deepEqual(listed, { pack_offset: null });
    const [blob] = await server().query('select * from v_chunked_blobs where oid = $1', [oid]);
    assert.ok(Number(blob!.stored_bytes) < versions.at(-1)!.length && blob!.chunks > 50 && blob!.chunk_packs.length > 1);
  });

  test('clone with every version, which cost what git packs them to', async () => {
    const clone = scratchFolder('clone');
    await git(['-c', 'transfer.fsckObjects=true', 'clone', '-q', '--bare', url, clone]);
    await git(['fsck', '--strict'], { cwd: clone });
    for (const [i, version] of versions.entries()) assert.ok((await blob(clone, `HEAD~${5 - i}:asset.bin`)).equals(version));
    const own = scratchFolder('own');
    await git(['clone', '-q', '--bare', '--no-local', work, own]);
    await git(['repack', '-adqf'], { cwd: own });
    const [ours, theirs] = [await packedBytes(clone), await packedBytes(own)];
    assert.ok(ours < theirs * 1.1, `${ours} bytes, git packs to ${theirs}`);
  });

  test('come as small deltas to whoever has the version before', async () => {
    const clone = scratchFolder('clone');
    await git(['clone', '-q', '--bare', url, clone]);
    const next = edited(versions.at(-1)!, 7 * MIB, 'the next edit');
    await commit({ 'asset.bin': next }, 'next');
    await git(['push', '-q', 'origin', 'HEAD:main'], { cwd: work });
    const { stderr } = await tryGit(['-c', 'fetch.unpackLimit=1', 'fetch', '--progress', 'origin', 'main'], { cwd: clone });
    assert.match(stderr, /Receiving objects: 100% \(3\/3\), (\d{1,3} bytes|\d\.\d\d KiB)/);
    assert.ok((await blob(clone, 'FETCH_HEAD:asset.bin')).equals(next));
  });

  test('come whole to shallow clones, and later versions after them', async () => {
    const clone = scratchFolder('clone');
    await git(['clone', '-q', '--depth=1', '--bare', url, clone]);
    await git(['fsck', '--strict'], { cwd: clone });
    assert.ok((await blob(clone, 'HEAD:asset.bin')).equals(versions.at(-1)!));
    await git(['fetch', '-q', '--unshallow', 'origin'], { cwd: clone });
    await git(['fsck', '--strict'], { cwd: clone });
    assert.ok((await blob(clone, 'HEAD~3:asset.bin')).equals(versions.at(-4)!));
  });

  test('are shown in part by the command line', async () => {
    const newest = versions.at(-1)!;
    const oid = await git(['hash-object', '--stdin'], { input: newest });
    const text = newest.indexOf('edit 5');
    const part = await server().packhouse('cat', 'alice/assets', oid, '--range', `${text}-${text + 5}`);
    assert.deepEqual([part.code, part.stdout, part.stderr], [0, 'edit 5', '']);
    const readme = await git(['hash-object', '--stdin'], { input: 'small\n' });
    assert.equal((await server().packhouse('cat', 'alice/assets', readme, '--range', '2-')).stdout, 'all\n');
    const absent = await server().packhouse('cat', 'alice/assets', 'ab'.repeat(20));
    assert.deepEqual([absent.code, absent.stderr], [1, `packhouse: alice/assets has no object ${'ab'.repeat(20)}\n`]);
    assert.equal((await server().packhouse('cat', 'alice/assets', oid, '--range', '5-2')).code, 2);
  });

  test('stay out of partial clones, and come when they are asked for', async () => {
    for (const filter of ['blob:none', 'blob:limit=1m', 'blob:limit=3m']) {
      const clone = scratchFolder('partial');
      await git(['clone', '-q', '--bare', `--filter=${filter}`, url, clone]);
      const absent =
        (await git(['rev-list', '--objects', '--all', '--missing=print'], { cwd: clone })).match(/^\?/gm)?.length ?? 0;
      const count = { 'blob:none': versions.length + 2, 'blob:limit=1m': versions.length + 1, 'blob:limit=3m': versions.length }[
        filter
      ];
      assert.equal(absent, count, filter);
      assert.ok((await blob(clone, 'HEAD~2:asset.bin')).equals(versions.at(-3)!));
    }
  });

  test('stay as they are when their packs are sealed and rewritten', async () => {
    await commit({ NOTES: 'a small push waits in the tail\n' }, 'notes');
    await git(['push', '-q', 'origin', 'HEAD:main'], { cwd: work });
    assert.equal((await server().packhouse('seal', '--now')).code, 0);
    const live = await server().query<{ tier: string }>(`select tier from packs where state = 'live' and tier <> 'chunks'`);
    assert.deepEqual(live, [{ tier: 'store' }]);
    const clone = scratchFolder('clone');
    await git(['clone', '-q', '--bare', url, clone]);
    await git(['fsck', '--strict'], { cwd: clone });
    const { code, stdout, stderr } = await server().packhouse('fsck');
    assert.equal(code, 0, stdout + stderr);
  });

  test('pushed again under another name bring no chunk', async () => {
    const packs = (): Promise<{ n: number }[]> => server().query(`select count(*)::integer n from packs where tier = 'chunks'`);
    const [before] = await packs();
    await git(['checkout', '-q', '--orphan', 'again'], { cwd: work });
    await git(['commit', '-qm', 'again'], { cwd: work });
    const fresh = scratchFolder('fresh');
    await git(['clone', '-q', '--bare', '--no-local', '--single-branch', '-b', 'again', work, fresh]);
    await git(['push', '-q', url, 'again'], { cwd: fresh });
    assert.deepEqual(await packs(), [before]);
    const clone = scratchFolder('clone');
    await git(['clone', '-q', '--bare', url, clone]);
    await git(['fsck', '--strict'], { cwd: clone });
    assert.ok((await blob(clone, 'again:asset.bin')).equals(versions.at(-1)!));
  });

  test('of a push that is refused leave nothing', async () => {
    const count = async (): Promise<unknown> =>
      (
        await server().query(
          `select (select count(*) from packs) p, (select count(*) from chunks) c, (select count(*) from chunked_blobs) b`,
        )
      )[0];
    const keys = async (): Promise<string[]> => {
      const found: string[] = [];
      for await (const { key } of server().store.list('crates/')) found.push(key);
      return found;
    };
    const [rows, objects] = [await count(), await keys()];
    const other = scratchFolder('other');
    await git(['init', '-q', other]);
    writeFileSync(join(other, 'new.bin'), seededBytes(77, 2 * MIB));
    await git(['add', '-A'], { cwd: other });
    await git(['commit', '-qm', 'unrelated'], { cwd: other });
    const { status, stderr } = await tryGit(
      ['push', '-q', '--atomic', '--force', url, 'HEAD:refs/heads/x', 'HEAD:refs/heads/main/y'],
      {
        cwd: other,
      },
    );
    assert.notEqual(status, 0, stderr);
    assert.deepEqual(await count(), rows);
    assert.deepEqual(await keys(), objects);
  });
});
