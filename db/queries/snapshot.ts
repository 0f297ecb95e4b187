import type { ClientBase } from 'pg';

/** Numbers of these are given out once: a new catalog starts well beyond them. */
export const SEQUENCES = [
  'push_ids',
  'pack_ids',
  'swap_ids',
  'pools_id_seq',
  'repositories_id_seq',
  'access_tokens_id_seq',
] as const;

/** Columns that mean something in this database only. */
const LOCAL_COLUMNS = ['xid', 'lease_token', 'lease_until'];

/** A part of a snapshot: the table whose rows they are, and the query that gives them. */
export interface SnapshotSection {
  readonly table: string;
  readonly columns: readonly string[];
  readonly query: string;
}

export interface SnapshotRow {
  readonly store_key: string;
  readonly chain: string;
  readonly ordinal: number;
  readonly snapshot: string;
  readonly push_id: number;
  readonly stored_bytes: number;
  readonly sha256: Buffer;
  readonly fingerprint: string;
  readonly taken_at: Date;
}

export interface LastSnapshotRow extends SnapshotRow {
  readonly chain_keys: string[];
  readonly full_bytes: number;
  readonly later_bytes: number;
}

/** The last snapshot that this catalog has written, with its chain: keys, bytes of the full one, and of those after it. */
export async function lastSnapshot(db: ClientBase): Promise<LastSnapshotRow | null> {
  const { rows } = await db.query<LastSnapshotRow>(
    `select l.*, s.chain_keys, s.full_bytes, s.later_bytes from (select * from catalog_snapshots order by taken_at desc limit 1) l
       cross join lateral (select array_agg(c.store_key) as chain_keys,
                                  coalesce(sum(c.stored_bytes) filter (where c.ordinal = 0), 0)::bigint as full_bytes,
                                  coalesce(sum(c.stored_bytes) filter (where c.ordinal > 0), 0)::bigint as later_bytes
                             from catalog_snapshots c where c.chain = l.chain) s`,
  );
  return rows[0] ?? null;
}

export async function insertSnapshot(db: ClientBase, row: SnapshotRow): Promise<void> {
  await db.query(
    `insert into catalog_snapshots (store_key, chain, ordinal, snapshot, push_id, stored_bytes, sha256, fingerprint, taken_at)
       values ($1, $2, $3, $4::pg_snapshot, $5, $6, $7, $8, $9)`,
    [
      row.store_key,
      row.chain,
      row.ordinal,
      row.snapshot,
      row.push_id,
      row.stored_bytes,
      row.sha256,
      row.fingerprint,
      row.taken_at,
    ],
  );
}

export async function forgetOtherChains(db: ClientBase, chain: string): Promise<void> {
  await db.query('delete from catalog_snapshots where chain <> $1', [chain]);
}

/** Takes the right to write snapshots for as long as the connection lasts; false when another process has it. */
export async function lockSnapshots(db: ClientBase): Promise<boolean> {
  const { rows } = await db.query<{ locked: boolean }>('select pg_try_advisory_lock(1348, 0) as locked');
  return rows[0]!.locked;
}

/** Begins the transaction that a snapshot is read in. */
export async function beginSnapshot(db: ClientBase): Promise<{ snapshot: string; taken_at: Date }> {
  await db.query('begin isolation level repeatable read');
  await db.query('set local statement_timeout = 0');
  const { rows } = await db.query<{ snapshot: string; taken_at: Date }>(
    'select pg_current_snapshot()::text as snapshot, clock_timestamp() as taken_at',
  );
  return rows[0]!;
}

export async function sequenceValues(db: ClientBase): Promise<Record<string, number>> {
  const union = SEQUENCES.map((name) => `select '${name}' as name, last_value from ${name}`).join(' union all ');
  const { rows } = await db.query<{ name: string; last_value: number }>(union);
  return Object.fromEntries(rows.map((row) => [row.name, row.last_value]));
}

/** What changes seldom and goes whole: nothing of it tells when a row has gone. When a token was last used is no change. */
export async function smallFingerprint(db: ClientBase): Promise<string> {
  const { rows } = await db.query<{ fingerprint: string }>(
    `select md5(coalesce((select string_agg(md5((to_jsonb(t) - 'last_used_at')::text), '' order by t.id) from access_tokens t), '')
             || coalesce((select string_agg(md5(h::text), '' order by h.id) from maintenance_holds h), '')) as fingerprint`,
  );
  return rows[0]!.fingerprint;
}

export interface Changes {
  readonly pools: number;
  readonly pushes: number;
  /** The last push, 0 when there is none. */
  readonly push_id: number;
}

/** How much there is for a snapshot that stands alone. */
export async function countAll(db: ClientBase): Promise<Changes> {
  const { rows } = await db.query<Changes>(
    `select (select count(*) from pools) as pools, count(*) as pushes, coalesce(max(id), 0) as push_id from pushes`,
  );
  return rows[0]!;
}

/** Notes the pools and pushes that a snapshot after `previous` must tell of, for `snapshotSections`. */
export async function findChanges(db: ClientBase, previous: string): Promise<Changes> {
  const since = snapshotLiteral(previous);
  const isNew = (table: string): string =>
    `${table}.xid >= pg_snapshot_xmin(${since}) and not pg_visible_in_snapshot(${table}.xid, ${since})`;
  const changed = (table: string): string => `changed_since(${table}.xmin, ${since})`;
  await db.query(
    `create temp table snapshot_pushes on commit drop as select s.pool_id, s.id as push_id from pushes s where ${isNew('s')}`,
  );
  await db.query(
    `create temp table snapshot_pools on commit drop as
       select o.id as pool_id from pools o where ${changed('o')}
       union select pool_id from snapshot_pushes
       union select w.pool_id from pack_swaps w where ${isNew('w')}
       union select r.pool_id from repositories r where ${changed('r')}
       union select z.pool_id from pool_sweeps z where ${changed('z')}`,
  );
  await db.query('analyze snapshot_pushes');
  await db.query('analyze snapshot_pools');
  const { rows } = await db.query<Changes>(
    `select (select count(*) from snapshot_pools) as pools, count(*) as pushes, coalesce(max(push_id), 0) as push_id from snapshot_pushes`,
  );
  return rows[0]!;
}

/** `previous` in SQL. COPY takes no parameters. */
function snapshotLiteral(previous: string): string {
  if (!/^\d+:\d+:[\d,]*$/.test(previous)) throw new Error(`not a snapshot: ${previous}`);
  return `'${previous}'::pg_snapshot`;
}

const LIVE_TAIL = `exists (select 1 from packs k where k.pool_id = t.pool_id and k.id = t.pack_id and k.tier = 'tail' and k.state = 'live')`;
const LIVE = `exists (select 1 from packs k where k.pool_id = t.pool_id and k.id = t.pack_id and k.state = 'live')`;
/** An upload that may come to nothing is none of a snapshot's business. */
const SETTLED = `t.state <> 'intent'`;
const TOUCHED = 't.pool_id in (select pool_id from snapshot_pools)';

/**
 * The parts of a snapshot, in order. Of one that follows another: of the pools that have changed, pools and repositories whole, packs and
 * their rows as far as they are new, and which packs are live; the push log since, and every ref that it names, if it is still there.
 */
export async function snapshotSections(db: ClientBase, previous: string | null, withSmall: boolean): Promise<SnapshotSection[]> {
  const since = previous === null ? null : snapshotLiteral(previous);
  const only = (condition: string): string => (since === null ? '' : ` and ${condition}`);
  const fresh = since === null ? 'true' : `changed_since(t.xmin, ${since})`;
  const freshTail =
    since === null
      ? 'true'
      : `exists (select 1 from tail_bytes y where y.pool_id = t.pool_id and y.pack_id = t.pack_id and changed_since(y.xmin, ${since}))`;
  const logged = 'exists (select 1 from snapshot_pushes n where n.pool_id = t.pool_id and n.push_id =';
  const named = `exists (select 1 from snapshot_pushes n join ref_updates u on u.pool_id = n.pool_id and u.push_id = n.push_id
     where u.pool_id = t.pool_id and u.repository_id = t.repository_id and u.name = t.name)`;
  const where: [table: string, condition: string][] = [
    ['pools', since === null ? 'true' : 't.id in (select pool_id from snapshot_pools)'],
    ['pool_sweeps', `true${only(TOUCHED)}`],
    ['repositories', `true${only(TOUCHED)}`],
    ['packs', `${SETTLED}${only(`${TOUCHED} and ${fresh}`)}`],
    ['tail_bytes', `${LIVE_TAIL}${only(`${TOUCHED} and ${fresh}`)}`],
    ['object_blocks', `${LIVE_TAIL}${only(`${TOUCHED} and ${freshTail}`)}`],
    ['graph_blocks', `${LIVE_TAIL}${only(`${TOUCHED} and ${freshTail}`)}`],
    ['chunked_blobs', `${LIVE}${only(`${TOUCHED} and ${fresh}`)}`],
    ['pushes', `true${only(`${logged} t.id)`)}`],
    ['ref_updates', `true${only(`${logged} t.push_id)`)}`],
    ['refs', `true${only(`${TOUCHED} and ${named}`)}`],
  ];
  if (withSmall) where.push(['access_tokens', 'true'], ['maintenance_holds', 'true']);
  const sections: SnapshotSection[] = [];
  for (const [table, condition] of where) {
    const columns = await columnsOf(db, table);
    const list = columns.map((column) => `t."${column}"`).join(', ');
    sections.push({ table, columns, query: `select ${list} from ${table} t where ${condition}` });
  }
  if (since !== null) {
    sections.push(
      { table: 'touched_pools', columns: ['pool_id'], query: 'select pool_id from snapshot_pools' },
      {
        table: 'live_packs',
        columns: ['pool_id', 'ids'],
        query: `select t.pool_id, array_agg(t.id order by t.id) from packs t where t.state = 'live' and ${TOUCHED} group by t.pool_id`,
      },
    );
  }
  return sections;
}

async function columnsOf(db: ClientBase, table: string): Promise<string[]> {
  const { rows } = await db.query<{ attname: string }>(
    `select attname from pg_attribute where attrelid = $1::regclass and attnum > 0 and not attisdropped and not attname = any ($2)
       order by attnum`,
    [`public.${table}`, LOCAL_COLUMNS],
  );
  return rows.map((row) => row.attname);
}

/** While a pin stands, no superseded pack is deleted. What killed processes have left and is over goes. */
export async function insertPin(db: ClientBase, id: string, reason: string, seconds: number): Promise<void> {
  await db.query('delete from maintenance_pins where expires_at < clock_timestamp()');
  await db.query(
    `insert into maintenance_pins (id, reason, expires_at) values ($1, $2, clock_timestamp() + make_interval(secs => $3))
       on conflict (id) do update set expires_at = excluded.expires_at`,
    [id, reason, seconds],
  );
}

export async function deletePin(db: ClientBase, id: string): Promise<void> {
  await db.query('delete from maintenance_pins where id = $1', [id]);
}
