//! Processes that a dead supervisor left behind: found and ended before its run is taken up again.
//!
//! They are known by `SUPERVISE_RUN` in their environment (proc_pid_environ(5)), and those that the journal
//! names by number, start time and boot; what descends from either belongs to it. Shims have it too, and end their trees by
//! themselves when their supervisor is gone, and are given the time for it.
//!
//! Invariant: a signal goes only to a process that was seen to be one of these, through its pidfd.
//!
//! Deliberately absent: processes of other users, and those that changed their environment and left every tree.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::time::Duration;

use rustix::event::{Timespec, poll};
use rustix::process::Signal;

use super::process::RUN_VARIABLE;
use crate::core::ids::RunId;
use crate::core::record::ProcessId;
use crate::shim::clock;
use crate::shim::ending::{KILL_BOUND, ORPHAN_GRACE, kill_all};
use crate::shim::tree::{self, Proc};

/// What a shim may take beyond the grace that it gives.
const SHIM_TIME: Duration = Duration::from_secs(1);

const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

/// The most of an environment that is looked through.
const MAX_ENVIRONMENT: u64 = 4 << 20;

/// What was found, and what is left of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    pub found: usize,
    /// Could not be ended.
    pub survivors: usize,
}

/// How long none has to be found: one that is being executed at this moment (execve(2)) shows no environment.
const NONE_FOR: Duration = Duration::from_millis(50);
/// The same where the old supervisor may just have started one, of which it had not heard yet.
const NONE_FOR_AFTER_A_START: Duration = Duration::from_millis(700);

/// Ends all processes of the run, in order and then at once. Blocks until none is left, at most for some
/// seconds. `starting`: of some attempt it is known that it was to be started, and not whether it was.
#[must_use]
pub fn end(run: &RunId, known: &[ProcessId], starting: bool) -> Leftovers {
    let none_for = if starting { NONE_FOR_AFTER_A_START } else { NONE_FOR };
    let mut all = Leftovers::default();
    let mut none_since = clock::now();
    while none_since.elapsed() < none_for {
        let Leftovers { found, survivors } = end_those_there(run, known);
        all.found += found;
        all.survivors = survivors;
        if survivors > 0 {
            break;
        }
        if found > 0 {
            none_since = clock::now();
        }
        let _ = poll(&mut [], Some(&PAUSE));
    }
    all
}

fn end_those_there(run: &RunId, known: &[ProcessId]) -> Leftovers {
    let boot = boot_id();
    let known: Vec<(u32, u64)> =
        known.iter().filter(|process| Some(&process.boot) == boot.as_ref()).map(|p| (p.pid, p.start)).collect();
    let find = || processes_of(run, &known);
    let first = find();
    let found = first.len();
    if found == 0 {
        return Leftovers::default();
    }
    for process in first.iter().filter(|process| !is_watched(process)) {
        tree::signal(process, &[Signal::TERM, Signal::CONT]);
    }
    let began = clock::now();
    let mut left = found;
    let mut killed = false;
    while left > 0 && began.elapsed() < ORPHAN_GRACE + SHIM_TIME + KILL_BOUND {
        if began.elapsed() > ORPHAN_GRACE + SHIM_TIME {
            kill_all(find, killed);
            killed = true;
        }
        let _ = poll(&mut [], Some(&PAUSE));
        left = find().len();
    }
    Leftovers { found, survivors: left }
}

/// Of this boot of the machine.
#[must_use]
pub fn boot_id() -> Option<String> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().to_owned())
}

/// All that live and belong to the run; what descends from them, too.
fn processes_of(run: &RunId, known: &[(u32, u64)]) -> Vec<Proc> {
    let mark = format!("{RUN_VARIABLE}={run}");
    let own = own_line();
    let mut mine = BTreeSet::new();
    let mut all: Vec<Proc> = everything().filter(|process| !process.is_zombie()).collect();
    // Parents first, so that one pass finds what descends from them.
    all.sort_by_key(|process| process.start);
    all.retain(|process| {
        let is_ours = mine.contains(&process.parent)
            || known.contains(&(process.pid, process.start))
            || has_in_environment(process.pid, mark.as_bytes());
        !own.contains(&process.pid) && is_ours && mine.insert(process.pid)
    });
    all
}

fn everything() -> impl Iterator<Item = Proc> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter_map(tree::look)
}

/// This process and those it descends from: whoever takes a run up from within an old tree is not to end itself.
fn own_line() -> BTreeSet<u32> {
    let mut line = BTreeSet::new();
    let mut next = std::process::id();
    while next > 0 && line.insert(next) {
        next = tree::look(next).map_or(0, |process| process.parent);
    }
    line
}

fn has_in_environment(pid: u32, mark: &[u8]) -> bool {
    let mut environment = Vec::new();
    let read = fs::File::open(format!("/proc/{pid}/environ")).map(|f| f.take(MAX_ENVIRONMENT));
    read.and_then(|mut file| file.read_to_end(&mut environment)).is_ok()
        && environment.split(|byte| *byte == 0).any(|variable| variable == mark)
}

/// Is it beneath a shim, which has told it already?
fn is_watched(process: &Proc) -> bool {
    let mut next = process.pid;
    for _ in 0..64 {
        if fs::read_to_string(format!("/proc/{next}/comm")).is_ok_and(|name| name.trim() == SHIM_NAME) {
            return true;
        }
        match tree::look(next) {
            Some(process) if process.parent > 1 => next = process.parent,
            _ => return false,
        }
    }
    false
}

/// What a shim calls itself (proc_pid_comm(5)).
const SHIM_NAME: &str = "supervise-shim";
