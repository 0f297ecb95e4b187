import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { PackhouseError } from '../base/mod.ts';
import { ENTRY_HEADER_BYTES_MAX, emptyEntryHeader, encodeEntryHeader, readEntryHeader } from './mod.ts';

const size = fc.oneof(fc.nat(300), fc.integer({ min: 0, max: 2 ** 31 }), fc.maxSafeNat());
const distance = fc.oneof(
  fc.integer({ min: 1, max: 300 }),
  fc.integer({ min: 2 ** 31 - 200, max: 2 ** 33 }),
  fc.integer({ min: 1, max: 2 ** 50 }),
);

test('headers of whole objects and of deltas come back as they were written', () => {
  const into = emptyEntryHeader();
  const read = (bytes: Buffer, oidBytes: number) => {
    assert.ok(bytes.length <= ENTRY_HEADER_BYTES_MAX);
    for (let cut = 0; cut < bytes.length; cut++) assert.equal(readEntryHeader(bytes, 0, cut, oidBytes, into), false, 'cut');
    assert.equal(readEntryHeader(Buffer.concat([Buffer.alloc(3), bytes]), 3, bytes.length + 3, oidBytes, into), true);
    assert.equal(into.headerBytes, bytes.length);
    return into;
  };
  fc.assert(
    fc.property(size, distance, fc.integer({ min: 1, max: 4 }), fc.constantFrom(20, 32), (bytes, far, kind, oidBytes) => {
      assert.equal(read(encodeEntryHeader(kind, bytes), oidBytes).type, kind);
      assert.equal(into.size, bytes);
      assert.equal(read(encodeEntryHeader(0, bytes, far), oidBytes).distance, far);
      assert.equal(into.size, bytes);
      const oid = Buffer.alloc(oidBytes, 7);
      const header = encodeEntryHeader(0, bytes, oid);
      assert.equal(read(header, oidBytes).baseAt, 3 + header.length - oidBytes);
    }),
    { numRuns: 500 },
  );
});

test('any bytes are a header, are too few, or are refused', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
      const into = emptyEntryHeader();
      try {
        if (!readEntryHeader(bytes, 0, bytes.length, 20, into)) return;
        assert.ok(Number.isSafeInteger(into.size) && Number.isSafeInteger(into.distance) && into.headerBytes <= bytes.length);
      } catch (error) {
        assert.ok(error instanceof PackhouseError && error.code === 'pack-entry', String(error));
      }
    }),
    { numRuns: 3000 },
  );
});
