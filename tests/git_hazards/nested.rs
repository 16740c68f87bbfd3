//! Other repositories in the tree, and what git was told not to look at: nothing of the user's there is written,
//! committed or lost.

use super::support::TestRepo;

/// A session of one agent with a claim and a script.
fn one(claim: &str, script: &str) -> String {
    format!("[[agent]]\nid = \"a\"\nfiles = [{claim:?}]\ncommand = [\"sh\", \"-c\", '''{script}''']\n")
}

/// A submodule, a clone and a linked working tree, each with work of the user's that nobody has committed.
fn with_others() -> TestRepo {
    let inner = TestRepo::with(&[("f", "1\n")]);
    let repo = TestRepo::with(&[("d/own", "1\n")]);
    let from = inner.path();
    let from = from.to_str().unwrap();
    repo.git(&["-c", "protocol.file.allow=always", "submodule", "add", "-q", from, "d/sub"]);
    repo.git(&["commit", "-qm", "submodule"]);
    repo.git(&["-c", "protocol.file.allow=always", "clone", "-q", from, "d/clone"]);
    repo.git(&["worktree", "add", "-q", "d/tree", "-b", "other"]);
    for path in ["d/sub/f", "d/clone/f", "d/tree/d/own"] {
        repo.write(path, "the user's\n");
    }
    repo
}

#[test]
fn no_agent_writes_in_another_repository() {
    let repo = with_others();
    let script = "for f in sub/f clone/f tree/d/own sub/new clone/.git/config tree/.git; do echo mine > d/$f; done; \
                  mv d/clone d/moved; rm -rf d/clone/.git; rm d/sub/f; echo 2 > d/own";
    let ended = repo.run(&one("d/", script), &["--format", "json", "--allow-dirty"]).expect(0);
    for path in ["d/sub/f", "d/clone/f", "d/tree/d/own"] {
        assert_eq!(repo.read(path), "the user's\n", "{path}");
    }
    assert_eq!(repo.git(&["-C", "d/clone", "log", "--format=%s"]).lines().count(), 1);
    assert!(!repo.exists("d/moved") && !repo.exists("d/sub/new"));
    assert_eq!(repo.git(&["-C", "d/tree", "rev-parse", "--abbrev-ref", "HEAD"]), "other\n");
    assert_eq!(repo.files_of("feat(a): a"), ["d/own"]);
    let denied = ended.agent("a")["denials"].as_array().unwrap().clone();
    let kind = |path: &str| denied.iter().find(|d| d["path"] == path).map(|d| d["kind"].clone());
    for path in ["d/sub/f", "d/clone/f", "d/tree/d/own", "d/clone/.git/config", "d/tree/.git", "d/clone"] {
        assert_eq!(kind(path).as_ref().and_then(|k| k.as_str()), Some("nested"), "{path}: {denied:#?}");
    }
}

/// What a build has cloned can be made away with.
#[test]
fn a_repository_that_git_ignores_is_as_all_that_it_ignores() {
    let inner = TestRepo::with(&[("f", "1\n")]);
    let repo = TestRepo::with(&[("d/own", "1\n"), (".gitignore", "build/\n")]);
    repo.git(&["clone", "-q", inner.path().to_str().unwrap(), "build/deps/clone"]);
    repo.run(&one("d/", "rm -rf build; echo 2 > d/own"), &[]).expect(0);
    assert!(!repo.exists("build"));
    assert_eq!(repo.files_of("feat(a): a"), ["d/own"]);
}

/// Its own clone is an agent's to write: it was not there before.
#[test]
fn what_an_agent_clones_is_its_own() {
    let inner = TestRepo::with(&[("f", "1\n")]);
    let repo = TestRepo::with(&[("d/own", "1\n")]);
    let script = format!(
        "git clone -q {} d/clone && echo 2 > d/clone/f && git -C d/clone -c user.name=x -c user.email=x commit -qam in",
        inner.path().display()
    );
    let ended = repo.run(&one("d/", &script), &[]).expect(0);
    assert!(ended.stdout.contains("in the tree, not committed: d/clone"), "{}", ended.stdout);
}

/// To git a directory of which the index knows files stays one.
#[test]
fn a_tracked_directory_that_an_agent_makes_a_repository_of_stays_a_directory() {
    let repo = TestRepo::with(&[("d/f", "1\n")]);
    let script = "git init -q d; echo x > d/new; echo y >> d/f";
    repo.run(&one("d/", &format!("{script}; exit 1")), &[]).expect(1);
    assert_eq!(repo.read("d/f"), "1\n");
    assert!(!repo.exists("d/new"));
    let kept = String::from_utf8(repo.supervise().args(["salvage", "show", "a"]).output().unwrap().stdout).unwrap();
    assert!(kept.contains("+y") && kept.contains("d/new"), "{kept}");
    repo.run(&one("d/", script), &[]).expect(0);
    assert_eq!(repo.files_of("feat(a): a"), ["d/f", "d/new"]);
}

#[test]
fn what_is_assumed_unchanged_and_is_changed_is_the_users() {
    let repo = TestRepo::with(&[("d/f", "1\n")]);
    repo.git(&["update-index", "--assume-unchanged", "d/f"]);
    repo.write("d/f", "a secret\n");
    let session = one("d/", "echo mine >> d/f");
    let refused = repo.run(&session, &[]).expect(3);
    assert!(refused.stderr.contains("a: d/f"), "{}", refused.stderr);
    repo.run(&session, &["--allow-dirty"]).expect(0);
    assert_eq!(repo.subjects(), Vec::<String>::new());
}

/// What the user has renamed in the index is not there, before and after.
#[test]
fn a_file_made_where_the_user_renamed_one_away_goes_without_a_trace() {
    let repo = TestRepo::with(&[("d/f", "1\n")]);
    repo.git(&["mv", "d/f", "d/g"]);
    let before = repo.status();
    let ended = repo.run(&one("d/", "echo x > d/f; exit 1"), &["--allow-dirty", "--format", "json"]).expect(1);
    assert_eq!(repo.status(), before);
    let document: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(document["unattributed"], serde_json::json!([]), "{}", ended.stdout);
}

/// As root everything can be written, so this is about the ordinary user.
#[test]
fn a_directory_that_an_agent_closed_is_opened_to_put_its_files_back() {
    for repo in TestRepo::for_each_user(&[("d/f", "1\n")]) {
        let ended = repo.run(&one("d/", "echo 2 >> d/f; echo new > d/n; chmod 555 d; exit 1"), &[]).expect(1);
        assert_eq!(repo.read("d/f"), "1\n", "{}", ended.stdout);
        assert!(!repo.exists("d/n"));
        assert!(!ended.stdout.contains("not put back") && !ended.stdout.contains("nobody"), "{}", ended.stdout);
    }
}
