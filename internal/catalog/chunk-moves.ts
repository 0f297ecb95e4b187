import type { Pool } from 'pg';
import * as moves from '../../db/queries/chunk-moves.ts';
import { insertChunks } from '../../db/queries/chunks.ts';
import { lockLeased, swapPacks } from '../../db/queries/maintenance.ts';
import { codeOf, failpoint, PackhouseError } from '../base/mod.ts';
import { inTransaction } from './transaction.ts';

/** A live pack of chunks. */
export interface ChunkPackSize {
  readonly poolId: number;
  readonly id: number;
  readonly lengthBytes: number;
  /** Somebody works on it. */
  readonly leased: boolean;
}

/** A chunk that recipes name: where it is, and the SHA-256 of its plain bytes. */
export interface UsedChunk {
  readonly packId: number;
  readonly offset: number;
  readonly lengthBytes: number;
  readonly sha256: Buffer;
}

/** Chunk packs that another one is to take the place of. */
export interface ChunkMove {
  readonly poolId: number;
  /** The pool's sweep epoch when the work began. */
  readonly epoch: number;
  readonly token: string;
  readonly inputs: readonly number[];
  readonly output: number;
  /** Every used chunk of the inputs, and where it is in the output. */
  readonly chunks: readonly (UsedChunk & { readonly to: { readonly offset: number; readonly lengthBytes: number } })[];
}

const BATCH_CHUNKS = 5000;

/** Chunks that move from pack to pack, with everything that says where they are. */
export class ChunkMoves {
  readonly #pool: Pool;

  constructor(pool: Pool) {
    this.#pool = pool;
  }

  /** Live packs of chunks, of all pools or of one. */
  async sizes(poolId: number | null): Promise<ChunkPackSize[]> {
    const rows = await moves.liveChunkPacks(this.#pool, poolId);
    return rows.map((row) => ({ poolId: row.pool_id, id: row.id, lengthBytes: row.extent_length, leased: row.leased }));
  }

  /** Stored bytes of the chunks that recipes name, by chunk pack. Reads all recipes of the pool. */
  async usedBytes(poolId: number): Promise<Map<number, number>> {
    const rows = await inTransaction(this.#pool, (client) => moves.usedBytes(client, poolId));
    return new Map(rows.map((row) => [row.pack_id, row.bytes]));
  }

  /** The chunks of some packs that recipes name, each once, in order of place. */
  async used(poolId: number, packIds: readonly number[]): Promise<UsedChunk[]> {
    const rows = await inTransaction(this.#pool, (client) => moves.usedChunks(client, poolId, packIds));
    return rows.map((row) => ({ packId: row.pack_id, offset: row.pack_offset, lengthBytes: row.length, sha256: row.sha256 }));
  }

  /**
   * Writes the new places into recipes and deduplication, and swaps the packs, in one transaction that pushes to the pool wait for.
   * @throws PackhouseError `lease-lost`, `epoch-moved`, `chunks-moved` when a push has meanwhile used a chunk that was not moved
   */
  async move(move: ChunkMove): Promise<void> {
    const { poolId, epoch, token, inputs, output, chunks } = move;
    try {
      await inTransaction(this.#pool, async (client) => {
        await moves.lockPool(client, poolId);
        await lockLeased(client, poolId, token);
        const all = await moves.rewriteRecipes(client, poolId, inputs, output, {
          fromPacks: chunks.map((chunk) => chunk.packId),
          fromOffsets: chunks.map((chunk) => chunk.offset),
          toOffsets: chunks.map((chunk) => chunk.to.offset),
          lengths: chunks.map((chunk) => chunk.to.lengthBytes),
        });
        if (!all) throw new PackhouseError('chunks-moved', `chunks of pool ${poolId} came into use that were not moved`);
        await moves.forgetChunksOf(client, poolId, inputs);
        for (let from = 0; from < chunks.length; from += BATCH_CHUNKS) {
          const part = chunks.slice(from, from + BATCH_CHUNKS);
          const hashes = part.map((chunk) => chunk.sha256);
          const [offsets, lengths] = [part.map(({ to }) => to.offset), part.map(({ to }) => to.lengthBytes)];
          await insertChunks(client, poolId, output, hashes, offsets, lengths);
        }
        await swapPacks(client, poolId, epoch, token, inputs, [output], 'chunks');
        await failpoint('chunks.mid-move');
      });
    } catch (error) {
      if (codeOf(error) === 'PH004')
        throw new PackhouseError('epoch-moved', `objects of pool ${poolId} were condemned meanwhile`);
      if (codeOf(error) === 'PH002') throw new PackhouseError('lease-lost', `chunk packs of pool ${poolId} lost their lease`);
      throw error;
    }
  }
}
