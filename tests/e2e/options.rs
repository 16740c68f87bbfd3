//! What a session file can ask of a run, one key at a time, through the real program.

use std::process::Stdio;
use std::time::Duration;

use crate::support::{Ended, TestRepo, eventually, executable, finish, run_dir, text};

const LONG: Duration = Duration::from_secs(30);

fn sh(id: &str, script: &str, more: &str) -> String {
    format!("[[agent]]\nid = \"{id}\"\ncommand = [\"sh\", \"-c\", '''{script}''']\nfiles = [\"{id}\"]\n{more}\n")
}

/// A stand-in for codex, first on PATH; `script` runs with the prompt on its standard input.
fn with_codex(repo: &TestRepo, session: &str, script: &str, args: &[&str]) -> Ended {
    let bin = repo.tmp().join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    executable(&bin.join("codex"), &format!("#!/bin/sh\n{script}\n"));
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    Ended::of(&repo.supervise().env("PATH", path).arg("run").arg(repo.session(session)).args(args).output().unwrap())
}

#[test]
fn a_missing_program_fails_its_agent_only_and_is_named() {
    let repo = TestRepo::new();
    let gone = "[[agent]]\nid = \"gone\"\ncommand = [\"no-such-program\"]\nfiles = [\"x\"]\n";
    let ended = repo.run(&[gone.to_owned(), sh("ok", "echo x > ok", "")].concat(), &["--format", "json"]).expect(1);
    assert_eq!(ended.agent("gone")["reason"]["kind"], "spawn_failed");
    assert!(ended.agent("gone")["reason"]["text"].as_str().unwrap().contains("`no-such-program`"));
    assert_eq!(ended.agent("ok")["state"], "COMPLETED");
}

#[test]
fn a_missing_codex_is_told_before_anything_starts() {
    let repo = TestRepo::new();
    let session = [sh("first", "echo x > first", ""), "[[agent]]\nid = \"c\"\nprompt = \"p\"\n".to_owned()].concat();
    let path = repo.session(&session);
    let git = repo.tmp().join("bin");
    std::fs::create_dir(&git).unwrap();
    let output = repo.supervise().env("PATH", &git).arg("run").arg(path).output().unwrap();
    let ended = Ended::of(&output).expect(3);
    let said = ended.stderr.split_whitespace().filter(|w| *w != "│").collect::<Vec<_>>().join(" ");
    assert_eq!(said.matches("npm install -g").count(), 1, "{}", ended.stderr);
    assert!(!repo.exists("first") && !repo.exists(".git/supervise/runs"), "{}", ended.stderr);
}

#[test]
fn environment_and_directory_are_as_asked() {
    let repo = TestRepo::with(&[("d/keep", "")]);
    let session = sh(
        "d/env",
        "env > env; pwd > cwd",
        "cwd = \"d\"\nenv_clear = true\nenv = { FOO = \"{{name}}\" }\nenv_pass = [\"TEST_MARK\"]",
    )
    .replace("id = \"d/env\"", "id = \"env\"")
    .replace("files = [\"d/env\"]", "files = [\"d/\"]");
    repo.run(&session, &[]).expect(0);
    let env = repo.read("d/env");
    for wanted in ["FOO=env", &format!("TEST_MARK={}", repo.mark), "SUPERVISE_ID=env", "SUPERVISE_SLOT=0"] {
        assert!(env.lines().any(|l| l == wanted), "{wanted} in {env}");
    }
    assert!(!env.lines().any(|l| l.starts_with("HOME=") || l.starts_with("NO_COLOR=")), "{env}");
    assert!(repo.read("d/cwd").trim_end().ends_with("/work/d"));
}

#[test]
fn silence_expected_changes_and_short_logs() {
    let repo = TestRepo::new();
    let session = [
        sh("silent", "echo x; sleep 600", "idle_timeout = \"1s\""),
        sh("empty", "true", "expect_changes = true"),
        sh("loud", "head -c 200000 /dev/zero | tr \"\\000\" x; echo END", "log_limit = \"10KiB\""),
    ]
    .concat();
    let ended = repo.run(&session, &["--format", "json"]).expect(1);
    assert_eq!(ended.agent("silent")["state"], "TIMEOUT");
    assert_eq!(ended.agent("silent")["reason"]["kind"], "idle_timeout");
    assert_eq!(ended.agent("empty")["reason"]["kind"], "no_changes");
    let log = text(&run_dir(&repo), "agents/loud/1/stdout.log");
    assert!(log.len() < 11 * 1024 && log.ends_with("END\n"), "{} bytes", log.len());
    repo.assert_no_survivors();
}

#[test]
fn a_checkpoint_is_there_while_its_agent_runs_and_gone_when_it_completed() {
    let repo = TestRepo::new();
    let open = repo.tmp().join("open");
    let script = format!("echo work > a; until test -e {}; do sleep 0.02; done", open.display());
    let session = format!("[session]\ncheckpoint_interval = \"1s\"\n{}", sh("a", &script, ""));
    let child = repo.start(&session, &[]);
    let refs = || repo.git(&["for-each-ref", "--format=%(refname)", "refs/supervise"]);
    assert!(eventually(LONG, || refs().contains(".checkpoint")), "no checkpoint was made");
    assert_eq!(repo.git(&["show", &format!("{}:a", refs().trim())]), "work\n");
    std::fs::write(&open, "").unwrap();
    finish(child, LONG).expect(0);
    assert_eq!(refs(), "");
    assert_eq!(repo.status(), "");
}

#[test]
fn limits_stop_the_rest_and_nothing_that_runs() {
    let repo = TestRepo::new();
    let agents = ["a", "b", "c", "d"].map(|id| sh(id, "exit 1", "")).concat();
    let ended = repo.run(&format!("[session]\nmax_failures = 2\n{agents}"), &["-j", "1", "--format", "json"]).expect(1);
    let states: Vec<_> = ["a", "b", "c", "d"].map(|id| ended.agent(id)["state"].as_str().unwrap().to_owned()).into();
    assert_eq!(states, ["FAILED", "FAILED", "SKIPPED", "SKIPPED"]);
    assert_eq!(ended.agent("c")["reason"]["kind"], "limit_reached");

    let agents = ["e", "f", "g"].map(|id| format!("[[agent]]\nid = \"{id}\"\nprompt = \"p\"\nfiles = [\"{id}\"]\n"));
    let session = format!("[session]\nmax_tokens = 1000\n{}", agents.concat());
    let script = "cat > /dev/null; echo x > $SUPERVISE_ID\n\
                  echo '{\"type\":\"turn.completed\",\"usage\":{\"input_tokens\":600,\"output_tokens\":50}}'";
    let ended = with_codex(&repo, &session, script, &["-j", "1", "--format", "json"]).expect(1);
    let states: Vec<_> = ["e", "f", "g"].map(|id| ended.agent(id)["state"].as_str().unwrap().to_owned()).into();
    assert_eq!(states, ["COMPLETED", "COMPLETED", "SKIPPED"]);
    assert_eq!(ended.agent("e")["usage"]["input_tokens"], 600);
}

#[test]
fn prompts_that_are_long_or_start_with_a_dash_arrive_whole() {
    let repo = TestRepo::new();
    let long = "y".repeat(300_000);
    let session = format!(
        "[defaults]\nbrief = false\n[[agent]]\nid = \"long\"\nprompt = \"{long}\"\nfiles = [\"long\"]\n\
         [[agent]]\nid = \"dash\"\nprompt = \"--help me\"\nfiles = [\"dash\"]\n"
    );
    let script = "cat > $SUPERVISE_ID; for last; do :; done; printf '%s' \"$last\" >> $SUPERVISE_ID";
    with_codex(&repo, &session, script, &[]).expect(0);
    assert_eq!(repo.read("long"), format!("{long}-"), "through standard input, which `-` names");
    assert_eq!(repo.read("dash"), "--help me");
}

/// What an agent says, and what it calls its files, is text: no escape sequence of it is passed on.
#[test]
fn escape_sequences_of_agents_never_reach_the_terminal() {
    let repo = TestRepo::new();
    let session = "[[agent]]\nid = \"e\"\nprompt = \"p\"\nfiles = [\"e\"]\n";
    let script = r#"cat > /dev/null; touch "$(printf 'x\033]0;evil\007')"
printf '%s\n' '{"type":"item.completed","item":{"id":"i","type":"agent_message","text":"\u001b[31mred\u001b]0;t\u0007\nNEEDS: a\u001b[2J: why\u009b"}}'
printf '\033[2Jraw\n' >&2; exit 1"#;
    for format in ["human", "json", "jsonl"] {
        let ended = with_codex(&repo, session, script, &["--format", format]).expect(1);
        let harmless = |text: &str| !text.chars().any(|c| c.is_control() && c != '\n');
        assert!(harmless(&ended.stdout), "{format}: {:?}", ended.stdout);
        assert!(harmless(&ended.stderr), "{format}: {:?}", ended.stderr);
    }
}

#[test]
fn jsonl_is_all_that_standard_output_gets_and_the_snapshot_is_current() {
    let repo = TestRepo::new();
    let session = [sh("a", "echo x > a; echo noise", ""), sh("b", "exit 3", "")].concat();
    let ended = repo.run(&session, &["--format", "jsonl"]).expect(1);
    let kinds: Vec<String> = ended
        .stdout
        .lines()
        .map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap_or_else(|e| panic!("{e}: {l}")))
        .map(|record| record["kind"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!((kinds.first().unwrap().as_str(), kinds.last().unwrap().as_str()), ("run_opened", "run_ended"));
    let snapshot: serde_json::Value =
        serde_json::from_str(&repo.read(".git/supervise/orchestrator.json")).expect("one document");
    assert_eq!(snapshot["state"], "FAILED");
    assert_eq!(snapshot["agents"]["a"]["status"], "COMPLETED");
    assert_eq!(snapshot["agents"]["b"]["reason"]["kind"], "exit");
}

/// A reader that goes away, of the report or of the progress, does not end the run in the middle.
#[test]
fn a_run_outlives_its_readers() {
    let repo = TestRepo::new();
    let open = repo.tmp().join("open");
    let wait = format!("until test -e {}; do sleep 0.02; done; echo x > one", open.display());
    let session = [sh("one", &wait, ""), sh("two", "echo x > two", "needs = [\"one\"]")].concat();
    let path = repo.session(&session);
    let mut command = repo.supervise();
    command.arg("run").arg(path).args(["--format", "jsonl"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    assert!(eventually(LONG, || repo.exists(".git/supervise/current")));
    drop((child.stdout.take(), child.stderr.take()));
    std::fs::write(&open, "").unwrap();
    finish(child, LONG).expect(0);
    assert_eq!(repo.subjects(), ["feat(one): one", "feat(two): two"]);
    repo.assert_no_survivors();
}

/// Every command that the report names, pasted into a shell where the person is, works.
#[test]
fn the_commands_of_a_report_work_when_pasted() {
    let repo = TestRepo::new();
    let path = repo.session(&[sh("ok", "echo x > ok", ""), sh("bad", "echo x > bad; exit 1", "")].concat());
    for here in [repo.path(), repo.tmp()] {
        let mut run = repo.supervise();
        run.current_dir(&here).arg("-C").arg(repo.path()).arg("run").arg(&path);
        let ended = Ended::of(&run.output().unwrap()).expect(1);
        let commands: Vec<&str> = ended
            .stdout
            .lines()
            .filter_map(|l| l.trim_start().split_once("  ").map(|(_, c)| c.trim()))
            .filter(|c| c.starts_with("git ") || c.starts_with("supervise "))
            .collect();
        assert!(commands.len() >= 3, "{}", ended.stdout);
        let program = std::path::Path::new(env!("CARGO_BIN_EXE_supervise")).parent().unwrap().display().to_string();
        let path = format!("{program}:{}", std::env::var("PATH").unwrap());
        for line in commands {
            // The agent's file is still in the tree where this one would put it.
            repo.git(&["reset", "-q", "--hard", "HEAD"]);
            let mut sh = repo.command("sh");
            let status = sh.current_dir(&here).args(["-c", line]).env("PATH", &path).stdout(Stdio::null()).status();
            assert!(status.unwrap().success(), "{line}");
            repo.git(&["clean", "-qfd"]);
        }
        let logs = ended.stdout.lines().find_map(|l| l.trim().strip_prefix("logs")).unwrap().trim().to_owned();
        assert!(here.join(&logs).join("stdout.log").exists(), "{logs}");
        repo.git(&["reset", "-q", "--hard", "HEAD"]);
        repo.git(&["rm", "-q", "ok"]);
        repo.git(&["commit", "-qm", "again"]);
    }
}

#[test]
fn a_large_file_never_comes_into_the_supervisors_memory() {
    let repo = TestRepo::new();
    let (open, big) = (repo.tmp().join("open"), 64 << 20);
    let make = format!("head -c {big} /dev/urandom > big");
    // The first commits one, the second has another salvaged and the first put back; `late` keeps the
    // supervisor alive until its memory has been looked at.
    let session = [
        sh("first", &make, "").replace("[\"first\"]", "[\"big\"]"),
        sh("second", &format!("{make}; exit 1"), "needs = [\"first\"]").replace("[\"second\"]", "[\"big\"]"),
        sh(
            "late",
            &format!("until test -e {}; do sleep 0.05; done", open.display()),
            "on_dependency_failure = \"run\"\nneeds = [\"second\"]",
        ),
    ]
    .concat();
    let child = repo.start(&session, &[]);
    let journal = || text(&run_dir(&repo), "journal.jsonl");
    assert!(eventually(LONG, || repo.exists(".git/supervise/current")));
    assert!(eventually(LONG * 2, || journal().contains("\"kind\":\"restored\"")), "{}", journal());
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let most = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap().trim().to_owned();
    let most: u64 = most.split(' ').next().unwrap().parse().unwrap();
    assert!(most < 48 * 1024, "{most} KiB at the most");
    std::fs::write(&open, "").unwrap();
    finish(child, LONG).expect(1);
    assert_eq!(repo.status(), "");
}
