#!/usr/bin/env bash
# Takes into fuzz/corpus what fuzz/run.sh has found, as far as it covers something that nothing else does.
#
#   fuzz/minimise.sh [TARGET…]
#
# Inputs that are named by a person (`regression-…`, seeds) stay. Of the rest the shortest are kept, up to BUDGET
# bytes a target (16384): the corpora are replayed by every `cargo test`.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ $# -gt 0 ]; then targets=("$@"); else mapfile -t targets < <(ls fuzz/fuzz_targets | sed 's/\.rs$//'); fi
for target in "${targets[@]}"; do
  kept=fuzz/corpus/$target
  merged=$(mktemp -d)
  # What was found before goes first through the mill again: libFuzzer names its inputs by their SHA-1.
  find "$kept" -type f -regextype egrep -not -regex '.*/[0-9a-f]{40}' -exec cp -t "$merged" {} +
  named=$(find "$merged" -type f | wc -l)
  cargo fuzz run --sanitizer none --codegen-units 16 "$target" "$merged" "fuzz/target/runs/$target/corpus" "$kept" -- \
    -merge=1 -max_len=1024 >/dev/null 2>&1
  find "$kept" -type f -regextype egrep -regex '.*/[0-9a-f]{40}' -delete
  left=${BUDGET:-16384}
  while read -r size file; do
    left=$((left - size))
    [ "$left" -ge 0 ] || break
    cp "$file" "$kept/"
  done < <(find "$merged" -type f -regextype egrep -regex '.*/[0-9a-f]{40}' -printf '%s %p\n' | sort -n)
  printf '%-14s %4d named, %4d more\n' "$target" "$named" "$(($(find "$kept" -type f | wc -l) - named))"
  rm -r "$merged"
done
