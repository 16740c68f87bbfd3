//! The bugs that `tests/simulation/mutants.sh` plants: each still fits the tree, in `core` alone, and says what it plants.

use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn every_mutant_applies_to_core_and_says_what_it_plants() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut patches: Vec<_> =
        fs::read_dir(root.join("tests/simulation/mutants")).unwrap().map(|entry| entry.unwrap().path()).collect();
    patches.sort();
    assert!(patches.len() >= 10, "only {} mutants", patches.len());
    for patch in patches {
        let name = patch.file_name().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&patch).unwrap();
        let says = text.lines().next().unwrap();
        assert!(says.ends_with('.') && !says.starts_with("diff"), "{name}: its first line says what it plants");
        let mut changed = text.lines().filter_map(|line| line.strip_prefix("+++ b/"));
        assert!(changed.all(|file| file.starts_with("src/core/")), "{name}: changes `core` alone");
        let checked = Command::new("git").args(["apply", "--check"]).arg(&patch).current_dir(root).output().unwrap();
        let said = String::from_utf8_lossy(&checked.stderr);
        assert!(checked.status.success(), "{name} does not apply any more; make it anew:\n{said}");
    }
}
