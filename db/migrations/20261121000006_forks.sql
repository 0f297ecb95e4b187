-- migrate:up

-- Makes a repository in its parent's pool with copies of the parent's refs, recorded as one push. No object is written. Refs under
-- p_hidden (as `refs.hidden` has them: a name, or a folder) stay behind. Null when the name is taken; PH001 when the parent is gone.
-- Readers of the pool hear of it as of a push without a pack; created_push is the parent's, so that HEAD follows the same branch.
create function fork_repository(
  p_parent bigint, p_owner text, p_name text, p_private boolean, p_hidden bytea[], p_actor text
) returns bigint language plpgsql as $$
declare
  v_parent repositories;
  v_fork bigint;
  v_push bigint;
begin
  -- A deletion of the parent waits, as it does for a push.
  select * into v_parent from repositories r where r.id = p_parent and r.deleted_at is null for key share;
  if not found then
    raise exception 'repository % is deleted', p_parent using errcode = 'PH001';
  end if;
  -- What the refs below reach is not condemned while this is held, and afterwards the sweep finds them in the log.
  perform pg_advisory_xact_lock_shared(1347, v_parent.pool_id::integer);
  insert into repositories (pool_id, owner, name, object_format, head, private)
    values (v_parent.pool_id, p_owner, p_name, v_parent.object_format, v_parent.head, coalesce(p_private, v_parent.private))
    on conflict (owner, name) where deleted_at is null do nothing
    returning id into v_fork;
  if not found then
    return null;
  end if;
  v_push := nextval('push_ids');
  insert into pushes (pool_id, id, repository_id, actor) values (v_parent.pool_id, v_push, v_fork, p_actor);
  with copied as (
    insert into refs (pool_id, repository_id, name, oid, peeled, created_push)
      select f.pool_id, v_fork, f.name, f.oid, f.peeled, f.created_push from refs f
        where f.pool_id = v_parent.pool_id and f.repository_id = p_parent
          and not exists (select 1 from unnest(p_hidden) h (prefix)
            where f.name = h.prefix or (substring(f.name from 1 for length(h.prefix)) = h.prefix
              and (substring(h.prefix from length(h.prefix)) = '\x2f'::bytea
                or substring(f.name from length(h.prefix) + 1 for 1) = '\x2f'::bytea)))
      returning name, oid
  )
  insert into ref_updates (pool_id, push_id, repository_id, name, new_oid)
    select v_parent.pool_id, v_push, v_fork, c.name, c.oid from copied c;
  return v_fork;
end
$$;

-- migrate:down

drop function fork_repository;
