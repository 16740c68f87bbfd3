//! Starts that come to nothing, and what they leave: no run.

use crate::support::{Ended, TestRepo, run_dir};

const SESSION: &str = "[[agent]]\nid = \"a\"\ncommand = [\"sh\", \"-c\", \"echo a > a\"]\nfiles = [\"a\"]\n";

/// A start that fails when the run has a name already.
fn fail(repo: &TestRepo) {
    let session = repo.session(SESSION);
    let mut command = repo.supervise();
    command.arg("run").arg(session).env("TMPDIR", repo.tmp().join("nowhere"));
    let ended = Ended::of(&command.output().unwrap()).expect(3);
    assert!(ended.stderr.contains("temporary directory"), "{}", ended.stderr);
}

#[test]
fn a_start_that_fails_leaves_the_run_before_it_the_latest() {
    let repo = TestRepo::new();
    fail(&repo);
    let none = Ended::of(&repo.supervise().arg("status").output().unwrap());
    assert!(none.stderr.contains("there has been no run"), "{none:?}");
    repo.run(SESSION, &[]).expect(0);
    let before = run_dir(&repo);
    fail(&repo);
    assert_eq!(run_dir(&repo), before);
    let name = before.file_name().unwrap().to_str().unwrap();
    assert_eq!(std::fs::read_dir(before.parent().unwrap()).unwrap().count(), 1);
    for words in [&["status"][..], &["timeline"], &["runs", "list"]] {
        let said = repo.ask(words);
        assert!(said.contains(name) && !said.contains("UNREADABLE"), "{words:?}: {said}");
    }
    for words in [&["list"][..], &["diff"], &["logs", "a"], &["wait"]] {
        repo.ask(words);
    }
}

#[test]
fn where_nothing_was_ever_run_there_is_nothing_to_clear() {
    let repo = TestRepo::new();
    assert!(repo.ask(&["reset"]).contains("nothing to clear"));
    assert_eq!(repo.ask(&["reset", "--format", "json"]), "null\n");
    assert!(!repo.path().join(".git/supervise").exists());
}

#[test]
fn a_repository_that_cannot_be_used_has_help_of_its_own() {
    let bare = TestRepo::new();
    bare.git(&["config", "core.bare", "true"]);
    let mut repositories = vec![(bare, "is bare", "git worktree add DIR")];
    if nix::unistd::geteuid().is_root() {
        let other = TestRepo::for_each_user(&[("a", "")]).pop().unwrap();
        repositories.push((other, "belongs to another user", "git config --global --add safe.directory /"));
    }
    for (repo, what, help) in repositories {
        for words in [&["status"][..], &["run", "-"]] {
            let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_supervise"));
            command.args(words).current_dir(repo.path()).env("HOME", repo.tmp()).env("GIT_CONFIG_GLOBAL", "/dev/null");
            command.env("NO_COLOR", "1").stdin(std::process::Stdio::null());
            let said = Ended::of(&command.output().unwrap()).expect(3).stderr;
            let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(said.contains(what) && said.contains(help) && !said.contains("git init"), "{said}");
        }
    }
}
