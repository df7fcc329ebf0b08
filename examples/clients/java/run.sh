#!/usr/bin/env bash
# Builds the client with Maven, the code of the protocol included, and runs it with the arguments given.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build="${CLIENTS_BUILD:-$here/build}/java"
mkdir -p "$build"
mvn --batch-mode --quiet --file "$here/pom.xml" -Dbuild="$build" -Dmdep.outputFile="$build/classpath" \
    compile dependency:build-classpath >&2
exec java -cp "$build/classes:$(<"$build/classpath")" client.Client "$@"
