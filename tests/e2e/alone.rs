//! The watch alone (`--no-gate`): who is caught writing is certain, and only that ends anybody.

use std::time::Duration;

use crate::support::{TestRepo, eventually, finish};

const LONG: Duration = Duration::from_secs(60);

fn sh(id: &str, files: &str, script: &str, more: &str) -> String {
    format!("[[agent]]\nid = \"{id}\"\ncommand = [\"sh\", \"-c\", '''{script}''']\nfiles = {files}\n{more}\n")
}

/// It holds the file open, so that whoever looks finds it.
const HOLD: &str = "exec 3>> FILE; echo stray >&3; sleep 600";

#[test]
fn who_is_caught_writing_anothers_file_is_ended_and_the_file_is_nobodys_alone() {
    let repo = TestRepo::with(&[("a.txt", "1\n"), ("b.txt", "1\n")]);
    let owner = sh("owner", "[\"a.txt\"]", "echo mine >> a.txt; until grep -q stray a.txt; do sleep 0.05; done", "");
    let stray = sh("stray", "[\"b.txt\"]", &HOLD.replace("FILE", "a.txt"), "grace = \"100ms\"");
    let ended = repo.run(&[owner, stray].concat(), &["--no-gate", "--format", "json"]).expect(1);
    assert_eq!(ended.agent("stray")["state"], "TERMINATED");
    assert_eq!(ended.agent("stray")["reason"]["kind"], "conflict");
    let conflict = &ended.json()["conflicts"][0];
    assert_eq!((&conflict["attribution"], &conflict["resolution"]), (&"certain".into(), &"end_writer".into()));
    assert_eq!(ended.agent("owner")["reason"]["kind"], "outside_edit", "the two cannot be told apart any more");
    assert!(ended.agent("owner")["salvage"].is_string());
    assert_eq!(repo.subjects(), Vec::<String>::new());
    assert!(repo.read("a.txt").contains("stray"), "nothing of a mixed path is put back");
    repo.assert_no_survivors();
}

/// What it wrote has landed, so there is nothing to refuse, and nothing clean to begin anew on.
#[test]
fn policies_of_a_conflict_that_cannot_be_refused() {
    for (policy, state, kind) in [("deny", "TERMINATED", "conflict"), ("wait", "FAILED", "dirty_claim")] {
        let repo = TestRepo::with(&[("a.txt", "1\n"), ("b.txt", "1\n")]);
        let owner =
            sh("owner", "[\"a.txt\"]", "echo mine >> a.txt; until grep -q stray a.txt; do sleep 0.05; done", "");
        let options = format!("grace = \"100ms\"\non_conflict = \"{policy}\"");
        let stray = sh("stray", "[\"b.txt\"]", &HOLD.replace("FILE", "a.txt"), &options);
        let ended = repo.run(&[owner, stray].concat(), &["--no-gate", "--format", "json"]).expect(1);
        let stray = ended.agent("stray");
        assert_eq!((&stray["state"], &stray["reason"]["kind"]), (&state.into(), &kind.into()), "{policy}: {stray:#}");
        repo.assert_no_survivors();
    }
}

/// Nothing of its own is committed, and what it left is told.
#[test]
fn who_leaves_only_what_nobody_declared_has_committed_nothing() {
    let repo = TestRepo::with(&[("a.txt", "1\n"), ("b.txt", "1\n")]);
    let script = HOLD.replace("FILE", "a.txt").replace("600", "2");
    let session = sh("stray", "[\"b.txt\"]", &script, "on_undeclared = \"warn\"");
    let ended = repo.run(&session, &["--no-gate", "--format", "json"]).expect(0);
    let stray = ended.agent("stray");
    assert_eq!((&stray["state"], &stray["reason"]["kind"]), (&"COMPLETED".into(), &"nothing_committed".into()));
    assert_eq!(stray["in_tree"], serde_json::json!(["a.txt"]));
    assert!(ended.stderr.contains("nothing committed, 1 file left in the tree"), "{}", ended.stderr);
}

#[test]
fn who_is_caught_writing_what_nobody_declared_is_treated_as_its_policy_says() {
    for (policy, state, kind) in
        [("deny", "TERMINATED", "undeclared"), ("kill", "TERMINATED", "undeclared"), ("warn", "TIMEOUT", "timeout")]
    {
        let repo = TestRepo::with(&[("a.txt", "1\n"), ("b.txt", "1\n")]);
        let options = format!("grace = \"100ms\"\ntimeout = \"3s\"\non_undeclared = \"{policy}\"");
        let session = sh("stray", "[\"b.txt\"]", &HOLD.replace("FILE", "a.txt"), &options);
        let ended = repo.run(&session, &["--no-gate", "--format", "json"]).expect(1);
        assert_eq!(
            (&ended.agent("stray")["state"], &ended.agent("stray")["reason"]["kind"]),
            (&state.into(), &kind.into())
        );
        let told = &ended.agent("stray")["in_tree"];
        assert_eq!(told, &serde_json::json!(["a.txt"]), "whose it is, is known: {policy}");
        repo.assert_no_survivors();
    }
}

#[test]
fn an_edit_from_outside_ends_nobody() {
    let repo = TestRepo::with(&[("a.txt", "1\n"), ("b.txt", "1\n")]);
    let (reached, open) = (repo.tmp().join("reached"), repo.tmp().join("open"));
    let wait = format!("touch {}; until test -e {}; do sleep 0.05; done", reached.display(), open.display());
    let script = format!("{wait}; echo mine > b.txt");
    let child = repo.start(&sh("calm", "[\"b.txt\"]", &script, ""), &["--no-gate", "--format", "json"]);
    assert!(eventually(LONG, || reached.exists()));
    repo.write("a.txt", "the user's\n");
    std::fs::write(&open, "").unwrap();
    let ended = finish(child, LONG).expect(0);
    assert_eq!(ended.json()["unattributed"], serde_json::json!(["a.txt"]));
    assert_eq!(repo.files_of("feat(calm): calm"), ["b.txt"]);
}

/// Nobody is asked at a first write, so two that may write one path do not run at once.
#[test]
fn late_files_are_locked_from_the_start() {
    let repo = TestRepo::with(&[("shared.txt", "0\n")]);
    let agents = ["one", "two"].map(|id| {
        let script = format!("echo {id} >> shared.txt; echo {id} > {id}.txt");
        sh(id, &format!("[\"{id}.txt\"]"), &script, "late = [\"shared.txt\"]")
    });
    let ended = repo.run(&agents.concat(), &["--no-gate", "--format", "json"]).expect(0);
    assert!(ended.stderr.contains("`late` files are locked from the start"), "{}", ended.stderr);
    assert_eq!(ended.agent("two")["locks"]["exclusive"], serde_json::json!(["two.txt", "shared.txt"]));
    assert_eq!(repo.read("shared.txt"), "0\none\ntwo\n");
    for id in ["one", "two"] {
        let mut files = ["shared.txt".to_owned(), format!("{id}.txt")];
        files.sort();
        assert_eq!(repo.files_of(&format!("feat({id}): {id}")), files, "{id}");
    }
    assert_eq!(repo.status(), "");
}
