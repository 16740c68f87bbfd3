//! Committing 3 changed files: `git add` + `git commit` against freeze + place, in turns on the same repository, of
//! 100 files, 1,000, 10,000 and 100,000; and what one attempt costs in the largest and in a tiny one.
//!
//! `cargo bench --bench commit` prints a table. `SUPERVISE_BENCH_FILES="100 1000"` and `SUPERVISE_BENCH_ROUNDS`
//! change its size; `-- --tsv FILE` writes the medians to a file.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints, and stops at the first failure")]
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use supervise::core::change::{Attribution, Change};
use supervise::core::claim::{Claim, Pattern};
use supervise::core::effect::Purpose;
use supervise::core::facts::Doubt;
use supervise::core::ids::{AgentId, Attempt, AttemptId, RunId};
use supervise::core::path::RepoPath;
use supervise::host::git::{CommitMessage, FreezeRequest, Repository};

fn main() {
    // `cargo test --benches` calls it too; then there is nothing to measure.
    if !std::env::args().any(|a| a == "--bench") {
        return;
    }
    let sizes = std::env::var("SUPERVISE_BENCH_FILES").unwrap_or_else(|_| "100 1000 10000 100000".to_owned());
    let rounds = std::env::var("SUPERVISE_BENCH_ROUNDS").map_or(15, |v| v.parse().unwrap());
    let tsv = std::env::args().skip_while(|a| a != "--tsv").nth(1);
    let mut table = "files\tgit\tsupervise\n".to_owned();
    println!("3 changed files, {rounds} rounds; medians (fastest)");
    println!("   files       git add + git commit      measure + freeze + place + unpin   ratio");
    let mut largest = None;
    for files in sizes.split_whitespace().map(|size| size.parse().unwrap()) {
        let mut taken = Taken::of(files, rounds);
        let Times { git, ours, .. } = &mut taken.times;
        println!("{files:>8}  {:>25}  {:>36}  {:6.1}", show(git), show(ours), ratio(git, ours));
        let seconds = [median(git), median(ours)].map(|time| time.as_secs_f64());
        writeln!(table, "{files}\t{:.6}\t{:.6}", seconds[0], seconds[1]).unwrap();
        largest = Some(taken);
    }
    if let Some(tsv) = tsv {
        fs::write(tsv, table).unwrap();
    }
    largest.unwrap().tell();
}

/// A repository in which both have committed.
struct Taken {
    dir: tempfile::TempDir,
    files: usize,
    repository: Repository,
    opened: Duration,
    times: Times,
}

impl Taken {
    fn of(files: usize, rounds: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("ws");
        let changed = [0, files / 2, files - 1].map(name_of);
        let changed = [&*changed[0], &*changed[1], &*changed[2]];
        build(&root, files);
        let mut times = Times::default();
        let mut repository = Repository::open(&root).unwrap();
        let opened = timed(|| drop(repository.open_run(&RunId::new("bench").unwrap(), false).unwrap()));
        for round in 0..rounds {
            let stamp =
                |who: &str| changed.iter().for_each(|f| fs::write(root.join(f), format!("{who} {round}\n")).unwrap());
            stamp("git");
            times.git.push(timed(|| {
                git(&root, &[&["add"], &changed[..]].concat());
                git(&root, &["commit", "-q", "-m", "by git"]);
            }));
            agent(&mut repository, &root, dir.path(), &changed, round, || stamp("agent"), &mut times);
            assert_eq!(git(&root, &["status", "--porcelain"]), "", "round {round}");
        }
        Self { dir, files, repository, opened, times }
    }

    fn tell(mut self) {
        println!("{} files", self.files);
        println!("  prepare (dirty check, baseline)     {}", show(&mut self.times.prepare));
        println!("  measure without a change            {}", show(&mut self.times.idle));
        println!("  opening the run, once               {:9.3} ms", self.opened.as_secs_f64() * 1000.0);
        let survey = timed(|| assert_eq!(self.repository.survey().unwrap(), []));
        println!("  survey of the whole tree            {:9.3} ms", survey.as_secs_f64() * 1000.0);
        questions(&self.repository, &self.dir.path().join("ws"), self.dir.path(), &name_of(self.files / 2));
        let tiny = self.dir.path().join("tiny");
        build(&tiny, 1);
        let mut times = Times::default();
        let mut repository = Repository::open(&tiny).unwrap();
        repository.open_run(&RunId::new("bench").unwrap(), false).unwrap();
        for round in 0..200 {
            prepared(&mut repository, self.dir.path(), &[&name_of(0)], round, "tiny", &mut times);
        }
        let mut none = Times::default();
        for round in 0..200 {
            prepared(&mut repository, self.dir.path(), &[], round, "none", &mut none);
        }
        println!("one file");
        println!("  prepare                             {}", show(&mut times.prepare));
        println!("  measure without a change            {}", show(&mut times.idle));
        println!("no claim");
        println!("  prepare                             {}", show(&mut none.prepare));
        println!("  measure                             {}", show(&mut none.idle));
    }
}

/// What single paths are, as it is asked while a process waits.
fn questions(first: &Repository, root: &Path, dir: &Path, changed: &str) {
    fs::write(root.join(".git/info/exclude"), "*.o\nnode_modules/\n/target/\n*.log\n!keep.log\n").unwrap();
    let mut r = first.beside().unwrap();
    let opened = timed(|| drop(r.facts_of(&RepoPath::new(b"x").unwrap(), false).unwrap()));
    println!("facts of a path                       µs, median of 2,000 (p99); the first {:.0}", micros(opened));
    let deep = "dir000/node_modules/a/b/c/d.js";
    for (what, path) in
        [("tracked", changed), ("new", "dir000/new.rs"), ("new and deep", "a/b/c/d/e/f.rs"), ("ignored", deep)]
    {
        let path = RepoPath::new(path.as_bytes()).unwrap();
        let times = (0..2000).map(|_| timed(|| drop(r.facts_of(&path, false).unwrap()))).collect();
        println!("  {what:<36}{}", show_micros(times));
    }
    let path = RepoPath::new(changed.as_bytes()).unwrap();
    let times = (0..2000).map(|_| timed(|| drop(r.base_of(&path, &dir.join("asked")).unwrap()))).collect();
    println!("  {:<36}{}", "base of a tracked file", show_micros(times));
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn show_micros(mut times: Vec<Duration>) -> String {
    times.sort();
    format!("{:9.1} ({:.1})", micros(times[times.len() / 2]), micros(times[times.len() * 99 / 100]))
}

#[derive(Default)]
struct Times {
    git: Vec<Duration>,
    ours: Vec<Duration>,
    prepare: Vec<Duration>,
    idle: Vec<Duration>,
}

fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn prepared(r: &mut Repository, dir: &Path, claims: &[&str], round: usize, name: &str, times: &mut Times) -> AttemptId {
    let agent = AgentId::new(&format!("{name}{round}")).unwrap();
    let id = AttemptId { agent, attempt: Attempt::FIRST };
    let exclusive = claims.iter().map(|f| Pattern::new(f).unwrap()).collect();
    let claim = Claim { exclusive, ..Claim::default() };
    let attempt_dir = dir.join("attempts").join(id.agent.as_str());
    times.prepare.push(timed(|| drop(r.prepare(&id, &claim, false, &attempt_dir))));
    times.idle.push(timed(|| assert_eq!(measured(r, &id).len(), 0)));
    id
}

fn measured(r: &mut Repository, id: &AttemptId) -> Vec<Change> {
    r.measure(id, Doubt::None, &[]).unwrap().own
}

fn agent(
    r: &mut Repository,
    root: &Path,
    dir: &Path,
    claims: &[&str],
    round: usize,
    change: impl FnOnce(),
    times: &mut Times,
) {
    let id = prepared(r, dir, claims, round, "agent", times);
    change();
    times.ours.push(timed(|| {
        let paths: Vec<RepoPath> = measured(r, &id).into_iter().map(|c| c.path).collect();
        assert_eq!(paths.len(), claims.len());
        let message = CommitMessage {
            session: "bench".to_owned(),
            subject_and_body: format!("by supervise {round}"),
            ..CommitMessage::default()
        };
        let attribution = Attribution::Certain;
        let request =
            FreezeRequest { id: &id, purpose: Purpose::Completion, paths: &paths, attribution, message: &message };
        let commit = r.freeze(&request).unwrap();
        let intent = r.prepare_place(&id, commit).unwrap();
        assert_eq!(r.place(&id, &intent).unwrap().index_left, []);
        r.unpin(&id).unwrap();
    }));
    assert!(root.join(".git/index").exists());
}

/// Directories of 100 small files, committed and packed.
fn build(root: &Path, files: usize) {
    fs::create_dir(root).unwrap();
    git(root, &["init", "-q", "-b", "main"]);
    for (key, value) in [("user.name", "Bench"), ("user.email", "bench@example.org"), ("gc.auto", "0")] {
        git(root, &["config", key, value]);
    }
    for n in 0..files {
        let path = root.join(name_of(n));
        if n % 100 == 0 {
            fs::create_dir(path.parent().unwrap()).unwrap();
        }
        fs::write(path, format!("{n}\n")).unwrap();
    }
    git(root, &["add", "-A"]);
    git(root, &["commit", "-q", "-m", "base"]);
    git(root, &["repack", "-q", "-a", "-d"]);
    git(root, &["prune-packed", "-q"]);
    git(root, &["status"]);
}

fn name_of(n: usize) -> String {
    format!("dir{:03}/file{:03}.txt", n / 100, n % 100)
}

fn git(root: &Path, args: &[&str]) -> String {
    let mut command = Command::new("git");
    command.current_dir(root).args(args).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    let out = command.output().unwrap();
    assert!(out.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn show(times: &mut [Duration]) -> String {
    let middle = median(times).as_secs_f64() * 1000.0;
    format!("{middle:9.3} ms  ({:.3})", times[0].as_secs_f64() * 1000.0)
}

fn ratio(slow: &mut [Duration], fast: &mut [Duration]) -> f64 {
    median(slow).as_secs_f64() / median(fast).as_secs_f64()
}
