import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { OidMap } from './mod.ts';

/** Oids that often share all but a byte or two, so that probing and comparing have work to do. */
function oids(oidBytes: number): fc.Arbitrary<Buffer[]> {
  const near = fc.tuple(fc.nat(oidBytes - 1), fc.nat(3)).map(([at, value]) => {
    const oid = Buffer.alloc(oidBytes, 7);
    oid[at] = value;
    return oid;
  });
  const any = fc.uint8Array({ minLength: oidBytes, maxLength: oidBytes }).map((bytes) => Buffer.from(bytes));
  return fc.array(fc.oneof(near, any), { maxLength: 200 });
}

for (const oidBytes of [20, 32]) {
  test(`an OidMap of ${oidBytes} bytes answers as a Map of hex names does`, () => {
    fc.assert(
      fc.property(oids(oidBytes), oids(oidBytes), fc.nat(40), (added, asked, expected) => {
        const map = new OidMap(oidBytes, expected);
        const model = new Map<string, number>();
        for (const [i, oid] of added.entries()) {
          if (i % 7 === expected % 7) map.reserve(i * expected);
          const hex = oid.toString('hex');
          if (!model.has(hex)) model.set(hex, model.size);
          assert.equal(map.add(oid), model.get(hex));
          assert.equal(map.size, model.size);
        }
        for (const oid of [...added, ...asked]) {
          const index = model.get(oid.toString('hex'));
          assert.equal(map.get(oid), index ?? -1);
          assert.equal(map.has(oid), index !== undefined);
        }
        for (const [hex, index] of model) {
          assert.equal(map.hex(index), hex);
          assert.equal(map.oid(index).toString('hex'), hex);
        }
        assert.equal(map.slab().toString('hex'), [...model.keys()].join(''));
      }),
      { numRuns: 200 },
    );
  });
}

test('oids are read where they lie in a larger buffer', () => {
  const map = new OidMap(20);
  const source = Buffer.alloc(70, 1);
  source[30] = 2;
  assert.equal(map.add(source, 30), 0);
  assert.equal(map.get(source, 30), 0);
  assert.equal(map.get(source, 0), -1);
  assert.equal(map.get(Buffer.from(source.subarray(30, 50))), 0);
});

// Names that a client makes up, alike in all bytes but a few: with a hash that sees some bytes only this takes hours, not a moment.
for (const varied of [0, 4, 8, 12, 16]) {
  test(`a map takes 200,000 names that differ in bytes ${varied} to ${varied + 3} alone`, { timeout: 120_000 }, () => {
    const map = new OidMap(20, 1);
    const oid = Buffer.alloc(20);
    for (let i = 0; i < 200_000; i++) {
      oid.writeUInt32BE(i, varied);
      if (map.add(oid) !== i) assert.fail(`name ${i} was not new`);
    }
    assert.equal(map.size, 200_000);
    assert.equal(map.slab().length, 200_000 * 20);
    for (let i = 0; i < 200_000; i++) {
      oid.writeUInt32BE(i, varied);
      if (map.get(oid) !== i) assert.fail(`name ${i} was lost`);
    }
  });
}
