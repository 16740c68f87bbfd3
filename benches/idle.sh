#!/usr/bin/env bash
# What waiting costs: the supervisor's and the shims' memory with 4 idle agents, and how often the
# supervisor wakes up meanwhile. Prints a table; exits 1 if a limit is not met.
#
#   benches/idle.sh [SECONDS]
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-10}

cargo build --release --quiet
supervise=$PWD/target/release/supervise
dir=$(mktemp -d)
git init -q -b main "$dir/repo"
cd "$dir/repo"
git config user.name bench
git config user.email bench@example.invalid
git commit -q --allow-empty -m begin
for i in 1 2 3 4; do
  printf '[[agent]]\nid = "a%d"\ncommand = ["sh", "-c", "echo > f%d; exec sleep 600"]\nfiles = ["f%d"]\n' "$i" "$i" "$i"
done > "$dir/session.toml"
"$supervise" run "$dir/session.toml" > /dev/null 2>&1 &
pid=$!
trap 'kill -INT $pid 2>/dev/null || true; wait $pid 2>/dev/null || true; rm -rf "$dir"' EXIT
until [ -e f1 ] && [ -e f2 ] && [ -e f3 ] && [ -e f4 ]; do sleep 0.1; done
sleep 3 # until what a start leaves to do (snapshot, threads that end) is done

# Context switches of every thread: each time one is woken up it makes at least one.
switches() { awk '/ctxt_switches/ { n += $2 } END { print n }' /proc/$pid/task/*/status; }
threads() { ls /proc/$pid/task; }
before=$(switches)
those=$(threads)
sleep "$seconds"
woken=$(($(switches) - before))
[ "$(threads)" = "$those" ] || woken=99999 # threads came or went: somebody was awake
rss=$(awk '/VmRSS/ { print $2 }' /proc/$pid/status)
shim=0
for child in $(cat /proc/$pid/task/*/children); do
  private=$(awk '/^Private_(Clean|Dirty)/ { n += $2 } END { print n }' /proc/"$child"/smaps_rollup)
  [ "$private" -gt "$shim" ] && shim=$private
done

awk -v rss="$rss" -v shim="$shim" -v woken="$woken" -v s="$seconds" 'BEGIN {
  printf "4 idle agents\n\n%-44s %10s %10s\n", "", "measured", "limit"
  printf "%-44s %6.1f MiB %6d MiB\n", "supervisor, resident", rss / 1024, 20
  printf "%-44s %6.2f MiB %6d MiB\n", "largest shim, private", shim / 1024, 2
  printf "%-44s %10d %10d\n", "supervisor, wake-ups in " s " s", woken, 0
  ok = rss < 20 * 1024 && shim < 2 * 1024 && woken == 0
  printf "\n%s\n", ok ? "met" : "NOT MET"
  exit !ok
}'
