import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, openSync, readdirSync, readlinkSync, rmSync, statSync, truncateSync, writeSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, mock, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { seededBytes } from '../testkit/mod.ts';
import { DISK_BLOCK_BYTES, DiskCache } from './disk-cache.ts';

const BLOCK = DISK_BLOCK_BYTES;
const root = mkdtempSync(join(tmpdir(), 'packhouse-disk-cache-'));
after(() => rmSync(root, { recursive: true, force: true }));

async function withCache(
  slots: number,
  work: (cache: DiskCache, told: { lookups: boolean[]; faults: string[]; folder: string }) => Promise<void>,
): Promise<void> {
  const folder = mkdtempSync(join(root, 'cache-'));
  const told = { lookups: [] as boolean[], faults: [] as string[], folder };
  const cache = await DiskCache.open({
    folder: join(folder, 'made'),
    bytesMax: slots * BLOCK + 1,
    recentMs: 0,
    onLookup: (hit) => told.lookups.push(hit),
    onFault: ({ message }) => told.faults.push(message),
  });
  try {
    await work(cache, told);
  } finally {
    await cache.close();
  }
}

/** The file that has no name, by the folder it was made in. */
function unnamed(folder: string): string {
  const of = (fd: string): string => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return '';
    }
  };
  const fd = readdirSync('/proc/self/fd').find((each) => of(each).startsWith(folder));
  assert(fd, 'the cache has a file');
  return `/proc/self/fd/${fd}`;
}

function overwrite(path: string, at: number): void {
  const fd = openSync(path, 'r+');
  writeSync(fd, Buffer.from('damaged'), 0, 7, at);
  closeSync(fd);
}

test('blocks come back as they were kept, all of those that are asked for or none; no file has a name', async () => {
  await withCache(8, async (cache, { lookups, folder }) => {
    const bytes = seededBytes(1, 2 * BLOCK + 5);
    void cache.keep('a', 3, bytes, cache.generation);
    await cache.settled();
    assert((await cache.read('a', 3, bytes.length))?.equals(bytes));
    assert((await cache.read('a', 4, BLOCK, Buffer.allocUnsafe))?.equals(bytes.subarray(BLOCK, 2 * BLOCK)));
    assert.equal(await cache.read('a', 2, BLOCK, Buffer.allocUnsafe), undefined);
    assert.equal(await cache.read('a', 3, 3 * BLOCK, Buffer.allocUnsafe), undefined);
    assert.equal(await cache.read('b', 3, BLOCK, Buffer.allocUnsafe), undefined);
    assert.deepEqual(lookups, [true, true, false, false, false]);
    cache.forget('a', 4, 1);
    assert.equal(await cache.read('a', 3, bytes.length), undefined);
    assert((await cache.read('a', 3, BLOCK))?.equals(bytes.subarray(0, BLOCK)));
    assert.deepEqual(readdirSync(join(folder, 'made')), []);
  });
});

test('what is to be forgotten while it is written is forgotten', async () => {
  await withCache(4, async (cache) => {
    void cache.keep('a', 0, seededBytes(6, 2 * BLOCK), cache.generation);
    const { generation } = cache;
    cache.forget('a', 1, 1);
    await cache.settled();
    assert.equal(await cache.read('a', 1, BLOCK, Buffer.allocUnsafe), undefined);
    void cache.keep('a', 1, seededBytes(6, BLOCK), generation);
    await cache.settled();
    assert.equal(await cache.read('a', 1, BLOCK, Buffer.allocUnsafe), undefined);
    // And no longer than that.
    void cache.keep('a', 1, seededBytes(6, BLOCK), cache.generation);
    void cache.keep('a', 2, seededBytes(6, BLOCK), cache.generation);
    await cache.settled();
    assert(await cache.read('a', 1, 2 * BLOCK, Buffer.allocUnsafe));
  });
});

test('the least recently used give way, and the file does not grow beyond what it may have', async () => {
  await withCache(4, async (cache, { folder }) => {
    const bytes = seededBytes(2, BLOCK);
    for (let i = 0; i < 4; i++) void cache.keep('a', i, bytes, cache.generation);
    await cache.settled();
    await cache.read('a', 0, BLOCK, Buffer.allocUnsafe);
    for (let i = 4; i < 7; i++) void cache.keep('a', i, bytes, cache.generation);
    await cache.settled();
    const here = await Promise.all([0, 1, 2, 3, 4, 5, 6].map((i) => cache.read('a', i, BLOCK)));
    assert.deepEqual(
      here.map((each) => each !== undefined),
      [true, false, false, false, true, true, true],
    );
    assert.equal(statSync(unnamed(folder)).size, 4 * BLOCK);
    void cache.keep('b', 0, seededBytes(3, 9 * BLOCK), cache.generation);
    await cache.settled();
    assert.equal(statSync(unnamed(folder)).size, 4 * BLOCK);
  });
});

test('what is being read keeps its place', async () => {
  await withCache(2, async (cache) => {
    const bytes = seededBytes(7, 2 * BLOCK);
    void cache.keep('a', 0, bytes, cache.generation);
    await cache.settled();
    const handle = await open(import.meta.filename);
    const prototype = Object.getPrototypeOf(handle) as FileHandle;
    const { read } = prototype;
    await handle.close();
    const late = mock.method(prototype, 'read', async function (this: FileHandle, ...args: unknown[]) {
      await sleep(50);
      return await Reflect.apply(read, this, args);
    });
    try {
      const reading = cache.read('a', 0, 2 * BLOCK, Buffer.allocUnsafe);
      void cache.keep('b', 0, seededBytes(8, BLOCK), cache.generation);
      assert((await reading)?.equals(bytes));
    } finally {
      late.mock.restore();
    }
    void cache.keep('b', 0, seededBytes(8, BLOCK), cache.generation);
    await cache.settled();
    assert((await cache.read('b', 0, BLOCK))?.equals(seededBytes(8, BLOCK)));
  });
});

test('what the disk damaged is not given', async () => {
  for (const passedOn of [undefined, Buffer.allocUnsafe]) {
    await withCache(4, async (cache, { folder, faults }) => {
      const bytes = seededBytes(4, 2 * BLOCK);
      void cache.keep('a', 0, bytes, cache.generation);
      await cache.settled();
      overwrite(unnamed(folder), BLOCK + 100);
      assert((await cache.read('a', 0, BLOCK, passedOn))?.equals(bytes.subarray(0, BLOCK)));
      assert.equal(await cache.read('a', 0, 2 * BLOCK, passedOn), undefined);
      assert.deepEqual(faults, ['a block is not what was written']);
      assert(!cache.isOpen);
      assert.equal(await cache.read('a', 0, BLOCK, passedOn), undefined);
    });
  }
});

test('what was compared is believed for a while, but for what is kept in memory', async () => {
  await withCache(4, async (cache, { folder }) => {
    void cache.keep('a', 0, seededBytes(4, BLOCK), cache.generation);
    await cache.settled();
    assert(await cache.read('a', 0, BLOCK, Buffer.allocUnsafe));
    overwrite(unnamed(folder), 100);
    assert(await cache.read('a', 0, BLOCK, Buffer.allocUnsafe));
    mock.timers.enable({ apis: ['Date'], now: Date.now() + 61_000 });
    try {
      assert.equal(await cache.read('a', 0, BLOCK, Buffer.allocUnsafe), undefined);
    } finally {
      mock.timers.reset();
    }
  });
});

test('a file that is cut is a fault, too', async () => {
  await withCache(4, async (cache, { folder, faults }) => {
    void cache.keep('a', 0, seededBytes(4, BLOCK), cache.generation);
    await cache.settled();
    truncateSync(unnamed(folder), 5);
    assert.equal(await cache.read('a', 0, BLOCK, Buffer.allocUnsafe), undefined);
    assert.equal(faults.length, 1);
  });
});

test('where there is no room for a block there is no cache', async () => {
  await assert.rejects(
    withCache(0, async () => {}),
    /no room/,
  );
});

test('reading more than there is room for leaves most of what is here', async () => {
  const folder = mkdtempSync(join(root, 'cache-'));
  const cache = await DiskCache.open({ folder, bytesMax: 40 * BLOCK });
  const bytes = seededBytes(9, BLOCK);
  let hits = 0;
  for (let round = 0; round < 5; round++) {
    for (let i = 0; i < 50; i++) {
      if ((await cache.read('a', i, BLOCK, Buffer.allocUnsafe)) !== undefined) hits++;
      else void cache.keep('a', i, bytes, cache.generation);
      await cache.settled();
    }
  }
  await cache.close();
  assert(hits > 50, `${hits} of 200 were here`);
});

test('a disk that takes nothing more gets its place back, and the cache is as if it were empty', async () => {
  await withCache(8, async (cache, { faults, folder }) => {
    const bytes = seededBytes(5, 2 * BLOCK);
    void cache.keep('a', 0, bytes, cache.generation);
    await cache.settled();
    const handle = await open(import.meta.filename);
    const full = mock.method(Object.getPrototypeOf(handle), 'write', () => Promise.reject(new Error('ENOSPC: no space left')));
    await handle.close();
    try {
      void cache.keep('a', 2, bytes, cache.generation);
      void cache.keep('a', 4, bytes, cache.generation);
      await cache.settled();
    } finally {
      full.mock.restore();
    }
    assert.deepEqual(faults, ['ENOSPC: no space left']);
    void cache.keep('a', 6, bytes, cache.generation);
    for (const first of [0, 2, 4, 6]) assert.equal(await cache.read('a', first, bytes.length, Buffer.allocUnsafe), undefined);
    const path = unnamed(folder);
    for (let i = 0; i < 100 && statSync(path).size > 0; i++) await sleep(10);
    assert.equal(statSync(path).size, 0);
  });
});

test('whatever is kept, read and forgotten side by side: what comes is what was kept', async () => {
  const contents = Array.from({ length: 12 }, (_, i) => seededBytes(100 + i, BLOCK));
  const run = (first: number, count: number): Buffer => Buffer.concat(contents.slice(first, first + count));
  const step = fc.record({
    kind: fc.constantFrom('keep', 'read', 'read', 'forget', 'wait'),
    first: fc.nat(9),
    count: fc.integer({ min: 1, max: 3 }),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 20, maxLength: 80 }), async (steps) => {
      await withCache(5, async (cache, { lookups }) => {
        const reads: Promise<void>[] = [];
        for (const { kind, first, count } of steps) {
          if (kind === 'keep') {
            const bytes = run(first, count);
            // Looked at no more, it may become something else.
            void cache.keep('a', first, bytes, cache.generation).then(() => bytes.fill(0));
          } else if (kind === 'forget') cache.forget('a', first, count);
          else if (kind === 'wait') await cache.settled();
          else
            reads.push(
              cache.read('a', first, count * BLOCK, Buffer.allocUnsafe).then((bytes) => {
                assert(bytes === undefined || bytes.equals(run(first, count)));
              }),
            );
        }
        await Promise.all(reads);
        assert.equal(lookups.length, reads.length);
        await cache.settled();
        void cache.keep('a', 0, run(0, 5), cache.generation);
        await cache.settled();
        assert((await cache.read('a', 0, 5 * BLOCK))?.equals(run(0, 5)), 'no place is lost');
      });
    }),
    { numRuns: 60 },
  );
});
