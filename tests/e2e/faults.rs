//! What the machine does to a run: the journal that cannot grow any more, a supervisor that was started
//! with signals ignored.

use std::time::Duration;

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
