import assert from 'node:assert/strict';
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { PackhouseError } from '../base/mod.ts';
import type { PackStore, StoredObject } from './store.ts';

export interface StoreUnderTest {
  readonly store: PackStore;
  readonly dispose: () => Promise<void>;
}

export interface ConformanceOptions {
  /** Keys of the listing case: more than a page of the store's own listing. */
  readonly listedKeys: number;
  /** Size of the large object: several parts of the store's own. */
  readonly largeBytes: number;
}

const MIB = 1024 * 1024;
const DEFAULTS: ConformanceOptions = { listedKeys: 1100, largeBytes: 40 * MIB };

/** What each case is given: the store and a prefix of keys that nobody else uses. */
interface Bench {
  readonly store: PackStore;
  readonly prefix: string;
}
type Case = (bench: Bench) => Promise<void>;
type Register = (what: string, run: Case) => void;

export function hasCode(code: string): (error: unknown) => boolean {
  return (error) => error instanceof PackhouseError && error.code === code;
}

/** `lengthBytes` of reproducible noise in chunks of odd sizes. */
export async function* oddChunks(lengthBytes: number, seed = 1): AsyncGenerator<Buffer> {
  // Longer than 65,536 plus any chunk, so that each chunk is a slice of it.
  const pattern = createHash('shake256', { outputLength: 400_000 }).update(String(seed)).digest();
  for (let at = 0, turn = 0; at < lengthBytes; turn += 1) {
    const size = Math.min([1, 65_519, 999, 300_007, 16_385][turn % 5] ?? 1, lengthBytes - at);
    const from = at % 65_536;
    yield Buffer.from(pattern.subarray(from, from + size));
    at += size;
  }
}

export async function readWhole(store: PackStore, key: string, lengthBytes: number, stepBytes = 7 * MIB): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for (let offset = 0; offset < lengthBytes; offset += stepBytes) {
    pieces.push(await store.get(key, { offset, lengthBytes: Math.min(stepBytes, lengthBytes - offset) }));
  }
  return Buffer.concat(pieces);
}

async function collect(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of source) chunks.push(chunk);
  return Buffer.concat(chunks);
}

export async function listed(store: PackStore, prefix: string): Promise<StoredObject[]> {
  const found: StoredObject[] = [];
  for await (const object of store.list(prefix)) found.push(object);
  return found;
}

async function keysOf(store: PackStore, prefix: string): Promise<string[]> {
  return (await listed(store, prefix)).map(({ key }) => key);
}

/** Registers the cases that every pack store must pass, as tests of `node:test`. `create` is called once for each case. */
export function packStoreConformance(
  name: string,
  create: () => Promise<StoreUnderTest>,
  options: Partial<ConformanceOptions> = {},
): void {
  const register: Register = (what, run) => {
    test(`${name}: ${what}`, async () => {
      const { store, dispose } = await create();
      const prefix = `conformance/${randomUUID()}/`;
      try {
        await run({ store, prefix });
        for (const { key } of await listed(store, prefix)) await store.delete(key);
      } finally {
        await dispose();
      }
    });
  };
  const settings = { ...DEFAULTS, ...options };
  registerPuts(register, settings);
  registerFailedPuts(register, settings);
  registerGets(register);
  registerLists(register, settings);
  registerRefusals(register);
}

function registerPuts(register: Register, { largeBytes }: ConformanceOptions): void {
  register('bytes come back as they were put', async ({ store, prefix }) => {
    const bytes = randomBytes(100_001);
    assert.equal(await store.put(`${prefix}a.pack`, bytes), bytes.length);
    assert.deepEqual(await store.get(`${prefix}a.pack`, { offset: 0, lengthBytes: bytes.length }), bytes);
    const head = await store.head(`${prefix}a.pack`);
    assert.equal(head?.key, `${prefix}a.pack`);
    assert.equal(head?.lengthBytes, bytes.length);
    assert.ok(Math.abs(Date.now() - (head?.modifiedAt.getTime() ?? 0)) < 3_600_000, 'modified about now');
  });

  register('a view into a larger array is put without its surroundings', async ({ store, prefix }) => {
    const whole = new Uint8Array(randomBytes(5_000));
    await store.put(`${prefix}view`, whole.subarray(100, 300));
    assert.deepEqual(await store.get(`${prefix}view`, { offset: 0, lengthBytes: 200 }), Buffer.from(whole.subarray(100, 300)));
  });

  register('streams and iterables are put', async ({ store, prefix }) => {
    const wanted = await collect(oddChunks(400_000));
    assert.equal(await store.put(`${prefix}iterable`, oddChunks(400_000)), 400_000);
    assert.equal(await store.put(`${prefix}stream`, Readable.from(oddChunks(400_000))), 400_000);
    assert.deepEqual(await readWhole(store, `${prefix}iterable`, 400_000), wanted);
    assert.deepEqual(await readWhole(store, `${prefix}stream`, 400_000), wanted);
  });

  register('an empty object is an object', async ({ store, prefix }) => {
    assert.equal(await store.put(`${prefix}empty`, new Uint8Array(0)), 0);
    assert.equal(await store.put(`${prefix}empty-stream`, oddChunks(0)), 0);
    for (const key of [`${prefix}empty`, `${prefix}empty-stream`]) {
      assert.equal((await store.head(key))?.lengthBytes, 0);
      assert.equal((await store.get(key, { offset: 0, lengthBytes: 0 })).length, 0);
      await assert.rejects(store.get(key, { offset: 0, lengthBytes: 1 }), hasCode('store-short'));
    }
  });

  register('a large object of many odd chunks is put over several parts', async ({ store, prefix }) => {
    const key = `${prefix}large`;
    assert.equal(await store.put(key, oddChunks(largeBytes)), largeBytes);
    assert.equal((await store.head(key))?.lengthBytes, largeBytes);
    const wanted = createHash('sha256');
    for await (const chunk of oddChunks(largeBytes)) wanted.update(chunk);
    const got = createHash('sha256').update(await readWhole(store, key, largeBytes));
    assert.equal(got.digest('hex'), wanted.digest('hex'));
  });

  register('a large array is put over several parts', async ({ store, prefix }) => {
    const bytes = await collect(oddChunks(largeBytes));
    assert.equal(await store.put(`${prefix}large`, bytes), largeBytes);
    assert.ok((await readWhole(store, `${prefix}large`, largeBytes)).equals(bytes));
  });

  register('the same bytes may be put again', async ({ store, prefix }) => {
    const bytes = randomBytes(10_000);
    await store.put(`${prefix}twice`, bytes);
    assert.deepEqual(await store.get(`${prefix}twice`, { offset: 0, lengthBytes: 10_000 }), bytes);
    assert.equal(await store.put(`${prefix}twice`, bytes), 10_000);
    assert.deepEqual(await store.get(`${prefix}twice`, { offset: 0, lengthBytes: 10_000 }), bytes);
    assert.deepEqual(await keysOf(store, prefix), [`${prefix}twice`]);
  });
}

function registerFailedPuts(register: Register, { largeBytes }: ConformanceOptions): void {
  async function* failingAfter(lengthBytes: number, error: Error): AsyncGenerator<Buffer> {
    yield* oddChunks(lengthBytes);
    throw error;
  }
  async function assertNothing({ store, prefix }: Bench, key: string): Promise<void> {
    assert.equal(await store.head(key), null);
    await assert.rejects(store.get(key, { offset: 0, lengthBytes: 1 }), hasCode('store-missing'));
    assert.deepEqual(await keysOf(store, prefix), []);
    assert.equal(await store.removeUnfinished(-60), 0, 'nothing is left to clean up');
  }

  register('a source that fails leaves nothing, early or late', async (bench) => {
    for (const lengthBytes of [0, 1_000, largeBytes - 5]) {
      const error = new Error('the source broke');
      const key = `${bench.prefix}broken-${lengthBytes}`;
      await assert.rejects(bench.store.put(key, failingAfter(lengthBytes, error)), (thrown) => thrown === error);
      await assertNothing(bench, key);
    }
  });

  register('an aborted put leaves nothing and closes its source', async (bench) => {
    for (const lengthBytes of [1_000, largeBytes - 5]) {
      const abort = new AbortController();
      const reason = new Error('no longer wanted');
      let closed = false;
      async function* stuck(): AsyncGenerator<Buffer> {
        try {
          yield* oddChunks(lengthBytes);
          abort.abort(reason);
          for await (const chunk of oddChunks(largeBytes)) {
            await new Promise(setImmediate);
            yield chunk;
          }
          assert.fail('read to the end although aborted');
        } finally {
          closed = true;
        }
      }
      const key = `${bench.prefix}aborted-${lengthBytes}`;
      await assert.rejects(bench.store.put(key, stuck(), { signal: abort.signal }), (thrown) => thrown === reason);
      await new Promise(setImmediate);
      assert.ok(closed, 'the source was closed');
      await assertNothing(bench, key);
    }
  });

  register('an abort ends a put whose source never answers', async (bench) => {
    const abort = new AbortController();
    const silent = new Readable({ read() {} });
    const putting = bench.store.put(`${bench.prefix}silent`, silent, { signal: abort.signal });
    setTimeout(() => abort.abort(), 20);
    await assert.rejects(putting, (thrown) => thrown === abort.signal.reason);
    assert.ok(silent.destroyed);
    await assertNothing(bench, `${bench.prefix}silent`);
  });

  register('what was aborted before it began does not begin', async (bench) => {
    const signal = AbortSignal.abort(new Error('too late'));
    const isReason = (thrown: unknown) => thrown === signal.reason;
    await assert.rejects(bench.store.put(`${bench.prefix}never`, Buffer.from('x'), { signal }), isReason);
    await assert.rejects(bench.store.get(`${bench.prefix}never`, { offset: 0, lengthBytes: 1, signal }), isReason);
    await assertNothing(bench, `${bench.prefix}never`);
  });

  register('a source of anything but bytes is refused', async (bench) => {
    const strings = Readable.from(['not', 'bytes']) as AsyncIterable<never>;
    await assert.rejects(bench.store.put(`${bench.prefix}strings`, strings), hasCode('store-bad-source'));
    await assertNothing(bench, `${bench.prefix}strings`);
  });
}

function registerGets(register: Register): void {
  register('ranges are exact: first, last, inner, all, none', async ({ store, prefix }) => {
    const bytes = randomBytes(70_000);
    await store.put(`${prefix}r`, bytes);
    for (const [offset, lengthBytes] of [
      [0, 1],
      [69_999, 1],
      [1, 69_999],
      [12_345, 4_321],
      [0, 70_000],
      [70_000, 0],
      [5, 0],
    ] as const) {
      const got = await store.get(`${prefix}r`, { offset, lengthBytes });
      assert.deepEqual(got, bytes.subarray(offset, offset + lengthBytes), `${lengthBytes} bytes from ${offset}`);
      assert.equal(got.buffer.byteLength, lengthBytes, 'the buffer is the caller’s own');
    }
  });

  register('a range past the end is short, never cut', async ({ store, prefix }) => {
    await store.put(`${prefix}s`, randomBytes(1_000));
    for (const [offset, lengthBytes] of [
      [0, 1_001],
      [999, 2],
      [1_000, 1],
      [5_000, 10],
      [1_001, 0],
      [2 ** 33, 16],
    ] as const) {
      const error = await store.get(`${prefix}s`, { offset, lengthBytes }).catch((thrown: unknown) => thrown);
      assert.ok(hasCode('store-short')(error), `${lengthBytes} bytes from ${offset}: ${error}`);
      assert.equal((error as PackhouseError).data.key, `${prefix}s`);
    }
  });

  register('a missing object is missing', async ({ store, prefix }) => {
    await assert.rejects(store.get(`${prefix}none`, { offset: 0, lengthBytes: 10 }), hasCode('store-missing'));
    await assert.rejects(store.get(`${prefix}none`, { offset: 0, lengthBytes: 0 }), hasCode('store-missing'));
    assert.equal(await store.head(`${prefix}none`), null);
    assert.deepEqual(await keysOf(store, `${prefix}none`), []);
  });

  register('what a reader does to its buffer stays with the reader', async ({ store, prefix }) => {
    const bytes = randomBytes(300);
    await store.put(`${prefix}own`, bytes);
    (await store.get(`${prefix}own`, { offset: 0, lengthBytes: 300 })).fill(0);
    assert.deepEqual(await store.get(`${prefix}own`, { offset: 0, lengthBytes: 300 }), bytes);
  });

  register('many ranges are read at once', async ({ store, prefix }) => {
    const bytes = randomBytes(512 * 1024);
    await Promise.all([0, 1, 2].map((number) => store.put(`${prefix}c${number}`, bytes)));
    const reads = Array.from({ length: 200 }, async (_, number) => {
      const offset = (number * 2_617) % 500_000;
      const got = await store.get(`${prefix}c${number % 3}`, { offset, lengthBytes: 4_096 });
      return got.equals(bytes.subarray(offset, offset + 4_096));
    });
    assert.deepEqual(new Set(await Promise.all(reads)), new Set([true]));
  });

  register('deleting is idempotent and final', async ({ store, prefix }) => {
    await store.put(`${prefix}d/x.pack`, randomBytes(100));
    await store.get(`${prefix}d/x.pack`, { offset: 0, lengthBytes: 100 });
    await store.delete(`${prefix}d/x.pack`);
    await store.delete(`${prefix}d/x.pack`);
    await store.delete(`${prefix}never/was`);
    assert.equal(await store.head(`${prefix}d/x.pack`), null);
    await assert.rejects(store.get(`${prefix}d/x.pack`, { offset: 0, lengthBytes: 1 }), hasCode('store-missing'));
  });
}

function registerLists(register: Register, { listedKeys }: ConformanceOptions): void {
  register('lists are in byte order and keep to the prefix', async ({ store, prefix }) => {
    const names = ['a', 'a-b', 'a.pack', 'ab/0', 'a0/x', 'b/c/d', 'b/c.d', 'b/c-d', 'b0', 'z9'];
    for (const name of names) await store.put(`${prefix}${name}`, Buffer.from(name));
    const wanted = names.map((name) => prefix + name).sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    const found = await listed(store, prefix);
    assert.deepEqual(
      found.map(({ key }) => key),
      wanted,
    );
    for (const { key, lengthBytes } of found) assert.equal(lengthBytes, key.length - prefix.length);
    const starting = (start: string) => wanted.filter((key) => key.startsWith(prefix + start));
    for (const start of ['a', 'a0', 'a0/', 'b/c', 'b/c/', 'b/c/d', 'z9', 'q']) {
      assert.deepEqual(await keysOf(store, prefix + start), starting(start), `prefix ${start}`);
    }
    const everything = await keysOf(store, '');
    assert.deepEqual(
      everything.filter((key) => key.startsWith(prefix)),
      wanted,
    );
  });

  register(`a list of ${listedKeys} keys is whole`, async ({ store, prefix }) => {
    const wanted = Array.from({ length: listedKeys }, (_, number) => `${prefix}${(number * 7 + 100_000).toString(16)}`).sort();
    for (let at = 0; at < wanted.length; at += 16) {
      await Promise.all(wanted.slice(at, at + 16).map((key) => store.put(key, Buffer.from('x'))));
    }
    assert.deepEqual(await keysOf(store, prefix), wanted);
    let seen = 0;
    for await (const { key } of store.list(prefix)) {
      assert.equal(key, wanted[seen]);
      seen += 1;
      if (seen === 3) break;
    }
    for (let at = 0; at < wanted.length; at += 16) await Promise.all(wanted.slice(at, at + 16).map((key) => store.delete(key)));
    assert.deepEqual(await keysOf(store, prefix), []);
  });
}

function registerRefusals(register: Register): void {
  register('what is no key reaches no disk', async ({ store }) => {
    const bad = [
      '',
      '/a',
      'a/',
      'a//b',
      '../a',
      'a/../b',
      'a..b',
      '.tmp/x',
      'a/.hidden',
      'a/./b',
      'A',
      'a\\b',
      'a\0',
      'a b',
      'ü',
      'a\n',
    ];
    for (const key of [...bad, 'a'.repeat(513), `a/${'b'.repeat(201)}`]) {
      await assert.rejects(store.put(key, Buffer.from('x')), hasCode('store-bad-key'), `put ${JSON.stringify(key)}`);
      await assert.rejects(store.get(key, { offset: 0, lengthBytes: 1 }), hasCode('store-bad-key'));
      await assert.rejects(store.head(key), hasCode('store-bad-key'));
      await assert.rejects(store.delete(key), hasCode('store-bad-key'));
    }
    for (const prefix of ['/', '../', 'a/../', 'A', '.tmp', 'a'.repeat(513)]) {
      await assert.rejects(keysOf(store, prefix), hasCode('store-bad-key'), `list ${prefix}`);
    }
  });

  register('what is no range is refused', async ({ store, prefix }) => {
    await store.put(`${prefix}x`, Buffer.from('x'));
    for (const [offset, lengthBytes] of [
      [-1, 1],
      [0, -1],
      [0.5, 1],
      [0, 1.5],
      [Number.NaN, 1],
      [0, 2 ** 31],
      [2 ** 53, 1],
    ] as const) {
      await assert.rejects(
        store.get(`${prefix}x`, { offset, lengthBytes }),
        hasCode('store-bad-range'),
        `${offset} ${lengthBytes}`,
      );
    }
  });

  register('a store that works says so', async ({ store }) => {
    await store.check();
  });
}
