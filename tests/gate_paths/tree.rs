//! The workspace's directories: all that is beneath one, and those that move while they are remembered.

use std::fs;
use std::os::unix::fs::symlink;

use supervise::shim::gate::resolve::Base::Cwd;
use supervise::shim::gate::resolve::Last::Follow;
use supervise::shim::gate::resolve::Unresolved;

use crate::bench::Bench;

#[test]
fn every_entry_beneath_a_directory() {
    let bench = Bench::new();
    let mut seat = bench.sit("cd ws/src");
    let all = ["a.txt", "deep/", "deep/er/"];
    assert_eq!(seat.beneath("lib", 3).unwrap(), all);
    assert_eq!(seat.beneath("lib/", 10).unwrap(), all);
    assert_eq!(seat.beneath("./lib/deep/..", 10).unwrap(), all);
    assert_eq!(seat.beneath("lib", 2), Err(Unresolved::TooLarge));
    assert_eq!(seat.beneath("lib", 0), Err(Unresolved::TooLarge));
    assert_eq!(seat.beneath("link", 10).unwrap(), Vec::<String>::new());
    assert_eq!(seat.beneath("lib/a.txt", 10).unwrap(), Vec::<String>::new());
    assert_eq!(seat.beneath("lib/deep/er", 0).unwrap(), Vec::<String>::new());
    assert_eq!(seat.beneath("no", 10), Err(Unresolved::Missing));
    let dir = seat.beneath(".", 20).unwrap();
    assert_eq!(dir[..4], ["dangling", "escapes", "file-link", "lib/"]);
    assert_eq!(dir[4..7], ["lib/a.txt", "lib/deep/", "lib/deep/er/"]);
}

#[test]
fn what_is_remembered_is_checked() {
    let bench = Bench::new();
    let mut seat = bench.sit("cd ws/src/lib/deep/er");
    let mut at = |path: &str, expected: &str| seat.means(&[(Cwd, path, Follow, expected)]);
    at("x", "src/lib/deep/er/x nothing");
    // Moved, together with what is beneath it.
    fs::rename(bench.path("ws/src/lib"), bench.path("ws/lib")).unwrap();
    at("x", "lib/deep/er/x nothing");
    // A link where it was does not make the old path right again.
    symlink(bench.path("ws/lib"), bench.path("ws/src/lib")).unwrap();
    at("x", "lib/deep/er/x nothing");
    at("../../../src/lib/deep/er/x", "lib/deep/er/x nothing");
    // Out of the workspace, and into git.
    fs::rename(bench.path("ws/lib/deep"), bench.path("out/deep")).unwrap();
    at("x", "Outside nothing");
    fs::rename(bench.path("out/deep"), bench.path("git/deep")).unwrap();
    at("x", "Git nothing");
    fs::rename(bench.path("git/deep"), bench.path("ws/deep")).unwrap();
    at("x", "deep/er/x nothing");
    // The directories that matter move too.
    fs::rename(bench.path("ws/sub"), bench.path("ws/bus")).unwrap();
    at("../../bus/.git/refs/x", "Git nothing");
    at("../../bus/f", "bus/f file");
    fs::rename(bench.path("ws"), bench.path("moved")).unwrap();
    at("x", "deep/er/x nothing");
    at("../../new", "new nothing");
    at("../../../out/x", "Outside nothing");
    fs::create_dir(bench.path("moved/late")).unwrap();
    fs::rename(bench.path("moved"), bench.path("ws")).unwrap();
    at("../../late", "Git directory");
    at("../../late/x", "Git nothing");
}
