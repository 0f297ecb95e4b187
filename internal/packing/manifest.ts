import { createHash } from 'node:crypto';
import { PackhouseError } from '../base/mod.ts';
import type { PackRecord } from '../catalog/mod.ts';
import { type ChunkRecipe, SHA256_BYTES } from '../chunking/mod.ts';
import type { ObjectFormat } from '../object/mod.ts';
import { type PackStore, sidecarKey } from '../packstore/mod.ts';

/** One pack of a crate, with all that a new catalog would need to know of it besides its bytes. */
export interface ManifestPack extends PackRecord {
  readonly poolId: number;
  readonly packId: number;
  readonly format: ObjectFormat;
  readonly tier: 'store' | 'chunks';
  /** What made it: push, seal, compact, gather, sweep, chunks, … */
  readonly origin: string;
  readonly extentOffset: number;
  readonly chunkedCount: number;
  /** Of a pack that took the place of others: their ids. */
  readonly inputs: readonly number[];
  /** The pushes whose objects it holds. Of a push's own pack: what the push proposed, written before it was decided. */
  readonly pushes: readonly ManifestPush[];
}

export interface ManifestPush {
  /** Null while it has no number yet. */
  readonly pushId: number | null;
  readonly repositoryId: number;
  readonly owner: string;
  readonly name: string;
  readonly private: boolean;
  readonly pushedAt: Date;
  readonly updates: readonly ManifestUpdate[];
}

/** One ref: its name as a binary string, raw oids, null for "no such ref". */
export interface ManifestUpdate {
  readonly name: string;
  readonly oldOid: Buffer | null;
  readonly newOid: Buffer | null;
}

/** A chunked blob of one of the crate's packs. */
export interface ManifestRecipe {
  readonly poolId: number;
  readonly packId: number;
  readonly oid: Buffer;
  /** Names every chunk pack by its id. */
  readonly recipe: ChunkRecipe;
}

export type ManifestItem =
  | { readonly kind: 'pack'; readonly pack: ManifestPack }
  | { readonly kind: 'recipe'; readonly recipe: ManifestRecipe };

const VERSION = 1;
/** Bytes of one chunk in a recipe: pack id, offset, length, size, Adler-32, SHA-256. */
const CHUNK_BYTES = 8 + 8 + 4 + 4 + 4 + SHA256_BYTES;
const PIECE_BYTES = 1 << 20;

/** Stores the manifest of a crate beside it. */
export async function writeManifest(
  store: PackStore,
  crateKey: string,
  packs: Iterable<ManifestPack>,
  recipes: Iterable<ManifestRecipe> | AsyncIterable<ManifestRecipe>,
  signal?: AbortSignal,
): Promise<void> {
  await store.put(
    sidecarKey(crateKey, 'manifest'),
    encodeManifest(crateKey, packs, recipes),
    signal === undefined ? {} : { signal },
  );
}

/** The manifest's bytes, line by line. */
async function* encodeManifest(
  crateKey: string,
  packs: Iterable<ManifestPack>,
  recipes: Iterable<ManifestRecipe> | AsyncIterable<ManifestRecipe>,
): AsyncGenerator<Buffer> {
  const hash = createHash('sha256');
  let lines = 0;
  const line = (value: object): Buffer => {
    const bytes = Buffer.from(`${JSON.stringify(value)}\n`);
    hash.update(bytes);
    lines++;
    return bytes;
  };
  yield line({ packhouse: 'manifest', version: VERSION, crate: crateKey });
  for (const pack of packs) yield line({ pack: packLine(pack) });
  for await (const recipe of recipes) yield line({ recipe: recipeLine(recipe) });
  yield Buffer.from(`${JSON.stringify({ end: { lines, sha256: hash.digest('hex') } })}\n`);
}

interface PackLine {
  readonly pool: number;
  readonly id: number;
  readonly format: ObjectFormat;
  readonly tier: 'store' | 'chunks';
  readonly origin: string;
  readonly offset: number;
  readonly length: number;
  readonly objects: number;
  readonly chunked: number;
  readonly checksum: string;
  readonly all_reached: boolean;
  readonly based: boolean;
  readonly has_duplicates: boolean;
  readonly tips: string;
  readonly inputs: readonly number[];
  readonly pushes: readonly PushLine[];
}

interface PushLine {
  readonly push: number | null;
  readonly repository: { readonly id: number; readonly owner: string; readonly name: string; readonly private: boolean };
  readonly at: string;
  readonly updates: readonly { readonly ref: string; readonly old: string | null; readonly new: string | null }[];
}

interface RecipeLine {
  readonly pool: number;
  readonly pack: number;
  readonly oid: string;
  readonly size: number;
  readonly adler: number;
  readonly chunks: string;
}

function packLine(pack: ManifestPack): PackLine {
  return {
    pool: pack.poolId,
    id: pack.packId,
    format: pack.format,
    tier: pack.tier,
    origin: pack.origin,
    offset: pack.extentOffset,
    length: pack.lengthBytes,
    objects: pack.objectCount,
    chunked: pack.chunkedCount,
    checksum: pack.checksum.toString('hex'),
    all_reached: pack.allReached,
    based: pack.based,
    has_duplicates: pack.hasDuplicates,
    tips: pack.tips.toString('hex'),
    inputs: pack.inputs,
    pushes: pack.pushes.map((push) => ({
      push: push.pushId,
      repository: { id: push.repositoryId, owner: push.owner, name: push.name, private: push.private },
      at: push.pushedAt.toISOString(),
      updates: push.updates.map((update) => ({
        ref: update.name,
        old: update.oldOid?.toString('hex') ?? null,
        new: update.newOid?.toString('hex') ?? null,
      })),
    })),
  };
}

function packOf(line: PackLine): ManifestPack {
  return {
    poolId: line.pool,
    packId: line.id,
    format: line.format,
    tier: line.tier,
    origin: line.origin,
    extentOffset: line.offset,
    lengthBytes: line.length,
    objectCount: line.objects,
    chunkedCount: line.chunked,
    checksum: Buffer.from(line.checksum, 'hex'),
    allReached: line.all_reached,
    based: line.based,
    hasDuplicates: line.has_duplicates,
    tips: Buffer.from(line.tips, 'hex'),
    inputs: line.inputs,
    pushes: line.pushes.map((push) => ({
      pushId: push.push,
      repositoryId: push.repository.id,
      owner: push.repository.owner,
      name: push.repository.name,
      private: push.repository.private,
      pushedAt: new Date(push.at),
      updates: push.updates.map((update) => ({ name: update.ref, oldOid: oidOf(update.old), newOid: oidOf(update.new) })),
    })),
  };
}

function oidOf(hex: string | null): Buffer | null {
  return hex === null ? null : Buffer.from(hex, 'hex');
}

function recipeLine({ poolId, packId, oid, recipe }: ManifestRecipe): RecipeLine {
  const count = recipe.sizes.length;
  const chunks = Buffer.allocUnsafe(count * CHUNK_BYTES);
  for (let i = 0; i < count; i++) {
    let at = i * CHUNK_BYTES;
    at = chunks.writeBigUInt64BE(BigInt(recipe.packIds[i]!), at);
    at = chunks.writeBigUInt64BE(BigInt(recipe.offsets[i]!), at);
    at = chunks.writeUInt32BE(recipe.lengths[i]!, at);
    at = chunks.writeUInt32BE(recipe.sizes[i]!, at);
    at = chunks.writeUInt32BE(recipe.adlers[i]!, at);
    recipe.sha256s.copy(chunks, at, i * SHA256_BYTES, (i + 1) * SHA256_BYTES);
  }
  const { sizeBytes: size, adler } = recipe;
  return { pool: poolId, pack: packId, oid: oid.toString('hex'), size, adler, chunks: chunks.toString('base64') };
}

function recipeOf(line: RecipeLine): ManifestRecipe | null {
  const chunks = Buffer.from(line.chunks, 'base64');
  const count = chunks.length / CHUNK_BYTES;
  if (!Number.isInteger(count)) return null;
  const column = (): Float64Array => new Float64Array(count);
  const columns = { packIds: column(), offsets: column(), lengths: column(), sizes: column(), adlers: new Uint32Array(count) };
  const sha256s = Buffer.allocUnsafe(count * SHA256_BYTES);
  for (let i = 0; i < count; i++) {
    const at = i * CHUNK_BYTES;
    columns.packIds[i] = Number(chunks.readBigUInt64BE(at));
    columns.offsets[i] = Number(chunks.readBigUInt64BE(at + 8));
    columns.lengths[i] = chunks.readUInt32BE(at + 16);
    columns.sizes[i] = chunks.readUInt32BE(at + 20);
    columns.adlers[i] = chunks.readUInt32BE(at + 24);
    chunks.copy(sha256s, i * SHA256_BYTES, at + 28, at + CHUNK_BYTES);
  }
  const recipe = { sizeBytes: line.size, adler: line.adler, sha256s, ...columns };
  return { poolId: line.pool, packId: line.pack, oid: Buffer.from(line.oid, 'hex'), recipe };
}

/**
 * What the manifest of a crate says, item by item; packs come before recipes. Whoever has read it to its end knows that it is whole.
 * @throws PackhouseError `manifest-bad` when it is not what was written, `store-missing`
 */
export async function* readManifest(store: PackStore, crateKey: string): AsyncGenerator<ManifestItem> {
  const key = sidecarKey(crateKey, 'manifest');
  const bad = (why: string): PackhouseError => new PackhouseError('manifest-bad', `${key}: ${why}`, { key });
  const hash = createHash('sha256');
  let lines = 0;
  let ended = false;
  for await (const bytes of linesOf(store, key)) {
    if (ended) throw bad('something follows its end');
    const line = parseLine(bytes);
    if (line === null) throw bad(`line ${lines + 1} is not readable`);
    if (line.end) {
      if (line.end.lines !== lines || line.end.sha256 !== hash.digest('hex')) throw bad('its checksum differs');
      ended = true;
      continue;
    }
    hash.update(bytes);
    if (++lines === 1) {
      if (line.packhouse !== 'manifest' || line.version !== VERSION) throw bad('not a manifest of version 1');
      if (line.crate !== crateKey) throw bad(`it belongs to ${line.crate}`);
    } else {
      const item = itemOf(line);
      if (item === null) throw bad(`line ${lines} is not readable`);
      yield item;
    }
  }
  if (!ended) throw bad('its end is missing');
}

interface Line {
  readonly packhouse?: string;
  readonly version?: number;
  readonly crate?: string;
  readonly pack?: PackLine;
  readonly recipe?: RecipeLine;
  readonly end?: { readonly lines: number; readonly sha256: string } | null;
}

function parseLine(bytes: Buffer): Line | null {
  try {
    const line: unknown = JSON.parse(bytes.toString());
    return typeof line === 'object' ? line : null;
  } catch {
    return null;
  }
}

/** Lines are checked as a whole by the last one; a shape that is none of ours shows before that. */
function itemOf(line: Line): ManifestItem | null {
  try {
    if (line.pack !== undefined) return { kind: 'pack', pack: packOf(line.pack) };
    const recipe = line.recipe === undefined ? null : recipeOf(line.recipe);
    return recipe && { kind: 'recipe', recipe };
  } catch {
    return null;
  }
}

/** Lines of an object of the store, each with its line end; what follows the last one, too. */
async function* linesOf(store: PackStore, key: string): AsyncGenerator<Buffer> {
  const lengthBytes = (await store.head(key))?.lengthBytes ?? 0;
  if (lengthBytes === 0) throw new PackhouseError('store-missing', `object ${key} is not in the store`, { key });
  let held: Buffer[] = [];
  for (let at = 0; at < lengthBytes; at += PIECE_BYTES) {
    const piece = await store.get(key, { offset: at, lengthBytes: Math.min(PIECE_BYTES, lengthBytes - at) });
    let from = 0;
    for (let end = piece.indexOf(10); end >= 0; end = piece.indexOf(10, from)) {
      yield Buffer.concat([...held, piece.subarray(from, end + 1)]);
      held = [];
      from = end + 1;
    }
    held.push(piece.subarray(from));
  }
  const rest = Buffer.concat(held);
  if (rest.length > 0) yield rest;
}
