//! A run in the repository of somebody who goes on working in it, with all that git can be set up
//! to do: the branch, the index and the files of the user come first.

use std::path::PathBuf;
use std::time::Duration;

use crate::support::{Ended, TestRepo, eventually, executable, finish};

const LONG: Duration = Duration::from_secs(30);

fn sh(id: &str, files: &str, script: &str, more: &str) -> String {
    format!("[[agent]]\nid = \"{id}\"\ncommand = [\"sh\", \"-c\", '''{script}''']\nfiles = [\"{files}\"]\n{more}\n")
}

/// Two marker files beside the repository, and shell text that makes one and waits for the other.
struct Gate {
    reached: PathBuf,
    open: PathBuf,
}

impl Gate {
    fn new(repo: &TestRepo) -> Self {
        Self { reached: repo.tmp().join("reached"), open: repo.tmp().join("open") }
    }

    fn script(&self) -> String {
        let (reached, open) = (self.reached.display(), self.open.display());
        format!("touch {reached}; until test -e {open}; do sleep 0.02; done")
    }
}

/// Runs `session`; when its gate is reached does `meanwhile`, then lets it go on.
fn with_a_busy_user(repo: &TestRepo, gate: &Gate, session: &str, meanwhile: impl FnOnce()) -> Ended {
    let child = repo.start(session, &["--format", "json"]);
    assert!(eventually(LONG, || gate.reached.exists()), "the session never came to its gate");
    meanwhile();
    std::fs::write(&gate.open, "").unwrap();
    finish(child, LONG)
}

fn kind(ended: &Ended, id: &str) -> String {
    ended.agent(id)["reason"]["kind"].as_str().unwrap_or_default().to_owned()
}

#[track_caller]
fn check_clean(repo: &TestRepo) {
    assert_eq!(repo.status(), "");
    let fsck = repo.command("git").args(["fsck", "--no-dangling"]).output().unwrap();
    assert!(fsck.status.success(), "{}", String::from_utf8_lossy(&fsck.stderr));
    assert_eq!(std::fs::read_dir(repo.tmp()).unwrap().flatten().filter(|e| e.path().is_dir()).count(), 0);
    repo.assert_no_survivors();
}

#[test]
fn a_commit_of_the_user_to_another_path_is_built_upon() {
    let repo = TestRepo::new();
    let gate = Gate::new(&repo);
    let session = sh("a", "a", &format!("echo x > a; {}", gate.script()), "");
    let ended = with_a_busy_user(&repo, &gate, &session, || {
        repo.write("mine", "user\n");
        repo.git(&["add", "mine"]);
        repo.git(&["commit", "-qm", "user"]);
    });
    ended.expect(0);
    assert_eq!(repo.subjects(), ["user", "feat(a): a"]);
    assert_eq!(repo.files_of("feat(a): a"), ["a"]);
    check_clean(&repo);
}

/// The user commits his own version of the agent's path, while the agent runs or while its work is
/// being verified; and whether it would complete or not, his version stays on branch and disk.
#[test]
fn a_commit_of_the_user_to_the_agents_path_wins() {
    for (verify, exit, expected) in [(false, 0, "outside_edit"), (true, 0, "changed_underneath"), (false, 1, "exit")] {
        let repo = TestRepo::with(&[("a", "before\n")]);
        let gate = Gate::new(&repo);
        let session = if verify {
            sh("a", "*", "echo agent > a; echo agent > b", &format!("verify = \"{}\"", gate.script()))
        } else {
            sh("a", "*", &format!("echo agent > a; echo agent > b; {}; exit {exit}", gate.script()), "")
        };
        let ended = with_a_busy_user(&repo, &gate, &session, || {
            repo.write("a", "user\n");
            repo.git(&["add", "a"]);
            repo.git(&["commit", "-qm", "user"]);
        });
        let ended = ended.expect(1);
        assert_eq!(kind(&ended, "a"), expected);
        assert_eq!(repo.read("a"), "user\n");
        assert!(!repo.exists("b"), "what only the agent wrote is put back");
        let salvage = ended.agent("a")["salvage"].as_str().unwrap().to_owned();
        assert_eq!(repo.git(&["show", &format!("{salvage}:b")]), "agent\n");
        assert_eq!(repo.subjects(), ["user"]);
        check_clean(&repo);
    }
}

#[test]
fn a_branch_that_moved_away_gets_nothing() {
    let moves: [&[&str]; 3] = [
        &["checkout", "-q", "-b", "other"],
        &["reset", "-q", "--hard", "HEAD~1"],
        &["update-ref", "-d", "refs/heads/main"],
    ];
    for step in moves {
        let repo = TestRepo::new();
        repo.write("second", "2\n");
        repo.git(&["add", "second"]);
        repo.git(&["commit", "-qm", "second"]);
        let gate = Gate::new(&repo);
        let session = sh("a", "a", &format!("echo x > a; {}", gate.script()), "");
        let ended = with_a_busy_user(&repo, &gate, &session, || {
            repo.git(step);
        });
        let ended = ended.expect(1);
        assert_eq!(kind(&ended, "a"), "branch_moved", "{step:?}");
        let salvage = ended.agent("a")["salvage"].as_str().unwrap().to_owned();
        assert_eq!(repo.git(&["show", &format!("{salvage}:a")]), "x\n");
        assert!(!repo.exists("a"));
        repo.assert_no_survivors();
    }
}

#[test]
fn what_the_user_staged_meanwhile_stays_staged_and_is_told() {
    let repo = TestRepo::with(&[("a", "before\n")]);
    let gate = Gate::new(&repo);
    let session = sh("a", "a", &format!("echo agent > a; {}", gate.script()), "");
    let ended = with_a_busy_user(&repo, &gate, &session, || {
        // The index alone: an edit of the file would be an edit from outside.
        let blob = repo.tmp().join("staged");
        std::fs::write(&blob, "staged\n").unwrap();
        let id = repo.git(&["hash-object", "-w", blob.to_str().unwrap()]);
        repo.git(&["update-index", "--cacheinfo", &format!("100644,{},a", id.trim())]);
    });
    let ended = ended.expect(0);
    assert_eq!(repo.git(&["show", "HEAD:a"]), "agent\n");
    assert_eq!(repo.git(&["show", ":a"]), "staged\n");
    assert_eq!(ended.json()["unattributed"], serde_json::json!([]), "whose the entry is, is known");
    assert!(ended.stderr.contains("your staged version of 1 path was kept: git diff --cached"), "{}", ended.stderr);
}

#[test]
fn an_edit_between_the_end_and_the_commit_is_neither_committed_nor_lost() {
    let repo = TestRepo::new();
    let gate = Gate::new(&repo);
    let session = sh("a", "*", "echo agent > a; echo agent > b", &format!("verify = \"{}\"", gate.script()));
    let ended = with_a_busy_user(&repo, &gate, &session, || repo.write("a", "user\n")).expect(1);
    assert_eq!(kind(&ended, "a"), "changed_underneath");
    assert_eq!(repo.read("a"), "user\n");
    assert_eq!(repo.status(), "?? a\n");
    let salvage = ended.agent("a")["salvage"].as_str().unwrap().to_owned();
    assert_eq!(repo.git(&["show", &format!("{salvage}:a")]), "agent\n");
    assert!(ended.stderr.contains(&format!("its work: git show {salvage}")), "{}", ended.stderr);
}

#[test]
fn a_taken_index_lock_is_waited_for_but_not_for_ever() {
    let repo = TestRepo::new();
    let lock = repo.path().join(".git/index.lock");
    let gate = Gate::new(&repo);
    let session = sh("a", "a", &format!("echo x > a; {}", gate.script()), "");
    let ended = with_a_busy_user(&repo, &gate, &session, || std::fs::write(&lock, "").unwrap()).expect(1);
    assert!(lock.exists(), "a lock of somebody else is not ours to remove");
    assert!(ended.agent("a")["reason"]["text"].as_str().unwrap().contains("index.lock"));
    assert!(ended.agent("a")["salvage"].is_string());
    std::fs::remove_file(&lock).unwrap();
    check_clean(&repo);

    let slow = sh("b", "b", "echo x > b", "");
    std::fs::write(&lock, "").unwrap();
    let child = repo.start(&slow, &[]);
    assert!(eventually(LONG, || repo.exists("b")));
    std::fs::remove_file(&lock).unwrap();
    finish(child, LONG).expect(0);
    assert_eq!(repo.subjects(), ["feat(b): b"]);
    check_clean(&repo);
}

#[test]
fn signing_is_honoured_and_its_failure_loses_nothing() {
    let repo = TestRepo::new();
    let gpg = repo.tmp().join("gpg");
    executable(
        &gpg,
        "#!/bin/sh\ncat > /dev/null\necho '[GNUPG:] SIG_CREATED D' >&2\n\
         printf -- '-----BEGIN PGP SIGNATURE-----\\n\\nfake\\n-----END PGP SIGNATURE-----\\n'\n",
    );
    repo.git(&["config", "gpg.program", gpg.to_str().unwrap()]);
    repo.git(&["config", "commit.gpgSign", "true"]);
    repo.run(&sh("a", "a", "echo x > a", ""), &[]).expect(0);
    assert!(repo.git(&["cat-file", "commit", "HEAD"]).contains("\ngpgsig -----BEGIN PGP SIGNATURE-----\n"));
    executable(&gpg, "#!/bin/sh\nexit 1\n");
    let ended = repo.run(&sh("b", "b", "echo x > b", ""), &["--format", "json"]).expect(1);
    assert_eq!(kind(&ended, "b"), "git");
    let salvage = ended.agent("b")["salvage"].as_str().expect("unsigned salvage").to_owned();
    assert_eq!(repo.git(&["show", &format!("{salvage}:b")]), "x\n");
    check_clean(&repo);
}

#[test]
fn filters_and_line_ends_are_honoured_both_ways() {
    let repo = TestRepo::new();
    let (up, down) = (repo.tmp().join("up"), repo.tmp().join("down"));
    executable(&up, "#!/bin/sh\ntr a-z A-Z\n");
    executable(&down, "#!/bin/sh\ntr A-Z a-z\n");
    repo.git(&["config", "filter.up.clean", up.to_str().unwrap()]);
    repo.git(&["config", "filter.up.smudge", down.to_str().unwrap()]);
    repo.git(&["config", "filter.up.required", "true"]);
    repo.git(&["config", "core.autocrlf", "true"]);
    repo.write(".gitattributes", "*.up filter=up -text\n");
    for (path, text) in [("done.up", "old\n"), ("bad.up", "old\n"), ("done.txt", "old\r\n"), ("bad.txt", "old\r\n")] {
        repo.write(path, text);
    }
    repo.git(&["add", "-A"]);
    repo.git(&["commit", "-qm", "begin"]);
    let session = [
        sh("done", "done.*", "echo new >> done.up; printf \"new\\r\\n\" >> done.txt", ""),
        sh("bad", "bad.*", "echo new >> bad.up; printf \"new\\r\\n\" >> bad.txt; exit 1", ""),
    ]
    .concat();
    repo.run(&session, &[]).expect(1);
    assert_eq!(repo.git(&["show", "HEAD:done.up"]), "OLD\nNEW\n");
    assert_eq!(repo.git(&["show", "HEAD:done.txt"]), "old\nnew\n");
    assert_eq!((repo.read("done.up"), repo.read("bad.up")), ("old\nnew\n".to_owned(), "old\n".to_owned()));
    assert_eq!(repo.read("bad.txt"), "old\r\n");
    check_clean(&repo);
}

#[test]
fn hooks_run_apart_when_asked_for_and_are_named_when_not() {
    let repo = TestRepo::new();
    let hook = "#!/bin/sh\nif git diff --cached --name-only | grep -q bad; then echo no bad please; exit 1; fi\n\
                if test -e changed; then echo more >> changed; fi\n";
    executable(&repo.path().join(".git/hooks/pre-commit"), hook);
    let agents = ["good", "bad", "changed"].map(|id| sh(id, id, &format!("echo {{{{attempt}}}} >> {id}"), "")).concat();
    let asked = format!("[session]\ngit_hooks = \"run\"\n{agents}");
    let ended = repo.run(&asked, &["--format", "json"]).expect(1);
    assert_eq!(repo.subjects(), ["feat(good): good"]);
    for (id, word) in [("bad", "no bad please"), ("changed", "changed files")] {
        assert_eq!(kind(&ended, id), "hook");
        assert!(ended.agent(id)["reason"]["text"].as_str().unwrap().contains(word), "{id}");
        assert!(ended.agent(id)["salvage"].is_string() && !repo.exists(id), "{id}");
    }
    check_clean(&repo);
    let ended = repo.run(&agents, &[]).expect(0);
    assert!(ended.stderr.contains("commit hooks are not run (pre-commit)"), "{}", ended.stderr);
    check_clean(&repo);
}

#[test]
fn repositories_within_are_reported_with_their_agent_and_not_descended_into() {
    let inner = TestRepo::with(&[("f", "1\n")]);
    let repo = TestRepo::new();
    let from = inner.path();
    repo.git(&["-c", "protocol.file.allow=always", "submodule", "add", "-q", from.to_str().unwrap(), "d/sub"]);
    repo.git(&["commit", "-qm", "submodule"]);
    let before = repo.git(&["rev-parse", "HEAD:d/sub"]);
    let script = "echo x > d/a; cd d; echo 2 > sub/f; git -C sub -c user.name=x -c user.email=x commit -qam in; \
                  git init -q nest; echo 1 > nest/f";
    // The gate lets no agent write a submodule's git directory.
    let ended = repo.run(&sh("a", "d/", script, ""), &["--no-gate"]).expect(0);
    assert_eq!(repo.files_of("feat(a): a"), ["d/a"]);
    assert_eq!(repo.git(&["rev-parse", "HEAD:d/sub"]), before);
    assert!(ended.stdout.contains("in the tree, not committed: d/nest, d/sub"), "{}", ended.stdout);
    assert!(!ended.stdout.contains("by nobody"), "{}", ended.stdout);
    assert!(ended.stderr.contains("1 file: git show"), "{}", ended.stderr);
}

#[test]
fn a_linked_worktree_shares_the_one_supervisor() {
    let repo = TestRepo::new();
    let linked = repo.tmp().join("linked");
    repo.git(&["worktree", "add", "-q", linked.to_str().unwrap(), "-b", "other"]);
    let gate = Gate::new(&repo);
    let session = repo.session(&sh("a", "a", &format!("echo x > a; {}", gate.script()), ""));
    let mut command = repo.supervise();
    command.current_dir(&linked).arg("run").arg(&session);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let child = command.spawn().unwrap();
    assert!(eventually(LONG, || gate.reached.exists()));
    let second = Ended::of(&repo.supervise().arg("run").arg(&session).output().unwrap()).expect(3);
    assert!(second.stderr.contains("another supervisor is running"), "{}", second.stderr);
    std::fs::write(&gate.open, "").unwrap();
    finish(child, LONG).expect(0);
    assert_eq!(repo.git(&["log", "-1", "--format=%s", "other"]), "feat(a): a\n");
    assert_eq!(repo.git(&["log", "--format=%s", "main"]), "begin\n");
    assert!(repo.exists(".git/supervise/current") && !linked.join("supervise").exists());
    assert_eq!(repo.git(&["-C", linked.to_str().unwrap(), "status", "--porcelain"]), "");
    repo.assert_no_survivors();
}

#[test]
fn an_agent_whose_tree_is_kept_is_named_with_what_it_left() {
    let repo = TestRepo::new();
    let session = sh("a", "a", "echo x > a; exit 1", "on_abort = \"keep\"");
    let ended = repo.run(&session, &[]).expect(1);
    assert_eq!(repo.read("a"), "x\n");
    assert!(ended.stdout.contains("in the tree, not committed: a"), "{}", ended.stdout);
    assert!(!ended.stdout.contains("by nobody"), "{}", ended.stdout);
}

#[test]
fn what_was_dirty_before_is_kept_beside_the_commit_and_told() {
    let repo = TestRepo::new();
    repo.write("dirty", "mine\n");
    let session = sh("a", "*", "echo agent >> dirty; echo agent > b", "");
    let ended = repo.run(&session, &["--allow-dirty"]).expect(0);
    assert_eq!(repo.files_of("feat(a): a"), ["b"]);
    assert_eq!(repo.read("dirty"), "mine\nagent\n");
    assert!(ended.stdout.contains("in the tree, not committed: dirty"), "{}", ended.stdout);
    assert!(ended.stdout.contains("supervise salvage show a/1"), "{}", ended.stdout);
    assert!(!ended.stdout.contains("by nobody"), "{}", ended.stdout);
}

#[test]
fn forty_agents_at_once_get_their_forty_commits() {
    let repo = TestRepo::new();
    let session: String =
        (0..40).map(|n| sh(&format!("a{n}"), &format!("f{n}"), &format!("echo {n} > f{n}"), "")).collect();
    repo.run(&session, &["-j", "40"]).expect(0);
    let mut subjects = repo.subjects();
    subjects.sort();
    subjects.dedup();
    assert_eq!(subjects.len(), 40);
    assert_eq!(repo.git(&["ls-files", "f*"]).lines().count(), 40);
    check_clean(&repo);
}
