import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EntryTable } from './entry-table.ts';

const OID_BYTES = 20;

function fill(table: EntryTable, from: number, to: number): void {
  for (let i = from; i < to; i++) {
    const index = table.push(12 + 3 * i, 1 + (i % 4), 1 + (i % 8), i * 5);
    table.crcs[index] = i * 7;
    table.turns[index] = i * 11;
    table.oid(index).fill(i % 251);
  }
  table.end = 12 + 3 * to;
}

function check(table: EntryTable, count: number): void {
  assert.equal(table.count, count);
  for (let i = 0; i < count; i++) {
    const row = [table.offsets[i], table.types[i], table.kinds[i], table.headerBytes[i], table.streamSizes[i], table.sizes[i]];
    const wanted = [12 + 3 * i, 1 + (i % 4), 1 + (i % 4), 1 + (i % 8), i * 5, i * 5];
    // deepEqual of a hundred thousand small lists takes minutes.
    for (const [at, value] of wanted.entries()) if (row[at] !== value) assert.fail(`row ${i} is ${row}, not ${wanted}`);
    if (table.crcs[i] !== i * 7 || table.turns[i] !== i * 11) assert.fail(`row ${i} has lost its sums`);
    if (table.oids[i * OID_BYTES] !== i % 251 || table.oids[i * OID_BYTES + 19] !== i % 251)
      assert.fail(`row ${i} has another oid`);
  }
  assert.equal(table.endOf(count - 1), 12 + 3 * count);
}

for (const isShared of [false, true])
  test(`rows stay what they are when a table ${isShared ? 'of several threads ' : ''}widens, with an end in sight or none`, () => {
    const table = new EntryTable(OID_BYTES, isShared);
    fill(table, 0, 70_001);
    check(table, 70_001);
    const known = new EntryTable(OID_BYTES, isShared);
    known.countMax = 70_001;
    fill(known, 0, 70_001);
    check(known, 70_001);
    // What was announced was too little: the scan refuses that, the table does not care.
    fill(known, 70_001, 70_100);
    check(known, 70_100);
  });

test('a table is as wide as what was announced only when a part of it has come', () => {
  const table = new EntryTable(OID_BYTES, false);
  table.countMax = 700_001;
  fill(table, 0, 1000);
  assert.equal(table.offsets.length, 1024);
  fill(table, 1000, 66_000);
  assert.equal(table.offsets.length, 700_001);
  table.countMax = 20_000_000;
  fill(table, 66_000, 700_002);
  assert.ok(table.oids.buffer.byteLength <= 256 << 20);
});

test('another thread writes into the same rows', () => {
  const table = new EntryTable(OID_BYTES, true);
  fill(table, 0, 1000);
  const other = EntryTable.of(table.shared());
  other.kinds[7] = 3;
  other.sizes[7] = 99;
  other.oid(7).fill(0xee);
  assert.equal(table.kinds[7], 3);
  assert.equal(table.sizes[7], 99);
  assert.equal(table.hex(7), 'ee'.repeat(OID_BYTES));
  assert.equal(other.indexAt(12 + 3 * 7), 7);
});
