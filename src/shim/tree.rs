//! Process trees: who descends from a process, and signals that cannot hit a stranger.
//!
//! Invariant: a signal goes through a pidfd, and only after the process behind it was seen to be
//! the one meant (same start time; same parent, or orphaned to us since), so a number that was used
//! again is never hit.
//! Deliberately absent: when to signal; see `shim::ending`.
//!
//! Sources: proc_pid_stat(5), proc_tid_children(5), pidfd_open(2), PR_SET_CHILD_SUBREAPER(2const).

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::sync::OnceLock;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A look at one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proc {
    pub pid: u32,
    pub parent: u32,
    pub session: u32,
    /// `R`, `S`, `D`, `T`, `Z` … (field 3).
    pub state: u8,
    /// Clock ticks since boot (field 22).
    pub start: u64,
    /// Clock ticks of processor time of its own (fields 14, 15).
    pub cpu: u64,
    /// The same of children that it has waited for (fields 16, 17).
    pub cpu_of_children: u64,
}

impl Proc {
    /// Dead, and not yet waited for.
    #[must_use]
    pub fn is_zombie(&self) -> bool {
        matches!(self.state, b'Z' | b'X')
    }
}

/// The most processes that one look takes in: a fork storm must not cost memory without end. What is
/// beyond is found by the next look.
const MAX_LOOK: usize = 1 << 15;

/// Looks at a process; `None`: it is gone.
#[must_use]
pub fn look(pid: u32) -> Option<Proc> {
    with_stat(pid, |line| parse(pid, line))
}

fn with_stat<T>(pid: u32, parse: impl FnOnce(&[u8]) -> Option<T>) -> Option<T> {
    let mut file = fs::File::open(format!("/proc/{pid}/stat")).ok()?;
    // The line is at most about 350 bytes: 50 numbers of which few are long.
    let mut line = [0; 1024];
    let length = file.read(&mut line).ok()?;
    parse(line.get(..length)?)
}

/// What follows the name. That is in parentheses and may hold anything, parentheses too.
fn after_name(line: &[u8]) -> Option<&str> {
    let end = line.iter().rposition(|&byte| byte == b')')?;
    std::str::from_utf8(line.get(end + 1..)?).ok()
}

/// How much of an environment there is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Environment {
    /// Nothing of it is to be seen: the process is gone, the kernel's, or not to be looked at.
    Hidden,
    /// The process is in the middle of execve(2), with new memory and no environment in it.
    NotYet,
    /// So many bytes.
    Bytes(u64),
}

/// The size of a process's environment, from its fields 23, 26, 50 and 51.
#[must_use]
pub fn environment(pid: u32) -> Environment {
    with_stat(pid, parse_environment).unwrap_or(Environment::Hidden)
}

fn parse_environment(line: &[u8]) -> Option<Environment> {
    let rest = after_name(line)?;
    let field = |field: usize| rest.split_ascii_whitespace().nth(field - 3)?.parse::<u64>().ok();
    let (memory, code, start, end) = (field(23)?, field(26)?, field(50)?, field(51)?);
    Some(match (memory, code) {
        // 1 stands in place of an address that is not to be seen.
        (0, _) | (_, 1) => Environment::Hidden,
        // Where its code begins is written down after where its environment ends.
        (_, 0) => Environment::NotYet,
        _ => Environment::Bytes(end.saturating_sub(start)),
    })
}

fn parse(pid: u32, line: &[u8]) -> Option<Proc> {
    let fields: Vec<&str> = after_name(line)?.split_ascii_whitespace().take(20).collect();
    // Fields are counted from 1 in the manual; the first one here is its third.
    let number = |field: usize| fields.get(field - 3)?.parse::<i64>().ok();
    let positive = |field: usize| number(field)?.try_into().ok();
    let ticks = |field: usize| number(field).and_then(|n| u64::try_from(n).ok());
    Some(Proc {
        pid,
        state: *fields.first()?.as_bytes().first()?,
        parent: positive(4)?,
        session: positive(6)?,
        cpu: ticks(14)? + ticks(15)?,
        cpu_of_children: ticks(16)? + ticks(17)?,
        start: ticks(22)?,
    })
}

/// All that descend from `root`, parents before children, without `root`. A process that is born
/// while this looks may be missing.
#[must_use]
pub fn descendants(root: u32) -> Vec<Proc> {
    if children_are_listed() { by_lists(root) } else { descendants_by_scan(root) }
}

/// The children of `root`, without theirs.
#[must_use]
pub fn children(root: u32) -> Vec<Proc> {
    if children_are_listed() {
        let mut pids = Vec::new();
        list_children(root, &mut pids);
        pids.into_iter().filter_map(look).filter(|child| child.parent == root).collect()
    } else {
        descendants_by_scan(root).into_iter().filter(|child| child.parent == root).collect()
    }
}

/// `children` files exist where the kernel was built with `CONFIG_PROC_CHILDREN`.
fn children_are_listed() -> bool {
    static LISTED: OnceLock<bool> = OnceLock::new();
    *LISTED.get_or_init(|| {
        let own = std::process::id();
        fs::exists(format!("/proc/{own}/task/{own}/children")).unwrap_or(false)
    })
}

fn by_lists(root: u32) -> Vec<Proc> {
    let mut found = Vec::new();
    let mut pids = Vec::new();
    list_children(root, &mut pids);
    let mut next = 0;
    while let Some(&pid) = pids.get(next).filter(|_| next < MAX_LOOK) {
        next += 1;
        if let Some(process) = look(pid) {
            found.push(process);
            list_children(pid, &mut pids);
        }
    }
    found
}

/// Appends the children of each of the process's threads.
fn list_children(pid: u32, pids: &mut Vec<u32>) {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return };
    let mut text = Vec::new();
    for thread in threads.flatten() {
        text.clear();
        if fs::File::open(thread.path().join("children")).and_then(|mut file| file.read_to_end(&mut text)).is_ok() {
            let numbers = text.split(|byte| *byte == b' ').filter_map(|word| std::str::from_utf8(word).ok());
            pids.extend(numbers.filter_map(|word| word.parse::<u32>().ok()));
        }
    }
}

/// The same as [`descendants`], from a look at every process of the machine: slower, but not misled by
/// children that come and go while their list is read.
#[must_use]
pub fn descendants_by_scan(root: u32) -> Vec<Proc> {
    let mut by_parent = BTreeMap::<u32, Vec<Proc>>::new();
    for process in everything() {
        by_parent.entry(process.parent).or_default().push(process);
    }
    let mut found = by_parent.remove(&root).unwrap_or_default();
    let mut next = 0;
    while let Some(&process) = found.get(next).filter(|_| next < MAX_LOOK) {
        next += 1;
        found.extend(by_parent.remove(&process.pid).unwrap_or_default());
    }
    found
}

fn everything() -> impl Iterator<Item = Proc> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter_map(look)
}

/// Sends `signals` in this order to the process that was looked at. `false`: it is gone, or may not
/// be signalled, or belongs to somebody else now.
pub fn signal(process: &Proc, signals: &[Signal]) -> bool {
    let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw) else { return false };
    let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { return false };
    // Between the look and the opening it may have died and its number been given away. Its parent may
    // have died as well (most often of our signal): then it is ours, who are the subreaper.
    let own = std::process::id();
    let ours = |now: Proc| now.start == process.start && (now.parent == process.parent || now.parent == own);
    let same = look(process.pid).is_some_and(ours);
    same && signals.iter().all(|signal| pidfd_send_signal(&handle, *signal).is_ok())
}

/// Processor time, in clock ticks, that the tree under `root` has used: of the living, and of the
/// dead that they or `root` have waited for.
#[must_use]
pub fn cpu_ticks(root: u32) -> u64 {
    let own = look(root).map_or(0, |root| root.cpu_of_children);
    descendants(root).iter().fold(own, |sum, process| sum + process.cpu + process.cpu_of_children)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let numbers = "3 1 4 0 -1 4194304 90 0 0 0 11 22 33 44 20 0 1 0 123456 9 9 9";
        for name in ["sh", "a) S 9", "(x y)", ""] {
            let line = format!("5 ({name}) T {numbers}\n");
            let expected =
                Proc { pid: 5, parent: 3, session: 4, state: b'T', start: 123_456, cpu: 33, cpu_of_children: 77 };
            assert_eq!(parse(5, line.as_bytes()), Some(expected), "{name:?}");
        }
        assert_eq!(parse(5, b"5 (sh) S 1 2"), None);
        assert_eq!(parse(5, b""), None);
    }

    #[test]
    fn one_without_an_environment_yet_is_told_from_one_that_has_none() {
        let line = |memory: u64, code: u64, start: u64, end: u64| {
            let zeros = |n: usize| vec!["0"; n].join(" ");
            let line = format!("5 (a) b) R {} {memory} 0 0 {code} {} {start} {end} 0\n", zeros(19), zeros(23));
            parse_environment(line.as_bytes()).unwrap()
        };
        let (memory, code) = (4096, 0x40_0000);
        assert_eq!(line(memory, 0, 0, 0), Environment::NotYet);
        assert_eq!(line(memory, 0, 70, 70), Environment::NotYet, "its end is on its way");
        assert_eq!(line(memory, code, 70, 90), Environment::Bytes(20));
        assert_eq!(line(memory, code, 70, 70), Environment::Bytes(0), "it was given none");
        assert_eq!(line(0, 0, 0, 0), Environment::Hidden, "a thread of the kernel");
        assert_eq!(line(memory, 1, 0, 0), Environment::Hidden, "not to be looked at");
        assert_eq!(environment(u32::MAX), Environment::Hidden);
    }

    #[test]
    fn both_ways_of_looking_find_a_grandchild() {
        // The outer shell waits for the inner, which waits for the end of its input.
        let mut outer = std::process::Command::new("sh")
            .args(["-c", "sh -c 'read x; :'; :"])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let own = std::process::id();
        let holds = |found: &[Proc]| {
            let inner = found.iter().filter(|process| process.parent == outer.id()).count();
            found.iter().any(|process| process.pid == outer.id()) && inner == 1
        };
        let deadline = crate::shim::clock::now() + std::time::Duration::from_secs(10);
        while !(holds(&by_lists(own)) && holds(&descendants_by_scan(own))) {
            assert!(crate::shim::clock::now() < deadline, "the grandchild was not found");
        }
        drop(outer.stdin.take());
        outer.wait().unwrap();
    }

    #[test]
    fn a_stranger_with_the_number_is_not_signalled() {
        let mut outer = std::process::Command::new("sh")
            .args(["-c", "cat; exit $?"])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let deadline = crate::shim::clock::now() + std::time::Duration::from_secs(10);
        let inner = loop {
            assert!(crate::shim::clock::now() < deadline, "the grandchild was not found");
            if let Some(inner) = children(outer.id()).first() {
                break *inner;
            }
        };
        assert!(!signal(&Proc { start: inner.start + 1, ..inner }, &[Signal::KILL]));
        assert!(!signal(&Proc { parent: 1, ..inner }, &[Signal::KILL]));
        drop(outer.stdin.take());
        assert!(outer.wait().unwrap().success());
    }
}
