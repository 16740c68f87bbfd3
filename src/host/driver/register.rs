//! An agent that somebody wants to take part in the run.
//!
//! Invariant: one at a time is looked at, off the loop, and what is needed to start it is on the disk before
//! the journal says that it joined: a supervisor that takes the run up can start it. Prompts and command
//! lines stand there alone, never in the journal. Whoever asked hears how it stands once it was tried to
//! start it.
//!
//! Deliberately absent: whether the run can take it, and its place (`core`); the rules of session files
//! (`session`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::oneshot;

use super::{Driver, News};
use crate::control::{Rejection, RejectionKind, Reply};
use crate::core::agent::{AgentPlan, Plan};
use crate::core::event::Event;
use crate::core::ids::AgentId;
use crate::core::newcomer::{JoinRefusal, NewAgent};
use crate::core::reason::WaitReason;
use crate::core::steer::{Stop, Stopping};
use crate::core::view::Why;
use crate::host::control::Answer;
use crate::host::past;
use crate::host::state::RunDir;
use crate::runner;
use crate::session::Session;
use crate::session::analysis::{Analysis, analyse_one, work_of};
use crate::session::newcomer::{self, Newcomer, NewcomerError};

type To = oneshot::Sender<Answer>;

/// Those who want to join.
#[derive(Debug, Default)]
pub(super) struct Joining {
    /// In the order in which they asked; the first is looked at if `looking` says so.
    line: VecDeque<(NewAgent, To)>,
    looking: Option<To>,
    /// Joined, or about to; answered when it is known how they stand.
    joined: Vec<(AgentId, Contests, To)>,
}

/// As `check` tells it.
#[derive(Debug)]
pub struct Contests {
    pub contested: Value,
    pub duplicates: Value,
}

/// An agent that keeps to all rules, and whose launch is on the disk.
#[derive(Debug)]
pub(super) struct Drafted {
    plan: AgentPlan,
    /// Extended by it.
    session: Session,
    /// With it, to be told in words.
    all: Plan,
    analysis: Analysis,
}

impl Driver<'_> {
    pub(super) fn register(&mut self, agent: NewAgent, to: To) {
        self.joining.line.push_back((agent, to));
        self.draft_next();
    }

    /// Begins to look at the next one, if nobody is being looked at.
    fn draft_next(&mut self) {
        while self.joining.looking.is_none() {
            let Some((mut agent, to)) = self.joining.line.pop_front() else { return };
            if let Err(refusal) = AgentId::new(&agent.id).map_or(Ok(()), |id| self.supervisor.takes(&id)) {
                let _ = to.send(Err(refused(&refusal))); // who asked may have gone away
                continue;
            }
            let phases = &self.session.plan.phases;
            if agent.phase.is_none() {
                agent.phase = self.supervisor.current_phase().and_then(|phase| phases.get(phase)?.name.clone());
            }
            self.joining.looking = Some(to);
            let desk = self.desk(agent);
            let news = self.news.clone();
            tokio::task::spawn_local(async move {
                let drafted = match tokio::task::spawn_blocking(move || desk.draft()).await {
                    Ok(drafted) => drafted,
                    Err(panic) => std::panic::resume_unwind(panic.into_panic()),
                };
                let _ = news.send(News::Drafted(drafted.map(Box::new))).await;
            });
        }
    }

    fn desk(&self, agent: NewAgent) -> Desk {
        let plan = self.supervisor.plan().clone();
        let is_over = |id: &&AgentId| self.supervisor.stopping(id, Stop::Graceful) == Some(Stopping::Over);
        let over = plan.agents.iter().map(|agent| &agent.id).filter(is_over).cloned().collect();
        Desk {
            agent,
            plan,
            over,
            session: Arc::clone(&self.session),
            workspace: self.workspace.clone(),
            environment: self.environment.clone(),
            run_dir: self.run_dir.clone(),
        }
    }

    /// It was looked at.
    pub(super) fn drafted(&mut self, drafted: Result<Box<Drafted>, Rejection>) -> Option<Event> {
        let to = self.joining.looking.take();
        let drafted = drafted.map(|mut drafted| {
            if !self.layers.gate {
                drafted.plan.claim.lock_late_at_start();
            }
            drafted
        });
        let checked = drafted.and_then(|drafted| match self.supervisor.joining(&drafted.plan) {
            Ok(()) => Ok(drafted),
            Err(refusal) => Err(refused(&refusal)),
        });
        let event = match (checked, to) {
            (Ok(drafted), Some(to)) => {
                let Drafted { plan, session, all, analysis } = *drafted;
                self.session = Arc::new(session);
                let contests = self.observer.contests(&all, &analysis);
                self.joining.joined.push((plan.id.clone(), contests, to));
                Some(Event::RegisterAsked { agent: Box::new(plan) })
            }
            (Err(rejection), Some(to)) => {
                let _ = to.send(Err(rejection)); // who asked may have gone away
                None
            }
            (_, None) => None,
        };
        if event.is_none() {
            self.draft_next();
        }
        event
    }

    /// Answers those of whom it is known by now how they stand. To be called when a turn is over.
    pub(super) fn tell_joined(&mut self) {
        for (id, contests, to) in std::mem::take(&mut self.joining.joined) {
            let Some(view) = self.supervisor.view_of(&id) else {
                // Something else of the same turn came before it.
                let refusal = self.supervisor.takes(&id).err().unwrap_or(JoinRefusal::Over);
                let _ = to.send(Err(refused(&refusal)));
                continue;
            };
            if view.agents.iter().any(|agent| agent.why == Why::Waits(WaitReason::Preparing)) {
                self.joining.joined.push((id, contests, to));
                continue;
            }
            let mut run = self.observer.document(&view);
            let agent = run.pointer_mut("/agents/0").map(Value::take).unwrap_or_default();
            let Contests { contested, duplicates } = contests;
            let _ = to.send(Ok(Reply::Registered { agent, contested, duplicates }));
        }
        self.draft_next();
    }
}

fn refused(refusal: &JoinRefusal) -> Rejection {
    let kind = match refusal {
        JoinRefusal::Known(_) => RejectionKind::InvalidAgent,
        _ => RejectionKind::NotPossible,
    };
    Rejection::new(kind, refusal.to_string())
}

/// All that is needed to look at an agent off the loop.
struct Desk {
    agent: NewAgent,
    plan: Plan,
    /// Agents that have ended.
    over: BTreeSet<AgentId>,
    session: Arc<Session>,
    workspace: PathBuf,
    environment: BTreeMap<OsString, OsString>,
    run_dir: RunDir,
}

impl Desk {
    fn draft(self) -> Result<Drafted, Rejection> {
        let read = newcomer::read(&self.session, &self.plan, &self.agent, &self.workspace);
        let newcomer = read.map_err(|error| {
            let kind = match error {
                NewcomerError::Invalid(_) => RejectionKind::InvalidAgent,
                NewcomerError::Session(_) => RejectionKind::NotPossible,
            };
            Rejection::new(kind, error.to_string())
        })?;
        let id = &newcomer.plan.id;
        runner::check_launch(&newcomer.launch, id, &self.workspace, &self.environment)
            .map_err(|error| Rejection::new(RejectionKind::InvalidAgent, error.to_string()))?;
        let Newcomer { plan, .. } = &newcomer;
        let plan = plan.clone();
        let mut session = (*self.session).clone();
        session.extend(newcomer);
        let mut all = self.plan;
        all.agents.push(plan.clone());
        let lives = |agent: &AgentPlan| !self.over.contains(&agent.id);
        let work = |agent: &AgentPlan| work_of(session.launches.get(&agent.id)?);
        let analysis = analyse_one(&all, all.agents.len() - 1, lives, work);
        past::keep_joining(&self.run_dir, &session, &plan.id).map_err(|error| {
            let text = format!("what is needed to start it cannot be written down: {error}");
            Rejection::new(RejectionKind::NotPossible, text)
        })?;
        Ok(Drafted { plan, session, all, analysis })
    }
}
