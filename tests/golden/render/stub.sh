#!/bin/sh
# Stands in for scripts/bootstrap.sh, so that a change there leaves the golden files alone.
set -eu

main() {
  url=${SOCI_BOOTSTRAP_ZIPAPP_URL:-}
  digest=${SOCI_BOOTSTRAP_ZIPAPP_SHA256:-}
  printf '%s %s %s\n' "$url" "$digest" "$*"
  exit "${STUB_STATUS:-0}"
}

main "$@"
