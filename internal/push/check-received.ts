import { IncomingReader, PackError, type ReceivedPack } from '../ingest/mod.ts';
import { finishChecks, GITMODULES_BYTES_MAX, ObjectChecker, oidLength, type Severities } from '../object/mod.ts';
import { proveReached, type RepositoryView } from '../reach/mod.ts';

/** Reads objects of the received pack, and the outside bases of its deltas from the pool. */
export function incomingReader(received: ReceivedPack, view: RepositoryView): IncomingReader {
  return new IncomingReader(received.pack, received.place, async (oid) => {
    const base = await view.pool.read(oid);
    return base === null ? null : { oid, kind: base.kind, data: base.data };
  });
}

/**
 * Looks into the blobs that trees of the pack name .gitmodules or .gitattributes, whether they came with the pack or are in the
 * repository from before, when nobody had a reason to look. The warnings; @throws PackError for an error.
 */
export async function checkDotFiles(
  received: ReceivedPack,
  reader: IncomingReader,
  view: RepositoryView,
  severities: Severities,
): Promise<string[]> {
  const { gitmodules, gitattributes } = received.pack.dotFiles;
  if (gitmodules.length === 0 && gitattributes.length === 0) return [];
  const checker = new ObjectChecker(received.pack.format, severities);
  checker.merge(gitmodules, gitattributes);
  const warnings: string[] = [];
  const read = async (oid: Buffer): Promise<{ kind: number; data: Buffer | undefined } | undefined> => {
    const row = reader.row(oid);
    if (row >= 0) {
      if (received.pack.sizes[row]! > GITMODULES_BYTES_MAX) return { kind: received.pack.kinds[row]!, data: undefined };
      return (await reader.read(oid, MADE_BYTES_MAX)) ?? undefined;
    }
    const [location] = await view.pool.index.find(oid);
    if (!location || (await proveReached(view, oid))[0] === 0) return undefined;
    if (location.sizeBytes > GITMODULES_BYTES_MAX) return { kind: location.kind, data: undefined };
    return view.pool.reader.read(location);
  };
  for await (const { oid, problems } of finishChecks(checker, read)) {
    for (const problem of problems) {
      // A blob that nobody has is a broken link: connectivity says so in its own words.
      if (problem.id === 'gitmodulesMissing' || problem.id === 'gitattributesMissing') continue;
      const line = `in blob ${oid.toString('hex')}: ${problem.id}: ${problem.message}`;
      if (problem.severity === 'error') throw new PackError(`error ${line}`, { id: problem.id });
      if (problem.severity === 'warn') warnings.push(`warning ${line}`);
    }
  }
  return warnings;
}

/**
 * Compares each incoming object that the pool has already with the stored one, byte for byte: two objects of one name are an attack
 * on the hash, and the stored one stays. Whether there were any.
 * @throws PackError naming the oid
 */
export async function compareDuplicates(received: ReceivedPack, reader: IncomingReader, view: RepositoryView): Promise<boolean> {
  const { pack } = received;
  const width = oidLength(pack.format);
  const locations = await view.pool.index.find(pack.oids);
  let any = received.bases.length > 0;
  for (let row = 0; row < pack.objectCount; row++) {
    const location = locations[row];
    if (!location) continue;
    any = true;
    const oid = pack.oids.subarray(row * width, (row + 1) * width);
    if (location.sizeBytes !== pack.sizes[row] || location.kind !== pack.kinds[row]) throw collision(oid);
    if (location.sizeBytes > COMPARED_BYTES_MAX || pack.offsets[row]! < 0) continue;
    const incoming = await readCheaply(reader, oid);
    if (incoming === null) continue;
    const stored = await view.pool.reader.read(location);
    if (!stored.data.equals(incoming.data)) throw collision(oid);
  }
  return any;
}

/** What one object of a pack may take to make for a look at it here, where other requests wait meanwhile. */
const MADE_BYTES_MAX = 256 << 20;

/** The incoming object, null when it costs too much: kind and size were compared, and readers take the older copy in any case. */
async function readCheaply(reader: IncomingReader, oid: Buffer): Promise<{ data: Buffer } | null> {
  try {
    return await reader.read(oid, MADE_BYTES_MAX);
  } catch (error) {
    if (error instanceof PackError && error.data.tooMuchWork === true) return null;
    throw error;
  }
}

/** Objects larger than this, and blobs that were cut, are compared by kind and size alone: reading both whole would break the memory bound. */
const COMPARED_BYTES_MAX = 64 << 20;

function collision(oid: Buffer): PackError {
  return new PackError(`object ${oid.toString('hex')} differs from the stored object of that name`, { oid: oid.toString('hex') });
}
