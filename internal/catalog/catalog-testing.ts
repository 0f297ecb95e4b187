import { createHash } from 'node:crypto';
import type { Catalog } from './catalog.ts';
import type { NewPack, ObjectBlock, Push, RefCommand, RefStatus, Repository } from './types.ts';

/** A raw oid that is the same in every run. */
export function oid(label: string | number, width = 20): Buffer {
  return createHash('sha256').update(`oid ${label}`).digest().subarray(0, width);
}

export function create(name: string, to: Buffer, peeled: Buffer | null = null): RefCommand {
  return { name, oldOid: null, newOid: to, peeled };
}

export function update(name: string, from: Buffer, to: Buffer): RefCommand {
  return { name, oldOid: from, newOid: to, peeled: null };
}

export function remove(name: string, from: Buffer | null): RefCommand {
  return { name, oldOid: from, newOid: null, peeled: null };
}

export function pushOf(repository: Repository, commands: readonly RefCommand[], more: Partial<Push> = {}): Push {
  return {
    repositoryId: repository.id,
    poolId: repository.poolId,
    atomic: false,
    commands,
    head: null,
    actor: '',
    requestId: '',
    options: [],
    pack: null,
    sweepEpoch: null,
    ...more,
  };
}

export function publish(
  catalog: Catalog,
  repository: Repository,
  commands: readonly RefCommand[],
  more: Partial<Push> = {},
): Promise<RefStatus[]> {
  return catalog.publish(pushOf(repository, commands, more), repository.format);
}

/** Blocks of made-up objects: ascending oids, every kind, sizes and offsets past 2^32. */
export function makeBlocks(label: string, counts: readonly number[], width = 20): ObjectBlock[] {
  const total = counts.reduce((sum, count) => sum + count, 0);
  const oids = Array.from({ length: total }, (_, i) => oid(`${label} ${i}`, width)).sort(Buffer.compare);
  let at = 0;
  return counts.map((count) => {
    const from = at;
    at += count;
    const rows = Array.from({ length: count }, (_, i) => from + i);
    // A view into something longer, as the blocks of a large table are.
    const kinds = new Uint8Array(count + 5).subarray(3, 3 + count);
    kinds.set(rows.map((row) => 1 + (row % 4)));
    return {
      oids: Buffer.concat(oids.slice(from, at)),
      kinds,
      sizes: Float64Array.from(rows, (row) => (row % 7 === 0 ? 2 ** 33 + row : row)),
      offsets: Float64Array.from(rows, (row) => 12 + row * 2 ** 32),
      lengths: Float64Array.from(rows, (row) => 20 + row),
    };
  });
}

export function tailPack(id: number, more: Partial<NewPack> = {}): NewPack {
  const bytes = Buffer.from(`PACK tail ${id}`);
  const blocks = more.blocks ?? makeBlocks(`pack ${id}`, [3]);
  return {
    id,
    place: { kind: 'tail', bytes },
    lengthBytes: bytes.length,
    objectCount: blocks.reduce((sum, block) => sum + block.kinds.length, 0),
    chunkedCount: 0,
    chunkPackId: null,
    checksum: oid(`checksum ${id}`),
    allReached: true,
    based: true,
    hasDuplicates: false,
    tips: oid(`tip ${id}`),
    blocks,
    graph: [Buffer.from(`graph of ${id}`)],
    ...more,
  };
}
