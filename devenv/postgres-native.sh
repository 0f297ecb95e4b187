#!/usr/bin/env bash
# postgres-native.sh - one PostgreSQL server on loopback, from the binaries that npm brought; nothing outside one folder.
#
#   postgres-native.sh start     create what is missing, start when it does not run (idempotent)
#   postgres-native.sh stop      stop the server this script started, keep the data
#   postgres-native.sh status    one line; exit 0 = it runs and its port answers, 3 = not
#   postgres-native.sh destroy   stop, then delete the data
#
# PostgreSQL refuses to run as root. Root's server runs as the system user `postgres` where there is one, else as
# `packhouse-pg`, which is made.
set -euo pipefail
. "$(dirname "$0")/node.sh"
cd "$ROOT"

# ---- settings (all by environment) -----------------------------------------------------------
IP=127.0.0.1
PORT=${POSTGRES_NATIVE_PORT:-5432}
DATABASE=${POSTGRES_NATIVE_DATABASE:-packhouse}
DB_USER=${POSTGRES_NATIVE_USER:-minerva}
PASSWORD=${POSTGRES_NATIVE_PASSWORD:-m1n3rv@}
FSYNC=${POSTGRES_NATIVE_FSYNC:-on}     # off: for a database that is thrown away

say() { printf '[postgres-native] %s\n' "$*" >&2; }

SYSTEM_USER=
if [ "$(id -u)" = 0 ]; then
  SYSTEM_USER=postgres
  getent passwd postgres >/dev/null || SYSTEM_USER=packhouse-pg
fi

make_system_user() {
  [ -n "$SYSTEM_USER" ] || return 0
  getent passwd "$SYSTEM_USER" >/dev/null && return 0
  useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin "$SYSTEM_USER"
  say "system user $SYSTEM_USER made"
}

as_owner() { # COMMAND...   as the server's user, in a folder that it may enter
  if [ -z "$SYSTEM_USER" ]; then (cd / && exec "$@"); else
    (cd / && exec setpriv --reuid="$SYSTEM_USER" --regid="$(id -g "$SYSTEM_USER")" --clear-groups "$@")
  fi
}

# The server's user must pass every folder above its own, which it cannot below, say, /root: then the folder is elsewhere.
choose_folder() {
  local near=$ROOT/.devenv/postgres far
  far=/var/tmp/packhouse-$(id -u)-$(sha256sum <<<"$ROOT" | cut -c1-12)/postgres
  if [ -z "$SYSTEM_USER" ] || [ -d "$near/data" ]; then echo "$near" && return; fi
  if [ -d "$far/data" ]; then echo "$far" && return; fi
  getent passwd "$SYSTEM_USER" >/dev/null || { echo "$near" && return; }
  if as_owner test -x "$ROOT"; then echo "$near"; else echo "$far"; fi
}

DIR=${POSTGRES_NATIVE_DIR:-$(choose_folder)}
PROGRAMS=$DIR/programs/bin
DATA=$DIR/data

control() { # pg_ctl ARGS...
  as_owner "$PROGRAMS/pg_ctl" --pgdata="$DATA" --silent "$@"
}
running() { [ -x "$PROGRAMS/pg_ctl" ] && [ -d "$DATA" ] && control status >/dev/null 2>&1; }
listening() { (exec 3<>"/dev/tcp/$IP/$PORT") 2>/dev/null; }

# A copy of its own: the server survives a new `npm install`, and can be stopped when node_modules is gone.
copy_programs() {
  local from version
  from=$(node devenv/postgres-binaries.ts)
  version=$("$from/bin/postgres" --version)
  [ -e "$DIR/programs/version" ] && [ "$(cat "$DIR/programs/version")" = "$version" ] && return 0
  rm -rf "$DIR/programs" "$DIR/programs.new"
  cp -a "$from" "$DIR/programs.new"
  chmod -R go+rX,go-w "$DIR/programs.new"
  echo "$version" >"$DIR/programs.new/version"
  mv "$DIR/programs.new" "$DIR/programs"
}

initialise() {
  rm -rf "$DATA" "$DIR/data.new"
  mkdir -m 700 "$DIR/data.new"
  local secret=$DIR/password
  (umask 077 && printf '%s\n' "$PASSWORD" >"$secret")
  [ -z "$SYSTEM_USER" ] || chown "$SYSTEM_USER:" "$DIR/data.new" "$secret"
  as_owner "$PROGRAMS/initdb" --pgdata="$DIR/data.new" --username="$DB_USER" --pwfile="$secret" --auth=scram-sha-256 \
    --encoding=UTF8 --locale=C --no-instructions >"$DIR/initdb.log" 2>&1 || { tail -n 20 "$DIR/initdb.log" >&2 && fail 'initdb failed'; }
  rm -f "$secret"
  as_owner tee -a "$DIR/data.new/postgresql.conf" >/dev/null <<CONF

unix_socket_directories = ''
max_connections = 200
shared_buffers = 256MB
max_wal_size = 2GB
fsync = $FSYNC
log_min_duration_statement = 1s
CONF
  as_owner "$PROGRAMS/postgres" --single -D "$DIR/data.new" postgres <<<"create database \"$DATABASE\"" >"$DIR/create.log" 2>&1 ||
    { tail -n 20 "$DIR/create.log" >&2 && fail "could not create the database $DATABASE"; }
  mv "$DIR/data.new" "$DATA"
  say 'database made'
}

start() {
  make_system_user
  # only now, with the user made, can it be asked which folders it may pass
  DIR=${POSTGRES_NATIVE_DIR:-$(choose_folder)}
  PROGRAMS=$DIR/programs/bin DATA=$DIR/data
  if running; then say "runs already on $IP:$PORT" && return 0; fi
  ! listening || fail "port $IP:$PORT is already taken by another process; set POSTGRES_NATIVE_PORT to a free one"
  mkdir -p "$DIR"
  [ -z "$SYSTEM_USER" ] || as_owner test -x "$DIR" || fail "the system user $SYSTEM_USER may not enter $DIR"
  copy_programs
  [ -d "$DATA" ] || initialise
  touch "$DIR/server.log"
  [ -z "$SYSTEM_USER" ] || chown "$SYSTEM_USER:" "$DIR/server.log"
  # setsid: a Ctrl-C in the terminal that started it is not for the server
  if ! POSTGRES_NATIVE_DIR=$DIR setsid --wait "$0" control-start </dev/null >"$DIR/start.log" 2>&1; then
    tail -n 20 "$DIR/start.log" "$DIR/server.log" >&2
    fail "PostgreSQL did not start (log: $DIR/server.log)"
  fi
  say "up on $IP:$PORT"
}

stop() {
  running || { say 'not running' && return 0; }
  control stop --mode=fast --wait --timeout=60
  say 'stopped'
}

status() {
  if running && listening; then
    echo "postgres up pid=$(head -n 1 "$DATA/postmaster.pid") $IP:$PORT"
  else
    echo 'postgres down'
    return 3
  fi
}

destroy() {
  [ -e "$DIR" ] || return 0
  [ -e "$DIR/programs/version" ] || [ -z "$(ls -A "$DIR")" ] || fail "$DIR is not one of mine"
  stop
  rm -rf "$DIR"
  # the folder above is this script's own when the checkout could not be entered
  case $DIR in /var/tmp/*) rmdir --ignore-fail-on-non-empty "$(dirname "$DIR")" ;; esac
}

case ${1:-} in
  start | stop | status | destroy) "$1" ;;
  control-start) control start --wait --timeout=60 --log="$DIR/server.log" --options="-p $PORT -c listen_addresses=$IP" ;;
  *) sed -n '2,11p' "$0" | sed 's/^# \{0,1\}//' >&2 && exit 2 ;;
esac
