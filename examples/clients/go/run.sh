#!/usr/bin/env bash
# Generates the code of the protocol with buf, builds the client as go.sum pins it, and runs it with the arguments given.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build="${CLIENTS_BUILD:-$here/build}/go"
mkdir -p "$build"
cp "$here"/{main.go,go.mod,go.sum,buf.gen.yaml} "$build"
(
    cd "$build"
    proto="$here/../../../proto"
    buf generate "$proto" --path "$proto/consent/v1/types.proto" --path "$proto/consent/v1/enforcement.proto"
    go build -o client .
)
exec "$build/client" "$@"
