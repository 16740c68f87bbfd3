#!/usr/bin/env bash
# What an agent costs: 1,000 times /bin/true, 4 at a time, journal, shim and git checks on, beside
# make -j4 and xargs -P4 over the same 1,000, in one go. Prints a table; exits 1 if an agent costs
# more than LIMIT_MS (3).
#
#   benches/overhead.sh [AGENTS] [ROUNDS]
set -euo pipefail
cd "$(dirname "$0")/.."
agents=${1:-1000}
rounds=${2:-5}
limit=${LIMIT_MS:-3}

cargo build --release --quiet
supervise=$PWD/target/release/supervise
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
git init -q -b main "$dir/repo"
cd "$dir/repo"
git config user.name bench
git config user.email bench@example.invalid
echo bench > README
git add README
git commit -qm begin

{
  printf '[session]\nname = "overhead"\nmax_concurrent = 4\n'
  for i in $(seq "$agents"); do printf '[[agent]]\nid = "a%d"\ncommand = ["/bin/true"]\n' "$i"; done
} > "$dir/session.toml"
{
  printf 'all:'
  for i in $(seq "$agents"); do printf ' a%d' "$i"; done
  printf '\n'
  for i in $(seq "$agents"); do printf 'a%d:\n\t@/bin/true\n' "$i"; done
} > "$dir/Makefile"
seq "$agents" > "$dir/list"

run_supervise() { "$supervise" run "$dir/session.toml" > "$dir/out" 2> "$dir/err"; }
run_make() { make -s -j4 -f "$dir/Makefile"; }
run_xargs() { xargs -P4 -n1 /bin/true < "$dir/list"; }

# Seconds of the median of the rounds.
median() {
  for _ in $(seq "$rounds"); do
    local start end
    start=$(date +%s%N)
    "$1" || { cat "$dir/err" >&2; exit 2; }
    end=$(date +%s%N)
    echo $(((end - start) / 1000))
  done | sort -n | awk '{ a[NR] = $1 } END { printf "%.6f", a[int((NR + 1) / 2)] / 1e6 }'
}

ours=$(median run_supervise)
make=$(median run_make)
xargs=$(median run_xargs)

awk -v n="$agents" -v r="$rounds" -v ours="$ours" -v make="$make" -v xargs="$xargs" -v limit="$limit" 'BEGIN {
  printf "%d x /bin/true, 4 at a time, median of %d\n\n", n, r
  printf "%-12s %9s %12s %10s\n", "", "seconds", "ms an agent", "ours / it"
  printf "%-12s %9.2f %12.2f %10s\n", "supervise", ours, ours * 1000 / n, "1.0"
  printf "%-12s %9.2f %12.2f %10.1f\n", "make -j4", make, make * 1000 / n, ours / make
  printf "%-12s %9.2f %12.2f %10.1f\n", "xargs -P4", xargs, xargs * 1000 / n, ours / xargs
  ok = ours * 1000 / n <= limit
  printf "\nlimit: %s ms an agent: %s\n", limit, ok ? "met" : "NOT MET"
  exit !ok
}'
