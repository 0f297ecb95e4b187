import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { SHA256_BYTES, wireEntryHead, wireEntryTail } from '../chunking/mod.ts';
import { DEFAULT_SEVERITIES, type ObjectFormat } from '../object/mod.ts';
import { encodeIdx } from '../packformat/mod.ts';
import { git, oidOf, scratchFolder } from '../testkit/mod.ts';
import {
  type ChunkingOptions,
  DEFAULT_PACK_LIMITS,
  type FoundChunks,
  type PackLimits,
  type ReceivedPack,
  receivePack,
} from './mod.ts';

export const spoolFolder = scratchFolder('spool');

/** Small chunks, so that small blobs have many. */
export const CUT_SIZES = { thresholdBytes: 100_000, minBytes: 1024, avgBytes: 4096, maxBytes: 16384 };

export async function* piecesOf(bytes: Buffer, size: number): AsyncGenerator<Buffer, undefined> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

export function keptBytes({ place }: Pick<ReceivedPack, 'place'>): Buffer {
  return place.kind === 'memory' ? place.bytes : readFileSync(place.path);
}

export async function gitIndex(bytes: Buffer, format: ObjectFormat = 'sha1'): Promise<Buffer> {
  const folder = scratchFolder('packs');
  const pack = join(folder, 'p.pack');
  writeFileSync(pack, bytes);
  await git(['index-pack', `--object-format=${format}`, '--no-rev-index', pack]);
  return readFileSync(join(folder, 'p.idx'));
}

export interface Given {
  readonly format?: ObjectFormat;
  readonly limits?: Partial<PackLimits>;
  readonly memoryBytesMax?: number;
  readonly pieceBytes?: number;
  readonly thinBytesMax?: number;
  readonly chunking?: Partial<ChunkingOptions> | null;
  readonly signal?: AbortSignal;
}

/** What a pool does for pushes, in memory: keeps chunk packs and blobs, finds chunks, gives bases. */
export class TestPool {
  readonly packs = new Map<number, Buffer>();
  readonly blobs = new Map<string, Buffer>();
  readonly #chunks = new Map<string, readonly [packId: number, offset: number, length: number]>();
  lookUps = 0;
  /** Blobs of this size and more are given as large bases. */
  largeBytesMin = CUT_SIZES.thresholdBytes;

  findChunks = async (sha256s: Buffer): Promise<FoundChunks> => {
    this.lookUps++;
    const places = Array.from({ length: sha256s.length / SHA256_BYTES }, (_, i) =>
      this.#chunks.get(sha256s.toString('hex', i * SHA256_BYTES, (i + 1) * SHA256_BYTES)),
    );
    return {
      packIds: Float64Array.from(places, (place) => place?.[0] ?? 0),
      offsets: Float64Array.from(places, (place) => place?.[1] ?? 0),
      lengths: Float64Array.from(places, (place) => place?.[2] ?? 0),
    };
  };

  readLargeBase: ChunkingOptions['readLargeBase'] = async (oid) => {
    const data = this.blobs.get(oid.toString('hex'));
    if (data === undefined || data.length < this.largeBytesMin) return null;
    return { sizeBytes: data.length, writeTo: async (path) => writeFileSync(path, data) };
  };

  add(...blobs: readonly Buffer[]): void {
    for (const data of blobs) this.blobs.set(oidOf('blob', data), data);
  }

  async receive(bytes: Buffer, given: Given = {}): Promise<ReceivedPack> {
    const { format = 'sha1', limits = {}, memoryBytesMax = 8 << 20, pieceBytes = 70_000, chunking = {}, ...rest } = given;
    const { findChunks, readLargeBase } = this;
    return receivePack(piecesOf(bytes, pieceBytes), Buffer.alloc(0), {
      format,
      limits: { ...DEFAULT_PACK_LIMITS, ...limits },
      severities: DEFAULT_SEVERITIES,
      memoryBytesMax,
      spoolFolder,
      readBase: async (oid) => {
        const data = this.blobs.get(oid.toString('hex'));
        return data === undefined ? null : { oid, kind: 3, data };
      },
      chunking: chunking === null ? null : { ...CUT_SIZES, findChunks, readLargeBase, ...chunking },
      ...rest,
    });
  }

  /** Takes the push in: its chunk pack gets an id, its chunks can be found. Bytes of the chunk pack. */
  publish(received: ReceivedPack): number {
    const packId = this.packs.size + 1;
    if (received.chunkPack !== null) this.packs.set(packId, keptBytes(received.chunkPack));
    for (const { recipe } of received.chunked) {
      for (let i = 0; i < recipe.sizes.length; i++) {
        if (recipe.packIds[i] === 0) recipe.packIds[i] = packId;
        const key = recipe.sha256s.toString('hex', i * SHA256_BYTES, (i + 1) * SHA256_BYTES);
        if (!this.#chunks.has(key)) this.#chunks.set(key, [recipe.packIds[i]!, recipe.offsets[i]!, recipe.lengths[i]!]);
      }
    }
    return received.chunkPack?.lengthBytes ?? 0;
  }

  /** Checks what was received, publishes it, and lets go of its files: git indexes what is kept and what is made of chunks. Oids of cut blobs. */
  async accept(received: ReceivedPack): Promise<string[]> {
    const { pack, chunkPack } = received;
    const { format } = pack;
    const width = pack.oids.length / pack.objectCount;
    const own = Array.from({ length: pack.objectCount }, (_, row) => row).filter((row) => pack.offsets[row]! >= 0);
    assert.equal(pack.objectCount - own.length, received.chunked.length);
    const bytes = keptBytes(received);
    assert.equal(bytes.readUInt32BE(8), own.length);
    if (received.bases.length === 0) {
      const idx = encodeIdx(
        {
          count: own.length,
          oids: Buffer.concat(own.map((row) => pack.oids.subarray(row * width, (row + 1) * width))),
          offsets: Float64Array.from(own, (row) => pack.offsets[row]!),
          crcs: Uint32Array.from(own, (row) => pack.crcs[row]!),
          checksum: pack.checksum,
        },
        format,
      );
      assert.ok(idx.equals(await gitIndex(bytes, format)));
    }
    if (chunkPack !== null) {
      const chunkBytes = keptBytes(chunkPack);
      assert.equal(chunkBytes.length, chunkPack.lengthBytes);
      assert.equal(chunkBytes.readUInt32BE(8), chunkPack.objectCount);
      assert.ok(chunkPack.idx.equals(await gitIndex(chunkBytes, format)));
    }
    this.publish(received);
    for (const blob of received.chunked) {
      const row = pack.oids.indexOf(blob.oid) / width;
      assert.equal(pack.offsets[row], -1);
      assert.equal(pack.kinds[row], 3);
      assert.equal(pack.sizes[row], blob.recipe.sizeBytes);
      const entry = this.wireEntry(blob.recipe);
      assert.equal(pack.lengths[row], entry.length);
      assert.equal(await oidByGit(entry, format), blob.oid.toString('hex'));
    }
    await received.dispose();
    return received.chunked.map(({ oid }) => oid.toString('hex')).sort();
  }

  /** A blob's entry on the wire, from stored bytes alone. */
  wireEntry(recipe: ReceivedPack['chunked'][number]['recipe']): Buffer {
    const segments = Array.from(recipe.lengths, (length, i) =>
      this.packs.get(recipe.packIds[i]!)!.subarray(recipe.offsets[i]!, recipe.offsets[i]! + length),
    );
    return Buffer.concat([wireEntryHead(recipe.sizeBytes), ...segments, wireEntryTail(recipe.adler)]);
  }
}

/** What git calls the object of an entry. */
async function oidByGit(entry: Buffer, format: ObjectFormat): Promise<string> {
  const header = Buffer.alloc(12);
  header.write('PACK', 'latin1');
  header.writeUInt32BE(2, 4);
  header.writeUInt32BE(1, 8);
  const body = Buffer.concat([header, entry]);
  const idx = await gitIndex(Buffer.concat([body, createHash(format).update(body).digest()]), format);
  return idx.toString('hex', 1032, 1032 + (format === 'sha1' ? 20 : 32));
}
