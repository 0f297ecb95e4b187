import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { DEFAULT_SEVERITIES, type ObjectFormat } from '../object/mod.ts';
import { encodeIdx } from '../packformat/mod.ts';
import {
  buildDelta,
  buildPack,
  commitBody,
  entry,
  git,
  makeRepository,
  ofsDelta,
  oidOf,
  refDelta,
  scratchFolder,
  seededRandom,
  syntheticHistory,
  treeBody,
  tryGit,
} from '../testkit/mod.ts';
import { DEFAULT_PACK_LIMITS, type ExternalBase, PackError, type PackLimits, type ReceivedPack, receivePack } from './mod.ts';

interface Given {
  readonly format?: ObjectFormat;
  readonly limits?: Partial<PackLimits>;
  readonly memoryBytesMax?: number;
  readonly bases?: readonly Buffer[];
  readonly chunkBytes?: number;
}

const spoolFolder = scratchFolder('spool');

async function* chunksOf(bytes: Buffer, size: number): AsyncGenerator<Buffer, undefined> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function receive(
  bytes: Buffer,
  { format = 'sha1', limits = {}, memoryBytesMax = 8 << 20, bases = [], chunkBytes = 70_000 }: Given = {},
): Promise<ReceivedPack> {
  const blobs = new Map(bases.map((data): [string, Buffer] => [oidOf('blob', data), data]));
  return receivePack(chunksOf(bytes, chunkBytes), Buffer.alloc(0), {
    format,
    limits: { ...DEFAULT_PACK_LIMITS, ...limits },
    severities: DEFAULT_SEVERITIES,
    memoryBytesMax,
    spoolFolder,
    readBase: async (oid): Promise<ExternalBase | null> => {
      const data = blobs.get(oid.toString('hex'));
      return data === undefined ? null : { oid, kind: 3, data };
    },
  });
}

const hexes = (raw: Buffer): string[] =>
  Array.from({ length: raw.length / 20 }, (_, i) => raw.toString('hex', i * 20, i * 20 + 20));
const keptBytes = ({ place }: ReceivedPack): Buffer => (place.kind === 'memory' ? place.bytes : readFileSync(place.path));

/** Both ways of receiving: in memory at once, and by a worker from a spool file. */
const WAYS = [
  ['in memory', {}],
  ['in a spool file', { memoryBytesMax: 0 }],
] as const;

async function gitIndex(bytes: Buffer, format: ObjectFormat): Promise<Buffer> {
  const folder = scratchFolder('packs');
  const pack = join(folder, 'p.pack');
  writeFileSync(pack, bytes);
  await git(['index-pack', `--object-format=${format}`, '--no-rev-index', pack]);
  await git(['verify-pack', `--object-format=${format}`, pack]);
  return readFileSync(join(folder, 'p.idx'));
}

for (const format of ['sha1', 'sha256'] as const) {
  test(`packs of git in every manner of deltas give the index that git gives (${format})`, async () => {
    const repository = await makeRepository(format);
    await syntheticHistory({ commits: 120 }).into(repository);
    const objects = await git(['rev-list', '--objects', '--no-object-names', '--all'], { cwd: repository });
    for (const options of [
      ['--delta-base-offset'],
      [],
      ['--depth=0'],
      ['--depth=200', '--window=50', '--delta-base-offset'],
      ['--compression=0'],
    ]) {
      const { stdout } = await tryGit(['pack-objects', '--stdout', '-q', ...options], { cwd: repository, input: `${objects}\n` });
      const wanted = await gitIndex(stdout, format);
      for (const [way, given] of WAYS) {
        for (const chunkBytes of [997, 1 << 20]) {
          const received = await receive(stdout, { format, chunkBytes, limits: { baseCacheBytesMax: 4096 }, ...given });
          const { pack } = received;
          const idx = encodeIdx(
            { count: pack.objectCount, oids: pack.oids, offsets: pack.offsets, crcs: pack.crcs, checksum: pack.checksum },
            format,
          );
          assert.ok(idx.equals(wanted), `${options} ${way}`);
          assert.deepEqual(keptBytes(received), stdout);
          assert.equal(pack.frontier.kinds.length, 0, 'the history is whole');
          await received.dispose();
        }
      }
    }
  });
}

const [A, B, C, D] = ['a', 'b', 'c', 'd'].map((letter) => Buffer.from(letter.repeat(300))) as [Buffer, Buffer, Buffer, Buffer];
const oid = (data: Buffer): string => oidOf('blob', data);
/** A delta that copies nothing of its base. */
const onto = (base: Buffer, result: Buffer): Buffer =>
  buildDelta(
    base.length,
    result.length,
    [0, 100, 200].map((at) => ({ insert: result.toString('latin1', at, at + 100) })),
  );

function* permutations<T>(items: readonly T[]): Generator<T[]> {
  if (items.length === 0) yield [];
  for (let i = 0; i < items.length; i++) {
    for (const rest of permutations(items.filter((_, other) => other !== i))) yield [items[i]!, ...rest];
  }
}

for (const [way, given] of WAYS) {
  test(`a chain of ref deltas is resolved in any order, on a base inside or outside the pack, ${way}`, async () => {
    const chain = [refDelta(oid(A), onto(A, B)), refDelta(oid(B), onto(B, C)), refDelta(oid(C), onto(C, D))];
    for (const order of permutations(chain)) {
      const thin = await receive(buildPack(order), { ...given, bases: [A] });
      assert.deepEqual(hexes(thin.pack.oids), [B, C, D].map(oid).sort());
      assert.deepEqual(hexes(thin.pack.bases), [oid(A)], 'what the pack itself has is no outside base');
      assert.deepEqual(
        thin.bases.map((base) => base.oid.toString('hex')),
        [oid(A)],
      );
      await thin.dispose();
      const whole = await receive(buildPack([...order, entry('blob', A)]), given);
      assert.equal(whole.pack.bases.length, 0);
      await whole.dispose();
    }
  });

  test(`an outside base that the pack has as a delta too is taken from the pack, ${way}`, async () => {
    for (const order of permutations([refDelta(oid(A), onto(A, B)), refDelta(oid(B), onto(B, C))])) {
      const received = await receive(buildPack(order), { ...given, bases: [A, B] });
      assert.deepEqual(hexes(received.pack.bases), [oid(A)]);
      assert.deepEqual(
        received.bases.map((base) => base.oid.toString('hex')),
        [oid(A)],
      );
      await received.dispose();
    }
  });

  test(`deltas in a circle are refused, even where the objects are stored already, ${way}`, async () => {
    const circle = buildPack([refDelta(oid(B), onto(B, A)), refDelta(oid(A), onto(A, B))]);
    await assert.rejects(receive(circle, given), { code: 'bad-pack', message: 'pack has unresolved deltas' });
    await assert.rejects(receive(circle, { ...given, bases: [A, B] }), {
      code: 'bad-pack',
      message: 'pack has unresolved deltas',
    });
    await assert.rejects(receive(buildPack([refDelta(oid(A), onto(A, A))]), { ...given, bases: [A] }), { code: 'bad-pack' });
  });

  test(`an object that comes twice is kept once, and never as a delta on itself, ${way}`, async () => {
    const whole = entry('blob', A);
    const onWhole = ofsDelta(whole.length, onto(A, B));
    const packs = [
      [whole, whole, whole],
      [refDelta(oid(B), onto(B, A)), whole, onWhole],
      [whole, onWhole, refDelta(oid(B), onto(B, A)), refDelta(oid(A), onto(A, B)), whole],
      [refDelta(oid(B), onto(B, A)), refDelta(oid(A), onto(A, B)), entry('blob', B), entry('blob', B)],
    ];
    for (const entries of packs) {
      const received = await receive(buildPack(entries), given);
      const bytes = keptBytes(received);
      const { pack } = received;
      assert.equal(new Set(hexes(pack.oids)).size, pack.objectCount);
      const idx = encodeIdx(
        { count: pack.objectCount, oids: pack.oids, offsets: pack.offsets, crcs: pack.crcs, checksum: pack.checksum },
        'sha1',
      );
      assert.ok(idx.equals(await gitIndex(bytes, 'sha1')));
      await received.dispose();
    }
  });

  test(`a pack of version 3 is kept as one of version 2, ${way}`, async () => {
    const received = await receive(buildPack([entry('blob', A)], { version: 3 }), given);
    assert.deepEqual(keptBytes(received), buildPack([entry('blob', A)]));
    await received.dispose();
  });
}

test('links out of the pack are told with each kind that they ask for', async () => {
  const gone = '12'.repeat(20);
  const tree = treeBody([
    ['100644', 'a', gone],
    ['40000', 'b', gone],
    ['40000', 'c', oid(A)],
    ['160000', 'd', '34'.repeat(20)],
  ]);
  const commit = commitBody(oidOf('tree', tree), [oid(A)]);
  const { pack } = await receive(buildPack([entry('blob', A), entry('tree', tree), entry('commit', commit)]));
  const links = hexes(pack.frontier.oids).map((hex, i) => `${pack.frontier.kinds[i]} ${hex}`);
  assert.deepEqual(links.sort(), [`1 ${oid(A)}`, `2 ${gone}`, `2 ${oid(A)}`, `3 ${gone}`].sort());
  assert.deepEqual(hexes(pack.sources), [oidOf('commit', commit)]);
});

test('a long chain is resolved whatever the base cache holds, and no deeper than allowed', async () => {
  const entries = [entry('blob', A)];
  let last = A;
  for (let i = 0; i < 1500; i++) {
    const next = Buffer.from(`${i}`.padStart(6, '0').repeat(50));
    entries.push(ofsDelta(entries.at(-1)!.length, onto(last, next)));
    last = next;
  }
  const pack = buildPack(entries);
  for (const baseCacheBytesMax of [0, 1000, 1 << 20]) {
    const received = await receive(pack, { limits: { baseCacheBytesMax } });
    assert.ok(hexes(received.pack.oids).includes(oid(last)));
  }
  await assert.rejects(receive(pack, { limits: { deltaDepthMax: 1000 } }), { code: 'bad-pack', message: /deeper than 1000/ });
});

test('branches of a delta tree are resolved again from what was dropped', async () => {
  const random = seededRandom(3);
  const objects = [A];
  const entries = [entry('blob', A)];
  const starts = [0];
  let position = entries[0]!.length;
  for (let i = 1; i < 400; i++) {
    const parent = Math.max(0, i - 1 - random(8));
    const result = Buffer.from(`${i * 7}`.padStart(6, '0').repeat(50));
    const delta = ofsDelta(position - starts[parent]!, onto(objects[parent]!, result));
    starts.push(position);
    position += delta.length;
    objects.push(result);
    entries.push(delta);
  }
  const received = await receive(buildPack(entries), { limits: { baseCacheBytesMax: 700 } });
  assert.deepEqual(hexes(received.pack.oids), objects.map(oid).sort());
});

test('a pack that makes far more than it holds is refused, and a small one that makes much is left to a worker', async () => {
  const zeros = Buffer.alloc(48 << 20);
  const received = await receive(buildPack([entry('blob', zeros)]));
  assert.equal(received.place.kind, 'spool');
  assert.deepEqual(hexes(received.pack.oids), [oid(zeros)]);
  await received.dispose();
  const limits = { madeBytesFree: 1000, madeBytesPerPackByte: 1 };
  const entries = [entry('blob', A), ...[B, C, D].map((data) => refDelta(oid(A), onto(A, data)))];
  await assert.rejects(receive(buildPack(entries), { limits }), { code: 'bad-pack', message: /too much for its size/ });
});

test('mutated packs are refused as packs, never by another error, and leave nothing behind', async () => {
  const repository = await makeRepository();
  await syntheticHistory({ commits: 6, files: 5 }).into(repository);
  const objects = await git(['rev-list', '--objects', '--no-object-names', '--all'], { cwd: repository });
  const { stdout: good } = await tryGit(['pack-objects', '--stdout', '-q'], { cwd: repository, input: `${objects}\n` });
  const random = seededRandom(11);
  let refused = 0;
  for (let run = 0; run < 3000; run++) {
    const length = random(10) === 0 ? random(good.length) : good.length;
    const bytes = Buffer.from(good.subarray(0, length));
    for (let edits = random(4); edits >= 0; edits--) if (bytes.length > 0) bytes[random(bytes.length)] = random(256);
    try {
      const received = await receive(bytes, run % 100 === 0 ? { memoryBytesMax: 100 } : {});
      await received.dispose();
    } catch (error) {
      assert.ok(error instanceof PackError, String((error as Error).stack));
      refused++;
    }
  }
  assert.ok(refused > 2900, `only ${refused} were refused`);
  assert.deepEqual(readdirSync(spoolFolder), []);
});

test('an aborted reception lets go of its worker and its files', async () => {
  mkdirSync(join(spoolFolder, 'abort'));
  const abort = new AbortController();
  async function* body(): AsyncGenerator<Buffer, undefined> {
    yield buildPack([entry('blob', A)]).subarray(0, 20);
    yield Buffer.alloc(1000);
    abort.abort(new Error('the client left'));
    throw abort.signal.reason;
  }
  const options = { format: 'sha1', limits: DEFAULT_PACK_LIMITS, severities: DEFAULT_SEVERITIES, memoryBytesMax: 10 } as const;
  const spool = join(spoolFolder, 'abort');
  await assert.rejects(
    receivePack(body(), Buffer.alloc(0), { ...options, spoolFolder: spool, readBase: async () => null, signal: abort.signal }),
    /the client left|pack|zlib/,
  );
  assert.deepEqual(readdirSync(spool), []);
});

test('commits that repeat the many parents of others by deltas are refused, however small the pack', async () => {
  const parents = Array.from({ length: 40 }, (_, i) => i.toString(16).padStart(40, '0'));
  const octopus = commitBody(oidOf('tree', ''), parents, 'octopus\n');
  const entries = [entry('tree', ''), entry('commit', octopus)];
  for (let i = 0, distance = entries[1]!.length; i < 30; i++) {
    const text = `${i}\n`.padStart(4, '0');
    const ops = [{ copy: [0, octopus.length] as const }, { insert: text }];
    entries.push(ofsDelta(distance, buildDelta(octopus.length, octopus.length + 4, ops)));
    distance += entries.at(-1)!.length;
  }
  for (const [, given] of WAYS) {
    const limits = { parentsFree: 500, parentsPerCommit: 8 };
    await assert.rejects(
      receive(buildPack(entries), { ...given, limits }),
      /^PackError: 16 commits have 640 parents, the limit is 628$/,
    );
    await (await receive(buildPack(entries), given)).dispose();
  }
});
