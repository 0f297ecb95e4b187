#!/usr/bin/env bash
# Runs every test: brings what the machine lacks, starts a Ceph of its own, runs node --test over all *.test.ts, stops that Ceph.
#
#   CEPH=no     without the tests on Ceph RGW (refused when CI=true)
#   FILES=...   only these test files
#   JOBS=N      how many test files run at a time
#
# The tests find the object store in PACKHOUSE_TEST_S3_ENDPOINT, _REGION, _BUCKET, _ACCESS_KEY and _SECRET_KEY; without
# PACKHOUSE_TEST_S3_ENDPOINT those that need it skip themselves.
set -euo pipefail
. "$(dirname "$0")/node.sh"
cd "$ROOT"
CEPH=${CEPH:-yes}
RESULT=.cache/test-result
mkdir -p .cache
rm -f "$RESULT"

case $CEPH in
  yes | no) ;;
  *) fail "CEPH is yes or no, not '$CEPH'" ;;
esac
[ "$CEPH" = yes ] || [ "${CI:-}" != true ] || fail 'CEPH=no skips tests: not in CI'

devenv/install.sh
debian_packages git=git psql=postgresql-client
files=()
if [ -n "${FILES:-}" ]; then
  # shellcheck disable=SC2206 # a list of patterns
  files=($FILES)
else
  mapfile -t files < <(find . \( -name node_modules -o -name '.?*' -o -path ./data \) -prune -o -name '*.test.ts' -print | sort)
fi
((${#files[@]})) || fail 'found no test'

# The stock ports may be a devenv's: this cluster takes others, below those the kernel hands out.
free_port() {
  local port
  for _ in {1..200}; do
    port=$((20000 + RANDOM % 10000))
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port" && return; }
  done
  fail 'found no free port'
}

unset "${!PACKHOUSE_TEST_S3_@}"
if [ "$CEPH" = yes ]; then
  debian_packages ceph-mon=ceph-mon ceph-osd=ceph-osd ceph-mgr=ceph-mgr radosgw=radosgw ceph=ceph-common curl=curl
  mkdir -p .devenv
  exec 8>.devenv/test.lock
  flock -n 8 || { echo 'another make test runs in this checkout: waiting for it' >&2 && flock 8; }
  CEPH_NATIVE_DIR=$(devenv/ceph-native.sh folder test)
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
fi

# In the background: bash runs a trap only when the command in front has ended.
rc=0
node --test --test-concurrency="${JOBS:-$(nproc)}" --test-timeout=1200000 \
  --test-reporter=spec --test-reporter-destination=stdout \
  --test-reporter=./devenv/test-result.ts --test-reporter-destination="$RESULT" "${files[@]}" 8>&- &
runner=$!
trap 'kill -TERM $runner 2>/dev/null; wait $runner || true; exit 130' INT TERM HUP
wait $runner || rc=$?
[ -s "$RESULT" ] || fail 'the test runner ended without a summary'
read -r passed failed _ <"$RESULT"
((passed + failed > 0)) || fail 'no test ran'
exit "$rc"
