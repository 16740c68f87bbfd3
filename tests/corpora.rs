//! Replays the inputs that fuzzing has left (`fuzz/corpus`), each through what its target does.
//!
//! New inputs are made up by `fuzz/run.sh`, not here.

#![expect(clippy::expect_used, clippy::print_stdout, reason = "a test tells by failing, and what it was at")]
#![expect(unreachable_pub, reason = "the fuzzer's crate has the targets public")]

#[path = "../fuzz/src/bodies/mod.rs"]
mod bodies;

use std::fs;

/// How much of a corpus is kept: it is for replaying, not for starting from anew.
const MAX_BYTES: u64 = 256 << 10;

#[test]
fn every_target_answers_its_corpus() {
    let corpora = bodies::here().join("corpus");
    let mut folders: Vec<_> = fs::read_dir(&corpora)
        .expect("the corpora are there")
        .map(|entry| entry.expect("they can be listed").file_name())
        .collect();
    folders.sort();
    let mut names = bodies::TARGETS.map(|(name, _)| name);
    names.sort_unstable();
    assert_eq!(folders, names, "one corpus for each target");

    for (name, target) in bodies::TARGETS {
        let mut inputs: Vec<_> = fs::read_dir(corpora.join(name))
            .expect("it can be listed")
            .map(|entry| entry.expect("its entries too").path())
            .collect();
        inputs.sort();
        assert!(!inputs.is_empty(), "{name} has no inputs");
        let mut total = 0;
        for input in inputs {
            let data = fs::read(&input).expect("an input can be read");
            total += data.len() as u64;
            println!("{}", input.display());
            target(&data);
        }
        assert!(total <= MAX_BYTES, "the corpus of {name} has {total} bytes: minimise it");
    }
}
