//! The claude runner against the real `claude -p`, which talks to a stand-in of its API.
//!
//! Runs where `SUPERVISE_TEST_CLAUDE` names a claude (Claude Code 2.1 or later); elsewhere each
//! test says that it was not run.

#[path = "support/agent.rs"]
mod agent;
#[path = "support/model/mod.rs"]
mod model;
#[path = "support/real.rs"]
mod real;

use std::path::{Path, PathBuf};

use serde_json::json;
use supervise::core::record::RateLimit;
use supervise::runner::Progress;
use supervise::session::RunnerKind;

use agent::Agent;
use model::{Fault, Latch, Model, Script, hermetic_claude_env};

/// The claude to test, or a line that says that there is none.
fn claude(test: &str) -> Option<PathBuf> {
    real::real_program("SUPERVISE_TEST_CLAUDE", test)
}

/// Claude in a fresh repository, with this model behind it.
fn agent(claude: &Path, model: &Model) -> Agent {
    let mut agent = Agent::new(RunnerKind::Claude, claude);
    agent.env(hermetic_claude_env(model.port(), &agent.home()));
    agent
}

#[test]
fn edits_files_and_runs_commands() {
    let Some(claude) = claude("edits_files_and_runs_commands") else { return };
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("outside.txt");
    let model = Model::start([Script::new("work")
        .say("On it.")
        .shell("echo two > b.txt")
        .write(file.to_str().unwrap(), "outside\n")
        .message("All done.\nNEEDS: src/main.rs: to call it")]);
    let mut agent = agent(&claude, &model);
    agent.args(&["--allowedTools".to_owned(), "Bash".to_owned()]);
    let outcome = agent.run("script:work go");
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert_eq!(agent.file("b.txt"), "two\n");
    assert!(!file.exists(), "an edit outside the workspace needs a person's consent");
    let text = str::to_owned;
    assert_eq!(
        outcome.progress,
        [
            Progress::Says(text("On it.")),
            Progress::Runs(text("echo two > b.txt")),
            Progress::Edits(vec![file.to_str().unwrap().to_owned()]),
            Progress::Says(text("All done. NEEDS: src/main.rs: to call it")),
        ]
    );
    let summary = outcome.summary;
    assert_eq!(summary.message.as_deref(), Some("All done.\nNEEDS: src/main.rs: to call it"));
    assert_eq!(summary.usage.map(|u| (u.input_tokens > 0, u.output_tokens)), Some((true, 30)));
    assert!(summary.thread.is_some_and(|t| t.len() == 36));
    assert_eq!(summary.needs[0].path, "src/main.rs");
    assert_eq!((summary.fatal, summary.rate_limit), (None, None));
}

#[test]
fn edits_inside_the_workspace_need_no_consent() {
    let Some(claude) = claude("edits_inside_the_workspace_need_no_consent") else { return };
    let mut agent = Agent::new(RunnerKind::Claude, &claude);
    let file = agent.workspace().join("dir/a.txt");
    let model = Model::start([Script::new("write").write(file.to_str().unwrap(), "one\n").message("done")]);
    agent.env(hermetic_claude_env(model.port(), &agent.home()));
    let outcome = agent.run("script:write go");
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert_eq!(agent.file("dir/a.txt"), "one\n");
}

#[test]
fn two_work_in_one_tree_at_once() {
    let Some(claude) = claude("two_work_in_one_tree_at_once") else { return };
    let meeting = Latch::opens_after(2);
    let script = |n: usize| {
        let command = format!("printf '%s %s' $SUPERVISE_ID $TMPDIR > {n}");
        Script::new(&format!("s{n}")).wait(&meeting).shell(&command).message("done")
    };
    let model = Model::start((0..2).map(script));
    let mut first = agent(&claude, &model);
    first.args(&["--allowedTools".to_owned(), "Bash".to_owned()]);
    let second = first.beside();
    let tmp = first.tmp().to_str().unwrap().to_owned();
    std::thread::scope(|scope| {
        for (n, mut agent) in [first, second].into_iter().enumerate() {
            let tmp = &tmp;
            scope.spawn(move || {
                let outcome = agent.run(&format!("script:s{n} go"));
                assert_eq!(outcome.summary.message.as_deref(), Some("done"), "{outcome:?}");
                assert_eq!(agent.file(&n.to_string()), format!("{} {tmp}", ["a", "ax"][n]));
            });
        }
    });
}

#[test]
fn tells_rate_limits_from_other_failures() {
    let Some(claude) = claude("tells_rate_limits_from_other_failures") else { return };
    let error = |kind: &str, text: &str| json!({"type": "error", "error": {"type": kind, "message": text}});
    let limited = error("rate_limit_error", "This request would exceed your organization's rate limit.");
    let poor = error("invalid_request_error", "Your credit balance is too low to access the API.");
    let busy = error("overloaded_error", "Overloaded");
    let model = Model::start([
        Script::new("limit").fault(Fault::http(429).with_header("retry-after", "1").with_body(limited)),
        Script::new("poor").fault(Fault::http(400).with_body(poor)),
        Script::new("busy").fault(Fault::http(529).with_header("retry-after", "1").with_body(busy)),
    ]);
    for (script, fatal, limited) in [
        ("limit", "API Error: Request rejected (429)", true),
        ("poor", "Credit balance is too low", false),
        ("busy", "API Error: 529 Overloaded", true),
    ] {
        let outcome = agent(&claude, &model).run(&format!("script:{script} go"));
        assert_eq!(outcome.code, Some(1), "{script}: {outcome:?}");
        let summary = &outcome.summary;
        assert!(summary.fatal.as_ref().is_some_and(|f| f.starts_with(fatal)), "{script}: {outcome:?}");
        assert_eq!(summary.message, None, "an error is no message");
        // Claude's own pauses between its tries are not what the provider asked for.
        let expected = limited.then_some(RateLimit { lifts_after: None });
        assert_eq!(summary.rate_limit, expected, "{script}: {outcome:?}");
    }
}

#[test]
fn prompts_reach_the_model_whole() {
    let Some(claude) = claude("prompts_reach_the_model_whole") else { return };
    let model = Model::start([Script::new("p").message("ok")]);
    let long = format!("{} end of it, script:p", "long ".repeat(60_000));
    for prompt in ["--help script:p", &long] {
        let before = model.requests().len();
        let outcome = agent(&claude, &model).run(prompt);
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        assert!(outcome.by_stdin);
        let request = &model.requests()[before];
        assert!(request.body["messages"].to_string().contains(prompt), "{} bytes did not arrive", prompt.len());
    }
}
