import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { ClientBase } from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import { numberArray } from '../../db/queries/publish.ts';
import type { ObjectBlock } from './types.ts';

function* blockLines(poolId: number, packId: number, oidBytes: number, blocks: readonly ObjectBlock[]): Generator<string> {
  for (const block of blocks) {
    const first = block.oids.toString('hex', 0, oidBytes);
    const kinds = Buffer.from(block.kinds.buffer, block.kinds.byteOffset, block.kinds.length).toString('hex');
    yield `${poolId}\t${packId}\t\\\\x${first}\t${block.kinds.length}\t\\\\x${block.oids.toString('hex')}\t\\\\x${kinds}\t${numberArray(
      block.sizes,
    )}\t${numberArray(block.offsets)}\t${numberArray(block.lengths)}\n`;
  }
}

function* graphLines(poolId: number, packId: number, graph: readonly Buffer[]): Generator<string> {
  for (let i = 0; i < graph.length; i++) yield `${poolId}\t${packId}\t${i}\t\\\\x${graph[i]!.toString('hex')}\n`;
}

/** Copies a pack's object blocks and graph blocks inside the caller's transaction. */
export async function copyPackTables(
  client: ClientBase,
  poolId: number,
  packId: number,
  oidBytes: number,
  blocks: readonly ObjectBlock[],
  graph: readonly Buffer[],
): Promise<void> {
  const columns = 'pool_id, pack_id, first_oid, object_count, oids, kinds, sizes, offsets, lengths';
  const into = client.query(copyFrom(`copy object_blocks (${columns}) from stdin`));
  await pipeline(Readable.from(blockLines(poolId, packId, oidBytes, blocks)), into);
  if (graph.length > 0) {
    const graphInto = client.query(copyFrom('copy graph_blocks (pool_id, pack_id, ordinal, records) from stdin'));
    await pipeline(Readable.from(graphLines(poolId, packId, graph)), graphInto);
  }
}
