import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PieceMemory } from './piece-memory.ts';

const MIB = 1 << 20;

test('what is given comes again for what about fits into it, once', () => {
  const memory = new PieceMemory();
  const bytes = memory.take(2 * MIB - 5);
  assert.equal(bytes.length, 2 * MIB);
  memory.give(bytes);
  assert.equal(memory.freeBytes, 2 * MIB);
  assert.notEqual(memory.take(MIB), bytes);
  assert.notEqual(memory.take(3 * MIB), bytes);
  assert.equal(memory.take(2 * MIB - 100_000), bytes);
  assert.equal(memory.freeBytes, 0);
  assert.notEqual(memory.take(2 * MIB), bytes);
  const longer = memory.take(5 * MIB);
  memory.give(longer);
  assert.notEqual(memory.take(3 * MIB), longer, 'much longer');
  assert.equal(memory.take(4 * MIB), longer, 'a little longer');
  assert.equal(memory.freeBytes, 0);
});

test('what nobody takes makes place for what is given later', () => {
  const memory = new PieceMemory();
  for (let i = 0; i < 3; i++) memory.give(Buffer.allocUnsafeSlow(5 * MIB));
  const shorter = Array.from({ length: 4 }, () => memory.take(2 * MIB));
  for (const bytes of shorter) memory.give(bytes);
  assert.equal(memory.freeBytes, 13 * MIB);
  assert.deepEqual(new Set(Array.from({ length: 4 }, () => memory.take(2 * MIB))), new Set(shorter));
});

test('no more than 16 MiB lie idle, none of it for long, nothing of short or huge reads', (context) => {
  context.mock.timers.enable({ apis: ['setTimeout'] });
  const memory = new PieceMemory();
  for (const lengthBytes of [20, MIB / 2 - 1, 10 * MIB + 1, 100 * MIB]) {
    const bytes = memory.take(lengthBytes);
    assert.equal(bytes.length, lengthBytes);
    memory.give(bytes);
  }
  assert.equal(memory.freeBytes, 0);
  for (let i = 0; i < 9; i++) memory.give(Buffer.allocUnsafeSlow(2 * MIB));
  assert.equal(memory.freeBytes, 16 * MIB);
  context.mock.timers.tick(10_000);
  assert.equal(memory.freeBytes, 0);
  memory.give(memory.take(MIB));
  assert.equal(memory.freeBytes, MIB);
  context.mock.timers.tick(10_000);
  assert.equal(memory.freeBytes, 0);
});
