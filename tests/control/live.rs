//! A run that goes on, as it is shown and followed.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;

use serde_json::{Value, json};

use super::support::{TestRepo, finish, with_input};
use super::{Run, ask, go, head, normal, patient, scripted, supervise};

fn story(repo: &TestRepo) -> String {
    head(repo, "max_concurrent = 3")
        + &patient("api", "[\"src/*.rs\"]", "echo building", "name = \"The API\"\nreads = [\"docs/\"]\npriority = 1")
        + &scripted("blocked", "[\"src/a.rs\"]", "echo 1 > src/a.rs", "")
        + &scripted("after", "[\"after\"]", "echo 1 > after", "depends_on = [\"api\"]")
        + &scripted("bad", "[\"bad\"]", "echo 1 > bad; echo wrong >&2; exit 3", "")
}

/// Waits for an agent's state.
fn until(run: &Run<'_>, agent: &str, state: &str) {
    let there = || run.agent(agent).is_some_and(|found| found["state"] == state);
    assert!(super::eventually(Duration::from_secs(30), there), "{agent}: {:?}", run.agent(agent));
}

#[test]
fn a_run_shows_how_it_stands() {
    let repo = TestRepo::with(&[("src/main.rs", ""), ("docs/x", "")]);
    let run = Run::start(&repo, &story(&repo), "api");
    until(&run, "bad", "FAILED");
    // It is FAILED while its work is still being kept.
    let kept = || run.agent("bad").is_some_and(|bad| bad["salvage"].is_string());
    assert!(super::eventually(Duration::from_secs(30), kept), "{:?}", run.agent("bad"));
    until(&run, "blocked", "BLOCKED");
    let human = supervise(&repo, &["status"]).expect(0);
    assert_eq!(human.stderr, "");
    insta::assert_snapshot!("a_run_shows_how_it_stands", normal(&human.stdout, &repo));
    let one = supervise(&repo, &["status", "--id", "api"]).expect(0);
    insta::assert_snapshot!("one_agent_of_a_run", normal(&one.stdout, &repo));
    // Columns line up: every state begins below its heading.
    let table: Vec<&str> = human.stdout.lines().skip_while(|line| !line.starts_with("AGENT")).take(5).collect();
    let column = table[0].find("STATE").unwrap();
    assert!(
        table.iter().all(|line| line.as_bytes()[column - 1] == b' ' && line.as_bytes()[column] != b' '),
        "{table:#?}"
    );

    // One document, whoever makes it.
    let printed = supervise(&repo, &["status", "--format", "json"]).expect(0).json();
    let answered = ask(&repo, r#"{"version":1,"request":{"kind":"status"}}"#).unwrap()["reply"]["run"].clone();
    let still = |mut document: Value| {
        for agent in document["agents"].as_array_mut().unwrap() {
            agent["duration_ms"].take();
        }
        document
    };
    assert_eq!(still(printed.clone()), still(answered));
    let alone = supervise(&repo, &["status", "api", "--format", "json"]).expect(0).json();
    assert_eq!(alone["agents"].as_array().unwrap().len(), 1);
    assert_eq!(alone["agents"][0]["locks"]["shared"], serde_json::json!(["docs/"]));

    let unknown = supervise(&repo, &["status", "apj"]).expect(2);
    assert!(unknown.stderr.contains("did you mean `api`?"), "{}", unknown.stderr);
    let none = supervise(&repo, &["conflicts"]).expect(0);
    assert_eq!(normal(&none.stdout, &repo), "no conflicts in run RUN");
    let none = supervise(&repo, &["resolve", "--keep", "api", "--terminate", "bad"]).expect(2);
    assert!(none.stderr.contains("no conflict is open"), "{}", none.stderr);
    go(&repo);
    run.finish().expect(1);
}

#[test]
fn a_timeline_is_followed_to_the_end_of_the_run() {
    let repo = TestRepo::with(&[("src/main.rs", ""), ("docs/x", "")]);
    let run = Run::start(&repo, &story(&repo), "api");
    let follow =
        |args: &[&str]| repo.supervise().args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let human = follow(&["timeline", "--follow"]);
    let json = follow(&["timeline", "--follow", "--format", "json"]);
    until(&run, "bad", "FAILED");
    go(&repo);
    let told = run.finish().expect(1);
    let human = finish(human, Duration::from_secs(20)).expect(0);
    let json = finish(json, Duration::from_secs(20)).expect(0);
    // What `run` says beside the events stands in its first line only.
    let events = |text: &str| text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(events(&human.stdout), events(&told.stderr));
    assert!(human.stdout.lines().next().unwrap().contains("looked-at, 4 agents"));
    let records: Vec<Value> = json.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(records.first().unwrap()["kind"], "run_opened");
    assert_eq!(records.last().unwrap()["kind"], "run_ended");
    assert!(records.iter().zip(1..).all(|(record, seq)| record["seq"] == seq));
    assert_eq!(supervise(&repo, &["timeline", "--format", "json"]).expect(0).stdout, json.stdout);
}

#[test]
fn a_log_is_followed_as_it_grows_and_cannot_command_the_terminal() {
    let repo = TestRepo::new();
    let script = r"printf '\033]0;owned\007\033[2Jfirst\n\tindented\n'";
    let session = head(&repo, "") + &patient("a", "[\"a\"]", script, "");
    let run = Run::start(&repo, &session, "a");
    let mut follow =
        repo.supervise().args(["logs", "a", "-f"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (lines, read) = mpsc::channel();
    let out = follow.stdout.take().unwrap();
    std::thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            let _ = lines.send(line);
        }
    });
    // It is told before the agent ends.
    let next = || read.recv_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!((next().as_str(), next().as_str()), ("first", "\tindented"));
    go(&repo);
    run.finish().expect(0);
    finish(follow, Duration::from_secs(20)).expect(0);
    assert!(read.recv().is_err(), "nothing more came");
    let raw = supervise(&repo, &["logs", "a", "--raw"]).expect(0);
    assert_eq!(raw.stdout, "\u{1b}]0;owned\u{7}\u{1b}[2Jfirst\n\tindented\n");
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn every_attempt_and_every_stream_has_its_log() {
    let repo = TestRepo::new();
    let script = "echo out {{attempt}}; echo err {{attempt}} >&2; echo {{attempt}} > third";
    let verify = "verify = \"echo looked; grep 2 third\"\nretries = 1";
    let session = scripted("a", "[\"third\"]", script, verify)
        + &scripted("quiet", "[\"q\"]", "echo only >&2", "")
        + &scripted("never", "[\"n\"]", "exit 0", "depends_on = [\"fails\"]")
        + &scripted("fails", "[\"f\"]", "exit 1", "");
    repo.run(&session, &[]).expect(1);
    let logs = |args: &[&str]| supervise(&repo, &[&["logs"], args].concat()).expect(0);
    assert_eq!(logs(&["a"]).stdout, "out 2\n");
    assert_eq!(logs(&["--id", "a", "--attempt", "1"]).stdout, "out 1\n");
    assert_eq!(logs(&["a", "--stderr"]).stdout, "err 2\n");
    assert_eq!(logs(&["a", "--verify", "--attempt", "1"]).stdout, "looked\n");
    let line = |log: &str, text: &str| json!({"agent": "a", "attempt": 1, "log": log, "kind": "line", "text": text, "paths": null});
    for (log, text) in [("stdout", "out 1"), ("stderr", "err 1"), ("verify", "looked")] {
        let which = if log == "stdout" { vec![] } else { vec![format!("--{log}")] };
        let which: Vec<&str> = which.iter().map(String::as_str).collect();
        let told = logs(&[&["a", "--attempt", "1", "--format", "json"], &which[..]].concat()).stdout;
        assert_eq!(json_lines(&told), [line(log, text)]);
    }
    assert_eq!(logs(&["a", "--follow"]).stdout, "out 2\n", "what is over is not waited for");
    let quiet = logs(&["quiet"]);
    assert_eq!(quiet.stdout, "");
    assert!(quiet.stderr.contains("supervise logs quiet --stderr"), "{}", quiet.stderr);
    for (args, code, said) in [
        (&["logs", "a", "--attempt", "3"][..], 2, "a had 2 attempts, and no attempt 3"),
        (&["logs", "never"], 4, "never has not been started"),
        (&["logs", "quiet", "--verify"], 4, "attempt quiet#1 has no output of verify commands"),
        (&["logs"], 2, "required"),
        (&["logs", "a", "--raw", "--stderr"], 2, "cannot be used with"),
        (&["logs", "a", "--raw", "--format", "json"], 2, "cannot be used with"),
    ] {
        let refused = supervise(&repo, args).expect(code);
        assert!(refused.stderr.contains(said), "{args:?}: {}", refused.stderr);
    }
}

/// What a runner prints for programs is told in words.
#[test]
fn output_of_a_runner_is_told_in_words() {
    let repo = TestRepo::new();
    let codex = repo.tmp().join("codex");
    let changes = [repo.path().join("src/a"), "/etc/b".into()].map(|path| json!({"path": path, "kind": "update"}));
    let item = json!({"id": "3", "type": "file_change", "changes": changes, "status": "completed"});
    let edits = json!({"type": "item.completed", "item": item}).to_string();
    let lines = [
        r#"{"type":"thread.started","thread_id":"t"}"#,
        r#"{"type":"item.started","item":{"id":"1","type":"command_execution","command":"ls","status":"in_progress"}}"#,
        edits.as_str(),
        r#"{"type":"item.completed","item":{"id":"2","type":"agent_message","text":"I looked\u001b."}}"#,
        r#"{"type":"turn.completed","usage":{"input_tokens":10,"output_tokens":2}}"#,
    ];
    let script = format!("#!/bin/sh\ncat > /dev/null\ncat <<'END'\n{}\nEND\n", lines.join("\n"));
    super::support::executable(&codex, &script);
    let session = format!(
        "[runner.mine]\nextends = \"codex\"\ncommand = [\"{}\"]\n[[agent]]\nid = \"a\"\nrunner = \"mine\"\nprompt = \"p\"\n",
        codex.display()
    );
    let mut command = repo.supervise();
    command.args(["run", "-"]);
    with_input(command, session.as_bytes()).expect(0);
    let told = supervise(&repo, &["logs", "a"]).expect(0).stdout;
    assert!(
        told.contains("$ ls") && told.contains("I looked") && !told.contains('{') && !told.contains('\u{1b}'),
        "{told}"
    );
    let raw = supervise(&repo, &["logs", "a", "--raw"]).expect(0).stdout;
    assert!(raw.starts_with("{\"type\":\"thread.started\""), "{raw}");
    let of = |kind: &str, text: &str, paths: Value| {
        let text = if text.is_empty() { Value::Null } else { json!(text) };
        json!({"agent": "a", "attempt": 1, "log": "stdout", "kind": kind, "text": text, "paths": paths})
    };
    let expected = [
        of("runs", "ls", Value::Null),
        of("edits", "", json!(["src/a", "/etc/b"])),
        of("says", "I looked .", Value::Null),
    ];
    assert_eq!(json_lines(&supervise(&repo, &["logs", "a", "--format", "json"]).expect(0).stdout), expected);
}

/// Two agents, the second of which writes into the first one's file and leaves the decision to a person.
fn undecided(repo: &TestRepo) -> Option<Run<'_>> {
    let session = head(repo, "max_concurrent = 2")
        + &patient("holder", "[\"src/\"]", "echo holder > src/x", "grace = \"1s\"")
        + &patient(
            "writer",
            "[\"docs/\"]",
            "until test -e src/x; do sleep 0.02; done; echo writer > src/x",
            "on_conflict = \"manual\"\ngrace = \"1s\"",
        );
    let run = Run::start(repo, &session, "holder");
    let layers = supervise(repo, &["status", "--format", "json"]).expect(0).json()["layers"].clone();
    if layers["gate"] != true {
        eprintln!("left out: without the gate no write is refused, and nobody is certain to have written");
        return None;
    }
    let open = || !supervise(repo, &["conflicts", "--format", "json"]).expect(0).json()["conflicts"][0].is_null();
    assert!(super::eventually(Duration::from_secs(30), open), "no conflict was found");
    Some(run)
}

#[test]
fn an_open_conflict_waits_for_a_person_who_keeps_the_holder() {
    let repo = TestRepo::with(&[("src/y", ""), ("docs/y", "")]);
    let Some(run) = undecided(&repo) else { return };
    let told = supervise(&repo, &["conflicts"]).expect(0).stdout;
    assert!(told.contains("conflict 1 open"), "{told}");
    assert!(told.contains("supervise resolve 1 --keep holder --terminate writer"), "{told}");
    let strangers = supervise(&repo, &["resolve", "--keep", "holder", "--terminate", "holder"]).expect(2);
    assert!(strangers.stderr.contains("conflict 1 is between writer and holder"), "{}", strangers.stderr);
    let unknown = supervise(&repo, &["resolve", "7", "--wait"]).expect(2);
    assert!(unknown.stderr.contains("there is no conflict 7"), "{}", unknown.stderr);

    let decided = supervise(&repo, &["resolve", "--keep", "holder", "--terminate", "writer"]).expect(0);
    assert!(decided.stdout.contains("conflict 1 is decided"), "{}", decided.stdout);
    until(&run, "writer", "TERMINATED");
    let again = supervise(&repo, &["resolve", "1", "--wait"]).expect(2);
    assert!(again.stderr.contains("conflict 1 is resolved already"), "{}", again.stderr);
    go(&repo);
    run.finish().expect(1);
    assert_eq!(repo.git(&["show", "HEAD:src/x"]), "holder\n");
    let told = supervise(&repo, &["timeline"]).expect(0).stdout;
    assert!(told.contains("CONFLICT: holder and writer both modifying src/x"), "{told}");
    let json = supervise(&repo, &["conflicts", "--format", "json"]).expect(0).json();
    assert_eq!(json["conflicts"][0]["resolution"], "end_writer");
    assert_eq!(json["conflicts"][0]["decided_by"], "person");
    assert_eq!(json["conflicts"][0]["verified"], true);
}

#[test]
fn a_person_may_let_the_writer_wait() {
    let repo = TestRepo::with(&[("src/y", ""), ("docs/y", "")]);
    let Some(run) = undecided(&repo) else { return };
    supervise(&repo, &["resolve", "1", "--wait"]).expect(0);
    until(&run, "writer", "BLOCKED");
    go(&repo);
    run.finish().expect(0);
    assert_eq!(repo.git(&["show", "HEAD:src/x"]), "writer\n");
    let json = supervise(&repo, &["conflicts", "--format", "json"]).expect(0).json();
    assert_eq!(json["conflicts"][0]["resolution"], "writer_waits");
}
