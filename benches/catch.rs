//! With the watch alone: how long from an undeclared write, by a process that keeps the file open, to the
//! SIGTERM that ends it, while somebody else writes 5,000 times a second in the same tree.
//!
//! Whole program: `supervise run --no-gate`, one agent after the other. The agent (this binary again)
//! notes when it wrote and when its SIGTERM came. Ends with an error where a limit is missed.
#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a benchmark prints and measures"
)]

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{SIGTERM, SigSet};

const AGENTS: usize = 60;
const WRITES_A_SECOND: u32 = 5_000;
const LIMIT_P50: Duration = Duration::from_millis(1);
const LIMIT_P99: Duration = Duration::from_millis(5);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, mode, victim, out] = arguments.as_slice()
        && mode == "stray"
    {
        stray(Path::new(victim), Path::new(out));
        return ExitCode::SUCCESS;
    }
    measure()
}

/// Writes what is not its own, keeps it open, and waits for its end.
fn stray(victim: &Path, out: &Path) {
    let term = SigSet::from_iter([SIGTERM]);
    term.thread_block().expect("a mask can be set");
    let mut file = fs::OpenOptions::new().append(true).open(victim).expect("the file is there");
    let began = Instant::now();
    file.write_all(b"stray\n").expect("it can be written");
    term.wait().expect("a signal comes");
    fs::write(out, began.elapsed().as_nanos().to_string()).expect("the time can be noted");
}

fn measure() -> ExitCode {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let repo = scratch.path().join("work");
    fs::create_dir_all(repo.join("busy")).expect("directories");
    let git = |arguments: &[&str]| {
        let done = Command::new("git").arg("-C").arg(&repo).args(arguments).status().expect("git runs");
        assert!(done.success(), "git {arguments:?}");
    };
    git(&["init", "-q"]);
    git(&["config", "user.name", "bench"]);
    git(&["config", "user.email", "bench@example.invalid"]);
    let own = std::env::current_exe().expect("this binary");
    let mut session = "[session]\nmax_concurrent = 1\n".to_owned();
    for number in 0..AGENTS {
        fs::write(repo.join(format!("victim-{number}")), "x\n").expect("a file");
        let (victim, out) = (format!("victim-{number}"), scratch.path().join(format!("out-{number}")));
        session += &format!(
            "[[agent]]\nid = \"stray-{number}\"\ngrace = \"5s\"\nfiles = [\"own-{number}\"]\ncommand = [{:?}, \"stray\", {victim:?}, {:?}]\n",
            own.display().to_string(),
            out.display().to_string()
        );
    }
    git(&["add", "-A"]);
    git(&["commit", "-qm", "begin"]);
    let file = scratch.path().join("session.toml");
    fs::write(&file, session).expect("a session");

    let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let busy = std::thread::spawn({
        let (stop, written, place) = (Arc::clone(&stop), Arc::clone(&written), repo.join("busy"));
        move || keep_writing(&place, &stop, &written)
    });
    let began = Instant::now();
    let mut run = Command::new(env!("CARGO_BIN_EXE_supervise"));
    run.arg("-C").arg(&repo).args(["run", "--no-gate"]).arg(&file);
    let status = run_quietly(&mut run);
    stop.store(true, Ordering::Relaxed);
    busy.join().expect("the writer ends");
    let rate = u128::from(written.load(Ordering::Relaxed)) * 1000 / began.elapsed().as_millis().max(1);
    assert_eq!(status, Some(1), "every agent is ended");

    let times =
        (0..AGENTS).filter_map(|n| fs::read_to_string(scratch.path().join(format!("out-{n}"))).ok()?.parse().ok());
    let mut times: Vec<Duration> = times.map(Duration::from_nanos).collect();
    times.sort();
    assert_eq!(times.len(), AGENTS, "every agent noted its time");
    let (p50, p99) = (times[AGENTS / 2], times[AGENTS - 1]);
    println!("watch alone, {rate} writes a second elsewhere, {AGENTS} undeclared writes:");
    println!("  write to SIGTERM  p50 {p50:.2?} (limit {LIMIT_P50:?})  slowest {p99:.2?} (limit of p99 {LIMIT_P99:?})");
    if p50 > LIMIT_P50 || p99 > LIMIT_P99 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn run_quietly(run: &mut Command) -> Option<i32> {
    run.stdout(Stdio::null()).stderr(Stdio::null()).status().expect("supervise runs").code()
}

fn keep_writing(place: &Path, stop: &AtomicBool, written: &AtomicU64) {
    const BURST: u32 = 25;
    let pause = Duration::from_secs(1) * BURST / WRITES_A_SECOND;
    let mut due = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        for number in 0..BURST {
            fs::write(place.join(number.to_string()), due.elapsed().as_nanos().to_string()).expect("a write");
            written.fetch_add(1, Ordering::Relaxed);
        }
        due += pause;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}
