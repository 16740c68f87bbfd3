//! Runs that are over, by themselves or because their supervisor died.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use super::support::{TestRepo, finish, run_dir, with_input};
use super::{Run, head, normal, patient, scripted, supervise};

#[test]
fn a_run_whose_supervisor_was_killed_is_shown_as_it_was_left() {
    let repo = TestRepo::new();
    let session = head(&repo, "")
        + &patient("a", "[\"a\"]", "echo 1 > a", "")
        + &scripted("b", "[\"b\"]", "echo 1 > b", "depends_on = [\"a\"]");
    let run = Run::start(&repo, &session, "a");
    let follow =
        repo.supervise().args(["timeline", "-f"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    run.kill();
    let told = finish(follow, Duration::from_secs(20)).expect(0);
    assert!(told.stdout.contains("started"), "{}", told.stdout);
    repo.assert_no_survivors();
    let human = supervise(&repo, &["status"]).expect(0);
    insta::assert_snapshot!("a_run_whose_supervisor_was_killed", normal(&human.stdout, &repo));
    let json = supervise(&repo, &["status", "--format", "json"]).expect(0).json();
    assert_eq!(json["state"], "INTERRUPTED");
    assert_eq!(json["agents"][0]["state"], "RUNNING");
    assert_eq!(json["agents"][0]["pid"], Value::Null, "nothing of it runs any more");
    assert_eq!(supervise(&repo, &["timeline"]).expect(0).stdout, told.stdout);

    // That nothing more comes is known at once, however long a live run may be silent.
    for (words, code) in
        [(&["timeline", "-f"][..], 0), (&["wait"], 3), (&["wait", "a", "--timeout", "1ms"], 3), (&["attach"], 3)]
    {
        let begun = repo.supervise().args(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let ended = finish(begun, Duration::from_secs(4)).expect(code);
        assert_eq!(ended.stderr.contains("was cut off"), code == 3, "{words:?}: {}", ended.stderr);
    }

    let late = supervise(&repo, &["register", "--name", "late", "--files", "l", "--", "true"]).expect(2).stderr;
    assert!(late.contains("was cut off") && late.contains("`supervise resume`"), "{late}");

    // A record that was being written is left out, and nothing is repaired by looking.
    let journal = run_dir(&repo).join("journal.jsonl");
    let whole = fs::read(&journal).unwrap();
    let mut torn = whole.clone();
    torn.extend_from_slice(b"{\"seq\":99,\"at\":\"20");
    fs::write(&journal, &torn).unwrap();
    assert_eq!(supervise(&repo, &["status", "--format", "json"]).expect(0).json(), json);
    assert_eq!(supervise(&repo, &["timeline"]).expect(0).stdout, told.stdout);
    assert_eq!(fs::read(&journal).unwrap(), torn);
    // Damage is told.
    let mut damaged = whole;
    let at = damaged.len() / 2;
    damaged[at] ^= 1;
    fs::write(&journal, damaged).unwrap();
    for verb in ["status", "timeline", "retry"] {
        let refused = supervise(&repo, &[verb]).expect(3);
        assert!(refused.stderr.contains("checksum is wrong"), "{verb}: {}", refused.stderr);
        assert!(!refused.stderr.contains("`supervise timeline`"), "it says no more: {}", refused.stderr);
    }
}

#[test]
fn the_document_of_a_run_is_what_it_printed_at_its_end() {
    let repo = TestRepo::with(&[("packages/one/x", ""), ("packages/two/x", ""), ("plain", "")]);
    // All that a session file alone would not tell: `each`, prompts, `--set`, `--only`, what is a file.
    let session = "[[agent]]\nid = \"{{pkg}}\"\neach = { pkg = { dirs = \"packages/*\" } }\nphase = \"p\"\n\
                   command = [\"sh\", \"-c\", \"echo {{pkg}} > packages/{{pkg}}/y; exit ${FAIL:-0}\"]\n\
                   files = [\"packages/{{pkg}}/\", \"plain\"]\n\
                   [[agent]]\nid = \"other\"\nphase = \"p\"\ncommand = [\"true\"]\n[[phase]]\nname = \"p\"\n";
    let args = [
        "--format",
        "json",
        "--only",
        "one,two",
        "--set",
        "agent.other.priority=1",
        "--set",
        "session.name='renamed'",
        "-j",
        "1",
    ];
    let printed = repo.run(session, &args).expect(0).json();
    fs::remove_file(repo.session("")).unwrap();
    fs::remove_dir_all(repo.path().join("packages")).unwrap();
    let shown = supervise(&repo, &["status", "--format", "json"]).expect(0).json();
    assert_eq!(shown, printed);
    assert_eq!((&shown["session"], &shown["agents"][1]["id"]), (&"renamed".into(), &"two".into()));
}

#[test]
fn earlier_runs_are_named_by_how_they_begin() {
    let repo = TestRepo::new();
    let one = |id: &str, run: &str| {
        repo.run(&scripted(id, "[\"x\"]", &format!("echo {run} > x"), ""), &["--format", "json"]).expect(0).json()
    };
    let (first, second) = (one("first", "1"), one("second", "2"));
    let name = |run: &Value| run["run"].as_str().unwrap().to_owned();
    let status = |run: &str| supervise(&repo, &["status", "--run", run, "--format", "json"]);
    assert_eq!(status(&name(&first)).expect(0).json(), first);
    assert_eq!(supervise(&repo, &["status", "--format", "json"]).expect(0).json(), second);
    let human = supervise(&repo, &["status", "first", "--run", &name(&first)]).expect(0).stdout;
    assert!(human.contains("git show"), "{human}");
    let ambiguous = status("2").expect(2);
    assert!(ambiguous.stderr.contains("2 runs begin with `2`"), "{}", ambiguous.stderr);
    let mut typo = name(&first);
    typo.replace_range(3..4, "x");
    let unknown = status(&typo).expect(2);
    assert!(unknown.stderr.contains("did you mean"), "{}", unknown.stderr);
    let over = supervise(&repo, &["resolve", "--wait", "--run", &name(&first)]).expect(3);
    assert!(over.stderr.contains("is over"), "{}", over.stderr);
    let logs = supervise(&repo, &["logs", "first", "--run", &name(&first)]).expect(0);
    assert_eq!(logs.stdout, "");
}

#[test]
fn without_a_run_or_a_repository_that_is_said() {
    let repo = TestRepo::new();
    for args in [&["status"][..], &["timeline"], &["conflicts"], &["logs", "a"], &["release-locks", "a"]] {
        let refused = supervise(&repo, args).expect(4);
        assert!(refused.stderr.contains("there has been no run in this repository yet"), "{}", refused.stderr);
    }
    let nowhere = supervise(&repo, &["-C", "/", "status"]).expect(3);
    assert!(nowhere.stderr.contains("-C DIR"), "{}", nowhere.stderr);
    assert!(!repo.path().join(".git/supervise").exists(), "looking makes nothing");
}

#[test]
fn a_run_without_a_plan_still_has_a_timeline() {
    let repo = TestRepo::new();
    repo.run(&scripted("a", "[\"a\"]", "echo 1 > a", ""), &[]).expect(0);
    fs::remove_file(run_dir(&repo).join("plan.json")).unwrap();
    let refused = supervise(&repo, &["status"]).expect(3);
    assert!(refused.stderr.contains("`supervise timeline` needs none"), "{}", refused.stderr);
    let told = supervise(&repo, &["timeline"]).expect(0).stdout;
    assert!(told.contains("completed"), "{told}");
}

/// An address of a unix socket holds 107 bytes.
#[test]
fn a_repository_may_lie_deep() {
    let repo = TestRepo::new();
    let deep = repo.path().join("d".repeat(120)).join("e".repeat(120));
    fs::create_dir_all(&deep).unwrap();
    let git = |args: &[&str]| assert!(repo.command("git").current_dir(&deep).args(args).status().unwrap().success());
    git(&["init", "-q", "-b", "main"]);
    git(&["-c", "user.name=T", "-c", "user.email=t@e", "commit", "-q", "--allow-empty", "-m", "begin"]);
    git(&["config", "user.name", "T"]);
    git(&["config", "user.email", "t@e"]);
    // The agent looks at the run from outside of it: its own tree may not, but a look needs no wish.
    let script = format!("echo 1 > a; test -S {}/.git/supervise/control.sock", deep.display());
    let mut command = repo.supervise();
    command.current_dir(&deep).args(["run", "-"]);
    with_input(command, scripted("a", "[\"a\"]", &script, "").as_bytes()).expect(0);
    let mut command = repo.supervise();
    command.arg("-C").arg(&deep).arg("status");
    let shown = with_input(command, b"").expect(0);
    assert!(shown.stdout.contains("a      COMPLETED"), "{}", shown.stdout);
    assert!(shown.stdout.contains("1 of 1 agent completed"), "{}", shown.stdout);
}
