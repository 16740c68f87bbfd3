//! The state as a view, and the reason why each waiting agent waits.
//!
//! Invariant: computed from the state alone, whenever it is asked for; nothing is remembered for it.

use super::Supervisor;
use super::state::{Conflict, Lifecycle, Live, Noted, Phases, Stage, Wait};
use crate::core::agent::AgentPlan;
use crate::core::claim::Pattern;
use crate::core::ids::{AgentId, Attempt};
use crate::core::lifecycle::State;
use crate::core::queue::{Obstacle, Queue, Seat};
use crate::core::reason::WaitReason;
use crate::core::record::{RunOpened, RunOutcome};
use crate::core::view::{
    AgentView, ConflictView, DeniedView, LocksView, PhaseState, PhaseView, RunState, RunView, Why,
};

impl Supervisor {
    /// The run as it is shown; `None` before it was opened.
    #[must_use]
    pub fn view(&self) -> Option<RunView> {
        self.view_with(0..self.agents.len())
    }

    /// The same with this agent alone; `None` where there is no such agent, too.
    #[must_use]
    pub fn view_of(&self, agent: &AgentId) -> Option<RunView> {
        let seat = *self.seats.get(agent)?;
        self.view_with(seat..seat + 1)
    }

    fn view_with(&self, seats: std::ops::Range<Seat>) -> Option<RunView> {
        let opened = self.opened.as_ref()?;
        let state = match self.ended {
            None => RunState::Running,
            Some((_, RunOutcome::Completed)) => RunState::Completed,
            Some((_, RunOutcome::Failed)) => RunState::Failed,
            Some((_, RunOutcome::Interrupted(_))) => RunState::Interrupted,
        };
        Some(RunView {
            run: opened.run.clone(),
            session: opened.session.clone(),
            state,
            base: opened.base,
            head: self.head,
            branch: opened.branch.clone(),
            layers: opened.layers,
            max_concurrent: self.plan.max_concurrent.get(),
            phases: self.phase_views(),
            agents: seats.map(|seat| self.agent_view(opened, seat)).collect(),
            conflicts: self.conflicts.iter().map(conflict_view).collect(),
            unattributed: self.unattributed.clone(),
            ended_at: self.ended.map(|(at, _)| at),
        })
    }

    fn phase_views(&self) -> Vec<PhaseView> {
        let Phases { agents, left, failed, .. } = &self.phases;
        // What is being ended is shown as what it will be.
        let (mut running, mut ending) = (vec![0; agents.len()], vec![0; agents.len()]);
        for (seat, _) in self.all_live().filter(|(_, live)| live.stage != Stage::Preparing) {
            let counts = if self.agents[seat].state().is_end() { &mut ending } else { &mut running };
            counts[self.agent_plan(seat).rank.phase] += 1;
        }
        let with_agents = self.plan.phases.iter().enumerate().filter(|(at, _)| agents[*at] > 0);
        let named = with_agents.filter_map(|(at, phase)| Some((at, phase.name.clone()?)));
        let view = |(at, name)| PhaseView {
            name,
            state: self.phase_state(at),
            completed: agents[at] - left[at] - failed[at],
            failed: failed[at] + ending[at],
            running: running[at],
            waiting: left[at] - running[at] - ending[at],
        };
        named.map(view).collect()
    }

    fn phase_state(&self, phase: usize) -> PhaseState {
        let phases = &self.phases;
        match (phases.left[phase], phases.failed[phase]) {
            (0, 0) => PhaseState::Completed,
            (0, _) if phases.stopped_by.is_some_and(|by| by < phase) => PhaseState::Skipped,
            (0, _) => PhaseState::Failed,
            _ if !phases.is_open(phase) => PhaseState::Waiting,
            _ if phases.closing.contains(&phase) => PhaseState::Closing,
            _ => PhaseState::Open,
        }
    }

    /// Who waits, in rank order, and why. Each is found out as it is asked for.
    pub fn waits(&self) -> impl Iterator<Item = (AgentId, WaitReason)> {
        self.waiting.iter().filter_map(|&seat| Some((self.id_of(seat), self.wait_reason(seat)?)))
    }

    /// How many agents wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Why the agent has not started; `None`: it has, or it never will.
    pub(super) fn wait_reason(&self, seat: Seat) -> Option<WaitReason> {
        let wait = match &self.agents[seat].lifecycle {
            Lifecycle::Waiting(wait) => wait,
            Lifecycle::Live(live) if live.stage == Stage::Preparing => return Some(WaitReason::Preparing),
            _ => return None,
        };
        let plan = self.agent_plan(seat);
        if self.not_started(seat).is_some() {
            return Some(WaitReason::Stopping);
        }
        if !self.phases.is_open(plan.rank.phase) {
            return Some(WaitReason::Phase { open: self.phases.current });
        }
        if self.agents[seat].unmet > 0 {
            return Some(WaitReason::Dependencies { on: self.unmet(plan) });
        }
        match wait {
            Wait::Clean { paths, more } => return Some(WaitReason::DirtyClaim { paths: paths.clone(), more: *more }),
            Wait::Backoff { until } => return Some(WaitReason::Backoff { until: *until }),
            Wait::Turn => {}
        }
        if let Some(until) = self.runners.get(&plan.runner).and_then(|r| r.paused_until) {
            return Some(WaitReason::RateLimit { runner: plan.runner.clone(), until });
        }
        let holders = self.with_look(|look| Queue::holders(look, seat));
        if !holders.is_empty() {
            return Some(WaitReason::Locks { holders: holders.into_iter().map(|s| self.id_of(s)).collect() });
        }
        Some(match self.queue.obstacle(seat) {
            Some(Obstacle::Reservation(by)) => WaitReason::Reserved { by: self.id_of(by) },
            Some(Obstacle::RunnerFull) => WaitReason::RunnerSlot { runner: plan.runner.clone() },
            _ if self.plan.slots() < self.plan.max_concurrent.get() => WaitReason::OpenFiles { fit: self.plan.slots() },
            _ => WaitReason::Slot,
        })
    }

    /// What the journal should now say of a waiting agent, if it does not say so yet.
    pub(super) fn lock_note(&self, seat: Seat) -> Option<WaitReason> {
        let reason = self.wait_reason(seat)?;
        let blocked = matches!(reason, WaitReason::Locks { .. } | WaitReason::Reserved { .. });
        (blocked != (self.agents[seat].noted == Noted::Locked)).then_some(reason)
    }

    fn id_of(&self, seat: Seat) -> AgentId {
        self.agent_plan(seat).id.clone()
    }

    fn unmet(&self, plan: &AgentPlan) -> Vec<AgentId> {
        let met = |on: &AgentId, wait_for_completion: bool| {
            self.seats.get(on).is_none_or(|&seat| {
                let run = &self.agents[seat];
                let ended = matches!(run.lifecycle, Lifecycle::Ended { .. });
                run.state() == State::Completed || ended && plan.runs_anyway() || run.started && !wait_for_completion
            })
        };
        let unmet = plan.depends_on.iter().filter(|d| !met(&d.on, d.wait_for_completion));
        unmet.map(|d| d.on.clone()).collect()
    }

    fn agent_view(&self, opened: &RunOpened, seat: Seat) -> AgentView {
        let plan = self.agent_plan(seat);
        let run = &self.agents[seat];
        let waits = self.wait_reason(seat);
        let latest = &run.latest;
        let state = waits.as_ref().map_or_else(|| run.state(), WaitReason::state);
        let own = || latest.writes.iter().filter(|w| w.fate.commits());
        let writes = own().map(|write| write.change.path.clone()).collect();
        AgentView {
            id: plan.id.clone(),
            name: plan.name.clone(),
            phase: self.plan.phases[plan.rank.phase].name.clone(),
            priority: plan.rank.priority.get(),
            runner: plan.runner.clone(),
            state,
            why: self.why(seat, waits),
            attempt: (run.attempts > 0).then_some(Attempt(run.attempts)),
            pid: run.live().and_then(|live| live.process.as_ref()).map(|p| p.pid),
            depends_on: plan.depends_on.iter().map(|d| d.on.clone()).collect(),
            locks: self.locks(seat),
            started_at: latest.started_at,
            ended_at: latest.ended_at,
            exit: latest.exit,
            attribution: own().map(|w| w.attribution).max(),
            writes,
            index_left: latest.index_left.clone(),
            not_restored: latest.not_restored.clone(),
            in_tree: run.in_tree(),
            denied: latest
                .denied
                .iter()
                .map(|((path, why), touch)| DeniedView { path: path.clone(), touch: *touch, why: why.clone() })
                .collect(),
            warned: latest.warned.iter().cloned().collect(),
            needs: latest.needs.clone(),
            message: latest.message.clone(),
            commit: latest.commit,
            salvage: run.salvage.iter().map(|attempt| salvage_ref(opened, &plan.id, *attempt)).collect(),
            verify: latest.verify.clone(),
            began: latest.began.clone(),
            usage: run.usage,
        }
    }

    /// What it declared, and what it locked (or will lock) one by one.
    fn locks(&self, seat: Seat) -> LocksView {
        let (plan, run) = (self.agent_plan(seat), &self.agents[seat]);
        let texts = |patterns: &[Pattern]| patterns.iter().map(|p| p.as_str().to_owned()).collect::<Vec<_>>();
        let mut exclusive = texts(&plan.claim.exclusive);
        let extra = run.live().map_or(&run.added, |live| &live.locked);
        exclusive.extend(extra.iter().map(ToString::to_string));
        LocksView { exclusive, late: texts(&plan.claim.late), shared: texts(&plan.claim.shared) }
    }

    fn why(&self, seat: Seat, waits: Option<WaitReason>) -> Why {
        let run = &self.agents[seat];
        match (&run.lifecycle, waits) {
            (_, Some(reason)) => Why::Waits(reason),
            (Lifecycle::Live(live), _) => ends(live).map_or(Why::Nothing, |reason| Why::Ends(reason.clone())),
            (Lifecycle::Ended { reason: Some(reason), .. }, _) => Why::Ends(reason.clone()),
            (Lifecycle::Ended { .. }, _) if run.latest.commit.is_none() => {
                if run.latest.writes.iter().any(|write| write.fate.commits()) {
                    Why::OnlyIgnored
                } else if run.in_tree().is_empty() {
                    Why::WithoutChanges
                } else {
                    Why::NothingCommitted
                }
            }
            _ => Why::Nothing,
        }
    }
}

fn ends(live: &Live) -> Option<&crate::core::reason::EndReason> {
    live.failing.as_ref().or(live.ending.as_ref())
}

fn conflict_view(conflict: &Conflict) -> ConflictView {
    ConflictView {
        found_at: conflict.found_at,
        found: conflict.found.clone(),
        analysis: conflict.analysis.clone(),
        recommendation: conflict.recommendation,
        resolution: conflict.resolution,
        verification: conflict.verification.clone(),
    }
}

/// Where the work of an attempt that did not complete is kept.
fn salvage_ref(opened: &RunOpened, agent: &AgentId, attempt: Attempt) -> String {
    format!("refs/supervise/attempts/{}/{agent}/{attempt}", opened.run)
}
