//! `supervise wait`: until the run, or these agents, have ended.
//!
//! Invariant: the exit code is that of `run`; nothing is asked of anybody, the journal tells.

use std::collections::BTreeMap;
use std::time::Duration;

use super::look::{AboutRun, Look, LookError, SomeAgents, print};
use super::records::{Records, Waited};
use super::span::span;
use super::{Common, Exit, Failure, Format, look};
use crate::core::ids::AgentId;
use crate::core::lifecycle::State;
use crate::core::record::{Fact, RunOutcome};
use crate::core::view::RunView;
use crate::render::json::pretty;
use crate::render::text::limit;
use crate::render::{json, steer};

/// Wait until the run has ended, or these agents have
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct WaitArgs {
    #[command(flatten)]
    pub agents: SomeAgents,
    /// Wait no longer than this: `90s`, `1h 30m`, or seconds
    #[arg(long, value_name = "DURATION", value_parser = span)]
    pub timeout: Option<Duration>,
    #[command(flatten)]
    pub about: AboutRun,
}

const AFTER_HELP: &str = "\
Examples:
  supervise wait
  supervise wait api docs --timeout 30m

Exit codes: that of `supervise run`, for agents 0 if all COMPLETED, else 1;
124 if the time was over before.";

#[derive(Debug, thiserror::Error, miette::Diagnostic)]
enum WaitError {
    #[error("still running after {}", limit(*.after))]
    #[diagnostic(help("`supervise status` shows what is left"))]
    Late { after: Duration },
}

pub fn run(args: &WaitArgs, common: &Common) -> Result<Exit, Failure> {
    let look = Look::at(common, &args.about.run).map_err(LookError::fail)?;
    let (agents, ended) = wait(args, &look).map_err(LookError::fail)?;
    let exit = match ended {
        Ended::Run(outcome) => Exit::of(outcome),
        Ended::Agents(true) => Exit::Success,
        Ended::Agents(false) => Exit::AgentsFailed,
        Ended::Late(after) => return Err(Failure::new(Exit::TimedOut, WaitError::Late { after })),
        Ended::CutOff => return Err(look.cut_off().fail()),
    };
    tell(args, &look, &agents).map_err(LookError::fail)?;
    Ok(exit)
}

enum Ended {
    Run(RunOutcome),
    /// Did all of them complete?
    Agents(bool),
    Late(Duration),
    CutOff,
}

fn wait(args: &WaitArgs, look: &Look) -> Result<(Vec<AgentId>, Ended), LookError> {
    let mut records = Records::open(look, true)?;
    let until = args.timeout.map(|timeout| records.now() + timeout);
    let mut agents = None;
    let mut ends = BTreeMap::new();
    let mut outcome = None;
    loop {
        let entries = records.more()?;
        for entry in &entries {
            match &entry.record.fact {
                Fact::AgentEnded { agent, state, .. } => drop(ends.insert(agent.clone(), *state)),
                Fact::RunEnded { outcome: ended } => outcome = Some(*ended),
                Fact::RunResumed { reopened, .. } => {
                    outcome = None;
                    ends.retain(|agent, _| !reopened.contains(agent));
                }
                Fact::RunOpened(_) if agents.is_none() => agents = Some(args.agents.of(&look.state()?.view)?),
                _ => {}
            }
        }
        if !entries.is_empty() {
            continue;
        }
        let wanted: &[AgentId] = agents.as_deref().unwrap_or_default();
        let states: Option<Vec<_>> = wanted.iter().map(|agent| ends.get(agent)).collect();
        let ended = match (outcome, states) {
            (_, Some(states)) if !states.is_empty() => {
                Some(Ended::Agents(states.iter().all(|state| **state == State::Completed)))
            }
            (Some(outcome), _) => {
                records.settle()?;
                Some(Ended::Run(outcome))
            }
            _ => match records.wait(until)? {
                Waited::Again => None,
                Waited::Late => Some(Ended::Late(args.timeout.unwrap_or_default())),
                Waited::Over => Some(Ended::CutOff),
            },
        };
        if let Some(ended) = ended {
            return Ok((agents.unwrap_or_default(), ended));
        }
    }
}

/// Says how it ended.
fn tell(args: &WaitArgs, look: &Look, agents: &[AgentId]) -> Result<(), LookError> {
    let look::State { past, life, view, setting } = look.state()?;
    let wanted = |id: &AgentId| agents.is_empty() || agents.contains(id);
    let shown = RunView { agents: view.agents.iter().filter(|a| wanted(&a.id)).cloned().collect(), ..view };
    print(match args.about.format {
        Format::Human if agents.is_empty() => steer::ended(&shown, &look.commands),
        Format::Human => steer::agents_ended(&shown, &setting),
        Format::Json => pretty(&json::run(&shown, &setting, past.until(&life))),
    });
    Ok(())
}
