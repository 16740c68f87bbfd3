//! A stand-in for the model behind a coding agent, so that the real programs run offline in tests:
//! OpenAI's Responses API for `codex exec`, Anthropic's Messages API for `claude -p`.
//!
//! ```ignore
//! #[path = "support/model/mod.rs"]
//! mod model;
//! use model::{Latch, Model, Script, hermetic_args};
//!
//! let both = Latch::opens_after(2);                 // no reply before both agents have asked
//! let model = Model::start([
//!     Script::new("api").wait(&both).say("On it.").write("api.py", "x = 1\n").message("done"),
//!     Script::new("docs").wait(&both).shell("echo hi > README").message("done"),
//! ]);
//! // run `codex exec … hermetic_args(model.port()) … "script:api go"`, then:
//! assert_eq!(model.requests_of("api").len(), 2);
//! ```
//!
//! The script is chosen by the last token `script:NAME` in the user's prompts. No conversation is
//! kept: where it is follows from the outputs of tools since that token; each moves the script on by
//! one reply (or, where the script says so, makes it do the same again), in a resumed session too.
//!
//! Invariant: listens on 127.0.0.1 only, and ends with its [`Model`]: dropping it wakes every wait,
//! closes every connection and joins every thread. Every wait has a deadline; one that passed is a
//! complaint, and a [`Model`] dropped with complaints fails the test.
//!
//! Deliberately absent: compressed or chunked requests, TLS, keep-alive: no client here needs them.

#![cfg(test)]

mod http;
mod messages;
mod responses;
mod script;
#[cfg(test)]
mod tests;

pub(crate) use script::{Fault, Latch, Script};

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use script::{Before, Condition};

/// The longest that a step of a script, or a test, waits for its condition.
const LONGEST_WAIT: Duration = Duration::from_mins(2);
/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(5);
/// The most connections at a time; more are turned away.
const MAX_CONNECTIONS: usize = 128;
/// The most requests that are remembered.
const MAX_REQUESTS: usize = 10_000;

/// One request for a reply, as it was received.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Name of the script that its prompt names.
    pub(crate) script: Option<String>,
    /// What the tools that were called since put out, in order.
    pub(crate) outputs: Vec<String>,
    /// What tells one conversation from another, if the client says.
    pub(crate) conversation: Option<String>,
    pub(crate) model: String,
    /// Names of the tools that the client offers.
    pub(crate) tools: Vec<String>,
    pub(crate) body: Value,
}

/// The running server. Ends when dropped.
pub(crate) struct Model {
    port: u16,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    scripts: BTreeMap<String, Script>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    stopping: bool,
    requests: Vec<Request>,
    fired: BTreeMap<FaultKey, u32>,
    /// A handle of each open connection, to close it with, and its thread.
    connections: Vec<(TcpStream, JoinHandle<()>)>,
    complaints: Vec<String>,
}

/// Which fault of which reply in which conversation.
type FaultKey = (Option<String>, String, usize, usize);

impl Model {
    /// Listens on a free port of 127.0.0.1 and plays these scripts.
    pub(crate) fn start(scripts: impl IntoIterator<Item = Script>) -> Self {
        let mut by_name = BTreeMap::new();
        for script in scripts {
            let name = script.name().to_owned();
            assert!(by_name.insert(name.clone(), script).is_none(), "two scripts named {name}");
        }
        let shared = Arc::new(Shared { scripts: by_name, state: Mutex::default(), changed: Condvar::new() });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("a bound address").port();
        let acceptor = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        });
        Self { port, shared, acceptor: Some(acceptor) }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// All requests so far, in order of arrival.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.shared.lock().requests.clone()
    }

    /// Those that played this script.
    pub(crate) fn requests_of(&self, script: &str) -> Vec<Request> {
        self.requests().into_iter().filter(|r| r.script.as_deref() == Some(script)).collect()
    }

    /// Waits until the requests so far are as wanted; fails the test when they never are.
    pub(crate) fn wait_for(&self, what: &str, wanted: impl Fn(&[Request]) -> bool) {
        let held = self.shared.hold(|| wanted(&self.shared.lock().requests));
        assert_eq!(held, Ok(()), "waited in vain for {what}");
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        let connections = {
            let mut state = self.shared.lock();
            state.stopping = true;
            std::mem::take(&mut state.connections)
        };
        self.shared.changed.notify_all();
        // Wakes the acceptor.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        let mut threads: Vec<JoinHandle<()>> = self.acceptor.take().into_iter().collect();
        for (stream, thread) in connections {
            let _ = stream.shutdown(Shutdown::Both);
            threads.push(thread);
        }
        let failed = threads.into_iter().map(JoinHandle::join).filter(Result::is_err).count();
        let complaints = std::mem::take(&mut self.shared.lock().complaints);
        if !std::thread::panicking() {
            assert_eq!((failed, complaints), (0, Vec::new()), "the stand-in model has complaints");
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        let Ok(handle) = stream.try_clone() else { continue };
        let mut state = shared.lock();
        if state.stopping {
            return;
        }
        state.connections.retain(|(_, thread)| !thread.is_finished());
        if state.connections.len() >= MAX_CONNECTIONS {
            continue;
        }
        let for_thread = Arc::clone(shared);
        let thread = std::thread::spawn(move || for_thread.serve(stream));
        state.connections.push((handle, thread));
    }
}

/// Why a wait ended without its condition.
#[derive(Debug, PartialEq, Eq)]
enum Unmet {
    Stopping,
    Deadline,
}

/// How the API that a client speaks asks and is answered.
struct Dialect {
    /// What is asked for: everything of a [`Request`].
    request: fn(&Value, Option<String>) -> Request,
    /// Writes the reply.
    reply: fn(&mut http::Events<'_>, &Request, &Reply<'_>) -> std::io::Result<()>,
}

/// One reply of a script, ready to be written.
struct Reply<'a> {
    /// A number of its own among all replies of this server.
    serial: usize,
    before: &'a [Before],
    act: &'a script::Act,
    /// The fault that cuts the stream or fails it, if one is due.
    fault: Option<&'a Fault>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves one connection: one request, one answer. A client that goes away is no error.
    fn serve(&self, mut stream: TcpStream) {
        self.answer(&mut stream);
        // Dropping it would not close it: another handle of it is kept to close it from outside.
        let _ = stream.shutdown(Shutdown::Both);
    }

    fn answer(&self, stream: &mut TcpStream) {
        let Ok(asked) = http::read_request(stream) else { return };
        let dialect = match asked.path.split('?').next() {
            Some(path) if path.ends_with("/responses") => responses::DIALECT,
            Some(path) if path.ends_with("/v1/messages") => messages::DIALECT,
            _ => {
                let _ = http::respond(stream, 404, &[], &fault_body("not served here"));
                return;
            }
        };
        let Ok(body) = serde_json::from_slice::<Value>(&asked.body) else {
            let _ = http::respond(stream, 400, &[], &fault_body("no JSON"));
            return;
        };
        let request = (dialect.request)(&body, asked.header("session-id").map(str::to_owned));
        let serial = {
            let mut state = self.lock();
            if state.requests.len() < MAX_REQUESTS {
                state.requests.push(request.clone());
            }
            state.requests.len()
        };
        self.changed.notify_all();
        let _ = self.play(stream, &dialect, &request, serial);
    }

    fn play(&self, stream: &mut TcpStream, dialect: &Dialect, request: &Request, serial: usize) -> std::io::Result<()> {
        let Some(script) = request.script.as_ref().and_then(|name| self.scripts.get(name)) else {
            let text = format!("no script {:?}", request.script);
            return http::respond(stream, 400, &[], &fault_body(&text));
        };
        let script::Turn { before, act, reply } = script.turn(&request.outputs);
        let mut streamed = None;
        for (number, step) in before.iter().enumerate() {
            match step {
                Before::Wait(condition) => {
                    if let Err(why) = self.wait(condition) {
                        if why == Unmet::Deadline {
                            let what = condition.what();
                            self.lock().complaints.push(format!("script {}: waited in vain for {what}", script.name()));
                        }
                        return http::respond(stream, 500, &[], &fault_body("the wait was in vain"));
                    }
                }
                Before::Fault(fault) => {
                    let key = (request.conversation.clone(), script.name().to_owned(), reply, number);
                    if !self.is_due(key, fault) {
                        continue;
                    }
                    if let Some(status) = fault.status() {
                        let body = fault.body().cloned().unwrap_or_else(|| fault_body("fault of the stand-in"));
                        return http::respond(stream, status, fault.headers(), &body);
                    }
                    streamed = streamed.or(Some(fault));
                }
                Before::Say(_) | Before::Also(_) => {}
            }
        }
        let mut events = http::Events::open(stream)?;
        (dialect.reply)(&mut events, request, &Reply { serial, before, act, fault: streamed })
    }

    /// Should this fault still fire? Counts it.
    fn is_due(&self, key: FaultKey, fault: &Fault) -> bool {
        let mut state = self.lock();
        let fired = state.fired.entry(key).or_default();
        *fired = fired.saturating_add(1);
        fault.limit().is_none_or(|times| *fired <= times)
    }

    fn wait(&self, condition: &Condition) -> Result<(), Unmet> {
        match condition {
            Condition::Latch(latch) => {
                latch.arrive();
                self.hold(|| latch.is_open())
            }
            Condition::Until { holds, .. } => self.hold(&**holds),
            Condition::Time(time) => {
                let end = now() + *time;
                self.hold(|| now() >= end)
            }
        }
    }

    /// Waits until the condition holds, the server stops, or the deadline passes.
    fn hold(&self, holds: impl Fn() -> bool) -> Result<(), Unmet> {
        let deadline = now() + LONGEST_WAIT;
        loop {
            if holds() {
                return Ok(());
            }
            let state = self.lock();
            if state.stopping {
                return Err(Unmet::Stopping);
            }
            if now() >= deadline {
                return Err(Unmet::Deadline);
            }
            drop(self.changed.wait_timeout(state, POLL));
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a test server needs deadlines of its own")]
fn now() -> Instant {
    Instant::now()
}

/// An error body that both APIs' clients read.
fn fault_body(message: &str) -> Value {
    serde_json::json!({"type": "error", "error": {"type": "stand_in", "message": message}})
}

/// The script that a text names: the last `script:NAME` in it.
fn script_token(text: &str) -> Option<String> {
    let (_, rest) = text.rsplit_once("script:")?;
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && !"_.-".contains(c)).unwrap_or(rest.len());
    (end > 0).then(|| rest[..end].to_owned())
}

/// The arguments after `codex exec --json` that keep codex from every model but this one, from the
/// user's configuration, and from outside hosts. Its environment needs [`hermetic_env`].
pub(crate) fn hermetic_args(port: u16) -> Vec<String> {
    let mut args: Vec<String> = Vec::new();
    for setting in [
        "model_provider=stand_in",
        "model_providers.stand_in.name=stand_in",
        &format!("model_providers.stand_in.base_url=http://127.0.0.1:{port}/v1"),
        "model_providers.stand_in.wire_api=responses",
        "analytics.enabled=false",
        "sandbox_workspace_write.exclude_slash_tmp=true",
        "sandbox_workspace_write.exclude_tmpdir_env_var=true",
    ] {
        args.extend(["-c".to_owned(), setting.to_owned()]);
    }
    for feature in ["plugins", "apps", "unbounded_connection_retries"] {
        args.extend(["--disable".to_owned(), feature.to_owned()]);
    }
    args.extend(["--ephemeral", "--ignore-user-config", "-m", "gpt-5.5"].map(str::to_owned));
    args
}

/// The variables that go with [`hermetic_args`]; `home` is an existing scratch directory.
pub(crate) fn hermetic_env(home: &std::path::Path) -> Vec<(String, String)> {
    let home = home.to_str().expect("a UTF-8 path").to_owned();
    vec![("CODEX_HOME".to_owned(), home), ("NO_PROXY".to_owned(), "127.0.0.1".to_owned())]
}

/// The variables that do the same for `claude -p`; `home` is an existing scratch directory.
pub(crate) fn hermetic_claude_env(port: u16, home: &std::path::Path) -> Vec<(String, String)> {
    let home = home.to_str().expect("a UTF-8 path");
    [
        ("HOME", home),
        ("CLAUDE_CONFIG_DIR", home),
        ("ANTHROPIC_BASE_URL", &format!("http://127.0.0.1:{port}")),
        ("ANTHROPIC_API_KEY", "dummy"),
        ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
        ("CLAUDE_CODE_MAX_RETRIES", "1"),
        ("DISABLE_AUTOUPDATER", "1"),
        ("DISABLE_TELEMETRY", "1"),
        ("DISABLE_ERROR_REPORTING", "1"),
        ("NO_PROXY", "127.0.0.1"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}
