//! A run belongs to the working tree that it was begun in, from whichever of the repository's it is asked about.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use super::support::{Ended, TestRepo, eventually, signal, text};

const PATIENCE: Duration = Duration::from_secs(30);

const ONE: &str = r#"
    [session]
    name = "one"
    [[agent]]
    id = "a"
    files = ["a/**"]
    command = ["sh", "-c", "test $SUPERVISE_ATTEMPT -gt 1 || { echo half >> a/f; echo new > a/n; exec sleep 1000; }; echo whole >> a/f"]
"#;

/// A run in a linked working tree whose supervisor was killed in the middle, and a user's own file of the same name
/// in the main one.
fn killed_in_a_linked_one() -> (TestRepo, PathBuf) {
    let repo = TestRepo::with(&[("a/f", "1\n")]);
    let linked = repo.path().join("../linked");
    repo.git(&["worktree", "add", "-q", linked.to_str().unwrap(), "-b", "other"]);
    repo.write("a/n", "the user's notes\n");
    let session = repo.session(ONE);
    let mut command = repo.supervise();
    command.arg("-C").arg(&linked).arg("run").arg(session).stdin(Stdio::null());
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    assert!(eventually(PATIENCE, || linked.join("a/n").exists()), "it is half done");
    signal(&child, "KILL");
    child.wait().unwrap();
    (repo, linked)
}

fn supervise(repo: &TestRepo, arguments: &[&str]) -> Ended {
    Ended::of(&repo.supervise().args(arguments).output().unwrap())
}

#[test]
fn a_dead_run_is_shown_and_taken_up_in_its_own_working_tree() {
    let (repo, linked) = killed_in_a_linked_one();
    let begun = repo.run(ONE, &["--allow-dirty"]);
    let begun = begun.expect(3);
    assert!(
        begun.stderr.contains(&format!("still in {}", linked.canonicalize().unwrap().display())),
        "{}",
        begun.stderr
    );
    let shown = supervise(&repo, &["diff", "a"]).expect(0).stdout;
    assert!(shown.contains("+half") && shown.contains("a/n"), "{shown}");

    supervise(&repo, &["resume"]).expect(0);
    assert_eq!(text(&linked, "a/f"), "1\nwhole\n");
    assert!(!linked.join("a/n").exists(), "put back there");
    assert_eq!(repo.git(&["log", "--format=%s", "other", "^main"]).trim(), "feat(a): a");
    assert_eq!(repo.read("a/n"), "the user's notes\n");
    assert_eq!(repo.status().trim(), "?? a/n");
}

#[test]
fn reset_clears_the_working_tree_of_the_run_and_no_other() {
    let (repo, before) = killed_in_a_linked_one();
    assert!(eventually(PATIENCE, || repo.survivors().is_empty()));
    // It is found where git has moved it to.
    let linked = repo.path().join("../moved");
    repo.git(&["worktree", "move", before.to_str().unwrap(), linked.to_str().unwrap()]);
    supervise(&repo, &["reset"]).expect(0);
    assert_eq!(text(&linked, "a/f"), "1\n");
    assert!(!linked.join("a/n").exists());
    assert_eq!(repo.read("a/n"), "the user's notes\n");
    assert!(supervise(&repo, &["salvage", "show", "a"]).expect(0).stdout.contains("+half"));
}

#[test]
fn a_run_whose_working_tree_is_gone_is_let_go_of() {
    let (repo, linked) = killed_in_a_linked_one();
    // What was left of it ends by itself once its supervisor is gone.
    assert!(eventually(PATIENCE, || repo.survivors().is_empty()));
    repo.git(&["worktree", "remove", "--force", linked.to_str().unwrap()]);
    for command in ["resume", "reset"] {
        let refused = supervise(&repo, &[command]).expect(3);
        assert!(
            refused.stderr.contains("working tree of run") && refused.stderr.contains("is gone"),
            "{}",
            refused.stderr
        );
    }
    assert_eq!(repo.read("a/n"), "the user's notes\n");
    std::fs::remove_file(repo.path().join("a/n")).unwrap();
    let other = ONE.replace("test $SUPERVISE_ATTEMPT -gt 1 ||", "true ||");
    repo.run(&other, &[]).expect(0);
    assert_eq!(repo.subjects(), ["feat(a): a"]);
}
