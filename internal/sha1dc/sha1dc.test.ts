import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { seededBytes, seededRandom } from '../testkit/mod.ts';
import { BATCH_AT, CHAIN_AT, JOBS_AT, sha1Kernel, WINDOW_AT } from './kernel.ts';
import { CheckedSha1, Sha1Batch } from './mod.ts';
import { CLASSES, expandedWords, mayBe, neededOf, stateBefore } from './plain-testing.ts';
import { SHATTERED } from './shattered-testing.ts';

/** The kernel's layout: the states before steps 58 and 65; vectors of bits K - 35, one a class; the second group of lanes; differences of all vectors, class by class; what the other block needs. */
const STATES_AT = [CHAIN_AT - 2 * 5 * 16, CHAIN_AT - 5 * 16] as const;
const MAY_AT = CHAIN_AT + 5 * 16;
const GROUP_BYTES = MAY_AT + 64 - 1024;
const DIFFERENCES_AT = MAY_AT + 64 + GROUP_BYTES;
const NEEDED_AT = DIFFERENCES_AT + 32 * 320 + 8 * 12 + 90 * 4;

function digestOf(message: Buffer): { digest: string; isAttack: boolean } {
  const sha1 = new CheckedSha1().update(message);
  const digest = sha1.digest().toString('hex');
  return { digest, isAttack: sha1.isAttack };
}

const asBlob = (data: Buffer): Buffer => Buffer.concat([Buffer.from(`blob ${data.length}\0`), data]);

describe('SHA-1 with collision detection', () => {
  test('gives the digests of SHA-1, of messages in any parts', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 20 }), (parts) => {
        const sha1 = new CheckedSha1();
        for (const part of parts) sha1.update(Buffer.from(part));
        assert.equal(sha1.digest().toString('hex'), hash('sha1', Buffer.concat(parts)));
        assert.equal(sha1.isAttack, false);
      }),
    );
    const long = seededBytes(7, 300_001);
    assert.equal(digestOf(long).digest, hash('sha1', long));
  });

  test('keeps messages apart that are streamed at the same time', () => {
    const streams = [new CheckedSha1(), new CheckedSha1()];
    const sent: Buffer[][] = [[], []];
    for (let i = 0; i < 40; i++) {
      const part = seededBytes(i, (i * 37) % 200);
      streams[i % 2]!.update(part);
      sent[i % 2]!.push(part);
    }
    for (const [i, stream] of streams.entries())
      assert.equal(stream.digest().toString('hex'), hash('sha1', Buffer.concat(sent[i]!)));
  });

  test('gives the digests of a batch, each where it was added', () => {
    const batch = new Sha1Batch();
    const random = seededRandom(5);
    for (const count of [1, 2, 3, 4, 5, 200]) {
      batch.clear();
      const messages = Array.from({ length: count }, (_, i) => seededBytes(i, random(random(8) === 0 ? 20_000 : 700)));
      for (const message of messages) assert.ok(batch.add(message, 0, message.length));
      assert.equal(batch.run(), -1);
      for (const [i, message] of messages.entries()) {
        const digest = Buffer.alloc(22);
        batch.copyDigest(i, digest, 1);
        assert.equal(digest.toString('hex', 1, 21), hash('sha1', message));
        assert.ok(batch.memory.subarray(batch.start(i), batch.end(i)).equals(message));
      }
    }
  });

  test('gives the digests of any number of messages of like and unlike lengths', () => {
    const batch = new Sha1Batch();
    const long = seededBytes(3, 1_000_000);
    for (let count = 1; count <= 20; count++) {
      for (const unlike of [0, 1, 700]) {
        batch.clear();
        const messages = Array.from({ length: count }, (_, i) => long.subarray(i, i + 150 + ((i * unlike) % 2048)));
        for (const message of messages) assert.ok(batch.add(message, 0, message.length));
        assert.equal(batch.run(), -1);
        const digest = Buffer.alloc(20);
        for (const [i, message] of messages.entries()) {
          batch.copyDigest(i, digest, 0);
          assert.equal(digest.toString('hex'), hash('sha1', message), `${i} of ${count}`);
        }
      }
    }
  });

  test('works on long messages while short ones at the end of the batch are done', () => {
    const batch = new Sha1Batch();
    const long = seededBytes(4, (1 << 20) - 200);
    const short = Buffer.from('short');
    const messages = [long, long, long, long.subarray(1), short, short, short];
    for (const message of messages) assert.ok(batch.add(message, 0, message.length));
    assert.equal(batch.run(), -1);
    const digest = Buffer.alloc(20);
    for (const [i, message] of messages.entries()) {
      batch.copyDigest(i, digest, 0);
      assert.equal(digest.toString('hex'), hash('sha1', message));
    }
  });

  test('takes what fits into a batch and no more', () => {
    const batch = new Sha1Batch();
    const message = seededBytes(1, 1 << 20);
    assert.ok(Sha1Batch.holds(message.length) && !Sha1Batch.holds(message.length + 1));
    batch.clear();
    let taken = 0;
    while (batch.add(message, 0, message.length)) taken++;
    assert.equal(taken, 3);
    while (batch.add(message, 0, 1)) taken++;
    assert.equal(taken, 1024);
    assert.equal(batch.run(), -1);
    const digest = Buffer.alloc(20);
    batch.copyDigest(2, digest, 0);
    assert.equal(digest.toString('hex'), hash('sha1', message));
  });
});

describe('collision detection', () => {
  test('finds both messages of the published collision, whatever follows, and gives their digest', () => {
    const [first, second] = SHATTERED;
    assert.equal(hash('sha1', first), hash('sha1', second));
    for (const message of SHATTERED) {
      for (const tail of [0, 1, 55, 64, 100_000]) {
        const whole = Buffer.concat([message, seededBytes(tail, tail)]);
        assert.deepEqual(digestOf(whole), { digest: hash('sha1', whole), isAttack: true });
      }
    }
  });

  test('finds it in any place of a batch', () => {
    const batch = new Sha1Batch();
    const random = seededRandom(3);
    for (let round = 0; round < 40; round++) {
      batch.clear();
      const at = random(round + 1);
      for (let i = 0; i <= round; i++) {
        const message = i === at ? Buffer.concat([SHATTERED[round % 2]!, Buffer.alloc(random(90))]) : seededBytes(i, random(900));
        batch.add(message, 0, message.length);
      }
      assert.equal(batch.run(), at, `message ${at} of ${round + 1}`);
    }
  });

  test('finds nothing where there is no collision', () => {
    const [first] = SHATTERED;
    // Its blocks in a git blob have another chaining value: they collide with nothing.
    assert.equal(digestOf(asBlob(first)).isAttack, false);
    // The first block of the attack alone only comes near a collision.
    assert.equal(digestOf(first.subarray(0, 256)).isAttack, false);
    for (let bit = 0; bit < 128 * 8; bit += 5) {
      const other = Buffer.from(first);
      other[192 + (bit >>> 3)]! ^= 1 << (bit & 7);
      assert.equal(digestOf(other).isAttack, false, `bit ${bit}`);
    }
  });

  test('tests those vectors, whose conditions hold, and no others', () => {
    const { memory, serial } = sha1Kernel();
    const seen = new Map<string, number>();
    for (let round = 0; round < 3000; round++) {
      const blocks = seededBytes(round, 256);
      blocks.copy(memory, WINDOW_AT);
      serial(CHAIN_AT, WINDOW_AT, 4);
      for (let lane = 0; lane < 4; lane++) {
        const words = expandedWords(blocks.subarray(lane * 64, lane * 64 + 64));
        for (const [i, vectors] of CLASSES.entries()) {
          const expected = vectors.ks.filter((k) => mayBe(words, vectors, k));
          const bits = memory.readUInt32LE(MAY_AT + i * 16 + lane * 4);
          const found = Array.from({ length: 32 }, (_, bit) => bit + 35).filter((k) => (bits >>> (k - 35)) & 1);
          assert.deepEqual(found, expected);
          seen.set(vectors.name, (seen.get(vectors.name) ?? 0) + found.length);
        }
      }
    }
    for (const { name } of CLASSES) assert.ok((seen.get(name) ?? 0) > 0, `${name}: none of the blocks met its conditions`);
  });

  test('knows in each of eight lanes which vectors may be, and the states that they need', () => {
    const { memory, lanes } = sha1Kernel();
    const start = [0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0] as const;
    const seen = new Set<number>();
    for (let round = 0; round < 300; round++) {
      const blocks = seededBytes(round, 8 * 64);
      blocks.copy(memory, BATCH_AT);
      for (let lane = 0; lane < 8; lane++) {
        memory.writeUInt32LE(BATCH_AT + lane * 64, JOBS_AT + lane * 8);
        memory.writeUInt32LE(1, JOBS_AT + lane * 8 + 4);
      }
      assert.equal(lanes(8), -1);
      for (let lane = 0; lane < 8; lane++) {
        const at = (lane >> 2) * GROUP_BYTES + (lane & 3) * 4;
        const expanded = expandedWords(blocks.subarray(lane * 64, lane * 64 + 64));
        const vectorAt = (from: number, count: number): number[] =>
          Array.from({ length: count }, (_, i) => memory.readUInt32LE(from + at + i * 16));
        assert.deepEqual(vectorAt(STATES_AT[0], 5), [...stateBefore(58, start, expanded)]);
        assert.deepEqual(vectorAt(STATES_AT[1], 5), [...stateBefore(65, start, expanded)]);
        const may = CLASSES.map((vectors) =>
          vectors.ks.filter((k) => mayBe(expanded, vectors, k)).reduce((bits, k) => bits | (1 << (k - 35)), 0),
        );
        assert.deepEqual(vectorAt(MAY_AT, 4), may);
        if (may.some((bits) => bits !== 0)) seen.add(lane);
      }
    }
    assert.equal(seen.size, 8, 'blocks in every lane met conditions');
  });

  test('looks where the other block ends, by the state before step 58 and before step 65', () => {
    const { memory, serial } = sha1Kernel();
    const vectors = CLASSES.flatMap((vector) => vector.ks.map((k) => ({ vector, k })));
    const words = (at: number, count: number, step: number): number[] =>
      Array.from({ length: count }, (_, i) => memory.readUInt32LE(at + i * step));
    const seen = new Map<number, number>();
    for (let round = 0; round < 4000; round++) {
      const block = seededBytes(round, 64);
      block.copy(memory, WINDOW_AT);
      const [a, b, c, d, e] = words(CHAIN_AT, 5, 16) as [number, number, number, number, number];
      assert.equal(serial(CHAIN_AT, WINDOW_AT, 1), 0);
      const expanded = expandedWords(block);
      const last = vectors.findLastIndex(({ vector, k }) => mayBe(expanded, vector, k));
      if (last < 0) continue;
      const from = vectors[last]!.k < 50 ? 58 : 65;
      const differences = Uint32Array.from(words(DIFFERENCES_AT + last * 320, 80, 4));
      assert.deepEqual(words(NEEDED_AT, 5, 4), neededOf([a, b, c, d, e], expanded, differences, from));
      seen.set(from, (seen.get(from) ?? 0) + 1);
    }
    for (const from of [58, 65]) assert.ok((seen.get(from) ?? 0) > 10, `${seen.get(from)} blocks of step ${from}`);
  });
});
