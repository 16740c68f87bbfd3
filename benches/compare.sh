#!/usr/bin/env bash
# What supervising costs beside programs that only start processes: /bin/true as an agent, 4 at a time, with
# journal, shim, gate and git checks on, beside a bare loop of posix_spawn(3), make, xargs, GNU parallel, ninja
# and pueue over the same number, in one go. Three shapes: flat; a DAG of layers, each agent after one of the
# layer before; a chain, each after the one before. Prints a table, writes it as TSV, and exits 1 if a limit is
# not met.
#
#   benches/compare.sh [--sizes "100 1000"] [--rounds N] [--tsv FILE] [--install]
#
# --install brings the peers: parallel and ninja by apt-get, pueue by cargo into .tools. One that is not there is
# left out of the table, and the table says so.
set -euo pipefail
cd "$(dirname "$0")/.."
sizes="100 1000"
rounds=3
tsv=
install=
while [ $# -gt 0 ]; do
  case $1 in
    --sizes) sizes=$2; shift 2 ;;
    --rounds) rounds=$2; shift 2 ;;
    --tsv) tsv=$(realpath "$2"); shift 2 ;;
    --install) install=1; shift ;;
    *) echo "unknown argument $1; see the head of $0" >&2; exit 2 ;;
  esac
done

PATH=$PWD/.tools/bin:$PATH
if [ -n "$install" ]; then
  command -v parallel > /dev/null && command -v ninja > /dev/null || { apt-get update -qq && apt-get install -qq -y parallel ninja-build; } > /dev/null
  command -v pueued > /dev/null || cargo install --quiet --locked --root .tools pueue
fi
cargo build --release --quiet
cargo build --release --quiet --bench spawn
supervise=$PWD/target/release/supervise
spawn=$(find target/release/deps -maxdepth 1 -name 'spawn-*' -executable -type f -printf '%T@ %p\n' | sort -rn | head -1 | cut -d' ' -f2)
spawn=$PWD/$spawn

dir=$(mktemp -d)
cleanup() {
  # It is started in a subshell, so that no variable would tell.
  if [ -e "$dir/pueue.yml" ]; then pueue --config "$dir/pueue.yml" shutdown > /dev/null 2>&1 || true; fi
  rm -rf "$dir"
}
trap cleanup EXIT
git init -q -b main "$dir/repo"
cd "$dir/repo"
git config user.name bench
git config user.email bench@example.invalid
git commit -q --allow-empty -m begin

# after SHAPE N: for each of N agents its number and the number of the one that it runs after, or 0.
after() {
  awk -v shape="$1" -v n="$2" 'BEGIN {
    width = int(sqrt(n))
    for (i = 1; i <= n; i++)
      print i, shape == "chain" ? i - 1 : (shape == "dag" && i > width ? i - width : 0)
  }'
}

make_inputs() { # SHAPE N
  after "$1" "$2" > "$dir/after"
  awk 'BEGIN { print "[session]\nname = \"compare\"\nmax_concurrent = 4" }
    { printf "[[agent]]\nid = \"a%d\"\ncommand = [\"/bin/true\"]\n", $1
      if ($2) printf "depends_on = [\"a%d\"]\n", $2 }' "$dir/after" > "$dir/session.toml"
  awk '{ all = all " a" $1; rules = rules "a" $1 ":" ($2 ? " a" $2 : "") "\n\t@/bin/true\n" }
    END { printf "all:%s\n%s", all, rules }' "$dir/after" > "$dir/Makefile"
  awk 'BEGIN { print "rule t\n  command = /bin/true" }
    { printf "build a%d: t%s\n", $1, $2 ? " a" $2 : "" }' "$dir/after" > "$dir/build.ninja"
  seq "$2" > "$dir/list"
}

run_supervise() { "$supervise" run "$dir/session.toml" > "$dir/out" 2> "$dir/err"; }
run_spawn() { "$spawn" --bench "$1"; }
run_make() { make -s -j4 -f "$dir/Makefile"; }
run_ninja() { ninja -j4 -f "$dir/build.ninja" > "$dir/out"; rm -f .ninja_log .ninja_deps; }
run_xargs() { xargs -P4 -n1 /bin/true < "$dir/list"; }
run_parallel() { parallel -j4 /bin/true < "$dir/list"; }
run_pueue() {
  if [ ! -e "$dir/pueue.yml" ]; then
    mkdir -p "$dir/pueue"
    printf 'shared:\n  pueue_directory: %s\n  runtime_directory: %s\n  use_unix_socket: true\nclient: {}\ndaemon: {}\nprofiles: {}\n' \
      "$dir/pueue" "$dir/pueue" > "$dir/pueue.yml"
    pueued --config "$dir/pueue.yml" -d > /dev/null 2>&1
    for _ in $(seq 100); do pueue --config "$dir/pueue.yml" status > /dev/null 2>&1 && break; sleep 0.05; done
    pueue --config "$dir/pueue.yml" parallel 4 > /dev/null
  fi
  while read -r _; do pueue --config "$dir/pueue.yml" add -- /bin/true > /dev/null; done < "$dir/list"
  pueue --config "$dir/pueue.yml" wait > /dev/null
  pueue --config "$dir/pueue.yml" clean > /dev/null
}

# Seconds of the median of the rounds.
median() {
  for _ in $(seq "$rounds"); do
    local start end
    start=$(date +%s%N)
    "$@" || { cat "$dir/err" >&2; exit 2; }
    end=$(date +%s%N)
    echo $(((end - start) / 1000))
  done | sort -n | awk '{ a[NR] = $1 } END { printf "%.6f", a[int((NR + 1) / 2)] / 1e6 }'
}

measure() { # SHAPE N NAME COMMAND…
  local shape=$1 n=$2 name=$3
  shift 3
  printf '%s\t%s\t%s\t%s\n' "$shape" "$n" "$name" "$(median "$@")" >> "$dir/table"
}

: > "$dir/err"
all_rounds=$rounds
for n in $sizes; do
  # With ten thousand and more one round takes minutes, and says enough.
  rounds=$all_rounds
  [ "$n" -lt 10000 ] || rounds=1
  for shape in flat dag chain; do
    make_inputs "$shape" "$n"
    measure "$shape" "$n" supervise run_supervise
    measure "$shape" "$n" "make -j4" run_make
    if command -v ninja > /dev/null; then measure "$shape" "$n" "ninja -j4" run_ninja; fi
    if [ "$shape" = flat ]; then
      measure flat "$n" "posix_spawn loop" run_spawn "$n"
      measure flat "$n" "xargs -P4" run_xargs
      if command -v parallel > /dev/null; then measure flat "$n" "parallel -j4" run_parallel; fi
      # It takes some 90 ms a task, and longer the more it knows: a hundred say enough.
      if command -v pueued > /dev/null && [ "$n" -le 100 ]; then
        rounds=1 measure flat "$n" pueue run_pueue
      fi
    fi
  done
done
[ -z "$tsv" ] || { printf 'shape\tagents\tprogram\tseconds\n'; cat "$dir/table"; } > "$tsv"

for peer in ninja parallel pueued; do
  command -v "$peer" > /dev/null || echo "left out, since it is not installed: $peer (--install brings it)"
done
awk -F '\t' -v rounds="$all_rounds" '
  { s[$1, $2, $3] = $4; ms[$1, $2, $3] = $4 * 1000 / $2; line[NR] = $0 }
  # The ratio of two that were measured; -1: one was not.
  function ratio(n, ours, m, its) {
    if (!(("flat", n, ours) in s) || !(("flat", m, its) in s)) return -1
    return (s["flat", n, ours] / n) / (s["flat", m, its] / m)
  }
  function limit(what, value, most, unit) {
    if (value < 0) { printf "%-58s not measured\n", what; return }
    ok = value <= most
    printf "%-58s %9.3f%s, limit %.3g%s: %s\n", what, value, unit, most, unit, ok ? "met" : "NOT MET"
    if (!ok) bad = 1
  }
  END {
    printf "/bin/true, 4 at a time, median of %d (one of 10,000 and more)\n\n%-6s %7s  %-17s %9s %12s %10s\n", rounds, "shape", "agents", "program", "seconds", "ms an agent", "ours / it"
    for (i = 1; i <= NR; i++) {
      split(line[i], f, "\t")
      printf "%-6s %7d  %-17s %9.2f %12.3f %10.2f\n", f[1], f[2], f[3], f[4], f[4] * 1000 / f[2], s[f[1], f[2], "supervise"] / f[4]
    }
    print ""
    flat = ("flat", 1000, "supervise") in ms ? ms["flat", 1000, "supervise"] : -1
    limit("an agent of 1,000, flat", flat, 1.5, " ms")
    limit("an agent of 10,000 beside one of 1,000", ratio(10000, "supervise", 1000, "supervise"), 1.2, " times")
    limit("an agent of 1,000 beside a bare loop of posix_spawn", ratio(1000, "supervise", 1000, "posix_spawn loop"), 3, " times")
    limit("an agent of 100 beside a task of pueue", ratio(100, "supervise", 100, "pueue"), 1 / 30, " times")
    exit bad
  }' "$dir/table"
