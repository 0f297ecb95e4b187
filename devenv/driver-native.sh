# The native driver of devenv.sh: Debian's Ceph daemons and npm's PostgreSQL, as processes of this machine.
# shellcheck shell=bash
# shellcheck disable=SC2034 # variables are read by devenv.sh

native_up() {
  debian_packages ceph-mon=ceph-mon ceph-osd=ceph-osd ceph-mgr=ceph-mgr radosgw=radosgw ceph=ceph-common curl=curl psql=postgresql-client
  "$HERE/install.sh"
  "$HERE/ceph-native.sh" start
  "$HERE/postgres-native.sh" start
  local exports
  exports=$("$HERE/ceph-native.sh" env)
  ACCESS_KEY=$(sed -n 's/^export AWS_ACCESS_KEY_ID=//p' <<<"$exports")
  SECRET_KEY=$(sed -n 's/^export AWS_SECRET_ACCESS_KEY=//p' <<<"$exports")
  REGION=$(sed -n 's/^export AWS_REGION=//p' <<<"$exports")
}

native_status() {
  local rc=0
  "$HERE/ceph-native.sh" status || rc=3
  "$HERE/postgres-native.sh" status || rc=3
  return $rc
}

native_stop() {
  "$HERE/postgres-native.sh" stop
  "$HERE/ceph-native.sh" stop
}

native_destroy() {
  "$HERE/postgres-native.sh" destroy
  "$HERE/ceph-native.sh" destroy
}

native_exec() {
  local tool=$1
  shift
  case $tool in
    ceph | radosgw-admin) exec "$HERE/ceph-native.sh" "$tool" "$@" ;;
    psql) PGHOST=127.0.0.1 PGPORT=$DB_PORT PGUSER=$DB_USER PGPASSWORD=$DB_PASSWORD PGDATABASE=$DB_NAME exec psql "$@" ;;
    microceph)
      case ${1:-} in
        status) exec "$HERE/ceph-native.sh" status ;;
        *) fail 'this devenv runs native daemons, without MicroCeph: only "status" is understood; see also devenv/bin/ceph' ;;
      esac
      ;;
  esac
}
