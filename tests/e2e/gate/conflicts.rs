//! Writes into what another running agent has locked: every value of `on_conflict`, and the story that
//! is told of it afterwards.
//!
//! `agent-1` declared `hops.py`; `agent-5` declared `other.txt` and writes to both.

use serde_json::{Value, json};

use super::{
    agent, assert_certain, assert_state, finished, flag, heard, log, names, only_conflict, records_so_far, run,
    salvaged, start,
};
use crate::support::{Ended, TestRepo, eventually};

const FILES: &[(&str, &str)] = &[("hops.py", "begin\n"), ("other.txt", "begin\n")];

/// Writes, lets the other try, and writes on.
const HOLDS: &str = "echo \"one {{attempt}}\" >> hops.py; flag held; await tried; echo two >> hops.py";
/// Tries once, and goes on.
const TRIES: &str = "echo mine >> other.txt; await held; try stray 'echo stray >> hops.py'; echo on >> other.txt";

fn holder(more: &str) -> String {
    agent("agent-1", &["hops.py"], HOLDS, more)
}

fn writer(policy: &str, script: &str, more: &str) -> String {
    agent("agent-5", &["other.txt"], script, &format!("on_conflict = \"{policy}\"\n{more}"))
}

/// The holder kept its file, byte for byte.
#[track_caller]
fn assert_holder_kept(repo: &TestRepo, ended: &Ended) {
    assert_state(ended, "agent-1", "COMPLETED", None);
    assert_eq!(repo.read("hops.py"), "begin\none 1\ntwo\n");
    assert_eq!(repo.git(&["show", "HEAD:hops.py"]), "begin\none 1\ntwo\n");
    assert_certain(repo, "agent-1");
}

/// Runs the two, and lets the holder go on once the conflict is decided.
#[track_caller]
fn meet(repo: &TestRepo, agents: &[String]) -> Ended {
    let child = start(repo, "", agents);
    let decided = eventually(super::PATIENCE, || !records_so_far(repo, "conflict_resolved").is_empty());
    assert!(decided, "the conflict is decided");
    flag(repo, "tried");
    finished(repo, child)
}

/// What was found, decided and verified, in the document of the run and in the order of its records.
#[track_caller]
fn assert_story(repo: &TestRepo, ended: &Ended, resolution: &str, by: &str) {
    assert!(ended.stderr.contains("CONFLICT: agent-1 and agent-5 both modifying hops.py"), "{}", ended.stderr);
    let conflict = only_conflict(ended);
    let fields = ["path", "holders", "writer", "attribution", "resolution", "decided_by", "verified"];
    let found: Vec<&Value> = fields.iter().map(|field| &conflict[field]).collect();
    let expected = json!(["hops.py", ["agent-1"], "agent-5", "certain", resolution, by, true]);
    assert_eq!(json!(found), expected, "{conflict:#}\n{}", ended.stderr);

    let told: Value = serde_json::from_str(&repo.ask(&["conflicts", "--format", "json"])).unwrap();
    assert_eq!(told["conflicts"], json!([conflict]));
    let text = repo.ask(&["conflicts"]);
    assert!(text.contains("agent-1 and agent-5 both modifying hops.py"), "{text}");
    let kinds: Vec<String> = repo.records().iter().map(|r| r["kind"].as_str().unwrap().to_owned()).collect();
    let steps: Vec<&str> = kinds.iter().map(String::as_str).filter(|kind| kind.starts_with("conflict_")).collect();
    let all = ["found", "analysed", "recommended", "resolved", "checked", "verified"].map(|s| format!("conflict_{s}"));
    assert_eq!(steps, all.each_ref().map(String::as_str));
    let timeline = repo.ask(&["timeline"]);
    for word in ["CONFLICT:", "analysed", "advice", "resolved", "verified"] {
        assert!(timeline.lines().any(|line| line.contains(word)), "no {word} in {timeline}");
    }
}

#[test]
fn terminate_ends_the_writer() {
    for repo in TestRepo::for_each_user(FILES) {
        let ended = meet(&repo, &[holder("priority = 5"), writer("terminate", TRIES, "priority = 1")]).expect(1);
        assert_state(&ended, "agent-5", "TERMINATED", Some("conflict"));
        assert_holder_kept(&repo, &ended);
        assert!(salvaged(&repo, &ended, "agent-5", "other.txt").starts_with("begin\nmine\n"));
        assert_eq!((repo.read("other.txt"), repo.status()), ("begin\n".into(), String::new()));
        assert_eq!(ended.agent("agent-5")["denied"], names(&["hops.py"]));
        let log = log(&repo, "agent-5", 1);
        assert!(log.contains("hops.py") && log.contains("agent-1"), "{log}");
        assert_story(&repo, &ended, "end_writer", "policy");
    }
}

#[test]
fn deny_refuses_and_lets_both_live() {
    for repo in TestRepo::for_each_user(FILES) {
        let ended = meet(&repo, &[holder(""), writer("deny", TRIES, "")]).expect(0);
        assert_holder_kept(&repo, &ended);
        assert_state(&ended, "agent-5", "COMPLETED", None);
        assert!(heard(&repo, "stray").contains("ermission denied"));
        assert_eq!(repo.files_of("feat(agent-5): agent-5"), ["other.txt"]);
        assert_eq!(repo.read("other.txt"), "begin\nmine\non\n");
        assert_story(&repo, &ended, "refused", "policy");
    }
}

#[test]
fn priority_ends_the_lower_one() {
    // The writer is lower, or on a tie the later.
    for (holds, writes) in [("priority = 2", "priority = 3"), ("", "")] {
        for repo in TestRepo::for_each_user(FILES) {
            let ended = meet(&repo, &[holder(holds), writer("priority", TRIES, writes)]).expect(1);
            assert_state(&ended, "agent-5", "TERMINATED", Some("conflict"));
            assert_holder_kept(&repo, &ended);
            assert_story(&repo, &ended, "end_writer", "policy");
        }
    }
    // The holder is lower: it makes room, and is tried again at no cost.
    for repo in TestRepo::for_each_user(FILES) {
        let insists = "echo mine >> other.txt; await held; persist 'echo stray >> hops.py'";
        let low = "priority = 4\nretries = 0";
        let ended = meet(&repo, &[holder(low), writer("priority", insists, "priority = 3")]).expect(0);
        assert_state(&ended, "agent-5", "COMPLETED", None);
        assert_state(&ended, "agent-1", "COMPLETED", None);
        assert_eq!(ended.agent("agent-1")["attempt"], 2);
        assert_eq!(repo.files_of("feat(agent-5): agent-5"), ["hops.py", "other.txt"]);
        assert_eq!(repo.read("hops.py"), "begin\nstray\none 2\ntwo\n", "{}", ended.stderr);
        assert_eq!(repo.status(), "");
        assert_certain(&repo, "agent-5");
        assert_story(&repo, &ended, "requeue_holder", "policy");
    }
}

#[test]
fn wait_lets_the_writer_stand_in_line() {
    for repo in TestRepo::for_each_user(FILES) {
        let tries = "echo \"mine {{attempt}}\" >> other.txt; await held; persist 'echo stray >> hops.py'";
        let holds = "echo \"one {{attempt}}\" >> hops.py; flag held; await blocked; echo two >> hops.py";
        let agents =
            [agent("agent-1", &["hops.py"], holds, ""), writer("wait", tries, "retries = 0\ngrace = \"100ms\"")];
        let child = start(&repo, "", &agents);
        heard(&repo, "held");
        let seen = eventually(super::PATIENCE, || !records_so_far(&repo, "agent_requeued").is_empty());
        assert!(seen, "it is requeued while the holder lives");
        flag(&repo, "blocked");
        let ended = finished(&repo, child).expect(0);
        assert_holder_kept_then(&repo, &ended);
        assert_eq!(ended.agent("agent-5")["attempt"], 2);
        assert_eq!(repo.files_of("feat(agent-5): agent-5"), ["hops.py", "other.txt"]);
        assert_eq!(repo.read("hops.py"), "begin\none 1\ntwo\nstray\n");
        assert_eq!(repo.read("other.txt"), "begin\nmine 2\n", "the first attempt's is put back");
        assert_eq!(repo.subjects(), ["feat(agent-1): agent-1", "feat(agent-5): agent-5"]);
        assert_eq!(repo.status(), "");
        assert_story(&repo, &ended, "writer_waits", "policy");
    }
}

#[track_caller]
fn assert_holder_kept_then(repo: &TestRepo, ended: &Ended) {
    for id in ["agent-1", "agent-5"] {
        assert_state(ended, id, "COMPLETED", None);
    }
    assert_eq!(repo.git(&["show", "HEAD~1:hops.py"]), "begin\none 1\ntwo\n");
}

/// Starts the two with a conflict that stays open, and gives what `decide` came to.
fn by_hand(repo: &TestRepo, writes: &str, decide: impl FnOnce()) -> Ended {
    let holds = "echo \"one {{attempt}}\" >> hops.py; flag held; await decided; echo two >> hops.py";
    let agents = [agent("agent-1", &["hops.py"], holds, ""), writer("manual", writes, "")];
    let child = start(repo, "", &agents);
    assert!(heard(repo, "stray").contains("ermission denied"));
    let state = |id: &str| -> Value {
        let status: Value = serde_json::from_str(&repo.ask(&["status", "--format", "json"])).unwrap();
        let agents = status["agents"].as_array().unwrap();
        agents.iter().find(|agent| agent["id"] == id).unwrap()["state"].clone()
    };
    assert_eq!((state("agent-1"), state("agent-5")), (json!("RUNNING"), json!("CONFLICT")));
    let open: Value = serde_json::from_str(&repo.ask(&["conflicts", "--format", "json"])).unwrap();
    assert_eq!(open["conflicts"][0]["resolution"], Value::Null, "{open:#}");
    assert!(repo.ask(&["conflicts"]).contains("supervise resolve 1 --keep agent-1 --terminate agent-5"));
    decide();
    flag(repo, "decided");
    finished(repo, child)
}

const STAYS: &str = "echo mine >> other.txt; await held; try stray 'echo stray >> hops.py'; await decided";

#[test]
fn manual_waits_for_a_person() {
    for repo in TestRepo::for_each_user(FILES) {
        let stays = STAYS.replace("await decided", "await never");
        let ended = by_hand(&repo, &stays, || {
            let wrong = repo.supervise().args(["resolve", "--keep", "agent-5", "--terminate", "agent-5"]).output();
            assert_ne!(wrong.unwrap().status.code(), Some(0));
            repo.ask(&["resolve", "1", "--keep", "agent-1", "--terminate", "agent-5"]);
        })
        .expect(1);
        assert_holder_kept(&repo, &ended);
        assert_state(&ended, "agent-5", "TERMINATED", Some("conflict"));
        assert_story(&repo, &ended, "end_writer", "person");
    }
}

#[test]
fn a_person_decides_for_the_writer() {
    for repo in TestRepo::for_each_user(FILES) {
        let insists = format!("{STAYS}; persist 'echo stray >> hops.py'");
        let ended = by_hand(&repo, &insists, || {
            repo.ask(&["resolve", "--keep", "agent-5", "--terminate", "agent-1"]);
            // The holder must be gone before the writer may write.
            let ended = eventually(super::PATIENCE, || !records_so_far(&repo, "agent_ended").is_empty());
            assert!(ended);
        })
        .expect(1);
        assert_state(&ended, "agent-1", "TERMINATED", Some("conflict"));
        assert_eq!(salvaged(&repo, &ended, "agent-1", "hops.py"), "begin\none 1\n");
        assert_state(&ended, "agent-5", "COMPLETED", None);
        assert_eq!(repo.read("hops.py"), "begin\nstray\n");
        assert_story(&repo, &ended, "end_holder", "person");
    }
}

#[test]
fn a_person_lets_the_writer_wait() {
    for repo in TestRepo::for_each_user(FILES) {
        let insists = format!("{STAYS}; persist 'echo stray >> hops.py'");
        let ended = by_hand(&repo, &insists.replace("try stray", "[ {{attempt}} = 2 ] || try stray"), || {
            repo.ask(&["resolve", "--wait"]);
        })
        .expect(0);
        assert_holder_kept_then(&repo, &ended);
        assert_eq!(repo.read("hops.py"), "begin\none 1\ntwo\nstray\n");
        assert_story(&repo, &ended, "writer_waits", "person");
    }
}

#[test]
fn an_open_conflict_is_moot_when_one_is_gone() {
    for repo in TestRepo::for_each_user(FILES) {
        let ended = by_hand(&repo, STAYS, || {}).expect(0);
        assert_holder_kept(&repo, &ended);
        assert_state(&ended, "agent-5", "COMPLETED", None);
        assert_story(&repo, &ended, "moot", "nobody");
    }
}

/// A file that another only needs unchanged is protected as well, and renaming a directory that holds
/// one is a write to all that is in it.
#[test]
fn shared_locks_and_renamed_directories_are_conflicts_too() {
    for repo in TestRepo::for_each_user(&[("models/hop.py", "m\n"), ("models/leg.py", "m\n"), ("dir/hops.py", "h\n")]) {
        let reads = "cat models/hop.py > out.txt; flag held; await tried; cmp models/hop.py out.txt";
        let writes =
            "await held; try shared 'echo x >> models/hop.py'; try rename 'mv models gone'; try rm 'rm -rf models'
        try aside 'mv dir dir2'; try link 'ln models/leg.py l && echo x >> l'; flag tried; echo o > other.txt";
        let agents = [
            agent("reader", &["out.txt"], reads, "reads = [\"models/\"]"),
            agent("owner", &["dir/hops.py"], "echo o >> dir/hops.py; await tried", ""),
            agent("agent-5", &["other.txt", "l"], writes, "on_conflict = \"deny\""),
        ];
        let ended = run(&repo, "", &agents).expect(0);
        for what in ["shared", "rename", "rm", "aside", "link"] {
            assert!(!heard(&repo, what).contains("exit 0"), "{what}: {}\n{}", heard(&repo, what), ended.stderr);
        }
        assert_eq!((repo.read("models/hop.py"), repo.read("models/leg.py")), ("m\n".into(), "m\n".into()));
        assert_eq!(repo.read("dir/hops.py"), "h\no\n");
        let json = ended.json();
        let met: Vec<(&Value, &Value)> =
            json["conflicts"].as_array().unwrap().iter().map(|c| (&c["path"], &c["lock"])).collect();
        assert!(met.contains(&(&json!("models/hop.py"), &json!("shared"))), "{met:?}");
        assert!(met.contains(&(&json!("dir/hops.py"), &json!("exclusive"))), "{met:?}");
        assert_eq!(repo.status(), "");
    }
}
