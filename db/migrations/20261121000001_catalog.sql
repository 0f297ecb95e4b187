-- migrate:up

-- The tenant key is pool_id: first in the key of every large table, so that one push stays on one shard of a distributed PostgreSQL.

create table pools (
  id bigint generated always as identity primary key,
  object_format text not null check (object_format in ('sha1', 'sha256')),
  sweep_epoch bigint not null default 0,
  created_at timestamptz not null default now()
);
comment on table pools is 'The objects that the repositories of one fork network share; nothing is shared between pools.';

create table repositories (
  id bigint generated always as identity primary key,
  pool_id bigint not null references pools (id),
  owner text not null,
  name text not null,
  object_format text not null check (object_format in ('sha1', 'sha256')),
  -- The branch that HEAD names. Null until main or master is pushed or an operator sets it: HEAD then follows the oldest branch.
  head bytea,
  private boolean not null default false,
  created_at timestamptz not null default now(),
  deleted_at timestamptz
);
create unique index repositories_owner_name on repositories (owner, name) where deleted_at is null;
create index repositories_pool on repositories (pool_id);

create sequence pack_ids;

create table packs (
  pool_id bigint not null,
  id bigint not null,
  tier text not null check (tier in ('tail', 'store')),
  state text not null check (state in ('intent', 'live', 'superseded', 'deleted', 'aborting')),
  -- Where the bytes are: a tail pack's in tail_bytes, a store pack's in the bucket object crate_key, at an extent.
  crate_key text,
  extent_offset bigint not null default 0,
  extent_length bigint not null,
  object_count bigint not null,
  -- The pack's trailing checksum, which is also the checksum that its .idx names.
  checksum bytea,
  -- Every object is reached from `tips`, which are commits and tags of this pack.
  all_reached boolean not null default false,
  -- Every tree or blob that the pack links to outside itself, and every outside delta base, is reached from a parent commit of its commits.
  based boolean not null default false,
  -- Some object of it was in an older pack of the pool already.
  has_duplicates boolean not null default true,
  tips bytea not null default '',
  lease_token uuid,
  created_at timestamptz not null default now(),
  state_since timestamptz not null default now(),
  primary key (pool_id, id),
  check ((tier = 'store') = (crate_key is not null))
);
create index packs_unsettled on packs (state_since) where state <> 'live';
comment on table packs is 'Immutable git packs; tail packs may be thin, store packs are self-contained.';

create table tail_bytes (
  pool_id bigint not null,
  pack_id bigint not null,
  bytes bytea not null,
  primary key (pool_id, pack_id)
);
alter table tail_bytes alter column bytes set storage external;

-- One row holds about a thousand objects of one pack, sorted by oid, like a row group of a column store.
create table object_blocks (
  pool_id bigint not null,
  pack_id bigint not null,
  first_oid bytea not null,
  object_count integer not null,
  oids bytea not null,
  -- One byte an object: 1 commit, 2 tree, 3 blob, 4 tag.
  kinds bytea not null,
  -- Bytes of the object itself, first byte of its entry in the pack, bytes of its entry.
  sizes bigint[] not null,
  offsets bigint[] not null,
  lengths bigint[] not null,
  primary key (pool_id, pack_id, first_oid)
);
alter table object_blocks alter column oids set storage external;
alter table object_blocks alter column kinds set storage main;

-- Commits and tags of one pack with their links, in the byte layout of internal/reach (graph records).
create table graph_blocks (
  pool_id bigint not null,
  pack_id bigint not null,
  ordinal integer not null,
  records bytea not null,
  primary key (pool_id, pack_id, ordinal)
);
alter table graph_blocks alter column records set storage external;

-- Ref names are bytes: git allows any but control characters and a few others.
create table refs (
  pool_id bigint not null,
  repository_id bigint not null,
  name bytea not null,
  oid bytea not null,
  -- What an annotated tag finally names, else null.
  peeled bytea,
  created_push bigint not null,
  primary key (pool_id, repository_id, name)
);

create sequence push_ids;

create table pushes (
  pool_id bigint not null,
  id bigint not null,
  repository_id bigint not null,
  -- A reader keeps its snapshot and asks for the pushes that were not visible in it: no counter row serializes pushes.
  xid xid8 not null default pg_current_xact_id(),
  pack_id bigint,
  actor text not null default '',
  request_id text not null default '',
  options text[] not null default '{}',
  pushed_at timestamptz not null default clock_timestamp(),
  primary key (pool_id, id)
);
create index pushes_xid on pushes (pool_id, xid);

create table ref_updates (
  pool_id bigint not null,
  push_id bigint not null,
  repository_id bigint not null,
  name bytea not null,
  old_oid bytea,
  new_oid bytea,
  primary key (pool_id, push_id, name)
);
create index ref_updates_repository on ref_updates (pool_id, repository_id, push_id);

-- Whether creating a ref would make a name both a file and a directory among the refs that exist.
create function ref_name_conflicts(p_pool bigint, p_repository bigint, p_name bytea) returns boolean language plpgsql stable as $$
declare
  v_prefixes bytea[] := '{}';
  v_at integer := 1;
  v_next integer;
begin
  loop
    v_next := position('\x2f'::bytea in substring(p_name from v_at));
    exit when v_next = 0;
    v_at := v_at + v_next;
    v_prefixes := v_prefixes || substring(p_name from 1 for v_at - 2);
  end loop;
  return exists (select 1 from refs r where r.pool_id = p_pool and r.repository_id = p_repository and r.name = any (v_prefixes))
    or exists (select 1 from refs r where r.pool_id = p_pool and r.repository_id = p_repository
                 and r.name > p_name || '\x2f'::bytea and r.name < p_name || '\x30'::bytea);
end
$$;

-- Publishes one push in one transaction: refs by compare-and-swap, then pack, objects and log, when any ref was updated.
-- Commands are parallel arrays in the client's order. An old of null is the zero oid (the ref must not exist; with a null new: delete
-- whatever it holds). A new of null deletes. Answers one status a command: ok, stale, exists, conflict (a directory/file conflict).
-- p_pack null: the push brought no pack. A store pack has an intent row with this lease already, a tail pack is inserted here; a
-- store pack's object and graph blocks may have been copied before in the same transaction (then p_oids is null). An atomic push
-- that cannot happen whole raises PH003.
create function publish_push(
  p_pool bigint, p_repository bigint, p_atomic boolean,
  p_names bytea[], p_olds bytea[], p_news bytea[], p_peeled bytea[],
  p_head bytea, p_actor text, p_request_id text, p_options text[],
  p_pack bigint, p_lease uuid, p_tail bytea, p_extent_length bigint, p_object_count bigint, p_checksum bytea,
  p_all_reached boolean, p_based boolean, p_has_duplicates boolean, p_tips bytea,
  p_oids bytea, p_first_oid bytea, p_kinds bytea, p_sizes bigint[], p_offsets bigint[], p_lengths bigint[], p_graph bytea
) returns text[] language plpgsql as $$
declare
  v_n integer := cardinality(p_names);
  v_statuses text[] := array_fill('ok'::text, array[v_n]);
  -- Copies: a subscript of a parameter would walk the whole array each time.
  v_names bytea[] := p_names;
  v_olds bytea[] := p_olds;
  v_news bytea[] := p_news;
  v_peeled bytea[] := p_peeled;
  v_push bigint;
  v_current bytea;
  v_found boolean;
  v_status text;
  v_any boolean := false;
  v_all boolean := true;
  v_log_names bytea[] := '{}';
  v_log_olds bytea[] := '{}';
  v_log_news bytea[] := '{}';
  i integer;
begin
  perform 1 from repositories r where r.id = p_repository and r.deleted_at is null for key share;
  if not found then
    raise exception 'repository % is deleted', p_repository using errcode = 'PH001';
  end if;
  -- Creations and deletions meet in directory/file conflicts: one at a time in a repository. Updates do not wait here.
  if array_position(p_olds, null) is not null or array_position(p_news, null) is not null then
    perform pg_advisory_xact_lock(p_repository);
  end if;
  -- Locks in the order of names, so that two pushes cannot wait for each other in a circle.
  perform 1 from refs r where r.pool_id = p_pool and r.repository_id = p_repository and r.name = any (p_names)
    order by r.name for update;
  v_push := nextval('push_ids');

  for i in 1..v_n loop
    select r.oid into v_current from refs r where r.pool_id = p_pool and r.repository_id = p_repository and r.name = v_names[i];
    v_found := found;
    v_status := 'ok';
    if v_news[i] is null then
      if v_olds[i] is not null and (not v_found or v_current <> v_olds[i]) then
        v_status := 'stale';
      elsif v_found then
        delete from refs r where r.pool_id = p_pool and r.repository_id = p_repository and r.name = v_names[i];
      end if;
    elsif v_olds[i] is null then
      if v_found then
        v_status := 'exists';
      elsif ref_name_conflicts(p_pool, p_repository, v_names[i]) then
        v_status := 'conflict';
      else
        insert into refs (pool_id, repository_id, name, oid, peeled, created_push)
          values (p_pool, p_repository, v_names[i], v_news[i], v_peeled[i], v_push);
      end if;
    elsif not v_found or v_current <> v_olds[i] then
      v_status := 'stale';
    elsif v_current <> v_news[i] then
      update refs r set oid = v_news[i], peeled = v_peeled[i]
        where r.pool_id = p_pool and r.repository_id = p_repository and r.name = v_names[i];
    end if;
    if v_status = 'ok' then
      v_any := true;
      if v_current is distinct from v_news[i] then
        v_log_names := array_append(v_log_names, v_names[i]);
        v_log_olds := array_append(v_log_olds, v_current);
        v_log_news := array_append(v_log_news, v_news[i]);
      end if;
    else
      v_all := false;
      v_statuses[i] := v_status;
    end if;
  end loop;

  if p_atomic and not v_all then
    -- Nothing of an atomic push may stay: the error rolls back, its detail carries the statuses.
    raise exception 'atomic push refused' using errcode = 'PH003', detail = array_to_string(v_statuses, ',');
  end if;
  if not v_any or (cardinality(v_log_names) = 0 and p_pack is null) then
    return v_statuses;
  end if;

  if p_pack is not null then
    if p_tail is not null then
      insert into packs (pool_id, id, tier, state, extent_length, object_count, checksum, all_reached, based, has_duplicates, tips)
        values (p_pool, p_pack, 'tail', 'live', p_extent_length, p_object_count, p_checksum,
                p_all_reached and v_all, p_based, p_has_duplicates, p_tips);
      insert into tail_bytes (pool_id, pack_id, bytes) values (p_pool, p_pack, p_tail);
    else
      update packs k set state = 'live', state_since = now(), lease_token = null, all_reached = p_all_reached and v_all,
          based = p_based, has_duplicates = p_has_duplicates, tips = p_tips, extent_length = p_extent_length,
          object_count = p_object_count, checksum = p_checksum
        where k.pool_id = p_pool and k.id = p_pack and k.state = 'intent' and k.lease_token = p_lease;
      if not found then
        raise exception 'pack % lost its lease', p_pack using errcode = 'PH002';
      end if;
    end if;
    if p_oids is not null then
      insert into object_blocks (pool_id, pack_id, first_oid, object_count, oids, kinds, sizes, offsets, lengths)
        values (p_pool, p_pack, p_first_oid, length(p_kinds), p_oids, p_kinds, p_sizes, p_offsets, p_lengths);
    end if;
    if p_graph is not null then
      insert into graph_blocks (pool_id, pack_id, ordinal, records) values (p_pool, p_pack, 0, p_graph);
    end if;
  end if;
  insert into pushes (pool_id, id, repository_id, pack_id, actor, request_id, options)
    values (p_pool, v_push, p_repository, p_pack, p_actor, p_request_id, p_options);
  insert into ref_updates (pool_id, push_id, repository_id, name, old_oid, new_oid)
    select p_pool, v_push, p_repository, c.name, c.old_oid, c.new_oid
      from unnest(v_log_names, v_log_olds, v_log_news) c (name, old_oid, new_oid);
  if p_head is not null then
    update repositories r set head = p_head where r.id = p_repository and r.head is null;
  end if;
  return v_statuses;
end
$$;

-- What a reader needs to bring its cached view of a repository up to date, in one statement and so in one snapshot: the repository,
-- this snapshot, and the refs and packs that pushes not visible in the caller's snapshot have touched. A null snapshot: everything.
create function repository_state(p_owner text, p_name text, p_repository bigint, p_snapshot pg_snapshot) returns table (
  id bigint, pool_id bigint, object_format text, head bytea, private boolean, snapshot pg_snapshot,
  names bytea[], oids bytea[], peeled bytea[], created bigint[], packs bigint[]
) language plpgsql stable as $$
declare
  v_repository repositories;
begin
  select * into v_repository from repositories r where r.owner = p_owner and r.name = p_name and r.deleted_at is null;
  if not found then
    return;
  end if;
  if v_repository.id <> p_repository or p_snapshot is null then
    return query select v_repository.id, v_repository.pool_id, v_repository.object_format, v_repository.head, v_repository.private,
      pg_current_snapshot(), a.names, a.oids, a.peeled, a.created, null::bigint[]
      from (select array_agg(f.name order by f.name) names, array_agg(f.oid order by f.name) oids,
                   array_agg(f.peeled order by f.name) peeled, array_agg(f.created_push order by f.name) created
              from refs f where f.pool_id = v_repository.pool_id and f.repository_id = v_repository.id) a;
  else
    return query
      with news as materialized (
        select s.id, s.repository_id, s.pack_id from pushes s
          where s.pool_id = v_repository.pool_id and s.xid >= pg_snapshot_xmin(p_snapshot)
            and not pg_visible_in_snapshot(s.xid, p_snapshot)
      ), touched as (
        select distinct u.name from news s join ref_updates u on u.pool_id = v_repository.pool_id and u.push_id = s.id
          where s.repository_id = v_repository.id
      )
      select v_repository.id, v_repository.pool_id, v_repository.object_format, v_repository.head, v_repository.private,
        pg_current_snapshot(), a.names, a.oids, a.peeled, a.created,
        (select array_agg(s.pack_id) from news s where s.pack_id is not null)
        from (select array_agg(t.name) names, array_agg(f.oid) oids, array_agg(f.peeled) peeled, array_agg(f.created_push) created
                -- Lateral with a limit: without statistics a plain join reads every ref of the repository for every name.
                from touched t left join lateral (
                  select r.oid, r.peeled, r.created_push from refs r
                    where r.pool_id = v_repository.pool_id and r.repository_id = v_repository.id and r.name = t.name limit 1) f
                  on true) a;
  end if;
end
$$;

-- For people.

create function bytes_as_text(p_bytes bytea) returns text language plpgsql immutable as $$
begin
  return convert_from(p_bytes, 'UTF8');
exception when others then
  return encode(p_bytes, 'escape');
end
$$;

create view v_repositories as
  select r.id, r.owner || '/' || r.name as repository, r.object_format,
         bytes_as_text(coalesce(r.head, 'refs/heads/main'::bytea)) as head, r.private, r.pool_id, r.created_at, r.deleted_at
    from repositories r;

create view v_refs as
  select r.owner || '/' || r.name as repository, bytes_as_text(f.name) as name, encode(f.oid, 'hex') as oid,
         encode(f.peeled, 'hex') as peeled
    from refs f join repositories r on r.id = f.repository_id where r.deleted_at is null;

create view v_packs as
  select k.pool_id, (select min(r.owner || '/' || r.name) from repositories r where r.pool_id = k.pool_id) as repository,
         k.id as pack_id, k.tier, k.state, k.crate_key, k.extent_offset, k.extent_length, k.object_count,
         encode(k.checksum, 'hex') as checksum, k.all_reached, k.based, k.has_duplicates, k.created_at
    from packs k;

create view v_objects as
  select b.pool_id, b.pack_id, encode(substring(b.oids from (u.i::integer - 1) * (length(b.oids) / b.object_count) + 1
           for length(b.oids) / b.object_count), 'hex') as oid,
         (array['commit', 'tree', 'blob', 'tag'])[get_byte(b.kinds, u.i::integer - 1)] as kind,
         u.size, u.pack_offset, u.pack_length
    from object_blocks b join packs k on k.pool_id = b.pool_id and k.id = b.pack_id and k.state = 'live'
    cross join lateral unnest(b.sizes, b.offsets, b.lengths) with ordinality u (size, pack_offset, pack_length, i);

create view v_pushes as
  select s.id as push_id, r.owner || '/' || r.name as repository, s.pushed_at, s.actor, s.request_id, s.pack_id,
         bytes_as_text(u.name) as ref, encode(u.old_oid, 'hex') as old_oid, encode(u.new_oid, 'hex') as new_oid, s.options
    from pushes s join repositories r on r.id = s.repository_id
    left join ref_updates u on u.pool_id = s.pool_id and u.push_id = s.id;

-- Where an object of the repository's pool is stored. An operator's tool: it is pool-wide and never an authorization answer.
create function object_locate(p_repository text, p_oid text) returns table (
  kind text, size bigint, pack_id bigint, tier text, crate_key text, extent_offset bigint, pack_offset bigint, pack_length bigint
) language plpgsql stable as $$
declare
  v_oid bytea := decode(p_oid, 'hex');
  v_width integer := length(v_oid);
  v_pool bigint;
  v_block record;
  v_low integer;
  v_high integer;
  v_middle integer;
  v_probe bytea;
begin
  select r.pool_id into v_pool from repositories r where r.owner || '/' || r.name = p_repository and r.deleted_at is null;
  for v_block in
    select k.id, k.tier, k.crate_key, k.extent_offset, b.* from packs k cross join lateral (
      select * from object_blocks o where o.pool_id = k.pool_id and o.pack_id = k.id and o.first_oid <= v_oid
        order by o.first_oid desc limit 1) b
      where k.pool_id = v_pool and k.state = 'live'
  loop
    v_low := 0;
    v_high := v_block.object_count;
    while v_low < v_high loop
      v_middle := (v_low + v_high) / 2;
      v_probe := substring(v_block.oids from v_middle * v_width + 1 for v_width);
      if v_probe < v_oid then v_low := v_middle + 1; else v_high := v_middle; end if;
    end loop;
    if v_low < v_block.object_count and substring(v_block.oids from v_low * v_width + 1 for v_width) = v_oid then
      kind := (array['commit', 'tree', 'blob', 'tag'])[get_byte(v_block.kinds, v_low)];
      size := v_block.sizes[v_low + 1];
      pack_id := v_block.id;
      tier := v_block.tier;
      crate_key := v_block.crate_key;
      extent_offset := v_block.extent_offset;
      pack_offset := v_block.offsets[v_low + 1];
      pack_length := v_block.lengths[v_low + 1];
      return next;
    end if;
  end loop;
end
$$;

-- migrate:down

drop function object_locate, repository_state, publish_push, ref_name_conflicts;
drop view v_pushes, v_objects, v_packs, v_refs, v_repositories;
drop function bytes_as_text;
drop table ref_updates, pushes, refs, graph_blocks, object_blocks, tail_bytes, packs, repositories, pools;
drop sequence pack_ids, push_ids;
