#!/usr/bin/env bash
# Tries the chart and the webhook against real API servers on the loopback, with real Helm (README.md says what is checked).
#
#   run.sh [KUBERNETES:HELM …]    such as `run.sh 1.36:4`; without any, all pairs below
#
# Needs Go, the Go module proxy, openssl, python3, and root or unprivileged user namespaces. The first time takes half an
# hour of building, later ones a few minutes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
root=$(cd ../.. && pwd)
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$root/target}"

# The newest of both, and the oldest that the chart is for, with the older Helm.
pairs=("$@")
[[ ${#pairs[@]} -gt 0 ]] || pairs=(1.36:4 1.29:3)

for program in go openssl python3 unshare ip; do
    if ! command -v "$program" >/dev/null; then
        echo "run: $program is missing; on Debian: apt-get install golang openssl python3 util-linux iproute2" >&2
        exit 1
    fi
done
# A network of its own, in which pods get addresses; as root without a user namespace, which containers may forbid.
isolated=(unshare --net)
[[ $(id -u) -eq 0 ]] || isolated=(unshare --user --map-root-user --net)

# A consentd that was built already may be named.
consentd=${CONSENTD:-}
if [[ -z $consentd ]]; then
    (cd "$root" && cargo build --locked --bin consentd)
    consentd=$CARGO_TARGET_DIR/debug/consentd
fi
for pair in "${pairs[@]}"; do
    kubernetes=$(./build.sh "kubernetes/${pair%:*}")
    helm=$(./build.sh "helm/${pair#*:}")
    echo "run: Kubernetes ${pair%:*} with Helm ${pair#*:}"
    "${isolated[@]}" python3 -B check.py "$kubernetes" "$helm/helm" "$consentd"
done
echo "run: everything holds"
