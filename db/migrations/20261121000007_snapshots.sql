-- migrate:up

-- The copies of this catalog in the store that the next one builds on. What counts is in the store; this says what is there already.
create table catalog_snapshots (
  store_key text primary key,
  chain text not null,
  ordinal integer not null,
  -- What it has seen: the next one holds what is not visible in it.
  snapshot pg_snapshot not null,
  push_id bigint not null,
  stored_bytes bigint not null,
  -- Of the text before it was compressed.
  sha256 bytea not null,
  -- Of the small tables that go whole or not at all.
  fingerprint text not null,
  taken_at timestamptz not null
);
create index catalog_snapshots_taken on catalog_snapshots (taken_at);

-- Readers of one pool have (pool_id, xid); a snapshot asks for what is new in all of them.
create index pushes_since on pushes (xid);
create index pack_swaps_since on pack_swaps (xid);

-- Whether a row was written by a transaction that was not visible in a snapshot. Transaction ids of rows have 32 bits: of a row more than
-- 2^32 transactions old the answer may be yes. Rows written inside a savepoint are not found; nothing here uses one.
create function changed_since(p_xmin xid, p_snapshot pg_snapshot) returns boolean language plpgsql stable as $$
declare
  v_next bigint := pg_snapshot_xmax(pg_current_snapshot())::text::bigint;
  v_xid bigint := v_next - ((v_next - p_xmin::text::bigint) & 4294967295);
begin
  return v_xid < 3 or not pg_visible_in_snapshot(v_xid::text::xid8, p_snapshot);
end
$$;

-- migrate:down

drop function changed_since;
drop index pushes_since, pack_swaps_since;
drop table catalog_snapshots;
