import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { BaseMemory } from './base-memory.ts';

const MIB = 1 << 20;

describe('memory for bases of deltas', () => {
  test('is never shared while it is held, whatever comes and goes, and none takes much more than it needs', () => {
    const memory = new BaseMemory();
    const size = fc.oneof(fc.integer({ min: 0, max: 5000 }), fc.integer({ min: 0, max: MIB + 10 }));
    const step = fc.record({ size, drop: fc.nat(), kind: fc.constantFrom('base', 'keep', 'shape') });
    const made = (kind: string, size: number, mark: number) => {
      if (kind === 'base') return memory.base(size).fill(mark);
      if (kind === 'keep') return memory.keep(memory.scratch(size).subarray(0, size).fill(mark));
      return memory.keepShape(new Uint32Array(size >> 3).fill(mark));
    };
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const held: { kept: ReturnType<typeof made>; mark: number }[] = [];
        const whole = () => {
          for (const { kept, mark } of held) assert.ok(kept.every((value) => value === mark));
        };
        for (const [mark, { size, drop, kind }] of steps.entries()) {
          const kept = made(kind, size, mark);
          assert.ok(kept.buffer.byteLength <= Math.max(kept.byteLength * 1.25, 256));
          held.push({ kept, mark });
          memory.scratch(size).fill(255);
          memory.delta(size).fill(255);
          if (drop % 3 > 0) continue;
          whole();
          memory.giveBack(held.splice(drop % held.length, 1)[0]!.kept);
        }
        whole();
        for (const { kept } of held) memory.giveBack(kept);
      }),
    );
  });

  test('that was given back is used again, as far as it is kept', () => {
    const memory = new BaseMemory();
    const first = memory.base(1000);
    memory.giveBack(first);
    assert.equal(memory.base(900).buffer, first.buffer);
    assert.notEqual(memory.base(900).buffer, first.buffer);
    const many = Array.from({ length: 20 }, () => memory.base(MIB - 1));
    for (const bytes of many) memory.giveBack(bytes);
    const known = new Set(many.map(({ buffer }) => buffer));
    const again = many.map(() => memory.base(MIB - 1)).filter(({ buffer }) => known.has(buffer));
    assert.equal(again.length, 8);
  });

  test('of a large result is handed over only when it fills it', () => {
    const memory = new BaseMemory();
    const scratch = memory.scratch(64 * MIB);
    const kept = memory.keep(scratch.subarray(0, MIB));
    assert.equal(kept.buffer.byteLength, MIB);
    assert.equal(memory.scratch(64 * MIB), scratch);
  });

  test('of large results is handed over, and is the next scratch buffer when it comes back', () => {
    const memory = new BaseMemory();
    const scratch = memory.scratch(2 * MIB);
    const kept = memory.keep(scratch.subarray(0, 2 * MIB));
    assert.equal(kept.buffer, scratch.buffer);
    const next = memory.scratch(2 * MIB);
    assert.notEqual(next.buffer, scratch.buffer);
    memory.giveBack(kept);
    memory.keep(next.subarray(0, 2 * MIB));
    assert.equal(memory.scratch(2 * MIB).buffer, scratch.buffer);
  });
});
