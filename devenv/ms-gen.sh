#!/usr/bin/env bash
# Writes the query types of db/queries from the schema that db/migrations makes, in a PostgreSQL of its own that is then deleted.
#
#   ms-gen.sh            write them
#   ms-gen.sh --check    fail when they are stale, change nothing
set -euo pipefail
. "$(dirname "$0")/node.sh"
cd "$ROOT"
TYPES=db/queries/types.ts

work=$(mktemp -d)
chmod 711 "$work"
port=
for _ in {1..200}; do
  port=$((20000 + RANDOM % 10000))
  (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
done
export POSTGRES_NATIVE_DIR=$work/postgres POSTGRES_NATIVE_PORT=$port POSTGRES_NATIVE_DATABASE=packhouse
export POSTGRES_NATIVE_USER=packhouse POSTGRES_NATIVE_PASSWORD=packhouse POSTGRES_NATIVE_FSYNC=off
trap 'devenv/postgres-native.sh destroy 2>/dev/null; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP
devenv/postgres-native.sh start 2>"$work/log" || { cat "$work/log" >&2 && exit 1; }

url="postgres://packhouse:packhouse@127.0.0.1:$port/packhouse?sslmode=disable"
node_modules/.bin/dbmate --url "$url" --migrations-dir db/migrations --no-dump-schema up >"$work/log" 2>&1 || { cat "$work/log" >&2 && fail 'the migrations failed'; }
# inside the checkout, so that the formatter takes it for one of ours
new=db/queries/.schema-new.ts
trap 'rm -f "$new"; devenv/postgres-native.sh destroy 2>/dev/null; rm -rf "$work"' EXIT
# bigint arrives as a number (the catalog sets pg's parser so), and every bigint of the schema is below 2^53
node_modules/.bin/kysely-codegen --dialect postgres --url "$url" --exclude-pattern schema_migrations \
  --type-mapping '{"int8":"number"}' --out-file "$new" >/dev/null
node_modules/.bin/biome format --write "$new" >/dev/null 2>&1 || fail 'the generated types could not be formatted'

if [ "${1:-}" = --check ]; then
  diff -u "$TYPES" "$new" || fail "$TYPES is stale: make ms-gen"
else
  mv "$new" "$TYPES"
  echo "wrote $TYPES" >&2
fi
