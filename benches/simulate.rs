//! How many random schedules the simulation of `core` goes through, and what it finds.
//!
//! A schedule is one whole run: a made-up session of 1 to 13 agents in a made-up world (`tests/simulation/seeds`), whose
//! supervisor dies before one to four random records or effects and is taken up from its journal each time, until the
//! run has its end. What is checked of it is what `tests/simulation/crash` and `oracle` check.
//!
//! Run with `cargo bench --bench simulate -- --minutes 60 --seed N`, on every core: the same seed goes through the same
//! schedules. Exits 1 if an invariant broke, or if an hour would have taken fewer than a million schedules.
//! `-- --replay SIZE:SEED` runs one of them again.

#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a benchmark reads the clock, and prints")]
#![expect(clippy::unwrap_used, reason = "a world in which something is missing is a find")]
#![expect(dead_code, unused_imports, reason = "of the simulation only what its tests need")]

#[path = "../tests/simulation/calls.rs"]
mod calls;
#[path = "../tests/simulation/crash.rs"]
mod crash;
#[path = "../tests/simulation/gate_oracle.rs"]
mod gate_oracle;
#[path = "../tests/simulation/oracle.rs"]
mod oracle;
#[path = "../tests/simulation/plan.rs"]
mod plan;
#[path = "../tests/simulation/seeds.rs"]
mod seeds;
#[path = "../tests/simulation/world.rs"]
mod world;

use std::any::Any;
use std::panic::catch_unwind;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use supervise::core::record::Fact;

/// Schedules an hour, on all cores of the machine.
const LEAST: u64 = 1_000_000;

/// After so many finds more of them tell nothing new.
const MOST_FINDS: usize = 20;

const USAGE: &str = "usage: cargo bench --bench simulate -- [--minutes N] [--seed N] [--replay SIZE:SEED]";

#[derive(Clone, Copy)]
struct Schedule {
    size: usize,
    seed: u64,
}

/// What one schedule came to.
struct Done {
    records: u64,
    taken_up: u64,
}

impl Schedule {
    /// The one of this number among those of a seed.
    fn nth(seed: u64, number: u64) -> Self {
        let mut random = world::Random(world::Random(seed).next() ^ number);
        Self { size: 1 + usize::try_from(random.below(13)).unwrap(), seed: random.next() }
    }

    fn run(self) -> Done {
        let world = crash::run(seeds::some_scenario(self.size, self.seed), &crash::deaths_of(self.seed));
        let resumed = world.log.iter().filter(|record| matches!(record.fact, Fact::RunResumed { .. }));
        Done { records: world.log.len() as u64, taken_up: resumed.count() as u64 }
    }
}

#[derive(Default)]
struct Sums {
    next: AtomicU64,
    schedules: AtomicU64,
    records: AtomicU64,
    taken_up: AtomicU64,
    finds: Mutex<Vec<(Schedule, String)>>,
}

impl Sums {
    fn go_on(&self, seed: u64, until: Instant) {
        while Instant::now() < until && self.finds.lock().unwrap().len() < MOST_FINDS {
            let schedule = Schedule::nth(seed, self.next.fetch_add(1, Ordering::Relaxed));
            match catch_unwind(|| schedule.run()) {
                Ok(done) => {
                    self.records.fetch_add(done.records, Ordering::Relaxed);
                    self.taken_up.fetch_add(done.taken_up, Ordering::Relaxed);
                }
                Err(cause) => self.finds.lock().unwrap().push((schedule, said(cause.as_ref()))),
            }
            self.schedules.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn said(cause: &dyn Any) -> String {
    let text = cause.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| cause.downcast_ref::<&str>().copied()).unwrap_or("a panic without a message");
    text.lines().next().unwrap_or_default().to_owned()
}

struct Asked {
    minutes: f64,
    seed: u64,
    replay: Option<Schedule>,
}

fn asked() -> Option<Asked> {
    let mut asked = Asked { minutes: 1.0, seed: 1, replay: None };
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    while let Some(word) = words.next() {
        let value = words.next()?;
        match word.as_str() {
            "--minutes" => asked.minutes = value.parse().ok().filter(|minutes: &f64| *minutes > 0.0)?,
            "--seed" => asked.seed = value.parse().ok()?,
            "--replay" => {
                let (size, seed) = value.split_once(':')?;
                asked.replay =
                    Some(Schedule { size: size.parse().ok().filter(|&size| size > 0)?, seed: seed.parse().ok()? });
            }
            _ => return None,
        }
    }
    Some(asked)
}

fn main() -> ExitCode {
    let Some(asked) = asked() else {
        println!("{USAGE}");
        return ExitCode::from(2);
    };
    if let Some(schedule) = asked.replay {
        let done = schedule.run();
        println!("nothing found: {} records, taken up {} times", done.records, done.taken_up);
        return ExitCode::SUCCESS;
    }
    // Finds are told at the end, with how to see them again.
    std::panic::set_hook(Box::new(|_| {}));
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let (began, sums) = (Instant::now(), Sums::default());
    let until = began + Duration::from_secs_f64(asked.minutes * 60.0);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| sums.go_on(asked.seed, until));
        }
    });
    report(&asked, threads, began.elapsed(), &sums)
}

fn report(asked: &Asked, threads: usize, took: Duration, sums: &Sums) -> ExitCode {
    let of = |sum: &AtomicU64| sum.load(Ordering::Relaxed);
    let schedules = of(&sums.schedules);
    let an_hour = |seconds: u128| u128::from(schedules) * 3_600_000 / seconds.max(1);
    let rate = an_hour(took.as_millis());
    let finds = sums.finds.lock().unwrap();
    println!("seed {}, {threads} threads, {:.1} s", asked.seed, took.as_secs_f64());
    println!("{:<34}{schedules:>14}", "schedules");
    println!("{:<34}{:>14}", "records", of(&sums.records));
    println!("{:<34}{:>14}", "taken up after a death", of(&sums.taken_up));
    println!("{:<34}{rate:>14}   at least {LEAST}", "schedules an hour");
    if let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) {
        let used = usage.user_time() + usage.system_time();
        let used = u128::try_from(used.tv_sec() * 1000 + used.tv_usec() / 1000).unwrap_or(0);
        println!("{:<34}{:>14}", "schedules an hour of one core", an_hour(used));
    }
    println!("{:<34}{:>14}", "finds", finds.len());
    for (Schedule { size, seed }, said) in finds.iter() {
        println!("  {said}\n    cargo bench --bench simulate -- --replay {size}:{seed}");
    }
    if finds.is_empty() && rate >= u128::from(LEAST) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
