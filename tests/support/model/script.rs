//! Scripts: what the stand-in model answers, as a value built step by step.
//!
//! Invariant: a reply is some steps before and one act; the act ends the reply.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

/// The replies of one conversation, in order. When they are used up, the model says so and the
/// turn ends.
pub(crate) struct Script {
    name: String,
    replies: Vec<Reply>,
    /// Steps of the reply that is being built.
    open: Vec<Before>,
}

struct Reply {
    before: Vec<Before>,
    act: Act,
    again: Option<Again>,
}

/// What has to be seen in the output of an act for it to be done once more.
struct Again {
    /// In lower case.
    sign: String,
    /// A shell command in between, whose output decides nothing: as one who reads again.
    look: Act,
    most: u32,
}

/// What a conversation is at, by the outputs of tools so far.
pub(super) struct Turn<'a> {
    pub(super) before: &'a [Before],
    pub(super) act: &'a Act,
    /// Number of the reply in the script.
    pub(super) reply: usize,
}

/// What happens inside a reply before its act.
pub(super) enum Before {
    Say(String),
    Also(Value),
    Wait(Condition),
    Fault(Fault),
}

/// What ends a reply. All but `Message` and `Over` are calls of a tool; its output asks for the next reply.
pub(super) enum Act {
    Shell {
        command: String,
        arguments: Value,
    },
    Patch(String),
    Write {
        path: String,
        content: String,
    },
    Call {
        name: String,
        namespace: Option<String>,
        arguments: Value,
    },
    Item(Value),
    Message(String),
    /// The script has no such reply.
    Over,
}

pub(super) enum Condition {
    Latch(Latch),
    Until { what: String, holds: Box<dyn Fn() -> bool + Send + Sync> },
    Time(Duration),
}

impl Condition {
    pub(super) fn what(&self) -> String {
        match self {
            Self::Latch(_) => "a latch".to_owned(),
            Self::Until { what, .. } => what.clone(),
            Self::Time(time) => format!("{time:?} to pass"),
        }
    }
}

impl Script {
    /// An empty script; a prompt chooses it by `script:NAME`.
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), replies: Vec::new(), open: Vec::new() }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// What comes after these outputs. Each moves the script on by one reply, but for those that tell
    /// an act to be done again. Steps at the end of a script need no act: a fault that fires every
    /// time is an end, too.
    pub(super) fn turn(&self, outputs: &[String]) -> Turn<'_> {
        let mut reply = 0;
        let mut tries = 0;
        let mut looking = false;
        for output in outputs {
            let again = self.replies.get(reply).and_then(|reply| reply.again.as_ref());
            match again {
                Some(_) if looking => looking = false,
                Some(again) if tries < again.most && output.to_lowercase().contains(&again.sign) => {
                    tries += 1;
                    looking = true;
                }
                _ => (reply, tries) = (reply + 1, 0),
            }
        }
        let (before, act): (&[Before], _) = match self.replies.get(reply) {
            Some(Reply { again: Some(again), .. }) if looking => (&[], &again.look),
            // Its steps before were taken the first time.
            Some(Reply { act, .. }) if tries > 0 => (&[], act),
            Some(Reply { before, act, .. }) => (before, act),
            None if reply == self.replies.len() => (&self.open, &Act::Over),
            None => (&[], &Act::Over),
        };
        Turn { before, act, reply }
    }

    fn act(mut self, act: Act) -> Self {
        self.replies.push(Reply { before: std::mem::take(&mut self.open), act, again: None });
        self
    }

    fn before(mut self, step: Before) -> Self {
        self.open.push(step);
        self
    }

    // Acts: each ends a reply.

    /// Runs a shell command.
    pub(crate) fn shell(self, command: &str) -> Self {
        self.shell_with(command, json!({}))
    }

    /// The same with further arguments of codex's `exec_command`, say `yield_time_ms`.
    pub(crate) fn shell_with(self, command: &str, arguments: Value) -> Self {
        self.act(Act::Shell { command: command.to_owned(), arguments })
    }

    /// Applies a patch, from `*** Begin Patch` to `*** End Patch`. Codex only.
    pub(crate) fn patch(self, patch: &str) -> Self {
        self.act(Act::Patch(patch.to_owned()))
    }

    /// Makes a new file with the editing tool of whoever asks: a patch for codex, `Write` for claude
    /// (which wants an absolute path).
    pub(crate) fn write(self, path: &str, content: &str) -> Self {
        self.act(Act::Write { path: path.to_owned(), content: content.to_owned() })
    }

    /// Calls any tool by name; `namespace` is an MCP server's.
    pub(crate) fn call(self, namespace: Option<&str>, name: &str, arguments: Value) -> Self {
        let namespace = namespace.map(str::to_owned);
        self.act(Act::Call { name: name.to_owned(), namespace, arguments })
    }

    /// Any item of output, as it is.
    pub(crate) fn item(self, item: Value) -> Self {
        self.act(Act::Item(item))
    }

    /// The final answer: the turn ends here.
    pub(crate) fn message(self, text: &str) -> Self {
        self.act(Act::Message(text.to_owned()))
    }

    /// While the output of the act just given holds `sign` (whatever the case of its letters), the
    /// model runs `look` and does the act again, at most so often.
    pub(crate) fn again_on(mut self, sign: &str, look: &str, most: u32) -> Self {
        let look = Act::Shell { command: look.to_owned(), arguments: json!({}) };
        let reply = self.replies.last_mut().expect("an act before");
        reply.again = Some(Again { sign: sign.to_lowercase(), look, most });
        self
    }

    // Steps before the act of the same reply.

    /// Says something before the act.
    pub(crate) fn say(self, text: &str) -> Self {
        self.before(Before::Say(text.to_owned()))
    }

    /// Any item of output before the act, say a reasoning.
    pub(crate) fn also(self, item: Value) -> Self {
        self.before(Before::Also(item))
    }

    /// Answers nothing until the latch is open.
    pub(crate) fn wait(self, latch: &Latch) -> Self {
        self.before(Before::Wait(Condition::Latch(latch.clone())))
    }

    /// Answers nothing until the file exists.
    pub(crate) fn wait_for_file(self, file: impl Into<PathBuf>) -> Self {
        let file = file.into();
        self.wait_until(&format!("{}", file.display()), move || file.exists())
    }

    /// Answers nothing until this holds; `what` is for the complaint when it never does.
    pub(crate) fn wait_until(self, what: &str, holds: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        self.before(Before::Wait(Condition::Until { what: what.to_owned(), holds: Box::new(holds) }))
    }

    /// Answers nothing until the server stops: a model that an agent waits for until it is ended.
    /// (Codex lets a command run on after some seconds and asks what to do, so an agent that is to
    /// hang in a command needs this behind it.)
    pub(crate) fn hang(self) -> Self {
        self.wait(&Latch::closed())
    }

    /// Answers nothing for this long: a slow model. To wait for something, wait for it.
    pub(crate) fn sleep(self, time: Duration) -> Self {
        self.before(Before::Wait(Condition::Time(time)))
    }

    /// Answers with an HTTP error, every time.
    pub(crate) fn http(self, status: u16) -> Self {
        self.fault(Fault::http(status))
    }

    /// The stream ends with an error, every time.
    pub(crate) fn error(self, code: &str, message: &str) -> Self {
        self.fault(Fault::error(code, message))
    }

    /// Goes wrong in this way.
    pub(crate) fn fault(self, fault: Fault) -> Self {
        self.before(Before::Fault(fault))
    }
}

/// A way for a reply to go wrong: every time, or the first few times that a conversation asks.
pub(crate) struct Fault {
    kind: FaultKind,
    times: Option<u32>,
}

enum FaultKind {
    Http { status: u16, headers: Vec<(String, String)>, body: Option<Value> },
    Drop,
    Error { code: String, message: String },
}

impl Fault {
    /// An HTTP status instead of a stream.
    pub(crate) fn http(status: u16) -> Self {
        Self { kind: FaultKind::Http { status, headers: Vec::new(), body: None }, times: None }
    }

    /// The stream is cut after its first event.
    pub(crate) fn drop_stream() -> Self {
        Self { kind: FaultKind::Drop, times: None }
    }

    /// An error event inside the stream.
    pub(crate) fn error(code: &str, message: &str) -> Self {
        Self { kind: FaultKind::Error { code: code.to_owned(), message: message.to_owned() }, times: None }
    }

    /// Only the first `times` times.
    pub(crate) fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// The body of an HTTP error.
    pub(crate) fn with_body(mut self, json: Value) -> Self {
        if let FaultKind::Http { body, .. } = &mut self.kind {
            *body = Some(json);
        }
        self
    }

    /// A header of an HTTP error.
    pub(crate) fn with_header(mut self, name: &str, value: &str) -> Self {
        if let FaultKind::Http { headers, .. } = &mut self.kind {
            headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    pub(super) fn limit(&self) -> Option<u32> {
        self.times
    }

    pub(super) fn status(&self) -> Option<u16> {
        match &self.kind {
            FaultKind::Http { status, .. } => Some(*status),
            _ => None,
        }
    }

    pub(super) fn headers(&self) -> &[(String, String)] {
        match &self.kind {
            FaultKind::Http { headers, .. } => headers,
            _ => &[],
        }
    }

    pub(super) fn body(&self) -> Option<&Value> {
        match &self.kind {
            FaultKind::Http { body, .. } => body.as_ref(),
            _ => None,
        }
    }

    /// Code and message of an error inside the stream; `None`: the stream is cut.
    pub(super) fn in_stream(&self) -> Option<(&str, &str)> {
        match &self.kind {
            FaultKind::Error { code, message } => Some((code, message)),
            _ => None,
        }
    }
}

/// Something that replies wait for: opened by the test, or once enough replies wait for it.
#[derive(Clone)]
pub(crate) struct Latch(Arc<LatchState>);

struct LatchState {
    arrived: AtomicUsize,
    /// Open once this many have arrived; 0 when it is opened by hand.
    opens_after: Mutex<Option<usize>>,
}

impl Latch {
    /// Closed until [`Latch::open`].
    pub(crate) fn closed() -> Self {
        Self(Arc::new(LatchState { arrived: AtomicUsize::new(0), opens_after: Mutex::new(None) }))
    }

    /// Opens by itself once this many replies wait for it: a meeting point.
    pub(crate) fn opens_after(arrivals: usize) -> Self {
        let latch = Self::closed();
        *latch.threshold() = Some(arrivals);
        latch
    }

    pub(crate) fn open(&self) {
        *self.threshold() = Some(0);
    }

    /// How many replies have come to it so far.
    pub(crate) fn arrivals(&self) -> usize {
        self.0.arrived.load(Ordering::SeqCst)
    }

    pub(super) fn arrive(&self) {
        self.0.arrived.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn is_open(&self) -> bool {
        self.threshold().is_some_and(|threshold| self.arrivals() >= threshold)
    }

    fn threshold(&self) -> std::sync::MutexGuard<'_, Option<usize>> {
        self.0.opens_after.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
