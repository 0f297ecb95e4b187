#!/usr/bin/env bash
# ceph-native.sh - one-node Ceph (1 mon, 1 mgr, 1 osd) + RADOS Gateway (S3), native
# processes on loopback: no containers, no systemd, nothing outside $CEPH_NATIVE_DIR.
#
#   ceph-native.sh start     create what is missing, start what is not running (idempotent)
#   ceph-native.sh stop      stop the daemons this script started (only those), keep the data
#   ceph-native.sh status    one line per daemon; exit 0 = all up and S3 answers, 3 = not
#   ceph-native.sh restart   stop, then start
#   ceph-native.sh destroy   stop, then delete $CEPH_NATIVE_DIR
#   ceph-native.sh env       print shell exports (endpoint, keys, CEPH_CONF)
#   ceph-native.sh folder NAME   print a folder for this checkout that is short enough for unix sockets
#   ceph-native.sh ceph|radosgw-admin|rados ARGS...     run that tool on this cluster
#
# Debian 12: apt-get install --no-install-recommends ceph-mon ceph-osd ceph-mgr radosgw ceph-common curl
# Works as root or as any ordinary user (the daemons run as the caller).
set -euo pipefail
umask 077                                           # the folder holds keys
unset CEPH_ARGS CEPH_CONF CEPH_KEYRING           # a foreign cluster's settings must not leak in

# ---- settings (all by environment) -----------------------------------------------------------
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
DIR_LENGTH_MAX=80                                    # unix socket names end at 107 characters
folder() { # NAME
  local dir=$ROOT/.devenv/$1
  ((${#dir} <= DIR_LENGTH_MAX)) || dir=/var/tmp/packhouse-$(id -u)-$(sha256sum <<<"$ROOT" | cut -c1-12)/$1
  echo "$dir"
}
DIR=${CEPH_NATIVE_DIR:-$(folder ceph)}
IP=${CEPH_NATIVE_IP:-127.0.0.1}
MON_V2_PORT=${CEPH_NATIVE_MON_V2_PORT:-36300}        # the stock ports are 3300 / 6789 / 6800-7300:
MON_V1_PORT=${CEPH_NATIVE_MON_V1_PORT:-36789}        # deliberately not those
MSGR_PORT_MIN=${CEPH_NATIVE_MSGR_PORT_MIN:-36800}    # osd + mgr pick theirs in this range
MSGR_PORT_MAX=${CEPH_NATIVE_MSGR_PORT_MAX:-36899}
RGW_PORT=${CEPH_NATIVE_RGW_PORT:-8000}
STORE=${CEPH_NATIVE_OBJECTSTORE:-bluestore}          # bluestore | memstore (memstore: data die with the osd)
OSD_GIB=${CEPH_NATIVE_OSD_GIB:-8}                    # size of the sparse block file (or memstore capacity)
AUTH=${CEPH_NATIVE_AUTH:-none}                       # none | cephx
WITH_MGR=${CEPH_NATIVE_MGR:-1}                       # 0: no mgr (S3 still works; ceph df / pg stats do not)
RGW_USER=${CEPH_NATIVE_USER:-packhouse}
BUCKET=${CEPH_NATIVE_BUCKET:-packhouse}
EXTRA_CONF=${CEPH_NATIVE_EXTRA_CONF:-}               # extra ceph.conf lines, put in [global]
WAIT_S=${CEPH_NATIVE_WAIT_S:-60}                     # longest wait for any one step

CONF=$DIR/ceph.conf; RUN=$DIR/run; LOG=$DIR/log; KEYRING=$DIR/keyring
say()  { printf '[ceph-native %6.1fs] %s\n' "$(elapsed)" "$*" >&2; }
die()  { printf 'ceph-native: %s\n' "$*" >&2; exit 1; }
T0=${EPOCHREALTIME/[.,]/}
elapsed() { local n=${EPOCHREALTIME/[.,]/} d; d=$(( (n - T0) / 100000 )); printf '%d.%d' $((d/10)) $((d%10)); }

# ---- processes: a pid file holds "pid starttime", so a recycled pid is never taken for ours ---
# shellcheck disable=SC2086 # field by field
starttime() { local s; s=$(cat "/proc/$1/stat" 2>/dev/null) || return 1; s=${s##*) }; set -- $s; [ "$1" != Z ] && echo "${20}"; }
alive() { local p t; { read -r p t <"$RUN/$1.pid"; } 2>/dev/null && [ "$(starttime "$p")" = "$t" ]; }
pid_of() { local p t; read -r p t <"$RUN/$1.pid" && echo "$p"; }
launch() { # NAME CMD...   detached; one file descriptor set of its own, so no caller's pipe stays open
  local name=$1; shift
  setsid "$@" </dev/null >>"$LOG/$name.out" 2>&1 9>&- &
  local p=$! t; t=$(starttime $p) || die "$name died at once; see $LOG/$name.out"
  echo "$p $t" >"$RUN/$name.pid"; disown $p 2>/dev/null || true
}
halt() { # NAME
  alive "$1" || { rm -f "$RUN/$1.pid"; return 0; }
  local p i; p=$(pid_of "$1"); kill -TERM "$p" 2>/dev/null || true
  for ((i = 0; i < 200; i++)); do alive "$1" || break; sleep 0.1; done
  if alive "$1"; then say "$1 ($p) ignored SIGTERM for 20 s: SIGKILL"; kill -KILL "$p" || true; sleep 0.3; fi
  rm -f "$RUN/$1.pid"
}
logs() { # DAEMON   the end of what it said
  local f; case $1 in mon) f=mon.a;; mgr) f=mgr.x;; osd) f=osd.0;; *) f=client.rgw.dev;; esac
  for f in "$LOG/$1.out" "$LOG/$f.log"; do [ -s "$f" ] && { echo "--- $f"; tail -n 8 "$f" | cut -c1-300; } >&2; done; return 0
}
wait_for() { # NAME-of-daemon WHAT CMD...
  local d=$1 what=$2; shift 2; local end=$((SECONDS + WAIT_S))
  until "$@" >/dev/null 2>&1; do
    alive "$d" || { logs "$d"; die "$d exited while waiting for: $what (logs: $LOG)"; }
    ((SECONDS < end)) || { logs "$d"; die "timeout (${WAIT_S}s) waiting for: $what (logs: $LOG)"; }
    sleep 0.1
  done
}
listening() { (exec 3<>"/dev/tcp/$IP/$1") 2>/dev/null; }
free_port() { ! listening "$1" || die "port $IP:$1 is already taken by another process; set $2 to a free one"; }
# the S3 user's keys are made with the cluster and live as long as it does
keys() { [ -s "$DIR/s3-keys" ] && read -r ACCESS_KEY SECRET_KEY <"$DIR/s3-keys"; }
random_word() { od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'; }
C() { ceph -c "$CONF" --connect-timeout 20 "$@"; }

write_conf() {
  local auth=none modes=crc; if [ "$AUTH" = cephx ]; then auth=cephx modes="secure crc"; fi
  cat >"$CONF.new" <<CONF
[global]
fsid = $(cat "$DIR/fsid")
mon_initial_members = a
mon_host = [v2:$IP:$MON_V2_PORT,v1:$IP:$MON_V1_PORT]
public_addr = $IP
cluster_addr = $IP
ms_bind_port_min = $MSGR_PORT_MIN
ms_bind_port_max = $MSGR_PORT_MAX
auth_cluster_required = $auth
auth_service_required = $auth
auth_client_required = $auth
auth_allow_insecure_global_id_reclaim = false
# radosgw's built-in default is "secure", which auth none cannot give: it would retry for ever
# with "get_initial_auth_request returned -13" and never open its port
ms_mon_client_mode = $modes
keyring = $KEYRING
run_dir = $RUN
admin_socket =
log_file = $LOG/\$name.log
log_to_stderr = false
err_to_stderr = true
mon_cluster_log_file = $LOG/cluster.log
crash_dir = $DIR/crash
# by default radosgw writes three lines per request
debug_rgw = 0/5
debug_mon = 0/5
debug_paxos = 0/5
debug_osd = 0/5
debug_ms = 0/0
debug_rocksdb = 1/5
debug_bluestore = 0/5
debug_bluefs = 0/5
debug_bdev = 0/3
# one copy of everything, on one osd
osd_pool_default_size = 1
osd_pool_default_min_size = 1
mon_allow_pool_size_one = true
mon_warn_on_pool_no_redundancy = false
osd_crush_chooseleaf_type = 0
osd_crush_initial_weight = 1
osd_pool_default_pg_num = 8
osd_pool_default_pgp_num = 8
osd_pool_default_pg_autoscale_mode = off
mon_max_pg_per_osd = 1000
mon_allow_pool_delete = true
# a fresh one-mon cluster need not batch its proposals for a second
paxos_propose_interval = 0.02
paxos_min_wait = 0.01
# a client that starts before the osd is up looks again only at its next tick (stock: 5 s)
objecter_tick_interval = 0.5
mon_data = $DIR/mon.\$id
mon_data_avail_warn = 2
mon_data_avail_crit = 1
mon_osd_nearfull_ratio = .95
mon_osd_backfillfull_ratio = .96
mon_osd_full_ratio = .97
mgr_data = $DIR/mgr.\$id
mgr_initial_modules =
osd_data = $DIR/osd.\$id
osd_objectstore = $STORE
bluestore_block_create = true
bluestore_block_size = $((OSD_GIB << 30))
bluestore_block_wal_create = false
bluestore_block_db_create = false
memstore_device_bytes = $((OSD_GIB << 30))
osd_memory_target = 939524096
osd_class_update_on_start = false
osd_scrub_begin_hour = 3
osd_scrub_end_hour = 4
rgw_data = $DIR/rgw
# tcp_nodelay: off by default, and then a small GET stalls ~40 ms on Nagle + delayed ACK
rgw_frontends = beast endpoint=$IP:$RGW_PORT tcp_nodelay=1
rgw_dns_name = localhost
rgw_crypt_require_ssl = false
rgw_thread_pool_size = 64
rgw_override_bucket_index_max_shards = 1
rgw_run_sync_thread = false
rgw_enable_usage_log = false
$EXTRA_CONF
CONF
  mv "$CONF.new" "$CONF"
}

start() {
  local b; for b in ceph-mon ceph-osd radosgw radosgw-admin ceph monmaptool ceph-authtool curl flock $([ "$WITH_MGR" = 1 ] && echo ceph-mgr); do
    command -v "$b" >/dev/null || die "missing: $b (apt-get install --no-install-recommends ceph-mon ceph-osd ceph-mgr radosgw ceph-common curl)"; done
  ((${#DIR} <= DIR_LENGTH_MAX)) || die "CEPH_NATIVE_DIR is longer than $DIR_LENGTH_MAX characters"
  (umask 022; mkdir -p "$(dirname "$DIR")")
  mkdir -p "$DIR" "$RUN" "$LOG" "$DIR/crash/posted" "$DIR/rgw"
  exec 9>"$DIR/.lock"; flock -w 120 9 || die "another start/stop holds $DIR/.lock"
  [ -s "$DIR/fsid" ] || cat /proc/sys/kernel/random/uuid >"$DIR/fsid"
  local fsid; fsid=$(cat "$DIR/fsid")
  [ -s "$DIR/s3-keys" ] || { echo "$(random_word 10) $(random_word 20)" >"$DIR/s3-keys.new"; mv "$DIR/s3-keys.new" "$DIR/s3-keys"; }
  keys
  # settings burnt in at creation: refuse to start an old cluster with different ones
  local made="auth=$AUTH store=$STORE mon=$IP:$MON_V2_PORT,$MON_V1_PORT"
  if [ -s "$DIR/.made" ] && [ "$(cat "$DIR/.made")" != "$made" ]; then
    die "$DIR was made with [$(cat "$DIR/.made")], not [$made]: run destroy first or use another CEPH_NATIVE_DIR"; fi
  # memstore is gone with its osd, but the mon would go on waiting for its PGs: begin again, empty
  if [ "$STORE" = memstore ] && [ -e "$DIR/.made" ] && ! alive osd; then
    say "memstore and no osd: starting again from empty"
    halt rgw; halt mgr; halt mon; rm -f "$DIR/.made"
  fi
  write_conf

  # every port that is about to be opened, before anything is started
  alive mon || { free_port "$MON_V2_PORT" CEPH_NATIVE_MON_V2_PORT; free_port "$MON_V1_PORT" CEPH_NATIVE_MON_V1_PORT; }
  alive rgw || free_port "$RGW_PORT" CEPH_NATIVE_RGW_PORT

  # -- mon
  if ! alive mon; then
    if [ ! -e "$DIR/.made" ]; then
      rm -rf "$DIR/mon.a" "$DIR/osd.0" "$DIR/mgr.x" "$DIR"/.osd-made "$DIR"/.user-made "$DIR"/.warm "$KEYRING"
      ceph-authtool --create-keyring "$KEYRING" --gen-key -n mon. --cap mon 'allow *' >/dev/null
      ceph-authtool "$KEYRING" --gen-key -n client.admin --cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *' --cap mds 'allow *' >/dev/null
      ceph-authtool "$KEYRING" --gen-key -n mgr.x --cap mon 'allow profile mgr' --cap osd 'allow *' --cap mds 'allow *' >/dev/null
      ceph-authtool "$KEYRING" --gen-key -n osd.0 --cap mon 'allow profile osd' --cap mgr 'allow profile osd' --cap osd 'allow *' >/dev/null
      ceph-authtool "$KEYRING" --gen-key -n client.rgw.dev --cap mon 'allow rw' --cap osd 'allow rwx' --cap mgr 'allow rw' >/dev/null
      mkdir -p "$DIR/mon.a"
      monmaptool --create --clobber --fsid "$fsid" --addv a "[v2:$IP:$MON_V2_PORT,v1:$IP:$MON_V1_PORT]" "$DIR/monmap" >/dev/null
      ceph-mon -c "$CONF" -i a --mkfs --monmap "$DIR/monmap" --keyring "$KEYRING" >>"$LOG/mon.out" 2>&1 || die "ceph-mon --mkfs failed; see $LOG/mon.out"
      echo "$made" >"$DIR/.made"
      say "mon made"
    fi
    launch mon ceph-mon -c "$CONF" -i a -f
    wait_for mon "the mon's port" listening "$MON_V2_PORT"
    say "mon up (pid $(pid_of mon))"
  fi

  # -- mgr: nothing below waits for it
  if [ "$WITH_MGR" = 1 ] && ! alive mgr; then
    mkdir -p "$DIR/mgr.x"
    launch mgr ceph-mgr -c "$CONF" -i x -f
    say "mgr started (pid $(pid_of mgr))"
  fi

  # -- osd
  if ! alive osd; then
    if [ ! -e "$DIR/.osd-made" ]; then
      [ -s "$DIR/osd.uuid" ] || cat /proc/sys/kernel/random/uuid >"$DIR/osd.uuid"
      local u; u=$(cat "$DIR/osd.uuid")
      C osd new "$u" 0 >/dev/null 2>>"$LOG/osd.out" || die "ceph osd new failed; see $LOG/osd.out"
      rm -rf "$DIR/osd.0"; mkdir -p "$DIR/osd.0"
      ceph-osd -c "$CONF" -i 0 --mkfs --osd-uuid "$u" --no-mon-config >>"$LOG/osd.out" 2>&1 || { tail -n 5 "$LOG/osd.out" >&2; die "ceph-osd --mkfs failed; see $LOG/osd.out and $LOG/osd.0.log"; }
      touch "$DIR/.osd-made"
      say "osd made ($STORE)"
    fi
    launch osd ceph-osd -c "$CONF" -i 0 -f
    say "osd started (pid $(pid_of osd))"
  fi

  # -- S3 user: written straight to RADOS; also makes the default zone and its pools
  if [ ! -e "$DIR/.user-made" ]; then
    local out end=$((SECONDS + WAIT_S))
    until out=$(timeout "$WAIT_S" radosgw-admin -c "$CONF" user create --uid="$RGW_USER" --display-name="$RGW_USER" \
                --access-key="$ACCESS_KEY" --secret-key="$SECRET_KEY" 2>&1); do
      case $out in *"exists"*) break;; esac
      alive osd || { logs osd; die "the osd exited (logs: $LOG)"; }
      ((SECONDS < end)) || die "radosgw-admin user create failed: $out"
      sleep 0.2
    done
    touch "$DIR/.user-made"
    say "S3 user $RGW_USER made"
  fi

  # -- radosgw
  if ! alive rgw; then
    launch rgw radosgw -c "$CONF" -n client.rgw.dev -f
    wait_for rgw "radosgw on $IP:$RGW_PORT" curl -fsS -o /dev/null --noproxy '*' --max-time 2 "http://$IP:$RGW_PORT/"
    say "radosgw up (pid $(pid_of rgw))"
  fi

  # -- bucket + first PUT (makes the bucket index and data pools, so no test pays for it)
  wait_for rgw "bucket $BUCKET" s3 PUT "/$BUCKET"
  if [ ! -e "$DIR/.warm" ]; then wait_for rgw "first PUT" s3 PUT "/$BUCKET/.ready" --data-binary ok; touch "$DIR/.warm"; fi
  say "S3 ready: http://$IP:$RGW_PORT  bucket=$BUCKET"
}

s3() { # METHOD PATH [curl args]   signed with curl's own SigV4 (curl >= 7.75)
  local m=$1 p=$2; shift 2
  curl -fsS --noproxy '*' --max-time 30 --aws-sigv4 aws:amz:us-east-1:s3 --user "$ACCESS_KEY:$SECRET_KEY" \
       -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' -H 'Content-Type: application/octet-stream' -X "$m" "$@" "http://$IP:$RGW_PORT$p"
}

stop() {
  [ -d "$RUN" ] || { say "nothing at $DIR"; return 0; }
  exec 9>"$DIR/.lock"; flock -w 120 9 || die "another start/stop holds $DIR/.lock"
  local d; for d in rgw osd mgr mon; do halt $d; done
  say "stopped"
}

status() {
  local d rc=0 p rss
  for d in mon mgr osd rgw; do
    [ $d = mgr ] && [ "$WITH_MGR" != 1 ] && continue
    if alive $d; then p=$(pid_of $d); rss=$(awk '/^VmRSS/{print int($2/1024)}' "/proc/$p/status"); echo "$d up pid=$p rss=${rss}MiB"
    else echo "$d down"; rc=3; fi
  done
  if [ $rc = 0 ] && keys && s3 GET "/$BUCKET?max-keys=1" -o /dev/null 2>/dev/null; then echo "s3 up http://$IP:$RGW_PORT"; else echo "s3 down"; rc=3; fi
  return $rc
}

case ${1:-} in
  start) start;;
  stop) stop;;
  restart) stop; exec 9>&-; start;;
  status) status;;
  folder) folder "${2:?folder NAME}";;
  destroy) [ -e "$DIR/fsid" ] || { [ -e "$DIR" ] && die "$DIR is not one of mine"; exit 0; }; stop; rm -rf "$DIR";;
  env) keys || die "no cluster in $DIR"; printf 'export %s\n' "CEPH_CONF=$CONF" "AWS_ACCESS_KEY_ID=$ACCESS_KEY" "AWS_SECRET_ACCESS_KEY=$SECRET_KEY" AWS_REGION=us-east-1 \
         "AWS_ENDPOINT_URL_S3=http://$IP:$RGW_PORT" "S3_BUCKET=$BUCKET" AWS_REQUEST_CHECKSUM_CALCULATION=when_required AWS_RESPONSE_CHECKSUM_VALIDATION=when_required;;
  ceph|radosgw-admin|rados) t=$1; shift; exec "$t" -c "$CONF" "$@";;
  *) sed -n '2,15p' "$0" | sed 's/^# \{0,1\}//' >&2; exit 2;;
esac
