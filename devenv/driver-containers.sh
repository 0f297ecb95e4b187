# The container driver of devenv.sh: MicroCeph, a snap, in a privileged container that runs systemd, and PostgreSQL beside it.
# shellcheck shell=bash
# shellcheck disable=SC2034 # variables are read by devenv.sh

CEPH_CONTAINER=microceph
DB_CONTAINER=postgres
CEPH_IMAGE=packhouse-devenv-microceph
DB_IMAGE=docker.io/library/postgres:18.1
CEPH_CHANNEL=squid/stable
# containers carry the checkout that made them: others of the same name are left alone
OWNER=packhouse.devenv=$(sha256sum <<<"$ROOT" | cut -c1-16)
WAIT_S=300

# missing | foreign | running | stopped
container_state() { # NAME
  local label running
  "$ENGINE" container inspect "$1" >/dev/null 2>&1 || { echo missing && return; }
  label=$("$ENGINE" container inspect --format '{{index .Config.Labels "packhouse.devenv"}}' "$1")
  [ "packhouse.devenv=$label" = "$OWNER" ] || { echo foreign && return; }
  running=$("$ENGINE" container inspect --format '{{.State.Running}}' "$1")
  if [ "$running" = true ]; then echo running; else echo stopped; fi
}

port_is_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null || fail "port 127.0.0.1:$1 is taken by another process; set $2"; }

# make_run NAME PORT VARIABLE RUN-ARGS...   brings a container of ours up: made, started, or left as it runs
make_run() {
  local name=$1 port=$2 variable=$3
  shift 3
  case $(container_state "$name") in
    running) ;;
    foreign) fail "a container named $name exists that this checkout did not make: rename or remove it" ;;
    stopped)
      port_is_free "$port" "$variable"
      "$ENGINE" start "$name" >/dev/null
      ;;
    missing)
      port_is_free "$port" "$variable"
      "$ENGINE" run --detach --name "$name" --hostname "$name" --label "$OWNER" "$@" >/dev/null
      say "container $name made"
      ;;
  esac
}

in_ceph() { "$ENGINE" exec "$CEPH_CONTAINER" "$@"; }

wait_until() { # WHAT COMMAND...
  local what=$1 end=$((SECONDS + WAIT_S))
  shift
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < end)) || fail "timeout (${WAIT_S} s) waiting for $what"
    sleep 1
  done
}

containers_up() {
  command -v curl >/dev/null || fail 'curl is missing on this machine'
  "$ENGINE" build --quiet --tag "$CEPH_IMAGE" --file "$HERE/microceph.Containerfile" "$HERE" >/dev/null
  local ceph_args=(--privileged --tmpfs /run --tmpfs /run/lock --volume /lib/modules:/lib/modules:ro --publish "127.0.0.1:$RGW_PORT:8000")
  # systemd wants a control group tree it may write: docker passes the host's, podman makes one
  if [ "$ENGINE" = docker ]; then
    ceph_args+=(--cgroupns=host --volume /sys/fs/cgroup:/sys/fs/cgroup:rw)
  else
    ceph_args+=(--systemd=always)
  fi
  make_run "$CEPH_CONTAINER" "$RGW_PORT" DEVENV_RGW_PORT "${ceph_args[@]}" "$CEPH_IMAGE"
  make_run "$DB_CONTAINER" "$DB_PORT" DEVENV_POSTGRES_PORT --publish "127.0.0.1:$DB_PORT:5432" --shm-size=256m \
    --env "POSTGRES_DB=$DB_NAME" --env "POSTGRES_USER=$DB_USER" --env "POSTGRES_PASSWORD=$DB_PASSWORD" \
    --env 'POSTGRES_INITDB_ARGS=--encoding=UTF8 --locale=C' "$DB_IMAGE"
  microceph_up
  # over TCP: while the image initialises, a server without TCP answers on the socket
  wait_until PostgreSQL "$ENGINE" exec "$DB_CONTAINER" pg_isready --quiet --host=127.0.0.1 --username="$DB_USER" --dbname="$DB_NAME"
}

osds_up() { # COUNT
  local stat
  stat=$(in_ceph microceph.ceph osd stat --format json) || return 1
  [ "$(json_field num_up_osds <<<"$stat")" -ge "$1" ]
}

# json_field NAME   of the document on stdin, at its top or in its first "keys" entry
json_field() {
  node -e 'const d = JSON.parse(require("node:fs").readFileSync(0, "utf8")); const v = d[process.argv[1]] ?? d.keys?.[0]?.[process.argv[1]];
    if (v === undefined) process.exit(1); console.log(String(v));' "$1"
}

microceph_up() {
  # loop devices made by the host's kernel after the container started have no node in it
  # shellcheck disable=SC2016 # the container's shell counts
  in_ceph sh -c 'for i in $(seq 0 63); do [ -e /dev/loop$i ] || mknod -m 660 /dev/loop$i b 7 $i; done'
  wait_until snapd in_ceph snap wait system seed.loaded
  if ! in_ceph snap list microceph >/dev/null 2>&1; then
    say 'installing the microceph snap'
    in_ceph snap install microceph --channel="$CEPH_CHANNEL" >/dev/null
    in_ceph snap refresh --hold microceph >/dev/null
  fi
  # a monitor, a manager and a metadata server come with the bootstrap, which fails until the snap's daemon is up
  wait_until 'the MicroCeph cluster' in_ceph sh -c 'microceph status || microceph cluster bootstrap'
  local osds
  osds=$(in_ceph microceph.ceph osd ls | wc -l)
  ((osds >= 3)) || in_ceph microceph disk add "loop,4G,$((3 - osds))"
  wait_until 'three OSDs' osds_up 3
  local services
  services=$(in_ceph microceph status)
  [[ $services =~ (^|[^a-z])rgw([^a-z]|$) ]] || in_ceph microceph enable rgw --port 8000
  wait_until 'the S3 gateway' curl -fsS -o /dev/null --noproxy '*' --max-time 5 "http://127.0.0.1:$RGW_PORT/"
  microceph_user
}

microceph_user() {
  local info
  info=$(in_ceph microceph.radosgw-admin user info --uid=packhouse 2>/dev/null) ||
    info=$(in_ceph microceph.radosgw-admin user create --uid=packhouse --display-name=packhouse)
  ACCESS_KEY=$(json_field access_key <<<"$info") SECRET_KEY=$(json_field secret_key <<<"$info") REGION=us-east-1
  # the bucket; making it again is no error
  wait_until "the bucket $BUCKET" curl -fsS -o /dev/null --noproxy '*' --max-time 30 --aws-sigv4 aws:amz:$REGION:s3 \
    --user "$ACCESS_KEY:$SECRET_KEY" -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' -X PUT "http://127.0.0.1:$RGW_PORT/$BUCKET"
}

containers_status() {
  local rc=0 name state
  for name in "$CEPH_CONTAINER" "$DB_CONTAINER"; do
    state=$(container_state "$name")
    echo "container $name $state"
    [ "$state" = running ] || rc=3
  done
  if curl -fsS -o /dev/null --noproxy '*' --max-time 5 "http://127.0.0.1:$RGW_PORT/"; then echo "s3 up http://127.0.0.1:$RGW_PORT"; else
    echo 's3 down'
    rc=3
  fi
  return $rc
}

ours() { case $(container_state "$1") in running | stopped) ;; *) return 1 ;; esac; }

containers_stop() {
  local name
  for name in "$DB_CONTAINER" "$CEPH_CONTAINER"; do
    if ours "$name"; then "$ENGINE" stop -t 60 "$name" >/dev/null && say "container $name stopped"; fi
  done
}

containers_destroy() {
  local name
  for name in "$DB_CONTAINER" "$CEPH_CONTAINER"; do
    if ours "$name"; then "$ENGINE" rm --force --volumes "$name" >/dev/null && say "container $name removed"; fi
  done
}

containers_exec() {
  local tool=$1 flags=(--interactive)
  shift
  if [ -t 0 ] && [ -t 1 ]; then flags+=(--tty); fi
  case $tool in
    ceph | radosgw-admin) exec "$ENGINE" exec "${flags[@]}" "$CEPH_CONTAINER" "microceph.$tool" "$@" ;;
    microceph) exec "$ENGINE" exec "${flags[@]}" "$CEPH_CONTAINER" microceph "$@" ;;
    psql) exec "$ENGINE" exec "${flags[@]}" --env "PGPASSWORD=$DB_PASSWORD" "$DB_CONTAINER" psql --username="$DB_USER" --dbname="$DB_NAME" "$@" ;;
  esac
}
