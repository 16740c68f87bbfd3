//! What the watch costs and how soon it tells, beside the limits; it fails where one is not met.
//!
//! `cargo bench --bench watch` builds a tree of 100,000 files in 10,000 directories below `TMPDIR` and prints a table.
//! The process stops itself for a moment (SIGSTOP) to see what is lost when its reader stands still.
//!
//! `latency` is from before the open of a file until a thread that was woken has the path, while another
//! thread opens, writes and closes 5,000 files a second elsewhere in the tree.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints, and stops at the first failure")]
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock, and keeps a pace")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use supervise::core::path::RepoPath;
use supervise::host::watch::{Touched, Wake, Watch};

const DIRECTORIES: usize = 10_000;
const FILES: usize = 10;
const ROUNDS: usize = 7;
const PROBES: usize = 2_000;
const WRITES_A_SECOND: u32 = 5_000;
const MADE: usize = 1_000;
const PATIENCE: Duration = Duration::from_mins(2);

struct Table {
    all_met: bool,
}

impl Table {
    fn row(&mut self, name: &str, figure: &str, limit: &str, met: bool) {
        println!("{name:<58} {figure:>14} {limit:>14}  {}", if met { "met" } else { "NOT MET" });
        self.all_met &= met;
    }

    fn time(&mut self, name: &str, figure: Duration, limit: Duration) {
        let ms = |d: Duration| format!("{:.3} ms", d.as_secs_f64() * 1000.0);
        self.row(name, &ms(figure), &format!("< {}", ms(limit)), figure < limit);
    }

    fn count(&mut self, name: &str, figure: u64, wanted: u64) {
        self.row(name, &figure.to_string(), &format!("= {wanted}"), figure == wanted);
    }
}

struct Bench {
    directory: tempfile::TempDir,
}

impl Bench {
    fn ws(&self) -> std::path::PathBuf {
        self.directory.path().join("ws")
    }

    fn start(&self) -> (Watch, Receiver<Wake>) {
        let (send, wakes) = channel();
        let wake = move |wake| {
            let _ = send.send(wake);
        };
        let ignored = |path: &RepoPath| path.as_bytes() == b".git";
        (Watch::start(&self.ws(), &self.directory.path().join("cookies"), ignored, wake).unwrap(), wakes)
    }
}

fn main() -> ExitCode {
    // `cargo test --benches` calls it too; then there is nothing to measure.
    if !std::env::args().any(|a| a == "--bench") {
        return ExitCode::SUCCESS;
    }
    let bench = Bench { directory: tempfile::tempdir().unwrap() };
    build(&bench.ws());
    let mut table = Table { all_met: true };
    println!(
        "{:<58} {:>14} {:>14}",
        format!("{} files in {DIRECTORIES} directories", DIRECTORIES * FILES),
        "",
        "limit"
    );
    set_up(&bench, &mut table);
    latency(&bench, &mut table);
    new_directories(&bench, &mut table);
    reading(&bench, &mut table);
    stopped(&bench, &mut table);
    copied(&bench, &mut table);
    if table.all_met { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// 100 directories, of which each has 99 more; files in all.
fn build(ws: &Path) {
    let fill = |dir: &Path| {
        fs::create_dir_all(dir).unwrap();
        (0..FILES).for_each(|n| fs::write(dir.join(format!("file-{n}.txt")), "some text\n").unwrap());
    };
    for top in 0..100 {
        let top = ws.join(format!("package-{top}"));
        fill(&top);
        (1..DIRECTORIES / 100).for_each(|n| fill(&top.join(format!("part-{n}"))));
    }
}

fn set_up(bench: &Bench, table: &mut Table) {
    let mut times = Vec::new();
    let mut growth = 0;
    for round in 0..ROUNDS {
        let (before, begin) = (resident(), Instant::now());
        let (watch, _wakes) = bench.start();
        times.push(begin.elapsed());
        if round == 0 {
            growth = resident() - before;
        }
        assert_eq!(watch.stats().directories, DIRECTORIES + 1);
    }
    table.time("set-up, median", percentile(&mut times, 50), Duration::from_secs(1));
    table.time("set-up, slowest", percentile(&mut times, 100), Duration::from_secs(1));
    table.row("memory (growth of RSS)", &format!("{growth} KiB"), "< 25600 KiB", growth < 25 * 1024);
}

fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort();
    times[(times.len() * percent / 100).min(times.len() - 1)]
}

fn latency(bench: &Bench, table: &mut Table) {
    let (watch, wakes) = bench.start();
    let (stop, written) = (AtomicBool::new(false), AtomicU64::new(0));
    let ws = bench.ws();
    let mut times = Vec::new();
    let (mut elapsed, mut landed) = (Duration::ZERO, 0);
    thread::scope(|scope| {
        scope.spawn(|| keep_writing(&ws, &stop, &written));
        let (tell, told) = channel();
        let watch = &watch;
        scope.spawn(move || {
            for wake in wakes {
                let Touched::Paths(seen) = watch.take_touched() else { panic!("a gap: {:?}", watch.stats()) };
                let now = Instant::now();
                if seen.iter().any(|s| s.path.as_bytes() == b"package-0/part-1/probe") {
                    tell.send(now).unwrap();
                }
                if matches!(wake, Wake::Cookie(_)) {
                    break;
                }
            }
        });
        let probe = ws.join("package-0/part-1/probe");
        let begin = Instant::now();
        for _ in 0..PROBES {
            while told.try_recv().is_ok() {}
            let at = Instant::now();
            fs::write(&probe, "x").unwrap();
            times.push(told.recv_timeout(PATIENCE).unwrap().saturating_duration_since(at));
            // Until the tail of this write's events is over, so that the next is not mistaken for it.
            thread::sleep(Duration::from_millis(2));
        }
        (elapsed, landed) = (begin.elapsed(), written.load(Ordering::Relaxed));
        stop.store(true, Ordering::Relaxed);
        watch.cookie().unwrap();
    });
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let rate = landed as f64 / elapsed.as_secs_f64();
    let name = |p: &str| format!("latency {p}, {PROBES} probes, {rate:.0} writes/s elsewhere");
    table.time(&name("p50"), percentile(&mut times, 50), Duration::from_millis(1));
    table.time(&name("p99"), percentile(&mut times, 99), Duration::from_millis(5));
    let enough = rate > f64::from(WRITES_A_SECOND) * 0.95;
    table.row("writes a second elsewhere", &format!("{rate:.0}"), &format!("= {WRITES_A_SECOND}"), enough);
}

fn keep_writing(ws: &Path, stop: &AtomicBool, written: &AtomicU64) {
    let begin = Instant::now();
    for n in 0_u32.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let dir = ws.join(format!("package-{}/part-{}", 1 + n % 99, 1 + n / 99 % 99));
        fs::write(dir.join("file-0.txt"), "other text\n").unwrap();
        written.fetch_add(1, Ordering::Relaxed);
        let due = Duration::from_secs(1) * n / WRITES_A_SECOND;
        if let Some(early) = due.checked_sub(begin.elapsed()) {
            thread::sleep(early);
        }
    }
}

/// Waits until everything has been taken in, and returns what was touched; `None`: there was a gap.
fn drain(watch: &Watch, wakes: &Receiver<Wake>) -> Option<BTreeSet<RepoPath>> {
    let cookie = watch.cookie().unwrap();
    while wakes.recv_timeout(PATIENCE).unwrap() != Wake::Cookie(cookie) {}
    match watch.take_touched() {
        Touched::Paths(seen) => Some(seen.into_iter().map(|s| s.path).collect()),
        Touched::Everything => None,
    }
}

fn shell(ws: &Path, script: &str) {
    assert!(Command::new("sh").arg("-c").arg(script).current_dir(ws).status().unwrap().success());
}

fn new_directories(bench: &Bench, table: &mut Table) {
    let (watch, wakes) = bench.start();
    let script = format!("for n in $(seq {MADE}); do mkdir -p new/a$n/b && echo text > new/a$n/b/f; done");
    shell(&bench.ws(), &script);
    let touched = drain(&watch, &wakes).unwrap_or_default();
    let lost = (1..=MADE).flat_map(|n| ["", "/b", "/b/f"].map(|rest| format!("new/a{n}{rest}")));
    let lost = lost.filter(|path| !touched.contains(&RepoPath::new(path.as_bytes()).unwrap())).count();
    table.count("mkdir -p a/b && echo > a/b/f, 1,000 times: paths lost", lost as u64, 0);
    fs::remove_dir_all(bench.ws().join("new")).unwrap();
}

fn reading(bench: &Bench, table: &mut Table) {
    let (watch, wakes) = bench.start();
    let mut grep = Command::new("grep");
    grep.args(["-r", "nowhere", "."]).current_dir(bench.ws()).stdout(Stdio::null()).status().unwrap();
    drain(&watch, &wakes).unwrap();
    table.count("grep -r: events", watch.stats().events.saturating_sub(1), 0);
    table.count("grep -r: gaps", watch.stats().gaps, 0);
}

fn stopped(bench: &Bench, table: &mut Table) {
    shell(&bench.ws(), "for d in $(seq 200); do mkdir -p stopped/d$d; done");
    let (watch, wakes) = bench.start();
    let before = watch.epoch();
    // The last line is run whatever came of the others: nobody else would wake us.
    let script = "kill -STOP $PPID
        for d in $(seq 200); do for f in $(seq 100); do : > stopped/d$d/f$f; done; mkdir stopped/d$d/new; done
        kill -CONT $PPID";
    shell(&bench.ws(), script);
    let gap = drain(&watch, &wakes).is_none() && watch.epoch() != before && watch.epoch() == watch.epoch();
    table.count("stopped during 20,000 creations: gap told", u64::from(gap), 1);
    let probes: BTreeSet<_> = (1..=200).map(|d| format!("stopped/d{d}/new/probe")).collect();
    for probe in &probes {
        fs::write(bench.ws().join(probe), "text").unwrap();
    }
    let seen = drain(&watch, &wakes).unwrap_or_default();
    let missed = probes.iter().filter(|p| !seen.contains(&RepoPath::new(p.as_bytes()).unwrap())).count();
    table.count("and of the 200 new directories are not watched after", missed as u64, 0);
    fs::remove_dir_all(bench.ws().join("stopped")).unwrap();
}

/// As fast as directories can come: a tenth of the tree is copied within it.
fn copied(bench: &Bench, table: &mut Table) {
    let (watch, wakes) = bench.start();
    shell(&bench.ws(), "mkdir copies && cp -r package-1* copies/");
    let (tops, each) = (11, DIRECTORIES / 100);
    let touched = drain(&watch, &wakes);
    let expected = 1 + tops * each * (1 + FILES);
    let told = touched.map_or(0, |touched| touched.len());
    table.count("cp -r of 1,100 directories, 11,000 files: paths told", told as u64, expected as u64);
    table.count("and directories watched", watch.stats().directories as u64, (2 + DIRECTORIES + tops * each) as u64);
    table.count("and gaps", watch.stats().gaps, 0);
}
