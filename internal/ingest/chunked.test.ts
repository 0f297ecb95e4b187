import assert from 'node:assert/strict';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import {
  buildDelta,
  buildPack,
  type DeltaOp,
  entry,
  git,
  makeRepository,
  ofsDelta,
  oidOf,
  refDelta,
  seededBytes,
  seededRandom,
  treeBody,
  tryGit,
} from '../testkit/mod.ts';
import { type Given, spoolFolder, TestPool } from './chunked-testing.ts';
import { IncomingReader, PackError } from './mod.ts';

const LARGE = seededBytes(1, 300_000);
const TEXT = Buffer.from(Array.from({ length: 20_000 }, (_, i) => `row ${(i * i) % 7919} of a long table\n`).join(''));
const SMALL = seededBytes(2, 5000);

/** `data` with `given` in place of the bytes [at, at + taken). */
function edited(data: Buffer, at: number, taken: number, given: Buffer): Buffer {
  return Buffer.concat([data.subarray(0, at), given, data.subarray(at + taken)]);
}

function copies(offset: number, length: number): DeltaOp[] {
  const ops: DeltaOp[] = [];
  for (let done = 0; done < length; done += 50_000) ops.push({ copy: [offset + done, Math.min(50_000, length - done)] });
  return ops;
}

/** A delta that puts `inserted` (at most 127 bytes) into the base. */
function insertDelta(base: Buffer, at: number, inserted: Buffer): Buffer {
  const ops = [...copies(0, at), { insert: inserted.toString('latin1') }, ...copies(at, base.length - at)];
  return buildDelta(base.length, base.length + inserted.length, ops);
}

const oid = (data: Buffer): string => oidOf('blob', data);
const isEmpty = (): void => assert.deepEqual(readdirSync(spoolFolder), []);

describe('blobs that come whole', () => {
  for (const format of ['sha1', 'sha256'] as const) {
    test(`are cut, other objects stay (${format})`, async () => {
      const repository = await makeRepository(format);
      for (const [name, data] of [
        ['a', LARGE],
        ['b', TEXT],
        ['c', SMALL],
      ] as const)
        writeFileSync(join(repository, name), data);
      const oids = await git(['hash-object', '-w', 'a', 'b', 'c'], { cwd: repository });
      const { stdout } = await tryGit(['pack-objects', '--stdout', '-q'], { cwd: repository, input: `${oids}\n` });
      for (const given of [{}, { memoryBytesMax: 0 }, { memoryBytesMax: 0, pieceBytes: 5003 }]) {
        const received = await new TestPool().receive(stdout, { format, ...given });
        assert.equal(received.pack.objectCount, 3);
        assert.deepEqual(await new TestPool().accept(received), oids.split('\n').slice(0, 2).sort());
      }
      isEmpty();
    });
  }

  test('alone leave an empty pack', async () => {
    const received = await new TestPool().receive(buildPack([entry('blob', LARGE)]));
    assert.equal(received.pack.lengthBytes, 32);
    assert.equal(received.place.kind, 'spool', 'a pack with cut blobs is never one for the tail');
    assert.deepEqual(await new TestPool().accept(received), [oid(LARGE)]);
  });

  test('twice are cut once', async () => {
    const received = await new TestPool().receive(buildPack([entry('blob', LARGE), entry('blob', SMALL), entry('blob', LARGE)]));
    assert.deepEqual(await new TestPool().accept(received), [oid(LARGE)]);
  });

  test('stay when nothing is to be cut, and below the threshold', async () => {
    for (const given of [{ chunking: null }, { chunking: { thresholdBytes: LARGE.length + 1 } }]) {
      const received = await new TestPool().receive(buildPack([entry('blob', LARGE)]), given);
      assert.deepEqual(received.chunked, []);
      assert.equal(received.chunkPack, null);
      await received.dispose();
    }
    const received = await new TestPool().receive(buildPack([entry('blob', LARGE)]), {
      chunking: { thresholdBytes: LARGE.length },
    });
    assert.equal(received.chunked.length, 1);
    await received.dispose();
  });

  test('are objects of the push for links, and their bytes are not to be read', async () => {
    const tree = treeBody([['100644', 'a', oid(LARGE)]]);
    const pool = new TestPool();
    const received = await pool.receive(buildPack([entry('tree', tree), entry('blob', LARGE)]));
    assert.equal(received.pack.frontier.oids.length, 0);
    assert.equal(received.pack.sources.toString('hex'), oidOf('tree', tree));
    const reader = new IncomingReader(received.pack, received.place, async () => null);
    assert.equal(received.pack.sizes[reader.row(Buffer.from(oid(LARGE), 'hex'))], LARGE.length);
    await assert.rejects(reader.read(Buffer.from(oid(LARGE), 'hex')), (error: PackError) => error.data.tooMuchWork === true);
    assert.deepEqual((await reader.read(Buffer.from(oidOf('tree', tree), 'hex')))?.data, tree);
    await received.dispose();
  });
});

describe('known chunks', () => {
  test('are referenced, and nothing is written for a blob that is known whole', async () => {
    const pool = new TestPool();
    await pool.accept(await pool.receive(buildPack([entry('blob', LARGE)])));
    const again = await pool.receive(buildPack([entry('blob', LARGE)]));
    assert.equal(again.chunkPack, null);
    assert.deepEqual(await pool.accept(again), [oid(LARGE)]);
    const version = edited(LARGE, 150_000, 10, Buffer.from('changed'));
    const next = await pool.receive(buildPack([entry('blob', version)]));
    assert.ok(next.chunkPack!.lengthBytes < 40_000, `${next.chunkPack!.lengthBytes} bytes are new`);
    assert.deepEqual(await pool.accept(next), [oid(version)]);
  });

  test('are stored again where few stand between new ones, and only there', async () => {
    const pool = new TestPool();
    const first = await pool.receive(buildPack([entry('blob', LARGE)]));
    const { sizes } = first.chunked[0]!.recipe;
    await pool.accept(first);
    const ends: number[] = [];
    for (const size of sizes) ends.push((ends.at(-1) ?? 0) + size);
    /** New bytes in the middle of chunk 10 and of one `between` chunks after it. */
    const version = (between: number): Buffer => {
      const bytes = Buffer.from(LARGE);
      for (const chunk of [10, 11 + between]) bytes.write('new bytes', ends[chunk]! - Math.ceil(sizes[chunk]! / 2), 'latin1');
      return bytes;
    };
    for (const [between, again] of [
      [3, 3],
      [4, 0],
    ] as const) {
      const received = await pool.receive(buildPack([entry('blob', version(between))]));
      const { packIds, sha256s } = received.chunked[0]!.recipe;
      const known = await pool.findChunks(sha256s);
      assert.equal(Array.from(packIds).filter((id, i) => id === 0 && known.packIds[i]! > 0).length, again);
      await received.dispose();
    }
  });

  test('of the push itself are written once', async () => {
    const twice = Buffer.concat([LARGE, LARGE]);
    const pool = new TestPool();
    const received = await pool.receive(buildPack([entry('blob', twice), entry('blob', LARGE)]));
    assert.ok(received.chunkPack!.lengthBytes < LARGE.length * 1.15);
    assert.equal((await pool.accept(received)).length, 2);
    assert.equal(pool.lookUps, 1, 'a chunk is asked for once in a push');
  });
});

describe('deltas', () => {
  const versions = [LARGE];
  const random = seededRandom(4);
  for (let i = 1; i < 20; i++) versions.push(edited(versions[i - 1]!, random(250_000), random(500), seededBytes(i, random(500))));

  test('of git that make large blobs are cut, in chains and trees, whatever comes with them', async () => {
    const repository = await makeRepository();
    for (const [i, data] of [...versions, TEXT, SMALL, edited(SMALL, 50, 3, TEXT.subarray(0, 100))].entries()) {
      writeFileSync(join(repository, `v${i}`), data);
    }
    const oids = await git(['hash-object', '-w', ...readdirSync(repository).filter((name) => /^v\d/.test(name))], {
      cwd: repository,
    });
    for (const options of [['--delta-base-offset', '--depth=50'], ['--depth=50'], ['--depth=3', '--delta-base-offset']]) {
      const { stdout } = await tryGit(['pack-objects', '--stdout', '-q', '--window=30', ...options], {
        cwd: repository,
        input: `${oids}\n`,
      });
      assert.ok(stdout.length < 3 * LARGE.length, 'git made deltas');
      const pool = new TestPool();
      const received = await pool.receive(stdout, {
        pieceBytes: 11_003,
        limits: { baseCacheBytesMax: 5000, deltaObjectBytesMax: 99_000 },
      });
      assert.deepEqual(await pool.accept(received), [...versions, TEXT].map(oid).sort());
    }
    isEmpty();
  });

  test('on a large blob of the pool are applied from a file', async () => {
    const pool = new TestPool();
    pool.add(LARGE);
    const [b, c] = [insertDelta(LARGE, 1000, SMALL.subarray(0, 100)), insertDelta(LARGE, 200_000, SMALL.subarray(0, 50))];
    const [version, other] = [edited(LARGE, 1000, 0, SMALL.subarray(0, 100)), edited(LARGE, 200_000, 0, SMALL.subarray(0, 50))];
    const third = edited(version, 5, 0, SMALL.subarray(0, 7));
    const entries = [
      refDelta(oid(LARGE), b),
      refDelta(oid(version), insertDelta(version, 5, SMALL.subarray(0, 7))),
      refDelta(oid(LARGE), c),
    ];
    for (const order of [entries, [...entries].reverse()]) {
      const received = await pool.receive(buildPack(order), { thinBytesMax: 1 << 20 });
      assert.equal(received.pack.bases.toString('hex'), oid(LARGE), 'whoever accepts the pack must prove the base');
      assert.equal(received.bases.length, 0, 'what is kept needs no base');
      assert.deepEqual(await pool.accept(received), [version, other, third].map(oid).sort());
    }
    isEmpty();
  });

  test('between small and large blobs: what a large base leaves small becomes a whole entry', async () => {
    const part = LARGE.subarray(10_000, 60_000);
    const grown = Buffer.concat(Array(60).fill(SMALL));
    const entries = [entry('blob', LARGE)];
    entries.push(ofsDelta(entries[0]!.length, buildDelta(LARGE.length, part.length, copies(10_000, part.length))));
    const twice = buildDelta(part.length, 2 * part.length - 10_000, [
      ...copies(0, part.length),
      ...copies(0, part.length - 10_000),
    ]);
    const doubled = Buffer.concat([part, part.subarray(0, part.length - 10_000)]);
    entries.push(ofsDelta(entries[1]!.length, twice));
    entries.push(entry('blob', SMALL));
    entries.push(
      ofsDelta(
        entries[3]!.length,
        buildDelta(SMALL.length, grown.length, Array(60).fill({ copy: [0, SMALL.length] }) as DeltaOp[]),
      ),
    );
    entries.push(refDelta(oid(grown), buildDelta(grown.length, 9000, [{ copy: [100, 9000] }])));
    const pool = new TestPool();
    for (const given of [{}, { limits: { baseCacheBytesMax: 0 } }]) {
      const received = await pool.receive(buildPack(entries), given);
      assert.deepEqual(await pool.accept(received), [LARGE, grown].map(oid).sort());
      const small = [part, doubled, SMALL, grown.subarray(100, 9100)].map(oid);
      for (const hex of small) assert.ok(received.pack.oids.includes(Buffer.from(hex, 'hex')), hex);
    }
  });

  test('on an outside base whose result is cut need it no more; others on it take it along', async () => {
    const pool = new TestPool();
    pool.add(SMALL);
    const grown = Buffer.concat(Array(60).fill(SMALL));
    const grow = refDelta(
      oid(SMALL),
      buildDelta(SMALL.length, grown.length, Array(60).fill({ copy: [0, SMALL.length] }) as DeltaOp[]),
    );
    const stay = refDelta(oid(SMALL), insertDelta(SMALL, 10, Buffer.from('x')));
    for (const [entries, bases] of [
      [[grow], 0],
      [[grow, stay], 1],
    ] as const) {
      const received = await pool.receive(buildPack(entries), { thinBytesMax: 1 << 20 });
      assert.equal(received.pack.bases.toString('hex'), oid(SMALL));
      assert.equal(received.bases.length, bases);
      assert.deepEqual(await pool.accept(received), [oid(grown)]);
    }
  });
});

describe('hostile packs', () => {
  const bomb = (claim: number, ops: readonly DeltaOp[] = [{ copy: [0, LARGE.length] }]): Buffer =>
    buildPack([entry('blob', LARGE), refDelta(oid(LARGE), buildDelta(LARGE.length, claim, ops))]);

  test('that claim or make too much are refused before it is made', async () => {
    const cases: readonly (readonly [Buffer, Given, RegExp])[] = [
      [bomb(2 ** 40), {}, /makes 1099511627776 bytes, the limit is/],
      [bomb(2 ** 32), {}, /makes 300000 bytes, not the 4294967296 it claims/],
      [bomb(200_000), {}, /makes more than the 200000 bytes/],
      [bomb(300_000, [{ copy: [200_000, 100_001] }]), {}, /leaves the base/],
      [bomb(300_000, [{ raw: [0] }]), {}, /instruction 0/],
      [bomb(300_000, [{ raw: [0x91, 5] }]), {}, /ends inside/],
      [bomb(600_000, [...copies(0, 300_000), ...copies(0, 300_000)]), { limits: { objectBytesMax: 500_000 } }, /limit is 500000/],
      [
        bomb(600_000, [...copies(0, 300_000), ...copies(0, 300_000)]),
        { limits: { largeBytesFree: 500_000, madeBytesPerPackByte: 0 } },
        /limits.large_blob_bytes_max is 500000/,
      ],
    ];
    for (const [pack, given, message] of cases) {
      await assert.rejects(new TestPool().receive(pack, given), { code: 'bad-pack', message });
      isEmpty();
    }
  });

  test('of few bytes may make much of large blobs, which have a budget of their own', async () => {
    const pack = bomb(600_000, [...copies(0, 300_000), ...copies(0, 300_000)]);
    const received = await new TestPool().receive(pack, { limits: { madeBytesFree: 400_000, madeBytesPerPackByte: 0 } });
    assert.equal(received.chunked.length, 2);
    await received.dispose();
  });

  test('that copy from all over a large base pay for what is read', async () => {
    const ops: DeltaOp[] = Array.from({ length: 50_000 }, (_, i) => ({ copy: [i % 2 === 0 ? 0 : 200_000, 3] }));
    const limits = { largeBytesFree: 100 << 20, madeBytesPerPackByte: 0 };
    await assert.rejects(new TestPool().receive(bomb(150_000, ops), { limits }), {
      code: 'bad-pack',
      message: /limits.large_blob_bytes_max/,
    });
  });

  test('that are mutated are refused as packs and leave nothing behind', async () => {
    const good = buildPack([
      entry('blob', TEXT),
      refDelta(oid(TEXT), insertDelta(TEXT, 300, Buffer.from('inserted'))),
      entry('blob', SMALL),
    ]);
    const mutate = seededRandom(12);
    let refused = 0;
    for (let run = 0; run < 25; run++) {
      const bytes = Buffer.from(good.subarray(0, run % 5 === 0 ? mutate(good.length) : good.length));
      if (bytes.length > 0) bytes[mutate(bytes.length)]! ^= 1 << mutate(8);
      try {
        await (await new TestPool().receive(bytes, { memoryBytesMax: 0 })).dispose();
      } catch (error) {
        assert.ok(error instanceof PackError, String((error as Error).stack));
        refused++;
      }
    }
    assert.equal(refused, 25);
    isEmpty();
  });
});

test('a pool that cannot answer fails the push with its own error, and an abort ends a worker that waits for it', async () => {
  const pack = buildPack([entry('blob', LARGE)]);
  const findChunks = async (): Promise<never> => {
    throw new Error('the catalog is gone');
  };
  await assert.rejects(new TestPool().receive(pack, { chunking: { findChunks } }), /the catalog is gone/);
  const abort = new AbortController();
  const never = new Promise<never>(() => {});
  const waits = async (): Promise<never> => {
    abort.abort(new Error('the client left'));
    return never;
  };
  await assert.rejects(
    new TestPool().receive(pack, { chunking: { findChunks: waits }, signal: abort.signal }),
    /the client left/,
  );
  isEmpty();
});
