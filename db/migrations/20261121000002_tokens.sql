-- migrate:up

create table access_tokens (
  id bigint generated always as identity primary key,
  -- What a person calls it.
  name text not null check (name <> ''),
  -- The first characters of the token, to recognise it by; the token itself is never stored.
  prefix text not null,
  token_sha256 bytea not null unique check (octet_length(token_sha256) = 32),
  scopes text[] not null check (cardinality(scopes) > 0 and scopes <@ array['read', 'write']),
  -- What it is limited to: null means every owner, or every repository of the owner.
  owner text,
  repository text,
  created_at timestamptz not null default now(),
  expires_at timestamptz,
  revoked_at timestamptz,
  last_used_at timestamptz,
  check (repository is null or owner is not null)
);
comment on table access_tokens is 'Access tokens of `packhouse token`, by the SHA-256 of the whole token.';
create unique index access_tokens_name on access_tokens (name) where revoked_at is null;

-- migrate:down

drop table access_tokens;
