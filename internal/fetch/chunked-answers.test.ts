import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { Pack } from '../catalog/mod.ts';
import { encodePackHeader } from '../packformat/mod.ts';
import { type ChunkedLocation, ObjectReader, PackBytes, PoolIndex } from '../packread/mod.ts';
import { git, makeRepository, oidOf, seededBytes, seededRandom, TestPool, tryGit } from '../testkit/mod.ts';
import { chunkedEntries } from './write-chunked.ts';

const SIZES = { minBytes: 1024, avgBytes: 4096, maxBytes: 16384 };

/** Versions of one file: bytes that do not compress, each edited in a few places. */
function versions(count: number, length: number, seed: number): Buffer[] {
  const random = seededRandom(seed);
  const all = [seededBytes(seed, length)];
  for (let v = 1; v < count; v++) {
    const next = [...Array(2)].reduce((bytes: Buffer, _, i) => {
      const at = random(bytes.length - 100);
      return Buffer.concat([bytes.subarray(0, at), Buffer.from(`edit ${v} ${i}`), bytes.subarray(at + random(40))]);
    }, all.at(-1)!);
    all.push(next);
  }
  return all;
}

describe('an answer with chunked blobs', () => {
  let pool: TestPool;
  before(async () => {
    pool = await TestPool.start();
  });
  after(() => pool?.close());

  async function reader(packs: readonly Pack[]) {
    const index = new PoolIndex(pool.catalog, pool.poolId, 'sha1');
    for (const pack of packs) index.add(pack);
    const { chunked } = new ObjectReader(new PackBytes(pool.catalog, pool.store, 1 << 20), index);
    const find = async (blobs: readonly Buffer[]): Promise<ChunkedLocation[]> =>
      (await index.find(Buffer.concat(blobs.map((blob) => Buffer.from(oidOf('blob', blob), 'hex'))))) as ChunkedLocation[];
    return { chunked, find };
  }

  /** The pack of an answer, and how many of its entries were deltas. */
  async function answer(packs: readonly Pack[], blobs: readonly Buffer[], clients: readonly Buffer[], ofsDelta = true) {
    const { chunked, find } = await reader(packs);
    let deltas = 0;
    const parts = [encodePackHeader(blobs.length)];
    const options = {
      ofsDelta,
      signal: new AbortController().signal,
      pieceBytes: () => 4 << 20,
      onExpanded: () => void deltas++,
    };
    const part = { blobs: await find(blobs), clients: await find(clients) };
    for await (const piece of chunkedEntries(chunked, part, options)) parts.push(piece);
    const body = Buffer.concat(parts);
    return { pack: Buffer.concat([body, createHash('sha1').update(body).digest()]), deltas };
  }

  async function holds(pack: Buffer, blobs: readonly Buffer[], had: readonly Buffer[] = []): Promise<string> {
    const cwd = await makeRepository();
    for (const blob of had) await git(['hash-object', '-w', '--stdin'], { cwd, input: blob });
    await git(['index-pack', '--strict', '--fix-thin', '--stdin'], { cwd, input: pack });
    for (const blob of blobs) {
      const { stdout } = await tryGit(['cat-file', 'blob', oidOf('blob', blob)], { cwd });
      assert.ok(stdout.equals(blob));
    }
    return cwd;
  }

  test('has the newest version whole and the others as deltas that cost what has changed', async () => {
    const blobs = versions(70, 800_000, 5);
    const packs: Pack[] = [];
    for (const blob of blobs) packs.push(await pool.put('store', [], { chunked: [blob], sizes: SIZES }));
    const { pack, deltas } = await answer(packs, blobs, []);
    assert.equal(deltas, 69);
    assert.ok(pack.length < 800_000 + 69 * 500, `${pack.length} bytes`);
    const cwd = await holds(pack, blobs);
    const lines = await git(['verify-pack', '-v', ...packFiles(cwd)], { cwd });
    const newest = lines.split('\n').find((line) => line.startsWith(oidOf('blob', blobs.at(-1)!)));
    assert.match(newest!, /^\S+ blob +\d{6} /);
    const depth = Math.max(...[...lines.matchAll(/^chain length = (\d+):/gm)].map((match) => Number(match[1])));
    assert.ok(depth > 20 && depth <= 50, `a chain of ${depth}`);
  });

  test('is based on what the client has, by oid', async () => {
    const blobs = versions(3, 300_000, 6);
    const packs = [await pool.put('store', [], { chunked: blobs, sizes: SIZES })];
    const { pack, deltas } = await answer(packs, blobs.slice(2), blobs.slice(0, 2));
    assert.equal(deltas, 1);
    assert.ok(pack.length < 2000, `${pack.length} bytes`);
    await holds(pack, blobs.slice(2), blobs.slice(0, 2));
  });

  test('names bases by oid for a client that does not take distances', async () => {
    const blobs = versions(4, 200_000, 7);
    const packs = [await pool.put('store', [], { chunked: blobs, sizes: SIZES })];
    await holds((await answer(packs, blobs, [], false)).pack, blobs);
  });

  test('sends whole what shares too little', async () => {
    const [a, b] = [seededBytes(8, 200_000), Buffer.concat([seededBytes(8, 60_000), seededBytes(9, 140_000)])];
    const packs = [await pool.put('store', [], { chunked: [a, b], sizes: SIZES })];
    const { pack, deltas } = await answer(packs, [a, b], []);
    assert.equal(deltas, 0);
    await holds(pack, [a, b]);
  });

  test('streams a delta whose new chunks are too many to be held', async () => {
    const a = seededBytes(10, 24 << 20);
    const b = Buffer.concat([a.subarray(0, 10 << 20), seededBytes(11, 9 << 20), a.subarray(15 << 20)]);
    const sizes = { minBytes: 16 << 10, avgBytes: 64 << 10, maxBytes: 256 << 10 };
    const packs = [await pool.put('store', [], { chunked: [a, b], sizes })];
    const { pack, deltas } = await answer(packs, [a, b], []);
    assert.equal(deltas, 1);
    assert.ok(pack.length < (24 << 20) + (10 << 20));
    await holds(pack, [a, b]);
  });

  function packFiles(cwd: string): string[] {
    const folder = join(cwd, 'objects', 'pack');
    return readdirSync(folder)
      .filter((name) => name.endsWith('.idx'))
      .map((name) => `${folder}/${name}`);
  }
});
