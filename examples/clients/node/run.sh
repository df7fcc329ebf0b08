#!/usr/bin/env bash
# Installs what package-lock.json pins, and runs the client with the arguments given.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build="${CLIENTS_BUILD:-$here/build}/node"
mkdir -p "$build"
# Beside what it needs: Node looks for modules where the file is.
cp "$here"/{client.js,package.json,package-lock.json} "$build"
wanted=$(sha256sum <"$here/package-lock.json")
if [[ ! -f $build/made || $(<"$build/made") != "$wanted" ]]; then
    npm --prefix "$build" ci --silent --ignore-scripts --no-audit --no-fund >&2
    echo "$wanted" >"$build/made"
fi
PROTO="$here/../../../proto" exec node "$build/client.js" "$@"
