//! Hooks are bounded: in time, in number, and in what the run waits for.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::time::Duration;

use supervise::core::ids::RunId;
use supervise::host::hooks::{Hooks, Setup};
use supervise::host::process::Launcher;
use supervise::session::{Hook, HookCommand, HookPoint};

fn with_hooks(dir: &Path, script: &str, bound: Duration, test: impl AsyncFnOnce(Hooks)) {
    let hook = |point| Hook { point, command: HookCommand::Shell(script.to_owned()) };
    let setup = Setup {
        hooks: vec![hook(HookPoint::AgentEnd), hook(HookPoint::RunEnd)],
        run: RunId::new("20260101T000000-0001").unwrap(),
        run_dir: dir.to_owned(),
        workspace: dir.to_owned(),
        environment: std::env::vars_os().collect(),
        bound,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let launcher = Launcher::new(env!("CARGO_BIN_EXE_supervise")).unwrap();
        test(Hooks::start(launcher, setup).unwrap()).await;
    });
}

/// Far more happens than such hooks can follow: telling them does not wait, few of them are started, and
/// the run's end waits for its bound only.
#[test]
fn hooks_that_hang_hold_up_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let script = "echo $SUPERVISE_HOOK >> begun; exec sleep 600";
    with_hooks(dir.path(), script, Duration::from_secs(1), async |mut hooks| {
        for _ in 0..1000 {
            hooks.post(HookPoint::AgentEnd, None, b"{}\n");
        }
        hooks.finish(Some(b"{}\n".to_vec()), std::future::pending()).await;
    });
    let begun = std::fs::read_to_string(dir.path().join("begun")).unwrap();
    // At most four at once; those of the first second had two turns at the most before all was over.
    assert!((1..=8).contains(&begun.lines().count()), "{begun}");
    let log = std::fs::read_to_string(dir.path().join("hooks.log")).unwrap();
    assert!(log.contains("was ended after 1s") || log.contains("was ended with the run"), "{log}");
    assert!(!dir.path().join("hooks").exists());
}

/// What was posted before the end is told before the run is over, and what is said is kept, bounded.
#[test]
fn hooks_that_are_done_in_time_are_all_run() {
    let dir = tempfile::tempdir().unwrap();
    let script = "cat >> told; head -c 40000 /dev/zero | tr '\\000' x";
    with_hooks(dir.path(), script, Duration::from_mins(1), async |mut hooks| {
        for n in 0..100 {
            hooks.post(HookPoint::AgentEnd, None, format!("{n}\n").as_bytes());
        }
        hooks.finish(Some(b"end\n".to_vec()), std::future::pending()).await;
    });
    let told = std::fs::read_to_string(dir.path().join("told")).unwrap();
    assert_eq!(told.lines().count(), 101);
    let size = dir.path().join("hooks.log").metadata().unwrap().len();
    assert!((1 << 20..(1 << 20) + (64 << 10)).contains(&size), "{size}");
}
