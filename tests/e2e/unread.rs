//! A run whose output nobody takes.

use std::process::Stdio;
use std::time::Duration;

use super::support::{TestRepo, eventually, finish, run_dir, text};

/// More lines than a pipe holds (64 KiB, pipe(7)): each refused path is one.
fn talkative() -> String {
    let script =
        "for n in $(seq 1500); do echo > undeclared-by-anybody-and-refused-$n; done 2>/dev/null; echo 1 > own/a";
    format!("[[agent]]\nid = \"a\"\nfiles = [\"own/\"]\ncommand = [\"sh\", \"-c\", '{script}']\n")
}

#[test]
fn whoever_does_not_read_does_not_hold_the_run() {
    for args in [&[][..], &["--format", "jsonl"]] {
        let repo = TestRepo::with(&[("own/x", "")]);
        let mut command = repo.supervise();
        command.arg("run").arg(repo.session(&talkative())).args(args);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // Nothing is read until it is over.
        let begun = || repo.exists(".git/supervise/current");
        let over = || begun() && text(&run_dir(&repo), "journal.jsonl").contains("\"kind\":\"run_ended\"");
        assert!(eventually(Duration::from_mins(1), over), "{args:?}: the run goes on to its end");
        let told = finish(child, Duration::from_mins(1)).expect(0);
        assert_eq!(repo.subjects(), ["feat(a): a"]);
        assert_eq!(told.stderr.matches(" denied ").count(), 1500, "{args:?}");
        if !args.is_empty() {
            assert_eq!(told.stdout.lines().count(), repo.records().len());
        }
    }
}
