import { closeSync, openSync } from 'node:fs';
import { buildReach } from '../bitmap/mod.ts';
import { SpoolSource } from '../ingest/mod.ts';
import { type FileTable, PackTrees } from './pack-trees.ts';

/** A self-contained pack in a local file, with its table. */
export interface ReachFile extends FileTable {
  readonly path: string;
  readonly checksum: Buffer;
  readonly kinds: Uint8Array;
  readonly graph: readonly Buffer[];
}

/** The bitmaps of a pack in a file; null when it is not closed. Synchronous: for a worker. */
export function reachOfFile(file: ReachFile): Buffer | null {
  const fd = openSync(file.path, 'r');
  try {
    const source = new SpoolSource(fd);
    source.grow(file.lengthBytes);
    const trees = new PackTrees(source, file);
    try {
      return buildReach({ ...file, readTree: (row) => trees.read(row) });
    } finally {
      trees.close();
    }
  } finally {
    closeSync(fd);
  }
}
