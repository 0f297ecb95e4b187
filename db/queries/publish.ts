import type { Pool, PoolClient } from 'pg';

export type Queryable = Pool | PoolClient;

/** Arguments of `publish_push` (db/migrations), in its order. */
export interface PublishPush {
  readonly poolId: number;
  readonly repositoryId: number;
  readonly atomic: boolean;
  readonly names: readonly Buffer[];
  readonly olds: readonly (Buffer | null)[];
  readonly news: readonly (Buffer | null)[];
  readonly peeled: readonly (Buffer | null)[];
  readonly head: Buffer | null;
  readonly actor: string;
  readonly requestId: string;
  readonly options: readonly string[];
  readonly pack: PublishPack | null;
  readonly sweepEpoch: number | null;
}

export interface PublishPack {
  readonly id: number;
  /** Of a store pack: the token of its intent row. */
  readonly lease: string | null;
  /** Of a tail pack: its bytes. */
  readonly tail: Buffer | null;
  readonly lengthBytes: number;
  readonly objectCount: number;
  readonly chunkedCount: number;
  readonly chunkPackId: number | null;
  readonly checksum: Buffer;
  readonly allReached: boolean;
  readonly based: boolean;
  readonly hasDuplicates: boolean;
  readonly tips: Buffer;
  /** Of a tail pack: its one object block; a store pack's blocks are copied before. */
  readonly block: PublishBlock | null;
  readonly graph: Buffer | null;
}

export interface PublishBlock {
  readonly oids: Buffer;
  readonly firstOid: Buffer;
  readonly kinds: Buffer;
  readonly sizes: ArrayLike<number>;
  readonly offsets: ArrayLike<number>;
  readonly lengths: ArrayLike<number>;
}

/** A PostgreSQL array literal of numbers. */
export function numberArray(numbers: ArrayLike<number>): string {
  return `{${Array.prototype.join.call(numbers, ',')}}`;
}

/** A PostgreSQL array literal of bytea values. */
export function byteaArray(values: readonly (Buffer | null)[]): string {
  return `{${values.map((value) => (value === null ? 'NULL' : `"\\\\x${value.toString('hex')}"`)).join(',')}}`;
}

/** One statement, one transaction (or a part of the caller's): the statuses of the commands. */
export async function publishPush(db: Queryable, push: PublishPush): Promise<string[]> {
  const pack = push.pack;
  const block = pack?.block ?? null;
  const { rows } = await db.query<{ statuses: string[] }>({
    name: 'publish-push',
    text: `select publish_push($1, $2, $3, $4::bytea[], $5::bytea[], $6::bytea[], $7::bytea[], $8, $9, $10, $11::text[],
      $12, $13::uuid, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25::bigint[], $26::bigint[], $27::bigint[], $28,
      $29, $30, $31) as statuses`,
    values: [
      push.poolId,
      push.repositoryId,
      push.atomic,
      byteaArray(push.names),
      byteaArray(push.olds),
      byteaArray(push.news),
      byteaArray(push.peeled),
      push.head,
      push.actor,
      push.requestId,
      push.options,
      pack?.id ?? null,
      pack?.lease ?? null,
      pack?.tail ?? null,
      pack?.lengthBytes ?? null,
      pack?.objectCount ?? null,
      pack?.checksum ?? null,
      pack?.allReached ?? null,
      pack?.based ?? null,
      pack?.hasDuplicates ?? null,
      pack?.tips ?? null,
      block?.oids ?? null,
      block?.firstOid ?? null,
      block?.kinds ?? null,
      block === null ? null : numberArray(block.sizes),
      block === null ? null : numberArray(block.offsets),
      block === null ? null : numberArray(block.lengths),
      pack?.graph ?? null,
      push.sweepEpoch,
      pack?.chunkedCount ?? null,
      pack?.chunkPackId ?? null,
    ],
  });
  return rows[0]!.statuses;
}

/**
 * In a transaction of the caller's: the refs that a push has changed, null when no such push was published. Waits for publications of the
 * repository that are under way: they hold its row.
 */
export async function publishedRefs(
  db: PoolClient,
  push: { readonly poolId: number; readonly repositoryId: number; readonly requestId: string },
): Promise<Buffer[] | null> {
  await db.query('select from repositories where id = $1 for update', [push.repositoryId]);
  const { rows } = await db.query<{ names: Buffer[] }>(
    `select array_remove(array_agg(u.name), null) as names
       from pushes p left join ref_updates u on u.pool_id = p.pool_id and u.push_id = p.id
      where p.pool_id = $1 and p.repository_id = $2 and p.request_id = $3
      group by p.id`,
    [push.poolId, push.repositoryId, push.requestId],
  );
  return rows[0]?.names ?? null;
}

/** Reserves `count` pack ids in one statement. */
export async function reservePackIds(db: Queryable, count: number): Promise<number[]> {
  const { rows } = await db.query<{ id: number }>({
    name: 'reserve-pack-ids',
    text: `select nextval('pack_ids') as id from generate_series(1, $1)`,
    values: [count],
  });
  return rows.map((row) => row.id);
}

/**
 * Writes the intent row of a store pack before its upload begins: what the reaper finds when the upload is never published. It has no end of its
 * own: it is given up `maintenance.upload_lease` after it was made.
 */
export async function insertPackIntent(
  db: Queryable,
  poolId: number,
  id: number,
  crateKey: string,
  lease: string,
): Promise<Date> {
  const { rows } = await db.query<{ created_at: Date }>(
    `insert into packs (pool_id, id, tier, state, crate_key, extent_length, object_count, lease_token, lease_until)
       values ($1, $2, 'store', 'intent', $3, 0, 0, $4, null) returning created_at`,
    [poolId, id, crateKey, lease],
  );
  return rows[0]!.created_at;
}

/** An intent that will not be published: from here on the reaper may delete its bytes. False when it is published already. */
export async function abortPackIntent(db: Queryable, poolId: number, id: number): Promise<boolean> {
  const { rowCount } = await db.query(
    `update packs set state = 'aborting', state_since = now() where pool_id = $1 and id = $2 and state = 'intent'`,
    [poolId, id],
  );
  return rowCount === 1;
}

/** Removes the row of an aborted pack once its bytes are gone. */
export async function forgetAbortedPack(db: Queryable, poolId: number, id: number): Promise<void> {
  await db.query(`delete from packs where pool_id = $1 and id = $2 and state = 'aborting'`, [poolId, id]);
}
