#!/usr/bin/env bash
# Everything that can be said about the code without running it. Runs every check, then fails when one did. Checks that read
# files must have read them all: a tool that silently looks at nothing would pass for ever.
set -uo pipefail
. "$(dirname "$0")/node.sh"
cd "$ROOT" || exit 1
BIN=node_modules/.bin
failed=()

sources=$(find cmd internal db devenv bench -name '*.ts' -not -path '*/node_modules/*' | wc -l)
((sources > 0)) || fail 'found no TypeScript file to check'

# check NAME COUNTER COMMAND...   COUNTER reads the command's output and prints how many files it looked at ("-": it cannot tell)
check() {
  local name=$1 counter=$2 output rc=0 seen
  shift 2
  output=$("$@" 2>&1) || rc=$?
  if [ "$counter" != - ]; then
    seen=$("$counter" <<<"$output")
    if ((rc == 0 && ${seen:-0} < sources)); then
      output+=$'\n'"looked at ${seen:-0} files, but there are $sources"
      rc=1
    fi
  fi
  if ((rc == 0)); then
    printf 'ok      %-7s %s\n' "$name" "${seen:+$seen files}"
  else
    grep -v '^/.*\.ts$' <<<"$output" # without the list of files
    printf 'FAILED  %s\n' "$name"
    failed+=("$name")
  fi
}

files_listed() { grep -c "^$ROOT/\(cmd\|internal\|db\|devenv\|bench\)/.*\.ts$"; }
files_biome() { sed -n 's/^Checked \([0-9]*\) files\{0,1\}.*/\1/p'; }
files_oxlint() { sed -n 's/.* on \([0-9]*\) files\{0,1\} .*/\1/p'; }

check tsc files_listed "$BIN/tsc" --noEmit --listFiles --pretty false
check biome files_biome "$BIN/biome" check --error-on-warnings --max-diagnostics=100 --colors=off
check oxlint files_oxlint "$BIN/oxlint" --deny-warnings
check knip - "$BIN/knip" --no-progress
check schema - devenv/ms-gen.sh --check
check kernels - node devenv/kernels.ts --check
check ranks - node --test --test-reporter=spec internal/ranks.test.ts

((${#failed[@]} == 0)) || fail "failed: ${failed[*]}"
