//! Agents added from the command line, to a session file and to a run that goes on.

use std::time::Duration;

use crate::support::{Ended, TestRepo, eventually, finish, signal};

const PATIENCE: Duration = Duration::from_secs(30);

const SESSION: &str = "# my session\n[session]\nname = 'mine'   # odd\n\n[[agent]]\nid = \"api\"\n\
                       command = [\"sh\", \"-c\", \"mkdir -p src; echo 1 > src/api\"]\nfiles = [\"src/\"]   # all of it\n";

fn finish_killed(child: std::process::Child) {
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&child.wait_with_output().unwrap().status), Some(9));
}

fn register(repo: &TestRepo, words: &[&str]) -> Ended {
    Ended::of(&repo.supervise().arg("register").args(words).output().unwrap())
}

#[test]
fn an_agent_is_added_to_a_session_file_and_runs_with_it() {
    let repo = TestRepo::with(&[("supervise.toml", SESSION)]);
    let into = ["--into", "supervise.toml"];
    let script = ["--", "sh", "-c", "mkdir -p docs && echo 1 > docs/x"];
    let words = ["--name", "API docs", "--files", "docs/", "src/api.md", "--priority", "2", "--depends-on", "api"];
    let told = register(&repo, &[&into[..], &words, &script].concat()).expect(0).stdout;
    assert_eq!(told, "api-docs added to supervise.toml, which has 2 agents now\n");
    let text = repo.read("supervise.toml");
    let added = "\n[[agent]]\nid = \"api-docs\"\nname = \"API docs\"\npriority = 2\n\
                 command = [\"sh\", \"-c\", \"mkdir -p docs && echo 1 > docs/x\"]\n\
                 files = [\"docs/\", \"src/api.md\"]\ndepends_on = [\"api\"]\n";
    assert_eq!(text, format!("{SESSION}{added}"));

    // Whom it will wait for is told at once.
    let json = register(
        &repo,
        &[&into[..], &["--name", "second", "--files", "src/api", "--format", "json", "--", "true"]].concat(),
    );
    let json = json.expect(0).json();
    assert_eq!(json["id"], "second");
    assert_eq!(json["contested"][0]["agents"], serde_json::json!(["api", "second"]));
    let human = register(&repo, &[&into[..], &["--name", "third", "--files", "src/api", "--", "true"]].concat());
    let human = human.expect(0).stdout;
    assert!(human.contains("second and third: `src/api`, as in src/api"), "{human}");
    assert!(human.contains("third has the claims of second and the same work"), "{human}");

    repo.git(&["commit", "-qam", "agents"]);
    let ended = Ended::of(&repo.supervise().args(["run", "--only", "api-docs"]).output().unwrap()).expect(0);
    assert!(ended.stderr.contains("api-docs"), "{}", ended.stderr);
    assert_eq!(repo.subjects()[1..], ["feat(api): api", "feat(api-docs): API docs"]);
}

#[test]
fn a_session_that_would_be_invalid_stays_as_it_was() {
    let repo = TestRepo::with(&[("supervise.toml", SESSION), ("broken.toml", "[[agent\n")]);
    for (words, code, said) in [
        (&["--into", "supervise.toml", "--name", "api", "--", "true"][..], 2, "duplicate_id"),
        (&["--into", "supervise.toml", "--name", "x", "--files", "../x", "--", "true"], 2, "bad_pattern"),
        (&["--into", "supervise.toml", "--name", "x", "--depends-on", "apj", "--", "true"], 2, "unknown_dependency"),
        (&["--into", "broken.toml", "--name", "x", "--", "true"], 2, "syntax"),
        (&["--into", "none.toml", "--name", "x", "--", "true"], 2, "unreadable"),
        (&["--into", "supervise.toml", "--name", "!", "--", "true"], 2, "no id can be made"),
        (&["--name", "x", "--", "true"], 2, "no run goes on that it could join"),
        (&["--into", "-", "--name", "x", "--", "true"], 2, "an agent cannot be added to standard input"),
        (&["--into", "supervise.toml", "--name", "x"], 2, "required"),
        (&["--into", "supervise.toml", "--name", "x", "--priority", "6", "--", "true"], 2, "6 is not in 1..=5"),
    ] {
        let refused = register(&repo, words).expect(code);
        assert!(refused.stderr.contains(said), "{words:?}: {}", refused.stderr);
    }
    for (words, place) in [
        (&["--name", "api", "--", "true"][..], "--name: error[duplicate_id]"),
        (&["--name", "x", "--id", "api", "--", "true"], "--id: error[duplicate_id]"),
        (&["--name", "x", "--files", "ok", "../x", "--", "true"], "--files: error[bad_pattern]"),
        (&["--name", "x", "--depends-on", "apj", "--", "true"], "--depends-on: error[unknown_dependency]"),
        (&["--name", "x", "--phase", "p", "--prompt", "id = 1"], "--phase: error"),
    ] {
        let said = register(&repo, &[&["--into", "supervise.toml"], words].concat()).expect(2).stderr;
        assert!(said.starts_with(place), "{said}");
        let end = "1 error, nothing was added to supervise.toml; correct them, then run `supervise register` again\n";
        assert!(said.ends_with(end), "{said}");
    }
    let broken = register(&repo, &["--into", "broken.toml", "--name", "x", "--", "true"]).stderr;
    assert!(broken.starts_with("broken.toml:1:"), "{broken}");
    assert_eq!(repo.read("supervise.toml"), SESSION);
    assert_eq!(repo.status(), "");
}

const WAITS: &str = "[[agent]]\nid = \"first\"\nfiles = [\"first\"]\ncommand = [\"sh\", \"-c\", \"echo 1 >> first; \
                     until test -e ../tmp/go; do sleep 0.02; done\"]\n";

fn go(repo: &TestRepo) {
    std::fs::write(repo.tmp().join("go"), "").unwrap();
}

fn document(repo: &TestRepo) -> serde_json::Value {
    serde_json::from_str(&repo.ask(&["status", "--format", "json"])).unwrap()
}

#[test]
fn an_agent_that_joined_runs_is_committed_and_is_in_every_account() {
    let repo = TestRepo::new();
    let junit = repo.tmp().join("result.xml");
    let child = repo.start(WAITS, &["--junit", &junit.display().to_string(), "--format", "json"]);
    assert!(eventually(PATIENCE, || repo.exists("first")), "the first one runs");
    let words = ["--name", "The second", "--id", "second", "--files", "second", "--depends-on", "first"];
    let told = register(&repo, &[&words[..], &["--", "sh", "-c", "echo 2 > second"]].concat()).expect(0).stdout;
    assert!(told.starts_with("second  WAITING: "), "{told}");
    assert!(repo.ask(&["list"]).contains("The second"), "{}", repo.ask(&["list"]));
    go(&repo);
    let ended = finish(child, PATIENCE).expect(0);
    assert_eq!(repo.subjects(), ["feat(first): first", "feat(second): The second"]);
    assert_eq!(ended.agent("second")["state"], "COMPLETED");
    assert!(ended.stderr.contains("registered"), "{}", ended.stderr);
    let junit = std::fs::read_to_string(junit).unwrap();
    assert!(junit.contains("second") && junit.contains("tests=\"2\""), "{junit}");
    assert_eq!(document(&repo), ended.json());
    let snapshot = std::fs::read_to_string(repo.path().join(".git/supervise/orchestrator.json")).unwrap();
    let snapshot: serde_json::Value = serde_json::from_str(&snapshot).unwrap();
    assert_eq!(snapshot["agents"]["second"]["timeout"], 600);
    assert_eq!(repo.status(), "");
}

#[test]
fn an_agent_that_joined_runs_after_its_supervisor_was_killed() {
    let repo = TestRepo::new();
    let child = repo.start(WAITS, &[]);
    assert!(eventually(PATIENCE, || repo.exists("first")), "the first one runs");
    let script = ["--", "sh", "-c", "echo half >> runs; test $SUPERVISE_ATTEMPT -gt 1 || exec sleep 1000"];
    register(&repo, &[&["--name", "runs", "--files", "runs"], &script[..]].concat()).expect(0);
    register(&repo, &["--name", "waits", "--files", "runs", "--", "sh", "-c", "echo waited >> runs"]).expect(0);
    assert!(eventually(PATIENCE, || repo.exists("runs")), "who joined runs");
    signal(&child, "KILL");
    finish_killed(child);
    let shown = document(&repo);
    assert_eq!(shown["agents"].as_array().unwrap().len(), 3, "{shown}");
    go(&repo);
    let ended = Ended::of(&repo.supervise().args(["resume", "--format", "json"]).output().unwrap()).expect(0);
    assert_eq!(ended.agent("runs")["attempt"], 2);
    assert_eq!(ended.agent("waits")["attempt"], 1);
    assert_eq!(repo.read("runs"), "half\nwaited\n");
    assert_eq!(repo.read("first"), "1\n");
    let mut subjects = repo.subjects();
    subjects.sort();
    assert_eq!(subjects, ["feat(first): first", "feat(runs): runs", "feat(waits): waits"]);
    assert_eq!(repo.status(), "");
    repo.assert_no_survivors();
}

#[test]
fn an_agent_that_joined_and_failed_is_tried_again_with_the_session() {
    let repo = TestRepo::new();
    let file = repo.session(WAITS);
    let child = {
        let mut command = repo.supervise();
        command.arg("run").arg(&file).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        command.spawn().unwrap()
    };
    assert!(eventually(PATIENCE, || repo.exists("first")), "the first one runs");
    let script = ["--", "sh", "-c", "test -e ../tmp/now && echo 1 > late"];
    register(&repo, &[&["--name", "late", "--files", "late", "--depends-on", "first"], &script[..]].concat()).expect(0);
    register(&repo, &["--name", "next", "--files", "next", "--depends-on", "late", "--", "true"]).expect(0);
    go(&repo);
    finish(child, PATIENCE).expect(1);
    let retry = |args: &[&str]| Ended::of(&repo.supervise().arg("retry").args(args).output().unwrap());
    retry(&["--format", "json"]).expect(1);
    // The session file has never heard of them; the run before the last has.
    std::fs::write(repo.tmp().join("now"), "").unwrap();
    let ended = retry(&["--format", "json"]).expect(0);
    let ids: Vec<_> = ended.json()["agents"].as_array().unwrap().iter().map(|a| a["id"].to_string()).collect();
    assert_eq!(ids, ["\"late\"", "\"next\""]);
    assert_eq!(repo.subjects(), ["feat(first): first", "feat(late): late"]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), WAITS);
}
