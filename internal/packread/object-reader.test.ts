import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Pack } from '../catalog/mod.ts';
import { createFaultyStore, type PackStore } from '../packstore/mod.ts';
import { buildDelta, entry, ofsDelta, oidOf, refDelta, type StoredEntry, seededBytes, TestPool } from '../testkit/mod.ts';
import { ObjectReader } from './object-reader.ts';
import { PackBytes } from './pack-bytes.ts';
import { PoolIndex } from './pool-index.ts';

const [A, B] = ['first version\n', 'second version\n'];

function whole(body: string | Buffer): StoredEntry {
  return { oid: oidOf('blob', body), kind: 3, sizeBytes: body.length, bytes: entry('blob', body) };
}

/** An entry that makes `body` of any base by inserting all of it. */
function deltaOn(base: string, body: string): StoredEntry {
  const delta = buildDelta(base.length, body.length, [{ insert: body }]);
  return { oid: oidOf('blob', body), kind: 3, sizeBytes: body.length, bytes: refDelta(oidOf('blob', base), delta) };
}

describe('reading objects', () => {
  let pool: TestPool;
  before(async () => {
    pool = await TestPool.start();
  });
  after(() => pool?.close());

  test('a bit that turned on its way from the store is read again, not kept', async () => {
    const body = seededBytes(5, 200_000);
    const pack = await pool.put('store', [whole(body)]);
    const store = createFaultyStore(pool.store);
    const { read } = reader([pack], 1 << 20, store);
    store.setRules([{ operation: 'get', when: { kind: 'nth', n: 1 }, fault: { kind: 'flip', bit: 800_000 } }]);
    assert((await read(body)).equals(body));
    assert.equal(store.injected.length, 1);
  });

  test('so is one in the header of an entry, which may still be a header, of another object', async () => {
    const [base, body] = [seededBytes(11, 3000), Buffer.concat([seededBytes(11, 2900), Buffer.from('and more')])];
    const other = seededBytes(12, 3000);
    const delta = buildDelta(base.length, body.length, [{ copy: [0, 2900] }, { insert: 'and more' }]);
    const first = entry('blob', base);
    const chained = (bytes: Buffer): StoredEntry => ({ oid: oidOf('blob', body), kind: 3, sizeBytes: body.length, bytes });
    const rest = [whole(base), whole(other)];
    const packs = [
      await pool.put('store', [whole(body), ...rest]),
      await pool.put('store', [...rest, chained(ofsDelta(first.length + entry('blob', other).length, delta))]),
      await pool.put('store', [chained(refDelta(oidOf('blob', base), delta)), ...rest]),
    ];
    const starts = [12, 12 + first.length + entry('blob', other).length, 12];
    const lengths = [3, 5, 23];
    for (const [i, pack] of packs.entries()) {
      for (let bit = 0; bit < lengths[i]! * 8; bit++) {
        const store = createFaultyStore(pool.store);
        const { read } = reader([pack], 1 << 20, store);
        store.setRules([{ operation: 'get', when: { kind: 'nth', n: 1 }, fault: { kind: 'flip', bit: starts[i]! * 8 + bit } }]);
        assert((await read(body)).equals(body), `pack ${i}, bit ${bit}`);
        assert.equal(store.injected.length, 1);
      }
    }
  });

  test('bytes that are damaged in the store stay an error', async () => {
    const body = seededBytes(6, 200_000);
    const pack = await pool.put('store', [whole(body)]);
    const store = createFaultyStore(pool.store, {
      rules: [{ operation: 'get', when: { kind: 'always' }, fault: { kind: 'flip', bit: 800_000 } }],
    });
    const { read } = reader([pack], 1 << 20, store);
    await assert.rejects(read(body), { code: 'zlib' });
    assert(store.injected.length < 10);
  });

  test('a short answer of the store is an error for whoever asked, and not kept', async () => {
    const body = seededBytes(7, 200_000);
    const pack = await pool.put('store', [whole(body)]);
    const store = createFaultyStore(pool.store, {
      rules: [{ operation: 'get', when: { kind: 'nth', n: 1 }, fault: { kind: 'truncate', lengthBytes: 1000 } }],
    });
    const { read } = reader([pack], 1 << 20, store);
    await assert.rejects(read(body), { code: 'store-short' });
    assert((await read(body)).equals(body));
  });

  test('a request that goes takes nothing from others that wait for the same bytes', async () => {
    const pack = await pool.put('store', [whole(seededBytes(8, 200_000))]);
    const store = createFaultyStore(pool.store, {
      rules: [{ operation: 'get', when: { kind: 'always' }, fault: { kind: 'delay', milliseconds: 50 } }],
    });
    const bytes = new PackBytes(pool.catalog, store, 1 << 20);
    const gone = new AbortController();
    const first = bytes.load(pool.poolId, pack, 0, 100, gone.signal);
    const second = bytes.read(pool.poolId, pack, 0, 4);
    gone.abort(new Error('the client has gone'));
    await assert.rejects(first, /the client has gone/);
    assert.equal((await second).toString(), 'PACK');
  });

  function reader(
    packs: readonly Pack[],
    cacheBytes = 1 << 20,
    store: PackStore = pool.store,
  ): { read(body: string | Buffer): Promise<Buffer> } {
    const index = new PoolIndex(pool.catalog, pool.poolId, 'sha1');
    for (const pack of packs) index.add(pack);
    const objects = new ObjectReader(new PackBytes(pool.catalog, store, cacheBytes), index);
    return {
      async read(body) {
        const [location] = await index.find(Buffer.from(oidOf('blob', body), 'hex'));
        return (await objects.read(location!)).data;
      },
    };
  }

  test('copies in several packs that are deltas of each other still lead to the object', async () => {
    const packs = [
      await pool.put('tail', [deltaOn(A, B)]),
      await pool.put('tail', [deltaOn(B, A), whole(B)], { hasDuplicates: true }),
      await pool.put('store', [deltaOn(B, A), whole(B)], { hasDuplicates: true }),
      await pool.put('tail', [deltaOn(B, A)], { hasDuplicates: true }),
    ];
    for (const order of [packs, [...packs].reverse(), [packs[0]!, packs[3]!, packs[1]!], [packs[3]!, packs[0]!, packs[2]!]]) {
      for (const body of [A, B]) assert.equal((await reader(order).read(body)).toString(), body);
    }
  });

  test('a copy that leads in a circle is given up for one that does not', async () => {
    const packs = [
      await pool.put('tail', [deltaOn(A, B)]),
      await pool.put('tail', [deltaOn(B, A)], { hasDuplicates: true }),
      await pool.put('tail', [whole(A)], { hasDuplicates: true }),
    ];
    for (const body of [A, B]) assert.equal((await reader(packs).read(body)).toString(), body);
  });

  test('a circle of deltas is an error, not a loop', async () => {
    const packs = [await pool.put('tail', [deltaOn(A, B)]), await pool.put('tail', [deltaOn(B, A)])];
    await assert.rejects(reader(packs).read(A), /delta chain does not end/);
  });

  test('a base that is nowhere is an error', async () => {
    const packs = [await pool.put('tail', [deltaOn('nobody has this', A)])];
    await assert.rejects(reader(packs).read(A), /delta base [0-9a-f]{40} is absent/);
  });

  test('a chain over hundreds of tail packs is followed', async () => {
    const versions = Array.from({ length: 300 }, (_, i) => `version ${i}\n`);
    const packs: Pack[] = [];
    for (const [i, body] of versions.entries())
      packs.push(await pool.put('tail', [i === 0 ? whole(body) : deltaOn(versions[i - 1]!, body)]));
    assert.equal((await reader(packs).read(versions.at(-1)!)).toString(), versions.at(-1));
  });

  test('a chain of large versions is made in a few rooms, not in one for each', async (context) => {
    const size = 5 << 20;
    let body = seededBytes(31, size);
    const entries: StoredEntry[] = [whole(body)];
    const bodies = [body];
    for (let i = 1; i <= 20; i++) {
      const line = `line ${i}\n`;
      const delta = buildDelta(body.length, body.length + line.length, [{ insert: line }, { copy: [0, body.length] }]);
      body = Buffer.concat([Buffer.from(line), body]);
      bodies.push(body);
      const distance = entries.at(-1)!.bytes.length;
      entries.push({ oid: oidOf('blob', body), kind: 3, sizeBytes: body.length, bytes: ofsDelta(distance, delta) });
    }
    const { read } = reader([await pool.put('store', entries)], 64 << 20);
    const allocate = context.mock.method(Buffer, 'allocUnsafe');
    assert((await read(body)).equals(body));
    const large = allocate.mock.calls.filter((call) => (call.arguments[0] as number) >= size && call.error === undefined);
    assert(large.length <= 8, `${large.length} buffers of ${size} bytes`);
    allocate.mock.restore();
    for (const version of bodies.toReversed()) assert((await read(version)).equals(version));
  });

  test('an entry that is larger than the cache is read all the same', async () => {
    const bodies = [seededBytes(1, 3 << 20), seededBytes(2, 2_500_000), Buffer.from('small')];
    for (const tier of ['store', 'tail'] as const) {
      const pack = await pool.put(tier, bodies.map(whole));
      for (const cacheBytes of [10, 1 << 20, 3 << 20, 64 << 20]) {
        const { read } = reader([pack], cacheBytes);
        const found = await Promise.all(bodies.map((body) => read(body)));
        found.forEach((data, i) => {
          assert(data.equals(bodies[i]!));
        });
      }
    }
  });
});
