#!/usr/bin/env bash
# A sidecar with a catalogue and one consent, asked by a client in the language that is named: `run.sh python`. Works in a
# folder that is gone afterwards, and ends what it started. `consentd` is found on the path.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
language=${1:?"which language? one of: python node go java rust"}
client="$here/$language/run.sh"
if [[ ! -x $client ]]; then
    echo "run.sh: there is no client in \`$language\`" >&2
    exit 1
fi

folder=$(mktemp -d)
sidecar=
finish() {
    status=$?
    if [[ -n $sidecar ]]; then
        kill "$sidecar" 2>/dev/null || true
        wait "$sidecar" 2>/dev/null || true
    fi
    if [[ $status -ne 0 && -f $folder/log ]]; then
        tail -n 5 "$folder/log" >&2
    fi
    rm -rf "$folder"
}
trap finish EXIT

# `consentd ledger` reads it, here and where the client withdraws.
export CONSENTD_LEDGER_FILE="$folder/ledger.jsonl"
consentd ledger catalogue "$here/../shop/catalogue.json" >/dev/null
consentd ledger grant crm:42 advertising.targeted --channel web >/dev/null
: >"$folder/log"
consentd serve --data-dir "$folder/data" --listen 127.0.0.1:0 --admin off >/dev/null 2>"$folder/log" &
sidecar=$!

address=
for _ in {1..150}; do
    kill -0 "$sidecar"
    address=$(sed -n 's/.* tcp="\?\(127\.0\.0\.1:[0-9]*\).*/\1/p' "$folder/log")
    if [[ -n $address ]] && consentd ask crm:42 advertising.targeted --channel web --address "$address" >/dev/null 2>&1; then
        break
    fi
    sleep 0.2
done
"$client" "${address:?"the sidecar does not listen"}" crm:42 advertising.targeted web
