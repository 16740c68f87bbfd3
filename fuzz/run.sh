#!/usr/bin/env bash
# Fuzzes every target (or those named) for some seconds each, and prints what came of it.
#
#   fuzz/run.sh [SECONDS [TARGET…]]     600 seconds and all targets, if not told otherwise
#
# Needs cargo and a C++ compiler; brings cargo-fuzz itself. The stable toolchain will do. JOBS=2 runs two targets at
# a time. What is found stays in fuzz/artifacts/TARGET; an input that adds coverage goes to fuzz/target/runs/TARGET/corpus,
# and fuzz/minimise.sh takes what is worth keeping from there.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-600}
shift || true
if [ $# -gt 0 ]; then targets=("$@"); else mapfile -t targets < <(ls fuzz/fuzz_targets | sed 's/\.rs$//'); fi
work=$PWD/fuzz/target/runs
mkdir -p "$work"

cargo fuzz --version >/dev/null 2>&1 || cargo install cargo-fuzz --locked

# No sanitizer: the code that is fuzzed is safe Rust, and sanitizers need a nightly compiler.
for target in "${targets[@]}"; do
  # Sixteen units build faster than one, and run nearly as fast.
  cargo fuzz build --sanitizer none --codegen-units 16 "$target"
done

fuzz() {
  local target=$1 found=$work/$1/corpus
  mkdir -p "$found" "fuzz/artifacts/$target"
  # The first corpus is where new inputs go; the one that is kept is only read.
  nice -n 10 cargo fuzz run --sanitizer none --codegen-units 16 "$target" "$found" "fuzz/corpus/$target" -- \
    -max_total_time="$seconds" -timeout=25 -rss_limit_mb=4096 -max_len=4096 -print_final_stats=1 \
    >"$work/$target/log" 2>&1 || true
}

printf '%-14s %12s %8s %8s %6s\n' target executions each/s corpus finds
running=0
for target in "${targets[@]}"; do
  mkdir -p "$work/$target"
  fuzz "$target" &
  running=$((running + 1))
  if [ "$running" -ge "${JOBS:-1}" ]; then
    wait -n
    running=$((running - 1))
  fi
done
wait

total=0
for target in "${targets[@]}"; do
  log=$work/$target/log
  figure() { sed -n "s/^stat::$1: *//p" "$log" | tail -1; }
  finds=$(find "fuzz/artifacts/$target" -type f | wc -l)
  total=$((total + finds))
  printf '%-14s %12s %8s %8s %6s\n' "$target" "$(figure number_of_executed_units)" "$(figure average_exec_per_sec)" \
    "$(find "$work/$target/corpus" "fuzz/corpus/$target" -type f | wc -l)" "$finds"
done
[ "$total" -eq 0 ]
