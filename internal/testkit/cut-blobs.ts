import { hash } from 'node:crypto';
import {
  adler32,
  type ChunkRecipe,
  type CutSizes,
  combineAdler32,
  encodeSegment,
  FastCdcCutter,
  wireEntryHead,
  wireEntryTail,
} from '../chunking/mod.ts';
import { buildPack } from './pack-builder.ts';

/** Blobs cut into chunks, each chunk stored once in one pack. */
export interface CutBlobs {
  readonly recipes: readonly ChunkRecipe[];
  readonly pack: Buffer;
  readonly chunkCount: number;
}

export function cutBlobs(blobs: readonly Buffer[], sizes: CutSizes): CutBlobs {
  const places = new Map<string, { offset: number; length: number }>();
  const entries: Buffer[] = [];
  let end = 12;
  const place = (sha256: Buffer, plain: Buffer): { offset: number; length: number } => {
    const key = sha256.toString('hex');
    const known = places.get(key);
    if (known !== undefined) return known;
    const [head, segment] = [wireEntryHead(plain.length), encodeSegment(plain)];
    entries.push(Buffer.concat([head, segment, wireEntryTail(adler32(plain))]));
    const made = { offset: end + head.length, length: segment.length };
    end += entries.at(-1)!.length;
    places.set(key, made);
    return made;
  };
  const recipes = blobs.map((blob): ChunkRecipe => {
    const cutter = new FastCdcCutter(sizes);
    let at = 0;
    const chunks = [...cutter.push(blob), ...cutter.finish()].map((size) => {
      at += size;
      const plain = blob.subarray(at - size, at);
      const sha256 = hash('sha256', plain, 'buffer');
      return { sha256, size, adler: adler32(plain), ...place(sha256, plain) };
    });
    return {
      sizeBytes: blob.length,
      adler: chunks.reduce((whole, { adler, size }) => combineAdler32(whole, adler, size), 1),
      sha256s: Buffer.concat(chunks.map(({ sha256 }) => sha256)),
      packIds: new Float64Array(chunks.length),
      offsets: Float64Array.from(chunks, ({ offset }) => offset),
      lengths: Float64Array.from(chunks, ({ length }) => length),
      sizes: Float64Array.from(chunks, ({ size }) => size),
      adlers: Uint32Array.from(chunks, ({ adler }) => adler),
    };
  });
  return { recipes, pack: buildPack(entries), chunkCount: entries.length };
}
