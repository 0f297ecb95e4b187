-- migrate:up

-- What waits to be sealed, without a look at the packs that do not.
create index packs_tail on packs (pool_id, created_at) include (extent_length) where tier = 'tail' and state = 'live';
-- What is leased or being uploaded: few rows, found by their token.
create index packs_lease on packs (lease_token) where lease_token is not null;
create index maintenance_jobs_finished on maintenance_jobs (finished_at) where finished_at is not null;

-- migrate:down

drop index maintenance_jobs_finished, packs_lease, packs_tail;
