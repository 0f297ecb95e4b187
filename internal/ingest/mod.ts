export { createChecker, type ObjectChecker } from './check.ts';
export { PackError } from './errors.ts';
export { DEFAULT_PACK_LIMITS, type PackLimits } from './limits.ts';
export { PackIngest, type PackIngestOptions } from './pack-ingest.ts';
export { MemorySource, type PackSource, SpoolSource } from './pack-source.ts';
export type { ExternalBase } from './resolve.ts';
export type { VerifiedPack } from './verified-pack.ts';
