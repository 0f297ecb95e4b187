#!/usr/bin/env bash
# Runs the benchmark. With CEPH=yes on a Ceph of its own, as the tests run; it is stopped at the end.
set -euo pipefail
. "$(dirname "$0")/node.sh"
cd "$ROOT"
case ${CEPH:=no} in
  no) exec node bench/main.ts "$@" ;;
  yes) ;;
  *) fail "CEPH is yes or no, not '$CEPH'" ;;
esac
. devenv/throwaway-ceph.sh
throwaway_ceph bench
# In the background: bash runs a trap only when the command in front has ended.
node bench/main.ts --store s3 "$@" 8>&- &
runner=$!
trap 'kill -TERM $runner 2>/dev/null; wait $runner || true; exit 130' INT TERM HUP
wait $runner
