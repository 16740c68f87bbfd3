//! What the machine does to a run: the journal that cannot grow any more, a supervisor that was started
//! with signals ignored, or may open only a few files, and clocks that have parted.

use std::process::Command;
use std::time::Duration;

use crate::ordeal::{LONG, Ordeal, resume, session};
use crate::support::{Ended, TestRepo, eventually, finish, run_dir, text};

/// Starts the session from a shell that does `first`.
fn run_after(repo: &TestRepo, first: &str, session: &str) -> Ended {
    let path = repo.session(session);
    let mut command = repo.command("sh");
    command.args(["-c", &format!("{first}; exec \"$0\" run \"$1\"")]).arg(env!("CARGO_BIN_EXE_supervise")).arg(path);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    finish(command.spawn().unwrap(), Duration::from_secs(60))
}

/// As on a full disk, a write fails in the middle of the run.
#[test]
fn a_journal_that_cannot_grow_ends_everything_and_loses_nothing() {
    let repo = TestRepo::new();
    let mut session = "[session]\nmax_concurrent = 2\n".to_owned();
    // It writes, and stays; the others then fill the journal, one after the other.
    session += "[[agent]]\nid = \"long\"\npriority = 1\nfiles = [\"long.txt\"]\ncommand = [\"sh\", \"-c\", \"test $SUPERVISE_ATTEMPT = 1 || { echo whole > long.txt; exit; }; echo half > long.txt; setsid sleep 600 & sleep 600\"]\n";
    for number in 0..300 {
        session += &format!(
            "[[agent]]\nid = \"filler-{number}\"\ncommand = [\"sh\", \"-c\", \"while ! [ -e long.txt ]; do sleep 0.01; done\"]\n"
        );
    }
    // Blocks of 512 bytes or of 1024, as the shell has it; enough for the plan of the run and for the
    // opening, not for the end.
    let ended = run_after(&repo, "ulimit -f 400", &session).expect(3);
    assert!(ended.stderr.contains("no space left for"), "{}", ended.stderr);
    assert!(ended.stderr.contains("everything that ran was ended"), "{}", ended.stderr);
    repo.assert_no_survivors();
    assert_eq!(repo.read("long.txt"), "half\n");
    assert_eq!(repo.status(), "?? long.txt\n", "nothing is staged, and nothing put back");
    assert_eq!(repo.subjects(), Vec::<String>::new());
    assert!(!repo.exists(".git/index.lock"));
    // Whole lines only: what did not fit is not there.
    let journal = text(&run_dir(&repo), "journal.jsonl");
    assert!(journal.ends_with('\n') && journal.contains("\"long\""), "{} bytes", journal.len());
    for line in journal.lines() {
        assert!(line.starts_with('{') && line.ends_with('}'), "{line}");
    }
    assert!(ended.stderr.contains("`supervise resume` goes"), "{}", ended.stderr);
    // Without the limit it goes on to its end.
    Ended::of(&repo.supervise().arg("resume").output().unwrap()).expect(0);
    assert_eq!((repo.subjects(), repo.status()), (vec!["feat(long): long".to_owned()], String::new()));
    assert_eq!(repo.read("long.txt"), "whole\n");
}

#[test]
fn agents_ignore_no_signal_because_the_supervisor_was_told_to() {
    let repo = TestRepo::new();
    let session = "[[agent]]\nid = \"one\"\nfiles = [\"out\"]\ncommand = [\"sh\", \"-c\", \"grep ^Sig /proc/self/status > out\"]\n";
    run_after(&repo, "trap '' HUP INT QUIT TERM USR1 PIPE XFSZ TSTP", session).expect(0);
    let out = repo.read("out");
    for set in ["SigBlk:", "SigIgn:"] {
        let line = out.lines().find_map(|line| line.strip_prefix(set)).unwrap();
        // Signals 32 and 33 belong to the C library.
        let set_bits = u64::from_str_radix(line.trim(), 16).unwrap() & !(3 << 31);
        assert_eq!(set_bits, 0, "{out}");
    }
}

#[test]
fn what_could_not_be_looked_at_does_not_pass_as_clean() {
    let repo = TestRepo::new();
    let (reached, open) = (repo.tmp().join("reached"), repo.tmp().join("open"));
    let script = format!("touch {}; until test -e {}; do sleep 0.02; done", reached.display(), open.display());
    let session = format!("[[agent]]\nid = \"a\"\ncommand = [\"sh\", \"-c\", \"{script}\"]\n");
    let child = repo.start(&session, &["--strict"]);
    assert!(eventually(Duration::from_secs(60), || reached.exists()));
    repo.write(".git/index", "junk\n");
    repo.write("../tmp/open", "");
    let ended = finish(child, Duration::from_secs(60)).expect(5);
    assert!(ended.stderr.contains("it is not known what changed"), "{}", ended.stderr);
}

/// `supervise run` behind these words.
fn behind(repo: &TestRepo, words: &[&str], text: &str) -> Command {
    let path = repo.session(text);
    let mut command = repo.command(words[0]);
    command.args(&words[1..]).arg(env!("CARGO_BIN_EXE_supervise")).arg("run").arg(path).args(["--format", "jsonl"]);
    command
}

#[test]
fn with_few_open_files_as_many_run_as_fit_and_the_others_wait() {
    const ALL: usize = 200;
    let repo = TestRepo::new();
    let dir = repo.tmp().display().to_string();
    let script = |id: &String| format!("echo >> {dir}/up; until test -e {dir}/go; do sleep 0.2; done; echo x > {id}");
    let agents: Vec<(String, String)> = (0..ALL).map(|n| format!("a{n}")).map(|id| (id.clone(), script(&id))).collect();
    let agents: Vec<(&str, &str)> = agents.iter().map(|(id, script)| (id.as_str(), script.as_str())).collect();
    let few = ["sh", "-c", "ulimit -n 64; exec \"$0\" \"$@\""];
    let ordeal = Ordeal::of(&repo, behind(&repo, &few, &session("", &agents)));
    ordeal.until_lines("up", 24);
    let status: serde_json::Value = serde_json::from_str(&repo.ask(&["status", "--format", "json"])).unwrap();
    let count = |state: &str, reason: Option<&str>| {
        let all = status["agents"].as_array().unwrap().iter();
        all.filter(|agent| agent["state"] == state && agent["reason"]["kind"].as_str() == reason).count()
    };
    assert_eq!((count("RUNNING", None), count("WAITING", Some("open_files"))), (24, ALL - 24));
    repo.write("../tmp/go", "");
    let ids: Vec<&str> = agents.iter().map(|(id, _)| *id).collect();
    let judged = ordeal.judge(&ids);
    assert!(ids.iter().all(|id| judged.end(id).0 == "COMPLETED"), "{}", judged.stderr);
    assert_eq!(repo.subjects().len(), ALL);
}

/// As after a sleep of the machine, one clock (`CLOCK_BOOTTIME`, by which the kernel tells when a process began) is a day
/// ahead of the other (time_namespaces(7)).
const SLEPT: [&str; 4] = ["unshare", "-rT", "--boottime", "86400"];

#[test]
fn clocks_that_have_parted_end_nobody_early_and_lose_nobody() {
    if !Command::new(SLEPT[0]).args(&SLEPT[1..]).arg("true").status().is_ok_and(|status| status.success()) {
        return eprintln!("not tried: there are no time namespaces");
    }
    let repo = TestRepo::new();
    let text = session("timeout = \"2s\"", &[("quick", "sleep 0.5; echo x > quick"), ("slow", "sleep 1000")]);
    let judged = Ordeal::of(&repo, behind(&repo, &SLEPT, &text)).judge(&["quick", "slow"]);
    assert_eq!(judged.end("quick").0, "COMPLETED");
    assert_eq!(judged.end("slow").0, "TIMEOUT");

    // What was begun by one clock and died is ended by the other.
    let repo = TestRepo::new();
    let dir = repo.tmp().display().to_string();
    let script = format!(
        "test $SUPERVISE_ATTEMPT -gt 1 || {{ setsid sleep 1000 & echo >> {dir}/up; kill -9 $PPID $(ps -o ppid= -p $PPID); sleep 1000; }}; echo x > a"
    );
    let mut ordeal = Ordeal::of(&repo, behind(&repo, &SLEPT, &session("", &[("a", &script)])));
    ordeal.until_lines("up", 1);
    assert!(eventually(LONG, || ordeal.child.try_wait().unwrap().is_some()), "it is dead");
    let ended = resume(&repo).expect(0);
    assert_eq!(ended.agent("a")["state"], "COMPLETED");
    repo.assert_no_survivors();
}
