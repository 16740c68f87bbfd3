//! `retry = "continue"`: an attempt goes on with the thread and the work of the one before.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::codex::{agent, codex, head, ran};
use crate::model::{Fault, Model, Script};
use crate::support::{Ended, TestRepo, eventually, executable, finish, signal};

const PATIENCE: Duration = Duration::from_secs(30);

/// A stand-in for codex: says its thread, keeps its arguments, then does this.
fn stand_in(repo: &TestRepo, script: &str) {
    let bin = repo.tmp().join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    let said = repo.tmp().join("told");
    let text = format!(
        "#!/bin/sh\necho '{{\"type\":\"thread.started\",\"thread_id\":\"t-1\"}}'\nprintf '%s\\n' \"$@\" > {}.$SUPERVISE_ATTEMPT\n{script}\n",
        said.display()
    );
    executable(&bin.join("codex"), &text);
}

/// The arguments of the stand-in, one a line.
fn told(repo: &TestRepo, attempt: u32) -> String {
    std::fs::read_to_string(repo.tmp().join(format!("told.{attempt}"))).unwrap()
}

fn supervise(repo: &TestRepo, verb: &str) -> std::process::Command {
    let mut command = repo.supervise();
    let bin: PathBuf = repo.tmp().join("bin");
    command.env("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").unwrap())).arg(verb);
    command
}

fn run(repo: &TestRepo, session: &str) -> Ended {
    Ended::of(&supervise(repo, "run").arg(repo.session(session)).args(["--format", "json"]).output().unwrap())
}

fn one(more: &str) -> String {
    format!(
        "[[agent]]\nid = \"a\"\nprompt = \"make it whole\"\nfiles = [\"f\", \"new/\"]\nretry = \"continue\"\n{more}\n"
    )
}

/// Half of the work at first; the rest only on top of that half.
const HALVES: &str = "test $SUPERVISE_ATTEMPT = 1 && { echo half > f; mkdir -p new; echo n > new/n; echo on its way >&2; SIGN; }\n\
                      test \"$(cat f)\" = half || exit 9\necho whole >> f\n\
                      echo '{\"type\":\"turn.completed\",\"usage\":{\"input_tokens\":30,\"output_tokens\":3}}'";

fn halves(sign: &str) -> String {
    HALVES.replace("SIGN", sign)
}

fn kinds(repo: &TestRepo, kind: &str) -> Vec<Value> {
    repo.records().into_iter().filter(|record| record["kind"] == kind).collect()
}

/// The second attempt made whole what the first had half done.
fn is_whole(repo: &TestRepo, ended: &Ended) {
    let whole = ended.agent("a");
    assert_eq!((&whole["state"], &whole["attempt"]), (&Value::from("COMPLETED"), &Value::from(2)), "{whole:#}");
    assert_eq!(whole["continues"]["attempt"], 1);
    assert!(whole["continues"]["anew"].is_null(), "{whole:#}");
    assert_eq!(repo.files_of("feat(a): a"), ["f", "new/n"]);
    assert_eq!(repo.git(&["show", "HEAD:f"]), "half\nwhole\n");
    assert_eq!(repo.status(), "");
    assert!(told(repo, 2).contains("\nresume\nt-1\nYour last attempt did not complete: "), "{}", told(repo, 2));
    assert!(!told(repo, 2).contains("make it whole"), "the thread has its prompt");
    assert_eq!(kinds(repo, "continued")[0]["thread"], "t-1");
    repo.assert_no_survivors();
}

#[test]
fn after_a_failed_verification_it_goes_on_with_what_that_printed() {
    let repo = TestRepo::with(&[("f", "base\n")]);
    stand_in(&repo, &halves("exit 0"));
    let verify = "verify = \"grep -q whole f || { echo f is not whole yet; exit 3; }\"\nretries = 1";
    let ended = run(&repo, &one(verify)).expect(0);
    is_whole(&repo, &ended);
    let told = told(&repo, 2);
    assert!(told.contains("complete: verify failed with exit code 3.\n"), "{told}");
    assert!(told.contains("The verify command printed, at its end:\n\nf is not whole yet\n"), "{told}");
    assert!(told.starts_with("exec\n--json\n-s\nworkspace-write\nresume\n"), "{told}");
    let lines = repo.ask(&["timeline"]);
    assert!(lines.contains("continues   with the thread and the work of attempt 1"), "{lines}");
}

#[test]
fn after_a_failure_it_goes_on_with_what_it_said_last() {
    let repo = TestRepo::with(&[("f", "base\n")]);
    stand_in(&repo, &halves("exit 4"));
    let ended = run(&repo, &one("retries = 1")).expect(0);
    is_whole(&repo, &ended);
    assert!(told(&repo, 2).contains("complete: exit code 4.\n"), "{}", told(&repo, 2));
    assert!(told(&repo, 2).contains("Its standard error, at its end:\n\non its way\n"), "{}", told(&repo, 2));
}

#[test]
fn after_a_rate_limit_it_goes_on() {
    let repo = TestRepo::with(&[("f", "base\n")]);
    let limit =
        r#"echo '{"type":"turn.failed","error":{"message":"Rate limit reached. Please try again in 1s."}}'; exit 1"#;
    stand_in(&repo, &halves(limit));
    is_whole(&repo, &run(&repo, &one("")).expect(0));
}

/// A stand-in for claude: what it is told comes on standard input.
#[test]
fn claude_goes_on_with_its_session() {
    let repo = TestRepo::with(&[("f", "base\n")]);
    stand_in(&repo, "");
    let script = format!(
        "#!/bin/sh\necho '{{\"type\":\"system\",\"subtype\":\"init\",\"session_id\":\"s-1\"}}'\n\
         {{ printf '%s\\n' \"$@\"; cat; }} > {}.$SUPERVISE_ATTEMPT\n{}\n",
        repo.tmp().join("told").display(),
        halves("exit 4").replace("turn.completed", "result")
    );
    executable(&repo.tmp().join("bin/claude"), &script);
    let ended = run(&repo, &one("runner = \"claude\"\nretries = 1")).expect(0);
    let whole = ended.agent("a");
    assert_eq!((&whole["continues"]["attempt"], &whole["continues"]["anew"]), (&1.into(), &Value::Null), "{whole:#}");
    assert_eq!(repo.git(&["show", "HEAD:f"]), "half\nwhole\n");
    assert_eq!(kinds(&repo, "continued")[0]["thread"], "s-1");
    let (first, second) = (told(&repo, 1), told(&repo, 2));
    assert!(first.contains("make it whole") && !first.contains("--resume"), "{first}");
    assert!(second.contains("\n--resume\ns-1\nYour last attempt did not complete: exit code 4.\n"), "{second}");
    assert!(!second.contains("make it whole"), "the session has its prompt: {second}");
}

/// Runs up to the middle of the first attempt, and ends the supervisor with this signal.
fn cut_off(repo: &TestRepo, by: &str) {
    stand_in(repo, &halves("exec sleep 1000"));
    let mut command = supervise(repo, "run");
    command.arg(repo.session(&one(""))).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let child = command.spawn().unwrap();
    let known = || repo.exists("new/n") && !kinds(repo, "thread_known").is_empty();
    assert!(eventually(PATIENCE, known), "the first attempt says its thread and does its half");
    signal(&child, by);
    finish(child, PATIENCE);
}

#[test]
fn after_a_crash_it_goes_on() {
    let repo = TestRepo::with(&[("f", "base\n")]);
    cut_off(&repo, "KILL");
    let ended = Ended::of(&supervise(&repo, "resume").args(["--format", "json"]).output().unwrap()).expect(0);
    is_whole(&repo, &ended);
    assert!(told(&repo, 2).contains("complete: the supervisor died"), "{}", told(&repo, 2));
}

#[test]
fn after_ctrl_c_it_goes_on() {
    let repo = TestRepo::with(&[("f", "base\n")]);
    cut_off(&repo, "INT");
    assert_eq!(repo.status(), "", "its work is put away meanwhile");
    let ended = Ended::of(&supervise(&repo, "resume").args(["--format", "json"]).output().unwrap()).expect(0);
    is_whole(&repo, &ended);
}

/// Its supervisor dies at points on the way. The stand-in makes `new/n`, then `f`; it fails once; and it complains
/// where it goes on and has the second without the first.
#[test]
fn a_death_while_work_is_put_back_loses_nothing_of_it() {
    let (mut died, mut point, mut went_on) = (0, 3, 0);
    loop {
        let repo = TestRepo::with(&[("f", "base\n")]);
        let marks = repo.tmp();
        let script = format!(
            "case \"$*\" in *resume*) if grep -q half f && ! test -e new/n; then touch {marks}/lost; fi;; esac\n\
             test -e new/n || {{ mkdir -p new; echo n > new/n; }}\ngrep -q half f || echo half > f\n\
             test -e {marks}/failed || {{ touch {marks}/failed; exit 4; }}\ngrep -q whole f || echo whole >> f",
            marks = marks.display()
        );
        stand_in(&repo, &script);
        let mut command = supervise(&repo, "run");
        command.arg(repo.session(&one("retries = 1"))).env("SUPERVISE_DIES_AT", point.to_string());
        if command.output().unwrap().status.success() {
            break;
        }
        died += 1;
        let begun = !std::fs::read_to_string(repo.path().join(".git/supervise/current")).unwrap_or_default().is_empty();
        let resumed = supervise(&repo, "resume").args(["--format", "json"]).output().unwrap();
        if begun && resumed.status.success() {
            assert_eq!(repo.git(&["show", "HEAD:f"]), "half\nwhole\n", "died at {point}");
            assert_eq!(repo.files_of("feat(a): a"), ["f", "new/n"], "died at {point}");
            went_on += kinds(&repo, "continued").len();
        } else {
            // It had not begun yet, or had ended already.
            let said = String::from_utf8_lossy(&resumed.stderr).into_owned();
            let known = ["no run", "does not say that it was opened", "no journal", "came to its end"];
            assert!(known.iter().any(|text| said.contains(text)), "died at {point}: {said}");
        }
        assert_eq!(repo.status(), "", "died at {point}");
        assert!(!marks.join("lost").exists(), "died at {point}");
        repo.assert_no_survivors();
        point += 5;
    }
    assert!(died > 12 && went_on > 6, "only {died} deaths, of which {went_on} went on");
}

#[test]
fn what_somebody_committed_meanwhile_makes_it_begin_anew_and_that_is_said() {
    let repo = TestRepo::with(&[("f", "base\n")]);
    // The first attempt fails; another agent has the file before the second.
    stand_in(&repo, "echo $SUPERVISE_ATTEMPT >> f; test $SUPERVISE_ATTEMPT != 1");
    let other = "[[agent]]\nid = \"b\"\nfiles = [\"f\"]\ncommand = [\"sh\", \"-c\", \"echo b > f\"]\n";
    let ended = run(&repo, &[&one("retries = 1"), other].concat()).expect(0);
    let agent = ended.agent("a");
    assert_eq!(agent["continues"]["anew"]["kind"], "head_changed", "{agent:#}");
    assert_eq!(agent["continues"]["anew"]["text"], "committed by somebody else since: f");
    assert_eq!(repo.git(&["show", "HEAD:f"]), "b\n2\n");
    assert!(told(&repo, 2).ends_with("--\n") || told(&repo, 2).contains("make it whole"), "{}", told(&repo, 2));
    assert!(!told(&repo, 2).contains("resume"));
    // What the first one did is kept.
    let salvage = ended.agent("a")["salvage"].as_str().unwrap().to_owned();
    assert_eq!(repo.git(&["show", &format!("{salvage}:f")]), "base\n1\n");
}

#[test]
fn who_cannot_continue_begins_anew_and_says_so() {
    let repo = TestRepo::new();
    let session = "[defaults]\nretry = \"continue\"\nretries = 1\n[[agent]]\nid = \"a\"\nfiles = [\"f\"]\n\
                   command = [\"sh\", \"-c\", \"echo $SUPERVISE_ATTEMPT > f; test $SUPERVISE_ATTEMPT = 2\"]\n";
    let ended = repo.run(session, &["--format", "json"]).expect(0);
    assert_eq!(ended.agent("a")["continues"]["anew"]["kind"], "runner");
    let lines = repo.ask(&["timeline"]);
    assert!(lines.contains("anew        and does not continue attempt 1: its runner cannot continue"), "{lines}");
}

#[test]
fn the_real_codex_goes_on_with_its_thread() {
    let Some(codex) = codex("the_real_codex_goes_on_with_its_thread") else { return };
    let repo = TestRepo::with(&[("f.txt", "base\n"), ("v.txt", "base\n")]);
    let model = Model::start([
        Script::new("fails")
            .write("f.txt", "half\n")
            .fault(Fault::http(400).times(1))
            .shell("grep -q half f.txt && echo whole >> f.txt")
            .message("Made whole."),
        Script::new("verified").write("v.txt", "new\n").message("Done."),
    ]);
    let more = "retry = \"continue\"\nretries = 1\n";
    let verify = "verify = \"echo not yet; test $SUPERVISE_ATTEMPT = 2\"\n";
    let session = [
        head(&repo, &codex, &model).replace("\"--ephemeral\", ", ""),
        agent("fails", "[\"f.txt\"]", more),
        agent("verified", "[\"v.txt\"]", &[more, verify].concat()),
    ];
    let ended = repo.run(&session.concat(), &["--format", "json"]).expect(0);
    for (id, shown) in [("fails", "HEAD:f.txt"), ("verified", "HEAD:v.txt")] {
        let agent = ended.agent(id);
        assert_eq!((&agent["state"], &agent["attempt"]), (&"COMPLETED".into(), &2.into()), "{agent:#}");
        assert_eq!(
            (&agent["continues"]["attempt"], &agent["continues"]["anew"]),
            (&1.into(), &Value::Null),
            "{agent:#}"
        );
        assert_eq!(repo.git(&["show", shown]), if id == "fails" { "half\nwhole\n" } else { "new\n" });
        let known: Vec<Value> = kinds(&repo, "thread_known").into_iter().filter(|r| r["agent"] == id).collect();
        assert_eq!(known.len(), 2, "each attempt says its thread: {known:#?}");
        assert_eq!(known[0]["thread"], known[1]["thread"], "it is the same one");
        // Every reply is ten tokens, and codex counts over the whole thread.
        let replies = model.requests_of(id).len() - usize::from(id == "fails");
        assert_eq!(agent["usage"]["output_tokens"], 10 * replies, "nothing is counted twice");
        let asked = model.requests_of(id);
        let last = asked.last().unwrap().body.to_string();
        assert!(last.contains(&format!("script:{id} go")), "{last}");
        assert!(last.contains("Your last attempt did not complete"), "{last}");
        assert_eq!(last.contains("not yet"), id == "verified", "{last}");
    }
    ran("continue");
}
