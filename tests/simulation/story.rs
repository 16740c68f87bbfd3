//! A run told as a few lines, for the tests that read as a specification.

use std::fmt::Debug;

use supervise::core::call::RefusedPath;
use supervise::core::effect::{Effect, Purpose};
use supervise::core::moment::Moment;
use supervise::core::reason::{EndReason, WaitReason};
use supervise::core::record::{Fact, RequeueReason};

use super::plan::Scenario;
use super::world::World;

/// Runs the scenario and compares what was written down with these lines: seconds, then what
/// happened.
#[track_caller]
pub(crate) fn check(scenario: Scenario, expected: &[&str]) -> World {
    let world = World::new(scenario).run();
    let told: Vec<String> = world.log.iter().filter_map(|r| Some(told(r.at, &line(&r.fact)?))).collect();
    assert!(told == expected, "told:\n  {}\nexpected:\n  {}", told.join("\n  "), expected.join("\n  "));
    world
}

/// The effects of a run, by name and agent.
pub(crate) fn effects(world: &World) -> Vec<String> {
    let name = |effect: &Effect| match effect {
        Effect::Prepare { id } => format!("prepare {}", id.agent),
        Effect::Spawn { id, slot, continues: None } => format!("spawn {} in slot {}", id.agent, slot.0),
        Effect::Spawn { id, continues: Some(with), .. } => {
            format!("spawn {} with {} of attempt {} after {}", id.agent, with.thread, with.from, kind(&with.why))
        }
        Effect::Return { id, changes, .. } => {
            let paths: Vec<_> = changes.iter().map(|change| &change.path).collect();
            format!("return {} {paths:?}", id.agent)
        }
        Effect::End { id, part, how } => format!("end {} {} {}", id.agent, kind(part), kind(how)),
        Effect::Sample { id } => format!("sample {}", id.agent),
        Effect::Measure { id } => format!("measure {}", id.agent),
        Effect::Freeze { id, purpose, paths, .. } => format!("freeze {} {} {paths:?}", id.agent, kind(purpose)),
        Effect::Checkpoint { id } => format!("checkpoint {}", id.agent),
        Effect::Verify { id, commit, .. } => {
            format!("verify {} {}", id.agent, if commit.is_some() { "its commit" } else { "no commit" })
        }
        Effect::PreparePlace { id, .. } => format!("prepare place {}", id.agent),
        Effect::Place { id, .. } => format!("place {}", id.agent),
        Effect::FinishPlace { id, .. } => format!("finish place {}", id.agent),
        Effect::Unpin { id } => format!("unpin {}", id.agent),
        Effect::Restore { id, paths, .. } => format!("restore {} {paths:?}", id.agent),
        Effect::Sweep { runner } => format!("sweep {runner}"),
        Effect::Answer { id, answer, .. } => format!("answer {} {}", id.agent, kind(answer)),
        Effect::Withdraw { id } => format!("withdraw {}", id.agent),
        Effect::Stale { id, paths } => format!("stale {} {paths:?}", id.agent),
        Effect::Tell { id, .. } => format!("tell {}", id.agent),
        Effect::CheckConflict { conflict, path, expect } => {
            format!("check conflict {conflict} {path} {}", kind(expect))
        }
        Effect::Survey => "survey".to_owned(),
        Effect::Close { .. } => "close".to_owned(),
    };
    world.effects.iter().map(|(_, effect)| name(effect)).collect()
}

fn told(at: Moment, line: &str) -> String {
    let seconds = at.0 / 1000;
    let rest = at.0 % 1000;
    if rest == 0 { format!("{seconds} {line}") } else { format!("{seconds}.{rest:03} {line}") }
}

fn line(fact: &Fact) -> Option<String> {
    Some(match fact {
        Fact::AgentWaits { reason: WaitReason::Slot, .. } => return None,
        Fact::AgentWaits { agent, reason } => {
            let on = match reason {
                WaitReason::Locks { holders } => format!("{holders:?}").replace('"', ""),
                WaitReason::Reserved { by } => by.to_string(),
                _ => String::new(),
            };
            format!("{agent} {}: {} {on}", reason.state(), kind(reason)).trim_end().to_owned()
        }
        Fact::AttemptReturned { id, .. } => format!("{} BLOCKED: DirtyClaim", id.agent),
        Fact::AttemptStarted { id, .. } if id.attempt.0 == 1 => format!("{} starts", id.agent),
        Fact::AttemptStarted { id, .. } => format!("{} starts, attempt {}", id.agent, id.attempt),
        Fact::EndIntended { id, reason, how, .. } => format!("{} is ended {}: {}", id.agent, kind(how), kind(reason)),
        Fact::Frozen { id, purpose: Purpose::Salvage, .. } => format!("{} is salvaged", id.agent),
        Fact::Restored { id, .. } => format!("{} is put back", id.agent),
        Fact::Checkpointed { id, .. } => format!("{} has a checkpoint", id.agent),
        Fact::AgentRequeued { id, why: RequeueReason::Retry(reason), not_before } => {
            format!("{} WAITING until {}: {}", id.agent, not_before.0 / 1000, kind(reason))
        }
        Fact::ThreadKnown { id, thread } => format!("{} is thread {thread}", id.agent),
        Fact::ReturnIntended { id, from, paths } => format!("{} gets {paths:?} of attempt {from}", id.agent),
        Fact::Continued { id, from, thread } => format!("{} continues {thread} of attempt {from}", id.agent),
        Fact::BegunAnew { id, from, why } => format!("{} begins anew after attempt {from}: {}", id.agent, kind(why)),
        Fact::AgentRequeued { id, why: RequeueReason::RateLimit, .. } => format!("{} WAITING: rate limit", id.agent),
        Fact::AgentRequeued { id, why: RequeueReason::Busy { paths }, .. } => {
            format!("{} WAITING: busy {paths:?}", id.agent)
        }
        Fact::AgentRequeued { id, why: RequeueReason::Conflict { path, .. }, .. } => {
            format!("{} WAITING: behind {path}", id.agent)
        }
        Fact::AgentRequeued { id, why: RequeueReason::Outranked { .. }, .. } => {
            format!("{} WAITING: outranked", id.agent)
        }
        // What the gate leads to; without one, these are told by the end of the agent.
        Fact::AttemptFailed { id, reason } if of_the_gate(reason) => {
            format!("{} will not complete: {}", id.agent, kind(reason))
        }
        Fact::Denied { id, path, why, .. } => {
            let path = match path {
                RefusedPath::Inside(path) => path.to_string(),
                RefusedPath::Other(text) => text.clone(),
            };
            format!("{} is denied {path}: {}", id.agent, kind(why))
        }
        Fact::Busied { id, path, why } => format!("{} is told to look at {path} again: {}", id.agent, kind(why)),
        Fact::Locked { id, path, how } => format!("{} locks {path}: {}", id.agent, kind(how)),
        Fact::Admitted { id, path, how } => format!("{} is let at {path}: {}", id.agent, kind(how)),
        Fact::ConflictFound(found) => {
            let (holder, writer) = (&found.holder.agent, &found.writer.agent);
            format!("CONFLICT {}: {holder} and {writer} at {}", found.conflict, found.path)
        }
        Fact::ConflictResolved { conflict, resolution, by } => {
            format!("conflict {conflict}: {} by {}", kind(resolution), kind(by))
        }
        Fact::ConflictVerified { conflict, outcome } => format!("conflict {conflict}: {}", kind(outcome)),
        Fact::OutsideWrite { paths } => format!("outside {paths:?}"),
        Fact::AgentRegistered(plan) => format!("{} joins", plan.id),
        Fact::Granted { agent, pattern } => format!("{agent} is granted {}", pattern.as_str()),
        Fact::RunnerPaused { runner, until } => format!("{runner} pauses until {}", until.0 / 1000),
        Fact::StopRequested { by } => format!("stop: {by:?}"),
        Fact::KillRequested { .. } => "kill".to_owned(),
        Fact::AgentEnded { agent, state, reason: None } => format!("{agent} {state}"),
        Fact::AgentEnded { agent, state, reason: Some(reason) } => format!("{agent} {state}: {}", kind(reason)),
        Fact::PhaseEnded { phase, completed: false } => format!("phase {phase} fails"),
        _ => return None,
    })
}

fn of_the_gate(reason: &EndReason) -> bool {
    use EndReason::{AllDenied, Denied, Leftovers, OutsideEdit};
    matches!(reason, AllDenied { .. } | Denied { .. } | Leftovers { .. } | OutsideEdit { .. })
}

/// The name of the variant.
fn kind(value: &impl Debug) -> String {
    let text = format!("{value:?}");
    text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned()
}
