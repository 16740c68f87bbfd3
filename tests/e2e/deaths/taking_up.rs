//! A supervisor that dies while it takes up the run of one that died: the next one comes to the same end.

use std::os::unix::process::ExitStatusExt as _;

use super::{Came, Outcome, Tried, all, assert_same_end, dies_at_each, go_on, how_far, outcome};
use crate::support::{Ended, TestRepo};

/// When the first supervisor dies.
#[derive(Clone, Copy, Debug)]
enum First {
    /// `slow` has done half of its work.
    InTheMiddle,
    /// `slow` has ended, and its work is being committed.
    AtTheCommit,
}

/// One that takes its time, one with a verify command, and one that fails.
fn three() -> String {
    let mut session = "[session]\nname = \"three\"\nmax_concurrent = 3\n".to_owned();
    let mut agent = |id: &str, more: &str, script: &str| {
        session +=
            &format!("[[agent]]\nid = {id:?}\nfiles = [\"{id}\"]\n{more}\ncommand = [\"sh\", \"-c\", {script:?}]\n");
    };
    agent("slow", "", "echo begun >> slow; touch ../tmp/half; sleep 0.25; echo done >> slow; touch ../tmp/whole");
    agent("verified", "verify = \"grep -q agent verified\"", "echo agent >> verified");
    agent("fails", "", "echo half >> fails; exit 3");
    session
}

fn three_files() -> TestRepo {
    TestRepo::with(&["slow", "verified", "fails"].map(|name| (name, "base\n")))
}

/// Runs this with a supervisor that dies at this point, of those that come while this file is there; `false`: it came
/// to its end.
fn dies(repo: &TestRepo, words: &[&str], point: usize, from: Option<&str>) -> bool {
    let mut command = repo.supervise();
    command.args(words).env("SUPERVISE_DIES_AT", point.to_string());
    if let Some(file) = from {
        command.env("SUPERVISE_DIES_FROM", repo.tmp().join(file));
    }
    let output = command.output().unwrap();
    if output.status.signal() == Some(9) {
        return true;
    }
    Ended::of(&output).expect(1);
    false
}

/// The first supervisor dies, and the second, which takes the run up, at this point; `false`: it did not come to it.
fn dies_at(first: First, point: usize, undisturbed: &Outcome) -> bool {
    let died = format!("{point} of taking up what was cut off {first:?}");
    let repo = three_files();
    let path = repo.session(&three()).display().to_string();
    let (from, at) = match first {
        First::InTheMiddle => ("half", 1),
        First::AtTheCommit => ("whole", 9),
    };
    assert!(dies(&repo, &["run", &path], at, Some(from)), "the first one lives");
    assert!(matches!(how_far(&repo), Came::On), "died at {died}");
    let again = dies(&repo, &["resume"], point, None);
    if again {
        go_on(&repo, &three(), &died);
    }
    assert_same_end(&repo, undisturbed, &died);
    again
}

#[test]
fn a_supervisor_that_dies_anywhere_while_it_takes_a_run_up_leaves_it_to_the_next() {
    let repo = three_files();
    repo.run(&three(), &[]).expect(1);
    let undisturbed = outcome(&repo);
    assert_eq!((undisturbed.ends.len(), undisturbed.commits.len(), undisturbed.status.as_str()), (3, 2, ""));
    for first in [First::InTheMiddle, First::AtTheCommit] {
        let tried = if all() && matches!(first, First::InTheMiddle) { Tried::All } else { Tried::Some };
        let first_beyond = dies_at_each(tried, |point| dies_at(first, point, &undisturbed));
        assert!(first_beyond > 40, "only {first_beyond} points: {first:?}");
    }
}
