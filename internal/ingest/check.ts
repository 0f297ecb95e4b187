import type { ObjectFormat } from '../object/mod.ts';

/** Checks objects as they pass; `finish` checks what could only be known at the end. */
export interface ObjectChecker {
  check(kind: number, oid: Buffer, data: Buffer): void;
  finish(): void;
  readonly warnings: readonly string[];
}

export function createChecker(_format: ObjectFormat): ObjectChecker {
  return { check() {}, finish() {}, warnings: [] };
}
