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
use crate::shim::tree::{self, Environment, Proc};

/// What a shim may take beyond the grace that it gives.
const SHIM_TIME: Duration = Duration::from_secs(1);

const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

/// The most of an environment that is looked through: more than execve(2) takes.
const MAX_ENVIRONMENT: u64 = 8 << 20;

/// What was found, and what is left of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    pub found: usize,
    /// Could not be ended.
    pub survivors: usize,
}

/// How long none has to be found.
const NONE_FOR: Duration = Duration::from_millis(50);
/// The same where the old supervisor may just have started one, of which it had not heard yet.
const NONE_FOR_AFTER_A_START: Duration = Duration::from_millis(700);

/// How long one is waited for that is being executed, and does not say meanwhile whose it is: its file may lie
/// on a disk that does not answer.
const EXECUTION_BOUND: Duration = Duration::from_secs(10);

/// How long ever new ones are ended: whatever starts them is out of reach.
const BOUND: Duration = Duration::from_secs(60);

/// Ends all processes of the run, in order and then at once. Blocks until none is left, mostly for less than a
/// second, and about a minute at most. `starting`: of some attempt it is known that it was to be started, and not
/// whether it was.
#[must_use]
pub fn end(run: &RunId, known: &[ProcessId], starting: bool) -> Leftovers {
    let none_for = if starting { NONE_FOR_AFTER_A_START } else { NONE_FOR };
    let boot = boot_id();
    let known: Vec<Known> =
        known.iter().filter(|process| Some(&process.boot) == boot.as_ref()).map(|p| (p.pid, p.start)).collect();
    let mut all = Leftovers::default();
    let began = clock::now();
    let mut none_since = began;
    // Who was being executed when none was found first, and has been ever since. Whoever is only later is one
    // that was there before, or descends from one.
    let mut unsaid: Option<BTreeSet<Known>> = None;
    loop {
        let Seen { ours, executing } = processes_of(run, &known);
        if ours.is_empty() {
            let unsaid = unsaid.get_or_insert_with(|| executing.clone());
            unsaid.retain(|process| executing.contains(process));
            let waited = none_since.elapsed();
            if waited >= none_for && (unsaid.is_empty() || waited >= EXECUTION_BOUND) {
                if !unsaid.is_empty() {
                    tracing::warn!(count = unsaid.len(), "processes that execve(2) holds up may belong to this run");
                }
                return all;
            }
        } else {
            all.found += ours.len();
            all.survivors = end_these(&ours, || processes_of(run, &known).ours);
            if all.survivors > 0 {
                return all;
            }
            if began.elapsed() >= BOUND {
                return Leftovers { survivors: ours.len(), ..all };
            }
            (none_since, unsaid) = (clock::now(), None);
        }
        let _ = poll(&mut [], Some(&PAUSE));
    }
}

/// How many are left in the end.
fn end_these(first: &[Proc], find: impl Fn() -> Vec<Proc>) -> usize {
    for process in first.iter().filter(|process| !is_watched(process)) {
        tree::signal(process, &[Signal::TERM, Signal::CONT]);
    }
    let began = clock::now();
    let mut left = first.len();
    let mut killed = false;
    while left > 0 && began.elapsed() < ORPHAN_GRACE + SHIM_TIME + KILL_BOUND {
        if began.elapsed() > ORPHAN_GRACE + SHIM_TIME {
            kill_all(&find, killed);
            killed = true;
        }
        let _ = poll(&mut [], Some(&PAUSE));
        left = find().len();
    }
    left
}

/// Of this boot of the machine.
#[must_use]
pub fn boot_id() -> Option<String> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().to_owned())
}

/// A process by number and start time.
type Known = (u32, u64);

/// One look at all processes.
struct Seen {
    /// All that live and belong to the run; what descends from them, too.
    ours: Vec<Proc>,
    /// Those that may belong to it, and do not say so at this moment.
    executing: BTreeSet<Known>,
}

fn processes_of(run: &RunId, known: &[Known]) -> Seen {
    let mark = format!("{RUN_VARIABLE}={run}");
    let own = own_line();
    // Not every kernel says so much of a process: then nothing is to be waited for.
    let is_told = matches!(tree::environment(std::process::id()), Environment::Bytes(_));
    let mut executing = BTreeSet::new();
    let mut mine = BTreeSet::new();
    let (mut ours, mut others) = (Vec::new(), Vec::new());
    for process in everything().filter(|process| !process.is_zombie() && !own.contains(&process.pid)) {
        let marked = is_marked(process.pid, mark.as_bytes());
        if marked == Some(true) || known.contains(&(process.pid, process.start)) {
            mine.insert(process.pid);
            ours.push(process);
        } else {
            if marked.is_none() && is_told {
                executing.insert((process.pid, process.start));
            }
            others.push(process);
        }
    }
    // A generation each time.
    loop {
        let (theirs, rest): (Vec<Proc>, Vec<Proc>) =
            others.into_iter().partition(|process| mine.contains(&process.parent));
        if theirs.is_empty() {
            return Seen { ours, executing };
        }
        mine.extend(theirs.iter().map(|process| process.pid));
        ours.extend(theirs);
        others = rest;
    }
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

/// Has it the mark in its environment? `None`: it was being executed (execve(2)) meanwhile, and what was read is
/// not the whole.
fn is_marked(pid: u32, mark: &[u8]) -> Option<bool> {
    let mut environment = Vec::new();
    // Of one that is executed while it is read only a part is there, or nothing.
    if let Ok(file) = fs::File::open(format!("/proc/{pid}/environ")) {
        let _ = file.take(MAX_ENVIRONMENT).read_to_end(&mut environment);
    }
    if environment.split(|byte| *byte == 0).any(|variable| variable == mark) {
        return Some(true);
    }
    match tree::environment(pid) {
        Environment::Hidden => Some(false),
        Environment::Bytes(bytes) if bytes == environment.len() as u64 => Some(false),
        Environment::Bytes(_) | Environment::NotYet => None,
    }
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::process::CommandExt as _;
    use std::process::Command;

    use super::*;

    #[test]
    fn this_process_has_the_environment_that_it_was_given() {
        let own = fs::read("/proc/self/environ").unwrap().len() as u64;
        assert_eq!(tree::environment(std::process::id()), Environment::Bytes(own));
    }

    /// A program that executes itself again and again has no environment for a good part of its life.
    #[test]
    fn a_process_in_the_middle_of_execve_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("again");
        fs::write(&program, "#!/bin/sh\nexec \"$0\"\n").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let run = RunId::new("20260101-000000-abcd").unwrap();
        let mark = format!("{RUN_VARIABLE}={run}");
        let mut child = Command::new(&program).env(RUN_VARIABLE, run.as_str()).process_group(0).spawn().unwrap();

        let deadline = clock::now() + Duration::from_secs(60);
        let (mut marked, mut executing) = (0, 0);
        while marked < 1000 || executing < 20 {
            assert!(clock::now() < deadline, "marked {marked} times, in the middle {executing} times");
            match is_marked(child.id(), mark.as_bytes()) {
                Some(true) => marked += 1,
                None => executing += 1,
                Some(false) => panic!("taken for a stranger after {marked} and {executing} looks"),
            }
        }
        assert_ne!(is_marked(child.id(), b"SUPERVISE_RUN=another"), Some(true));

        // It is a child of this process, which is to see it end.
        let waiter = std::thread::spawn(move || child.wait().unwrap());
        assert_eq!(end(&run, &[], false), Leftovers { found: 1, survivors: 0 });
        assert!(!waiter.join().unwrap().success());
    }
}
