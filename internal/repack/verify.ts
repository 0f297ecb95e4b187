import { messageOf } from '../base/mod.ts';
import { PackWork, STORED_PACK_LIMITS, type VerifiedPack } from '../ingest/mod.ts';
import { type Severities, STRICT_SEVERITIES, severitiesWith } from '../object/mod.ts';
import { type ObjectTable, unsound } from './object-table.ts';

/** What was pushed has been weighed by the severities of its day: here only what cannot be read as an object counts. */
const LENIENT: Severities = severitiesWith(Object.fromEntries(Object.keys(STRICT_SEVERITIES).map((id) => [id, 'ignore'])));

/** What a written pack must be: the objects that stay, in order of oid, and the file's own size and checksum. */
export interface ExpectedPack {
  readonly oids: Buffer;
  readonly kinds: Uint8Array;
  readonly sizes: Float64Array;
  readonly lengthBytes: number;
  readonly checksum: Buffer;
}

/** The objects that stay, in order of oid. */
export function expectedObjects(table: ObjectTable): Pick<ExpectedPack, 'oids' | 'kinds' | 'sizes'> {
  const width = table.oids.oidBytes;
  const slab = table.oids.slab();
  const staying = new Uint32Array(table.keep.reduce((sum, stays) => sum + stays, 0));
  let filled = 0;
  for (let object = 0; object < table.count; object++) if (table.keep[object]) staying[filled++] = object;
  staying.sort((a, b) => slab.compare(slab, b * width, (b + 1) * width, a * width, (a + 1) * width));
  const oids = Buffer.allocUnsafe(filled * width);
  for (let row = 0; row < filled; row++) slab.copy(oids, row * width, staying[row]! * width, (staying[row]! + 1) * width);
  return {
    oids,
    kinds: Uint8Array.from(staying, (i) => table.kinds[i]!),
    sizes: Float64Array.from(staying, (i) => table.sizes[i]!),
  };
}

/**
 * Reads the written file from end to end as if a stranger had sent it, and compares what it holds with what was meant.
 * @throws PackhouseError `repack-unsound`
 */
export function verifyPack(path: string, format: ObjectTable['format'], expected: ExpectedPack): VerifiedPack {
  const pack = readBack(path, format, expected.lengthBytes);
  const differs = (what: string): never => {
    throw unsound(`the pack that was written has other ${what} than was meant`);
  };
  if (pack.lengthBytes !== expected.lengthBytes) differs('bytes');
  if (!pack.checksum.equals(expected.checksum)) differs('bytes');
  if (pack.bases.length > 0) differs('delta bases');
  if (!pack.oids.equals(expected.oids)) differs('objects');
  if (Buffer.compare(pack.kinds, expected.kinds) !== 0) differs('kinds of objects');
  if (pack.sizes.some((size, i) => size !== expected.sizes[i])) differs('sizes of objects');
  return pack;
}

function readBack(path: string, format: ObjectTable['format'], lengthBytes: number): VerifiedPack {
  const work = new PackWork({ path }, { format, limits: STORED_PACK_LIMITS, severities: LENIENT });
  try {
    work.advance(lengthBytes, true);
    work.resolve();
    if (work.nextBase() !== null) throw unsound('a delta of the pack that was written has its base elsewhere');
    const finished = work.finish();
    if (finished.kind !== 'verified') throw unsound('the pack that was written has an object twice');
    return finished.pack;
  } catch (error) {
    throw unsound(`the pack that was written is not sound: ${messageOf(error)}`);
  } finally {
    work.close();
  }
}
