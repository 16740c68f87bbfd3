#!/usr/bin/env bash
# What waiting costs: the memory of the supervisor, of its fork server and of its shims while agents do nothing,
# and how often the supervisor wakes up meanwhile. Prints a table; exits 1 if a limit is not met.
#
#   benches/idle.sh [--agents "4 10 100 1000"] [--seconds N] [--tsv FILE]
set -euo pipefail
cd "$(dirname "$0")/.."
sizes="4 10 100 1000"
seconds=10
tsv=
while [ $# -gt 0 ]; do
  case $1 in
    --agents) sizes=$2; shift 2 ;;
    --seconds) seconds=$2; shift 2 ;;
    --tsv) tsv=$(realpath "$2"); shift 2 ;;
    *) echo "unknown argument $1; see the head of $0" >&2; exit 2 ;;
  esac
done
# A running agent is an open file of its supervisor.
ulimit -n "$(ulimit -H -n)"

cargo build --release --quiet
supervise=$PWD/target/release/supervise
dir=$(mktemp -d)
pid=
finish() {
  if [ -n "$pid" ]; then kill -INT "$pid" 2> /dev/null || true; wait "$pid" 2> /dev/null || true; fi
  pid=
}
trap 'finish; rm -rf "$dir"' EXIT

# Context switches of every thread: each time one is woken up it makes at least one.
switches() { awk '/ctxt_switches/ { n += $2 } END { print n }' /proc/"$pid"/task/*/status; }
threads() { ls /proc/"$pid"/task; }
# KiB that are there because of this process alone: its own pages, and its share of those that several have.
share() { awk '/^Pss:/ { n += $2 } END { print n }' /proc/"$1"/smaps_rollup; }
private() { awk '/^Private_(Clean|Dirty)/ { n += $2 } END { print n }' /proc/"$1"/smaps_rollup; }

for n in $sizes; do
  mkdir "$dir/$n"
  git init -q -b main "$dir/$n/repo"
  cd "$dir/$n/repo"
  git config user.name bench
  git config user.email bench@example.invalid
  git commit -q --allow-empty -m begin
  {
    printf '[session]\nmax_concurrent = %d\n' "$n"
    for i in $(seq "$n"); do
      printf '[[agent]]\nid = "a%d"\ncommand = ["sh", "-c", "echo > f%d; exec sleep 6000"]\nfiles = ["f%d"]\n' "$i" "$i" "$i"
    done
  } > "$dir/$n/session.toml"
  "$supervise" run "$dir/$n/session.toml" > /dev/null 2>&1 &
  pid=$!
  until [ "$(find . -maxdepth 1 -name 'f*' | wc -l)" -eq "$n" ]; do
    kill -0 "$pid" 2> /dev/null || { echo "the run with $n agents has ended" >&2; exit 2; }
    sleep 0.1
  done
  sleep 3 # until what a start leaves to do (snapshot, threads that end) is done

  before=$(switches)
  those=$(threads)
  sleep "$seconds"
  woken=$(($(switches) - before))
  [ "$(threads)" = "$those" ] || woken=99999 # threads came or went: somebody was awake
  rss=$(awk '/VmRSS/ { print $2 }' /proc/$pid/status)
  largest=0 all=0 server=0
  for child in $(cat /proc/$pid/task/*/children); do
    if [ "$(cat /proc/"$child"/comm)" = supervise-shims ]; then server=$(share "$child"); continue; fi
    kib=$(private "$child")
    [ "$kib" -gt "$largest" ] && largest=$kib
    all=$((all + $(share "$child")))
  done
  printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$n" "$rss" "$server" "$largest" "$all" "$woken" >> "$dir/table"
  finish
  cd "$dir"
done

# In KiB, as they were counted.
[ -z "$tsv" ] || { printf 'agents\tsupervisor\tserver\tlargest_shim\tshims\twake_ups\n'; cat "$dir/table"; } > "$tsv"

awk -F '\t' -v s="$seconds" 'BEGIN {
    printf "agents that do nothing; memory in MiB\n\n%8s %12s %12s %15s %15s %16s\n", "agents", "supervisor", "fork server", "largest shim", "an agent, all", "wake-ups in " s " s"
  }
  {
    printf "%8d %12.1f %12.2f %15.2f %15.2f %16d\n", $1, $2 / 1024, $3 / 1024, $4 / 1024, ($2 + $3 + $5) / 1024 / $1, $6
    if ($1 <= 4 && $2 >= 20 * 1024 || $4 >= 2 * 1024 || $6 > 0) bad = 1
  }
  END {
    printf "\nlimits: supervisor 20 MiB with 4 agents, a shim 2 MiB (private), no wake-ups: %s\n", bad ? "NOT MET" : "met"
    exit bad
  }' "$dir/table"
