//! What the gate costs a writer: opens of an existing file of its claim, and creations of new ones, with
//! and without. Both sides in one run, in turns.
//!
//! `cargo bench --bench gate [COUNT]`

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "figures are for reading")]

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::path::Path;
use std::time::Duration;

use supervise::core::effect::Part;
use supervise::core::ids::{AgentId, Attempt, AttemptId};
use supervise::host::process::{Launcher, TreeKey, TreeNews, TreeSpec};
use supervise::shim::clock;
use supervise::shim::wire::{ANSWER_WITHIN, GateTerms, PatternText};
use tokio::sync::mpsc;

const COUNT: usize = 20_000;
const ROUNDS: usize = 5;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    match &args[1..] {
        [word, what, count] if word == "child" => child(what, count.parse().unwrap()),
        // `cargo test --benches` calls it too; then there is nothing to measure.
        rest if !rest.iter().any(|word| word == "--bench") => {}
        rest => {
            let count = rest.iter().find_map(|word| word.parse().ok()).unwrap_or(COUNT);
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(parent(count));
        }
    }
}

/// Opens for writing so many times, and prints the median and the 99th percentile, in nanoseconds.
fn child(what: &str, count: usize) {
    fs::create_dir_all("mine/new").unwrap();
    let mut times: Vec<Duration> = (0..count)
        .map(|number| {
            let path = if what == "create" { format!("mine/new/{number}") } else { "mine/file".to_owned() };
            let begun = clock::now();
            let file = OpenOptions::new().write(true).create(true).truncate(false).open(path);
            let took = clock::now() - begun;
            drop(file.unwrap());
            took
        })
        .collect();
    times.sort_unstable();
    println!("{} {}", times[count / 2].as_nanos(), times[count * 99 / 100].as_nanos());
    fs::remove_dir_all("mine/new").unwrap();
}

async fn parent(count: usize) {
    let launcher = Launcher::new(env!("CARGO_BIN_EXE_supervise")).unwrap();
    println!("{count} opens for writing, {ROUNDS} rounds, the best median of each; microseconds");
    println!("{:<10} {:>9} {:>9} {:>9} {:>9} {:>9}", "", "without", "p99", "gated", "p99", "added");
    for what in ["existing", "create"] {
        let mut best = [(u64::MAX, 0); 2];
        for _ in 0..ROUNDS {
            for (gated, best) in [false, true].into_iter().zip(&mut best) {
                *best = (*best).min(run(&launcher, what, count, gated).await);
            }
        }
        let micros = |nanos: u64| Duration::from_nanos(nanos).as_secs_f64() * 1e6;
        let [(without, slow), (with, slow_with)] = best;
        println!(
            "{what:<10} {:>9.1} {:>9.1} {:>9.1} {:>9.1} {:>9.1}",
            micros(without),
            micros(slow),
            micros(with),
            micros(slow_with),
            micros(with.saturating_sub(without)),
        );
    }
}

async fn run(launcher: &Launcher, what: &str, count: usize, gated: bool) -> (u64, u64) {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::create_dir_all(path("ws/.git")).unwrap();
    fs::create_dir_all(path("ws/mine")).unwrap();
    fs::write(path("ws/mine/file"), "").unwrap();
    let (sender, mut news) = mpsc::channel(64);
    let own: OsString = std::env::current_exe().unwrap().into();
    let spec = TreeSpec {
        key: TreeKey {
            id: AttemptId { agent: AgentId::new("agent").unwrap(), attempt: Attempt::FIRST },
            part: Part::Agent,
        },
        argv: vec![own, "child".into(), what.into(), count.to_string().into()],
        env: Vec::new(),
        cwd: path("ws"),
        stdin: None,
        stdout: path("stdout.log"),
        stderr: path("stderr.log"),
        log_limit: 1 << 20,
        exit_record: path("exit.json"),
        forward: true,
        leftover_grace: Duration::from_millis(100),
        cgroup: None,
        gate: gated.then(|| terms(&path("ws"))),
    };
    let tree = launcher.spawn(spec, sender).await.unwrap();
    let (mut output, mut told) = (Vec::new(), 0);
    while let Some((_, news)) = news.recv().await {
        match news {
            TreeNews::Output(bytes) => output.extend(bytes),
            TreeNews::Wrote(paths) => told += paths.iter().map(|(_, tally)| tally.closes as usize).sum::<usize>(),
            _ => {}
        }
    }
    assert_eq!((tree.gated().is_some(), told), (gated, if gated { count } else { 0 }));
    let text = String::from_utf8(output).unwrap();
    let mut figures = text.split_whitespace().map(|word| word.parse().unwrap());
    (figures.next().unwrap(), figures.next().unwrap())
}

fn terms(workspace: &Path) -> GateTerms {
    GateTerms {
        workspace: workspace.to_owned(),
        forbidden: vec![".git".into()],
        exclusive: vec![PatternText { text: "mine/".into(), file: false }],
        deny: Vec::new(),
        scratch: Vec::new(),
        answer_within: ANSWER_WITHIN,
    }
}
