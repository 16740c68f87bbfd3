//! Ending a tree: TERM and CONT to all of it, a grace, then KILL until nothing is left.
//!
//! Invariant: once begun it never goes back, and it comes to an end: the tree is empty, or after
//! [`KILL_BOUND`] of killing it gives up and says who is left (a process in an uninterruptible call,
//! or one of another user). A harsher request shortens what is under way; none lengthens it.
//! Deliberately absent: waiting for children and the main loop; see `shim::run`.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::tree::{self, Proc};
use crate::core::effect::Ending;

/// How long killing is tried.
pub const KILL_BOUND: Duration = Duration::from_secs(10);

/// From SIGTERM to SIGKILL where nobody is left to say.
pub const ORPHAN_GRACE: Duration = Duration::from_secs(2);

/// Passes of SIGTERM over a tree that changes while it is looked at.
const ASK_PASSES: usize = 4;

/// Passes of SIGSTOP over a tree that grows while it is looked at.
const STOP_PASSES: usize = 16;

/// Between two rounds of killing; doubled each time, up to the second.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub struct Ender {
    /// The process whose descendants are the tree.
    root: u32,
    cgroup: Option<PathBuf>,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Alive,
    /// All have had SIGTERM.
    Asked {
        kill_at: Instant,
    },
    Killing {
        since: Instant,
        next: Instant,
        pause: Duration,
    },
}

impl Ender {
    /// For the descendants of `root`, which may be in a cgroup of their own.
    #[must_use]
    pub fn new(root: u32, cgroup: Option<PathBuf>) -> Self {
        Self { root, cgroup, phase: Phase::Alive }
    }

    /// Whether the end has begun.
    #[must_use]
    pub fn begun(&self) -> bool {
        self.phase != Phase::Alive
    }

    /// Begins, or hurries what has begun.
    pub fn begin(&mut self, now: Instant, how: Ending) {
        match (how, self.phase) {
            (_, Phase::Killing { .. }) => {}
            (Ending::AtOnce, _) => self.kill(now, now, FIRST_PAUSE),
            (Ending::Orderly { grace }, Phase::Alive) => {
                self.ask();
                self.phase = Phase::Asked { kill_at: later(now, grace) };
            }
            (Ending::Orderly { grace }, Phase::Asked { kill_at }) => {
                self.phase = Phase::Asked { kill_at: kill_at.min(later(now, grace)) };
            }
        }
    }

    /// Does what is due. To be called at [`Self::deadline`] at the latest, while the tree is not empty.
    pub fn advance(&mut self, now: Instant) {
        match self.phase {
            Phase::Asked { kill_at } if kill_at <= now => self.kill(now, now, FIRST_PAUSE),
            Phase::Killing { since, next, pause } if next <= now => {
                self.kill(now, since, (pause * 2).min(LONGEST_PAUSE));
            }
            _ => {}
        }
    }

    /// When the next step is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Alive => None,
            Phase::Asked { kill_at } => Some(kill_at),
            Phase::Killing { next, .. } => Some(next),
        }
    }

    /// Those that could not be ended; `Some` after [`KILL_BOUND`] of trying.
    #[must_use]
    pub fn given_up(&self, now: Instant) -> Option<Vec<u32>> {
        match self.phase {
            Phase::Killing { since, .. } if now.duration_since(since) >= KILL_BOUND => {
                Some(tree::descendants(self.root).into_iter().map(|process| process.pid).collect())
            }
            _ => None,
        }
    }

    /// SIGTERM, and SIGCONT so that a stopped process can take it: parents before their children, so
    /// that no script goes on to its next line. Further passes find those born during the first, and
    /// those that it did not reach.
    fn ask(&self) {
        let mut asked = Vec::new();
        for _ in 0..ASK_PASSES {
            let mut fresh = tree::descendants(self.root);
            fresh.retain(|process| !process.is_zombie() && !is_among(&asked, process));
            if fresh.is_empty() {
                break;
            }
            // Each is asked once: a second SIGTERM makes some programs give up their orderly end.
            asked.extend(fresh.into_iter().filter(|process| tree::signal(process, &[Signal::TERM, Signal::CONT])));
        }
    }

    fn kill(&mut self, now: Instant, since: Instant, pause: Duration) {
        if let Some(cgroup) = &self.cgroup {
            // Not the only means: a process may have been moved out of the cgroup.
            let _ = fs::write(cgroup.join("cgroup.kill"), "1");
        }
        kill_all(|| tree::descendants(self.root), since < now);
        self.phase = Phase::Killing { since, next: now + pause, pause };
    }
}

/// SIGKILL to all that `find` finds. `hold`: they were killed before and there are still some, so
/// stop them first, until a pass finds nobody new: what is stopped does not fork.
pub fn kill_all(find: impl Fn() -> Vec<Proc>, hold: bool) {
    let mut found = find();
    if hold {
        let mut held = Vec::<Proc>::new();
        for _ in 0..STOP_PASSES {
            let fresh: Vec<Proc> = found.iter().filter(|process| !is_among(&held, process)).copied().collect();
            if fresh.is_empty() {
                break;
            }
            for process in &fresh {
                tree::signal(process, &[Signal::STOP]);
            }
            held.extend(fresh);
            held.sort_unstable_by_key(|process| process.pid);
            found = find();
        }
    }
    for process in &found {
        tree::signal(process, &[Signal::KILL]);
    }
}

fn is_among(known: &[Proc], process: &Proc) -> bool {
    known.iter().any(|other| other.pid == process.pid && other.start == process.start)
}

/// `now + by`, where that exists; else a day, which no clock overflows on.
fn later(now: Instant, by: Duration) -> Instant {
    now.checked_add(by).unwrap_or(now + Duration::from_hours(24))
}
