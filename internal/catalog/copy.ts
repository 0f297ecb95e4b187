import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { ClientBase } from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import type { ObjectBlock } from './types.ts';

/**
 * Rows in PostgreSQL's binary COPY format (its manual, "COPY", "Binary Format"): signature, flags and the length of an extension that is
 * not there; a row is its number of fields, each with its length before it; -1 in place of a row ends it.
 */
export const SIGNATURE = Buffer.from('PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0', 'latin1');
const END = Buffer.from([0xff, 0xff]);
/** `bigint` in pg_type. */
const BIGINT_OID = 20;
/** Of an array: dimensions, whether any is null, type; and of its one dimension: length, first subscript. */
export const ARRAY_HEADER_BYTES = 20;
export const BIGINT_BYTES = 8;

class Row {
  readonly #bytes: Buffer;
  #at = 2;

  constructor(fields: number, bytesMax: number) {
    this.#bytes = Buffer.allocUnsafe(2 + fields * 4 + bytesMax);
    this.#bytes.writeInt16BE(fields);
  }

  integer(value: number): this {
    this.#length(4);
    this.#at = this.#bytes.writeInt32BE(value, this.#at);
    return this;
  }

  bigint(value: number): this {
    this.#length(BIGINT_BYTES);
    this.#number(value);
    return this;
  }

  bytea(value: Uint8Array): this {
    this.#length(value.length);
    this.#bytes.set(value, this.#at);
    this.#at += value.length;
    return this;
  }

  bigints(values: ArrayLike<number>): this {
    this.#length(bigintsBytes(values.length));
    for (const field of [1, 0, BIGINT_OID, values.length, 1]) this.#at = this.#bytes.writeInt32BE(field, this.#at);
    for (let i = 0; i < values.length; i++) {
      this.#length(BIGINT_BYTES);
      this.#number(values[i]!);
    }
    return this;
  }

  bytes(): Buffer {
    return this.#bytes.subarray(0, this.#at);
  }

  #length(lengthBytes: number): void {
    this.#at = this.#bytes.writeInt32BE(lengthBytes, this.#at);
  }

  /** A whole number of up to 53 bits, of either sign, in two's complement. */
  #number(value: number): void {
    const high = Math.floor(value / 2 ** 32);
    this.#at = this.#bytes.writeInt32BE(high, this.#at);
    this.#at = this.#bytes.writeUInt32BE(value - high * 2 ** 32, this.#at);
  }
}

function bigintsBytes(count: number): number {
  return ARRAY_HEADER_BYTES + count * (4 + BIGINT_BYTES);
}

function* blockRows(poolId: number, packId: number, oidBytes: number, blocks: readonly ObjectBlock[]): Generator<Buffer> {
  for (const { oids, kinds, sizes, offsets, lengths } of blocks) {
    const count = kinds.length;
    yield new Row(9, 2 * BIGINT_BYTES + 4 + oidBytes + oids.length + count + 3 * bigintsBytes(count))
      .bigint(poolId)
      .bigint(packId)
      .bytea(oids.subarray(0, oidBytes))
      .integer(count)
      .bytea(oids)
      .bytea(kinds)
      .bigints(sizes)
      .bigints(offsets)
      .bigints(lengths)
      .bytes();
  }
}

function* graphRows(poolId: number, packId: number, graph: readonly Buffer[]): Generator<Buffer> {
  for (const [ordinal, records] of graph.entries())
    yield new Row(4, 2 * BIGINT_BYTES + 4 + records.length).bigint(poolId).bigint(packId).integer(ordinal).bytea(records).bytes();
}

async function copyRows(client: ClientBase, into: string, rows: Iterable<Buffer>): Promise<void> {
  function* all(): Generator<Buffer> {
    yield SIGNATURE;
    yield* rows;
    yield END;
  }
  await pipeline(Readable.from(all()), client.query(copyFrom(`copy ${into} from stdin (format binary)`)));
}

/** Copies a pack's object blocks and graph blocks inside the caller's transaction. */
export async function copyPackTables(
  client: ClientBase,
  poolId: number,
  packId: number,
  oidBytes: number,
  blocks: readonly ObjectBlock[],
  graph: readonly Buffer[],
): Promise<void> {
  const columns = 'pool_id, pack_id, first_oid, object_count, oids, kinds, sizes, offsets, lengths';
  await copyRows(client, `object_blocks (${columns})`, blockRows(poolId, packId, oidBytes, blocks));
  if (graph.length > 0)
    await copyRows(client, 'graph_blocks (pool_id, pack_id, ordinal, records)', graphRows(poolId, packId, graph));
}
