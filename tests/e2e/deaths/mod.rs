//! A supervisor that dies at any point leaves a run that goes on to the same end: of a run that nothing else
//! happens to, while an agent joins it, and while it is taken up.

mod joining;
mod taking_up;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::resume::resume;
use super::support::{Ended, TestRepo};

/// Fourteen agents in two phases: edits, a new file, a removal, a verify command, a retry, one without a change, one that
/// fails and one that is ended by its timeout, each with work to be put back.
fn fourteen() -> String {
    let mut session =
        "[session]\nname = \"fourteen\"\nmax_concurrent = 4\ncheckpoint_interval = \"300ms\"\n".to_owned();
    session += "[[phase]]\nname = \"one\"\n[[phase]]\nname = \"two\"\n";
    let mut agent = |id: &str, phase: &str, more: &str, script: &str| {
        session += &format!(
            "[[agent]]\nid = {id:?}\nphase = {phase:?}\nfiles = [\"{id}\"]\n{more}\ncommand = [\"sh\", \"-c\", {script:?}]\n"
        );
    };
    for n in 1..=4 {
        agent(&format!("edit{n}"), "one", "", &format!("echo agent >> edit{n}"));
    }
    agent("makes", "one", "", "mkdir -p makes/deep && echo new > makes/deep/file");
    agent("removes", "one", "", "rm removes");
    agent("verified", "one", "verify = \"grep -q agent verified\"", "echo agent >> verified");
    agent("idle", "one", "", "true");
    // Its first attempt leaves work that has to go.
    let once = "echo $SUPERVISE_ATTEMPT > retried; mkdir once 2>/dev/null || true; test \"$SUPERVISE_ATTEMPT\" != 1 && echo done > retried";
    agent("retried", "two", "retries = 9", once);
    agent("waits", "two", "depends_on = [\"slow\"]", "echo agent >> waits");
    agent("slow", "two", "", "echo begun >> slow; sleep 0.35; echo done >> slow");
    agent("last", "two", "depends_on = [\"waits\"]", "echo agent >> last");
    agent("fails", "two", "", "echo half >> fails; exit 3");
    agent("late", "two", "timeout = \"700ms\"", "echo half >> late; exec sleep 1000");
    session
}

fn fourteen_files() -> TestRepo {
    let mut files: Vec<(String, &str)> = (1..=4).map(|n| (format!("edit{n}"), "base\n")).collect();
    let others = ["removes", "verified", "retried", "waits", "slow", "last", "fails", "late"];
    files.extend(others.map(|name| (name.to_owned(), "base\n")));
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
    TestRepo::with(&files)
}

/// What a run leaves that has to be the same however often its supervisor died.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    tree: String,
    /// With the files of each.
    commits: BTreeMap<String, Vec<String>>,
    status: String,
    /// How each agent ended, each time that it did.
    ends: BTreeMap<String, Vec<String>>,
}

fn outcome(repo: &TestRepo) -> Outcome {
    let mut ends = BTreeMap::<String, Vec<String>>::new();
    for record in repo.records().into_iter().filter(|record| record["kind"] == "agent_ended") {
        let [agent, state] = ["agent", "state"].map(|key| record[key].as_str().unwrap().to_owned());
        ends.entry(agent).or_default().push(state);
    }
    Outcome {
        tree: repo.git(&["rev-parse", "HEAD^{tree}"]),
        commits: repo.subjects().into_iter().map(|subject| (subject.clone(), repo.files_of(&subject))).collect(),
        status: repo.status(),
        ends,
    }
}

/// After a supervisor died in a run, everything is as it would be had it not.
#[track_caller]
fn assert_same_end(repo: &TestRepo, undisturbed: &Outcome, died: &str) {
    assert_eq!(outcome(repo), *undisturbed, "died at {died}:\n{}", repo.ask(&["timeline"]));
    let placed = repo.records().into_iter().filter(|record| record["kind"] == "placed");
    let kept: BTreeSet<String> = placed.map(|record| record["commit"].as_str().unwrap().to_owned()).collect();
    assert_eq!(kept.len(), repo.subjects().len(), "died at {died}: one commit each");
    let salvage = repo.git(&["for-each-ref", "--format=%(objectname)", "refs/supervise/"]);
    assert!(salvage.lines().all(|commit| !kept.contains(commit)), "died at {died}: kept and committed");
    repo.assert_no_survivors();
}

/// Runs the fourteen with a supervisor that dies at this point; `false`: it did not come to it.
fn dies_at(point: usize, undisturbed: &Outcome) -> bool {
    let repo = fourteen_files();
    let path = repo.session(&fourteen());
    let mut command = repo.supervise();
    command.arg("run").arg(path).env("SUPERVISE_DIES_AT", point.to_string());
    let output = command.output().unwrap();
    let died = output.status.signal() == Some(9);
    if died {
        go_on(&repo, &fourteen(), &point.to_string());
    } else {
        Ended::of(&output).expect(1);
    }
    assert_same_end(&repo, undisturbed, &point.to_string());
    died
}

/// It has come to what is to be died at: in work that was put back, in the timeout of an agent, in one that failed.
fn comes_to_all(repo: &TestRepo, undisturbed: &Outcome) {
    assert_eq!(undisturbed.status, "");
    assert_eq!(undisturbed.commits.len(), 11);
    assert_eq!(undisturbed.ends.len(), 14);
    for (agent, ends) in &undisturbed.ends {
        let end = match agent.as_str() {
            "fails" => "FAILED",
            "late" => "TIMEOUT",
            _ => "COMPLETED",
        };
        assert_eq!(ends, &[end], "{agent} ends once");
    }
    let records = repo.records();
    let of = |agent: &str, kind: &str| -> Vec<&serde_json::Value> {
        records.iter().filter(|record| record["agent"] == agent && record["kind"] == kind).collect()
    };
    assert_eq!(of("late", "end_intended").len(), 1);
    for agent in ["retried", "fails", "late"] {
        let restored = of(agent, "restored");
        assert!(restored.len() == 1 && restored[0]["restored"][0] == agent, "{restored:#?}");
        assert_eq!(of(agent, "frozen")[0]["purpose"], "salvage", "{agent}");
    }
}

/// How far a run came before its supervisor died.
#[derive(Debug)]
enum Came {
    Nowhere,
    On,
    ToItsEnd,
}

fn how_far(repo: &TestRepo) -> Came {
    let state = repo.path().join(".git/supervise");
    let current = std::fs::read_to_string(state.join("current")).unwrap_or_default();
    let journal = state.join("runs").join(current.trim()).join("journal.jsonl");
    let text = if current.is_empty() { String::new() } else { std::fs::read_to_string(journal).unwrap_or_default() };
    let has = |kind: &str| text.contains(&format!("\"kind\":\"{kind}\""));
    match () {
        () if has("run_ended") => Came::ToItsEnd,
        () if has("run_opened") => Came::On,
        () => Came::Nowhere,
    }
}

/// Takes up what a dead supervisor left, or begins, of a session of which not everybody completes.
#[track_caller]
fn go_on(repo: &TestRepo, session: &str, died: &str) {
    let came = how_far(repo);
    let (again, code) = match came {
        Came::Nowhere => (repo.run(session, &[]), 1),
        Came::On => (resume(repo, &[]), 1),
        Came::ToItsEnd => (resume(repo, &[]), 3),
    };
    assert_eq!(again.code, Some(code), "died at {died}, {came:?}: {}\n{}", again.stdout, again.stderr);
}

fn all() -> bool {
    std::env::var_os("SUPERVISE_TEST_DEATHS").is_some_and(|word| word == "all")
}

/// Of the points that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tried {
    All,
    /// A spread of them.
    Some,
}

impl Tried {
    fn as_asked() -> Self {
        if all() { Self::All } else { Self::Some }
    }
}

/// Lets one die at the points from the first on, until one is not come to, and gives the first such.
fn dies_at_each(tried: Tried, dies_at: impl Fn(usize) -> bool + Sync) -> usize {
    let points = (1_usize..).scan(1, |next, _| {
        let point = *next;
        *next += if tried == Tried::All { 1 } else { 1 + point / 3 };
        Some(point)
    });
    // Most of the time one waits for processes; a few at once.
    let (points, first) = (Mutex::new(points), AtomicUsize::new(usize::MAX));
    std::thread::scope(|scope| {
        for _ in 0..if all() { 12 } else { 2 } {
            scope.spawn(|| {
                loop {
                    let point = points.lock().unwrap().next().unwrap();
                    if !dies_at(point) {
                        break first.fetch_min(point, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    first.into_inner()
}

/// `SUPERVISE_TEST_DEATHS=all` tries every point, else a spread of them.
#[test]
fn a_supervisor_that_dies_anywhere_leaves_a_run_that_goes_on_to_the_same_end() {
    let repo = fourteen_files();
    repo.run(&fourteen(), &[]).expect(1);
    let undisturbed = outcome(&repo);
    comes_to_all(&repo, &undisturbed);
    let first_beyond = dies_at_each(Tried::as_asked(), |point| dies_at(point, &undisturbed));
    assert!(first_beyond > 150, "only {first_beyond} points");
}
