//! Reading the records of a run along, on its control socket.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use super::protocol::kind;
use super::support::{TestRepo, executable, finish, signal};
use super::{Run, ask, go, head, patient, scripted, socket, supervise};

/// Somebody who subscribed, and how far they have read.
struct Reader {
    lines: BufReader<UnixStream>,
    reply: Value,
}

impl Reader {
    fn subscribe(repo: &TestRepo, wish: &Value) -> Self {
        let mut stream = UnixStream::connect(socket(repo)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut request = json!({"kind": "subscribe"});
        request.as_object_mut().unwrap().extend(wish.as_object().unwrap().clone());
        writeln!(stream, "{}", json!({"version": 1, "request": request})).unwrap();
        let mut reader = Self { lines: BufReader::new(stream), reply: Value::Null };
        reader.reply = reader.next().expect("an answer");
        reader
    }

    /// `None`: nothing more comes.
    fn next(&mut self) -> Option<Value> {
        let mut line = String::new();
        let read = self.lines.read_line(&mut line).unwrap();
        (read > 0).then(|| serde_json::from_str(&line).unwrap())
    }

    fn rest(mut self) -> Vec<Value> {
        std::iter::from_fn(|| self.next()).collect()
    }
}

fn numbers(lines: &[Value]) -> Vec<u64> {
    lines.iter().map(|line| line["seq"].as_u64().unwrap()).collect()
}

#[test]
fn every_record_is_sent_once_and_in_order_from_the_number_that_is_wanted() {
    let repo = TestRepo::new();
    let session = head(&repo, "")
        + &patient("a", "[\"a\"]", "echo 1 > a", "")
        + &scripted("b", "[\"b\"]", "echo 1 > b", "depends_on = [\"a\"]");
    let run = Run::start(&repo, &session, "a");
    let all = Reader::subscribe(&repo, &json!({}));
    let next = all.reply["reply"]["next"].as_u64().unwrap();
    assert_eq!(all.reply["reply"]["kind"], "subscribed");
    let current = std::fs::read_to_string(repo.path().join(".git/supervise/current")).unwrap();
    assert_eq!(all.reply["reply"]["run"], current.trim());
    let new = Reader::subscribe(&repo, &json!({"from": next}));
    let middle = Reader::subscribe(&repo, &json!({"from": 3}));
    let later = Reader::subscribe(&repo, &json!({"from": next + 4}));
    // One that says that it has nothing more to say may still read.
    let quiet = Reader::subscribe(&repo, &json!({}));
    quiet.lines.get_ref().shutdown(std::net::Shutdown::Write).unwrap();
    go(&repo);
    run.finish().expect(0);

    let told = supervise(&repo, &["timeline", "--format", "json"]).expect(0).stdout;
    let told: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let from = |number: u64| &told[usize::try_from(number).unwrap() - 1..];
    assert_eq!(all.rest(), told);
    assert_eq!(quiet.rest(), told);
    assert_eq!(new.rest(), from(next));
    assert_eq!(middle.rest(), from(3));
    assert_eq!(later.rest(), from(next + 4));
    assert_eq!(told.last().unwrap()["kind"], "run_ended");
}

#[test]
fn a_slow_reader_is_dropped_and_told_so_and_can_come_again() {
    let repo = TestRepo::new();
    let session = head(&repo, "")
        + &patient("a", "[\"a\"]", "true", "")
        + &scripted("later", "[\"b\"]", "true", "depends_on = [\"a\"]");
    let run = Run::start(&repo, &session, "a");
    let slow = Reader::subscribe(&repo, &json!({}));
    let reads = Reader::subscribe(&repo, &json!({}));
    let reads = std::thread::spawn(move || reads.rest());
    // Far more than fits the socket and the queue, and less than fills the pipe that nobody reads yet.
    for n in 0..800 {
        let wish = json!({"kind": "grant", "agent": "later", "pattern": format!("granted/{n}")});
        let answer = ask(&repo, &json!({"version": 1, "request": wish}).to_string()).unwrap();
        assert_eq!(answer["reply"]["kind"], "granted", "the run goes on: {answer}");
    }
    let mut lines = slow.rest();
    let last = lines.pop().unwrap();
    assert_eq!(last["error"]["kind"], "too_slow", "{last}");
    let known = numbers(&lines);
    let next = known.last().unwrap() + 1;
    assert_eq!(known, (1..next).collect::<Vec<_>>(), "up to there nothing is missing");
    let text = last["error"]["text"].as_str().unwrap();
    assert!(text.ends_with(&format!("subscribe again from {next}")), "{text}");
    let again = Reader::subscribe(&repo, &json!({"from": next}));
    go(&repo);
    run.finish().expect(0);
    let all = reads.join().unwrap();
    let missed = again.rest();
    assert!(missed.len() > 100, "{}", missed.len());
    assert_eq!([lines, missed].concat(), all);
    assert_eq!(all.last().unwrap()["kind"], "run_ended");
}

#[test]
fn what_is_no_subscription_is_refused_and_places_are_bounded() {
    let repo = TestRepo::new();
    let run = Run::start(&repo, &(head(&repo, "") + &patient("a", "[\"a\"]", "true", "")), "a");
    for wish in
        [r#"{"kind":"subscribe","from":-1}"#, r#"{"kind":"subscribe","from":[]}"#, r#"{"kind":"subscribe","doing":1}"#]
    {
        assert_eq!(kind(ask(&repo, &format!("{{\"version\":1,\"request\":{wish}}}"))), "bad_request", "{wish}");
    }
    let newer = r#"{"version":2,"request":{"kind":"subscribe"}}"#;
    assert_eq!(kind(ask(&repo, newer)), "wrong_version");
    let mut all: Vec<Reader> = (0..16).map(|_| Reader::subscribe(&repo, &json!({}))).collect();
    let full = || Reader::subscribe(&repo, &json!({})).reply["error"]["kind"] == "busy";
    assert!(full(), "the seventeenth is told so");
    assert!(run.agent("a").is_some(), "whoever asks has places of their own");
    // Garbage that follows a request is nobody's; whoever goes makes room at once.
    for reader in &mut all {
        let _ = reader.lines.get_mut().write_all(&[b'x'; 5_000]);
    }
    all.pop();
    assert!(super::eventually(Duration::from_secs(20), || !full()));
    go(&repo);
    run.finish().expect(0);
    for reader in all {
        assert_eq!(reader.rest().last().unwrap()["kind"], "run_ended");
    }
}

/// `attach`, and what its terminal has got so far. `signals`, as env(1) takes it: what it is started to do about them,
/// which is else what whoever runs the tests was.
fn attach_on_a_terminal(repo: &TestRepo, signals: &str) -> (Arc<Mutex<String>>, Child) {
    let pty = nix::pty::openpty(None, None).unwrap();
    let mut command = repo.command("env");
    command.arg(signals).arg(repo.supervise().get_program()).arg("attach");
    command.env("TERM", "xterm").stderr(pty.slave).stdout(Stdio::piped());
    let child = command.spawn().unwrap();
    let shown = Arc::new(Mutex::new(String::new()));
    let shows = Arc::clone(&shown);
    std::thread::spawn(move || {
        let (mut terminal, mut part) = (File::from(pty.master), [0; 4096]);
        // Reading fails when nobody has the other end any more.
        while let Ok(read @ 1..) = terminal.read(&mut part) {
            shows.lock().unwrap().push_str(&String::from_utf8_lossy(&part[..read]));
        }
    });
    (shown, child)
}

#[test]
fn what_agents_are_doing_is_sent_to_those_who_want_to_know() {
    let repo = TestRepo::new();
    let codex = repo.tmp().join("codex");
    let line = r#"{"type":"item.started","item":{"id":"1","type":"command_execution","command":"ls \u001b[2J","status":"in_progress"}}"#;
    let says = format!("while ! test -e \"$SUPERVISE_TEST_GO\"; do echo '{line}'; sleep 0.05; done");
    executable(&codex, &format!("#!/bin/sh\ncat > /dev/null\n{says}\n"));
    let session = format!(
        "{}[runner.mine]\nextends = \"codex\"\ncommand = [\"{}\"]\n[[agent]]\nid = \"a\"\nrunner = \"mine\"\nprompt = \"p\"\n",
        head(&repo, ""),
        codex.display()
    );
    let run = Run::start(&repo, &session, "a");
    // Who is started to ignore Ctrl-C, as in the background of a script, does.
    let (shown, attached) = attach_on_a_terminal(&repo, "--ignore-signal=INT");
    let mut wants = Reader::subscribe(&repo, &json!({"doing": true}));
    let other = Reader::subscribe(&repo, &json!({}));
    let doing = std::iter::from_fn(|| wants.next()).find(|line| line["kind"] == "doing").unwrap();
    assert_eq!((&doing["agent"], &doing["attempt"], &doing["seq"]), (&json!("a"), &json!(1), &Value::Null));
    assert!(doing["text"].as_str().unwrap().starts_with("$ ls"), "{doing}");
    let shows = || shown.lock().unwrap().contains("$ ls");
    assert!(super::eventually(Duration::from_secs(30), shows), "{:?}", shown.lock().unwrap());
    // Who has seen enough leaves no live line behind, and the run goes on.
    let (other_terminal, leaves) = attach_on_a_terminal(&repo, "--default-signal=INT");
    let shows = || other_terminal.lock().unwrap().contains("$ ls");
    assert!(super::eventually(Duration::from_secs(30), shows), "{:?}", other_terminal.lock().unwrap());
    signal(&attached, "INT");
    signal(&leaves, "INT");
    let left = finish(leaves, Duration::from_secs(20));
    assert_eq!(left.code, None, "it was the signal that ended it");
    let bye = || other_terminal.lock().unwrap().contains("the run goes on; to see it again: supervise attach");
    assert!(super::eventually(Duration::from_secs(20), bye), "{:?}", other_terminal.lock().unwrap());
    let last = other_terminal.lock().unwrap().rsplit("supervise attach").next().unwrap().to_owned();
    assert!(!last.contains("$ ls"), "{last:?}");
    go(&repo);
    run.finish();
    assert!(!shown.lock().unwrap().contains("ls \u{1b}[2J"), "{:?}", shown.lock().unwrap());
    finish(attached, Duration::from_secs(20)).expect(0);
    assert!(!shown.lock().unwrap().contains("the run goes on"), "{:?}", shown.lock().unwrap());
    let other = other.rest();
    assert_eq!(numbers(&other), (1..=u64::try_from(other.len()).unwrap()).collect::<Vec<_>>());
}

/// A supervisor that is killed ends every feed, and nothing says that the run has ended.
#[test]
fn a_feed_ends_with_its_supervisor() {
    let repo = TestRepo::new();
    let run = Run::start(&repo, &(head(&repo, "") + &patient("a", "[\"a\"]", "true", "")), "a");
    let mut reader = Reader::subscribe(&repo, &json!({}));
    assert_eq!(reader.next().unwrap()["kind"], "run_opened");
    run.kill();
    let mut rest = String::new();
    reader.lines.read_to_string(&mut rest).unwrap();
    assert!(!rest.contains("run_ended"), "{rest}");
    repo.assert_no_survivors();
}
