/**
 * repack: one well-ordered pack of several packs of a pool, for sealing, compaction and the sweep. It writes to a local file only: whoever asks
 * for it puts it in the store and swaps it in.
 *
 *   spool     the inputs' bytes, one after the other, checked against their checksums
 *   choose    of each object one copy: the smallest, and none that leads back to where it came from
 *   walk      commits from the newest to the oldest and their trees: where each object stands in history, and its path's name-hash
 *   search    deltas for what has none
 *   write     commits, tags, trees, blobs by path; a base before its deltas; compressed bytes are copied where they can be
 *   verify    the file is read back by the code that receives strangers' packs, and must hold exactly what was meant
 *
 * The result holds each object once and the bases of all its deltas, and is never larger than the inputs with whole entries of the objects
 * whose bases are not in it; for that its chains may be deeper than the limit, as they came. Any doubt throws `repack-unsound`, which means: keep the inputs.
 */
export { makeReach, reachTable } from './make-reach.ts';
export { verifyReach } from './reach-work.ts';
export { repack } from './repack.ts';
export {
  DEFAULT_REPACK_SETTINGS,
  type RepackedPack,
  type RepackInput,
  type RepackSettings,
  type RepackStatistics,
} from './types.ts';
