#!/usr/bin/env bash
# Takes into fuzz/corpus what fuzz/run.sh has found, as far as it covers something that nothing else does.
#
#   fuzz/minimise.sh [TARGET…]
#
# Inputs that are named by a person (`regression-…`, seeds) stay. Of the rest at most MOST are kept (24), of all
# lengths: the corpora are replayed by every `cargo test`, and a longer run starts from what it found itself.
set -euo pipefail
MOST=${MOST:-24}
cd "$(dirname "$0")/.."

if [ $# -gt 0 ]; then targets=("$@"); else mapfile -t targets < <(ls fuzz/fuzz_targets | sed 's/\.rs$//'); fi
for target in "${targets[@]}"; do
  kept=fuzz/corpus/$target
  merged=$(mktemp -d)
  # What was found before goes first through the mill again: libFuzzer names its inputs by their SHA-1.
  find "$kept" -type f -regextype egrep -not -regex '.*/[0-9a-f]{40}' -exec cp -t "$merged" {} +
  named=$(find "$merged" -type f | wc -l)
  cargo fuzz run --sanitizer none --codegen-units 16 "$target" "$merged" "fuzz/target/runs/$target/corpus" "$kept" -- \
    -merge=1 -max_len=512 >/dev/null 2>&1
  find "$kept" -type f -regextype egrep -regex '.*/[0-9a-f]{40}' -delete
  mapfile -t more < <(find "$merged" -type f -regextype egrep -regex '.*/[0-9a-f]{40}' -printf '%s %p\n' | sort -n | cut -d' ' -f2-)
  step=$(((${#more[@]} + MOST - 1) / MOST))
  for ((at = 0; at < ${#more[@]}; at += step)); do
    cp "${more[at]}" "$kept/"
  done
  printf '%-14s %4d named, %4d more\n' "$target" "$named" "$(($(find "$kept" -type f | wc -l) - named))"
  rm -r "$merged"
done
