import { deflateSync } from 'node:zlib';
import { type Chains, chainRoots, keptBase } from './chains.ts';
import type { FoundDeltas } from './found-deltas.ts';
import type { ObjectBytes } from './object-bytes.ts';
import { type ObjectTable, wholeCopy } from './object-table.ts';

/** Head of an entry and the distance to its base, about. */
const HEAD_BYTES = 6;

export interface SizeParts {
  readonly table: ObjectTable;
  readonly chains: Chains;
  readonly found: FoundDeltas;
  readonly bytes: ObjectBytes;
  readonly compressionLevel: number;
}

/** The entry of an object as a whole one. */
function wholeBytes(object: number, { table, bytes, compressionLevel }: SizeParts): number {
  const copy = wholeCopy(table, object);
  return copy >= 0 ? table.copyLength[copy]! : HEAD_BYTES + deflateSync(bytes.read(object), { level: compressionLevel }).length;
}

/** What objects whose base does not stay take when they are whole: no form of the inputs that stands alone is smaller by that. */
export function completedBytes(parts: SizeParts): number {
  const { table } = parts;
  let sum = 0;
  for (let object = 0; object < table.count; object++) {
    if (table.keep[object] && keptBase(table, object) < 0 && wholeCopy(table, object) < 0) sum += wholeBytes(object, parts);
  }
  return sum;
}

/**
 * Puts trees of deltas back as they came where the search has made more bytes of them, the worst first, until `excessBytes` are saved. A
 * tree as it came holds its own bases, so no circle can come of that; its chains may be deeper than the limit. How many were put back.
 */
export function restoreTrees(excessBytes: number, parts: SizeParts): number {
  const { table, chains, found } = parts;
  const kept = Int32Array.from({ length: table.count }, (_, object) => keptBase(table, object));
  const roots = chainRoots(kept);
  const losses = new Float64Array(table.count);
  for (let object = 0; object < table.count; object++) {
    if (table.keep[object]) losses[roots[object]!]! += lossOf(object, kept[object]!, parts);
  }
  const worst = Array.from(losses.keys())
    .filter((root) => losses[root]! > 0)
    .sort((a, b) => losses[b]! - losses[a]!);
  const restored = new Uint8Array(table.count);
  let saved = 0;
  let trees = 0;
  for (; trees < worst.length && saved < excessBytes; trees++) {
    restored[worst[trees]!] = 1;
    saved += losses[worst[trees]!]!;
  }
  for (let object = 0; object < table.count; object++) {
    if (!restored[roots[object]!]) continue;
    found.drop(object);
    chains.restore(object, kept[object]!);
  }
  chains.cutTooDeep();
  return trees;
}

/** How many bytes more the object takes as it is planned than as it came. */
function lossOf(object: number, kept: number, parts: SizeParts): number {
  const { table, chains, found } = parts;
  const base = chains.base[object]!;
  const isFound = base >= 0 && found.baseOf(object) === base;
  if (base === kept && !isFound) return 0;
  const came = kept >= 0 ? table.copyLength[table.chosen[object]!]! : wholeBytes(object, parts);
  if (isFound) return HEAD_BYTES + found.lengthOf(object) - came;
  return wholeBytes(object, parts) - came;
}
