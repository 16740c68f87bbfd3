//! Hooks: commands of the session and of the user that are told what happened.

use std::time::Duration;

use crate::support::{Ended, TestRepo, eventually, finish, run_dir, signal, text};

const LONG: Duration = Duration::from_secs(30);

fn sh(id: &str, script: &str, more: &str) -> String {
    format!("[[agent]]\nid = \"{id}\"\ncommand = [\"sh\", \"-c\", '''{script}''']\nfiles = [\"{id}\"]\n{more}\n")
}

/// Writes the user's own file.
fn configure(repo: &TestRepo, text: &str) {
    let dir = repo.path().parent().unwrap().join(".config/supervise");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("config.toml"), text).unwrap();
}

/// What hooks wrote to a file in the temporary directory, sorted: several run at once.
fn told(repo: &TestRepo, file: &str) -> Vec<serde_json::Value> {
    let text = text(&repo.tmp(), file);
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines.into_iter().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}"))).collect()
}

#[test]
fn hooks_of_the_session_and_of_the_user_read_what_happened() {
    let repo = TestRepo::new();
    let tmp = repo.tmp().display().to_string();
    let ended =
        format!("cat >> {tmp}/ended; echo $SUPERVISE_HOOK $SUPERVISE_ID $SUPERVISE_RUN >> {tmp}/env; pwd > {tmp}/cwd");
    configure(&repo, &format!("[hooks]\non_agent_end = [\"tee\", \"-a\", \"{tmp}/mine\"]\n"));
    let session = [
        format!("[hooks]\non_agent_end = \"{ended}\"\non_run_end = \"cat > {tmp}/run; exit 3\"\n"),
        sh("good", "echo x > good", ""),
        sh("bad", "exit 4", "needs = [\"good\"]"),
    ]
    .concat();
    let done = repo.run(&session, &["--format", "json"]).expect(1);
    let agents: Vec<_> =
        told(&repo, "ended").iter().map(|r| (r["kind"].clone(), r["agent"].clone(), r["state"].clone())).collect();
    let end = |agent: &str, state: &str| ("agent_ended".into(), agent.into(), state.into());
    assert_eq!(agents, [end("good", "COMPLETED"), end("bad", "FAILED")]);
    assert_eq!(told(&repo, "mine"), told(&repo, "ended"), "both files' hooks run");
    assert_eq!(told(&repo, "run"), [done.json()], "the document of the run");
    let run = done.json()["run"].as_str().unwrap().to_owned();
    let env = text(&repo.tmp(), "env");
    let mut env: Vec<&str> = env.lines().collect();
    env.sort_unstable();
    assert_eq!(env, [format!("on_agent_end bad {run}"), format!("on_agent_end good {run}")]);
    assert_eq!(text(&repo.tmp(), "cwd").trim(), repo.path().canonicalize().unwrap().to_str().unwrap());
    // What they say is kept, and one that fails is named and does no harm.
    let log = text(&run_dir(&repo), "hooks.log");
    assert!(log.contains("on_run_end") && log.contains("failed with exit code 3"), "{log}");
    assert!(log.contains("\"agent\":\"good\""), "what `tee` printed: {log}");
    assert_eq!(done.stderr.matches("hook on_run_end: failed with exit code 3").count(), 1, "{}", done.stderr);
    assert!(!run_dir(&repo).join("hooks").exists());
}

#[test]
fn what_needs_a_person_is_told_with_what_to_do() {
    let repo = TestRepo::with(&[("shared", "")]);
    let tmp = repo.tmp();
    let open = tmp.join("open");
    let wait = format!("until test -e {}; do sleep 0.02; done", open.display());
    let session = [
        format!(
            "[hooks]\non_conflict = \"cat >> {0}/conflicts\"\non_attention = \"cat >> {0}/attention\"\n",
            tmp.display()
        ),
        sh("holder", &format!("echo x > holder; {wait}"), "").replace("[\"holder\"]", "[\"holder\", \"shared\"]"),
        sh(
            "writer",
            &format!("echo y > shared; {wait}; echo z > writer"),
            "on_conflict = \"manual\"\nwait_for_completion = false\nneeds = [\"holder\"]",
        ),
    ]
    .concat();
    let child = repo.start(&session, &[]);
    assert!(eventually(LONG, || !text(&tmp, "attention").is_empty()), "nobody was told");
    assert!(eventually(LONG, || text(&tmp, "attention").ends_with('\n')));
    let attention = told(&repo, "attention")[0]["attention"].clone();
    assert_eq!(attention["kind"], "open_conflict");
    let said = attention["text"].as_str().unwrap();
    assert!(said.ends_with("supervise resolve 1 --keep holder --terminate writer"), "{said}");
    std::fs::write(&open, "").unwrap();
    finish(child, LONG).expect(0);
    assert_eq!(told(&repo, "conflicts")[0]["kind"], "conflict_found");
    let kinds: Vec<_> = told(&repo, "attention").iter().map(|r| r["attention"]["kind"].clone()).collect();
    assert_eq!(kinds, ["denied", "open_conflict"], "and the refused path at the writer's end");
}

/// The run waits for its hooks, a signal ends the waiting, and with a hook goes all that it started.
#[test]
fn a_hook_that_hangs_is_ended_with_all_it_started() {
    let repo = TestRepo::new();
    let hangs = repo.tmp().join("hangs");
    let script = format!("trap '' TERM; setsid sleep 600 & setsid sleep 600 & touch {}; sleep 600", hangs.display());
    let session = format!("[hooks]\non_run_end = \"{script}\"\n{}", sh("a", "echo x > a", ""));
    let child = repo.start(&session, &["--format", "json"]);
    assert!(eventually(LONG, || hangs.exists()), "the hook was not run");
    assert_eq!(repo.subjects(), ["feat(a): a"], "the run itself is over");
    signal(&child, "INT");
    let ended = finish(child, LONG).expect(0);
    assert_eq!(ended.json()["state"], "COMPLETED");
    assert!(text(&run_dir(&repo), "hooks.log").contains("was ended with the run"));
    repo.assert_no_survivors();
}

#[test]
fn what_is_wrong_with_hooks_is_told_with_its_place_and_nothing_starts() {
    let repo = TestRepo::new();
    let session = format!("[hooks]\non_agent_ends = \"x\"\n{}", sh("a", "echo x > a", ""));
    let ended = repo.run(&session, &[]).expect(2);
    assert!(ended.stderr.contains("session.toml:2:1") && ended.stderr.contains("`on_agent_end`"), "{}", ended.stderr);
    configure(&repo, "notify = 3\n[hooks]\non_run_end = []\n");
    let ended = repo.run(&sh("a", "echo x > a", ""), &[]).expect(2);
    for place in ["config.toml:1:10", "config.toml:3:14"] {
        assert!(ended.stderr.contains(place), "{place}: {}", ended.stderr);
    }
    assert!(!repo.exists("a") && !repo.exists(".git/supervise/runs"));
    // XDG_CONFIG_HOME comes before the home directory.
    let path = repo.session(&sh("a", "echo x > a", ""));
    let output = repo.supervise().env("XDG_CONFIG_HOME", repo.tmp()).arg("run").arg(path).output().unwrap();
    Ended::of(&output).expect(0);
}

/// Runs the session with standard error on a terminal, and gives what came there.
fn on_a_terminal(repo: &TestRepo, session: &str, args: &[&str], term: &str) -> String {
    use std::io::Read as _;
    let pty = nix::pty::openpty(None, None).unwrap();
    let mut command = repo.supervise();
    command.arg("run").arg(repo.session(session)).args(args).env("TERM", term);
    let mut child = command.stdout(std::process::Stdio::null()).stderr(pty.slave).spawn().unwrap();
    // The child's end has to be the only one, or there is no end of file.
    drop(command);
    let mut said = Vec::new();
    // Linux ends a terminal that nobody holds with EIO.
    let _ = std::fs::File::from(pty.master).read_to_end(&mut said);
    child.wait().unwrap();
    String::from_utf8_lossy(&said).into_owned()
}

#[test]
fn a_terminal_is_rung_at_the_end_and_where_a_person_is_needed_unless_told_not_to() {
    let repo = TestRepo::new();
    let session = format!("[session]\nname = \"night\"\n{}", sh("a", "echo $$ > a; echo y > README.md || true", ""));
    let said = on_a_terminal(&repo, &session, &[], "xterm-256color");
    let denied = "\u{1b}]9;a was refused README.md: supervise status a\u{7}\u{7}";
    assert!(said.contains(denied), "{said:?}");
    let end = "\u{1b}]9;supervise: night completed: 1 of 1 agent completed\u{7}\u{7}";
    assert!(said.ends_with(end), "{said:?}");
    let said = on_a_terminal(&repo, &session, &[], "dumb");
    assert!(said.contains('\u{7}') && !said.contains("\u{1b}]9"), "the bell alone: {said:?}");
    let said = on_a_terminal(&repo, &session, &["--no-notify"], "xterm-256color");
    assert!(!said.contains('\u{7}'), "{said:?}");
    configure(&repo, "notify = false\n");
    let said = on_a_terminal(&repo, &session, &[], "xterm-256color");
    assert!(!said.contains('\u{7}'), "{said:?}");
    assert!(!repo.run(&session, &[]).stderr.contains('\u{7}'), "nor in a pipe");
}

#[test]
fn what_goes_wrong_beside_the_run_is_one_plain_line_each() {
    let repo = TestRepo::new();
    let session = format!("[hooks]\non_run_end = \"exit 3\"\n{}", sh("a", "echo x > a", ""));
    let mut command = repo.supervise();
    command.arg("run").arg(repo.session(&session)).env_remove("NO_COLOR").env("TERM", "xterm-256color");
    command.env("GITHUB_STEP_SUMMARY", repo.tmp());
    let said = Ended::of(&command.output().unwrap()).expect(0).stderr;
    let mut told: Vec<&str> = said.lines().filter(|line| !line.starts_with(|c: char| c.is_ascii_digit())).collect();
    let summary = "supervise: warning: the step summary cannot be written: it is not a file";
    let mut expected = ["supervise: warning: hook on_run_end: failed with exit code 3 (hooks.log of the run)", summary];
    expected.sort_unstable();
    told.sort_unstable();
    assert_eq!(told, expected, "{said:?}");
    assert!(!said.contains('\u{1b}'), "{said:?}");
    // With its time and its module where that is asked for.
    let said = Ended::of(&command.env("SUPERVISE_LOG", "warn").output().unwrap()).stderr;
    assert!(said.contains("WARN supervise::host::hooks: hook on_run_end") && !said.contains('\u{1b}'), "{said:?}");
}
