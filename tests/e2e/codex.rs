//! A whole session with the real `codex exec`, four at once, against the stand-in model.
//!
//! Runs where `SUPERVISE_TEST_CODEX` names a codex (the native binary or npm's entry); elsewhere it
//! says that it was not run. Where `SUPERVISE_TEST_RAN` names a file, a test that ran to its
//! end adds its name there, so that whoever demands the real program can tell.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use crate::model::{Fault, Latch, Model, Script, hermetic_args, hermetic_env};
use crate::real::real_program;
use crate::support::{Ended, TestRepo, run_dir, text};
use supervise::runner::codex_program;

pub(crate) fn codex(test: &str) -> Option<PathBuf> {
    real_program("SUPERVISE_TEST_CODEX", test).map(|entry| codex_program(&entry))
}

pub(crate) fn ran(test: &str) {
    if let Some(file) = std::env::var_os("SUPERVISE_TEST_RAN") {
        let file = std::fs::OpenOptions::new().append(true).create(true).open(file);
        writeln!(file.unwrap(), "{test}").unwrap();
    }
}

/// The head of a session file whose codex talks to the stand-in.
pub(crate) fn head(repo: &TestRepo, codex: &std::path::Path, model: &Model) -> String {
    let home = repo.tmp().join("codex-home");
    std::fs::create_dir_all(&home).unwrap();
    let args: Vec<_> = hermetic_args(model.port()).iter().map(|a| format!("{a:?}")).collect();
    let env: Vec<_> = hermetic_env(&home).iter().map(|(k, v)| format!("{k} = {v:?}")).collect();
    format!(
        "[session]\nname = \"real\"\nmax_concurrent = 4\n[defaults]\ngrace = \"2s\"\nenv = {{ {} }}\n\
         [runner.codex]\ncommand = [{:?}]\nargs = [{}]\n\
         [runner.unboxed]\nextends = \"codex\"\nargs = [\"-s\", \"danger-full-access\"]\n",
        env.join(", "),
        codex.to_str().unwrap(),
        args.join(", "),
    )
}

pub(crate) fn agent(id: &str, files: &str, more: &str) -> String {
    format!("[[agent]]\nid = \"{id}\"\nprompt = \"script:{id} go\"\nfiles = {files}\n{more}\n")
}

#[test]
fn four_agents_end_to_end() {
    let Some(codex) = codex("four_agents_end_to_end") else { return };
    let repo = TestRepo::with(&[("api/a.txt", "one\n"), ("shared.txt", "here\n")]);
    // Nobody is answered before all four have asked: they really run at once.
    let all = Latch::opens_after(4);
    let started = repo.path().join("stuck/started");
    let model = Model::start([
        Script::new("patcher")
            .wait(&all)
            .say("I will patch.")
            .patch("*** Begin Patch\n*** Update File: api/a.txt\n@@\n-one\n+uno\n*** Add File: api/new/b.txt\n+hello\n*** End Patch\n")
            .shell("printf made > api/c.txt; sed -i s/uno/due/ api/a.txt; mv api/c.txt api/d.txt")
            .message("Patched.\nNEEDS: shared.txt: to say so there"),
        Script::new("leaver")
            .wait(&all)
            .shell("echo left > leaver.txt; setsid sleep 611 >/dev/null 2>&1 & (setsid sleep 612 &) ; nohup sleep 613 >/dev/null 2>&1 & echo ok")
            .message("Left some behind."),
        Script::new("failer")
            .wait(&all)
            .write("failer.txt", "half\n")
            .fault(Fault::http(400))
            .message("never said"),
        Script::new("stuck")
            .wait(&all)
            .shell("mkdir -p stuck; echo begun > stuck/started; sleep 614; echo late > stuck/late")
            .hang()
            .message("never said"),
    ]);
    let session = [
        head(&repo, &codex, &model),
        agent("patcher", "[\"api/\"]", "name = \"The patcher\""),
        agent("leaver", "[\"leaver.txt\"]", "runner = \"unboxed\""),
        agent("failer", "[\"failer.txt\"]", ""),
        agent("stuck", "[\"stuck/\"]", "timeout = \"8s\""),
    ]
    .concat();
    let ended = repo.run(&session, &["--format", "json"]).expect(1);

    let patcher = ended.agent("patcher");
    assert_eq!(patcher["state"], "COMPLETED", "{patcher:#}");
    assert_eq!(repo.files_of("feat(patcher): The patcher"), ["api/a.txt", "api/d.txt", "api/new/b.txt"]);
    assert_eq!(repo.git(&["show", "HEAD:api/a.txt"]), "due\n");
    assert_eq!(repo.git(&["show", "HEAD:api/new/b.txt"]), "hello\n");
    assert_eq!(patcher["needs"][0]["path"], "shared.txt");
    let body = repo.git(&["log", "--grep=feat(patcher)", "--format=%b"]);
    assert!(body.contains("Patched."), "{body}");

    let leaver = ended.agent("leaver");
    assert_eq!(leaver["state"], "COMPLETED", "{leaver:#}");
    assert_eq!(repo.files_of("feat(leaver): leaver"), ["leaver.txt"]);

    let failer = ended.agent("failer");
    assert_eq!(failer["state"], "FAILED", "{failer:#}");
    assert!(!repo.exists("failer.txt"), "what it wrote is put back");
    assert_eq!(repo.git(&["show", &format!("{}:failer.txt", failer["salvage"].as_str().unwrap())]), "half\n");

    let stuck = ended.agent("stuck");
    assert_eq!(stuck["state"], "TIMEOUT", "{stuck:#}");
    assert!(!started.exists());
    assert_eq!(repo.git(&["show", &format!("{}:stuck/started", stuck["salvage"].as_str().unwrap())]), "begun\n");

    for id in ["patcher", "leaver"] {
        let usage = &ended.agent(id)["usage"];
        assert!(usage["input_tokens"].as_u64() > Some(0) && usage["output_tokens"].as_u64() > Some(0), "{usage}");
    }
    assert_eq!(repo.subjects().len(), 2);
    assert_eq!(repo.status(), "");
    for scratch in [".agents", ".codex", ".aws"] {
        assert!(!repo.exists(scratch), "{scratch} is swept");
    }
    let dir = run_dir(&repo);
    for id in ["patcher", "leaver", "failer", "stuck"] {
        let log = text(&dir, &format!("agents/{id}/1/stdout.log"));
        assert!(log.lines().next().is_some_and(|l| l.contains("thread.started")), "{id}: {log}");
    }
    assert!(text(&dir, "agents/patcher/1/stdout.log").contains("turn.completed"));
    repo.assert_no_survivors();
    ran("end-to-end");
}

#[test]
fn a_rate_limit_pauses_the_runner_and_costs_no_retry() {
    let Some(codex) = codex("a_rate_limit_pauses_the_runner_and_costs_no_retry") else { return };
    let repo = TestRepo::new();
    let limited = Fault::error("rate_limit_exceeded", "Rate limit reached. Please try again in 1s.");
    let model = Model::start([
        Script::new("eager-1").fault(limited).message("never said"),
        Script::new("eager-2").write("eager.txt", "done\n").message("done"),
    ]);
    let session = [
        head(&repo, &codex, &model),
        agent("eager", "[\"eager.txt\"]", "args = [\"-c\", \"model_providers.stand_in.stream_max_retries=0\"]"),
    ]
    .concat()
    .replace("script:eager go", "script:eager-{{attempt}} go");
    let ended = repo.run(&session, &["--format", "json"]).expect(0);
    let eager = ended.agent("eager");
    assert_eq!(eager["state"], "COMPLETED", "{eager:#}");
    assert_eq!(eager["attempt"], 2, "a second attempt although there are no retries");
    assert_eq!(repo.files_of("feat(eager): eager"), ["eager.txt"]);
    ran("rate-limit");
}

#[test]
fn ctrl_c_in_the_middle_of_a_command_leaves_nothing_running() {
    let Some(codex) = codex("ctrl_c_in_the_middle_of_a_command_leaves_nothing_running") else { return };
    let repo = TestRepo::new();
    let model = Model::start([Script::new("busy")
        .shell("echo begun > busy.txt; setsid sleep 615 & sleep 616")
        .hang()
        .message("never said")]);
    let session = [head(&repo, &codex, &model), agent("busy", "[\"busy.txt\"]", "runner = \"unboxed\"")].concat();
    let child = repo.start(&session, &["--format", "json"]);
    assert!(crate::support::eventually(Duration::from_secs(30), || repo.exists("busy.txt")));
    crate::support::signal(&child, "INT");
    let ended: Ended = crate::support::finish(child, Duration::from_secs(30)).expect(130);
    assert_eq!(ended.agent("busy")["state"], "TERMINATED");
    assert!(ended.agent("busy")["salvage"].is_string());
    assert_eq!(repo.status(), "");
    repo.assert_no_survivors();
    ran("ctrl-c");
}
