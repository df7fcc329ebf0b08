#!/usr/bin/env bash
# What a small pod makes of questions: percentiles, processor time and memory of a sidecar under 200m of a processor and 64 MiB,
# beside one without limits, each in a control group of its own (version 1 or 2), with the load from outside. As root:
#
#   benches/small.sh [CONSENTD]        target/release/consentd unless another is named; some three minutes
#
# Environment: SUBJECTS (10000, which is what so much memory is enough for), RATES ("500 1000 2000"), SECONDS_EACH (10), IDLE_SECONDS (10), CPU (200, in thousandths of a
# processor), MEMORY (64, in MiB), WHICH ("unlimited limited"). It is printed above the figures, as it was taken. A load that cannot
# be put on, answers without evidence, and answers that are mostly no ALLOW are the end of it: they would measure something else.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly consentd=$(realpath "${1:-target/release/consentd}")
readonly subjects=${SUBJECTS:-10000} rates=${RATES:-500 1000 2000} seconds=${SECONDS_EACH:-10} idle=${IDLE_SECONDS:-10}
readonly cpu=${CPU:-200} memory=${MEMORY:-64} which=${WHICH:-unlimited limited}
readonly period=100000 root=/sys/fs/cgroup

fail() {
    echo "small.sh: $1" >&2
    exit 1
}
[[ $(id -u) -eq 0 ]] || fail "control groups are made by root"
[[ -x $consentd ]] || fail "there is no $consentd: cargo build --release"

work=$(mktemp -d)
groups=()
sidecar=
finish() {
    [[ -z $sidecar ]] || kill "$sidecar" 2>/dev/null || true
    wait 2>/dev/null || true
    rm -rf "$work"
    for group in "${groups[@]}"; do rmdir "$group" 2>/dev/null || true; done
}
trap finish EXIT

# Folders of the group's controllers: on version 2 both are one.
make_group() {
    local name=consentd-small-$1-$$
    if [[ -e $root/cgroup.controllers ]]; then
        echo "+cpu +memory" >"$root/cgroup.subtree_control"
        cpu_group=$root/$name memory_group=$root/$name
    else
        cpu_group=$root/cpu/$name memory_group=$root/memory/$name
        account_group=$root/cpuacct/$name
        mkdir -p "$account_group"
        groups+=("$account_group")
    fi
    mkdir -p "$cpu_group" "$memory_group"
    groups+=("$cpu_group" "$memory_group")
}
limit_cpu() {
    if [[ -e $root/cgroup.controllers ]]; then
        echo "$((period * cpu / 1000)) $period" >"$cpu_group/cpu.max"
    else
        echo "$period" >"$cpu_group/cpu.cfs_period_us"
        echo "$((period * cpu / 1000))" >"$cpu_group/cpu.cfs_quota_us"
    fi
}
limit_memory() {
    local file=memory.max
    [[ -e $root/cgroup.controllers ]] || file=memory.limit_in_bytes
    echo "$((memory << 20))" >"$memory_group/$file"
}
number() { awk -v key="$2" '$1 == key { print $2 }' "$1"; }
# Microseconds of processor time that the group has taken.
cpu_us() {
    if [[ -e $root/cgroup.controllers ]]; then number "$cpu_group/cpu.stat" usage_usec; else
        echo $(($(<"$account_group/cpuacct.usage") / 1000))
    fi
}
throttled() { number "$cpu_group/cpu.stat" nr_throttled; }
killed() {
    local file=memory.events
    [[ -e $root/cgroup.controllers ]] || file=memory.oom_control
    number "$memory_group/$file" oom_kill
}
of_status() { awk -v key="$1:" '$1 == key { print $2 }' "/proc/$sidecar/status"; }
wakeups() { cat /proc/"$sidecar"/task/*/status | awk '$1 == "voluntary_ctxt_switches:" { sum += $2 } END { print sum }'; }
field() { sed -E "s/.*\"$1\":([0-9.]+).*/\1/" <<<"$2"; }
ratio() { awk -v a="$1" -v b="$2" -v d="$3" 'BEGIN { printf "%.*f", d, (b ? a / b : 0) }'; }

start() {
    local folder=$work/$1
    (
        echo "$BASHPID" >"$cpu_group/cgroup.procs"
        echo "$BASHPID" >"$memory_group/cgroup.procs"
        [[ -z ${account_group:-} ]] || echo "$BASHPID" >"$account_group/cgroup.procs"
        exec "$consentd" serve --data-dir "$folder" --ledger "$work/ledger.jsonl" --uds "$work/$1.sock" --listen off --admin off
    ) >"$work/$1.log" 2>&1 &
    sidecar=$!
    for _ in $(seq 600); do
        ! grep -q ' ready$' "$work/$1.log" || return 0
        kill -0 "$sidecar" 2>/dev/null || break
        sleep 0.1
    done
    cat "$work/$1.log" >&2
    fail "the sidecar did not become ready"
}
# Puts on a load, of a rate for some seconds, and prints the report.
load() {
    local report status=0
    report=$("$consentd" bench run --address "unix:$work/$kind.sock" --subjects "crm:{1..$subjects}" --json \
        --rate "$1" --warmup 0s --duration "${2}s") || status=$?
    kill -0 "$sidecar" 2>/dev/null || fail "the sidecar is gone; killed by the kernel: $(killed)"
    # With 1 it says that some were not answered, which the figures show.
    [[ $status -le 1 && $report == *'"answers":'* ]] || fail "no load of $1 a second could be put on; consentd bench run: $status"
    [[ $(field answers_without_evidence "$report") -eq 0 ]] || fail "answers without evidence: $report"
    [[ $report == *'"ALLOW":'* && $(($(field ALLOW "$report") * 2)) -gt $(field answers "$report") ]] ||
        fail "most answers are no ALLOW: $report"
    echo "$report"
}

"$consentd" bench ledger --subjects "$subjects" --out "$work/ledger.jsonl" >/dev/null
printf 'SUBJECTS=%s RATES="%s" SECONDS_EACH=%s IDLE_SECONDS=%s CPU=%s MEMORY=%s WHICH="%s" benches/small.sh\n\n' \
    "$subjects" "$rates" "$seconds" "$idle" "$cpu" "$memory" "$which"
echo "| subjects | limits | questions/s | answered/s | p50 | p99 | p99.9 | processor time a question | wake-ups a question | periods throttled |"
echo "|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|"
notes=()
for kind in $which; do
    make_group "$kind"
    name="none"
    if [[ $kind == limited ]]; then
        name="${cpu}m, $memory MiB"
        limit_memory
    fi
    start "$kind"
    # Building the local copy is not what is measured.
    [[ $kind != limited ]] || limit_cpu
    sleep 3
    before=$(cpu_us) slept=$(wakeups)
    sleep "$idle"
    idle_cpu=$(ratio $(($(cpu_us) - before)) "$idle" 0) idle_wakeups=$(ratio $(($(wakeups) - slept)) "$idle" 0)
    # Everybody once, so that the store and its cache are in use.
    load 2000 $((1 + subjects / 2000)) >/dev/null
    for rate in $rates; do
        load "$rate" 2 >/dev/null
        before=$(cpu_us) slept=$(wakeups) held=$(throttled)
        report=$(load "$rate" "$seconds")
        questions=$(field answers "$report")
        used=$(($(cpu_us) - before)) woken=$(($(wakeups) - slept)) held=$(($(throttled) - held))
        ms() { ratio "$(field "$1" "$report")" 1000 2; }
        echo "| $subjects | $name | $rate | $(ratio "$questions" "$(field seconds "$report")" 0) | $(ms p50_us) ms | $(ms p99_us) ms | $(ms p99_9_us) ms |" \
            "$(ratio "$used" "$questions" 1) µs | $(ratio "$woken" "$questions" 2) | $held of $((seconds * 10)) |"
    done
    notes+=("$name: idle $idle_cpu µs of a processor and $idle_wakeups wake-ups a second;" \
        "memory of its own $(($(of_status RssAnon) >> 10)) MiB, with pages of files $(($(of_status VmRSS) >> 10)) MiB;" \
        "killed by the kernel: $(killed)."$'\n')
    kill "$sidecar"
    wait "$sidecar" || fail "the sidecar ended with $?"
    sidecar=
done
echo
printf ' %s' "${notes[@]}"
