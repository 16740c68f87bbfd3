//! The shim's loop: one poll over the socket, SIGCHLD, the agent's two pipes and its gate.
//!
//! Invariant: each turn does a bounded amount of work, and nothing in it waits but the poll.

use std::io::{self, PipeReader, Read};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::sys::signal::{SIGCHLD, SigSet};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{WaitOptions, wait};

use super::clock;
use super::ending::{Ender, ORPHAN_GRACE};
use super::gate::Gate;
use super::link::Link;
use super::logs::{Kept, Log};
use super::record::{Cause, ExitRecord};
use super::start::{Started, become_shim, start};
use super::wire::{Order, Report};
use crate::core::effect::Ending;
use crate::core::reason::Exit;

/// One read of output: what a pipe holds.
const READ: usize = 64 << 10;

/// The most that is read from a pipe after the tree is gone. A process outside the tree may hold its
/// other end, so its end is not waited for; a pipe holds at most a mebibyte (pipe(7)).
const LAST_READS: usize = (1 << 20) / READ;

/// `supervise shim`. Exit code 0: the tree is empty and the record written.
pub fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        // There is nobody to tell: the supervisor sees the end of the socket.
        Err(_) => ExitCode::FAILURE,
    }
}

fn serve() -> io::Result<()> {
    let mut buffer = vec![0; READ];
    let mut link = Link::new(become_shim()?);
    let launch = link.launch(&mut buffer)?;
    let terms = Terms {
        exit_record: launch.exit_record.clone(),
        forward: launch.forward,
        leftover_grace: launch.leftover_grace,
        launched: (clock::now(), clock::wall()),
    };
    let started = match start(launch) {
        Ok(started) => started,
        Err(refusal) => {
            link.report(&Report::NotStarted { step: refusal.step, errno: refusal.errno });
            link.close(&mut buffer);
            return Ok(());
        }
    };
    // From here on no signal but SIGKILL ends the shim. The agent is born and has its own mask.
    SigSet::all().thread_set_mask()?;
    let children = SigSet::from_iter([SIGCHLD]);
    let signals = SignalFd::with_flags(&children, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
    let gated = started.gate.as_ref().and_then(Gate::gated);
    link.report(&Report::Started { pid: started.pid, start: started.start, gated });

    let mut shim = Shim::new(link, signals, started, terms, buffer);
    let survivors = shim.run_to_the_end()?;
    shim.conclude(survivors)
}

/// What of the launch matters later.
#[derive(Debug)]
struct Terms {
    exit_record: PathBuf,
    forward: bool,
    leftover_grace: Duration,
    /// When, for measuring and for people.
    launched: (Instant, String),
}

#[derive(Debug)]
struct Shim {
    link: Link,
    signals: SignalFd,
    stdout: Stream,
    /// `None`: it goes where standard output goes.
    stderr: Option<Stream>,
    /// Number and start time.
    leader: (u32, u64),
    exit: Option<Exit>,
    ender: Ender,
    cause: Cause,
    cgroup: Option<PathBuf>,
    gate: Option<Gate>,
    /// The supervisor wants to be told all at once.
    flush: Option<u64>,
    terms: Terms,
    buffer: Vec<u8>,
}

/// What a wait has found.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "one for each descriptor; they are independent")]
struct Ready {
    children: bool,
    link: bool,
    stdout: bool,
    stderr: bool,
    gate: Call,
}

/// Of the gate: whether a call is waiting.
#[derive(Clone, Copy, Debug)]
enum Call {
    None,
    Waits,
    /// Nobody is left who could call.
    Never,
}

/// One of the agent's outputs.
#[derive(Debug)]
struct Stream {
    /// `None`: it has been read to its end.
    pipe: Option<PipeReader>,
    log: Log,
}

impl Shim {
    fn new(link: Link, signals: SignalFd, started: Started, terms: Terms, buffer: Vec<u8>) -> Self {
        let stream = |(pipe, log)| Stream { pipe: Some(pipe), log };
        Self {
            link,
            signals,
            stdout: stream(started.stdout),
            stderr: started.stderr.map(stream),
            leader: (started.pid, started.start),
            exit: None,
            ender: Ender::new(std::process::id(), started.cgroup.clone()),
            cause: Cause::Leader,
            cgroup: started.cgroup,
            gate: started.gate,
            flush: None,
            terms,
            buffer,
        }
    }

    /// Until the tree is empty. Returns who is left, where it never was.
    fn run_to_the_end(&mut self) -> io::Result<Vec<u32>> {
        // A child that ended before the mask was set has sent its signal to nobody.
        let mut empty = self.reap();
        let mut survivors = Vec::new();
        while !empty && survivors.is_empty() {
            // Also where it was a report that found nobody: what is closed is not waited for.
            self.end_if_alone();
            let now = clock::now();
            self.ender.advance(now);
            let Ready { children, link, stdout, stderr, gate } = self.wait(now)?;
            // What was withdrawn before a call was made is not granted to it.
            if link {
                self.follow_orders();
            }
            let now = clock::now();
            match (&mut self.gate, gate) {
                (Some(keeper), Call::Waits) => keeper.ready(now),
                (Some(keeper), Call::Never) => keeper.hung_up(),
                _ => {}
            }
            if stdout {
                self.read_stdout(1);
            }
            if stderr {
                self.read_stderr(1);
            }
            // Also when no signal came: a deadline of killing is a good time to look.
            if children || self.ender.begun() {
                empty = self.reap();
            }
            survivors = self.ender.given_up(now).unwrap_or_default();
            self.tell(now);
        }
        self.read_stdout(LAST_READS);
        self.read_stderr(LAST_READS);
        Ok(if empty { Vec::new() } else { survivors })
    }

    /// Closes the logs, writes the exit record and says the last word.
    fn conclude(mut self, survivors: Vec<u32>) -> io::Result<()> {
        if let Some(cgroup) = &self.cgroup {
            // Survivors keep it: then it says where they are.
            let _ = std::fs::remove_dir(cgroup);
        }
        let exit = self.exit.unwrap_or(Exit::Lost);
        let left = u32::try_from(survivors.len()).unwrap_or(u32::MAX);
        let (launched, started_at) = self.terms.launched;
        let record = ExitRecord {
            version: ExitRecord::current_version(),
            pid: self.leader.0,
            start: self.leader.1,
            code: if let Exit::Code(code) = exit { Some(code) } else { None },
            signal: if let Exit::Signal(signal) = exit { Some(signal) } else { None },
            duration_ms: u64::try_from((clock::now() - launched).as_millis()).unwrap_or(u64::MAX),
            started_at,
            ended_at: clock::wall(),
            cause: self.cause,
            cgroup: self.cgroup.is_some(),
            gated: self.gate.is_some(),
            survivors,
            stdout: self.stdout.log.finish().into(),
            stderr: self.stderr.map_or_else(Kept::default, |stderr| stderr.log.finish()).into(),
        };
        let written = record.write(&self.terms.exit_record);
        while let Some(report) = self.gate.as_mut().and_then(|gate| gate.report(clock::now(), true)) {
            self.link.wait_for_room(&mut self.buffer);
            self.link.report(&report);
        }
        self.link.report(&Report::Ended { exit, survivors: left });
        self.link.close(&mut self.buffer);
        written
    }

    /// Waits for something to do, or for the next deadline.
    fn wait(&self, now: Instant) -> io::Result<Ready> {
        // What is closed gives its place to a descriptor that is asked for nothing.
        let nothing = || PollFd::new(&self.signals, PollFlags::empty());
        let mut fds = [
            PollFd::new(&self.signals, PollFlags::IN),
            if self.link.is_open() { PollFd::new(&self.link, self.link.poll_flags()) } else { nothing() },
            nothing(),
            nothing(),
            nothing(),
        ];
        if let Some(pipe) = &self.stdout.pipe {
            fds[2] = PollFd::new(pipe, PollFlags::IN);
        }
        if let Some(pipe) = self.stderr.as_ref().and_then(|stderr| stderr.pipe.as_ref()) {
            fds[3] = PollFd::new(pipe, PollFlags::IN);
        }
        let listener = self.gate.as_ref().and_then(Gate::descriptor);
        if let Some(listener) = &listener {
            fds[4] = PollFd::new(listener, PollFlags::IN);
        }
        let timeout = self.deadline().map(|deadline| deadline.saturating_duration_since(now));
        let timeout = timeout.map(Timespec::try_from).transpose().map_err(io::Error::other)?;
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [children, link, stdout, stderr, gate] = fds.each_ref().map(PollFd::revents);
        Ok(Ready {
            children: !children.is_empty(),
            link: !link.is_empty(),
            stdout: !stdout.is_empty(),
            stderr: !stderr.is_empty(),
            gate: if gate.contains(PollFlags::IN) {
                Call::Waits
            } else if gate.is_empty() {
                Call::None
            } else {
                Call::Never
            },
        })
    }

    fn deadline(&self) -> Option<Instant> {
        let gate = self.gate.as_ref();
        let report = gate.and_then(Gate::report_due).filter(|_| self.link.has_room());
        [self.ender.deadline(), gate.and_then(Gate::deadline), report].into_iter().flatten().min()
    }

    /// Sends what the gate has to say, as far as there is room: the rest is summed up meanwhile.
    fn tell(&mut self, now: Instant) {
        let all = self.flush.is_some();
        if let Some(gate) = &mut self.gate {
            gate.expire(now);
            while self.link.has_room()
                && let Some(report) = gate.report(now, all)
            {
                self.link.report(&report);
            }
        }
        if self.link.has_room()
            && let Some(number) = self.flush.take()
        {
            self.link.report(&Report::Flushed(number));
        }
    }

    /// A line of the supervisor's, where the agent's errors go.
    fn note(&mut self, line: &[u8]) {
        let stream = self.stderr.as_mut().unwrap_or(&mut self.stdout);
        stream.log.write(line);
        stream.log.write(b"\n");
    }

    fn follow_orders(&mut self) {
        self.link.flush();
        while let Some(order) = self.link.receive(&mut self.buffer) {
            match (order, &mut self.gate) {
                (Order::End(how), _) => self.end(how, Cause::Asked),
                (Order::Answer { call, answer, grants }, Some(gate)) => gate.answer(call, answer, grants, clock::now()),
                (Order::Stale(paths), Some(gate)) => gate.spoil(paths),
                (Order::Withdraw, Some(gate)) => gate.withdraw(),
                (Order::Flush(number), _) => self.flush = Some(number),
                (Order::Note(line), _) => self.note(&line),
                (Order::Launch(_) | Order::Answer { .. } | Order::Stale(_) | Order::Withdraw, _) => {}
            }
        }
        self.end_if_alone();
    }

    /// Ends the tree if the supervisor is gone.
    fn end_if_alone(&mut self) {
        if !self.link.is_open() {
            self.end(Ending::Orderly { grace: ORPHAN_GRACE }, Cause::SupervisorGone);
        }
    }

    fn end(&mut self, how: Ending, cause: Cause) {
        if !self.ender.begun() {
            self.cause = cause;
            // A call that is held takes no SIGTERM, and must not land after the end of its agent.
            if let Some(gate) = &mut self.gate {
                gate.refuse_all(clock::now());
            }
        }
        self.ender.begin(clock::now(), how);
    }

    /// Waits for all that have ended. `true`: there are no children, and so (this is their subreaper)
    /// no descendants.
    fn reap(&mut self) -> bool {
        while let Ok(Some(_)) = self.signals.read_signal() {}
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if u32::try_from(pid.as_raw_pid()) == Ok(self.leader.0) => {
                    let code = status.exit_status().map(Exit::Code);
                    self.exit = code.or_else(|| status.terminating_signal().map(Exit::Signal));
                }
                Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
                Ok(None) => break,
                Err(_) => return true,
            }
        }
        if self.exit.is_some() {
            // What the leader left behind; or what has had its SIGTERM along with it.
            self.end(Ending::Orderly { grace: self.terms.leftover_grace }, Cause::Leader);
        }
        false
    }

    fn read_stdout(&mut self, reads: usize) {
        let (link, forward) = (&mut self.link, self.terms.forward);
        self.stdout.read(
            &mut self.buffer,
            reads,
            |bytes| {
                if forward { link.output(bytes) } else { link.alive(clock::now()) }
            },
        );
    }

    fn read_stderr(&mut self, reads: usize) {
        let link = &mut self.link;
        if let Some(stderr) = &mut self.stderr {
            stderr.read(&mut self.buffer, reads, |_| link.alive(clock::now()));
        }
    }
}

impl Stream {
    /// Reads what is there, at most `reads` times a buffer.
    fn read(&mut self, buffer: &mut [u8], reads: usize, mut seen: impl FnMut(&[u8])) {
        for _ in 0..reads {
            let Some(pipe) = &mut self.pipe else { return };
            match pipe.read(buffer) {
                Ok(0) => self.pipe = None,
                Ok(read) => {
                    self.log.write(&buffer[..read]);
                    seen(&buffer[..read]);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.pipe = None,
            }
        }
    }
}
