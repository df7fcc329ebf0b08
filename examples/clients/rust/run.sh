#!/usr/bin/env bash
# Builds the client as Cargo.lock pins it, and runs it with the arguments given.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build="${CLIENTS_BUILD:-$here/build}/rust"
cargo build --quiet --locked --manifest-path "$here/Cargo.toml" --target-dir "$build" >&2
exec "$build/debug/consentd-example-client" "$@"
