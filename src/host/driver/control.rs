//! What somebody asks of the run through the control socket.
//!
//! Invariant: a look is answered from the view alone; a wish becomes an event of the core like any
//! other, and is answered after the turn that wrote it down.

use serde_json::Value;
use tokio::sync::oneshot;

use super::Driver;
use crate::control::{Decision, Rejection, RejectionKind, Reply, Request};
use crate::core::event::Event;
use crate::core::ids::AgentId;
use crate::host::control::{Answer, Asked};

/// An answer that is sent when the turn is over.
#[derive(Debug)]
pub(super) struct Owed {
    to: oneshot::Sender<Answer>,
    answer: Answer,
}

impl Owed {
    pub(super) fn pay(self) {
        // Who asked may have gone away.
        let _ = self.to.send(self.answer);
    }
}

impl Driver<'_> {
    /// What follows from a request: an event for the core, if it is a wish that can be fulfilled, and
    /// the answer to send after the turn.
    pub(super) fn asked(&mut self, asked: Asked) -> (Option<Event>, Owed) {
        let (event, answer) = match asked.request {
            Request::Status => (None, self.document().map(|run| Reply::Status { run })),
            Request::Conflicts => {
                let conflicts = |run: Value| run.get("conflicts").cloned().unwrap_or(Value::Array(Vec::new()));
                (None, self.document().map(|run| Reply::Conflicts { conflicts: conflicts(run) }))
            }
            Request::Resolve { conflict, by } => match self.resolve(conflict, &by) {
                Ok((event, conflict)) => (Some(event), Ok(Reply::Resolved { conflict })),
                Err(rejection) => (None, Err(rejection)),
            },
            Request::ReleaseLocks { agent } => match self.release(&agent) {
                Ok(event) => (Some(event), Ok(Reply::Releasing { agent })),
                Err(rejection) => (None, Err(rejection)),
            },
        };
        (event, Owed { to: asked.reply, answer })
    }

    fn document(&mut self) -> Result<Value, Rejection> {
        let view = self.supervisor.view();
        let view = view.ok_or_else(|| Rejection::new(RejectionKind::NotPossible, "the run has not begun"))?;
        Ok(self.observer.document(&view))
    }

    /// The event of a decision about a conflict, and which conflict it is.
    #[expect(clippy::unused_self, reason = "conflicts are the supervisor's to know")]
    fn resolve(&self, _conflict: Option<u32>, _by: &Decision) -> Result<(Event, u32), Rejection> {
        Err(Rejection::new(RejectionKind::NotPossible, "no conflict is open: this run has none to decide"))
    }

    /// The event that ends what the agent runs, so that its locks are free.
    fn release(&self, agent: &AgentId) -> Result<Event, Rejection> {
        if !self.positions.contains_key(agent) {
            return Err(Rejection::new(RejectionKind::UnknownAgent, format!("no agent `{agent}` is in this run")));
        }
        let text = format!("the locks of {agent} are released when it ends; they cannot be released before");
        Err(Rejection::new(RejectionKind::NotPossible, text))
    }
}
