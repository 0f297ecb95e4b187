/** Packs of large blobs and of deltas on what the pool has, right and wrong: cut or not, in memory or by a worker, the verdict is that of git. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import fc from 'fast-check';
import {
  buildDelta,
  buildPack,
  type DeltaOp,
  entry,
  fuzz,
  git,
  makeRepository,
  nullWhenRefused,
  ofsDelta,
  oidOf,
  refDelta,
  seededBytes,
  tryGit,
} from '../testkit/mod.ts';
import { type Given, spoolFolder, TestPool } from './chunked-testing.ts';

const TEXT = Buffer.from(Array.from({ length: 6000 }, (_, i) => `row ${(i * i) % 7919} of a long table\n`).join(''));
/** Large and small blobs; the first three of each are the pool's, before the push. */
const BLOBS = [
  seededBytes(1, 120_000),
  TEXT,
  Buffer.from('small and stored already\n'.repeat(9)),
  seededBytes(2, 130_000),
  Buffer.concat([TEXT, Buffer.from('the end\n')]),
  Buffer.from('small and new\n'.repeat(7)),
];
const STORED = 3;

interface Part {
  readonly what: 'whole' | 'ofs' | 'ref';
  readonly of: number;
  readonly on: number;
  /** What is wrong with it; from 8 on nothing. */
  readonly odd: number;
}

/** Copies of two parts of the base with a text between: large results of large bases, or small ones. */
function deltaOf(base: Buffer, { of, odd }: Part, n: number): { delta: Buffer; result: Buffer } {
  const isLarge = of % 3 > 0;
  const head = Math.min(base.length, isLarge ? 0xf000 : 30);
  const times = isLarge ? 2 : 1;
  const insert = `part ${n} `;
  const copies: DeltaOp[] = [];
  for (let i = 0; i < times; i++) copies.push({ copy: [base.length - head, head] }, { insert }, { copy: [0, head] });
  const result = Buffer.concat(
    Array.from({ length: times }, () => [base.subarray(base.length - head), Buffer.from(insert), base.subarray(0, head)]).flat(),
  );
  const size = result.length;
  const broken: Readonly<Record<number, () => Buffer>> = {
    0: () => buildDelta(base.length + 1, size, copies),
    1: () => buildDelta(base.length, size + 1, copies),
    2: () => buildDelta(base.length, size + 10, [...copies, { copy: [base.length - 5, 10] }]),
    3: () => buildDelta(base.length, size, [...copies, { raw: [0] }]),
    4: () => buildDelta(base.length, size, copies).subarray(0, -1),
    5: () => buildDelta(base.length, 1n << 40n, copies),
  };
  return { delta: (broken[odd] ?? (() => buildDelta(base.length, size, copies)))(), result };
}

/** A pack of parts; later ones may be deltas of earlier ones and of what the pool has. */
function packOf(parts: readonly Part[]): Buffer {
  const entries: Buffer[] = [];
  const made: Buffer[] = [];
  const starts: number[] = [];
  let at = 12;
  for (const [n, part] of parts.entries()) {
    let bytes: Buffer;
    if (part.what === 'whole' || (part.what === 'ofs' && made.length === 0)) {
      const data = Buffer.concat([BLOBS[STORED + (part.of % STORED)]!, Buffer.from(String(n))]);
      bytes = entry('blob', data, data.length + (part.odd === 0 ? 1 : part.odd === 1 ? -1 : 0));
      made.push(data);
    } else if (part.what === 'ofs') {
      const base = part.on % made.length;
      const { delta, result } = deltaOf(made[base]!, part, n);
      bytes = ofsDelta(at - starts[base]! + (part.odd === 6 ? 3 : 0), delta);
      made.push(result);
    } else {
      const pool = BLOBS.slice(0, STORED);
      const base = [...pool, ...made][part.on % (pool.length + made.length)]!;
      const { delta, result } = deltaOf(base, part, n);
      bytes = refDelta(part.odd === 7 ? 'ab'.repeat(20) : oidOf('blob', base), delta);
      made.push(result);
    }
    starts.push(at);
    at += bytes.length;
    entries.push(bytes);
  }
  return buildPack(entries);
}

describe('packs of large blobs and outside bases', () => {
  let repository: string;
  let count = 0;

  before(async () => {
    repository = await makeRepository();
    for (const blob of BLOBS.slice(0, STORED)) await git(['hash-object', '-w', '--stdin'], { cwd: repository, input: blob });
  });

  async function gitTakes(bytes: Buffer): Promise<boolean> {
    const path = join(repository, `p${count++}.pack`);
    const { status, stderr } = await tryGit(['index-pack', '--strict', '--fix-thin', '--stdin', '--no-rev-index', path], {
      cwd: repository,
      input: bytes,
      env: { GIT_ALLOC_LIMIT: '256m' },
    });
    if (status === 0) for (const ending of ['pack', 'idx']) rmSync(path.replace(/pack$/, ending));
    // Left out of what is compared: the pack has an object twice, which we take.
    return status === 0 || stderr.includes('appears twice in the pack');
  }

  /** The oids of what was taken, null for a refusal. */
  async function taken(bytes: Buffer, given: Given): Promise<string | null> {
    const pool = new TestPool();
    pool.add(...BLOBS.slice(0, STORED));
    if (given.chunking === null) pool.largeBytesMin = Number.POSITIVE_INFINITY;
    const received = await pool.receive(bytes, given).catch(nullWhenRefused);
    if (received === null) return null;
    const { pack, chunked } = received;
    for (const { recipe } of chunked)
      assert.equal(
        recipe.sizeBytes,
        recipe.sizes.reduce((sum, size) => sum + size, 0),
      );
    await received.dispose();
    return createHash('sha256').update(pack.oids).update(Float64Array.from(pack.sizes)).digest('hex');
  }

  test('are judged alike, cut or not, and as git judges them', async (t) => {
    const part = fc.record({
      what: fc.constantFrom('whole' as const, 'ofs' as const, 'ref' as const),
      of: fc.nat(20),
      on: fc.nat(20),
      odd: fc.oneof({ weight: 1, arbitrary: fc.nat(7) }, { weight: 15, arbitrary: fc.constant(8) }),
    });
    const flip = fc.oneof({ weight: 5, arbitrary: fc.constant(null) }, { weight: 1, arbitrary: fc.tuple(fc.nat(), fc.nat(7)) });
    const input = fc.tuple(fc.array(part, { minLength: 1, maxLength: 7, size: 'max' }), flip, fc.constantFrom(977, 1 << 20));
    const counts = { taken: 0, refused: 0 };
    await fuzz(t, input, { runs: 45, bytesMax: 1 << 28 }, async ([parts, bit, pieceBytes]) => {
      let bytes = packOf(parts);
      if (bit !== null) {
        const body = Buffer.from(bytes.subarray(0, -20));
        body[bit[0] % body.length]! ^= 1 << bit[1];
        bytes = Buffer.concat([body, createHash('sha1').update(body).digest()]);
      }
      const whole = await taken(bytes, { chunking: null, pieceBytes });
      counts[whole === null ? 'refused' : 'taken']++;
      assert.equal(await taken(bytes, { memoryBytesMax: 0, pieceBytes }), whole, 'cut, by a worker');
      assert.equal(await gitTakes(bytes), whole !== null, 'by git');
      assert.deepEqual(readdirSync(spoolFolder), [], 'nothing is left behind');
    });
    assert.ok(counts.taken > 5 && counts.refused > 5, JSON.stringify(counts));
    t.diagnostic(`${counts.taken} taken, ${counts.refused} refused`);
  });
});
