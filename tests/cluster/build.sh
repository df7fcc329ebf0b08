#!/usr/bin/env bash
# Builds the programs that a module of this folder names as its tools (`build.sh kubernetes/1.36`), unless they are there
# already, and prints the folder that holds them.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

readonly module=$1
readonly programs="${CARGO_TARGET_DIR:-$root/target}/cluster/${module/\//-}"
readonly stamp="$programs/built.sha256"
# What the sources, the compiler's cache and the programs come to, with room for the rest of the machine.
readonly free_gib_min=10

if ! command -v go >/dev/null; then
    echo "build: Go is missing; see https://go.dev/dl (1.26 or later)" >&2
    exit 1
fi
cd "$root/tests/cluster/$module"
wanted=$(cat go.mod go.sum | sha256sum)
if [[ -f $stamp && $(<"$stamp") == "$wanted" ]]; then
    echo "$programs"
    exit 0
fi
mkdir -p "$programs"
rm -f "$stamp"
if (($(df --output=avail --block-size=1G "$programs" | tail -1) < free_gib_min)); then
    echo "build: less than $free_gib_min GiB are free at $programs" >&2
    exit 1
fi

# A server carries its version by flags of its linker; without them it says that it is of none.
flags="-s -w"
release=$(go list -m -f '{{.Version}}' "$(go list -f '{{.Module.Path}}' tool | grep -E '^(k8s.io/kubernetes|helm.sh/helm)' | head -1)")
if [[ $module == kubernetes/* ]]; then
    minor=${release#v1.}
    for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
        flags+=" -X $package.gitVersion=$release -X $package.gitMajor=1 -X $package.gitMinor=${minor%%.*}"
    done
fi

echo "build: $module $release (minutes, the first time)" >&2
# One after the other and behind everything else: the machine may be shared.
for tool in $(go list -f '{{.ImportPath}}' tool); do
    name=${tool##*/}
    # The server's program is named by its module: `go.etcd.io/etcd/server/v3`.
    [[ $name == v3 ]] && name=etcd
    CGO_ENABLED=0 nice -n 19 go build -p 1 -mod=readonly -trimpath -ldflags "$flags" -o "$programs/$name" "$tool" >&2
done
echo "$wanted" >"$stamp"
echo "$programs"
