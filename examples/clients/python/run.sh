#!/usr/bin/env bash
# Installs what requirements.txt pins, generates the code of the protocol, and runs the client with the arguments given.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
environment="${CLIENTS_BUILD:-$here/build}/python"
wanted=$(cat "$here/requirements.txt" "$here"/../../../proto/consent/v1/*.proto | sha256sum)
if [[ ! -f $environment/made || $(<"$environment/made") != "$wanted" ]]; then
    rm -rf "$environment"
    python3 -m venv "$environment"
    "$environment/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: \
        --require-hashes --requirement "$here/requirements.txt" >&2
    mkdir "$environment/generated"
    "$environment/bin/python" -m grpc_tools.protoc -I "$here/../../../proto" --python_out="$environment/generated" \
        --grpc_python_out="$environment/generated" consent/v1/types.proto consent/v1/enforcement.proto
    echo "$wanted" >"$environment/made"
fi
PYTHONPATH="$environment/generated" exec "$environment/bin/python" "$here/client.py" "$@"
