//! The socket itself: what it answers to requests that are good, bad, too long, too late, too many.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Value, json};

use super::support::{TestRepo, eventually};
use super::{Run, ask, go, head, patient, scripted, socket, supervise};

fn one_patient(repo: &TestRepo) -> String {
    head(repo, "") + &patient("a", "[\"a\"]", "echo 1 > a", "")
}

pub(super) fn kind(answer: Option<Value>) -> String {
    let answer = answer.expect("an answer");
    assert_eq!(answer["version"], 1);
    let text = answer["error"]["text"].as_str().expect("an error has a text");
    assert!(!text.is_empty() && !text.contains('\n'), "{text:?}");
    answer["error"]["kind"].as_str().expect("an error has a kind").to_owned()
}

#[test]
fn requests_are_answered_and_everything_else_is_told_what_is_wrong() {
    let repo = TestRepo::new();
    let run = Run::start(&repo, &one_patient(&repo), "a");
    assert_eq!(std::fs::metadata(socket(&repo)).unwrap().permissions().mode() & 0o7777, 0o600);
    let directory = std::fs::metadata(repo.path().join(".git/supervise")).unwrap();
    assert_eq!(directory.permissions().mode() & 0o7777, 0o700);

    let status = ask(&repo, r#"{"version":1,"request":{"kind":"status"}}"#).unwrap();
    assert_eq!(status["reply"]["kind"], "status");
    assert_eq!(status["reply"]["run"]["state"], "RUNNING");
    let conflicts = ask(&repo, r#"{"version":1,"request":{"kind":"conflicts"}}"#).unwrap();
    assert_eq!(conflicts, json!({"version": 1, "reply": {"kind": "conflicts", "conflicts": []}}));

    let request = |request: &str| format!("{{\"version\":1,\"request\":{request}}}");
    for (line, expected) in [
        (String::new(), "bad_request"),
        ("GET / HTTP/1.1\r".to_owned(), "bad_request"),
        ("\u{0}\u{1}\u{ff}".to_owned(), "bad_request"),
        ("{}".to_owned(), "bad_request"),
        (r#"{"version":2,"request":{"kind":"status"}}"#.to_owned(), "wrong_version"),
        (request(r#"{"kind":"shutdown"}"#), "unknown_kind"),
        (request(r#"{"kind":"release_locks"}"#), "bad_request"),
        (request(r#"{"kind":"release_locks","agent":"nobody"}"#), "unknown_agent"),
        (request(r#"{"kind":"stop","how":"orderly"}"#), "bad_request"),
        (request(r#"{"kind":"stop","agents":[],"how":"orderly"}"#), "bad_request"),
        (request(r#"{"kind":"register","agent":{"id":"x","command":["true"],"file":["f"]}}"#), "bad_request"),
        (request(r#"{"kind":"stop","agents":["nobody"],"how":"orderly"}"#), "unknown_agent"),
        (request(r#"{"kind":"complete","phase":"nowhere"}"#), "unknown_phase"),
        (request(r#"{"kind":"checkpoint","agent":"nobody"}"#), "unknown_agent"),
        (request(r#"{"kind":"resolve","keep":"a","terminate":"b"}"#), "not_possible"),
        (request(r#"{"kind":"resolve","conflict":7,"wait":true}"#), "unknown_conflict"),
        (request(&format!("{{\"kind\":\"status\",\"x\":\"{}\"}}", "x".repeat(70_000))), "too_large"),
        ("x".repeat(2_000_000), "too_large"),
    ] {
        assert_eq!(kind(ask(&repo, &line)), expected, "{}", line.chars().take(80).collect::<String>());
    }
    go(&repo);
    run.finish().expect(0);
    assert!(!socket(&repo).exists(), "the socket goes with the run");
}

#[test]
fn a_request_that_is_cut_off_or_comes_late_is_no_request() {
    let repo = TestRepo::new();
    let run = Run::start(&repo, &one_patient(&repo), "a");
    let mut cut = UnixStream::connect(socket(&repo)).unwrap();
    cut.write_all(br#"{"version":1,"request":{"kind":"status"}}"#).unwrap();
    cut.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    cut.read_to_string(&mut answer).unwrap();
    assert_eq!(kind(serde_json::from_str(&answer).ok()), "bad_request");

    // Sixteen who say nothing take all places; they are dropped in time, and the run does not notice.
    let silent: Vec<UnixStream> = (0..16).map(|_| UnixStream::connect(socket(&repo)).unwrap()).collect();
    let full =
        || ask(&repo, r#"{"version":1,"request":{"kind":"status"}}"#).is_some_and(|a| a["error"]["kind"] == "busy");
    assert!(eventually(Duration::from_secs(3), full), "the seventeenth is told so");
    for mut peer in silent {
        peer.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut answer = String::new();
        peer.read_to_string(&mut answer).unwrap();
        assert_eq!(kind(serde_json::from_str(&answer).ok()), "too_slow");
    }
    assert!(run.agent("a").is_some());
    go(&repo);
    run.finish().expect(0);
}

/// A peer of another user reaches the socket only where directory and socket are opened up by hand.
#[test]
fn another_user_may_not_ask() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("left out: only root can become somebody else");
        return;
    }
    let repo = TestRepo::new();
    let run = Run::start(&repo, &one_patient(&repo), "a");
    let open = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let inner = socket(&repo);
    inner.ancestors().skip(1).take_while(|dir| dir.starts_with(repo.path())).for_each(|dir| open(dir, 0o755));
    open(&inner, 0o666);
    let script = "use IO::Socket::UNIX; $SIG{PIPE} = 'IGNORE'; my $s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die \"cannot connect: $!\"; \
                  print $s '{\"version\":1,\"request\":{\"kind\":\"status\"}}', \"\\n\"; $s->flush; print <$s>;";
    let mut perl = std::process::Command::new("perl");
    {
        use std::os::unix::process::CommandExt as _;
        perl.args(["-e", script]).arg(&inner).current_dir("/").uid(65_534).gid(65_534);
    }
    let Ok(said) = perl.output() else {
        eprintln!("left out: no perl to be somebody else with");
        return;
    };
    let said = String::from_utf8_lossy(&said.stdout).into_owned() + &String::from_utf8_lossy(&said.stderr);
    assert_eq!(kind(serde_json::from_str(&said).ok()), "not_allowed", "{said}");
    go(&repo);
    run.finish().expect(0);
}

#[test]
fn an_agent_may_not_ask_nor_what_it_left_its_session() {
    let repo = TestRepo::new();
    let program = env!("CARGO_BIN_EXE_supervise");
    let wish = format!("{program} release-locks other");
    let script = format!("({wish}; setsid {wish}; (setsid setsid -w {wish} & wait)) 2>&1; echo 1 > a");
    let session = head(&repo, "")
        + &patient("other", "[\"other\"]", "echo 1 > other", "")
        + &scripted("agent", "[\"a\"]", &script, "depends_on = [\"other\"]\nwait_for_completion = false");
    let run = Run::start(&repo, &session, "other");
    let done = || run.agent("agent").is_some_and(|agent| agent["state"] == "COMPLETED");
    assert!(eventually(Duration::from_secs(30), done), "{:?}", run.agent("agent"));
    let log = supervise(&repo, &["logs", "agent"]).expect(0).stdout;
    assert_eq!(log.matches("processes that this supervisor started may not ask it anything").count(), 3, "{log}");
    assert_eq!(run.agent("other").unwrap()["state"], "RUNNING");
    // From outside the same wish is fulfilled.
    supervise(&repo, &["release-locks", "other"]).expect(0);
    let ended = run.finish().expect(1);
    assert!(ended.stderr.contains("its locks were taken away by hand"), "{}", ended.stderr);
}

#[test]
fn a_socket_that_was_left_behind_is_told_apart_and_replaced() {
    let repo = TestRepo::new();
    Run::start(&repo, &one_patient(&repo), "a").kill();
    repo.assert_no_survivors();
    assert!(socket(&repo).exists());
    let refused = supervise(&repo, &["release-locks", "a"]).expect(3);
    assert!(refused.stderr.contains("was cut off: its supervisor is gone"), "{}", refused.stderr);

    let mut resume = repo.supervise();
    resume.arg("resume").stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let run = Run { repo: &repo, child: Some(resume.spawn().unwrap()) };
    let runs = || run.agent("a").is_some_and(|a| a["state"] == "RUNNING" && a["pid"].is_u64());
    assert!(eventually(Duration::from_secs(30), runs), "{:?}", run.agent("a"));
    let second = repo.run(&one_patient(&repo), &[]).expect(3);
    assert!(second.stderr.contains("another supervisor is running"), "{}", second.stderr);
    assert_eq!(run.agent("a").unwrap()["state"], "RUNNING", "the first one's socket is as it was");
    go(&repo);
    run.finish().expect(0);
}
