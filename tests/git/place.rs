//! Completing: measured, frozen and placed work, seen with git's own eyes.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use crate::support::{Agent, Scratch, repo_path, shown};
use supervise::core::effect::Purpose;
use supervise::core::event::{PlaceRefusal, Preparation};
use supervise::host::git::Repository;

#[test]
fn a_commit_has_exactly_the_agents_paths_and_the_tree_is_clean() {
    let s = Scratch::committed(&[
        ("src/a.txt", "a\n"),
        ("src/b.txt", "b\n"),
        ("src/deep/c.txt", "c\n"),
        ("other.txt", "o\n"),
    ]);
    let mut r = s.open();
    let agent = Agent::new(&s, "a", &["src"]);
    agent.begin(&mut r);
    s.write("src/a.txt", "changed\n");
    s.remove("src/deep/c.txt");
    s.write("src/new/x.txt", "x\n");
    s.write("src/empty", "");
    s.write("other.txt", "somebody else\n");
    assert_eq!(shown(&agent.measure(&mut r)), ["~src/a.txt", "-src/deep/c.txt", "+src/empty", "+src/new/x.txt"]);
    let placement = agent.complete(&mut r);
    assert_eq!(placement.index_left, []);
    assert_eq!(s.head(), placement.commit.to_string());
    assert_eq!(s.changed_by("HEAD"), ["M src/a.txt", "D src/deep/c.txt", "A src/empty", "A src/new/x.txt"]);
    assert_eq!(s.status(), " M other.txt\n");
    assert_eq!(s.git(&["for-each-ref", "refs/supervise"]), "");
    assert!(!s.root().join(".git/index.lock").exists());
    let log = s.git(&["log", "-1", "--format=%an <%ae>|%s|%b|%(trailers:key=Supervise-Agent,valueonly)"]);
    assert!(log.starts_with("Tess Ter <tess@example.org>|feat(a): do it|It is done."), "{log}");
    assert!(log.ends_with("|a\n\n"), "{log:?}");
    assert_eq!(
        s.git(&["log", "-1", "--format=%(trailers:only)"]),
        "Supervise-Session: test\nSupervise-Run: run-1\nSupervise-Agent: a\nSupervise-Attempt: 1\n\
         Supervise-Attribution: inferred\n\n"
    );
    assert!(s.git(&["reflog", "-1"]).contains("supervise: a#1"));
    s.fsck();
}

#[test]
fn staged_and_unstaged_work_of_the_user_stays_as_it_is() {
    let s = Scratch::committed(&[("a.txt", "a\n"), ("u/staged", "1\n"), ("u/unstaged", "1\n"), ("u/both", "1\n")]);
    s.write("u/staged", "2\n");
    s.write("u/both", "2\n");
    s.write("u/added", "new\n");
    s.git(&["add", "u"]);
    s.write("u/both", "3\n");
    s.write("u/unstaged", "2\n");
    s.write("u/intent", "i\n");
    s.git(&["add", "-N", "u/intent"]);
    let index = || s.git(&["ls-files", "-s", "--", "u"]);
    let (index_before, status) = (index(), s.status());
    let mut r = s.open();
    let agent = Agent::new(&s, "a", &["a.txt"]);
    agent.begin(&mut r);
    s.write("a.txt", "b\n");
    agent.complete(&mut r);
    assert_eq!(index(), index_before);
    assert_eq!(s.status(), status);
    assert_eq!(s.changed_by("HEAD"), ["M a.txt"]);
    assert_eq!(r.survey().unwrap(), []);
}

#[test]
fn kinds_of_change_that_git_knows() {
    let s = Scratch::committed(&[
        ("w/file", "f\n"),
        ("w/dir/x", "x\n"),
        ("w/dir/y", "y\n"),
        ("w/run", "#!/bin/sh\n"),
        ("w/old", "same\n"),
    ]);
    symlink("file", s.path("w/link")).unwrap();
    s.commit("link");
    let mut r = s.open();
    let agent = Agent::new(&s, "a", &["w"]);
    agent.begin(&mut r);
    // A file becomes a directory, a directory a file, a file a link, a link another link.
    s.remove("w/file");
    s.write("w/file/inner", "i\n");
    fs::remove_dir_all(s.path("w/dir")).unwrap();
    s.write("w/dir", "now a file\n");
    fs::set_permissions(s.path("w/run"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(s.path("w/old"), s.path("w/renamed")).unwrap();
    s.remove("w/link");
    symlink("/etc/passwd", s.path("w/link")).unwrap();
    symlink("/etc", s.path("w/etc")).unwrap();
    s.write(b"w/new\nline", "n\n");
    s.write(b"w/\xff\xfe", "bytes\n");
    let placement = agent.complete(&mut r);
    assert_eq!(placement.index_left, []);
    assert_eq!(s.status(), "");
    let mut changed = s.changed_by("HEAD");
    changed.sort();
    let expected = [
        "A \"w/\\377\\376\"",
        "A \"w/new\\nline\"",
        "A w/dir",
        "A w/etc",
        "A w/file/inner",
        "A w/renamed",
        "D w/dir/x",
        "D w/dir/y",
        "D w/file",
        "D w/old",
        "M w/link",
        "M w/run",
    ];
    assert_eq!(changed, expected);
    assert!(s.git(&["ls-tree", "HEAD", "w/etc"]).starts_with("120000"));
    assert!(s.git(&["ls-tree", "HEAD", "w/run"]).starts_with("100755"));
    s.fsck();
}

#[test]
fn an_unborn_branch_is_born() {
    let s = Scratch::new();
    let mut r = s.open();
    assert_eq!(r.head().unwrap().commit, None);
    assert_eq!(r.head().unwrap().branch.as_deref(), Some("refs/heads/main"));
    let agent = Agent::new(&s, "a", &["x"]);
    agent.begin(&mut r);
    s.write("x/y", "1\n");
    agent.complete(&mut r);
    assert_eq!(s.changed_by("HEAD"), ["A x/y"]);
    assert_eq!(s.status(), "");
    s.fsck();
}

#[test]
fn the_last_file_can_go_and_an_agent_without_a_claim_changes_nothing() {
    fn movable<T: Send>(value: T) -> T {
        value
    }
    let s = Scratch::committed(&[("d/only", "1\n")]);
    let mut r = movable(s.open());
    let none = Agent::new(&s, "none", &[]);
    none.begin(&mut r);
    let agent = Agent::new(&s, "a", &["d"]);
    agent.begin(&mut r);
    s.remove("d/only");
    assert_eq!(none.measure(&mut r), []);
    agent.complete(&mut r);
    assert_eq!(s.changed_by("HEAD"), ["D d/only"]);
    assert_eq!(s.git(&["ls-tree", "HEAD"]), "");
    assert_eq!(s.status(), "");
    assert!(!s.root().join(".git/refs/supervise/attempts/run-1/a").exists());
    s.fsck();
}

#[test]
fn a_detached_head_and_a_linked_worktree() {
    let s = Scratch::committed(&[("a", "1\n")]);
    s.git(&["checkout", "-q", "--detach"]);
    let mut r = s.open();
    let agent = Agent::new(&s, "a", &["a"]);
    agent.begin(&mut r);
    s.write("a", "2\n");
    agent.complete(&mut r);
    assert_eq!(r.head().unwrap().branch, None);
    assert_eq!(s.changed_by("HEAD"), ["M a"]);
    assert_eq!(s.git(&["rev-list", "--count", "main"]), "1\n");

    s.git(&["worktree", "add", "-q", "../linked", "main"]);
    let linked = s.outside().join("linked");
    let mut r = Repository::open(&linked).unwrap();
    assert_eq!(r.workspace(), linked);
    assert_eq!(r.git_dirs().len(), 2);
    assert_eq!(r.common_dir(), s.root().join(".git"));
    r.open_run(&supervise::core::ids::RunId::new("run-2").unwrap(), false).unwrap();
    let agent = Agent::new(&s, "b", &["a"]);
    agent.begin(&mut r);
    fs::write(linked.join("a"), "3\n").unwrap();
    agent.complete(&mut r);
    assert_eq!(s.git(&["show", "main:a"]), "3\n");
    assert_eq!(s.git(&["-C", linked.to_str().unwrap(), "status", "--porcelain"]), "");
}

#[test]
fn a_commit_of_another_goes_beneath_and_one_of_the_same_path_refuses() {
    let s = Scratch::committed(&[("a", "1\n"), ("b", "1\n")]);
    let mut r = s.open();
    let (first, second) = (Agent::new(&s, "a", &["a"]), Agent::new(&s, "b", &["b"]));
    first.begin(&mut r);
    second.begin(&mut r);
    s.write("a", "2\n");
    s.write("b", "2\n");
    let (of_a, of_b) = (first.freeze(&mut r, Purpose::Completion), second.freeze(&mut r, Purpose::Completion));
    first.place(&mut r, of_a).unwrap();
    let placed = second.place(&mut r, of_b).unwrap();
    assert_ne!(placed.commit, of_b);
    assert_eq!(s.changed_by("HEAD"), ["M b"]);
    assert_eq!(s.changed_by("HEAD~"), ["M a"]);
    assert_eq!(s.git(&["rev-parse", "refs/supervise/attempts/run-1/b/1"]).trim(), placed.commit.to_string());
    assert_eq!(s.status(), "");

    let third = Agent::new(&s, "c", &["a"]);
    third.begin(&mut r);
    s.write("a", "user\n");
    s.git(&["commit", "-q", "-am", "user"]);
    s.write("a", "3\n");
    let of_c = third.freeze(&mut r, Purpose::Completion);
    let paths = vec![repo_path("a")];
    assert_eq!(third.place(&mut r, of_c), Err(PlaceRefusal::ChangedUnderneath { paths }));
    assert!(!s.root().join(".git/index.lock").exists());
}

#[test]
fn a_switched_or_rewound_branch_refuses() {
    let s = Scratch::committed(&[("a", "1\n"), ("b", "1\n")]);
    s.write("b", "2\n");
    s.commit("second");
    let mut r = s.open();
    let a = Agent::new(&s, "a", &["a"]);
    a.begin(&mut r);
    s.write("a", "2\n");
    let commit = a.freeze(&mut r, Purpose::Completion);
    s.git(&["switch", "-q", "-c", "elsewhere"]);
    assert_eq!(a.place(&mut r, commit), Err(PlaceRefusal::BranchMoved));
    s.git(&["switch", "-q", "main"]);
    s.git(&["reset", "-q", "HEAD~"]);
    assert_eq!(a.place(&mut r, commit), Err(PlaceRefusal::BranchMoved));
    assert_eq!(s.git(&["rev-list", "--count", "main"]), "1\n");
}

#[test]
fn a_file_changed_since_the_freeze_refuses() {
    let s = Scratch::committed(&[("a", "1\n")]);
    let mut r = s.open();
    let a = Agent::new(&s, "a", &["a"]);
    a.begin(&mut r);
    s.write("a", "2\n");
    let commit = a.freeze(&mut r, Purpose::Completion);
    s.write("a", "3\n");
    assert_eq!(a.place(&mut r, commit), Err(PlaceRefusal::ChangedUnderneath { paths: vec![repo_path("a")] }));
}

#[test]
fn what_is_written_after_the_comparison_is_not_in_the_commit() {
    let s = Scratch::committed(&[("a", "1\n"), ("b", "1\n")]);
    let mut r = s.open();
    let agent = Agent::new(&s, "a", &["a", "b", "c"]);
    agent.begin(&mut r);
    for path in ["a", "b", "c"] {
        s.write(path, "the agent's\n");
    }
    let paths = ["a", "b", "c"].map(repo_path);
    assert_eq!(agent.measure(&mut r).len(), paths.len());
    s.write("a", "the editor's\n");
    s.remove("b");
    for purpose in [Purpose::Completion, Purpose::Salvage] {
        let commit = agent.freeze_measured(&mut r, purpose, &paths);
        for path in ["a", "b", "c"] {
            assert_eq!(s.git(&["show", &format!("{commit}:{path}")]), "the agent's\n");
        }
    }
    let commit = agent.freeze_measured(&mut r, Purpose::Completion, &paths);
    let changed = PlaceRefusal::ChangedUnderneath { paths: vec![repo_path("a"), repo_path("b")] };
    assert_eq!(agent.place(&mut r, commit), Err(changed));
    let (restored, left) = r.restore(&agent.id, commit, &paths).unwrap();
    assert_eq!((restored, left), (vec![repo_path("c")], vec![repo_path("a"), repo_path("b")]));
    assert_eq!(s.read("a").unwrap(), b"the editor's\n");
    assert_eq!(s.read("b"), None);
}

#[test]
fn an_index_entry_of_the_user_is_left_and_told() {
    let s = Scratch::committed(&[("a", "1\n"), ("b", "1\n")]);
    let mut r = s.open();
    let agent = Agent::new(&s, "a", &["a", "b"]);
    agent.begin(&mut r);
    // Staged by the user while the agent runs, then overwritten on disk by the agent.
    s.write("a", "staged\n");
    s.git(&["add", "a"]);
    let staged = s.git(&["ls-files", "-s", "a"]);
    s.write("a", "2\n");
    s.write("b", "2\n");
    let placement = agent.complete(&mut r);
    assert_eq!(placement.index_left, [repo_path("a")]);
    assert_eq!(s.git(&["ls-files", "-s", "a"]), staged);
    assert_eq!(s.status(), "MM a\n");
}

#[test]
fn dirty_claims_are_told_and_untracked_files_count() {
    let s = Scratch::committed(&[
        ("d/a", "1\n"),
        ("d/b", "1\n"),
        ("d/c", "1\n"),
        ("d/ok", "1\n"),
        (".gitignore", "*.log\n"),
    ]);
    s.write("d/a", "2\n");
    s.write("d/b", "2\n");
    s.git(&["add", "d/b"]);
    s.remove("d/c");
    s.write("d/new", "n\n");
    s.write("d/x.log", "ignored\n");
    s.write("elsewhere", "n\n");
    let mut r = s.open();
    let agent = Agent::new(&s, "a", &["d"]);
    let paths: Vec<_> = ["d/a", "d/b", "d/c", "d/new"].map(repo_path).into();
    assert_eq!(agent.prepare(&mut r), Preparation::Dirty { paths: paths.clone() });
    assert_eq!(agent.prepare_allowing_dirt(&mut r), Preparation::Ready { dirty: paths.clone() });
    let claim = crate::support::claim(&["d"]);
    let clean = crate::support::claim(&["d/ok"]);
    let many = r.dirty_many(&[(crate::support::attempt("x").agent, &clean), (agent.id.agent.clone(), &claim)]).unwrap();
    assert_eq!(many.len(), 1);
    assert_eq!((&many[0].agent, &many[0].paths), (&agent.id.agent, &paths));
    assert_eq!(shown(&agent.measure(&mut r)), Vec::<String>::new());
}

#[test]
fn a_crash_after_the_move_is_finished_by_the_intent() {
    let s = Scratch::committed(&[("a", "1\n"), ("b", "1\n")]);
    let mut r = s.open();
    let a = Agent::new(&s, "a", &["a"]);
    a.begin(&mut r);
    s.write("a", "2\n");
    let commit = a.freeze(&mut r, Purpose::Completion);
    let intent = r.prepare_place(&a.id, commit).unwrap();
    assert!(s.root().join(".git/index.lock").exists());
    // The supervisor dies: the lock file stays, the branch is (or is not) moved, the index is not.
    std::mem::forget(r);
    let mut r = s.open();
    assert!(!s.root().join(".git/index.lock").exists(), "a stale lock of ours is removed");
    assert_eq!(r.finish_place(&intent).unwrap(), None);
    s.git(&["update-ref", "refs/heads/main", &intent.new.to_string()]);
    assert_eq!(s.status(), "MM a\n");
    for _ in 0..2 {
        let placement = r.finish_place(&intent).unwrap().unwrap();
        assert_eq!(placement.index_left, []);
        assert_eq!(s.status(), "");
    }
    s.write("b", "2\n");
    s.git(&["commit", "-q", "-am", "user"]);
    assert_eq!(s.git(&["show", "HEAD:a"]), "2\n");
}

#[test]
fn the_lock_of_a_running_git_is_waited_for() {
    let s = Scratch::committed(&[("a", "1\n")]);
    let mut r = s.open();
    let agent = Agent::new(&s, "a", &["a"]);
    agent.begin(&mut r);
    s.write("a", "2\n");
    let commit = agent.freeze(&mut r, Purpose::Completion);
    let lock = s.root().join(".git/index.lock");
    fs::write(&lock, "of somebody else").unwrap();
    // A run that opens now leaves a lock that is not ours alone.
    drop(s.open());
    assert!(lock.exists());
    std::thread::scope(|scope| {
        let placed = scope.spawn(|| agent.place(&mut r, commit));
        // The branch cannot have moved as long as the lock is there.
        assert_eq!(s.git(&["rev-list", "--count", "main"]), "1\n");
        fs::remove_file(&lock).unwrap();
        assert_eq!(placed.join().unwrap().unwrap().commit, commit);
    });
    assert_eq!(s.status(), "");
}
