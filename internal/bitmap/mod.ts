/**
 * bitmap: which objects of a pack each of some commits reaches, as bits in order of place, and the `.reach` sidecar that keeps them. Pure bytes:
 * trees come from the caller.
 *
 * Only for closed packs, whose commits and trees link to nothing outside: there a bitmap is the whole answer. It says what is stored and linked,
 * never who may see it. A bitmap that is missing or damaged costs speed only.
 *
 *   history   the pack's commits, parents before children
 *   news      what each commit brings: its tree compared with its parents'
 *   select    tips, tagged commits and spaced ones
 *   closures  of each selected commit: those of the nearest selected ones below, and what the commits between bring
 *   write     each in roaring form, or as its difference to a neighbour
 */
export { BitSet } from './bitset.ts';
export { buildReach, checkReach, type ReachInput } from './build.ts';
export { type PackOrder, packOrder } from './pack-order.ts';
export { ReachBitmaps } from './reach-file.ts';
export { encodeReachSidecar, findReachPart, type ReachPart } from './sidecar.ts';
