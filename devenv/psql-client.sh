#!/usr/bin/env bash
# Makes sure that there is a psql: the embedded server comes without one.
set -euo pipefail
. "$(dirname "$0")/node.sh"
debian_packages psql=postgresql-client
