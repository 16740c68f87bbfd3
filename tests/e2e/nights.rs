//! A run that nobody watches comes to an end by itself: silence, rate limits, runners that do not start,
//! and the limits of a session.

use std::time::Duration;

use crate::support::{Ended, TestRepo, eventually, executable, finish, run_dir, signal, text};

const LONG: Duration = Duration::from_secs(30);

fn sh(id: &str, script: &str, more: &str) -> String {
    format!("[[agent]]\nid = \"{id}\"\ncommand = [\"sh\", \"-c\", '''{script}''']\nfiles = [\"{id}\"]\n{more}\n")
}

fn codex(id: &str, more: &str) -> String {
    format!("[[agent]]\nid = \"{id}\"\nprompt = \"p\"\nfiles = [\"{id}\"]\n{more}\n")
}

/// Runs the session with a stand-in for codex, whose first line is `first`.
fn with_codex(repo: &TestRepo, first: &str, script: &str, session: &str, args: &[&str]) -> Ended {
    let bin = repo.tmp().join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    executable(&bin.join("codex"), &format!("{first}\n{script}\n"));
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    Ended::of(&repo.supervise().env("PATH", path).arg("run").arg(repo.session(session)).args(args).output().unwrap())
}

fn states(ended: &Ended, ids: &[&str]) -> Vec<String> {
    ids.iter().map(|id| ended.agent(id)["state"].as_str().unwrap().to_owned()).collect()
}

/// Who prints, who writes and who computes is alive; who does nothing of it is ended, and the reason
/// says what was missing.
#[test]
fn any_sign_of_life_counts_and_the_reason_says_which_were_missing() {
    let repo = TestRepo::new();
    let session = [
        "[defaults]\nidle_timeout = \"1500ms\"\n".to_owned(),
        sh("silent", "echo x; sleep 600", ""),
        sh("prints", "for n in 1 2 3 4 5 6; do sleep 0.5; echo $n; done", ""),
        sh("writes", "for n in 1 2 3 4 5 6; do sleep 0.5; echo $n > writes; done", ""),
        sh("computes", "end=$(($(date +%s) + 4)); while [ $(date +%s) -lt $end ]; do :; done", ""),
    ]
    .concat();
    let ended = repo.run(&session, &["--format", "json"]).expect(1);
    assert_eq!(
        states(&ended, &["silent", "prints", "writes", "computes"]),
        ["TIMEOUT", "COMPLETED", "COMPLETED", "COMPLETED"]
    );
    let reason = ended.agent("silent")["reason"]["text"].as_str().unwrap().to_owned();
    assert!(reason.starts_with("showed no sign of life for 1s 500ms: no output for 1."), "{reason}");
    assert!(reason.contains("s, no CPU time for 1."), "{reason}");
    assert_eq!(reason.contains("no write for 1."), ended.json()["layers"]["gate"] == true, "{reason}");
    let records = repo.records();
    let end = records.iter().find(|r| r["kind"] == "end_intended").unwrap();
    assert!(end["reason"]["quiet"]["cpu_ms"].as_u64().unwrap() >= 1500, "{end}");
    repo.assert_no_survivors();
}

/// While a runner is paused its slot is another's; it goes on when the provider said, without a retry.
#[test]
fn a_rate_limit_frees_the_slot_and_lifts_when_the_provider_said() {
    let repo = TestRepo::new();
    let script = "cat > /dev/null\n\
        test $SUPERVISE_ATTEMPT = 2 && { echo x > $SUPERVISE_ID; exit 0; }\n\
        echo '{\"type\":\"turn.failed\",\"error\":{\"message\":\"Rate limit reached. Please try again in 1s.\"}}'; exit 1";
    let session = [codex("limited", ""), sh("other", "echo x > other", "")].concat();
    let ended = with_codex(&repo, "#!/bin/sh", script, &session, &["-j", "1", "--format", "json"]).expect(0);
    assert_eq!(ended.agent("limited")["attempt"], 2);
    let records = repo.records();
    let at = |kind: &str, agent: &str| {
        let is = |r: &&serde_json::Value| r["kind"] == kind && (agent.is_empty() || r["agent"] == agent);
        let found = records.iter().find(is).unwrap_or_else(|| panic!("no {kind} of {agent}"));
        (found["seq"].as_u64().unwrap(), found["t"].as_u64().unwrap())
    };
    let (paused, resumed) = (at("runner_paused", ""), at("runner_resumed", ""));
    let other = at("agent_ended", "other");
    assert!(paused.0 < other.0 && other.0 < resumed.0, "the other agent ran meanwhile");
    assert!((1000..5000).contains(&(resumed.1 - paused.1)), "{paused:?} {resumed:?}");
    let why = records.iter().find(|r| r["kind"] == "agent_requeued").unwrap();
    assert_eq!(why["why"]["kind"], "rate_limit");
}

/// A provider that names an hour is waited for until then; meanwhile nothing runs, and Ctrl-C ends the run.
#[test]
fn a_rate_limit_until_an_hour_is_waited_for() {
    let repo = TestRepo::new();
    let date = repo.command("date").args(["-d", "2 hours", "+%-I:%M %p"]).output().unwrap().stdout;
    let date = String::from_utf8(date).unwrap();
    let message = format!("You have hit your usage limit. Try again at {}.", date.trim());
    let script = format!(
        "#!/bin/sh\ncat > /dev/null\necho '{{\"type\":\"turn.failed\",\"error\":{{\"message\":\"{message}\"}}}}'; exit 1\n"
    );
    let bin = repo.tmp().join("bin");
    std::fs::create_dir(&bin).unwrap();
    executable(&bin.join("codex"), &script);
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut command = repo.supervise();
    command.env("PATH", path).arg("run").arg(repo.session(&codex("limited", ""))).stdout(std::process::Stdio::piped());
    let child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
    let journal = || text(&run_dir(&repo), "journal.jsonl");
    assert!(eventually(LONG, || repo.exists(".git/supervise/current")));
    assert!(eventually(LONG, || journal().contains("agent_requeued")), "{}", journal());
    signal(&child, "INT");
    finish(child, LONG).expect(130);
    let records = repo.records();
    let paused = records.iter().find(|r| r["kind"] == "runner_paused").unwrap();
    let wait = paused["until"].as_u64().unwrap() - paused["t"].as_u64().unwrap();
    // Told to the minute, and until that minute is over.
    assert!((119 * 60_000..=121 * 60_000).contains(&wait), "{paused}");
}

/// A provider that asks for more than a night is not waited for.
#[test]
fn a_rate_limit_that_outlasts_the_night_fails_its_agents() {
    let repo = TestRepo::new();
    let script = "cat > /dev/null\n\
        echo '{\"type\":\"turn.failed\",\"error\":{\"message\":\"Usage limit. Try again in 3 days.\"}}'; exit 1";
    let session = [codex("limited", ""), sh("other", "echo x > other", "")].concat();
    let ended = with_codex(&repo, "#!/bin/sh", script, &session, &["--format", "json"]).expect(1);
    assert_eq!(states(&ended, &["limited", "other"]), ["FAILED", "COMPLETED"]);
    assert_eq!(ended.agent("limited")["reason"]["kind"], "rate_limited");
}

/// Neither a program that cannot be executed nor one that never says anything holds the run up.
#[test]
fn a_runner_that_never_starts_fails_its_agents_only() {
    let repo = TestRepo::new();
    let session = [codex("a", "retries = 1"), sh("other", "echo x > other", "")].concat();
    let ended = with_codex(&repo, "#!/no/such/interpreter", "", &session, &["--format", "json"]).expect(1);
    assert_eq!(states(&ended, &["a", "other"]), ["FAILED", "COMPLETED"]);
    assert_eq!(ended.agent("a")["reason"]["kind"], "spawn_failed");
    assert!(ended.agent("a")["reason"]["text"].as_str().unwrap().contains("interpreter"));
    let opened = repo.records().iter().filter(|r| r["kind"] == "attempt_started" && r["agent"] == "a").count();
    assert_eq!(opened, 2, "tried again once");

    let session = [codex("b", "timeout = \"1s\"\ngrace = \"0s\""), sh("more", "echo x > more", "")].concat();
    let ended = with_codex(&repo, "#!/bin/sh", "exec sleep 600", &session, &["--format", "json"]).expect(1);
    assert_eq!(states(&ended, &["b", "more"]), ["TIMEOUT", "COMPLETED"]);
    assert_eq!(ended.agent("b")["reason"]["kind"], "timeout");
    repo.assert_no_survivors();
}

/// At its hour nothing more is started, and what runs may finish.
#[test]
fn at_the_hour_nothing_more_is_started_and_what_runs_may_finish() {
    let repo = TestRepo::new();
    let open = repo.tmp().join("open");
    let hour = repo.command("date").args(["-d", "3 seconds", "+%H:%M:%S"]).output().unwrap().stdout;
    let hour = String::from_utf8(hour).unwrap();
    let wait = format!("until test -e {}; do sleep 0.02; done; echo x > one", open.display());
    let session =
        [format!("[session]\nstop_at = \"{}\"\n", hour.trim()), sh("one", &wait, ""), sh("two", "echo x > two", "")]
            .concat();
    let child = repo.start(&session, &["-j", "1", "--format", "json"]);
    let journal = || text(&run_dir(&repo), "journal.jsonl");
    assert!(eventually(LONG, || repo.exists(".git/supervise/current")));
    assert!(eventually(LONG, || journal().contains("stop_requested")), "{}", journal());
    std::fs::write(&open, "").unwrap();
    let ended = finish(child, LONG).expect(1);
    assert_eq!(states(&ended, &["one", "two"]), ["COMPLETED", "SKIPPED"]);
    let reason = ended.agent("two")["reason"].clone();
    assert_eq!(reason["kind"], "limit_reached");
    assert!(reason["text"].as_str().unwrap().contains("stop_at"), "{reason}");
}

/// Interrupted before its hour and taken up after it, a run stops at the next one.
#[test]
fn a_run_that_is_taken_up_after_its_hour_goes_on() {
    let repo = TestRepo::new();
    let date = |args: &[&str]| {
        let printed = repo.command("date").args(args).output().unwrap().stdout;
        String::from_utf8(printed).unwrap().trim().to_owned()
    };
    let hour = date(&["-d", "5 seconds", "+%s %H:%M:%S"]);
    let (second, hour) = hour.split_once(' ').unwrap();
    let script = "test $SUPERVISE_ATTEMPT -gt 1 || exec sleep 600; echo x > one";
    let session =
        [format!("[session]\nstop_at = \"{hour}\"\n"), sh("one", script, ""), sh("two", "echo x > two", "")].concat();
    let child = repo.start(&session, &["-j", "1"]);
    let runs =
        || repo.exists(".git/supervise/current") && text(&run_dir(&repo), "journal.jsonl").contains("attempt_started");
    assert!(eventually(LONG, runs));
    signal(&child, "INT");
    finish(child, LONG).expect(130);
    assert!(!text(&run_dir(&repo), "journal.jsonl").contains("stop_at"), "its hour had not come");
    assert!(eventually(LONG, || date(&["+%s"]).as_str() > second));
    let ended = Ended::of(&repo.supervise().args(["resume", "--format", "json"]).output().unwrap()).expect(0);
    assert_eq!(states(&ended, &["one", "two"]), ["COMPLETED", "COMPLETED"]);
}

#[test]
fn after_too_many_failures_nothing_more_is_started_and_what_runs_may_finish() {
    let repo = TestRepo::new();
    let failed = repo.tmp().join("failed");
    let wait = format!("until test -e {}; do sleep 0.02; done; sleep 0.3; echo x > runs", failed.display());
    let session = [
        "[session]\nmax_failures = 1\n".to_owned(),
        sh("runs", &wait, ""),
        sh("fails", &format!("touch {}; exit 1", failed.display()), ""),
        sh("never", "echo x > never", ""),
    ]
    .concat();
    let ended = repo.run(&session, &["-j", "2", "--format", "json"]).expect(1);
    assert_eq!(states(&ended, &["runs", "fails", "never"]), ["COMPLETED", "FAILED", "SKIPPED"]);
    let text = ended.agent("never")["reason"]["text"].as_str().unwrap().to_owned();
    assert!(text.contains("max_failures"), "{text}");
}
