#!/usr/bin/env bash
# A shop behind a real Envoy, which asks consentd about every request. Works in a new folder, and ends all that it started.
# `envoy`, `consentd` and `curl` are found on the path; ENVOY_PORT is 10000 unless it says another, and the next is taken too.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=${1:-consentd-envoy-example}
port=${ENVOY_PORT:-10000}
mkdir "$folder"
cd "$folder"

started=()
finish() {
    status=$?
    for process in "${started[@]}"; do
        kill "$process" 2>/dev/null || true
    done
    wait
    if [[ $status -ne 0 ]]; then
        tail -n 5 -- *.log >&2 || true
    fi
}
trap finish EXIT

# Until a command succeeds, half a minute at most.
until_true() {
    for _ in {1..150}; do
        if "$@" >/dev/null 2>&1; then
            return
        fi
        sleep 0.2
    done
    echo "run.sh: failed for 30 s: $*" >&2
    "$@"
}

# Prints the status and body of a request.
get() {
    local path=$1
    shift
    local said
    said=$(curl --silent --show-error --write-out '%{stderr}%{http_code}' "$@" "http://127.0.0.1:$port$path" 2>status)
    # The name of the evidence differs from run to run.
    echo "   $(<status)  $(sed -E 's/"evidence_id":"[^"]*",//' <<<"${said:-no body: nobody answered}")"
}

serve() {
    consentd serve --config "$here/consentd.toml" 2>>consentd.log &
    started+=($!)
    until_true consentd ask crm:43 advertising.targeted --channel web --address unix:consentd.sock
}

echo "1  A ledger: crm:42 and crm:43 agreed to targeted advertising"
export CONSENTD_LEDGER_FILE=ledger.jsonl
consentd ledger catalogue "$here/../shop/catalogue.json"
consentd ledger grant crm:42 advertising.targeted --channel web
consentd ledger grant crm:43 advertising.targeted --channel web

echo "2  consentd on a Unix socket, and Envoy in front of the shop"
serve
sed "s/\b10001\b/$((port + 1))/; s/\b10000\b/$port/" "$here/envoy.yaml" >envoy.yaml
envoy --config-path envoy.yaml --concurrency 1 --disable-hot-restart --log-level warning 2>envoy.log &
started+=($!)
until_true curl --silent "http://127.0.0.1:$port/"

echo "3  The same page for crm:42, for crm:44, and for nobody in particular"
get /users/42/offers
get /users/44/offers
get /offers

echo "4  crm:43 by a header, with Global Privacy Control, and with a verdict of its own making"
get /offers --header 'x-user-id: 43'
get /offers --header 'x-user-id: 43' --header 'sec-gpc: 1'
get /users/44/offers --header 'x-consentd-verdict: ALLOW'

echo "5  crm:42 withdraws, and the next request carries the token of that"
token=$(consentd ledger withdraw crm:42 advertising.targeted --channel web | sed -n 's/.*at_least_as_fresh: //p')
get /users/42/offers --header "x-ledger-token: $token"

echo "6  consentd is killed: nothing passes; and started again"
kill -9 "${started[0]}"
wait "${started[0]}" 2>/dev/null || true
get /users/43/offers
serve
get /users/43/offers

echo "7  The evidence of every answer"
kill "${started[@]: -1}"
wait "${started[@]: -1}"
consentd evidence verify --dir data/evidence
