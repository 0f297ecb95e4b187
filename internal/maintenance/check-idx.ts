import { codeOf, messageOf } from '../base/mod.ts';
import type { VerifiedPack } from '../ingest/mod.ts';
import { encodeIdx } from '../packformat/mod.ts';
import type { PackExtent } from '../packread/mod.ts';
import { type PackStore, sidecarKey } from '../packstore/mod.ts';
import type { ProblemList } from './problems.ts';

const PIECE_BYTES = 8 << 20;

/** The .idx in the store against the one that git would write for the pack: oids, CRC-32s, offsets, checksums. */
export async function compareIdx(
  store: PackStore,
  pack: PackExtent,
  verified: VerifiedPack,
  problems: ProblemList,
): Promise<void> {
  const key = sidecarKey(pack.crateKey!, 'idx');
  const { objectCount: count, oids, offsets, crcs, checksum } = verified;
  const expected = encodeIdx({ count, oids, offsets, crcs, checksum }, verified.format);
  try {
    const stored = await store.head(key);
    if (stored === null) return problems.add('idx', `the store has no ${key}`);
    const crate = await store.head(pack.crateKey!);
    const isAlone = pack.extentOffset === 0 && crate?.lengthBytes === pack.lengthBytes;
    if (isAlone && stored.lengthBytes !== expected.length) {
      return problems.add('idx', `${key} has ${stored.lengthBytes} bytes, git would write ${expected.length}`);
    }
    const from = isAlone ? 0 : await placeIn(store, key, stored.lengthBytes, expected, checksum);
    if (from < 0) return problems.add('idx', `${key} has no index of the pack that git would write`);
    for (let at = 0; at < expected.length; at += PIECE_BYTES) {
      const piece = expected.subarray(at, at + PIECE_BYTES);
      const bytes = await store.get(key, { offset: from + at, lengthBytes: piece.length });
      if (bytes.equals(piece)) continue;
      const first = at + bytes.findIndex((byte, i) => byte !== piece[i]);
      return problems.add('idx', `${key} is not what git would write, from byte ${from + first} on`);
    }
  } catch (error) {
    if (!(codeOf(error) ?? '').startsWith('store-')) throw error;
    problems.add('idx', messageOf(error));
  }
}

/**
 * Where the index of a pack begins among those of its crate, or -1. It ends with the pack's checksum, by which it is found, and its own: how
 * long those before it are says the crate's manifest, which this does not lean on.
 */
async function placeIn(store: PackStore, key: string, lengthBytes: number, expected: Buffer, checksum: Buffer): Promise<number> {
  const beforeChecksum = expected.length - 2 * checksum.length;
  let overlap = Buffer.alloc(0);
  for (let at = 0; at < lengthBytes; at += PIECE_BYTES) {
    const piece = await store.get(key, { offset: at, lengthBytes: Math.min(PIECE_BYTES, lengthBytes - at) });
    const bytes = Buffer.concat([overlap, piece]);
    for (let hit = bytes.indexOf(checksum); hit >= 0; hit = bytes.indexOf(checksum, hit + 1)) {
      const from = at - overlap.length + hit - beforeChecksum;
      if (from >= 0 && from + expected.length <= lengthBytes) return from;
    }
    overlap = bytes.subarray(Math.max(0, bytes.length - checksum.length + 1));
  }
  return -1;
}
