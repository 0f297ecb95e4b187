# Sourced by the other scripts: the repository's root, a PATH on which `node` is new enough, and how to install Debian packages.
# shellcheck shell=bash
umask 022
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
PATH=$ROOT/.tools/node_modules/node/bin:$PATH
export PATH
# shellcheck disable=SC2034 # read by the scripts that source this one
NODE_MAJOR_MIN=24

fail() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
  exit 1
}

node_major() { node -p 'process.versions.node.split(".")[0]' 2>/dev/null || echo 0; }

# debian_packages PROGRAM=PACKAGE...   installs the packages whose program is missing: by apt-get as root, else says what to do
debian_packages() {
  local pair missing=()
  for pair in "$@"; do command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}"); done
  ((${#missing[@]})) || return 0
  command -v apt-get >/dev/null || fail "missing on this machine: ${missing[*]} (Debian's package names); install them and try again"
  [ "$(id -u)" = 0 ] || fail "missing on this machine; install and try again: sudo apt-get install --no-install-recommends ${missing[*]}"
  printf 'installing %s\n' "${missing[*]}" >&2
  export DEBIAN_FRONTEND=noninteractive
  local log
  log=$(mktemp)
  if ! { apt-get update && apt-get install -y --no-install-recommends "${missing[@]}"; } </dev/null >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    fail "apt-get could not install ${missing[*]} (whole output: $log)"
  fi
  rm -f "$log"
  for pair in "$@"; do command -v "${pair%%=*}" >/dev/null || fail "${pair#*=} is installed but has no ${pair%%=*}"; done
}
