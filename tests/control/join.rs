//! Agents that join a run that goes on, from another process and on the socket.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use super::protocol::kind;
use super::support::{TestRepo, run_dir};
use super::{Run, ask, go, head, patient, scripted, supervise};

fn register(repo: &TestRepo, words: &[&str]) -> super::Ended {
    supervise(repo, &[&["register"], words].concat())
}

fn request(agent: &Value) -> String {
    json!({"version": 1, "request": {"kind": "register", "agent": agent}}).to_string()
}

/// An error's text as it is before it is broken into lines.
fn flat(text: &str) -> String {
    text.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ")
}

#[test]
fn who_joins_is_told_how_it_stands_and_takes_part_to_the_end() {
    let repo = TestRepo::with(&[("src/main.rs", "")]);
    let session = head(&repo, "max_concurrent = 3")
        + &patient("api", "[\"src/\"]", "echo 1 > src/api", "tags = [\"impl\"]")
        + "[runner.mine]\nextends = \"command\"\nmax_concurrent = 1\ncommand = [\"true\"]\n";
    let run = Run::start(&repo, &session, "api");

    let script = ["--", "sh", "-c", "echo free > free"];
    let started = register(&repo, &[&["--name", "Free one", "--files", "free"], &script[..]].concat()).expect(0);
    assert_eq!(started.stdout, "free-one  STARTED\nsupervise status free-one shows how it goes on\n");

    let blocked = ["--name", "second", "--files", "src/api", "--priority", "1", "--format", "json", "--", "true"];
    let blocked = register(&repo, &blocked).expect(0).json();
    assert_eq!(blocked["agent"]["state"], "BLOCKED");
    assert_eq!(blocked["agent"]["reason"]["kind"], "locks");
    assert_eq!(blocked["agent"]["priority"], 1);
    assert_eq!(blocked["contested"][0]["agents"], json!(["api", "second"]));
    assert_eq!(blocked["duplicates"], json!([]));

    let after = ["--name", "third", "--files", "src/api", "--depends-on", "tag:impl", "free-*", "--", "true"];
    let after = register(&repo, &after).expect(0).stdout;
    assert!(after.starts_with("third  WAITING: "), "{after}");
    assert!(after.contains("third") && after.contains("the claims and the work of second once more"), "{after}");

    let answer = ask(&repo, &request(&json!({"id": "by-hand", "command": ["true"], "runner": "mine"}))).unwrap();
    assert_eq!(answer["reply"]["kind"], "registered");
    assert_eq!(answer["reply"]["agent"]["id"], "by-hand");

    let listed = supervise(&repo, &["list", "--format", "json"]).expect(0).json();
    let ids: Vec<&str> = listed["agents"].as_array().unwrap().iter().map(|a| a["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["second", "api", "free-one", "third", "by-hand"], "in their order");
    assert!(supervise(&repo, &["status"]).expect(0).stdout.contains("free-one"));
    go(&repo);
    let ended = run.finish().expect(0);
    assert!(ended.stderr.contains("registered"), "{}", ended.stderr);
    for id in ids {
        assert!(ended.stdout.contains(id), "{id}: {}", ended.stdout);
    }
    assert_eq!(repo.read("free"), "free\n");
    assert!(repo.subjects().contains(&"feat(free-one): Free one".to_owned()), "{:?}", repo.subjects());
    let after = supervise(&repo, &["logs", "free-one"]).expect(0);
    assert_eq!(after.stdout, "");
    let past = supervise(&repo, &["status", "--format", "json"]).expect(0).json();
    assert_eq!(past["agents"].as_array().unwrap().len(), 5);
}

#[test]
fn who_cannot_join_is_told_all_that_is_wrong_and_nothing_changes() {
    let repo = TestRepo::new();
    let session = "[[phase]]\nname = \"one\"\n[[phase]]\nname = \"two\"\n".to_owned()
        + &head(&repo, "")
        + &scripted("early", "[\"e\"]", "echo 1 > e", "")
        + &patient("api", "[\"a\"]", "true", "phase = \"two\"")
        + &scripted("bad", "[\"b\"]", "exit 1", "phase = \"two\"");
    let run = Run::start(&repo, &session, "api");
    let failed = || run.agent("bad").is_some_and(|bad| bad["state"] == "FAILED");
    assert!(super::eventually(std::time::Duration::from_secs(30), failed));
    for (words, said) in [
        (&["--name", "api"][..], "there is an agent `api` in this run already"),
        (&["--name", "x", "--phase", "one"], "its phase is over"),
        (&["--name", "x", "--phase", "tow"], "did you mean `two`?"),
        (&["--name", "x", "--depends-on", "apj"], "did you mean `api`?"),
        (&["--name", "x", "--depends-on", "x"], "depends on itself"),
        (&["--name", "x", "--depends-on", "bad"], "bad, which it depends on, has ended without completing"),
        (&["--name", "x", "--runner", "codx"], "did you mean `codex`?"),
        (&["--name", "x", "--files", "/etc/x", "[", "../y"], "`../y`"),
        (&["--name", "x\u{7}", "--id", "a..b"], "single inner"),
        (&["--name", "x", "--id", "s.lock"], "may not end in `.lock`"),
    ] {
        let refused = register(&repo, &[words, &["--", "true"]].concat()).expect(2);
        assert!(flat(&refused.stderr).contains(said), "{words:?}: {}", refused.stderr);
    }
    let long = "x".repeat(70_000);
    let refused = register(&repo, &["--name", "x", "--prompt", &long]).expect(2);
    assert!(refused.stderr.contains("--into FILE"), "{}", refused.stderr);
    for (agent, expected) in [
        (json!({"id": "x"}), "bad_request"),
        (json!({"id": "x", "command": ["true"], "priority": 9}), "invalid_agent"),
        (json!({"id": "x", "command": ["true"], "files": ["a\u{0}b"]}), "invalid_agent"),
        (json!({"id": "api", "command": ["true"]}), "invalid_agent"),
        (json!({"id": "x", "command": ["true"], "phase": "one"}), "not_possible"),
    ] {
        assert_eq!(kind(ask(&repo, &request(&agent))), expected, "{agent}");
    }
    assert_eq!(supervise(&repo, &["list", "--format", "json"]).expect(0).json()["agents"].as_array().unwrap().len(), 3);

    supervise(&repo, &["complete"]).expect(0);
    let refused = register(&repo, &["--name", "x", "--", "true"]).expect(2);
    assert!(
        flat(&refused.stderr).contains("it was completed by hand") && refused.stderr.contains("--into FILE"),
        "{}",
        refused.stderr
    );
    go(&repo);
    run.finish().expect(1);
    let refused = register(&repo, &["--name", "x", "--", "true"]).expect(2);
    assert!(flat(&refused.stderr).contains("`--into supervise.toml` adds it"), "{}", refused.stderr);
}

/// Who asks at the same time joins one after the other, each once.
#[test]
fn many_may_ask_at_once() {
    let repo = TestRepo::new();
    let run = Run::start(&repo, &(head(&repo, "max_concurrent = 9") + &patient("a", "[\"a\"]", "true", "")), "a");
    let asked: Vec<_> = (0..8)
        .map(|n| {
            let mut command = repo.supervise();
            let id = format!("id-{}", n / 2);
            command.args(["register", "--name", "x", "--id", &id, "--", "true"]);
            command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let codes: Vec<Option<i32>> =
        asked.into_iter().map(|child| child.wait_with_output().unwrap().status.code()).collect();
    assert_eq!(codes.iter().filter(|code| **code == Some(0)).count(), 4, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| **code == Some(2)).count(), 4, "{codes:?}");
    go(&repo);
    run.finish().expect(0);
    assert_eq!(
        supervise(&repo, &["status", "--format", "json"]).expect(0).json()["agents"].as_array().unwrap().len(),
        5
    );
}

/// What an agent is told, and its command line, stand where only the owner reads.
#[test]
fn prompts_and_command_lines_are_in_no_record_and_in_no_view() {
    let repo = TestRepo::new();
    let run = Run::start(&repo, &(head(&repo, "") + &patient("a", "[\"a\"]", "true", "")), "a");
    let words = ["register", "--name", "x", "--files", "x", "--", "sh", "-c", "echo 1 > x # s3cret"];
    let told = supervise(&repo, &words).expect(0);
    assert!(!told.stdout.contains("s3cret"));
    go(&repo);
    run.finish().expect(0);
    let launches = run_dir(&repo).join("launch.json");
    assert!(std::fs::read_to_string(&launches).unwrap().contains("s3cret"));
    assert_eq!(std::fs::metadata(&launches).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!std::fs::read_to_string(run_dir(&repo).join("journal.jsonl")).unwrap().contains("s3cret"));
    for words in [&["timeline", "--format", "json"][..], &["status", "--format", "json"], &["list"]] {
        assert!(!supervise(&repo, words).expect(0).stdout.contains("s3cret"), "{words:?}");
    }
}
