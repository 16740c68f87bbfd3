#!/usr/bin/env bash
# Do the simulation's tests find bugs? Plants those of tests/simulation/mutants one at a time in a copy of `core`, runs
# the tests there, and prints which of them caught each. Exits 1 if one survives, or no longer applies.
#
#   tests/simulation/mutants.sh [NAME…]
#
# `core` imports nothing else of this crate, so the copy is a crate of `core` and the simulation alone, which is built in
# seconds. It is kept in target/mutants from one time to the next; the tree itself is never touched.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
patches=$root/tests/simulation/mutants
copy=$root/target/mutants
# A failing world need not be the smallest that fails.
export CARGO_TARGET_DIR=$copy/target PROPTEST_MAX_SHRINK_ITERS=0 RUST_BACKTRACE=0

# Puts into the copy what has changed only, so that only this is built again.
copy_sources() {
  mkdir -p "$copy/src" "$copy/tests"
  local part
  for part in src/core tests/simulation; do
    (cd "$root" && find "$part" -name '*.rs') | sort > "$copy/wanted"
    { (cd "$copy" && find "$part" -name '*.rs' 2> /dev/null) || true; } | sort > "$copy/there"
    comm -13 "$copy/wanted" "$copy/there" | while read -r file; do rm "$copy/$file"; done
    while read -r file; do
      if ! cmp -s "$root/$file" "$copy/$file"; then
        mkdir -p "$copy/${file%/*}"
        cp "$root/$file" "$copy/$file"
      fi
    done < "$copy/wanted"
  done
}

# Of dependencies the copy takes those lines of the manifest that `core` and the simulation need.
write_manifest() {
  dependency() { grep -m1 "^$1 = " "$root/Cargo.toml"; }
  {
    printf '[package]\nname = "supervise"\nversion = "0.0.0"\nedition = "2024"\n'
    printf '\n[workspace]\n\n[dependencies]\n'
    for name in globset regex-automata thiserror; do dependency "$name"; done
    printf '\n[dev-dependencies]\n'
    dependency proptest
    printf '\n[profile.dev]\nopt-level = 1\ndebug = false\n\n[profile.dev.package."*"]\nopt-level = 2\n'
  } > "$copy/Cargo.toml"
  echo 'pub mod core;' > "$copy/src/lib.rs"
  cp "$root/Cargo.lock" "$copy/Cargo.lock"
}

run_tests() { (cd "$copy" && timeout 900 cargo test --quiet --test simulation) > "$copy/output" 2>&1; }

# The failing tests, the made-up worlds first, and what the oracle says of them: each of its messages begins with the
# name of an invariant.
caught_by() {
  local tests made_up count found=
  tests=$(sed -n 's/^---- \(.*\) stdout ----$/\1/p' "$copy/output" | sort -ru)
  made_up=$(grep made_up_world <<< "$tests" || true)
  if [ -n "$made_up" ]; then
    tests=$(echo "$made_up"; grep -v made_up_world <<< "$tests" || true)
    found=$(grep -hA2 -E '^thread .seeds.*panicked at tests/simulation/(gate_)?oracle.rs' "$copy/output" |
      grep -oE '^(assertion .* failed: )?[a-z]+(_[a-z]+)+' | sed 's/.* //' | sort -u | head -1 || true)
  fi
  count=$(wc -l <<< "$tests")
  printf '%s' "$(head -1 <<< "$tests")${found:+ ($found)}"
  if [ "$count" -gt 1 ]; then printf ' and %d more' $((count - 1)); fi
  echo
}

copy_sources
write_manifest
if ! run_tests; then
  cat "$copy/output"
  echo "the tests fail without a mutant" >&2
  exit 1
fi

row() { printf '%-30s %s\n' "$1" "$2"; }
row mutant 'caught by'
survivors=0
for patch in "$patches"/*.patch; do
  name=$(basename "$patch" .patch)
  if [ $# -gt 0 ] && ! printf '%s\n' "$@" | grep -qx "$name"; then continue; fi
  copy_sources
  if ! (cd "$copy" && GIT_CEILING_DIRECTORIES=$root/target git apply "$patch") 2> "$copy/output"; then
    row "$name" "DOES NOT APPLY: $(head -1 "$copy/output")"
  elif run_tests; then
    row "$name" "SURVIVES: $(head -1 "$patch")"
  elif grep -q '^error: could not compile' "$copy/output"; then
    row "$name" 'DOES NOT COMPILE'
  elif ! grep -q '^test result: FAILED' "$copy/output"; then
    row "$name" 'THE TESTS DO NOT END'
  else
    row "$name" "$(caught_by)"
    continue
  fi
  survivors=$((survivors + 1))
done
copy_sources
[ "$survivors" -eq 0 ]
