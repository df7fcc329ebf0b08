#!/usr/bin/env bash
# One ledger on a real NATS server, two sidecars, and a withdrawal that both know. Works in a new folder, and ends all that
# it started. `nats-server` and `consentd` are found on the path; NATS_PORT is 4222 unless it says another.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=${1:-consentd-nats-example}
port=${NATS_PORT:-4222}
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

echo "1  A NATS server"
nats-server --config "$here/nats.conf" --port "$port" >nats.log 2>&1 &
started+=($!)
until_true bash -c "exec 3<>/dev/tcp/127.0.0.1/$port"

echo "2  The ledger: a stream, and the key under which it names subjects"
# Writers and sidecars read the same variables.
export CONSENTD_LEDGER_KIND=nats
export CONSENTD_LEDGER_URL=nats://127.0.0.1:$port
export CONSENTD_LEDGER_SUBJECT_KEY_FILE=subject.key
# Evidence goes to where the ledger is.
export CONSENTD_EVIDENCE_SHIP=nats
until_true consentd ledger init --make-subject-key
consentd ledger catalogue "$here/../shop/catalogue.json"
consentd ledger grant crm:42 advertising.targeted --channel web

echo "3  Two sidecars"
for name in one two; do
    consentd serve --data-dir "$name" --uds "$name.sock" --listen off --admin off 2>"$name.log" &
    started+=($!)
done
for name in one two; do
    until_true consentd ask crm:42 advertising.targeted --channel web --address "unix:$name.sock"
done

# Prints a sidecar's answer; a DENY is an answer and no failure.
ask() {
    local name=$1
    shift
    local answer
    answer=$(consentd ask crm:42 advertising.targeted --channel web --address "unix:$name.sock" "$@") || [[ $? -eq 1 ]]
    echo "   $name  ${answer%%$'\n'*}"
}

echo "4  May we show crm:42 targeted advertising?"
ask one
ask two

echo "5  A withdrawal, and each sidecar asked with its token"
token=$(consentd ledger withdraw crm:42 advertising.targeted --channel web | sed -n 's/.*at_least_as_fresh: //p')
ask one --at-least-as-fresh "$token"
ask two --at-least-as-fresh "$token"

echo "6  The evidence of both, gathered and verified"
# A sidecar that is told to stop ships what is left.
kill "${started[@]:1}"
wait "${started[@]:1}"
consentd evidence collect --from "$CONSENTD_LEDGER_URL" --into collected
for folder in collected/*/; do
    consentd evidence verify --dir "$folder"
done
