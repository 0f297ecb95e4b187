#!/usr/bin/env bash
# devenv.sh - the real servers for development: Ceph RGW (S3) and PostgreSQL, on loopback.
#
#   devenv.sh up        create and start what is missing, write config.devenv.yaml (idempotent)
#   devenv.sh status    what runs; exit 0 = everything, 3 = not
#   devenv.sh stop      stop what this script started, keep the data
#   devenv.sh destroy   stop it and delete the data and config.devenv.yaml
#   devenv.sh exec ceph|radosgw-admin|psql|microceph ARGS...   (devenv/bin/* call this)
#
# Two drivers: containers when a container engine answers, else native processes. DEVENV_DRIVER=containers|native chooses;
# once up, the driver is remembered until destroy. DEVENV_RGW_PORT (8000) and DEVENV_POSTGRES_PORT (5432) move the ports.
set -euo pipefail
. "$(dirname "$0")/node.sh"
HERE=$ROOT/devenv
STATE=$ROOT/.devenv
CONFIG=$ROOT/config.devenv.yaml

say() { printf '[devenv] %s\n' "$*" >&2; }

# name and default; the value used at first stays until destroy
setting() {
  local value=${!1:-} file=$STATE/settings/$1
  if [ -s "$file" ]; then
    [ -z "$value" ] || [ "$value" = "$(cat "$file")" ] || fail "$1 was $(cat "$file") when this devenv was made; destroy it first"
    cat "$file"
  else
    echo "${value:-$2}"
  fi
}
remember() {
  mkdir -p "$STATE/settings"
  printf '%s\n' "$2" >"$STATE/settings/$1"
}

engine_that_answers() {
  local engine
  for engine in docker podman; do
    if command -v "$engine" >/dev/null && timeout 20 "$engine" info >/dev/null 2>&1; then echo "$engine" && return; fi
  done
}

DB_NAME=packhouse DB_USER=minerva DB_PASSWORD='m1n3rv@' DB_PASSWORD_IN_URL=m1n3rv%40 BUCKET=packhouse
RGW_PORT=$(setting DEVENV_RGW_PORT 8000)
DB_PORT=$(setting DEVENV_POSTGRES_PORT 5432)
DRIVER=$(setting DEVENV_DRIVER '')
ENGINE=$(setting DEVENV_ENGINE '')
export CEPH_NATIVE_RGW_PORT=$RGW_PORT CEPH_NATIVE_BUCKET=$BUCKET
export POSTGRES_NATIVE_PORT=$DB_PORT POSTGRES_NATIVE_DATABASE=$DB_NAME POSTGRES_NATIVE_USER=$DB_USER POSTGRES_NATIVE_PASSWORD=$DB_PASSWORD

. "$HERE/driver-native.sh"
. "$HERE/driver-containers.sh"

choose_driver() {
  case $DRIVER in
    native) return ;;
    containers | '') ;;
    *) fail "DEVENV_DRIVER is containers or native, not '$DRIVER'" ;;
  esac
  [ -n "$ENGINE" ] || ENGINE=$(engine_that_answers)
  if [ -n "$ENGINE" ]; then DRIVER=containers; elif [ -z "$DRIVER" ]; then DRIVER=native; else
    fail 'DEVENV_DRIVER=containers, but neither docker nor podman answers'
  fi
}

# The driver leaves the S3 keys in ACCESS_KEY and SECRET_KEY.
write_config() {
  (
    umask 077
    cat >"$CONFIG.new" <<YAML
# Written by \`make devenv\` for the servers it started; never committed. make serve CONFIG=config.devenv.yaml
http:
  listen: 127.0.0.1:8080
database:
  url: postgres://$DB_USER:$DB_PASSWORD_IN_URL@127.0.0.1:$DB_PORT/$DB_NAME
store:
  kind: s3
  s3:
    endpoint: http://127.0.0.1:$RGW_PORT
    region: $REGION
    bucket: $BUCKET
    access_key_id: '$ACCESS_KEY'
    secret_access_key: '$SECRET_KEY'
    path_style: true
YAML
    chmod 600 "$CONFIG.new"
    mv "$CONFIG.new" "$CONFIG"
  )
}

up() {
  choose_driver
  say "driver: $DRIVER${ENGINE:+ ($ENGINE)}"
  remember DEVENV_DRIVER "$DRIVER"
  [ -z "$ENGINE" ] || remember DEVENV_ENGINE "$ENGINE"
  remember DEVENV_RGW_PORT "$RGW_PORT"
  remember DEVENV_POSTGRES_PORT "$DB_PORT"
  "${DRIVER}_up"
  write_config
  say 'ready: make serve CONFIG=config.devenv.yaml'
}

status() {
  [ -n "$DRIVER" ] || { echo 'no devenv: make devenv' && return 3; }
  echo "driver $DRIVER${ENGINE:+ ($ENGINE)}"
  "${DRIVER}_status"
}

stop() {
  [ -n "$DRIVER" ] || { say 'nothing to stop' && return 0; }
  "${DRIVER}_stop"
}

destroy() {
  [ -n "$DRIVER" ] || { say 'nothing to destroy' && return 0; }
  "${DRIVER}_destroy"
  rm -rf "$STATE/settings" "$CONFIG"
  say 'destroyed'
}

one_at_a_time() {
  mkdir -p "$STATE"
  exec 7>"$STATE/lock"
  flock -w 600 7 || fail 'another devenv command runs'
}

case ${1:-} in
  up | stop | destroy)
    one_at_a_time
    "$1" 7>&-
    ;;
  status) status ;;
  exec)
    [ -n "$DRIVER" ] || fail 'no devenv: make devenv'
    shift
    "${DRIVER}_exec" "$@"
    ;;
  *) sed -n '2,11p' "$0" | sed 's/^# \{0,1\}//' >&2 && exit 2 ;;
esac
