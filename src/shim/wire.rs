//! What goes over the socket between the supervisor and a shim.
//!
//! A frame is a kind (one byte), a length (four bytes, little-endian) and so many bytes. Binary and
//! not JSON, because environments, paths and prompts are bytes and a prompt can be megabytes.
//! Both sides are the same file on disk (the shim is started from `/proc/self/exe`), so there is one
//! version; a first frame of another is refused.
//!
//! Invariant: no frame is larger than its direction's bound, and a frame that does not parse to the
//! last byte is an error.
//! Deliberately absent: sockets; see `shim::link` and `host::process`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::Duration;

use crate::core::call::{Answer, CallId, Grant, Refusal, Tally, Target};
use crate::core::effect::Ending;
use crate::core::path::RepoPath;
use crate::core::reason::Exit;

mod gate;

pub use gate::{ANSWER_WITHIN, GateTerms, Gated, PatternText};

const VERSION: u8 = 3;
const HEADER: usize = 5;

/// The largest frame to a shim: a launch with its prompt.
pub const MAX_ORDER: usize = 64 << 20;
/// The largest frame from a shim: one read of output.
pub const MAX_REPORT: usize = 128 << 10;

/// From the supervisor to the shim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// The first frame, once: start this.
    Launch(Box<Launch>),
    /// End the tree. A later, harsher one overrides.
    End(Ending),
    /// What a call that was asked about is told, and what need not be asked about any more.
    Answer { call: CallId, answer: Answer, grants: Vec<Grant> },
    /// These paths changed through somebody else: the next write to each is told so.
    Stale(Vec<RepoPath>),
    /// Nothing that was granted so far is any more: ask again.
    Withdraw,
    /// Tell at once what the gate has let through so far, and then [`Report::Flushed`] with this number.
    Flush(u64),
    /// Put these bytes into the agent's log, as a line of their own.
    Note(Vec<u8>),
}

/// Everything a shim needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Absolute path of the program.
    pub program: PathBuf,
    /// All arguments; the first is the program's name as it was typed.
    pub argv: Vec<OsString>,
    /// The complete environment.
    pub env: Vec<(OsString, OsString)>,
    pub cwd: PathBuf,
    /// What the agent reads on its standard input; `None`: `/dev/null`.
    pub stdin: Option<Vec<u8>>,
    pub stdout: PathBuf,
    pub stderr: PathBuf,
    /// Bytes kept of each of the two logs.
    pub log_limit: u64,
    /// Where the exit record is written.
    pub exit_record: PathBuf,
    /// Send standard output to the supervisor as well.
    pub forward: bool,
    /// From SIGTERM to SIGKILL for what the leader leaves behind.
    pub leftover_grace: Duration,
    /// A cgroup v2 directory to be made for this tree.
    pub cgroup: Option<PathBuf>,
    /// What its writes are judged by; `None`: nobody judges them.
    pub gate: Option<GateTerms>,
}

/// From the shim to the supervisor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// The agent runs. Its start time is field 22 of proc_pid_stat(5).
    Started { pid: u32, start: u64, gated: Option<Gated> },
    /// It could not be started; the shim is gone.
    NotStarted { step: Step, errno: i32 },
    /// Bytes of its standard output.
    Output(Vec<u8>),
    /// So many bytes of standard output were not sent, because the supervisor did not read.
    Gap(u64),
    /// There was output that is not forwarded. Sent at most every [`ALIVE_EVERY`].
    Alive,
    /// A call waits for [`Order::Answer`]: it concerns paths that the shim has no rule for. At most
    /// [`crate::core::call::MAX_TARGETS`] at a time. What came before was told before.
    Ask { call: CallId, targets: Vec<Target> },
    /// What the gate let through since the last one, by path.
    Wrote(Vec<(RepoPath, Tally)>),
    /// So many calls that it let through are missing there, because the supervisor did not read.
    Untold(u64),
    /// What it refused by itself, and how often.
    Refused(Vec<(Refusal, u32)>),
    /// Everything that the gate let through before [`Order::Flush`] came was told before this.
    Flushed(u64),
    /// The tree is empty, or (`survivors`) the shim gave up on so many processes.
    Ended { exit: Exit, survivors: u32 },
}

/// The least time between two [`Report::Alive`].
pub const ALIVE_EVERY: Duration = Duration::from_millis(100);

/// The step of a launch that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Prepare,
    Stdin,
    Stdout,
    Stderr,
    /// A gate was asked for, and cannot be had.
    Gate,
    Exec,
}

/// Why a frame cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("a frame of {0} bytes is larger than allowed")]
    TooLarge(usize),
    #[error("a frame of kind {0} does not parse")]
    Malformed(u8),
    #[error("the other side speaks version {0}")]
    Version(u8),
}

const LAUNCH: u8 = 1;
const END: u8 = 2;
const ANSWER: u8 = 3;
const STALE: u8 = 4;
const FLUSH: u8 = 5;
const NOTE: u8 = 6;
const WITHDRAW: u8 = 7;
const STARTED: u8 = 16;
const NOT_STARTED: u8 = 17;
const OUTPUT: u8 = 18;
const GAP: u8 = 19;
const ALIVE: u8 = 20;
const ENDED: u8 = 21;
const ASK: u8 = 22;
const WROTE: u8 = 23;
const UNTOLD: u8 = 24;
const REFUSED: u8 = 25;
const FLUSHED: u8 = 26;

impl Order {
    /// The frame.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut frame = Vec::new();
        match self {
            Self::Launch(launch) => put(&mut frame, LAUNCH, |out| launch.write(out)),
            Self::End(Ending::AtOnce) => put(&mut frame, END, |out| out.push(1)),
            Self::End(Ending::Orderly { grace }) => put(&mut frame, END, |out| {
                out.push(0);
                put_duration(out, *grace);
            }),
            Self::Answer { call, answer, grants } => {
                put(&mut frame, ANSWER, |out| gate::put_answer(out, *call, *answer, grants));
            }
            Self::Stale(paths) => put(&mut frame, STALE, |out| gate::put_list(out, paths, gate::put_path)),
            Self::Withdraw => put(&mut frame, WITHDRAW, |_| {}),
            Self::Flush(number) => put(&mut frame, FLUSH, |out| out.extend(number.to_le_bytes())),
            Self::Note(line) => put(&mut frame, NOTE, |out| out.extend_from_slice(line)),
        }
        frame
    }

    fn decode(kind: u8, payload: &[u8]) -> Result<Self, WireError> {
        let mut input = Input(payload);
        let order = match kind {
            LAUNCH => {
                let version = input.byte().ok_or(WireError::Malformed(kind))?;
                if version != VERSION {
                    return Err(WireError::Version(version));
                }
                input.launch().map(|launch| Self::Launch(Box::new(launch)))
            }
            END => input.ending().map(Self::End),
            ANSWER => gate::answer(&mut input).map(|(call, answer, grants)| Self::Answer { call, answer, grants }),
            STALE => gate::list(&mut input, gate::path).map(Self::Stale),
            WITHDRAW => Some(Self::Withdraw),
            FLUSH => input.u64().map(Self::Flush),
            NOTE => Some(Self::Note(std::mem::take(&mut input.0).to_vec())),
            _ => None,
        };
        order.filter(|_| input.0.is_empty()).ok_or(WireError::Malformed(kind))
    }
}

impl Report {
    /// Appends the frame to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Started { pid, start, gated } => put(out, STARTED, |out| {
                out.extend(pid.to_le_bytes());
                out.extend(start.to_le_bytes());
                gate::put_gated(out, *gated);
            }),
            Self::NotStarted { step, errno } => put(out, NOT_STARTED, |out| {
                out.push(*step as u8);
                out.extend(errno.to_le_bytes());
            }),
            Self::Output(bytes) => Self::encode_output(bytes, out),
            Self::Gap(bytes) => put(out, GAP, |out| out.extend(bytes.to_le_bytes())),
            Self::Alive => put(out, ALIVE, |_| {}),
            Self::Ask { call, targets } => put(out, ASK, |out| {
                out.extend(call.0.to_le_bytes());
                gate::put_list(out, targets, gate::put_target);
            }),
            Self::Wrote(paths) => put(out, WROTE, |out| gate::put_list(out, paths, gate::put_wrote)),
            Self::Untold(calls) => put(out, UNTOLD, |out| out.extend(calls.to_le_bytes())),
            Self::Refused(refusals) => put(out, REFUSED, |out| gate::put_list(out, refusals, gate::put_refusal)),
            Self::Flushed(number) => put(out, FLUSHED, |out| out.extend(number.to_le_bytes())),
            Self::Ended { exit, survivors } => put(out, ENDED, |out| {
                let (tag, value) = match exit {
                    Exit::Code(code) => (0, *code),
                    Exit::Signal(signal) => (1, *signal),
                    Exit::Lost => (2, 0),
                };
                out.push(tag);
                out.extend(value.to_le_bytes());
                out.extend(survivors.to_le_bytes());
            }),
        }
    }

    /// Appends the frame of [`Report::Output`] without owning the bytes.
    pub fn encode_output(bytes: &[u8], out: &mut Vec<u8>) {
        put(out, OUTPUT, |out| out.extend_from_slice(bytes));
    }

    fn decode(kind: u8, payload: &[u8]) -> Result<Self, WireError> {
        let mut input = Input(payload);
        let report = match kind {
            STARTED => input.started(),
            NOT_STARTED => input.step().zip(input.i32()).map(|(step, errno)| Self::NotStarted { step, errno }),
            OUTPUT => Some(Self::Output(std::mem::take(&mut input.0).to_vec())),
            GAP => input.u64().map(Self::Gap),
            ALIVE => Some(Self::Alive),
            ASK => input.u64().and_then(|call| {
                Some(Self::Ask { call: CallId(call), targets: gate::list(&mut input, gate::target)? })
            }),
            WROTE => gate::list(&mut input, gate::wrote).map(Self::Wrote),
            UNTOLD => input.u64().map(Self::Untold),
            FLUSHED => input.u64().map(Self::Flushed),
            REFUSED => gate::list(&mut input, gate::refusal).map(Self::Refused),
            ENDED => input.exit().zip(input.u32()).map(|(exit, survivors)| Self::Ended { exit, survivors }),
            _ => None,
        };
        report.filter(|_| input.0.is_empty()).ok_or(WireError::Malformed(kind))
    }
}

/// Bytes that arrived, cut into frames. Holds at most one incomplete frame and what one read added.
#[derive(Debug, Default)]
pub struct Frames {
    bytes: Vec<u8>,
    /// Where the first frame not taken yet begins.
    from: usize,
}

impl Frames {
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.from);
        self.from = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole order, if there is one.
    pub fn next_order(&mut self) -> Result<Option<Order>, WireError> {
        self.next_frame(MAX_ORDER, Order::decode)
    }

    /// The next whole report, if there is one.
    pub fn next_report(&mut self) -> Result<Option<Report>, WireError> {
        self.next_frame(MAX_REPORT, Report::decode)
    }

    fn next_frame<T>(
        &mut self,
        max: usize,
        decode: fn(u8, &[u8]) -> Result<T, WireError>,
    ) -> Result<Option<T>, WireError> {
        let rest = self.bytes.get(self.from..).unwrap_or_default();
        let Some((header, rest)) = rest.split_first_chunk::<HEADER>() else { return Ok(None) };
        let [kind, l0, l1, l2, l3] = *header;
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        if length > max {
            return Err(WireError::TooLarge(length));
        }
        let Some(payload) = rest.get(..length) else { return Ok(None) };
        let frame = decode(kind, payload)?;
        self.from += HEADER + length;
        if self.from == self.bytes.len() {
            self.from = 0;
            self.bytes.clear();
            self.bytes.shrink_to(MAX_REPORT);
        }
        Ok(Some(frame))
    }
}

impl Launch {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        put_bytes(out, self.program.as_os_str().as_bytes());
        put_count(out, self.argv.len());
        self.argv.iter().for_each(|arg| put_bytes(out, arg.as_bytes()));
        put_count(out, self.env.len());
        for (name, value) in &self.env {
            put_bytes(out, name.as_bytes());
            put_bytes(out, value.as_bytes());
        }
        put_bytes(out, self.cwd.as_os_str().as_bytes());
        put_option(out, self.stdin.as_deref());
        put_bytes(out, self.stdout.as_os_str().as_bytes());
        put_bytes(out, self.stderr.as_os_str().as_bytes());
        out.extend(self.log_limit.to_le_bytes());
        put_bytes(out, self.exit_record.as_os_str().as_bytes());
        out.push(u8::from(self.forward));
        put_duration(out, self.leftover_grace);
        put_option(out, self.cgroup.as_deref().map(|path| path.as_os_str().as_bytes()));
        out.push(u8::from(self.gate.is_some()));
        if let Some(terms) = &self.gate {
            gate::put_terms(out, terms);
        }
    }
}

fn put(out: &mut Vec<u8>, kind: u8, payload: impl FnOnce(&mut Vec<u8>)) {
    out.push(kind);
    let length_at = out.len();
    out.extend([0; 4]);
    payload(out);
    let length = u32::try_from(out.len() - length_at - 4).unwrap_or(u32::MAX);
    out[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.extend(u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_count(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn put_option(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    out.push(u8::from(bytes.is_some()));
    if let Some(bytes) = bytes {
        put_bytes(out, bytes);
    }
}

/// Milliseconds: finer is of no use to a grace.
fn put_duration(out: &mut Vec<u8>, duration: Duration) {
    out.extend(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).to_le_bytes());
}

/// What is left of a payload; every take shortens it or fails.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*first)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn bytes(&mut self) -> Option<Vec<u8>> {
        let length = self.u32()? as usize;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes.to_vec())
    }

    fn os(&mut self) -> Option<OsString> {
        self.bytes().map(OsString::from_vec)
    }

    fn path(&mut self) -> Option<PathBuf> {
        self.os().map(PathBuf::from)
    }

    fn duration(&mut self) -> Option<Duration> {
        self.u64().map(Duration::from_millis)
    }

    fn ending(&mut self) -> Option<Ending> {
        Some(if self.flag()? { Ending::AtOnce } else { Ending::Orderly { grace: self.duration()? } })
    }

    fn exit(&mut self) -> Option<Exit> {
        let (tag, value) = (self.byte()?, self.i32()?);
        match tag {
            0 => Some(Exit::Code(value)),
            1 => Some(Exit::Signal(value)),
            2 => Some(Exit::Lost),
            _ => None,
        }
    }

    fn step(&mut self) -> Option<Step> {
        let tag = self.byte()?;
        let steps = [Step::Prepare, Step::Stdin, Step::Stdout, Step::Stderr, Step::Gate, Step::Exec];
        steps.into_iter().find(|step| *step as u8 == tag)
    }

    fn started(&mut self) -> Option<Report> {
        let (pid, start) = (self.u32()?, self.u64()?);
        let gated = if self.flag()? { Some(gate::gated(self)?) } else { None };
        Some(Report::Started { pid, start, gated })
    }

    fn launch(&mut self) -> Option<Launch> {
        let program = self.path()?;
        // Collecting grows with what is there, whatever the count claims.
        let argv = (0..self.u32()?).map(|_| self.os()).collect::<Option<_>>()?;
        let env = (0..self.u32()?).map(|_| Some((self.os()?, self.os()?))).collect::<Option<_>>()?;
        Some(Launch {
            program,
            argv,
            env,
            cwd: self.path()?,
            stdin: if self.flag()? { Some(self.bytes()?) } else { None },
            stdout: self.path()?,
            stderr: self.path()?,
            log_limit: self.u64()?,
            exit_record: self.path()?,
            forward: self.flag()?,
            leftover_grace: self.duration()?,
            cgroup: if self.flag()? { Some(self.path()?) } else { None },
            gate: if self.flag()? { Some(gate::terms(self)?) } else { None },
        })
    }
}

/// Whether a program can be given these as an argument or a variable: no NUL inside.
#[must_use]
pub fn passable(text: &OsStr) -> bool {
    !text.as_bytes().contains(&0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launch() -> Order {
        Order::Launch(Box::new(Launch {
            program: "/bin/sh".into(),
            argv: vec!["sh".into(), OsString::from_vec(vec![0xff, b'\n'])],
            env: vec![("A".into(), "".into()), ("B".into(), "=".into())],
            cwd: "/tmp".into(),
            stdin: Some(b"prompt".to_vec()),
            stdout: "/o".into(),
            stderr: "/e".into(),
            log_limit: u64::MAX,
            exit_record: "/x".into(),
            forward: true,
            leftover_grace: Duration::from_secs(2),
            cgroup: None,
            gate: Some(gate::tests::example()),
        }))
    }

    #[test]
    fn orders_survive_the_wire_in_any_cut() {
        let mut orders = vec![
            launch(),
            Order::End(Ending::AtOnce),
            Order::End(Ending::Orderly { grace: Duration::from_millis(1500) }),
        ];
        orders.extend(gate::tests::orders());
        let bytes: Vec<u8> = orders.iter().flat_map(Order::encode).collect();
        for step in [1, 3, bytes.len()] {
            let mut frames = Frames::default();
            let mut seen = Vec::new();
            for piece in bytes.chunks(step) {
                frames.push(piece);
                while let Some(order) = frames.next_order().unwrap() {
                    seen.push(order);
                }
            }
            assert_eq!(seen, orders);
        }
    }

    #[test]
    fn reports_survive_the_wire() {
        let mut reports = vec![
            Report::Started { pid: 7, start: u64::MAX, gated: None },
            Report::Started { pid: 7, start: 0, gated: Some(Gated { wait_killable: true, sync_wake: false }) },
            Report::NotStarted { step: Step::Exec, errno: 2 },
            Report::Output(b"x\0y".to_vec()),
            Report::Gap(1 << 40),
            Report::Alive,
            Report::Ended { exit: Exit::Code(3), survivors: 0 },
            Report::Ended { exit: Exit::Signal(9), survivors: 2 },
            Report::Ended { exit: Exit::Lost, survivors: 1 },
        ];
        reports.extend(gate::tests::reports());
        let mut bytes = Vec::new();
        for report in &reports {
            report.encode(&mut bytes);
        }
        let mut frames = Frames::default();
        frames.push(&bytes);
        for report in reports {
            assert_eq!(frames.next_report(), Ok(Some(report)));
        }
        assert_eq!(frames.next_report(), Ok(None));
    }

    #[test]
    fn a_damaged_frame_is_an_error() {
        let check = |bytes: &[u8], expected| {
            let mut frames = Frames::default();
            frames.push(bytes);
            assert_eq!(frames.next_order(), Err(expected));
        };
        check(&[LAUNCH, 0, 0, 0, 255], WireError::TooLarge(255 << 24));
        check(&[LAUNCH, 1, 0, 0, 0, 9], WireError::Version(9));
        check(&[LAUNCH, 0, 0, 0, 0], WireError::Malformed(LAUNCH));
        check(&[END, 2, 0, 0, 0, 1, 1], WireError::Malformed(END));
        check(&[77, 0, 0, 0, 0], WireError::Malformed(77));
        // A count of four thousand million arguments in a frame of a few bytes.
        check(&[LAUNCH, 9, 0, 0, 0, VERSION, 0, 0, 0, 0, 255, 255, 255, 255], WireError::Malformed(LAUNCH));
        let whole = launch().encode();
        for end in HEADER..whole.len() {
            let mut cut = whole[..end].to_vec();
            let length = u32::try_from(end - HEADER).unwrap();
            cut[1..HEADER].copy_from_slice(&length.to_le_bytes());
            check(&cut, WireError::Malformed(LAUNCH));
        }
    }
}
