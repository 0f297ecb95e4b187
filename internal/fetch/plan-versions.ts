import { type ChunkRecipe, SHA256_BYTES } from '../chunking/mod.ts';
import { breath, type ChunkedBlobName, type ChunkedBlobs } from '../packread/mod.ts';

/** A chunked blob of an answer, and the blob that it is written as a delta of. */
export interface PlannedBlob {
  readonly blob: ChunkedBlobName;
  /** Planned before this one, or the client's; null: the blob goes whole. */
  readonly base: ChunkedBlobName | null;
  readonly isClientsBase: boolean;
}

/** From this size on git neither makes nor keeps deltas (core.bigFileThreshold). */
const DELTA_OBJECT_BYTES_MAX = 512 * 2 ** 20;
/** Deltas on top of each other: git's default for packs. */
const DEPTH_MAX = 50;
/** A delta whose new chunks come to more than this part of the blob's stored chunks is not worth the client's work. */
const NEW_PART_MAX = 0.5;
/** Blobs that are compared with each other, and bytes of their recipes; more are planned in groups. */
const GROUP_BLOBS_MAX = 128;
const GROUP_RECIPES_BYTES_MAX = 24 << 20;
const CLIENT_BLOBS_MAX = 128;
const CLIENT_RECIPES_BYTES_MAX = 8 << 20;

interface Candidate {
  readonly name: ChunkedBlobName;
  readonly recipe: ChunkRecipe;
}

/**
 * Chooses for each chunked blob of an answer what it is a delta of: another one of the answer, or one that the client has (`clients`),
 * whichever lacks the fewest of its chunks by their stored bytes. Bases come before what is made of them; of blobs that nothing is near to,
 * those in the youngest packs go whole first, so a history has its newest version whole.
 */
export async function* planVersions(
  chunked: ChunkedBlobs,
  blobs: readonly ChunkedBlobName[],
  clients: readonly ChunkedBlobName[],
): AsyncGenerator<PlannedBlob> {
  const whole = (blob: ChunkedBlobName): PlannedBlob => ({ blob, base: null, isClientsBase: false });
  const [small, large] = [blobs.filter(takesDeltas), blobs.filter((blob) => !takesDeltas(blob))];
  for (const blob of large) yield whole(blob);
  if (small.length === 1 && clients.length === 0) return yield whole(small[0]!);
  small.sort((a, b) => b.pack.id - a.pack.id);
  const likely = nearestInSize(clients.filter(takesDeltas), small);
  const known = await take(chunked, likely, 0, CLIENT_BLOBS_MAX, CLIENT_RECIPES_BYTES_MAX);
  for (let from = 0; from < small.length; ) {
    const group = await take(chunked, small, from, GROUP_BLOBS_MAX, GROUP_RECIPES_BYTES_MAX);
    from += group.length;
    yield* planGroup(known, group);
  }
}

function takesDeltas({ sizeBytes }: ChunkedBlobName): boolean {
  return sizeBytes < DELTA_OBJECT_BYTES_MAX;
}

/** Those first that are of about the size of one of the blobs: where there are many, most are other files. */
function nearestInSize(clients: readonly ChunkedBlobName[], blobs: readonly ChunkedBlobName[]): ChunkedBlobName[] {
  const sizes = blobs.slice(0, GROUP_BLOBS_MAX).map(({ sizeBytes }) => sizeBytes);
  const distances = new Map(clients.map((name) => [name, Math.min(...sizes.map((size) => Math.abs(size - name.sizeBytes)))]));
  return [...clients].sort((a, b) => distances.get(a)! - distances.get(b)!);
}

/** Recipes from a place in the list on, at least one where there is one. */
async function take(
  chunked: ChunkedBlobs,
  names: readonly ChunkedBlobName[],
  from: number,
  countMax: number,
  bytesMax: number,
): Promise<Candidate[]> {
  const taken: Candidate[] = [];
  let bytes = 0;
  for (let at = from; at < names.length && taken.length < countMax && bytes < bytesMax; at += 8) {
    const part = names.slice(at, Math.min(at + 8, from + countMax));
    const recipes = await chunked.recipes(part);
    part.forEach((name, i) => {
      taken.push({ name, recipe: recipes[i]! });
      bytes += recipes[i]!.sizes.length * (SHA256_BYTES + 40);
    });
  }
  return taken;
}

/** A tree of deltas over one group, grown from the client's blobs and from those that go whole by the cheapest next delta (Prim's way). */
async function* planGroup(clients: readonly Candidate[], group: readonly Candidate[]): AsyncGenerator<PlannedBlob> {
  const all = [...clients, ...group];
  const { shared, own } = await sharedBytes(all, clients.length);
  const depth = new Int32Array(all.length);
  const base = new Int32Array(all.length).fill(-1);
  const cost = new Float64Array(all.length).fill(Number.POSITIVE_INFINITY);
  const open = new Set(group.map((_, i) => clients.length + i));
  const placed: number[] = [];
  const lacks = (i: number, j: number): number => own[j]! - shared[i * all.length + j]!;
  const offer = (i: number, j: number): void => {
    if (lacks(i, j) >= cost[j]! || lacks(i, j) > own[j]! * NEW_PART_MAX) return;
    cost[j] = lacks(i, j);
    base[j] = i;
  };
  const place = (i: number): void => {
    placed.push(i);
    for (const j of open) {
      if (depth[i]! < DEPTH_MAX) {
        offer(i, j);
        continue;
      }
      // The chain ends here, and whoever would have gone on with it begins another one, half way down.
      if (lacks(i, j) >= cost[j]!) continue;
      cost[j] = Number.POSITIVE_INFINITY;
      for (const k of placed) if (depth[k]! <= DEPTH_MAX / 2) offer(k, j);
    }
  };
  for (let i = 0; i < clients.length; i++) place(i);
  while (open.size > 0) {
    let next = -1;
    for (const j of open) if (next < 0 || cost[j]! < cost[next]!) next = j;
    open.delete(next);
    const from = base[next]!;
    if (from >= 0) depth[next] = depth[from]! + 1;
    const isClientsBase = from >= 0 && from < clients.length;
    yield { blob: all[next]!.name, base: from < 0 ? null : all[from]!.name, isClientsBase };
    place(next);
  }
}

/**
 * Stored bytes of the chunks that each two blobs have in common, but for two of the client's, as a matrix; and of each blob's own chunks,
 * each counted once.
 */
async function sharedBytes(all: readonly Candidate[], clientCount: number): Promise<{ shared: Float64Array; own: Float64Array }> {
  const count = all.length;
  const shared = new Float64Array(count * count);
  const own = new Float64Array(count);
  const chunks = new Map<string, { readonly lengthBytes: number; readonly holders: number[] }>();
  for (let i = 0; i < count; i++) {
    const { recipe } = all[i]!;
    for (let c = 0; c < recipe.sizes.length; c++) {
      const key = recipe.sha256s.toString('latin1', c * SHA256_BYTES, (c + 1) * SHA256_BYTES);
      let chunk = chunks.get(key);
      if (chunk === undefined) {
        chunk = { lengthBytes: recipe.lengths[c]!, holders: [] };
        chunks.set(key, chunk);
      }
      if (chunk.holders.at(-1) === i) continue;
      chunk.holders.push(i);
      own[i]! += chunk.lengthBytes;
    }
    const pause = breath();
    if (pause) await pause;
  }
  for (const { lengthBytes, holders } of chunks.values()) {
    const pause = breath();
    if (pause) await pause;
    for (let a = 1; a < holders.length; a++) {
      const j = holders[a]!;
      if (j < clientCount) continue;
      for (let b = 0; b < a; b++) {
        shared[holders[b]! * count + j]! += lengthBytes;
        shared[j * count + holders[b]!]! += lengthBytes;
      }
    }
  }
  return { shared, own };
}
