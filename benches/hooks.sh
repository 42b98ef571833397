#!/usr/bin/env bash
# What the hooks for tests cost a real run: `throughput` of three builds of the same code, in turn.
#
#   benches/hooks.sh [ROUNDS] [KEYS] [PARALLELISM]      5, 1000 and 1 where nothing is given
#
# bare: without the test kit (`--no-default-features`): no clock that can be paused, no points, no
# simulation. shipped: as `cargo build` makes it. teeth: with the engine's deliberate faults as well, all off.
#
# Each run measures the plain loop too, and what is compared is the ratio to that one, since a machine's
# speed changes from minute to minute. Rounds go through the builds in turn. About 25 s for each run;
# the first time, the bare build compiles the SDK once more. On a quiet machine only.
set -euo pipefail
cd "$(dirname "$0")/.."
rounds="${1:-5}" keys="${2:-1000}" parallelism="${3:-1}"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

built() {
    local name="$1"
    shift
    cargo bench --bench throughput --no-run "$@" 2>&1 | tee "$work/log" >&2
    cp "$(sed -n 's/.*throughput.rs (\(.*\))$/\1/p' "$work/log")" "$work/$name"
}
built bare --no-default-features
built teeth --features teeth
built shipped

cores="$(awk '/Cpus_allowed_list/ { print $2 }' /proc/self/status)"
for _ in $(seq "$rounds"); do
    for name in bare shipped teeth; do
        line="$(taskset -c "$cores" "$work/$name" "$keys" "$parallelism" | tail -n 1)"
        echo "$name: $line" >&2
        echo "$line" | awk -F'|' -v name="$name" '{ print name, $4 + 0, $5 + 0 }' >>"$work/runs"
    done
done

echo "$keys keys, parallelism $parallelism, $rounds rounds:"
echo "| build | million records/s, median | ratio to the plain loop: median | least | most |"
echo "|---|---|---|---|---|"
for name in bare shipped teeth; do
    rate="$(awk -v n="$name" '$1 == n { print $2 }' "$work/runs" | sort -g | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }')"
    awk -v n="$name" '$1 == n { print $3 }' "$work/runs" | sort -g | awk -v n="$name" -v rate="$rate" \
        '{ v[NR] = $1 } END { printf "| %s | %s | %s | %s | %s |\n", n, rate, v[int((NR + 1) / 2)], v[1], v[NR] }'
done
