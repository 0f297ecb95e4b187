# Sourced, after node.sh: a Ceph of its own for one run, gone at the end of the shell.
# shellcheck shell=bash

# The stock ports may be a devenv's: this cluster takes others, below those the kernel hands out.
free_port() {
  local port
  for _ in {1..200}; do
    port=$((20000 + RANDOM % 10000))
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port" && return; }
  done
  fail 'found no free port'
}

# throwaway_ceph NAME   starts it, exports PACKHOUSE_TEST_S3_*, and destroys it when the shell exits. Commands after it get no file descriptor 8.
throwaway_ceph() {
  debian_packages ceph-mon=ceph-mon ceph-osd=ceph-osd ceph-mgr=ceph-mgr radosgw=radosgw ceph=ceph-common curl=curl
  mkdir -p .devenv
  exec 8>".devenv/$1.lock"
  flock -n 8 || { echo "another make $1 runs in this checkout: waiting for it" >&2 && flock 8; }
  CEPH_NATIVE_DIR=$(devenv/ceph-native.sh folder "$1")
  CEPH_NATIVE_RGW_PORT=$(free_port) CEPH_NATIVE_MON_V2_PORT=$(free_port) CEPH_NATIVE_MON_V1_PORT=$(free_port)
  CEPH_NATIVE_BUCKET=packhouse-test
  export CEPH_NATIVE_DIR CEPH_NATIVE_RGW_PORT CEPH_NATIVE_MON_V2_PORT CEPH_NATIVE_MON_V1_PORT CEPH_NATIVE_BUCKET
  devenv/ceph-native.sh destroy # what a killed run left
  trap 'devenv/ceph-native.sh destroy 8>&-' EXIT
  trap 'exit 130' INT TERM HUP
  devenv/ceph-native.sh start 8>&-
  eval "$(devenv/ceph-native.sh env)"
  export PACKHOUSE_TEST_S3_ENDPOINT=$AWS_ENDPOINT_URL_S3 PACKHOUSE_TEST_S3_REGION=$AWS_REGION PACKHOUSE_TEST_S3_BUCKET=$S3_BUCKET
  export PACKHOUSE_TEST_S3_ACCESS_KEY=$AWS_ACCESS_KEY_ID PACKHOUSE_TEST_S3_SECRET_KEY=$AWS_SECRET_ACCESS_KEY
  # only what names it explicitly shall find this store
  unset CEPH_CONF "${!AWS_@}" S3_BUCKET
}
