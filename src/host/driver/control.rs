//! What somebody asks of the run through the control socket.
//!
//! Invariant: a look is answered from the view alone; a wish becomes an event of the core like any
//! other, and is answered after the turn that wrote it down, or that wrote down what came of it.

use std::collections::BTreeSet;

use serde_json::Value;
use tokio::sync::oneshot;

use super::Driver;
use crate::control::{Rejection, RejectionKind, Reply, Request};
use crate::core::claim::Pattern;
use crate::core::conflict::WishRefusal;
use crate::core::event::Event;
use crate::core::ids::{AgentId, AttemptId};
use crate::core::reason::Interrupt;
use crate::core::record::{Fact, StopCause, Trouble};
use crate::core::steer::{Checkpoint, Frozen, Granting, Stop, Stopping};
use crate::host::control::{Answer, Asked, Call};

/// Who waits for an answer.
#[derive(Debug, Default)]
pub(super) struct Owed {
    /// Answers that are sent when the turn is over.
    due: Vec<(oneshot::Sender<Answer>, Answer)>,
    checkpoints: Vec<Awaited>,
}

/// Somebody who waits for checkpoints.
#[derive(Debug)]
struct Awaited {
    to: oneshot::Sender<Answer>,
    open: BTreeSet<AttemptId>,
    made: Vec<Checkpoint>,
}

impl Owed {
    pub(super) fn pay(&mut self) {
        for (to, answer) in self.due.drain(..) {
            // Who asked may have gone away.
            let _ = to.send(answer);
        }
    }
}

/// What follows from a request: events for the core, and the answer.
type Outcome = (Vec<Event>, Answer);

impl Driver<'_> {
    /// What follows from it for the core.
    pub(super) fn called(&mut self, call: Call) -> Vec<Event> {
        match call {
            Call::Asked(asked) => self.asked(*asked),
            Call::Subscribing(who) => {
                self.feeds.add(who, self.run.clone(), self.run_dir.journal(), self.journal.next_seq());
                Vec::new()
            }
        }
    }

    /// What follows from a request for the core, if it is a wish that can be fulfilled. The answer is
    /// owed.
    fn asked(&mut self, asked: Asked) -> Vec<Event> {
        let (events, answer) = match asked.request {
            Request::Status => (Vec::new(), self.document().map(|run| Reply::Status { run })),
            Request::Conflicts => {
                let conflicts = |run: Value| run.get("conflicts").cloned().unwrap_or(Value::Array(Vec::new()));
                (Vec::new(), self.document().map(|run| Reply::Conflicts { conflicts: conflicts(run) }))
            }
            Request::Resolve { conflict, wish } => match self.supervisor.fulfil(conflict, &wish) {
                Ok((conflict, _)) => self.wish(
                    Event::ResolveAsked { conflict: Some(conflict), wish },
                    Reply::Resolved { conflict },
                    "one of the two is gone, so there is nothing to decide".to_owned(),
                ),
                Err(refusal) => (Vec::new(), Err(rejection(&refusal))),
            },
            Request::ReleaseLocks { agent } => match self.known(&agent) {
                Ok(()) => {
                    let refusal = format!("{agent} runs nothing that could be ended now");
                    self.wish(Event::ReleaseAsked { agent: agent.clone() }, Reply::Releasing { agent }, refusal)
                }
                Err(rejection) => (Vec::new(), Err(rejection)),
            },
            Request::Stop { agents: Some(agents), how } => self.stop(agents, how),
            Request::Stop { agents: None, how } => self.stop_all(how),
            Request::Complete { phase } => self.complete(phase.as_deref()),
            Request::Grant { agent, pattern } => match self.grant(agent, pattern) {
                Ok((event, from)) => (vec![event], Ok(Reply::Granted { from })),
                Err(rejection) => (Vec::new(), Err(rejection)),
            },
            // It comes as a call of its own.
            Request::Subscribe { .. } => {
                (Vec::new(), Err(Rejection::new(RejectionKind::NotPossible, "a subscription has no answer")))
            }
            Request::Register { agent } => {
                self.register(agent, asked.reply);
                return Vec::new();
            }
            Request::Checkpoint { agent } => match self.checkpoint(agent) {
                Ok((event, open)) => {
                    self.owed.checkpoints.push(Awaited { to: asked.reply, open, made: Vec::new() });
                    return vec![event];
                }
                Err(rejection) => (Vec::new(), Err(rejection)),
            },
        };
        self.owed.due.push((asked.reply, answer));
        events
    }

    fn document(&mut self) -> Result<Value, Rejection> {
        let view = self.supervisor.view();
        let view = view.ok_or_else(|| Rejection::new(RejectionKind::NotPossible, "the run has not begun"))?;
        Ok(self.observer.document(&view))
    }

    fn known(&self, agent: &AgentId) -> Result<(), Rejection> {
        if self.supervisor.knows(agent) {
            return Ok(());
        }
        Err(Rejection::new(RejectionKind::UnknownAgent, format!("no agent `{agent}` is in this run")))
    }

    /// A wish is good if something follows from it.
    fn wish(&self, event: Event, reply: Reply, refusal: String) -> Outcome {
        if self.supervisor.decide(self.now(), &event).is_empty() {
            return (Vec::new(), Err(Rejection::new(RejectionKind::NotPossible, refusal)));
        }
        (vec![event], Ok(reply))
    }

    fn stop(&self, agents: Vec<AgentId>, how: Stop) -> Outcome {
        if let Some(rejection) = agents.iter().find_map(|agent| self.known(agent).err()) {
            return (Vec::new(), Err(rejection));
        }
        let stopping = self.stopping(agents.iter(), how);
        let over = stopping.iter().all(|(_, stopping)| *stopping == Stopping::Over);
        let refusal = match stopping.as_slice() {
            [(agent, Stopping::Over)] => format!("{agent} has ended"),
            _ if over => "all of them have ended".to_owned(),
            _ => "that is what is being done already".to_owned(),
        };
        self.wish(Event::StopAsked { agents, how }, Reply::Stopping { agents: stopping }, refusal)
    }

    fn stopping<'a>(&self, agents: impl Iterator<Item = &'a AgentId>, how: Stop) -> Vec<(AgentId, Stopping)> {
        agents.filter_map(|agent| Some((agent.clone(), self.supervisor.stopping(agent, how)?))).collect()
    }

    /// The whole run: as the first signal does it, as the second does, or as `complete` does.
    fn stop_all(&self, how: Stop) -> Outcome {
        let interrupted = matches!(self.supervisor.stop_cause(), Some(StopCause::Interrupt(_)));
        let events = match how {
            Stop::Graceful if self.supervisor.stop_cause().is_none() => vec![Event::CompleteAsked { phase: None }],
            Stop::Orderly if !interrupted => vec![Event::Interrupted(Interrupt::Asked)],
            Stop::AtOnce if !self.supervisor.is_killed() => {
                let times = if interrupted { 1 } else { 2 };
                vec![Event::Interrupted(Interrupt::Asked); times]
            }
            _ => {
                let text = "the run is being stopped already";
                return (Vec::new(), Err(Rejection::new(RejectionKind::NotPossible, text)));
            }
        };
        let agents = self.supervisor.plan().agents.iter().map(|agent| &agent.id);
        let mut agents = self.stopping(agents, how);
        agents.retain(|(_, stopping)| *stopping != Stopping::Over);
        (events, Ok(Reply::Stopping { agents }))
    }

    fn complete(&self, name: Option<&str>) -> Outcome {
        let phases = &self.session.plan.phases;
        let phase = name.map(|name| phases.iter().position(|phase| phase.name.as_deref() == Some(name)));
        if phase == Some(None) {
            let text = format!("no phase `{}` is in this run", name.unwrap_or_default().escape_debug());
            return (Vec::new(), Err(Rejection::new(RejectionKind::UnknownPhase, text)));
        }
        let phase = phase.flatten();
        let refusal = match phase {
            Some(_) => "nothing more of that phase is started as it is",
            None => "nothing more is started as it is",
        };
        let completing = self.supervisor.completing(phase);
        self.wish(Event::CompleteAsked { phase }, Reply::Completing(completing), refusal.to_owned())
    }

    fn grant(&self, agent: AgentId, pattern: Pattern) -> Result<(Event, Granting), Rejection> {
        self.known(&agent)?;
        match self.supervisor.granting(&agent, &pattern) {
            Ok(from) => Ok((Event::GrantAsked { agent, pattern }, from)),
            Err(refusal) => Err(Rejection::new(RejectionKind::NotPossible, refusal.to_string())),
        }
    }

    fn checkpoint(&self, agent: Option<AgentId>) -> Result<(Event, BTreeSet<AttemptId>), Rejection> {
        if let Some(agent) = &agent {
            self.known(agent)?;
        }
        let open: BTreeSet<AttemptId> = self.supervisor.checkpointable(agent.as_ref()).into_iter().collect();
        if open.is_empty() {
            let text = match &agent {
                Some(agent) => format!("{agent} is not running, so there is nothing of it to freeze"),
                None => "no agent is running, so there is nothing to freeze".to_owned(),
            };
            return Err(Rejection::new(RejectionKind::NotPossible, text));
        }
        Ok((Event::CheckpointAsked { agent }, open))
    }

    /// A fact that somebody who waits for checkpoints may want to know.
    pub(super) fn owed_checkpoint(&mut self, fact: &Fact) {
        let (id, outcome) = match fact {
            Fact::Trouble { id, what: Trouble::CheckpointFailed { error } } => (id, Frozen::Failed(error.clone())),
            Fact::Checkpointed { id, commit: Some(commit) } => (id, Frozen::Commit(*commit)),
            Fact::Checkpointed { id, commit: None } => (id, Frozen::Unchanged(self.supervisor.checkpoint_of(id))),
            _ => return,
        };
        for awaited in &mut self.owed.checkpoints {
            // The trouble comes before the record that ends it.
            if awaited.open.remove(id) {
                awaited.made.push(Checkpoint { id: id.clone(), outcome: outcome.clone() });
            }
        }
        let (done, open) = std::mem::take(&mut self.owed.checkpoints).into_iter().partition(|a| a.open.is_empty());
        self.owed.checkpoints = open;
        let done: Vec<Awaited> = done;
        self.owed.due.extend(done.into_iter().map(|awaited| {
            let mut checkpoints = awaited.made;
            checkpoints.sort_by(|one, other| one.id.cmp(&other.id));
            (awaited.to, Ok(Reply::Checkpointed { checkpoints }))
        }));
    }
}

fn rejection(refusal: &WishRefusal) -> Rejection {
    let kind = match refusal {
        WishRefusal::Unknown(_) => RejectionKind::UnknownConflict,
        _ => RejectionKind::NotPossible,
    };
    Rejection::new(kind, refusal.to_string())
}
