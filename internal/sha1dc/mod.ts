/**
 * sha1dc: SHA-1 that notices when a message was made by one of the known collision attacks. Imports base only.
 *
 * Every such attack ends with a block whose difference to that of the other message comes from a *disturbance vector*: 32 are cheap enough to be used,
 * of types I(K,b) and II(K,b). For each, the other block can be computed from this one, with the state of this one before a step at which the
 * two have the same state (58, or 65 from K = 50 on): if it ends in the same chaining value, this block was made for a collision. Most
 * blocks need no such test: an attack can not avoid that some bits of the expanded message are equal or different, and all conditions of some
 * vector hold in 5 of 100 random blocks.
 *
 * Sources: M. Stevens, "Counter-cryptanalysis", CRYPTO 2013; M. Stevens and D. Shumow, "Speeding up detection of SHA-1 collision attacks using
 * unavoidable attack conditions", USENIX Security 2017; S. Manuel, "Classification and generation of disturbance vectors for collision attacks against SHA-1",
 * 2011. What is found is what git finds: the same vectors, all blocks, padding included.
 *
 * It finds no first block of an attack (that has no collision yet), no attack on SHA-1 with fewer steps, and no attack that nobody knows.
 */
export { Sha1Batch } from './batch.ts';
export { CheckedSha1 } from './checked-sha1.ts';
