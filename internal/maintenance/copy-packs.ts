import { createHash, randomUUID } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { codeOf, messageOf, PackhouseError } from '../base/mod.ts';
import type { ObjectBlock, Pack, PackSummary } from '../catalog/mod.ts';
import { type ObjectFormat, oidLength } from '../object/mod.ts';
import { encodeIdx } from '../packformat/mod.ts';
import { LeaseKeeper } from './lease-keeper.ts';
import { packPieces } from './pack-source.ts';
import type { PreparedPack, PreparedSwap } from './prepared.ts';
import type { RewriteSettings } from './settings.ts';

/**
 * Leases packs of one pool that are to be copied byte for byte, each to a pack of its own elsewhere. Nothing is read yet: each is read, and
 * compared with its checksum and its index, while it is put. Null when somebody else has one of them by now.
 */
export async function copyPacks(
  settings: RewriteSettings,
  poolId: number,
  inputs: readonly PackSummary[],
  signal: AbortSignal,
): Promise<PreparedSwap | null> {
  const { catalog } = settings;
  const state = await catalog.maintenance.poolState(poolId);
  if (state === null) return null;
  const ids = inputs.map((pack) => pack.id);
  const token = randomUUID();
  if (!(await catalog.maintenance.lease(poolId, ids, token, settings.leaseMs))) return null;
  const keeper = new LeaseKeeper(settings, { poolId, token, packs: ids.length }, signal);
  try {
    await settings.at?.('leased', poolId);
    const packs: PreparedPack[] = [];
    for (const pack of await catalog.packs(poolId, ids)) {
      packs.push(await preparedCopy(settings, poolId, state.format, pack));
    }
    const { format, epoch } = state;
    return { poolId, format, epoch, token, inputs: ids, packs, keeper, dispose: async () => {} };
  } catch (error) {
    keeper.stop();
    await catalog.maintenance.release(poolId, token).catch(() => {});
    throw error;
  }
}

async function preparedCopy(settings: RewriteSettings, poolId: number, format: ObjectFormat, pack: Pack): Promise<PreparedPack> {
  const { catalog } = settings;
  let packId = await catalog.reservePackId();
  while (packId < pack.id) packId = await catalog.reservePackId();
  const { lengthBytes, checksum, objectCount, allReached, based, hasDuplicates, tips } = pack;
  const chunkedOids =
    pack.chunkedCount === 0 ? Buffer.alloc(0) : Entries.of(await blocksOf(settings, poolId, pack), format).chunkedOids;
  let idx: Buffer | null = null;
  return {
    packId,
    lengthBytes,
    checksum,
    async *read(signal) {
      const entries = Entries.of(await blocksOf(settings, poolId, pack), format);
      const compared = new Compared(entries, poolId, pack, format);
      try {
        for await (const piece of packPieces(settings, poolId, pack, signal)) {
          compared.take(piece);
          yield piece;
        }
      } catch (error) {
        const isGone = codeOf(error) === 'store-missing' || codeOf(error) === 'store-short';
        throw isGone ? compared.unsound(messageOf(error)) : error;
      }
      idx = compared.end();
    },
    idx() {
      if (idx === null) throw new Error('the index is made while the pack is read');
      return idx;
    },
    output: { objectCount, allReached, based, hasDuplicates, tips, tables: { kind: 'copied', packId: pack.id }, chunkedOids },
  };
}

async function blocksOf({ catalog }: RewriteSettings, poolId: number, pack: Pack): Promise<readonly ObjectBlock[]> {
  return (await catalog.blocks(poolId, [pack])).get(pack.id) ?? [];
}

/** What the catalog says of a pack's entries, in order of oid. */
class Entries {
  readonly oids: Buffer;
  readonly offsets: Float64Array;
  readonly lengths: Float64Array;
  readonly chunkedOids: Buffer;

  private constructor(oids: Buffer, offsets: Float64Array, lengths: Float64Array, chunkedOids: Buffer) {
    this.oids = oids;
    this.offsets = offsets;
    this.lengths = lengths;
    this.chunkedOids = chunkedOids;
  }

  static of(blocks: readonly ObjectBlock[], format: ObjectFormat): Entries {
    const width = oidLength(format);
    const oids: Buffer[] = [];
    const chunked: Buffer[] = [];
    const offsets: number[] = [];
    const lengths: number[] = [];
    for (const block of blocks) {
      for (let row = 0; row < block.kinds.length; row++) {
        const oid = block.oids.subarray(row * width, (row + 1) * width);
        if (block.offsets[row]! < 0) {
          chunked.push(oid);
          continue;
        }
        oids.push(oid);
        offsets.push(block.offsets[row]!);
        lengths.push(block.lengths[row]!);
      }
    }
    return new Entries(Buffer.concat(oids), Float64Array.from(offsets), Float64Array.from(lengths), Buffer.concat(chunked));
  }
}

/** Compares the bytes of a pack, as they come, with its checksum and its entries' places, and gathers the CRC-32 of each entry. */
class Compared {
  readonly #entries: Entries;
  readonly #poolId: number;
  readonly #pack: Pack;
  readonly #format: ObjectFormat;
  readonly #hash;
  /** Rows in order of place, and the one that the next byte belongs to. */
  readonly #rows: Uint32Array;
  readonly #crcs: Uint32Array;
  #row = 0;
  #at = 0;
  #trailer = Buffer.alloc(0);

  constructor(entries: Entries, poolId: number, pack: Pack, format: ObjectFormat) {
    this.#entries = entries;
    this.#poolId = poolId;
    this.#pack = pack;
    this.#format = format;
    this.#hash = createHash(format);
    const { offsets, lengths } = entries;
    this.#rows = Uint32Array.from(offsets.keys()).sort((a, b) => offsets[a]! - offsets[b]!);
    this.#crcs = new Uint32Array(offsets.length);
    let next = 12;
    for (const row of this.#rows) {
      if (offsets[row] !== next) throw this.unsound(`the catalog has no entry at offset ${next}`);
      next += lengths[row]!;
    }
    if (next !== pack.lengthBytes - oidLength(format)) throw this.unsound(`the catalog's entries end at offset ${next}`);
  }

  take(piece: Buffer): void {
    const end = this.#pack.lengthBytes - oidLength(this.#format);
    const body = piece.subarray(0, Math.max(0, Math.min(piece.length, end - this.#at)));
    this.#hash.update(body);
    this.#trailer = Buffer.concat([this.#trailer, piece.subarray(body.length)]);
    for (let from = Math.max(0, 12 - this.#at); from < body.length; ) {
      const row = this.#rows[this.#row]!;
      const entryEnd = this.#entries.offsets[row]! + this.#entries.lengths[row]!;
      const to = Math.min(body.length, entryEnd - this.#at);
      this.#crcs[row] = crc32(body.subarray(from, to), this.#crcs[row]);
      if (this.#at + to === entryEnd) this.#row++;
      from = to;
    }
    this.#at += piece.length;
  }

  /** The pack's index, once all of it came and is what the catalog says. */
  end(): Buffer {
    const { checksum } = this.#pack;
    if (!this.#trailer.equals(checksum) || !this.#hash.digest().equals(checksum)) {
      throw this.unsound(`its bytes do not make the checksum ${checksum.toString('hex')}`);
    }
    const { oids, offsets } = this.#entries;
    return encodeIdx({ count: offsets.length, oids, offsets, crcs: this.#crcs, checksum }, this.#format);
  }

  unsound(why: string): PackhouseError {
    const { id } = this.#pack;
    return new PackhouseError('pack-corrupt', `pack ${id} is not copied: ${why}`, { pool: this.#poolId, pack: id });
  }
}
