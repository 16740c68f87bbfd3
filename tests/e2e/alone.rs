//! The watch alone (`--no-gate`): who is caught writing is certain, and only that ends anybody.
//!
//! `owner` declared `a.txt`, `stray` declared `b.txt` and writes `a.txt` as well, or what nobody declared.

use std::process::Child;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Ended, TestRepo, eventually, finish};

const LONG: Duration = Duration::from_secs(60);

const FILES: &[(&str, &str)] = &[("a.txt", "1\n"), ("b.txt", "1\n")];

/// Waits for a file outside the workspace.
const UNTIL_GO: &str = "until test -e $F/go; do sleep 0.05; done";
/// Writes what it declared, and stays.
const OWNS: &str = "echo mine >> a.txt; UNTIL_GO";
/// Has the file open, so that whoever looks finds it; what it writes there is seen again and again.
const HOLDS: &str = "echo own > .git/own; mv .git/own b.txt; until grep -q READY a.txt; do sleep 0.05; done
    exec 3>> a.txt; until test -e $F/go; do echo stray >&3; sleep 0.1; done; exec 3>&-";
/// Is over before anybody can look: the file has been closed before it gets its name.
const UNSEEN: &str =
    "cat a.txt > .git/part; echo stray >> .git/part; mv .git/part a.txt; echo own > .git/own; mv .git/own b.txt";

fn sh(id: &str, files: &str, script: &str, more: &str) -> String {
    let script = script.replace("UNTIL_GO", UNTIL_GO);
    format!("[[agent]]\nid = \"{id}\"\ncommand = [\"sh\", \"-c\", '''{script}''']\nfiles = {files}\n{more}\n")
}

/// The owner and the one that writes its file.
fn pair(owner: &str, stray: &str) -> String {
    let owner = sh("owner", "[\"a.txt\"]", OWNS, &format!("grace = \"100ms\"\n{owner}"));
    let stray = sh("stray", "[\"b.txt\"]", &HOLDS.replace("READY", "mine"), &format!("grace = \"100ms\"\n{stray}"));
    owner + &stray
}

/// One that holds open what nobody declared.
fn single(more: &str) -> String {
    sh("stray", "[\"b.txt\"]", &HOLDS.replace("READY", "1"), &format!("grace = \"100ms\"\n{more}"))
}

/// Starts them with the watch alone, with a place to meet.
fn start(repo: &TestRepo, agents: &str) -> Child {
    let place = repo.tmp();
    let session = format!("[defaults]\nenv = {{ F = {:?} }}\n{agents}", place.to_str().unwrap());
    repo.start(&session, &["--no-gate", "--format", "json"])
}

/// Runs it with the watch alone; who waits goes on once there is a record of this kind, and `decide` was done.
#[track_caller]
fn met(repo: &TestRepo, agents: &str, kind: &str, decide: impl FnOnce()) -> Ended {
    let child = start(repo, agents);
    let found = eventually(LONG, || !told(repo, kind).is_empty());
    assert!(found, "there is no {kind}: {}", repo.ask(&["timeline"]));
    decide();
    std::fs::write(repo.tmp().join("go"), "").unwrap();
    let ended = finish(child, LONG);
    assert!(matches!(ended.code, Some(0 | 1)), "{ended:?}");
    let layers = &ended.json()["layers"];
    assert_eq!((&layers["gate"], &layers["watch"]), (&json!(false), &json!(true)), "{}", ended.stderr);
    repo.assert_no_survivors();
    ended
}

/// The records of this kind, of a run that may not have any yet.
fn told(repo: &TestRepo, kind: &str) -> Vec<Value> {
    let output = repo.supervise().args(["timeline", "--format", "json"]).output().unwrap();
    let records = String::from_utf8_lossy(&output.stdout).into_owned();
    let records = records.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    records.filter(|record| record["kind"] == kind).collect()
}

#[track_caller]
fn assert_state(ended: &Ended, id: &str, state: &str, reason: Option<&str>) {
    let agent = ended.agent(id);
    let kind = agent["reason"]["kind"].as_str();
    assert_eq!((agent["state"].as_str(), kind), (Some(state), reason), "{agent:#}\n{}", ended.stderr);
}

/// The one conflict: found with the writer known for certain, and what it came to.
#[track_caller]
fn assert_conflict(ended: &Ended, resolution: &str, by: &str) {
    let json = ended.json();
    let conflicts = json["conflicts"].as_array().unwrap();
    assert_eq!(conflicts.len(), 1, "{conflicts:#?}");
    let fields = ["path", "holders", "writer", "attribution", "resolution", "decided_by"];
    let found: Vec<&Value> = fields.iter().map(|field| &conflicts[0][field]).collect();
    assert_eq!(json!(found), json!(["a.txt", ["owner"], "stray", "certain", resolution, by]), "{}", ended.stderr);
    assert!(ended.stderr.contains("CONFLICT: owner and stray both modifying a.txt"), "{}", ended.stderr);
}

/// What is in the file is of both, and can be nobody's commit.
#[track_caller]
fn assert_nobodys(repo: &TestRepo, ended: &Ended) {
    assert_state(ended, "owner", "FAILED", Some("outside_edit"));
    assert!(ended.agent("owner")["salvage"].is_string());
    assert!(repo.read("a.txt").contains("stray"), "nothing of a mixed path is put back");
    assert_eq!(repo.git(&["show", "HEAD:a.txt"]), "1\n");
}

#[test]
fn terminate_and_deny_end_the_writer_for_what_cannot_be_refused_any_more() {
    for policy in ["terminate", "deny"] {
        for repo in TestRepo::for_each_user(FILES) {
            let session = pair("priority = 5", &format!("priority = 1\non_conflict = \"{policy}\""));
            let ended = met(&repo, &session, "conflict_resolved", || {}).expect(1);
            assert_state(&ended, "stray", "TERMINATED", Some("conflict"));
            assert_conflict(&ended, "end_writer", "policy");
            assert_nobodys(&repo, &ended);
            assert_eq!(repo.subjects(), Vec::<String>::new());
            assert_eq!(repo.read("b.txt"), "1\n", "put back");
        }
    }
}

/// There is nothing clean to begin anew on.
#[test]
fn wait_does_not_begin_again_over_what_it_wrote() {
    for repo in TestRepo::for_each_user(FILES) {
        let ended = met(&repo, &pair("", "on_conflict = \"wait\""), "conflict_resolved", || {}).expect(1);
        assert_conflict(&ended, "writer_waits", "policy");
        assert_state(&ended, "stray", "FAILED", Some("dirty_claim"));
        assert_nobodys(&repo, &ended);
        assert_eq!(repo.read("b.txt"), "1\n", "put back");
    }
}

#[test]
fn priority_ends_the_lower_one() {
    for (owner, stray) in [("priority = 2", "priority = 3"), ("", "")] {
        for repo in TestRepo::for_each_user(FILES) {
            let session = pair(owner, &format!("{stray}\non_conflict = \"priority\""));
            let ended = met(&repo, &session, "conflict_resolved", || {}).expect(1);
            assert_state(&ended, "stray", "TERMINATED", Some("conflict"));
            assert_conflict(&ended, "end_writer", "policy");
            assert_nobodys(&repo, &ended);
        }
    }
}

/// The holder makes room and is tried again at no cost; the path is the writer's from then on.
#[test]
fn priority_ends_a_holder_that_is_lower() {
    for repo in TestRepo::for_each_user(FILES) {
        let agents = pair("priority = 4\nretries = 0", "priority = 3\non_conflict = \"priority\"");
        let ended = met(&repo, &agents, "agent_requeued", || {}).expect(0);
        assert_conflict(&ended, "requeue_holder", "policy");
        assert_winner(&repo, &ended);
        assert_state(&ended, "owner", "COMPLETED", None);
        assert_eq!(ended.agent("owner")["attempt"], 2);
        assert_eq!(repo.subjects(), ["feat(stray): stray", "feat(owner): owner"]);
        assert!(repo.read("a.txt").ends_with("stray\nmine\n"), "{}", repo.read("a.txt"));
    }
}

/// The writer was kept: what it wrote is committed, and the file is what it left.
#[track_caller]
fn assert_winner(repo: &TestRepo, ended: &Ended) {
    assert_state(ended, "stray", "COMPLETED", None);
    assert_eq!(ended.json()["conflicts"][0]["verified"], true);
    assert_eq!(repo.files_of("feat(stray): stray"), ["a.txt", "b.txt"]);
    assert_eq!(told(repo, "locked")[0]["how"], "won");
    assert!(ended.agent("owner")["salvage"].is_string(), "what the other had is kept");
    assert_eq!(repo.status(), "");
}

/// Runs the two with a conflict that stays open, and what `decide` does about it.
#[track_caller]
fn by_hand(repo: &TestRepo, decide: impl FnOnce()) -> Ended {
    met(repo, &pair("", "on_conflict = \"manual\""), "conflict_recommended", || {
        let status: Value = serde_json::from_str(&repo.ask(&["status", "--format", "json"])).unwrap();
        let states = status["agents"].as_array().unwrap().iter().map(|agent| agent["state"].clone());
        assert_eq!(states.collect::<Vec<_>>(), [json!("RUNNING"), json!("CONFLICT")], "both live");
        decide();
    })
}

/// Whoever is decided against has ended.
fn until_one_has_ended(repo: &TestRepo) {
    assert!(eventually(LONG, || !told(repo, "agent_ended").is_empty()));
}

#[test]
fn manual_lets_a_person_keep_the_holder() {
    for repo in TestRepo::for_each_user(FILES) {
        let ended = by_hand(&repo, || {
            repo.ask(&["resolve", "1", "--keep", "owner", "--terminate", "stray"]);
            until_one_has_ended(&repo);
        })
        .expect(1);
        assert_conflict(&ended, "end_writer", "person");
        assert_state(&ended, "stray", "TERMINATED", Some("conflict"));
        assert_nobodys(&repo, &ended);
    }
}

#[test]
fn manual_lets_a_person_keep_the_writer() {
    for repo in TestRepo::for_each_user(FILES) {
        let ended = by_hand(&repo, || {
            repo.ask(&["resolve", "--keep", "stray", "--terminate", "owner"]);
            until_one_has_ended(&repo);
        })
        .expect(1);
        assert_conflict(&ended, "end_holder", "person");
        assert_state(&ended, "owner", "TERMINATED", Some("conflict"));
        assert_winner(&repo, &ended);
    }
}

#[test]
fn manual_lets_a_person_put_the_writer_in_line() {
    for repo in TestRepo::for_each_user(FILES) {
        let ended = by_hand(&repo, || {
            repo.ask(&["resolve", "--wait"]);
            let gone = eventually(LONG, || !told(&repo, "agent_requeued").is_empty());
            assert!(gone, "{}", repo.ask(&["timeline"]));
        })
        .expect(1);
        assert_conflict(&ended, "writer_waits", "person");
        assert_state(&ended, "stray", "FAILED", Some("dirty_claim"));
        assert_nobodys(&repo, &ended);
    }
}

#[test]
fn an_open_conflict_is_moot_when_one_is_gone() {
    for repo in TestRepo::for_each_user(FILES) {
        let ended = by_hand(&repo, || {}).expect(1);
        assert_conflict(&ended, "moot", "nobody");
        assert!(told(&repo, "end_intended").is_empty());
        assert_nobodys(&repo, &ended);
        assert_state(&ended, "stray", "COMPLETED", None);
        assert_eq!(repo.files_of("feat(stray): stray"), ["b.txt"]);
        assert_eq!(ended.agent("stray")["in_tree"], json!(["a.txt"]));
    }
}

/// A file that another only needs unchanged is protected as well.
#[test]
fn who_is_caught_writing_what_another_needs_unchanged_is_ended() {
    for repo in TestRepo::for_each_user(FILES) {
        let reader = sh("owner", "[\"c.txt\"]", "UNTIL_GO", "reads = [\"a.txt\"]");
        let ended = met(&repo, &(reader + &single("")), "conflict_resolved", || {}).expect(1);
        assert_conflict(&ended, "end_writer", "policy");
        assert_eq!(ended.json()["conflicts"][0]["lock"], "shared");
        assert_state(&ended, "stray", "TERMINATED", Some("conflict"));
        assert_state(&ended, "owner", "COMPLETED", Some("without_changes"));
        assert_eq!(repo.subjects(), Vec::<String>::new());
    }
}

/// When two have it open it is not known which of them wrote: nobody is ended.
#[test]
fn who_writes_what_another_has_open_too_is_not_certain() {
    for policy in ["terminate", "deny", "priority", "wait", "manual"] {
        for repo in TestRepo::for_each_user(FILES) {
            let opens = "exec 4>> a.txt; echo mine >&4; UNTIL_GO; until test -e $F/closed; do sleep 0.05; done";
            let writes = "until grep -q mine a.txt; do sleep 0.05; done; exec 3>> a.txt; echo stray >&3
                UNTIL_GO; exec 3>&-; touch $F/closed; echo own > .git/own; mv .git/own b.txt";
            let owner = sh("owner", "[\"a.txt\"]", opens, "priority = 5");
            let stray = sh("stray", "[\"b.txt\"]", writes, &format!("priority = 1\non_conflict = \"{policy}\""));
            let child = start(&repo, &(owner + &stray));
            assert!(eventually(LONG, || repo.read("a.txt").contains("stray")));
            std::fs::write(repo.tmp().join("go"), "").unwrap();
            let ended = finish(child, LONG);
            assert!(told(&repo, "end_intended").is_empty(), "{policy}: {}", ended.stderr);
            assert!(!ended.stdout.contains("TERMINATED"), "{policy}: {}", ended.stdout);
            assert!(repo.read("a.txt").contains("stray"), "what landed is left");
            repo.assert_no_survivors();
        }
    }
}

#[test]
fn who_is_caught_writing_what_nobody_declared_is_ended_where_it_would_have_been_refused() {
    for policy in ["deny", "kill"] {
        for repo in TestRepo::for_each_user(FILES) {
            let session = single(&format!("on_undeclared = \"{policy}\""));
            let ended = met(&repo, &session, "agent_ended", || {}).expect(1);
            assert_state(&ended, "stray", "TERMINATED", Some("undeclared"));
            assert_eq!(ended.agent("stray")["in_tree"], json!(["a.txt"]), "whose it is, is known");
            assert_eq!((repo.subjects(), repo.read("b.txt")), (Vec::new(), "1\n".into()));
            assert!(repo.read("a.txt").contains("stray"), "what was not declared is left");
        }
    }
}

#[test]
fn warn_allows_reports_and_does_not_commit() {
    for repo in TestRepo::for_each_user(FILES) {
        let ended = met(&repo, &single("on_undeclared = \"warn\""), "admitted", || {}).expect(0);
        assert_state(&ended, "stray", "COMPLETED", None);
        assert_eq!(ended.agent("stray")["warned"], json!(["a.txt"]));
        assert_eq!(ended.agent("stray")["in_tree"], json!(["a.txt"]));
        assert_eq!(ended.json()["unattributed"], json!([]), "whose it is, is known");
        assert_eq!(repo.files_of("feat(stray): stray"), ["b.txt"]);
        assert_eq!(repo.status(), " M a.txt\n");
    }
}

/// Nothing of its own is committed, and what it left is told.
#[test]
fn who_leaves_only_what_nobody_declared_has_committed_nothing() {
    for repo in TestRepo::for_each_user(FILES) {
        let script = HOLDS.split_once(';').unwrap().1.split_once(';').unwrap().1.replace("READY", "1");
        let session = sh("stray", "[\"b.txt\"]", &script, "on_undeclared = \"warn\"");
        let ended = met(&repo, &session, "admitted", || {}).expect(0);
        assert_state(&ended, "stray", "COMPLETED", Some("nothing_committed"));
        assert_eq!(ended.agent("stray")["in_tree"], json!(["a.txt"]));
        assert!(ended.stderr.contains("nothing committed, 1 file left in the tree"), "{}", ended.stderr);
    }
}

#[test]
fn claim_locks_what_is_free_and_commits_it() {
    for repo in TestRepo::for_each_user(FILES) {
        let ended = met(&repo, &single("on_undeclared = \"claim\""), "locked", || {}).expect(0);
        assert_state(&ended, "stray", "COMPLETED", None);
        assert_eq!(repo.files_of("feat(stray): stray"), ["a.txt", "b.txt"]);
        assert_eq!(repo.status(), "");
        assert!(repo.git(&["log", "-1", "--format=%(trailers:only)"]).contains("Supervise-Attribution: inferred"));
    }
}

/// Somebody who waits for other files only has reserved it.
#[test]
fn claim_ends_who_is_caught_writing_what_is_reserved() {
    for repo in TestRepo::for_each_user(FILES) {
        let holder = sh("holder", "[\"c.txt\"]", UNTIL_GO, "priority = 1");
        let next = sh("next", "[\"a.txt\", \"c.txt\"]", "true", "priority = 2\nretries = 0");
        let session = holder + &next + &single("on_undeclared = \"claim\"");
        let ended = met(&repo, &session, "end_intended", || {}).expect(1);
        assert_state(&ended, "stray", "TERMINATED", Some("undeclared"));
        assert_eq!(told(&repo, "locked"), Vec::<Value>::new());
    }
}

/// What nobody could see being written is nobody's, whatever the policy: left, reported, never a reason to end
/// anybody.
#[test]
fn what_nobody_was_seen_writing_is_left_and_reported() {
    for policy in ["deny", "kill", "warn", "claim"] {
        for repo in TestRepo::for_each_user(FILES) {
            let session = sh("stray", "[\"b.txt\"]", UNSEEN, &format!("on_undeclared = \"{policy}\""));
            let ended = repo.run(&session, &["--no-gate", "--format", "json"]).expect(0);
            assert_state(&ended, "stray", "COMPLETED", None);
            assert_eq!(ended.json()["unattributed"], json!(["a.txt"]), "{policy}: {}", ended.stderr);
            assert_eq!(ended.agent("stray")["in_tree"], json!([]));
            assert_eq!(repo.files_of("feat(stray): stray"), ["b.txt"]);
            assert!(repo.git(&["log", "-1", "--format=%(trailers:only)"]).contains("Supervise-Attribution: inferred"));
            assert_eq!(repo.status(), " M a.txt\n");
            assert!(told(&repo, "end_intended").is_empty());
        }
    }
}

/// What git does not have leaves nothing behind that differs from a commit, and is missed all the same.
#[test]
fn a_users_own_file_that_is_gone_is_reported() {
    for repo in TestRepo::for_each_user(FILES) {
        repo.write("notes/mine", "mine\n");
        let session = sh("stray", "[\"b.txt\"]", "rm -r notes; echo own > b.txt", "");
        let ended = repo.run(&session, &["--no-gate", "--format", "json"]).expect(0);
        assert_state(&ended, "stray", "COMPLETED", None);
        assert_eq!(ended.json()["unattributed"], json!(["notes/mine"]), "{}", ended.stderr);
        assert_eq!(repo.files_of("feat(stray): stray"), ["b.txt"]);
    }
}

#[test]
fn an_edit_from_outside_ends_nobody() {
    for repo in TestRepo::for_each_user(FILES) {
        let reached = repo.tmp().join("reached");
        let script = "touch $F/reached; UNTIL_GO; echo mine > b.txt";
        let child = start(&repo, &sh("calm", "[\"b.txt\"]", script, ""));
        assert!(eventually(LONG, || reached.exists()));
        repo.write("a.txt", "the user's\n");
        std::fs::write(repo.tmp().join("go"), "").unwrap();
        let ended = finish(child, LONG).expect(0);
        assert_eq!(ended.json()["unattributed"], json!(["a.txt"]));
        assert_eq!(repo.files_of("feat(calm): calm"), ["b.txt"]);
    }
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
    assert!(ended.stderr.contains("`late` is locked from the start"), "{}", ended.stderr);
    assert_eq!(ended.agent("two")["locks"]["exclusive"], serde_json::json!(["two.txt", "shared.txt"]));
    assert_eq!(repo.read("shared.txt"), "0\none\ntwo\n");
    for id in ["one", "two"] {
        let mut files = ["shared.txt".to_owned(), format!("{id}.txt")];
        files.sort();
        assert_eq!(repo.files_of(&format!("feat({id}): {id}")), files, "{id}");
    }
    assert_eq!(repo.status(), "");
}

/// The file has the loser's unfinished work in it as well, and the commit says so.
#[test]
fn who_wins_a_file_commits_it_as_mixed() {
    let repo = TestRepo::with(FILES);
    let agents = pair("priority = 4", "priority = 3\non_conflict = \"priority\"");
    met(&repo, &agents, "agent_requeued", || {});
    let trailers = repo.git(&["log", "--grep", "feat(stray)", "--format=%(trailers:only)"]);
    assert!(trailers.contains("Supervise-Mixed: a.txt"), "{trailers}");
}
