//! Repositories that are not plain: submodules, other repositories inside, sparse checkouts, filters,
//! line ends, signing, hooks, and formats that libgit2 cannot open.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::{Agent, Scratch, attempt, claim, repo_path, shown};
use supervise::core::change::Mode;
use supervise::core::effect::Purpose;
use supervise::core::event::{PlaceRefusal, Preparation};
use supervise::core::facts::Ignored;
use supervise::core::ids::RunId;
use supervise::host::git::{Backend, GitError, Repository};

fn script(path: &std::path::Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn places_without_a_working_tree_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(Repository::open(dir.path()), Err(GitError::NotARepository { .. })));
    git2::Repository::init_bare(dir.path()).unwrap();
    assert!(matches!(Repository::open(dir.path()), Err(GitError::Bare { .. })));
}

#[test]
fn the_root_is_found_from_beneath() {
    let s = Scratch::committed(&[("a/b/c", "1\n")]);
    assert_eq!(Repository::open(&s.path("a/b")).unwrap().workspace(), s.root());
}

#[test]
fn submodules_and_repositories_inside_are_told_and_not_committed() {
    let lib = Scratch::committed(&[("lib.c", "1\n")]);
    let s = Scratch::committed(&[("w/a", "1\n")]);
    s.git(&["-c", "protocol.file.allow=always", "submodule", "add", "-q", lib.root().to_str().unwrap(), "w/sub"]);
    s.commit("sub");
    let mut r = s.open();
    let agent = Agent::new(&s, "a", &["w"]);
    agent.begin(&mut r);
    s.write("w/sub/lib.c", "2\n");
    let sub = s.path("w/sub");
    let sub = sub.to_str().unwrap();
    s.git(&["-C", sub, "-c", "user.name=x", "-c", "user.email=y", "commit", "-q", "-am", "inner"]);
    s.git(&["init", "-q", "w/embedded"]);
    s.write("w/embedded/file", "e\n");
    s.write("w/a", "2\n");
    let changes = agent.measure(&mut r);
    assert_eq!(shown(&changes), ["~w/a", "+w/embedded", "~w/sub"]);
    assert!(changes[1..].iter().all(|c| c.after.unwrap().mode == Mode::Submodule));
    agent.complete(&mut r);
    assert_eq!(s.changed_by("HEAD"), ["M w/a"]);
    assert_eq!(s.status(), " M w/sub\n?? w/embedded/\n");
    assert_eq!(r.survey().unwrap(), [repo_path("w/embedded"), repo_path("w/sub")]);
}

#[test]
fn sparse_and_flagged_entries_stay() {
    let s = Scratch::committed(&[("in/a", "1\n"), ("out/b", "1\n"), ("out/c", "1\n"), ("u", "1\n")]);
    s.git(&["sparse-checkout", "set", "--no-cone", "/in/", "/u"]);
    assert!(!s.path("out/b").exists());
    s.git(&["update-index", "--assume-unchanged", "u"]);
    s.write("u", "changed behind git's back\n");
    let flags = || s.git(&["ls-files", "-v", "out", "u"]);
    let before = flags();
    let mut r = s.open();
    let agent = Agent::new(&s, "a", &["in", "out"]);
    agent.begin(&mut r);
    s.write("in/a", "2\n");
    assert_eq!(shown(&agent.measure(&mut r)), ["~in/a"]);
    agent.complete(&mut r);
    assert_eq!(s.changed_by("HEAD"), ["M in/a"]);
    assert_eq!(flags(), before);
    assert_eq!(s.status(), "");
    // An agent writes where the checkout has a hole.
    let agent = Agent::new(&s, "b", &["out/b"]);
    agent.begin(&mut r);
    s.write("out/b", "2\n");
    agent.complete(&mut r);
    assert_eq!(s.changed_by("HEAD"), ["M out/b"]);
    assert_eq!(s.git(&["show", "HEAD:out/c"]), "1\n");
    assert_eq!(s.git(&["diff", "--cached", "--name-only"]), "");
}

/// The whole story in a repository of some other format.
fn story(s: &Scratch) {
    s.write("d/a", "1\n");
    s.write("d/b", "1\n");
    s.write("keep", "1\n");
    s.write(".gitignore", "*.log\n");
    s.commit("base");
    s.write("keep", "staged\n");
    s.git(&["add", "keep"]);
    s.write("d/x.log", "ignored\n");
    let mut r = s.open();
    let mut second = r.beside().unwrap();
    let ignored = |r: &mut Repository, path: &str| r.facts_of(&repo_path(path), false).unwrap().ignored;
    assert_eq!(ignored(&mut second, "d/y.log"), Ignored::File);
    assert_eq!(ignored(&mut second, "d/y.log/z"), Ignored::Beneath(repo_path("d/y.log")));
    assert_eq!(ignored(&mut second, "d/a"), Ignored::No);
    let agent = Agent::new(s, "a", &["d"]);
    agent.begin(&mut r);
    s.write("d/a", "2\n");
    s.write("d/new", "n\n");
    s.remove("d/b");
    assert_eq!(shown(&agent.measure(&mut r)), ["~d/a", "-d/b", "+d/new"]);
    assert_eq!(agent.complete(&mut r).index_left, []);
    assert_eq!(s.changed_by("HEAD"), ["M d/a", "D d/b", "A d/new"]);
    assert_eq!(s.status(), "M  keep\n");
    let again = Agent::new(s, "b", &["d"]);
    again.begin(&mut r);
    s.write("d/a", "3\n");
    s.remove("d/new");
    s.write("d/more", "m\n");
    let extra = repo_path("extra");
    s.write("extra", "e\n");
    let base = second.base_of(&extra, &again.dir()).unwrap();
    assert!(r.extend(&again.id, &extra, base).unwrap());
    s.remove("extra");
    let (restored, left) = again.fail(&mut r);
    assert_eq!((restored.len(), left.len()), (4, 0));
    assert_eq!(s.read("extra").unwrap(), b"e\n");
    s.remove("extra");
    assert_eq!(s.status(), "M  keep\n");
    assert_eq!(s.git(&["show", "refs/supervise/attempts/run-1/b/1:d/a"]), "3\n");
    let dirty = Agent::new(s, "c", &["keep"]);
    assert_eq!(dirty.prepare(&mut r), Preparation::Dirty { paths: vec![repo_path("keep")] });
    assert_eq!(r.survey().unwrap(), []);
    s.fsck();
}

#[test]
fn index_versions_and_split_and_sparse_ones() {
    for version in ["2", "3", "4"] {
        let s = Scratch::new();
        s.git(&["config", "index.version", version]);
        story(&s);
    }
    let s = Scratch::new();
    s.git(&["config", "core.splitIndex", "true"]);
    story(&s);
    assert_eq!(s.open().facts().unwrap().foreign_index, Some("it is split"));

    let s = Scratch::committed(&[("in/a", "1\n"), ("out/x/b", "1\n"), ("out/y/c", "1\n")]);
    s.git(&["sparse-checkout", "set", "--cone", "--sparse-index", "in"]);
    let mut r = s.open();
    assert_eq!(r.facts().unwrap().foreign_index, Some("it is sparse"));
    let agent = Agent::new(&s, "a", &["in"]);
    agent.begin(&mut r);
    s.write("in/a", "2\n");
    assert_eq!(agent.complete(&mut r).index_left, []);
    assert_eq!(s.changed_by("HEAD"), ["M in/a"]);
    assert_eq!(s.status(), "");
}

#[test]
fn formats_that_only_git_can_open() {
    for format in ["--object-format=sha256", "--ref-format=reftable"] {
        let s = Scratch::with(&[format]);
        story(&s);
        let facts = s.open().facts().unwrap();
        assert!(matches!(facts.backend, Backend::Command { .. }), "{format}: {facts:?}");
        assert_eq!(facts.identity.as_deref(), Some("Tess Ter <tess@example.org>"));
    }
    let s = Scratch::committed(&[("a", "1\n")]);
    assert_eq!(s.open().facts().unwrap().backend, Backend::Libgit2);
}

#[test]
fn filters_and_line_ends_are_gits_own() {
    let s = Scratch::new();
    s.git(&["config", "filter.shout.clean", "tr a-z A-Z"]);
    s.git(&["config", "filter.shout.smudge", "tr A-Z a-z"]);
    s.write(".gitattributes", "*.shout filter=shout\n*.txt text\n*.crlf text eol=crlf\n");
    s.write("a.shout", "quiet\n");
    s.write("b.txt", "one\ntwo\n");
    s.write("c.crlf", "one\r\ntwo\r\n");
    s.commit("base");
    assert_eq!(s.git(&["show", "HEAD:a.shout"]), "QUIET\n");
    // Bytes that git would not give back.
    s.write("a.shout", "qUIEt\n");
    s.git(&["add", "--renormalize", "."]);
    let mut r = s.open();
    assert_eq!(s.status(), "");
    let agent = Agent::new(&s, "a", &["*.shout", "*.txt", "*.crlf"]);
    agent.begin(&mut r);
    assert_eq!(shown(&agent.measure(&mut r)), Vec::<String>::new());
    s.write("a.shout", "other\n");
    s.write("b.txt", "one\r\nthree\r\n");
    s.write("c.crlf", "x\r\n");
    let (restored, left) = agent.fail(&mut r);
    assert_eq!((restored.len(), left.len()), (3, 0));
    assert_eq!(s.read("a.shout").unwrap(), b"qUIEt\n");
    assert_eq!(s.read("b.txt").unwrap(), b"one\ntwo\n");
    assert_eq!(s.read("c.crlf").unwrap(), b"one\r\ntwo\r\n");
    let agent = Agent::new(&s, "b", &["*.shout", "*.txt", "*.crlf"]);
    agent.begin(&mut r);
    s.write("a.shout", "other\n");
    s.write("b.txt", "one\r\nthree\r\n");
    s.write("c.crlf", "x\r\n");
    agent.complete(&mut r);
    assert_eq!(s.git(&["show", "HEAD:a.shout"]), "OTHER\n");
    assert_eq!(s.git(&["show", "HEAD:b.txt"]), "one\nthree\n");
    assert_eq!(s.git(&["show", "HEAD:c.crlf"]), "x\n");
    assert_eq!(s.status(), "");
}

#[test]
fn commits_are_signed_where_git_would_sign() {
    let s = Scratch::committed(&[("a", "1\n")]);
    let program = s.outside().join("fake-gpg");
    script(
        &program,
        "cat >/dev/null; echo '[GNUPG:] SIG_CREATED ' >&2; printf '%s\\n' '-----BEGIN PGP SIGNATURE-----' x '-----END PGP SIGNATURE-----'",
    );
    s.git(&["config", "gpg.program", program.to_str().unwrap()]);
    s.git(&["config", "commit.gpgsign", "true"]);
    let mut r = s.open();
    assert!(r.facts().unwrap().signing);
    let agent = Agent::new(&s, "a", &["a"]);
    agent.begin(&mut r);
    s.write("a", "2\n");
    agent.complete(&mut r);
    let commit = s.git(&["cat-file", "commit", "HEAD"]);
    assert!(commit.contains("\ngpgsig -----BEGIN PGP SIGNATURE-----"), "{commit}");
    assert!(commit.contains("Supervise-Agent: a"), "{commit}");
    assert_eq!(s.status(), "");
}

#[test]
fn hooks_run_apart_and_may_refuse() {
    let s = Scratch::committed(&[("a", "1\n"), ("b", "1\n")]);
    let hook = s.root().join(".git/hooks/pre-commit");
    script(
        &hook,
        "pwd > \"$(git rev-parse --git-common-dir)/ran-in\"\ntest \"$(git diff --cached --name-only)\" = a && grep -q good a",
    );
    s.write("b", "unsaved work of somebody else\n");
    let mut r = Repository::open(s.root()).unwrap();
    r.open_run(&RunId::new("run-1").unwrap(), true).unwrap();
    assert_eq!(r.facts().unwrap().hooks, ["pre-commit"]);
    let agent = Agent::new(&s, "a", &["a"]);
    agent.begin(&mut r);
    s.write("a", "bad\n");
    let commit = agent.freeze(&mut r, Purpose::Completion);
    assert!(matches!(agent.place(&mut r, commit), Err(PlaceRefusal::Hook { .. })));
    s.write("a", "good\n");
    agent.complete(&mut r);
    let ran_in = fs::read_to_string(s.root().join(".git/ran-in")).unwrap();
    assert!(!ran_in.starts_with(s.root().to_str().unwrap()), "{ran_in}");
    assert_eq!(s.git(&["worktree", "list"]).lines().count(), 1);
    assert_eq!(s.status(), " M b\n");

    script(&hook, "echo formatted >> a");
    let agent = Agent::new(&s, "b", &["a"]);
    agent.begin(&mut r);
    s.write("a", "again\n");
    let commit = agent.freeze(&mut r, Purpose::Completion);
    let refusal = agent.place(&mut r, commit).unwrap_err();
    assert_eq!(refusal, PlaceRefusal::Hook { error: "pre-commit changed files".to_owned() });
    assert_eq!(s.read("a").unwrap(), b"again\n");
}

#[test]
fn branches_are_made_and_switched_to_without_loss() {
    let s = Scratch::committed(&[("a", "1\n"), ("b", "1\n")]);
    let mut r = s.open();
    s.write("a", "unsaved\n");
    let head = r.switch_branch("agents/x").unwrap();
    assert_eq!(head.branch.as_deref(), Some("refs/heads/agents/x"));
    assert_eq!(s.status(), " M a\n");
    s.git(&["commit", "-q", "-am", "on x"]);
    s.write("a", "unsaved again\n");
    assert!(matches!(r.switch_branch("main"), Err(GitError::Switch { .. })));
    assert_eq!(s.read("a").unwrap(), b"unsaved again\n");
    s.git(&["checkout", "-q", "a"]);
    assert_eq!(r.switch_branch("main").unwrap().branch.as_deref(), Some("refs/heads/main"));
    assert_eq!(s.read("a").unwrap(), b"1\n");
    assert!(matches!(r.switch_branch("not..good"), Err(GitError::Switch { .. })));

    let s = Scratch::new();
    let mut r = s.open();
    assert_eq!(r.switch_branch("first").unwrap().branch.as_deref(), Some("refs/heads/first"));
}

#[test]
fn throwaway_worktrees_leave_nothing() {
    let s = Scratch::committed(&[("d/a", "1\n")]);
    let mut r = s.open();
    let commit = r.head().unwrap().commit.unwrap();
    let scratch = r.worktree_of(&commit).unwrap();
    let path = scratch.path().to_owned();
    assert!(!path.starts_with(s.root()));
    assert_eq!(fs::read(path.join("d/a")).unwrap(), b"1\n");
    fs::write(path.join("made"), "by verify").unwrap();
    drop(scratch);
    assert!(!path.exists());
    assert_eq!(s.git(&["worktree", "list"]).lines().count(), 1);
}

#[test]
fn large_files_are_streamed_and_unmerged_entries_are_dirty() {
    let s = Scratch::committed(&[("a", "1\n")]);
    let mut r = s.open();
    let agent = Agent::new(&s, "a", &["big"]);
    agent.begin(&mut r);
    let big: Vec<u8> = (0..20_000_000_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
    s.write("big", &big);
    agent.complete(&mut r);
    assert_eq!(s.status(), "");
    assert_eq!(s.git(&["cat-file", "-s", "HEAD:big"]), "20000000\n");
    assert_eq!(s.git(&["hash-object", "big"]), s.git(&["rev-parse", "HEAD:big"]));

    s.git(&["switch", "-q", "-c", "side"]);
    s.write("a", "2\n");
    s.commit("side");
    s.git(&["switch", "-q", "main"]);
    s.write("a", "3\n");
    s.commit("main");
    assert!(!s.command().args(["merge", "-q", "side"]).output().unwrap().status.success());
    assert_eq!(r.dirty(&claim(&["a"])).unwrap(), [repo_path("a")]);
    assert_eq!(r.dirty_many(&[(attempt("x").agent, &claim(&["big"]))]).unwrap(), []);
}

#[test]
fn permission_bits_can_be_off() {
    let s = Scratch::committed(&[("a", "1\n"), ("b", "1\n")]);
    s.git(&["config", "core.fileMode", "false"]);
    let mut r = s.open();
    let agent = Agent::new(&s, "a", &["a", "b"]);
    agent.begin(&mut r);
    fs::set_permissions(s.path("a"), fs::Permissions::from_mode(0o755)).unwrap();
    s.write("b", "2\n");
    agent.complete(&mut r);
    assert_eq!(s.changed_by("HEAD"), ["M b"]);
    assert!(s.git(&["ls-tree", "HEAD", "a"]).starts_with("100644"));
    assert_eq!(s.status(), "");
}

#[test]
fn what_cannot_be_read_stops_only_those_who_claim_it() {
    let s = Scratch::committed(&[("a", "1\n"), ("b", "1\n")]);
    s.write("private/file", "p\n");
    fs::set_permissions(s.path("private"), fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read_dir(s.path("private")).is_err() {
        let mut r = s.open();
        let agent = Agent::new(&s, "a", &["**/*.c", "a"]);
        agent.begin(&mut r);
        s.write("a", "2\n");
        agent.complete(&mut r);
        assert_eq!(s.changed_by("HEAD"), ["M a"]);
        assert_eq!(r.survey().unwrap(), []);
        let greedy = Agent::new(&s, "b", &["private"]);
        assert!(matches!(greedy.prepare(&mut r), Preparation::Failed { .. }));
    }
    fs::set_permissions(s.path("private"), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_commit_needs_somebody() {
    let s = Scratch::committed(&[("a", "1\n")]);
    s.git(&["config", "user.name", ""]);
    let mut r = s.open();
    assert_eq!(r.facts().unwrap().identity, None);
}

#[test]
fn locks_of_a_dead_supervisor_go_and_others_stay() {
    let s = Scratch::committed(&[("a", "1\n")]);
    let r = s.open();
    let now = jiff::Timestamp::now().as_second();
    let lock = |path: &str| {
        s.write(path, "");
        s.path(path)
    };
    let own = lock(".git/refs/supervise/attempts/run-1/a/1.lock");
    let branch = lock(".git/refs/heads/main.lock");
    let open = fs::File::create(s.path(".git/packed-refs.lock")).unwrap();
    let removed = r.remove_stale_locks(Some("refs/heads/main"), now - 10).unwrap();
    assert_eq!(removed, [own, branch], "one that somebody has open stays");
    drop(open);
    assert_eq!(r.remove_stale_locks(Some("refs/heads/main"), now + 1000).unwrap(), [] as [std::path::PathBuf; 0]);
    assert!(s.path(".git/packed-refs.lock").exists(), "it was there before the run");
    lock(".git/refs/heads/main.lock");
    assert!(!s.command().args(["commit", "-q", "--allow-empty", "-m", "x"]).output().unwrap().status.success());
}
