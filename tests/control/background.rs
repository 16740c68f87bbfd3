//! A run in the background: started, attached to, waited for.

use std::time::Duration;

use super::support::{TestRepo, eventually, finish, run_dir, text, with_input};
use super::{Run, go, head, normal, patient, scripted, supervise};

fn two(repo: &TestRepo) -> String {
    head(repo, "") + &patient("api", "[\"api\"]", "echo 1 > api", "") + &scripted("bad", "[\"bad\"]", "exit 3", "")
}

/// Starts it in the background.
fn detach(repo: &TestRepo, session: &str, args: &[&str]) -> super::support::Ended {
    repo.run(session, &[&["--detach"], args].concat())
}

#[test]
fn a_run_goes_on_without_a_terminal() {
    let repo = TestRepo::new();
    let opened = detach(&repo, &two(&repo), &[]).expect(0);
    insta::assert_snapshot!("a_run_goes_on_without_a_terminal", normal(&opened.stdout, &repo));
    assert_eq!(opened.stderr, "");
    // Whoever started it has ended, and it can be asked at once.
    supervise(&repo, &["status", "api"]).expect(0);
    let started = repo.supervise().args(["wait", "api"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let attached = repo
        .supervise()
        .arg("attach")
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let programs = ["json", "jsonl"].map(|format| {
        let mut command = repo.supervise();
        command.args(["attach", "--format", format]).stdout(std::process::Stdio::piped());
        command.stderr(std::process::Stdio::null()).spawn().unwrap()
    });
    let late = supervise(&repo, &["wait", "--timeout", "100ms"]);
    assert!(late.stderr.contains("still running after 100ms"), "{}", late.stderr);
    late.expect(124);
    go(&repo);
    let waited = supervise(&repo, &["wait"]).expect(1);
    assert_eq!(
        normal(&waited.stdout, &repo),
        "run RUN FAILED: 1 of 2 agents completed\nsupervise status shows the whole"
    );
    assert_eq!(finish(started, Duration::from_secs(20)).expect(0).stdout, "api  COMPLETED\n");
    // What `run` would have printed: progress, then the report.
    let attached = finish(attached, Duration::from_secs(20)).expect(1);
    assert!(attached.stderr.contains(": exit code 3; logs: "), "{}", attached.stderr);
    assert!(attached.stdout.contains("FAILED") && attached.stdout.contains("api"), "{}", attached.stdout);
    let [document, records] = programs.map(|child| finish(child, Duration::from_secs(20)).expect(1));
    assert_eq!(document.json(), supervise(&repo, &["status", "--format", "json"]).expect(0).json());
    assert_eq!(records.stdout, supervise(&repo, &["timeline", "--format", "json"]).expect(0).stdout);
    let log = || text(&run_dir(&repo), "run.log");
    assert!(eventually(Duration::from_secs(10), || log().contains("  FAILED  ")), "its report: {}", log());
    let log = log();
    assert!(log.starts_with(&attached.stderr.lines().next().unwrap()[..20]), "{log}");
    assert!(log.contains("api       completed"), "{log}");
    // The next one can begin: the supervisor is gone.
    detach(&repo, &scripted("next", "[\"next\"]", "echo 1 > next", ""), &["--format", "json"]).expect(0).json();
    supervise(&repo, &["wait"]).expect(0);
    repo.assert_no_survivors();
}

#[test]
fn what_cannot_be_started_is_said_as_without_it() {
    let repo = TestRepo::new();
    let invalid = detach(&repo, "[[agent]]\nid = \"a\"\nfile = []\n", &[]).expect(2);
    assert!(invalid.stderr.contains("error[unknown_key]") && invalid.stdout.is_empty(), "{}", invalid.stderr);
    let run = Run::start(&repo, &two(&repo), "api");
    let held = detach(&repo, &two(&repo), &[]).expect(3);
    assert!(held.stderr.contains("another supervisor is running"), "{}", held.stderr);
    go(&repo);
    run.finish().expect(1);
}

#[test]
fn a_session_from_standard_input_runs_in_the_background_too() {
    let repo = TestRepo::new();
    let mut command = repo.supervise();
    command.args(["-", "--detach", "--format", "json"]);
    let json = with_input(command, two(&repo).as_bytes()).expect(0).json();
    assert_eq!(json["run"], run_dir(&repo).file_name().unwrap().to_str().unwrap());
    // It has no terminal that could hang up, and is the leader of its session.
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", json["pid"])).unwrap();
    let session = stat.rsplit(") ").next().unwrap().split(' ').nth(3).unwrap();
    assert_eq!(session, json["pid"].to_string());
    supervise(&repo, &["stop", "--all"]).expect(0);
    let ended = supervise(&repo, &["wait", "--format", "json"]).expect(143).json();
    assert_eq!(ended["state"], "INTERRUPTED");
    assert_eq!(ended["agents"][0]["reason"]["kind"], "interrupted");
}

#[test]
fn what_is_taken_up_or_tried_again_goes_on_without_a_terminal_too() {
    let repo = TestRepo::new();
    let run = Run::start(&repo, &two(&repo), "api");
    run.kill();
    let opened = supervise(&repo, &["resume", "--detach"]).expect(0);
    assert!(opened.stdout.contains(" is open: looked-at, 2 agents\n"), "{}", opened.stdout);
    assert_eq!(opened.stderr, "");
    supervise(&repo, &["resume", "--detach"]).expect(3);
    let early = supervise(&repo, &["retry"]).expect(3);
    assert!(early.stderr.contains("goes on") && early.stderr.contains("`supervise wait`"), "{}", early.stderr);
    go(&repo);
    supervise(&repo, &["wait"]).expect(1);
    let again = supervise(&repo, &["retry", "--detach", "--format", "json"]).expect(0).json();
    supervise(&repo, &["wait"]).expect(1);
    let json = supervise(&repo, &["status", "--format", "json"]).expect(0).json();
    assert_eq!((&json["run"], json["agents"].as_array().unwrap().len()), (&again["run"], 1));
    repo.assert_no_survivors();
}

#[test]
fn waiting_for_what_is_over_or_cut_off_ends() {
    let repo = TestRepo::new();
    let run = Run::start(&repo, &two(&repo), "api");
    let unknown = supervise(&repo, &["wait", "apj"]).expect(2);
    assert!(unknown.stderr.contains("did you mean `api`?"), "{}", unknown.stderr);
    let failed = || run.agent("bad").is_some_and(|bad| bad["state"] == "FAILED");
    assert!(eventually(Duration::from_secs(30), failed));
    assert_eq!(supervise(&repo, &["wait", "bad"]).expect(1).stdout, "bad  FAILED: exit code 3\n");
    let piped = || {
        let mut command = repo.supervise();
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        command
    };
    let waiting = [piped().args(["wait", "api", "bad"]).spawn().unwrap(), piped().arg("wait").spawn().unwrap()];
    let shown = repo.tmp().join("attached");
    let attached = piped().arg("attach").stderr(std::fs::File::create(&shown).unwrap()).spawn().unwrap();
    let sees = || std::fs::metadata(&shown).is_ok_and(|found| found.len() > 0);
    assert!(eventually(Duration::from_secs(30), sees), "it is attached when it shows something");
    run.kill();
    finish(attached, Duration::from_secs(20)).expect(3);
    let said = std::fs::read_to_string(&shown).unwrap();
    assert!(said.contains("cut off: its supervisor is gone"), "{said}");
    for child in waiting {
        let ended = finish(child, Duration::from_secs(20)).expect(3);
        assert!(ended.stderr.contains("cut off: its supervisor is gone"), "{}", ended.stderr);
    }
    supervise(&repo, &["wait"]).expect(3);
    let over = supervise(&repo, &["attach"]).expect(3);
    assert!(over.stderr.contains("cut off: its supervisor is gone"), "{}", over.stderr);
    repo.assert_no_survivors();
    // Taken up again, it has an end after all.
    go(&repo);
    supervise(&repo, &["resume"]).expect(1);
    assert_eq!(supervise(&repo, &["wait", "--id", "api"]).expect(0).stdout, "api  COMPLETED\n");
    supervise(&repo, &["wait"]).expect(1);
}

/// Who was stopped by hand stays so, what was granted too, and who waits is told of the end that counts.
#[test]
fn what_a_person_wanted_outlives_the_supervisor() {
    let repo = TestRepo::new();
    let session = head(&repo, "max_concurrent = 2")
        + &patient("soft", "[\"soft\"]", "echo 1 > soft", "retries = 2\ngrace = \"1s\"")
        + &patient("goes-on", "[\"on\"]", "echo 1 > on", "grace = \"1s\"")
        + &scripted("after", "[\"after\"]", "echo 1 > after; echo 1 > more", "depends_on = [\"goes-on\"]");
    let run = Run::start(&repo, &session, "soft");
    let both = || run.agent("goes-on").is_some_and(|agent| agent["state"] == "RUNNING");
    assert!(eventually(Duration::from_secs(30), both));
    supervise(&repo, &["stop", "soft", "--graceful"]).expect(0);
    supervise(&repo, &["grant", "after", "more"]).expect(0);
    supervise(&repo, &["stop", "--all"]).expect(0);
    run.finish().expect(143);
    supervise(&repo, &["wait"]).expect(143);
    go(&repo);
    let resumed = supervise(&repo, &["resume"]).expect(1);
    assert!(resumed.stdout.contains("goes-on"), "{}", resumed.stdout);
    supervise(&repo, &["wait"]).expect(1);
    supervise(&repo, &["wait", "goes-on", "after"]).expect(0);
    assert_eq!(repo.subjects(), ["feat(goes-on): goes-on", "feat(after): after"]);
    assert_eq!(repo.files_of("feat(after): after"), ["after", "more"]);
}
