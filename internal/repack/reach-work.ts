import { closeSync, openSync } from 'node:fs';
import { buildReach, checkReach, type ReachBitmaps, type ReachInput } from '../bitmap/mod.ts';
import { type PackPlace, SpoolSource } from '../ingest/mod.ts';
import { type FileTable, PackTrees, type Windows } from './pack-trees.ts';

/** A self-contained pack in a local file, with its table. */
export interface ReachFile extends ReachTable {
  readonly path: string;
}

/** What bitmaps are made from, but for the pack's bytes. */
export interface ReachTable extends FileTable {
  readonly checksum: Buffer;
  readonly kinds: Uint8Array;
  readonly graph: readonly Buffer[];
}

/** The bitmaps of a pack in a file; null when it is not closed. Synchronous: for a worker. */
export function reachOfFile(file: ReachFile): Buffer | null {
  return withTrees({ kind: 'spool', path: file.path }, file, buildReach);
}

/**
 * What is wrong with bitmaps of a verified pack, null when nothing is: all of them are made again.
 * @throws PackhouseError `bad-bitmap`, `repack-unsound`
 */
export function verifyReach(place: PackPlace, table: ReachTable, bitmaps: ReachBitmaps): string | null {
  return withTrees(place, table, (input) => checkReach(input, bitmaps));
}

function withTrees<T>(place: PackPlace, table: ReachTable, work: (input: ReachInput) => T): T {
  if (place.kind === 'memory') {
    const { bytes } = place;
    return readTrees({ window: (offset) => ({ buffer: bytes, at: offset, end: bytes.length }) }, table, work);
  }
  const fd = openSync(place.path, 'r');
  try {
    const source = new SpoolSource(fd);
    source.grow(table.lengthBytes);
    return readTrees(source, table, work);
  } finally {
    closeSync(fd);
  }
}

function readTrees<T>(source: Windows, table: ReachTable, work: (input: ReachInput) => T): T {
  const trees = new PackTrees(source, table);
  try {
    return work({ ...table, readTree: (row) => trees.read(row) });
  } finally {
    trees.close();
  }
}
