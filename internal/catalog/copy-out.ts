import type { Readable } from 'node:stream';
import type { Pool, Submittable } from 'pg';
import { to as copyTo } from 'pg-copy-streams';
import * as reading from '../../db/queries/read.ts';
import { PackhouseError } from '../base/mod.ts';
import { ARRAY_HEADER_BYTES, BIGINT_BYTES, SIGNATURE } from './copy.ts';

/**
 * The rows of a query, each as its fields' bytes in PostgreSQL's binary format (`copy.ts`), which have memory of their own. What goes as text is three times as
 * large, and a string before it is bytes: for many rows.
 */
export async function* copiedRows(pool: Pool, query: string): AsyncGenerator<Buffer[]> {
  const client = await pool.connect();
  let broken: Error | undefined = new Error('the rows were not read to their end');
  const stream: Readable & Submittable & { callback?: () => void } = copyTo(`copy (${query}) to stdout (format binary)`);
  // A connection that breaks after the last row says so to a stream that nobody reads any more.
  stream.on('error', () => {});
  try {
    client.query(stream);
    const bytes = new ByteReader(stream);
    if (!(await bytes.take(SIGNATURE.length)).equals(SIGNATURE)) throw unexpected('its header');
    for (;;) {
      const count = (await bytes.take(2)).readInt16BE();
      if (count < 0) break;
      const row: Buffer[] = [];
      for (let i = 0; i < count; i++) {
        const lengthBytes = (await bytes.take(4)).readInt32BE();
        if (lengthBytes < 0) throw unexpected(`a null in field ${i}`);
        row.push(await bytes.take(lengthBytes));
      }
      yield row;
    }
    await bytes.end();
    broken = undefined;
  } catch (error) {
    broken = error as Error;
    throw error;
  } finally {
    // pg waits for this to end the time that it gives a query. Nothing is waited for here: a stream that failed must not hear of its connection again.
    stream.callback?.();
    client.release(broken);
  }
}

/** What `blocksOfPacks` gives. */
export async function copiedBlocks(pool: Pool, poolId: number, packIds: readonly number[]): Promise<reading.BlockRow[]> {
  const rows: reading.BlockRow[] = [];
  for await (const [packId, firstOid, oids, kinds, sizes, offsets, lengths] of copiedRows(
    pool,
    reading.blocksOfPacksQuery(poolId, packIds),
  ))
    rows.push({
      pack_id: bigintOf(packId!),
      first_oid: firstOid!,
      oids: oids!,
      kinds: kinds!,
      sizes: bigintsOf(sizes!),
      offsets: bigintsOf(offsets!),
      lengths: bigintsOf(lengths!),
    });
  return rows;
}

/** What `graphBlocks` gives. */
export async function copiedGraphBlocks(
  pool: Pool,
  poolId: number,
  packIds: readonly number[],
): Promise<{ pack_id: number; records: Buffer }[]> {
  const rows: { pack_id: number; records: Buffer }[] = [];
  for await (const [packId, records] of copiedRows(pool, reading.graphBlocksQuery(poolId, packIds)))
    rows.push({ pack_id: bigintOf(packId!), records: records! });
  return rows;
}

/** A `bigint`. */
export function bigintOf(field: Buffer): number {
  return bigintAt(field, 0);
}

/** A `bigint[]` of one dimension; as in text (`parseNumberArray`) a null element becomes NaN. */
export function bigintsOf(field: Buffer): Float64Array {
  if (field.readInt32BE(0) === 0) return new Float64Array(0);
  const numbers = new Float64Array(field.readInt32BE(12));
  for (let i = 0, at = ARRAY_HEADER_BYTES; i < numbers.length; i++) {
    const isNull = field.readInt32BE(at) < 0;
    numbers[i] = isNull ? Number.NaN : bigintAt(field, at + 4);
    at += isNull ? 4 : 4 + BIGINT_BYTES;
  }
  return numbers;
}

/** Every bigint of the catalog is a whole number of up to 53 bits. */
function bigintAt(bytes: Buffer, at: number): number {
  return bytes.readInt32BE(at) * 2 ** 32 + bytes.readUInt32BE(at + 4);
}

class ByteReader {
  readonly #chunks: AsyncIterator<Buffer>;
  #chunk: Buffer = Buffer.alloc(0);
  #at = 0;

  constructor(stream: Readable) {
    this.#chunks = stream[Symbol.asyncIterator]();
  }

  async take(lengthBytes: number): Promise<Buffer> {
    const taken = Buffer.allocUnsafeSlow(lengthBytes);
    for (let filled = 0; filled < lengthBytes; ) {
      if (this.#at === this.#chunk.length && !(await this.#next())) throw unexpected('its end');
      const copied = this.#chunk.copy(taken, filled, this.#at);
      filled += copied;
      this.#at += copied;
    }
    return taken;
  }

  /** Reads on to the end, where nothing may be left. */
  async end(): Promise<void> {
    if (this.#at < this.#chunk.length || (await this.#next())) throw unexpected('bytes after the last row');
  }

  async #next(): Promise<boolean> {
    const { done, value } = await this.#chunks.next();
    if (done) return false;
    this.#chunk = value;
    this.#at = 0;
    return true;
  }
}

function unexpected(what: string): PackhouseError {
  return new PackhouseError('catalog-copy', `PostgreSQL sent ${what} in a COPY where something else should be`);
}
