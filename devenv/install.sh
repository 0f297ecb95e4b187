#!/usr/bin/env bash
# Makes the checkout runnable: a Node that is new enough, then the packages of the committed lockfile. A second run does nothing.
set -euo pipefail
. "$(dirname "$0")/node.sh"
cd "$ROOT"
STAMP=node_modules/.packhouse-installed

command -v npm >/dev/null || fail "npm is not on this machine: install Node (any version with npm; $NODE_MAJOR_MIN is fetched when yours is older)"
if (($(node_major) < NODE_MAJOR_MIN)); then
  echo "no Node >= $NODE_MAJOR_MIN here: installing one into .tools/" >&2
  mkdir -p .tools
  # npm holds back install scripts that nobody allowed, and this package's script is what puts the binary in place
  printf '{ "private": true, "allowScripts": { "node": true } }\n' >.tools/package.json
  npm install --prefix .tools --no-audit --no-fund "node@$NODE_MAJOR_MIN" >&2
  hash -r
  (($(node_major) >= NODE_MAJOR_MIN)) || fail "npm installed node@$NODE_MAJOR_MIN into .tools/, but it does not run: $(command -v node)"
fi

want=$(cat package.json package-lock.json .npmrc devenv/bundle-packages.ts <(node -p 'process.version + process.platform + process.arch') | sha256sum)
if [ ! -e "$STAMP" ] || [ "$(cat "$STAMP")" != "$want" ]; then
  node -e 'const [own, { packages }] = ["./package.json", "./package-lock.json"].map((path) => require(path));
    for (const kind of ["dependencies", "devDependencies"]) require("node:assert").deepEqual(packages[""][kind], own[kind]);' 2>/dev/null ||
    fail 'package-lock.json is not that of package.json: run npm install and commit the lock'
  ! grep -q '"resolved"' package-lock.json || fail 'package-lock.json names registry addresses: install with the .npmrc of this repository'
  # --no-save: which packages for other platforms a registry has is not the same everywhere, and npm would write what it finds into the lock
  npm install --no-save --no-audit --no-fund >&2
  node devenv/postgres-binaries.ts >/dev/null
  node devenv/bundle-packages.ts || echo 'packages stay in as many files as they came: commands start later' >&2
  printf '%s' "$want" >"$STAMP"
fi
touch "$STAMP"
