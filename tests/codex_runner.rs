//! The codex runner against the real `codex exec`, which talks to the stand-in model.
//!
//! Runs where `SUPERVISE_TEST_CODEX` names a codex (the native binary or npm's entry); elsewhere
//! each test says that it was not run.

#[path = "support/agent.rs"]
mod agent;
#[path = "support/model/mod.rs"]
mod model;
#[path = "support/real.rs"]
mod real;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use supervise::runner::{Progress, codex_program, scratch_directories};
use supervise::session::RunnerKind;

use agent::{Agent, Outcome};
use model::{Fault, Latch, Model, Script, hermetic_args, hermetic_env};

/// The codex to test, or a line that says that there is none.
fn codex(test: &str) -> Option<PathBuf> {
    real::real_program("SUPERVISE_TEST_CODEX", test)
}

/// Runs codex on the prompt, in a fresh repository.
fn run(codex: &Path, model: &Model, prompt: &str) -> (Agent, Outcome) {
    let mut agent = Agent::new(RunnerKind::Codex, codex);
    agent.args(&hermetic_args(model.port()));
    agent.env(hermetic_env(&agent.home()));
    let outcome = agent.run(prompt);
    (agent, outcome)
}

#[test]
fn says_hello() {
    let Some(codex) = codex("says_hello") else { return };
    let model = Model::start([Script::new("hello").message("hello from the stand-in")]);
    let (_, outcome) = run(&codex, &model, "script:hello go");
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert_eq!(outcome.progress, [Progress::Says("hello from the stand-in".to_owned())]);
    let summary = outcome.summary;
    assert_eq!(summary.message.as_deref(), Some("hello from the stand-in"));
    assert_eq!(summary.usage.map(|u| (u.input_tokens > 0, u.output_tokens)), Some((true, 10)));
    assert!(summary.thread.is_some_and(|t| t.len() == 36));
    assert_eq!((summary.fatal, summary.rate_limit), (None, None));
}

#[test]
fn patches_files_and_runs_commands() {
    let Some(codex) = codex("patches_files_and_runs_commands") else { return };
    let model = Model::start([Script::new("work")
        .say("Adding it.")
        .write("dir/a.txt", "one\n")
        .shell("echo two > b.txt; printf '%s %s' $SUPERVISE_ID $SUPERVISE_SLOT > who.txt; exit 3")
        .message("All done.\nNEEDS: src/main.rs: to call it")]);
    let (agent, outcome) = run(&codex, &model, "script:work go");
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert_eq!(agent.file("dir/a.txt"), "one\n");
    assert_eq!(agent.file("b.txt"), "two\n");
    assert_eq!(agent.file("who.txt"), "a 3");
    let edited = agent.workspace().join("dir/a.txt").to_str().unwrap().to_owned();
    assert!(outcome.progress.contains(&Progress::Says("Adding it.".to_owned())));
    assert!(outcome.progress.contains(&Progress::Edits(vec![edited])), "{:?}", outcome.progress);
    // codex leaves out the events of some commands that ran, so one may be missing but not another.
    let other = |p: &&Progress| matches!(p, Progress::Runs(c) if !c.starts_with("echo two > b.txt"));
    assert_eq!(outcome.progress.iter().find(other), None);
    let need = &outcome.summary.needs[0];
    assert_eq!((need.path.as_str(), need.why.as_str()), ("src/main.rs", "to call it"));
}

#[test]
fn four_work_in_one_tree_at_once() {
    let Some(codex) = codex("four_work_in_one_tree_at_once") else { return };
    let meeting = Latch::opens_after(4);
    let script = |n: usize| {
        Script::new(&format!("s{n}"))
            .wait(&meeting)
            .write(&format!("d{n}/patched"), "one\n")
            .shell(&format!("echo two > d{n}/written; echo $TMPDIR > d{n}/temporary"))
            .patch(&format!("*** Begin Patch\n*** Update File: d{n}/patched\n@@\n-one\n+three\n*** End Patch"))
            .message("done")
    };
    let model = Model::start((0..4).map(script));
    let mut first = Agent::new(RunnerKind::Codex, &codex);
    first.args(&hermetic_args(model.port()));
    first.env(hermetic_env(&first.home()));
    let mut agents = vec![first];
    for n in 1..4 {
        agents.push(agents[n - 1].beside());
    }
    std::thread::scope(|scope| {
        for (n, agent) in agents.iter_mut().enumerate() {
            scope.spawn(move || {
                let outcome = agent.run(&format!("script:s{n} go"));
                assert_eq!(outcome.summary.message.as_deref(), Some("done"), "{outcome:?}");
                assert_eq!(agent.file(&format!("d{n}/patched")), "three\n");
                assert_eq!(agent.file(&format!("d{n}/written")), "two\n");
                assert_eq!(Path::new(agent.file(&format!("d{n}/temporary")).trim_end()), agent.tmp(), "shared");
            });
        }
    });

    // What they leave besides their work is the runner's scratch, and empty.
    for entry in std::fs::read_dir(agents[0].workspace()).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if !name.starts_with('d') && name != ".git" {
            assert!(scratch_directories(RunnerKind::Codex).contains(&name.as_str()), "{name}");
            assert_eq!(std::fs::read_dir(entry.path()).unwrap().count(), 0, "{name}");
        }
    }
}

/// What codex makes of each kind of refusal.
#[test]
fn tells_rate_limits_from_other_failures() {
    let Some(codex) = codex("tells_rate_limits_from_other_failures") else { return };
    let limit = |code: &str, text: &str| json!({"error": {"type": code, "code": code, "message": text}});
    let slow = "Rate limit reached for gpt-5.5. Please try again in 20s.";
    let usage = json!({"error": {"type": "usage_limit_reached", "message": "The usage limit has been reached",
                                 "plan_type": "plus", "resets_in_seconds": 7200}});
    let model = Model::start([
        Script::new("plain429").http(429),
        Script::new("slow").fault(Fault::http(429).with_body(limit("rate_limit_exceeded", slow))),
        Script::new("header").fault(Fault::http(429).with_header("retry-after", "1").with_body(limit("x", "slow"))),
        Script::new("usage").fault(Fault::http(429).with_body(usage)),
        Script::new("stream").error("rate_limit_exceeded", "Rate limit reached. Please try again in 1s."),
        Script::new("quota").error("insufficient_quota", "You exceeded your current quota."),
        Script::new("context").error("context_length_exceeded", "Too long."),
        Script::new("bad").fault(Fault::http(400).with_body(limit("invalid_request_error", "Bad request."))),
    ]);
    let busy = "exceeded retry limit, last status: 429 Too Many Requests";
    let check = &|script: &str, fatal: &str, limited: bool| {
        let (_, outcome) = run(&codex, &model, &format!("script:{script} go"));
        assert_eq!(outcome.code, Some(1), "{script}: {outcome:?}");
        let summary = &outcome.summary;
        assert!(summary.fatal.as_ref().is_some_and(|f| f.starts_with(fatal)), "{script}: {outcome:?}");
        assert_eq!(summary.rate_limit.is_some(), limited, "{script}: {outcome:?}");
        summary.rate_limit.and_then(|limit| limit.lifts_after)
    };
    // Codex waits and retries by itself before it gives up on some of these: at once is faster.
    std::thread::scope(|scope| {
        for (script, fatal, limited) in [
            ("plain429", busy, true),
            ("slow", busy, true),
            ("header", busy, true),
            ("usage", "You’ve hit your usage limit.", true),
            ("quota", "Quota exceeded.", false),
            ("context", "Codex ran out of room", false),
            ("bad", "Bad request.", false),
        ] {
            scope.spawn(move || assert_eq!(check(script, fatal, limited), None, "{script}"));
        }
        let lifts_after = check("stream", "rate limit exceeded: Rate limit reached.", true);
        assert_eq!(lifts_after, Some(Duration::from_secs(1)));
    });
}

#[test]
fn a_lost_connection_is_not_the_end() {
    let Some(codex) = codex("a_lost_connection_is_not_the_end") else { return };
    let model = Model::start([Script::new("cut").fault(Fault::drop_stream().times(1)).message("done after all")]);
    let (_, outcome) = run(&codex, &model, "script:cut go");
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(outcome.progress.iter().any(|p| matches!(p, Progress::Note(n) if n.starts_with("Reconnecting"))));
    assert_eq!(outcome.summary.message.as_deref(), Some("done after all"));
    assert_eq!(outcome.summary.fatal, None);
}

#[test]
fn prompts_reach_the_model_whole() {
    let Some(codex) = codex("prompts_reach_the_model_whole") else { return };
    let model = Model::start([Script::new("p").message("ok")]);
    let long = format!("{} end of it, script:p", "long ".repeat(60_000));
    for (prompt, by_stdin) in [("--help script:p", false), ("- script:p", false), (&long, true)] {
        let before = model.requests().len();
        let (_, outcome) = run(&codex, &model, prompt);
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        assert_eq!(outcome.by_stdin, by_stdin);
        let request = &model.requests()[before];
        let texts: Vec<&str> = request.body["input"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|item| item["role"] == "user")
            .flat_map(|item| item["content"].as_array().unwrap())
            .filter_map(|part| part["text"].as_str())
            .collect();
        assert!(texts.iter().any(|text| text.trim_end() == prompt), "{} bytes did not arrive", prompt.len());
    }
}

/// `codex exec` has subcommands of these names.
#[test]
fn a_prompt_is_never_a_subcommand() {
    let Some(codex) = codex("a_prompt_is_never_a_subcommand") else { return };
    let model = Model::start([]);
    for prompt in ["resume", "review", "help"] {
        let before = model.requests().len();
        let (_, outcome) = run(&codex, &model, prompt);
        let request = model.requests().into_iter().nth(before);
        let body = request.unwrap_or_else(|| panic!("{prompt}: {outcome:?}")).body;
        assert!(body["input"].to_string().contains(&format!("\"text\":\"{prompt}\"")), "{prompt}: {body}");
    }
}

#[test]
fn the_sandbox_is_the_users_choice() {
    let Some(codex) = codex("the_sandbox_is_the_users_choice") else { return };
    let outside = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let file = outside.path().join("f");
    let model = Model::start([Script::new("w").shell(&format!("echo x > here; echo x > {}", file.display()))]);
    let written = |sandbox: &[&str]| {
        let mut agent = Agent::new(RunnerKind::Codex, &codex);
        let mut args = hermetic_args(model.port());
        args.extend(sandbox.iter().map(|&a| a.to_owned()));
        agent.args(&args);
        agent.env(hermetic_env(&agent.home()));
        let outcome = agent.run("script:w go");
        assert_eq!(outcome.code, Some(0), "{sandbox:?}: {outcome:?}");
        let there = std::fs::remove_file(&file).is_ok();
        (agent.workspace().join("here").exists(), there)
    };
    assert_eq!(written(&[]), (true, false), "the workspace only");
    assert_eq!(written(&["-s", "read-only"]), (false, false));
    assert_eq!(written(&["-c", "sandbox_mode=\"read-only\""]), (false, false));
    assert_eq!(written(&["--sandbox=danger-full-access"]), (true, true));
    assert_eq!(written(&["--dangerously-bypass-approvals-and-sandbox"]), (true, true));
}

#[test]
fn the_native_binary_is_started() {
    let Some(codex) = codex("the_native_binary_is_started") else { return };
    let native = codex_program(&codex);
    let magic = std::fs::read(&native).unwrap();
    assert!(magic.starts_with(b"\x7fELF"), "{} is no binary", native.display());
}
