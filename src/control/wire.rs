//! Requests and replies as lines of JSON.
//!
//! `{"version":1,"request":{"kind":"status"}}` is answered by `{"version":1,"reply":{"kind":"status",…}}`
//! or `{"version":1,"error":{"kind":"…","text":"…"}}`.
//!
//! Invariant: what is written is read back as the same value. Fields that are not known are passed
//! over, so that a newer program can say more; kinds that are not known are an error.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Rejection, RejectionKind, Reply, Request};
use crate::core::change::ObjectId;
use crate::core::claim::Pattern;
use crate::core::conflict::{ConflictId, Wish};
use crate::core::ids::{AgentId, Attempt, AttemptId};
use crate::core::newcomer::{NewAgent, Work};
use crate::core::steer::{Checkpoint, Completing, Frozen, Granting, Stop, Stopping};

/// The version that is spoken here, and the newest that is understood.
pub const VERSION: u32 = 1;
/// The longest request, in bytes, with its line feed.
pub const MAX_REQUEST: usize = 64 << 10;
/// The longest reply, in bytes: the document of some ten thousand agents.
pub const MAX_REPLY: usize = 64 << 20;

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum RequestForm {
    Status,
    Conflicts,
    Resolve {
        #[serde(default)]
        conflict: Option<u32>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        keep: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        terminate: Option<String>,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        wait: bool,
    },
    ReleaseLocks {
        agent: String,
    },
    Stop {
        /// Left out: the whole run, and `all` says so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        agents: Option<Vec<String>>,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        all: bool,
        how: String,
    },
    Complete {
        #[serde(default)]
        phase: Option<String>,
    },
    Checkpoint {
        #[serde(default)]
        agent: Option<String>,
    },
    Grant {
        agent: String,
        pattern: String,
    },
    Register {
        agent: NewAgentForm,
    },
    Subscribe {
        #[serde(default = "first")]
        from: u64,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        doing: bool,
    },
}

/// The number of the first record.
fn first() -> u64 {
    1
}

const KINDS: [&str; 10] = [
    "status",
    "conflicts",
    "resolve",
    "release_locks",
    "stop",
    "complete",
    "checkpoint",
    "grant",
    "register",
    "subscribe",
];

/// A key that is misspelt would be a claim that is not there.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewAgentForm {
    id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    phase: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    priority: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    runner: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prompt: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    command: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    files: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    late: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    reads: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    depends_on: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum ReplyForm {
    Status { run: Value },
    Conflicts { conflicts: Value },
    Resolved { conflict: u32 },
    Releasing { agent: String },
    Stopping { agents: Vec<StoppingForm> },
    Completing { skipped: Vec<String>, running: Vec<String> },
    Checkpointed { checkpoints: Vec<CheckpointForm> },
    Granted { from: String },
    Subscribed { run: String, next: u64 },
    Registered { agent: Value, contested: Value, duplicates: Value },
}

#[derive(Serialize, Deserialize)]
struct StoppingForm {
    id: String,
    stopping: String,
}

#[derive(Serialize, Deserialize)]
struct CheckpointForm {
    agent: String,
    attempt: u32,
    /// The newest; null: there is none.
    commit: Option<String>,
    changed: bool,
    error: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct ErrorForm {
    kind: String,
    text: String,
}

#[derive(Serialize)]
struct RequestLine {
    version: u32,
    request: RequestForm,
}

#[derive(Serialize, Deserialize)]
struct ReplyLine {
    version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reply: Option<ReplyForm>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<ErrorForm>,
}

/// The line of a request, with its line feed.
#[must_use]
pub fn write_request(request: &Request) -> Vec<u8> {
    let request = match request {
        Request::Status => RequestForm::Status,
        Request::Conflicts => RequestForm::Conflicts,
        Request::Resolve { conflict, wish: Wish::Wait } => {
            RequestForm::Resolve { conflict: conflict.map(|id| id.0), keep: None, terminate: None, wait: true }
        }
        Request::Resolve { conflict, wish: Wish::Keep { keep, terminate } } => RequestForm::Resolve {
            conflict: conflict.map(|id| id.0),
            keep: Some(keep.to_string()),
            terminate: Some(terminate.to_string()),
            wait: false,
        },
        Request::ReleaseLocks { agent } => RequestForm::ReleaseLocks { agent: agent.to_string() },
        Request::Stop { agents, how } => RequestForm::Stop {
            agents: agents.as_ref().map(|agents| texts(agents)),
            all: agents.is_none(),
            how: how.as_str().to_owned(),
        },
        Request::Complete { phase } => RequestForm::Complete { phase: phase.clone() },
        Request::Checkpoint { agent } => RequestForm::Checkpoint { agent: agent.as_ref().map(ToString::to_string) },
        Request::Grant { agent, pattern } => {
            RequestForm::Grant { agent: agent.to_string(), pattern: pattern.as_str().to_owned() }
        }
        Request::Subscribe { from, doing } => RequestForm::Subscribe { from: *from, doing: *doing },
        Request::Register { agent } => RequestForm::Register { agent: new_agent_form(agent.clone()) },
    };
    line(&RequestLine { version: VERSION, request })
}

/// Reads a request's line.
pub fn read_request(line: &[u8]) -> Result<Request, Rejection> {
    let bad = |text: String| Rejection::new(RejectionKind::BadRequest, text);
    let value: Value = serde_json::from_slice(line).map_err(|_| bad("a request is one line of JSON".to_owned()))?;
    match value.get("version").and_then(Value::as_u64) {
        None => return Err(bad("a request has a `version`".to_owned())),
        Some(version) if version != u64::from(VERSION) => {
            let text = format!("version {version} is not spoken here; this supervisor speaks version {VERSION}");
            return Err(Rejection::new(RejectionKind::WrongVersion, text));
        }
        Some(_) => {}
    }
    let Some(request) = value.get("request") else { return Err(bad("a request has a `request`".to_owned())) };
    let Some(kind) = request.get("kind").and_then(Value::as_str) else {
        return Err(bad("a request has a `kind`".to_owned()));
    };
    if !KINDS.contains(&kind) {
        let text = format!("unknown kind of request; known are {}", KINDS.join(", "));
        return Err(Rejection::new(RejectionKind::UnknownKind, text));
    }
    let form = RequestForm::deserialize(request).map_err(|error| bad(format!("{kind}: {error}")))?;
    let agent = |id: &str| AgentId::new(id).map_err(|error| bad(format!("{kind}: {error}")));
    Ok(match form {
        RequestForm::Status => Request::Status,
        RequestForm::Conflicts => Request::Conflicts,
        RequestForm::Resolve { conflict, keep, terminate, wait } => {
            let wish = match (keep, terminate, wait) {
                (None, None, true) => Wish::Wait,
                (Some(keep), Some(terminate), false) => {
                    Wish::Keep { keep: agent(&keep)?, terminate: agent(&terminate)? }
                }
                _ => return Err(bad("resolve: either `keep` and `terminate`, or `wait`".to_owned())),
            };
            Request::Resolve { conflict: conflict.map(ConflictId), wish }
        }
        RequestForm::ReleaseLocks { agent: id } => Request::ReleaseLocks { agent: agent(&id)? },
        RequestForm::Stop { agents, all, how } => {
            let how = Stop::ALL.into_iter().find(|known| known.as_str() == how);
            let how = how.ok_or_else(|| bad("stop: `how` is graceful, orderly or at_once".to_owned()))?;
            let agents = match (agents, all) {
                (Some(ids), false) if ids.is_empty() => {
                    return Err(bad("stop: `agents` names none; `all` means the whole run".to_owned()));
                }
                (Some(ids), false) => Some(ids.iter().map(|id| agent(id)).collect::<Result<_, _>>()?),
                (None, true) => None,
                _ => return Err(bad("stop: either `agents`, or `all`".to_owned())),
            };
            Request::Stop { agents, how }
        }
        RequestForm::Complete { phase } => Request::Complete { phase },
        RequestForm::Grant { agent: id, pattern } => {
            let pattern = Pattern::new(&pattern).map_err(|error| bad(format!("{kind}: {error}")))?;
            Request::Grant { agent: agent(&id)?, pattern }
        }
        RequestForm::Subscribe { from, doing } => Request::Subscribe { from, doing },
        RequestForm::Register { agent } => {
            let agent = new_agent(agent).ok_or_else(|| bad("register: either `prompt`, or `command`".to_owned()))?;
            Request::Register { agent }
        }
        RequestForm::Checkpoint { agent: id } => Request::Checkpoint { agent: id.map(|id| agent(&id)).transpose()? },
    })
}

/// The line of an answer, with its line feed.
#[must_use]
pub fn write_reply(answer: &Result<Reply, Rejection>) -> Vec<u8> {
    let (reply, error) = match answer {
        Ok(reply) => (Some(reply_form(reply)), None),
        Err(Rejection { kind, text }) => (None, Some(ErrorForm { kind: kind.as_str().to_owned(), text: text.clone() })),
    };
    line(&ReplyLine { version: VERSION, reply, error })
}

fn reply_form(reply: &Reply) -> ReplyForm {
    match reply {
        Reply::Status { run } => ReplyForm::Status { run: run.clone() },
        Reply::Conflicts { conflicts } => ReplyForm::Conflicts { conflicts: conflicts.clone() },
        Reply::Resolved { conflict } => ReplyForm::Resolved { conflict: conflict.0 },
        Reply::Releasing { agent } => ReplyForm::Releasing { agent: agent.to_string() },
        Reply::Stopping { agents } => {
            let form = |(id, stopping): &(AgentId, Stopping)| StoppingForm {
                id: id.to_string(),
                stopping: stopping.as_str().to_owned(),
            };
            ReplyForm::Stopping { agents: agents.iter().map(form).collect() }
        }
        Reply::Completing(Completing { skipped, running }) => {
            ReplyForm::Completing { skipped: texts(skipped), running: texts(running) }
        }
        Reply::Registered { agent, contested, duplicates } => {
            ReplyForm::Registered { agent: agent.clone(), contested: contested.clone(), duplicates: duplicates.clone() }
        }
        Reply::Subscribed { run, next } => ReplyForm::Subscribed { run: run.clone(), next: *next },
        Reply::Granted { from } => ReplyForm::Granted { from: from.as_str().to_owned() },
        Reply::Checkpointed { checkpoints } => {
            ReplyForm::Checkpointed { checkpoints: checkpoints.iter().map(checkpoint_form).collect() }
        }
    }
}

/// Reads an answer's line; `None`: it is none, or of a version that is not spoken here.
#[must_use]
pub fn read_reply(line: &[u8]) -> Option<Result<Reply, Rejection>> {
    let line: ReplyLine = serde_json::from_slice(line).ok()?;
    match (line.version, line.reply, line.error) {
        (VERSION, Some(reply), None) => Some(Ok(match reply {
            ReplyForm::Status { run } => Reply::Status { run },
            ReplyForm::Conflicts { conflicts } => Reply::Conflicts { conflicts },
            ReplyForm::Resolved { conflict } => Reply::Resolved { conflict: ConflictId(conflict) },
            ReplyForm::Releasing { agent } => Reply::Releasing { agent: AgentId::new(&agent).ok()? },
            ReplyForm::Stopping { agents } => {
                let known = |form: &StoppingForm| {
                    let stopping = Stopping::ALL.into_iter().find(|known| known.as_str() == form.stopping)?;
                    Some((AgentId::new(&form.id).ok()?, stopping))
                };
                Reply::Stopping { agents: agents.iter().map(known).collect::<Option<_>>()? }
            }
            ReplyForm::Completing { skipped, running } => {
                Reply::Completing(Completing { skipped: ids(&skipped)?, running: ids(&running)? })
            }
            ReplyForm::Registered { agent, contested, duplicates } => {
                Reply::Registered { agent, contested, duplicates }
            }
            ReplyForm::Subscribed { run, next } => Reply::Subscribed { run, next },
            ReplyForm::Granted { from } => {
                Reply::Granted { from: Granting::ALL.into_iter().find(|known| known.as_str() == from)? }
            }
            ReplyForm::Checkpointed { checkpoints } => {
                Reply::Checkpointed { checkpoints: checkpoints.into_iter().map(checkpoint).collect::<Option<_>>()? }
            }
        })),
        (VERSION, None, Some(error)) => {
            let known = RejectionKind::ALL.into_iter().find(|kind| kind.as_str() == error.kind);
            // A kind that a newer supervisor knows still says that it was not done.
            Some(Err(Rejection::new(known.unwrap_or(RejectionKind::NotPossible), error.text)))
        }
        _ => None,
    }
}

#[derive(Serialize, Deserialize)]
struct DoingForm {
    kind: String,
    agent: String,
    attempt: u32,
    text: String,
}

const DOING: &str = "doing";

/// The line that says what an attempt's agent is doing, with its line feed.
#[must_use]
pub fn write_doing(id: &AttemptId, text: &str) -> Vec<u8> {
    let (agent, attempt) = (id.agent.to_string(), id.attempt.0);
    line(&DoingForm { kind: DOING.to_owned(), agent, attempt, text: text.to_owned() })
}

/// Reads such a line; `None`: it is another one.
#[must_use]
pub fn read_doing(line: &[u8]) -> Option<(AttemptId, String)> {
    let form: DoingForm = serde_json::from_slice(line).ok().filter(|form: &DoingForm| form.kind == DOING)?;
    Some((AttemptId { agent: AgentId::new(&form.agent).ok()?, attempt: Attempt(form.attempt) }, form.text))
}

fn texts(ids: &[AgentId]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}

fn ids(texts: &[String]) -> Option<Vec<AgentId>> {
    texts.iter().map(|text| AgentId::new(text).ok()).collect()
}

fn new_agent_form(agent: NewAgent) -> NewAgentForm {
    let NewAgent { id, name, phase, priority, runner, work, files, late, reads, depends_on } = agent;
    let (prompt, command) = match work {
        Work::Prompt(prompt) => (Some(prompt), None),
        Work::Command(words) => (None, Some(words)),
    };
    NewAgentForm { id, name, phase, priority, runner, prompt, command, files, late, reads, depends_on }
}

/// `None`: it is not clear what it is to do.
fn new_agent(form: NewAgentForm) -> Option<NewAgent> {
    let NewAgentForm { id, name, phase, priority, runner, prompt, command, files, late, reads, depends_on } = form;
    let work = match (prompt, command) {
        (Some(prompt), None) => Work::Prompt(prompt),
        (None, Some(words)) => Work::Command(words),
        _ => return None,
    };
    Some(NewAgent { id, name, phase, priority, runner, work, files, late, reads, depends_on })
}

fn checkpoint_form(checkpoint: &Checkpoint) -> CheckpointForm {
    let (commit, changed, error) = match &checkpoint.outcome {
        Frozen::Commit(commit) => (Some(commit), true, None),
        Frozen::Unchanged(commit) => (commit.as_ref(), false, None),
        Frozen::Failed(error) => (None, false, Some(error.clone())),
    };
    CheckpointForm {
        agent: checkpoint.id.agent.to_string(),
        attempt: checkpoint.id.attempt.0,
        commit: commit.map(ToString::to_string),
        changed,
        error,
    }
}

fn checkpoint(form: CheckpointForm) -> Option<Checkpoint> {
    let commit = match &form.commit {
        Some(text) => Some(ObjectId::from_hex(text)?),
        None => None,
    };
    let outcome = match (form.error, commit, form.changed) {
        (Some(error), _, _) => Frozen::Failed(error),
        (None, Some(commit), true) => Frozen::Commit(commit),
        (None, commit, _) => Frozen::Unchanged(commit),
    };
    let id = AttemptId { agent: AgentId::new(&form.agent).ok()?, attempt: Attempt(form.attempt) };
    Some(Checkpoint { id, outcome })
}

fn line(form: &impl Serialize) -> Vec<u8> {
    // Texts, numbers and values of JSON are always representable.
    let mut line = serde_json::to_vec(form).unwrap_or_default();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(id: &str) -> AgentId {
        AgentId::new(id).unwrap()
    }

    #[test]
    fn requests_survive_the_wire() {
        let check = |request: Request, expected: &str| {
            let line = write_request(&request);
            assert_eq!(String::from_utf8_lossy(&line), format!("{{\"version\":1,\"request\":{expected}}}\n"));
            assert_eq!(read_request(&line), Ok(request));
        };
        check(Request::Status, r#"{"kind":"status"}"#);
        check(Request::Conflicts, r#"{"kind":"conflicts"}"#);
        check(Request::ReleaseLocks { agent: agent("a") }, r#"{"kind":"release_locks","agent":"a"}"#);
        check(
            Request::Stop { agents: Some(vec![agent("a"), agent("b")]), how: Stop::Orderly },
            r#"{"kind":"stop","agents":["a","b"],"how":"orderly"}"#,
        );
        check(Request::Stop { agents: None, how: Stop::AtOnce }, r#"{"kind":"stop","all":true,"how":"at_once"}"#);
        check(Request::Complete { phase: None }, r#"{"kind":"complete","phase":null}"#);
        check(Request::Complete { phase: Some("p".to_owned()) }, r#"{"kind":"complete","phase":"p"}"#);
        check(
            Request::Grant { agent: agent("a"), pattern: Pattern::new("src/*.rs").unwrap() },
            r#"{"kind":"grant","agent":"a","pattern":"src/*.rs"}"#,
        );
        check(Request::Subscribe { from: 7, doing: false }, r#"{"kind":"subscribe","from":7}"#);
        check(Request::Subscribe { from: 1, doing: true }, r#"{"kind":"subscribe","from":1,"doing":true}"#);
        let joins = NewAgent {
            id: "a".to_owned(),
            phase: Some("p".to_owned()),
            priority: Some(2),
            work: Work::Prompt("say \"x\"\n".to_owned()),
            files: vec!["f/".to_owned()],
            depends_on: vec!["tag:t".to_owned()],
            ..NewAgent::default()
        };
        check(
            Request::Register { agent: joins.clone() },
            r#"{"kind":"register","agent":{"id":"a","phase":"p","priority":2,"prompt":"say \"x\"\n","files":["f/"],"depends_on":["tag:t"]}}"#,
        );
        let work = Work::Command(vec!["make".to_owned(), "x".to_owned()]);
        check(
            Request::Register { agent: NewAgent { id: "b".to_owned(), work, ..NewAgent::default() } },
            r#"{"kind":"register","agent":{"id":"b","command":["make","x"]}}"#,
        );
        check(Request::Checkpoint { agent: Some(agent("a")) }, r#"{"kind":"checkpoint","agent":"a"}"#);
        let wish = Wish::Keep { keep: agent("a"), terminate: agent("b") };
        check(
            Request::Resolve { conflict: Some(ConflictId(3)), wish },
            r#"{"kind":"resolve","conflict":3,"keep":"a","terminate":"b"}"#,
        );
        let wait = Request::Resolve { conflict: None, wish: Wish::Wait };
        check(wait, r#"{"kind":"resolve","conflict":null,"wait":true}"#);
    }

    #[test]
    fn what_is_no_request_is_named() {
        let check = |line: &str, expected: &str| {
            let rejection = read_request(line.as_bytes()).unwrap_err();
            assert_eq!(rejection.kind.as_str(), expected, "{line}: {rejection}");
            assert!(!rejection.text.contains('\n'));
        };
        check("", "bad_request");
        check("GET / HTTP/1.1", "bad_request");
        check("[1]", "bad_request");
        check(r#"{"request":{"kind":"status"}}"#, "bad_request");
        check(r#"{"version":1}"#, "bad_request");
        check(r#"{"version":1,"request":{}}"#, "bad_request");
        check(r#"{"version":2,"request":{"kind":"status"}}"#, "wrong_version");
        check(r#"{"version":1,"request":{"kind":"reboot"}}"#, "unknown_kind");
        check(r#"{"version":1,"request":{"kind":"release_locks"}}"#, "bad_request");
        check(r#"{"version":1,"request":{"kind":"release_locks","agent":"../x"}}"#, "bad_request");
        check(r#"{"version":1,"request":{"kind":"stop","how":"orderly"}}"#, "bad_request");
        check(r#"{"version":1,"request":{"kind":"stop","all":true,"agents":["a"],"how":"orderly"}}"#, "bad_request");
        check(r#"{"version":1,"request":{"kind":"stop","all":true,"how":"gently"}}"#, "bad_request");
        check(r#"{"version":1,"request":{"kind":"grant","agent":"a","pattern":"../x"}}"#, "bad_request");
        check(r#"{"version":1,"request":{"kind":"subscribe","from":-1}}"#, "bad_request");
        check(r#"{"version":1,"request":{"kind":"subscribe","from":"all"}}"#, "bad_request");
        check(r#"{"version":1,"request":{"kind":"register","agent":{"id":"a"}}}"#, "bad_request");
        check(
            r#"{"version":1,"request":{"kind":"register","agent":{"id":"a","prompt":"p","command":[]}}}"#,
            "bad_request",
        );
        check(r#"{"version":1,"request":{"kind":"register","agent":{"prompt":"p"}}}"#, "bad_request");
        check(r#"{"version":1,"request":{"kind":"resolve","keep":"a"}}"#, "bad_request");
        check(r#"{"version":1,"request":{"kind":"resolve","keep":"a","terminate":"b","wait":true}}"#, "bad_request");
        assert_eq!(read_request(br#"{"version":1,"new":1,"request":{"kind":"status","more":1}}"#), Ok(Request::Status));
    }

    #[test]
    fn what_is_being_done_survives_the_wire() {
        let id = AttemptId { agent: agent("a"), attempt: Attempt(2) };
        let line = write_doing(&id, "$ ls \u{1b}\n");
        assert_eq!(line.split(|byte| *byte == b'\n').count(), 2);
        assert_eq!(read_doing(&line), Some((id, "$ ls \u{1b}\n".to_owned())));
        for other in [r#"{"seq":1,"kind":"agent_ended","agent":"a"}"#, r#"{"kind":"doing","agent":"../a"}"#, "", "x"] {
            assert_eq!(read_doing(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn answers_survive_the_wire() {
        let commit = || ObjectId::from_hex(&"ab".repeat(20)).unwrap();
        for answer in [
            Ok(Reply::Status { run: serde_json::json!({"run": "r"}) }),
            Ok(Reply::Conflicts { conflicts: serde_json::json!([]) }),
            Ok(Reply::Resolved { conflict: ConflictId(1) }),
            Ok(Reply::Releasing { agent: agent("a") }),
            Ok(Reply::Stopping { agents: Stopping::ALL.map(|stopping| (agent("a"), stopping)).to_vec() }),
            Ok(Reply::Subscribed { run: "r".to_owned(), next: 12 }),
            Ok(Reply::Registered {
                agent: serde_json::json!({"id": "a"}),
                contested: serde_json::json!([]),
                duplicates: serde_json::json!([]),
            }),
            Ok(Reply::Granted { from: Granting::Now }),
            Ok(Reply::Granted { from: Granting::NextAttempt }),
            Ok(Reply::Completing(Completing { skipped: vec![agent("a")], running: vec![] })),
            Ok(Reply::Checkpointed {
                checkpoints: [
                    Frozen::Commit(commit()),
                    Frozen::Unchanged(None),
                    Frozen::Unchanged(Some(commit())),
                    Frozen::Failed("disk full".to_owned()),
                ]
                .map(|outcome| Checkpoint { id: AttemptId { agent: agent("a"), attempt: Attempt(2) }, outcome })
                .to_vec(),
            }),
        ] {
            assert_eq!(read_reply(&write_reply(&answer)), Some(answer));
        }
        for kind in RejectionKind::ALL {
            let answer = Err(Rejection::new(kind, "no"));
            assert_eq!(read_reply(&write_reply(&answer)), Some(answer));
        }
        assert_eq!(read_reply(b"{}"), None);
        assert_eq!(read_reply(br#"{"version":2,"reply":{"kind":"resolved","conflict":1}}"#), None);
        let later = read_reply(br#"{"version":1,"error":{"kind":"later","text":"no"}}"#);
        assert_eq!(later, Some(Err(Rejection::new(RejectionKind::NotPossible, "no"))));
    }
}
