import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import {
  describeOnAStore,
  FastImport,
  git,
  scratchFolder,
  seededBytes,
  syntheticHistory,
  ZERO_OID,
} from '../../../internal/testkit/mod.ts';

interface ChainEntry {
  readonly oid: string;
  readonly pack: number;
  readonly offset: number;
}

interface Copy {
  readonly pack: number;
  readonly tier: string;
  readonly crate: string | null;
  readonly extent_offset: number;
  readonly kind: string;
  readonly size: number;
  readonly chain: readonly ChainEntry[];
  readonly chunks: readonly { readonly size: number; readonly sha256: string }[];
}

const ENV = { PACKHOUSE_CHUNKING_THRESHOLD: '8MiB', PACKHOUSE_PUSH_TAIL_BYTES_MAX: '64KiB' };

describeOnAStore('what the tools say of a repository', { env: ENV }, (server) => {
  let local: string;
  const large = seededBytes(12, 9 << 20);
  before(async () => {
    local = await syntheticHistory({ commits: 60, binaryEvery: 4, binaryBytes: 60_000, seed: 21 }).into();
    await git(['repack', '-adfq', '--depth=10'], { cwd: local });
    const url = `${server().url}/ina/looked.git`;
    await git(['push', '-q', url, 'main'], { cwd: local });
    const text = await git(['show', 'main:f0.txt'], { cwd: local });
    for (let i = 0; i < 3; i++) {
      const importer = new FastImport(1_760_000_000 + i);
      importer.commit('refs/heads/main', { 'f0.txt': `${text}more ${i}\n` }, { parents: ['refs/heads/main'] });
      await importer.into(local);
      await git(['push', '-q', url, 'main'], { cwd: local });
    }
    const importer = new FastImport(1_761_000_000);
    importer.commit('refs/heads/main', { large }, { parents: ['refs/heads/main'] });
    await importer.into(local);
    await git(['push', '-q', url, 'main'], { cwd: local });
  });

  const run = async (...args: string[]): Promise<string> => {
    const { code, stdout, stderr } = await server().packhouse(...args);
    assert.equal(code, 0, stderr);
    return stdout;
  };
  const where = async (revision: string): Promise<readonly Copy[]> =>
    JSON.parse(await run('where', 'ina/looked', await git(['rev-parse', revision], { cwd: local }), '--json'));

  /** Offset to oid of every entry of a pack, by git. */
  async function entriesOf(copy: Copy): Promise<ReadonlyMap<number, string>> {
    const [row] = await server().query<{ length: string }>(`select extent_length as length from packs where id = ${copy.pack}`);
    const bytes = await server().store.get(copy.crate!, { offset: copy.extent_offset, lengthBytes: Number(row!.length) });
    const path = join(scratchFolder('pack'), 'a.pack');
    writeFileSync(path, bytes);
    await git(['index-pack', path]);
    const listed = await git(['show-index'], { input: readFileSync(path.replace(/pack$/, 'idx')) });
    return new Map(listed.split('\n').map((line) => [Number(line.split(' ')[0]), line.split(' ')[1]!]));
  }

  test('where an object is: the chain down to an object that stands alone, as git reads the pack', async () => {
    const paths = (await git(['ls-tree', '-r', '--name-only', 'main~4'], { cwd: local })).split('\n').slice(0, 12);
    const lengths: number[] = [];
    for (const revision of ['main~4', 'main~10^{tree}', ...paths.map((path) => `main~40:${path}`)]) {
      const exists = await git(['rev-parse', '-q', '--verify', revision], { cwd: local }).catch(() => null);
      if (exists === null) continue;
      const [copy] = await where(revision);
      assert.equal(copy!.tier, 'store');
      assert.equal(copy!.chain[0]!.oid, exists);
      assert.equal(copy!.kind, await git(['cat-file', '-t', exists], { cwd: local }));
      assert.equal(String(copy!.size), await git(['cat-file', '-s', exists], { cwd: local }));
      const entries = await entriesOf(copy!);
      for (const entry of copy!.chain) assert.equal(entries.get(entry.offset), entry.oid);
      lengths.push(copy!.chain.length);
    }
    assert.ok(Math.max(...lengths) > 2, `${lengths}`);
    assert.ok(lengths.length > 5);
  });

  test('where a delta of the tail is, and the base that an older pack has', async () => {
    const [copy] = await where('main~1:f0.txt');
    assert.deepEqual([copy!.tier, copy!.crate], ['tail', null]);
    assert.ok(copy!.chain.length > 1);
    assert.notEqual(copy!.chain[1]!.pack, copy!.pack);
    const text = await run('where', 'ina/looked', copy!.chain[0]!.oid);
    assert.match(text, new RegExp(`^pack ${copy!.pack} \\(tail\\), in PostgreSQL: blob of ${copy!.size} bytes, entry at \\d+`));
    assert.match(text, new RegExp(`\\n  delta on ${copy!.chain[1]!.oid} in pack ${copy!.chain[1]!.pack} at`));
  });

  test('which chunks a large blob is made of', async () => {
    const [copy] = await where('main:large');
    assert.equal(copy!.size, large.length);
    assert.equal(
      copy!.chunks.reduce((sum, chunk) => sum + chunk.size, 0),
      large.length,
    );
    assert.match(
      await run('where', 'ina/looked', copy!.chain[0]!.oid),
      /blob of 9437184 bytes, \d+ chunks\n {2}chunk [0-9a-f]{64} in/,
    );
  });

  test('that an object is nowhere, or no name of one', async () => {
    for (const [oid, code] of [
      ['deadbeef'.repeat(5), 1],
      ['deadbeef', 2],
      [`${ZERO_OID}${'0'.repeat(24)}`, 2],
    ] as const)
      assert.equal((await server().packhouse('where', 'ina/looked', oid)).code, code);
  });

  test('how much there is, alike in SQL, in sums and in the bucket', async () => {
    const all = JSON.parse(await run('stats', '--json'));
    const one = JSON.parse(await run('stats', 'ina/looked', '--json'));
    const [row] = await server().query<Record<string, string>>(
      `select s.*, d.distinct_objects from v_repository_size s join v_dedup d using (pool_id) where repository = 'ina/looked'`,
    );
    for (const key of [
      'packs',
      'objects',
      'logical_bytes',
      'tail_bytes',
      'store_bytes',
      'chunk_bytes',
      'packed_bytes',
      'distinct_objects',
    ]) {
      assert.equal(one[key], Number(row![key]), key);
      assert.equal(all[key], one[key], key);
      assert.ok(one[key] > 0, key);
    }
    const reachable = (await git(['rev-list', '--objects', 'main'], { cwd: local })).split('\n').length;
    assert.equal(one.distinct_objects, reachable);
    assert.equal(one.chunked_plain_bytes, large.length);
    assert.equal(all.bucket_pack_bytes, one.store_bytes + one.chunk_bytes);
    assert.equal(all.live_bytes, all.bucket_pack_bytes);
    assert.equal(all.crates, all.bucket_packs);
    await run('repo', 'fork', 'ina/looked', 'ina/fork');
    const [pool] = JSON.parse(await run('stats', '--pools', '--json'));
    assert.deepEqual(pool.repositories, ['ina/looked', 'ina/fork']);
    assert.match(await run('stats', '--pools'), /^POOL.*\n\d+ .* ina\/looked\n$/);
    assert.match(await run('stats'), /packed bytes +[\d,]+\n/);
    const forked = JSON.parse(await run('stats', '--json'));
    assert.deepEqual({ ...forked, repositories: 1 }, all);
  });

  test('what a random part of it is: the same part for the same seed, and more of it for more', async () => {
    const read = async (...more: string[]): Promise<{ packs: number; packsRead: number; objects: number; sample: unknown }> =>
      JSON.parse(await run('fsck', '--json', ...more));
    const part = await read('--sample', '1%', '--seed', '7');
    assert.deepEqual(part.sample, { share: 0.01, seed: 7 });
    assert.ok(part.packsRead >= 1 && part.packsRead <= 2, `${part.packsRead}`);
    assert.deepEqual(await read('--sample', '0.01', '--seed', '7'), part);
    const drawn = new Set<number>();
    for (let seed = 0; seed < 6; seed++) drawn.add((await read('--sample', '1%', '--seed', String(seed))).objects);
    assert.ok(drawn.size > 1, 'every seed drew the same packs');
    const whole = await read();
    assert.equal((await read('--sample', '100%')).packsRead, whole.packsRead);
    assert.ok(whole.packsRead > whole.packs, 'packs of chunks are read as well');
    assert.match(await run('fsck', '--sample', '5%'), /1 packs read \(--sample 0.05 --seed \d+\)|\d packs read/);
    for (const share of ['0', '101%', 'some']) assert.equal((await server().packhouse('fsck', '--sample', share)).code, 2);
  });
});
