//! The gate: every call of an agent's tree that could change the workspace stops here first.
//!
//! A seccomp filter lets the kernel hand such calls to this process (seccomp_unotify(2)), one
//! listener for each tree, so that the writer is known by construction. What the claim settles is
//! answered at once; the rest is asked of the supervisor, while the caller waits.
//!
//! Invariant: every notification is answered exactly once, within the terms' `answer_within`; nothing
//! here waits, and what is kept is bounded: at most [`MAX_PENDING`] calls that wait, with
//! [`MAX_HELD`] paths among them, besides what `tell` bounds, and the grants, which are the
//! supervisor's. Once the tree is being ended, no call that concerns the workspace goes on.
//! It is no wall against an adversary: after the answer another thread of the process can exchange
//! what a path means.
//! Deliberately absent: descriptors that were opened before (reads, writes and mappings through them
//! are not seen), and whose lock a path is under (`core`).

mod call;
mod decide;
mod filter;
mod memory;
pub mod resolve;
mod sight;
pub(super) mod sys;
mod table;
mod tell;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::libc;

use self::call::{Act, Subject};
use self::decide::{Rules, Verdict};
use self::memory::Process;
use self::resolve::Workspace;
use self::sight::{Blind, Settled, Sighting, look};
use self::sys::{Arming, Listener, NoListener, Notification, Program, Reply};
use self::table::{Call, Machine};
use self::tell::{MAX_BYTES, Tidings};
use super::wire::{GateTerms, Gated, Report};
use crate::core::call::{Answer, CallId, Grant, MAX_TARGETS, Refusal, RefusalReason, RefusedPath, Target, Touch};
use crate::core::path::RepoPath;

/// The most calls that wait for the supervisor; further ones are refused.
pub const MAX_PENDING: usize = 1024;

/// The most paths that calls which wait may concern together.
pub const MAX_HELD: usize = 65_536;

/// Characters kept of a path that is told for people only.
const MAX_TEXT: usize = 256;

#[derive(Debug)]
pub(super) struct Gate {
    machine: Machine,
    workspace: Workspace,
    rules: Rules,
    answer_within: Duration,
    /// `None`: not yet, or nobody is left who could call.
    listener: Option<Listener>,
    pending: BTreeMap<CallId, Pending>,
    /// Paths in `pending`.
    held: usize,
    next: u64,
    /// Questions that are not sent yet, in order.
    questions: VecDeque<CallId>,
    tidings: Tidings,
    ending: bool,
}

/// A call that waits for the supervisor.
#[derive(Debug)]
struct Pending {
    id: u64,
    since: Instant,
    all: Vec<Sighting>,
    /// Positions that the supervisor has allowed.
    settled: BTreeSet<usize>,
    /// Positions that it is being asked about.
    asked: Vec<usize>,
}

impl Gate {
    /// For these terms. Nothing is gated yet.
    pub(super) fn prepare(terms: &GateTerms) -> io::Result<Self> {
        let machine = Machine::here().ok_or(io::ErrorKind::Unsupported)?;
        let patterns = |texts: &[super::wire::PatternText]| {
            texts.iter().map(super::wire::PatternText::pattern).collect::<Result<Vec<_>, _>>().map_err(io::Error::other)
        };
        let mut rules = Rules::default();
        rules.exclusive = patterns(&terms.exclusive)?;
        rules.deny = patterns(&terms.deny)?;
        rules.forbidden = within(&terms.workspace, &terms.forbidden);
        rules.nested.clone_from(&terms.nested);
        rules.scratch.clone_from(&terms.scratch);
        rules.protected = terms.protected.iter().cloned().collect();
        terms.own.iter().cloned().for_each(|path| rules.grant(Grant::Path(path)));
        Ok(Self {
            machine,
            workspace: Workspace::open(&terms.workspace, &terms.forbidden)?,
            rules,
            answer_within: terms.answer_within,
            listener: None,
            pending: BTreeMap::new(),
            held: 0,
            next: 0,
            questions: VecDeque::new(),
            tidings: Tidings::default(),
            ending: false,
        })
    }

    /// Makes the command start under the filter.
    pub(super) fn arm(&self, command: &mut Command, program: Program) -> io::Result<Arming> {
        sys::arm(command, filter::program(self.machine), program)
    }

    /// Takes up its work. To be called when the command was spawned, or failed to be, and is dropped.
    pub(super) fn listen(&mut self, arming: Arming) -> Result<(), NoListener> {
        self.listener = Some(arming.listener()?);
        Ok(())
    }

    /// What of the kernel's newer abilities is in use; `None`: nothing is gated (any more).
    pub(super) fn gated(&self) -> Option<Gated> {
        self.listener.as_ref().map(Listener::gated)
    }

    /// To be polled for input.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.listener.as_ref().map(AsFd::as_fd)
    }

    /// Nobody is left who could call.
    pub(super) fn hung_up(&mut self) {
        self.listener = None;
        self.pending.clear();
        self.questions.clear();
        self.held = 0;
    }

    /// Handles one call; there is one if poll(2) says so. One a turn costs the fewest system calls where
    /// one process writes, and leaves room for the rest of the shim's work where many do.
    pub(super) fn ready(&mut self, now: Instant) {
        let Some(listener) = &mut self.listener else { return };
        match listener.receive() {
            Ok(Some(notification)) => self.consider(&notification, now),
            Ok(None) => {}
            // A listener that fails fails every call from here on, which is the safe side.
            Err(_) => self.hung_up(),
        }
    }

    fn consider(&mut self, notification: &Notification, now: Instant) {
        let &Notification { id, tid, number, arguments } = notification;
        // The filter only notifies of calls in the table.
        let Some(call) = self.machine.call(number) else { return self.reply(id, Reply::Fail(libc::ENOSYS)) };
        let act = call::read(call, arguments, &Process(tid));
        if act == Ok(Act::Nothing) {
            return self.reply(id, Reply::Continue);
        }
        let seen = match &act {
            Ok(act) => look(&mut self.workspace, tid, act),
            Err(_) => Err(Settled::Blind(Blind { why: RefusalReason::Unresolved, touch: touch(call) })),
        };
        // The number of a thread that is gone may be another's by now.
        if !self.listener.as_ref().is_some_and(|listener| listener.is_valid(id)) {
            return;
        }
        match seen {
            Ok(all) => {
                let pending = Pending { id, since: now, all, settled: BTreeSet::new(), asked: Vec::new() };
                self.settle(pending, now);
            }
            Err(Settled::Fails(errno)) => self.reply(id, Reply::Fail(errno)),
            Err(Settled::Blind(blind)) => {
                let path = RefusedPath::Other(act.as_ref().map_or_else(|_| "unreadable".to_owned(), spell));
                self.tidings.refused(now, Refusal { path, touch: blind.touch, why: blind.why });
                self.reply(id, Reply::Fail(libc::EACCES));
            }
        }
    }

    /// Answers a call, or asks the (next) question about it.
    fn settle(&mut self, mut pending: Pending, now: Instant) {
        if self.ending
            && let Some(at) = pending.all.iter().position(|sighting| self.rules.is_ours(sighting))
        {
            return self.refuse(&pending, at, RefusalReason::Ending, now);
        }
        match self.rules.decide(&pending.all, &pending.settled) {
            Verdict::Go => {
                for sighting in &pending.all {
                    if let Some(path) = sighting.path() {
                        self.tidings.wrote(now, path, sighting.tally);
                    }
                }
                self.reply(pending.id, Reply::Continue);
            }
            Verdict::Busy => {
                for sighting in pending.all.iter().filter(|sighting| sighting.content) {
                    if let Some(path) = sighting.path() {
                        self.tidings.busy(now, path, sighting.touch);
                    }
                }
                self.reply(pending.id, Reply::Fail(libc::EBUSY));
            }
            Verdict::Refuse { at, why } => self.refuse(&pending, at, why, now),
            Verdict::Ask(open) => {
                let first = open.first().copied().unwrap_or_default();
                if self.pending.len() >= MAX_PENDING {
                    return self.refuse(&pending, first, RefusalReason::NoAnswer, now);
                }
                if self.held + pending.all.len() > MAX_HELD {
                    return self.refuse(&pending, first, RefusalReason::TooLarge, now);
                }
                pending.asked = portion(&pending.all, open);
                let call = CallId(self.next);
                self.next += 1;
                self.held += pending.all.len();
                self.questions.push_back(call);
                self.pending.insert(call, pending);
            }
        }
    }

    /// What the supervisor says to a question, and what it will not be asked again. An answer that
    /// comes too late changes nothing but that.
    pub(super) fn answer(&mut self, call: CallId, answer: Answer, grants: Vec<Grant>, now: Instant) {
        for grant in grants {
            self.rules.grant(grant);
        }
        let Some(mut pending) = self.take(call) else { return };
        match answer {
            Answer::Allow => {
                pending.settled.extend(std::mem::take(&mut pending.asked));
                self.settle(pending, now);
            }
            Answer::Refuse => self.reply(pending.id, Reply::Fail(libc::EACCES)),
            Answer::Busy => self.reply(pending.id, Reply::Fail(libc::EBUSY)),
        }
    }

    /// These paths changed through somebody else.
    pub(super) fn spoil(&mut self, paths: Vec<RepoPath>) {
        self.rules.spoil(paths);
    }

    /// What was granted is so no more.
    pub(super) fn withdraw(&mut self) {
        self.rules.withdraw();
    }

    /// The tree is being ended: what waits is refused, and from now on everything.
    pub(super) fn refuse_all(&mut self, now: Instant) {
        self.ending = true;
        while let Some(call) = self.pending.first_key_value().map(|(call, _)| *call) {
            self.give_up(call, RefusalReason::Ending, now);
        }
    }

    /// When there is something to do although no call came.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.pending.values().map(|pending| pending.since + self.answer_within).min()
    }

    /// Refuses what has waited too long.
    pub(super) fn expire(&mut self, now: Instant) {
        let late = |pending: &Pending| pending.since + self.answer_within <= now;
        let late: Vec<CallId> =
            self.pending.iter().filter(|(_, pending)| late(pending)).map(|(call, _)| *call).collect();
        for call in late {
            self.give_up(call, RefusalReason::NoAnswer, now);
        }
    }

    /// When there is something to tell.
    pub(super) fn report_due(&self) -> Option<Instant> {
        let question = self.questions.front().and_then(|call| self.pending.get(call)).map(|pending| pending.since);
        question.or(self.tidings.due())
    }

    /// The next thing to tell, if it is due (or, with `all`, if there is any). What came before a
    /// question is told before it.
    pub(super) fn report(&mut self, now: Instant, all: bool) -> Option<Report> {
        while self.questions.front().is_some_and(|call| !self.pending.contains_key(call)) {
            self.questions.pop_front();
        }
        if let Some(report) = self.tidings.take(now, all || !self.questions.is_empty()) {
            return Some(report);
        }
        let call = self.questions.pop_front()?;
        let pending = self.pending.get(&call)?;
        let targets = pending.asked.iter().filter_map(|at| pending.all.get(*at)).filter_map(target).collect();
        Some(Report::Ask { call, targets })
    }

    fn give_up(&mut self, call: CallId, why: RefusalReason, now: Instant) {
        if let Some(pending) = self.take(call) {
            let at = pending.asked.first().copied().unwrap_or_default();
            self.refuse(&pending, at, why, now);
        }
    }

    fn take(&mut self, call: CallId) -> Option<Pending> {
        let pending = self.pending.remove(&call)?;
        self.held -= pending.all.len();
        Some(pending)
    }

    fn refuse(&mut self, pending: &Pending, at: usize, why: RefusalReason, now: Instant) {
        if let Some(sighting) = pending.all.get(at) {
            let path = sighting.path().map_or_else(
                || RefusedPath::Other("a directory of git or of supervise".to_owned()),
                |path| RefusedPath::Inside(path.clone()),
            );
            self.tidings.refused(now, Refusal { path, touch: sighting.touch, why });
        }
        self.reply(pending.id, Reply::Fail(libc::EACCES));
    }

    /// One that does not wait any more needs no answer.
    fn reply(&mut self, id: u64, reply: Reply) {
        if let Some(listener) = &mut self.listener {
            listener.send(id, reply);
        }
    }
}

/// As many of the open positions as one question may have.
fn portion(all: &[Sighting], mut open: Vec<usize>) -> Vec<usize> {
    let mut bytes = 0;
    let fits = open.iter().take(MAX_TARGETS).take_while(|at| {
        let before = bytes;
        bytes += all.get(**at).and_then(Sighting::path).map_or(0, |path| path.as_bytes().len());
        before < MAX_BYTES
    });
    let fits = fits.count();
    open.truncate(fits);
    open
}

fn target(sighting: &Sighting) -> Option<Target> {
    let path = sighting.path()?.clone();
    Some(Target { path, touch: sighting.touch, there: sighting.there })
}

/// The forbidden directories that lie in the workspace, as paths of it.
fn within(workspace: &Path, forbidden: &[std::path::PathBuf]) -> Vec<RepoPath> {
    use std::os::unix::ffi::OsStrExt;
    let root = workspace.canonicalize().unwrap_or_else(|_| workspace.to_owned());
    let inside = forbidden.iter().filter_map(|path| {
        let path = root.join(path);
        let real = path.canonicalize().unwrap_or(path);
        RepoPath::new(real.strip_prefix(&root).ok()?.as_os_str().as_bytes()).ok()
    });
    inside.collect()
}

/// What a call that could not be read would do.
fn touch(call: Call) -> Touch {
    match call {
        Call::Open | Call::Openat | Call::Openat2 | Call::Creat => Touch::Open,
        Call::Mkdir | Call::Mkdirat => Touch::MakeDirectory,
        Call::Rename | Call::Renameat | Call::Renameat2 => Touch::MoveOut,
        Call::Link | Call::Linkat | Call::Symlink | Call::Symlinkat | Call::Mknod | Call::Mknodat | Call::Bind => {
            Touch::Make
        }
        Call::Unlink | Call::Unlinkat => Touch::Remove,
        Call::Rmdir => Touch::RemoveDirectory,
        _ => Touch::Change,
    }
}

/// The path that a call names, for people.
fn spell(act: &Act) -> String {
    let subject = match act {
        Act::Nothing => return String::new(),
        Act::Open { at, .. } | Act::New { at, .. } | Act::Remove { at, .. } | Act::Change { at, .. } => at,
        Act::Rename { old, .. } | Act::Link { old, .. } => old,
    };
    match subject {
        Subject::Path { path, .. } => {
            String::from_utf8_lossy(path).chars().flat_map(char::escape_default).take(MAX_TEXT).collect()
        }
        Subject::Descriptor(number) => format!("descriptor {number}"),
    }
}
