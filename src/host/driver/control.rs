//! What somebody asks of the run through the control socket.
//!
//! Invariant: a look is answered from the view alone; a wish becomes an event of the core like any
//! other, and is answered after the turn that wrote it down.

use serde_json::Value;
use tokio::sync::oneshot;

use super::Driver;
use crate::control::{Rejection, RejectionKind, Reply, Request};
use crate::core::conflict::WishRefusal;
use crate::core::event::Event;
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
            Request::Resolve { conflict, wish } => match self.supervisor.fulfil(conflict, &wish) {
                Ok((conflict, _)) => {
                    self.wish(Event::ResolveAsked { conflict: Some(conflict), wish }, Reply::Resolved { conflict })
                }
                Err(refusal) => (None, Err(rejection(&refusal))),
            },
            Request::ReleaseLocks { agent } if self.positions.contains_key(&agent) => {
                self.wish(Event::ReleaseAsked { agent: agent.clone() }, Reply::Releasing { agent })
            }
            Request::ReleaseLocks { agent } => {
                let text = format!("no agent `{agent}` is in this run");
                (None, Err(Rejection::new(RejectionKind::UnknownAgent, text)))
            }
        };
        (event, Owed { to: asked.reply, answer })
    }

    fn document(&mut self) -> Result<Value, Rejection> {
        let view = self.supervisor.view();
        let view = view.ok_or_else(|| Rejection::new(RejectionKind::NotPossible, "the run has not begun"))?;
        Ok(self.observer.document(&view))
    }

    /// A wish is good if something follows from it.
    fn wish(&self, event: Event, reply: Reply) -> (Option<Event>, Answer) {
        if self.supervisor.decide(self.now(), &event).is_empty() {
            let text = match reply {
                Reply::Releasing { agent } => format!("{agent} runs nothing that could be ended now"),
                _ => "one of the two is gone, so there is nothing to decide".to_owned(),
            };
            return (None, Err(Rejection::new(RejectionKind::NotPossible, text)));
        }
        (Some(event), Ok(reply))
    }
}

fn rejection(refusal: &WishRefusal) -> Rejection {
    let kind = match refusal {
        WishRefusal::Unknown(_) => RejectionKind::UnknownConflict,
        _ => RejectionKind::NotPossible,
    };
    Rejection::new(kind, refusal.to_string())
}
