-- migrate:up

-- How often a job's lease ran out: its process was killed, died of it, or stood still.
alter table maintenance_jobs add column lost integer not null default 0;
-- When a kind was done last, and what is not to be tried for a while.
create index maintenance_jobs_ended on maintenance_jobs (kind, state, finished_at) where finished_at is not null;

-- migrate:down

drop index maintenance_jobs_ended;
alter table maintenance_jobs drop column lost;
