//! What the gate costs: the same work as an agent's command under `supervise run` with the gate and
//! without, in turns, timed inside the agent.
//!
//! `cargo bench --bench gate [-- [--quick] [--rounds N] [--only clone|build|files]…]` prints a table
//! of medians and ends with an error where a limit is missed: 5 % on a build, 15 µs on opening a file
//! for writing.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark prints")]
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

mod ground;
mod work;

use std::ffi::OsString;
use std::process::ExitCode;

use ground::{Fault, Ground, Sizes};
use work::{Taken, Work};

const FULL: Sizes = Sizes { cloned: 10_000, modules: 100, files: 20_000, rounds: 7 };
const QUICK: Sizes = Sizes { cloned: 1_000, modules: 30, files: 2_000, rounds: 3 };

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    match args.first().and_then(|a| a.to_str()) {
        Some("work") => return work::main(&args[1..]),
        // `cargo test --benches` calls it too; then there is nothing to measure.
        _ if !args.iter().any(|a| a == "--bench") => return ExitCode::SUCCESS,
        _ => {}
    }
    match parse(&args).and_then(|(sizes, works)| bench(sizes, &works)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::from(2)
        }
    }
}

fn parse(args: &[OsString]) -> Result<(Sizes, Vec<Work>), Fault> {
    let (mut sizes, mut rounds, mut works) = (FULL, None, Vec::new());
    let mut args = args.iter().map(|a| a.to_string_lossy());
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| Fault::Usage(format!("{arg} needs a value")));
        match &*arg {
            "--bench" => {}
            "--quick" => sizes = QUICK,
            "--rounds" => {
                let number = value()?;
                let parsed = number.parse().ok().filter(|n| (1..=100).contains(n));
                rounds = Some(parsed.ok_or_else(|| Fault::Usage(format!("{number} is not from 1 to 100")))?);
            }
            "--only" => {
                let name = value()?;
                let work = Work::ALL.into_iter().find(|w| w.name() == name);
                works.push(work.ok_or_else(|| Fault::Usage(format!("no work `{name}`")))?);
            }
            other => return Err(Fault::Usage(format!("unknown argument `{other}`"))),
        }
    }
    sizes.rounds = rounds.unwrap_or(sizes.rounds);
    Ok((sizes, if works.is_empty() { Work::ALL.into() } else { works }))
}

fn bench(sizes: Sizes, works: &[Work]) -> Result<bool, Fault> {
    if !ground::knows_no_gate()? {
        return Err(Fault::Usage("this version has no gate to be measured".to_owned()));
    }
    let ground = Ground::prepare(sizes)?;
    println!("medians of {} rounds, in turns; in brackets the fastest\n", sizes.rounds);
    println!("{:<40} {:>22} {:>22} {:>10} {:>9}", "", "without the gate", "with", "more", "limit");
    let mut met = true;
    for work in works {
        let (mut without, mut with) = (Vec::new(), Vec::new());
        for round in 0..sizes.rounds {
            // Neither side always goes first.
            for gate in [round % 2 == 0, round % 2 != 0] {
                let side = if gate { &mut with } else { &mut without };
                side.push(ground.run(*work, gate)?);
            }
        }
        for figure in figures(*work, sizes) {
            met &= figure.print(&without, &with);
        }
    }
    println!("\n{}", if met { "limits met" } else { "LIMITS NOT MET" });
    Ok(met)
}

/// A line of the table.
struct Figure {
    what: String,
    unit: &'static str,
    of: fn(&Taken) -> f64,
    limit: Limit,
}

enum Limit {
    None,
    Percent(f64),
    More(f64),
}

fn figures(work: Work, sizes: Sizes) -> Vec<Figure> {
    let figure = |what: String, unit, of: fn(&Taken) -> f64, limit| Figure { what, unit, of, limit };
    match work {
        Work::Clone => {
            vec![figure(format!("git clone, {} files", sizes.cloned), "s", |t| t.seconds, Limit::None)]
        }
        Work::Build => {
            vec![figure(format!("cargo build, {} modules", sizes.modules), "s", |t| t.seconds, Limit::Percent(5.0))]
        }
        Work::Files => vec![
            figure(format!("{0} files made, {0} opened", sizes.files), "s", |t| t.seconds, Limit::None),
            figure("one made (open with O_CREAT)".to_owned(), "µs", |t| t.create, Limit::None),
            figure("one opened for writing".to_owned(), "µs", |t| t.open, Limit::More(15.0)),
        ],
    }
}

impl Figure {
    /// Is the limit met?
    fn print(&self, without: &[Taken], with: &[Taken]) -> bool {
        let (without, with) = (Side::of(without, self.of), Side::of(with, self.of));
        let (more, percent) = (with.median - without.median, (with.median / without.median - 1.0) * 100.0);
        let (limit, met) = match self.limit {
            Limit::None => (String::new(), true),
            Limit::Percent(most) => (format!("{most} %"), percent <= most),
            Limit::More(most) => (format!("{most} {}", self.unit), more <= most),
        };
        let more = match self.limit {
            Limit::More(_) => format!("{more:.1} {}", self.unit),
            Limit::None | Limit::Percent(_) => format!("{percent:.1} %"),
        };
        println!(
            "{:<40} {:>22} {:>22} {more:>10} {limit:>9}{}",
            self.what,
            without.show(self.unit),
            with.show(self.unit),
            if met { "" } else { "  NOT MET" }
        );
        met
    }
}

struct Side {
    median: f64,
    fastest: f64,
}

impl Side {
    fn of(taken: &[Taken], of: fn(&Taken) -> f64) -> Self {
        let mut all: Vec<f64> = taken.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        Self { median: all[all.len() / 2], fastest: all[0] }
    }

    fn show(&self, unit: &str) -> String {
        format!("{:.2} {unit} ({:.2})", self.median, self.fastest)
    }
}
