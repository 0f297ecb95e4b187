#!/usr/bin/env bash
# Runs every test: brings what the machine lacks, starts a Ceph of its own, runs node --test over all *.test.ts, stops that Ceph.
#
#   CEPH=no     without the tests on Ceph RGW (refused when CI=true)
#   FILES=...   only these test files
#   JOBS=N      how many test files run at a time
#   TIMEOUT=S   how long a file may take (1200 s)
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
# What many test files import is compiled once.
export NODE_COMPILE_CACHE=$ROOT/.cache/compile

case $CEPH in
  yes | no) ;;
  *) fail "CEPH is yes or no, not '$CEPH'" ;;
esac
[ "$CEPH" = yes ] || [ "${CI:-}" != true ] || fail 'CEPH=no skips tests: not in CI'

# Branches are counted as modules are loaded; what strips their types for that is called experimental.
counted=()
case ${PACKHOUSE_FUZZ_COVERAGE:-no} in
  no) ;;
  yes | count) counted=(--disable-warning=ExperimentalWarning --import=./internal/testkit/coverage-hook.ts) ;;
  *) fail "COVERAGE is yes, count or no, not '$PACKHOUSE_FUZZ_COVERAGE'" ;;
esac

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

unset "${!PACKHOUSE_TEST_S3_@}"
if [ "$CEPH" = yes ]; then
  . devenv/throwaway-ceph.sh
  throwaway_ceph test
fi

# In the background: bash runs a trap only when the command in front has ended.
rc=0
node "${counted[@]}" --test --test-concurrency="${JOBS:-$(nproc)}" --test-timeout=$((${TIMEOUT:-1200} * 1000)) \
  --test-reporter=spec --test-reporter-destination=stdout \
  --test-reporter=./devenv/test-result.ts --test-reporter-destination="$RESULT" "${files[@]}" 8>&- &
runner=$!
trap 'kill -TERM $runner 2>/dev/null; wait $runner || true; exit 130' INT TERM HUP
wait $runner || rc=$?
[ -s "$RESULT" ] || fail 'the test runner ended without a summary'
read -r passed failed _ <"$RESULT"
((passed + failed > 0)) || fail 'no test ran'
exit "$rc"
