import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { DEFAULT_SEVERITIES, type ObjectFormat } from '../object/mod.ts';
import { Sha1Batch } from '../sha1dc/mod.ts';
import { buildPack, entry, oidOf, scratchFolder, seededBytes, syntheticHistory, tryGit } from '../testkit/mod.ts';
import { DEFAULT_PACK_LIMITS, type ReceivedPack, receivePack } from './mod.ts';

const spoolFolder = scratchFolder('spool');

interface Given {
  readonly detectCollisions: boolean;
  readonly memoryBytesMax?: number;
  readonly format?: ObjectFormat;
}

async function* parts(bytes: Buffer): AsyncGenerator<Buffer, undefined> {
  for (let at = 0; at < bytes.length; at += 50_000) yield bytes.subarray(at, at + 50_000);
}

async function receive(
  bytes: Buffer,
  { detectCollisions, memoryBytesMax = 64 << 20, format = 'sha1' }: Given,
): Promise<ReceivedPack> {
  const received = await receivePack(parts(bytes), Buffer.alloc(0), {
    format,
    limits: DEFAULT_PACK_LIMITS,
    severities: DEFAULT_SEVERITIES,
    detectCollisions,
    memoryBytesMax,
    spoolFolder,
    readBase: async () => null,
  });
  await received.dispose();
  return received;
}

describe('a look out for collisions', () => {
  for (const [what, format, flags] of [
    ['ofs deltas', 'sha1', ['--delta-base-offset']],
    ['ref deltas', 'sha1', []],
    ['SHA-256', 'sha256', ['--delta-base-offset']],
  ] as const) {
    test(`changes nothing about a pack of ${what}`, async () => {
      const history = syntheticHistory({ commits: 120, files: 30, seed: 4, binaryBytes: 1_500_000, binaryEvery: 60 });
      const cwd = await history.into(undefined, format);
      const packed = await tryGit(['pack-objects', '--revs', '--all', '--stdout', '-q', ...flags], { cwd, input: '' });
      for (const memoryBytesMax of [0, 64 << 20]) {
        const [plain, checked] = [
          await receive(packed.stdout, { detectCollisions: false, memoryBytesMax, format }),
          await receive(packed.stdout, { detectCollisions: true, memoryBytesMax, format }),
        ];
        assert.ok(plain.pack.objectCount > 300);
        assert.deepEqual(checked.pack, plain.pack);
      }
    });
  }

  test('names the object, and leaves nothing behind for the next pack', async (context) => {
    const blobs = Array.from({ length: 9 }, (_, i) => `blob ${i}\n`);
    const pack = buildPack(blobs.map((blob) => entry('blob', blob)));
    const run = context.mock.method(Sha1Batch.prototype, 'run', () => 4);
    await assert.rejects(receive(pack, { detectCollisions: true }), {
      code: 'bad-pack',
      message: `SHA-1 appears to be part of a collision attack: ${oidOf('blob', blobs[4]!)}`,
    });
    run.mock.restore();
    assert.equal((await receive(pack, { detectCollisions: true })).pack.objectCount, 9);
  });

  test('names large blobs, and more than fits into one batch', async (context) => {
    const large = seededBytes(1, 3 << 20);
    const middle = Array.from({ length: 7 }, (_, i) => seededBytes(i + 2, 900_000));
    const small = Array.from({ length: 2500 }, (_, i) => `${i}`);
    const pack = buildPack([large, ...middle, ...small].map((blob) => entry('blob', blob)));
    const add = context.mock.method(Sha1Batch.prototype, 'add');
    const { oids } = (await receive(pack, { detectCollisions: true })).pack;
    const taken = add.mock.calls.filter(({ result }) => result === true).length;
    assert.equal(taken, middle.length + small.length);
    const expected = [large, ...middle, ...small].map((blob) => oidOf('blob', blob)).sort();
    assert.equal(oids.toString('hex'), expected.join(''));
  });
});
