//! A run that is steered from a second process: agents stopped in each way, the run and a phase
//! completed, checkpoints made on demand.

use std::time::Duration;

use serde_json::{Value, json};

use super::support::{TestRepo, eventually};
use super::{Run, go, head, normal, patient, scripted, supervise};

fn until(run: &Run<'_>, agent: &str, state: &str) {
    let there = || run.agent(agent).is_some_and(|found| found["state"] == state);
    assert!(eventually(Duration::from_secs(30), there), "{agent}: {:?}", run.agent(agent));
}

/// An agent has written so far.
fn written(repo: &TestRepo, path: &str) {
    assert!(eventually(Duration::from_secs(30), || repo.exists(path)), "{path} was not written");
}

fn three(repo: &TestRepo, more: &str) -> String {
    head(repo, "max_concurrent = 2")
        + &patient("api", "[\"src/\"]", "echo api > src/api", &format!("grace = \"1s\"\nretries = 2\n{more}"))
        + &patient("docs", "[\"docs/\"]", "echo docs > docs/x", "grace = \"1s\"")
        + &scripted("after", "[\"after\"]", "echo 1 > after", "depends_on = [\"docs\"]")
}

#[test]
fn an_agent_is_stopped_and_its_work_kept() {
    let repo = TestRepo::with(&[("src/api", "before\n"), ("docs/y", "")]);
    let run = Run::start(&repo, &three(&repo, ""), "api");
    let changed = || repo.read("src/api") == "api\n";
    assert!(eventually(Duration::from_secs(30), changed));
    let told = supervise(&repo, &["stop", "api", "--id", "after"]).expect(0).stdout;
    assert_eq!(
        told,
        "api    is being ended; its work is kept aside\nafter  is not started any more\nsupervise status shows how they end\n"
    );
    until(&run, "api", "TERMINATED");
    until(&run, "after", "TERMINATED");
    let kept = || run.agent("api").is_some_and(|api| api["salvage"].is_string() && api["reason"]["kind"] == "stopped");
    assert!(eventually(Duration::from_secs(30), kept), "{:?}", run.agent("api"));
    let salvage = run.agent("api").unwrap()["salvage"].as_str().unwrap().to_owned();
    assert_eq!(repo.git(&["show", &format!("{salvage}:src/api")]), "api\n");
    assert!(eventually(Duration::from_secs(30), || repo.read("src/api") == "before\n"));

    let over = supervise(&repo, &["stop", "after"]).expect(2);
    assert!(over.stderr.contains("after has ended"), "{}", over.stderr);
    let typo = supervise(&repo, &["stop", "doc"]).expect(2);
    assert!(typo.stderr.contains("did you mean `docs`?"), "{}", typo.stderr);
    let nobody = supervise(&repo, &["stop"]).expect(2);
    assert!(nobody.stderr.contains("not said what to stop") && nobody.stderr.contains("docs"), "{}", nobody.stderr);
    supervise(&repo, &["stop", "docs", "--force", "--graceful"]).expect(2);
    go(&repo);
    let ended = run.finish().expect(1);
    assert!(ended.stderr.contains("stopped by hand"), "{}", ended.stderr);
    assert_eq!(repo.subjects(), ["feat(docs): docs"]);
}

#[test]
fn a_graceful_stop_commits_and_a_forced_one_does_not_wait() {
    let repo = TestRepo::new();
    let script = "trap '' TERM; echo 1 > deaf";
    let session = head(&repo, "max_concurrent = 2")
        + &patient("soft", "[\"soft\"]", "echo 1 > soft", "retries = 2")
        + &patient("deaf", "[\"deaf\"]", script, "grace = \"10m\"");
    let run = Run::start(&repo, &session, "deaf");
    written(&repo, "deaf");
    until(&run, "soft", "RUNNING");
    let json = supervise(&repo, &["stop", "soft", "--graceful", "--format", "json"]).expect(0).json();
    assert_eq!(json["agents"], json!([{"id": "soft", "stopping": "finishing"}]));
    // The grace would not be over before the test.
    supervise(&repo, &["stop", "deaf"]).expect(0);
    let forced = supervise(&repo, &["stop", "deaf", "--force"]).expect(0).stdout;
    assert!(forced.starts_with("deaf  is being ended"), "{forced}");
    until(&run, "deaf", "TERMINATED");
    go(&repo);
    let ended = run.finish().expect(1);
    assert!(ended.stderr.contains("this attempt may finish, and is the last one"), "{}", ended.stderr);
    assert_eq!(repo.subjects(), ["feat(soft): soft"]);
    repo.assert_no_survivors();
}

#[test]
fn a_whole_run_is_stopped_from_elsewhere() {
    let repo = TestRepo::with(&[("src/api", "before\n"), ("docs/y", "")]);
    let run = Run::start(&repo, &three(&repo, ""), "api");
    until(&run, "docs", "RUNNING");
    let told = supervise(&repo, &["stop", "--all"]).expect(0).stdout;
    assert!(told.contains("after  is not started any more") && told.contains("api    is being ended"), "{told}");
    let ended = run.finish().expect(143);
    assert!(ended.stderr.contains("supervise stop: ending what runs; --force kills it"), "{}", ended.stderr);
    assert_eq!(repo.subjects(), Vec::<String>::new());
    assert_eq!(repo.read("src/api"), "before\n");
    let late = supervise(&repo, &["stop", "--all"]).expect(3);
    assert!(late.stderr.contains("is over, so nothing can be asked of it"), "{}", late.stderr);
    let nobody = supervise(&repo, &["stop"]).expect(2);
    assert!(nobody.stderr.contains("nothing is running"), "{}", nobody.stderr);
    let status = supervise(&repo, &["status", "--format", "json"]).expect(0).json();
    assert_eq!(status["state"], "INTERRUPTED");
}

#[test]
fn a_run_that_is_stopped_by_force_is_over_at_once() {
    let repo = TestRepo::new();
    let session = head(&repo, "") + &patient("deaf", "[\"deaf\"]", "trap '' TERM; echo 1 > deaf", "grace = \"10m\"");
    let run = Run::start(&repo, &session, "deaf");
    written(&repo, "deaf");
    supervise(&repo, &["stop", "--all", "--force"]).expect(0);
    run.finish().expect(143);
    assert!(!repo.exists("deaf"), "its file is put back");
}

#[test]
fn completing_lets_what_runs_finish() {
    let repo = TestRepo::with(&[("src/y", ""), ("docs/y", "")]);
    let run = Run::start(&repo, &three(&repo, ""), "api");
    until(&run, "docs", "RUNNING");
    let told = supervise(&repo, &["complete"]).expect(0).stdout;
    insta::assert_snapshot!("completing_lets_what_runs_finish", told);
    until(&run, "after", "SKIPPED");
    assert_eq!(run.agent("after").unwrap()["reason"]["kind"], "closed");
    let again = supervise(&repo, &["complete"]).expect(2);
    assert!(again.stderr.contains("nothing more is started as it is"), "{}", again.stderr);
    go(&repo);
    let ended = run.finish().expect(1);
    assert_eq!(repo.subjects().len(), 2);
    assert!(ended.stderr.contains("supervise complete: nothing more is started"), "{}", ended.stderr);
}

#[test]
fn a_phase_is_completed_alone() {
    let repo = TestRepo::new();
    let session = format!(
        "{}[[phase]]\nname = \"one\"\non_failure = \"continue\"\n[[phase]]\nname = \"two\"\n{}{}{}",
        head(&repo, ""),
        patient("first", "[\"first\"]", "echo 1 > first", "phase = \"one\""),
        scripted("rest", "[\"rest\"]", "echo 1 > rest", "phase = \"one\"\ndepends_on = [\"first\"]"),
        scripted("next", "[\"next\"]", "echo 1 > next", "phase = \"two\""),
    );
    let run = Run::start(&repo, &session, "first");
    let typo = supervise(&repo, &["complete", "--phase", "onr"]).expect(2);
    assert!(typo.stderr.contains("did you mean `one`?"), "{}", typo.stderr);
    let phases = || supervise(&repo, &["status", "--format", "json"]).expect(0).json()["phases"].clone();
    let shown = || {
        let told = supervise(&repo, &["status"]).expect(0).stdout;
        let lines = told.lines().skip_while(|line| !line.starts_with("PHASE")).take_while(|line| !line.is_empty());
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(
        shown(),
        [
            "PHASE  STATE    AGENTS",
            "one    OPEN     0 of 2 completed, 1 running, 1 waiting",
            "two    WAITING  0 of 1 completed, 1 waiting",
        ]
    );
    let of = |name: &str, state: &str, [completed, failed, running, waiting]: [u32; 4]| {
        json!({"name": name, "state": state, "agents": completed + failed + running + waiting,
            "completed": completed, "failed": failed, "running": running, "waiting": waiting})
    };
    assert_eq!(phases(), json!([of("one", "OPEN", [0, 0, 1, 1]), of("two", "WAITING", [0, 0, 0, 1])]));
    let json = supervise(&repo, &["complete", "--phase", "one", "--format", "json"]).expect(0).json();
    assert_eq!((&json["skipped"], &json["running"]), (&json!(["rest"]), &json!(["first"])));
    until(&run, "rest", "SKIPPED");
    assert_eq!(phases()[0], of("one", "CLOSING", [0, 1, 1, 0]));
    go(&repo);
    let report = run.finish().expect(1).stdout;
    assert_eq!(repo.subjects(), ["feat(first): first", "feat(next): next"]);
    assert_eq!(phases(), json!([of("one", "FAILED", [1, 1, 0, 0]), of("two", "COMPLETED", [1, 0, 0, 0])]));
    for line in shown() {
        assert!(report.contains(&line), "{line}\n{report}");
    }
}

#[test]
fn a_checkpoint_is_made_on_demand() {
    let repo = TestRepo::with(&[("src/api", "before\n"), ("docs/y", "")]);
    let run = Run::start(&repo, &three(&repo, ""), "api");
    until(&run, "docs", "RUNNING");
    assert!(eventually(Duration::from_secs(30), || repo.read("src/api") == "api\n"));
    let told = supervise(&repo, &["checkpoint", "api"]).expect(0).stdout;
    assert_eq!(normal(&told, &repo), "api COMMIT git show refs/supervise/attempts/RUN/api/1.checkpoint");
    let reference = told.split_whitespace().last().unwrap().to_owned();
    assert_eq!(repo.git(&["show", &format!("{reference}:src/api")]), "api\n");
    assert_eq!(repo.git(&["show", "HEAD:src/api"]), "before\n");
    written(&repo, "docs/x");
    let json = supervise(&repo, &["checkpoint", "--format", "json"]).expect(0).json();
    let of = |agent: &str| -> Value {
        let made = json["checkpoints"].as_array().unwrap();
        made.iter().find(|made| made["agent"] == agent).unwrap_or_else(|| panic!("{json:#}")).clone()
    };
    assert_eq!((&of("api")["changed"], &of("api")["reference"]), (&json!(false), &json!(reference)));
    assert_eq!(of("docs")["changed"], true);
    assert_eq!(of("docs")["error"], Value::Null);
    let waits = supervise(&repo, &["checkpoint", "after"]).expect(2);
    assert!(waits.stderr.contains("after is not running"), "{}", waits.stderr);
    go(&repo);
    run.finish().expect(0);
    supervise(&repo, &["checkpoint"]).expect(3);
}

/// An agent waits until it may write elsewhere, and tries until it can.
#[test]
fn a_running_agent_is_granted_more() {
    let repo = TestRepo::with(&[("lib/x", "before\n"), ("lib/deep/y", "before\n"), ("docs/y", "")]);
    let script = "echo 1 > api; until test -e \"$SUPERVISE_TEST_GO\"; do sleep 0.02; done; \
                  echo more > lib/x; echo new > lib/new; rm lib/deep/y";
    let session = head(&repo, "max_concurrent = 2")
        + &scripted("api", "[\"api\"]", script, "")
        + &patient("docs", "[\"docs/\"]", "echo 1 > docs/x", "")
        + &scripted("last", "[\"last\"]", "echo 1 > last; echo 1 > after", "depends_on = [\"docs\"]");
    let run = Run::start(&repo, &session, "api");
    until(&run, "docs", "RUNNING");
    let gate = supervise(&repo, &["status", "--format", "json"]).expect(0).json()["layers"]["gate"] == true;
    if !gate {
        let refused = supervise(&repo, &["grant", "api", "lib/"]).expect(2);
        assert!(refused.stderr.contains("runs without the gate"), "{}", refused.stderr);
        go(&repo);
        run.finish().expect(0);
        return;
    }
    let taken = supervise(&repo, &["grant", "api", "docs/x"]).expect(2);
    assert!(taken.stderr.contains("docs has a lock on some of it"), "{}", taken.stderr);
    let gits = supervise(&repo, &["grant", "api", ".git/hooks/y"]).expect(2);
    assert!(gits.stderr.contains("it is git's own, where no agent may write"), "{}", gits.stderr);
    let wrong = supervise(&repo, &["grant", "api", "../x"]).expect(2);
    assert!(wrong.stderr.contains("is no pattern"), "{}", wrong.stderr);
    assert_eq!(wrong.stderr.matches("`..`").count(), 1, "{}", wrong.stderr);
    let told = supervise(&repo, &["grant", "api", "lib/"]).expect(0).stdout;
    assert_eq!(told, "api may write lib/ too, from now on\n");
    let json = supervise(&repo, &["grant", "--id", "last", "after", "--format", "json"]).expect(0).json();
    assert_eq!((&json["agent"], &json["from"]), (&json!("last"), &json!("next_attempt")));
    let again = supervise(&repo, &["grant", "api", "lib/"]).expect(2);
    assert!(again.stderr.contains("api may write that already"), "{}", again.stderr);
    assert_eq!(run.agent("api").unwrap()["locks"]["exclusive"], json!(["api", "lib/"]));
    go(&repo);
    let ended = run.finish().expect(0);
    assert!(ended.stderr.contains("lib/ joins its claim, by hand"), "{}", ended.stderr);
    assert_eq!(repo.files_of("feat(api): api"), ["api", "lib/deep/y", "lib/new", "lib/x"]);
    assert_eq!(repo.files_of("feat(last): last"), ["after", "last"]);
    let past = supervise(&repo, &["status", "--format", "json"]).expect(0).json();
    assert!(past["agents"][0]["locks"]["exclusive"].as_array().unwrap().contains(&json!("lib/")));
}

#[test]
fn what_was_written_by_a_grant_is_kept_and_put_back_when_it_fails() {
    let repo = TestRepo::with(&[("lib/x", "before\n"), ("lib/deep/y", "before\n")]);
    let script = "echo 1 > api; until test -e \"$SUPERVISE_TEST_GO\"; do sleep 0.02; done; \
                  echo more > lib/x; echo new > lib/new; rm lib/deep/y; exit 3";
    let session = head(&repo, "") + &scripted("api", "[\"api\"]", script, "");
    let run = Run::start(&repo, &session, "api");
    if supervise(&repo, &["status", "--format", "json"]).expect(0).json()["layers"]["gate"] == true {
        supervise(&repo, &["grant", "api", "lib/"]).expect(0);
        go(&repo);
        run.finish().expect(1);
        assert_eq!(repo.status(), "");
        assert_eq!((repo.read("lib/x").as_str(), repo.read("lib/deep/y").as_str()), ("before\n", "before\n"));
        let view = supervise(&repo, &["status", "--format", "json"]).expect(0).json();
        let salvage = view["agents"][0]["salvage"].as_str().unwrap();
        assert_eq!(repo.git(&["show", &format!("{salvage}:lib/x")]), "more\n");
    }
}
