#!/usr/bin/env bash
# Measures what grows with the number of agents or files, and draws it: benches/plots/*.svg, from the TSV files beside
# them. What has been measured already is drawn again without being measured, unless it is named.
#
#   benches/plots.sh [--install] [agents|memory|commit|functions]…
#
# --install brings gnuplot by apt-get, and the peers of benches/compare.sh. All of it takes some forty minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$PWD/benches/plots
mkdir -p "$out"
install=
declare -A anew=()
for word in "$@"; do
  case $word in
    --install) install=--install ;;
    agents | memory | commit | functions) anew[$word]=1 ;;
    *) echo "unknown argument $word; see the head of $0" >&2; exit 2 ;;
  esac
done
if [ -n "$install" ]; then
  command -v gnuplot > /dev/null || { apt-get update -qq && apt-get install -qq -y gnuplot-nox; } > /dev/null
fi
command -v gnuplot > /dev/null || { echo "gnuplot is not here; --install brings it" >&2; exit 2; }

# wanted NAME: it is named, or has not been measured.
wanted() { [ -n "${anew[$1]:-}" ] || [ ! -s "$out/$1.tsv" ]; }

# A limit that is not met is an error of those scripts, and none of a picture.
if wanted agents; then benches/compare.sh $install --sizes "100 1000 10000" --tsv "$out/agents.tsv" || [ $? -eq 1 ]; fi
if wanted memory; then benches/idle.sh --tsv "$out/memory.tsv" || [ $? -eq 1 ]; fi
if wanted commit; then cargo bench --quiet --bench commit -- --tsv "$out/commit.tsv"; fi
if wanted functions; then
  cargo bench --quiet --bench functions -- 'planning|journal'
  {
    printf 'group\tfunction\tsize\tnanoseconds\n'
    find target/criterion/planning target/criterion/journal -path '*/new/estimates.json' | sort -V | while read -r file; do
      IFS=/ read -r _ _ group function size _ <<< "$file"
      [ "$size" != new ] || size=1
      # The estimate of the mean comes first in the document.
      printf '%s\t%s\t%s\t%s\n' "$group" "$function" "$size" "$(sed -n 's/.*"mean":{[^}]*},"point_estimate":\([0-9.e]*\).*/\1/p' "$file")"
    done
  } > "$out/functions.tsv"
fi

data=$(mktemp -d)
trap 'rm -rf "$data"' EXIT

# series PICTURE TITLE FILE CONDITION X,Y: the rows of a TSV for which awk's condition holds, as a line of the picture.
series() {
  local number
  number=$(find "$data" -name "$1.*.tsv" | wc -l)
  awk -F '\t' -v OFS='\t' "NR > 1 && ($4) { print $5 }" "$out/$3.tsv" | sort -n > "$data/$1.$number.tsv"
  printf '"%s/%s.%s.tsv" using 1:2 with linespoints linewidth 2 title "%s", ' "$data" "$1" "$number" "$2" >> "$data/$1.plot"
}

# draw PICTURE TITLE X Y
draw() {
  gnuplot << END
set terminal svg size 760,420 font "sans-serif,13" background "white" name "$1"
set output "$out/$1.svg"
set datafile separator "\t"
set key outside right top
set grid
set border 3
set tics nomirror
set logscale xy
set title "$2"
set xlabel "$3"
set ylabel "$4"
plot $(cat "$data/$1.plot")
END
  echo "benches/plots/$1.svg"
}

awk -F '\t' 'NR > 1 && $1 == "flat" && !seen[$3]++ { print $3 }' "$out/agents.tsv" > "$data/programs"
while read -r program; do
  series agents "$program" agents "\$1 == \"flat\" && \$3 == \"$program\"" '$2, $4 * 1000 / $2'
done < "$data/programs"
for shape in dag chain; do
  for program in supervise "make -j4" "ninja -j4"; do
    series shapes "$program, $shape" agents "\$1 == \"$shape\" && \$3 == \"$program\"" '$2, $4 * 1000 / $2'
  done
done
draw agents "/bin/true as an agent, 4 at a time" agents "ms an agent"
draw shapes "the same in layers (dag), and one after another (chain)" agents "ms an agent"
series memory "supervisor" memory 1 '$1, $2 / 1024'
series memory "a shim, private" memory 1 '$1, $4 / 1024'
series memory "all, for each agent" memory 1 '$1, ($2 + $3 + $5) / 1024 / $1'
draw memory "memory while agents do nothing" agents MiB
series commit "git add + git commit" commit 1 '$1, $2 * 1000'
series commit "supervise" commit 1 '$1, $3 * 1000'
draw commit "committing 3 changed files" "files in the repository" ms
series planning "the session file: read, checked, ordered" functions '$1 == "planning" && $2 == "session"' '$3, $4 / 1e9'
series planning "of that, overlaps of the claims" functions '$1 == "planning" && $2 == "claims"' '$3, $4 / 1e9'
draw planning "planning, ten patterns an agent" agents seconds
series journal "append and sync (fdatasync)" functions '$2 == "append and sync"' '$3, $4 / 1000'
series journal "append" functions '$2 == "append"' '$3, $4 / 1000'
draw journal "a batch of records in the journal" "records at once" "µs a batch"
