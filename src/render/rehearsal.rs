//! A run as it would unfold, as a table for people and a document for programs.
//!
//! Invariant: columns line up in any script; nothing from the session file is shown unescaped.

use std::collections::BTreeMap;

use serde::Serialize;
use unicode_width::UnicodeWidthStr as _;

use super::Setting;
use super::json::VERSION;
use super::reason::{wait_kind, wait_text};
use super::style::Tone;
use super::text::{pad, pad_left, plural, printable, some_of, truncate, wrap};
use crate::core::agent::{AgentPlan, Plan};
use crate::core::claim::Pattern;
use crate::core::ids::AgentId;
use crate::core::reason::WaitReason;
use crate::core::rehearsal::{Start, Wave};

/// Patterns of a claim, and columns of them, in the table.
const PATTERNS: usize = 3;
const LOCK_COLUMNS: usize = 40;
/// The narrowest last column.
const MIN_REASON: usize = 20;

const NOTE: &str = "The order, not the time: every agent is taken to complete, and those of a wave to end together. \
                    Nothing was started.";

const HEADINGS: [&str; 6] = ["WAVE", "SLOT", "AGENT", "PHASE", "LOCKS", "STARTS THEN BECAUSE BEFORE"];

/// Several lines, each with its line feed.
#[must_use]
pub fn table(session: &str, plan: &Plan, waves: &[Wave], setting: &Setting) -> String {
    let agents = by_id(plan);
    let mut rows: Vec<[String; 6]> = vec![HEADINGS.map(str::to_owned)];
    for (wave, number) in waves.iter().zip(1..) {
        for (start, at) in wave.starts.iter().zip(0..) {
            let number = if at == 0 { format!("{number}") } else { String::new() };
            rows.push(row(number, start, agents.get(&start.agent).copied(), plan, setting));
        }
    }
    let with_phases = plan.phases.iter().any(|phase| phase.name.is_some());
    let widths: [usize; 5] = std::array::from_fn(|column| match column {
        3 if !with_phases => 0,
        _ => rows.iter().map(|row| row[column].width()).max().unwrap_or_default(),
    });
    let room = setting.width.saturating_sub(widths.iter().filter(|w| **w > 0).map(|w| w + 2).sum()).max(MIN_REASON);
    let line = |row: &[String; 6]| {
        let mut cells = Vec::new();
        for column in (0..5).filter(|column| widths[*column] > 0) {
            let place = if column < 2 { pad_left } else { pad };
            cells.push(place(&row[column], widths[column]));
        }
        cells.push(truncate(&row[5], room));
        cells.join("  ").trim_end().to_owned()
    };
    let mut lines = vec![headline(session, plan, waves, setting)];
    lines.extend(wrap(NOTE, setting.width, 0));
    lines.push(String::new());
    lines.extend(rows.iter().map(line));
    let head = lines.len() - rows.len();
    lines[head] = setting.palette.paint(Tone::Heading, &lines[head]);
    lines.into_iter().map(|line| line + "\n").collect()
}

fn headline(session: &str, plan: &Plan, waves: &[Wave], setting: &Setting) -> String {
    let name = setting.palette.paint(Tone::Heading, printable(session));
    let agents = plural(plan.agents.len(), "agent", "agents");
    let waves = plural(waves.len(), "wave", "waves");
    format!("{name}: {agents} in {waves}, at most {} at once", plan.max_concurrent)
}

fn row(number: String, start: &Start, agent: Option<&AgentPlan>, plan: &Plan, setting: &Setting) -> [String; 6] {
    let phase = agent.and_then(|agent| plan.phases.get(agent.rank.phase)?.name.as_deref()).unwrap_or_default();
    let reason = start.waited.as_ref().map(|reason| wait_text(reason, setting)).unwrap_or_default();
    [
        number,
        start.slot.0.to_string(),
        start.agent.to_string(),
        truncate(&printable(phase), LOCK_COLUMNS),
        truncate(&agent.map(locks).unwrap_or_default(), LOCK_COLUMNS),
        reason,
    ]
}

/// What it locks when it starts; what it only may lock later is said so.
fn locks(agent: &AgentPlan) -> String {
    let claim = &agent.claim;
    let lists = [("", &claim.exclusive), ("late ", &claim.late), ("reads ", &claim.shared)];
    let all = lists.iter().flat_map(|(kind, list)| list.iter().map(move |p| format!("{kind}{}", p.as_str())));
    some_of(&all.collect::<Vec<_>>(), PATTERNS)
}

fn by_id(plan: &Plan) -> BTreeMap<&AgentId, &AgentPlan> {
    plan.agents.iter().map(|agent| (&agent.id, agent)).collect()
}

/// What `run --dry-run --format json` prints.
#[derive(Clone, Debug, Serialize)]
pub struct RehearsalDocument {
    version: u32,
    session: String,
    max_concurrent: u32,
    waves: Vec<WaveDocument>,
}

#[derive(Clone, Debug, Serialize)]
struct WaveDocument {
    wave: usize,
    starts: Vec<StartDocument>,
    /// Who waits meanwhile: the first in line.
    waits: Vec<WaitDocument>,
    /// How many wait in all.
    waiting: usize,
}

#[derive(Clone, Debug, Serialize)]
struct StartDocument {
    agent: String,
    slot: u32,
    phase: Option<String>,
    priority: Option<u8>,
    runner: Option<String>,
    locks: Locks,
    waited: Option<Reason>,
}

#[derive(Clone, Debug, Serialize)]
struct WaitDocument {
    agent: String,
    state: &'static str,
    reason: Reason,
}

#[derive(Clone, Debug, Default, Serialize)]
struct Locks {
    exclusive: Vec<String>,
    late: Vec<String>,
    shared: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
struct Reason {
    kind: &'static str,
    text: String,
}

/// The same for programs.
#[must_use]
pub fn document(session: &str, plan: &Plan, waves: &[Wave], setting: &Setting) -> RehearsalDocument {
    let agents = by_id(plan);
    let reason = |why: &WaitReason| Reason { kind: wait_kind(why), text: wait_text(why, setting) };
    let start = |start: &Start| {
        let agent = agents.get(&start.agent).copied();
        StartDocument {
            agent: start.agent.to_string(),
            slot: start.slot.0,
            phase: agent.and_then(|agent| plan.phases.get(agent.rank.phase)?.name.clone()),
            priority: agent.map(|agent| agent.rank.priority.get()),
            runner: agent.map(|agent| agent.runner.as_str().to_owned()),
            locks: agent.map(lock_texts).unwrap_or_default(),
            waited: start.waited.as_ref().map(reason),
        }
    };
    let wave = |(wave, number): (&Wave, usize)| WaveDocument {
        wave: number,
        starts: wave.starts.iter().map(start).collect(),
        waits: wave
            .waits
            .iter()
            .map(|(agent, why)| WaitDocument {
                agent: agent.to_string(),
                state: why.state().as_str(),
                reason: reason(why),
            })
            .collect(),
        waiting: wave.waiting,
    };
    RehearsalDocument {
        version: VERSION,
        session: session.to_owned(),
        max_concurrent: plan.max_concurrent.get(),
        waves: waves.iter().zip(1..).map(wave).collect(),
    }
}

fn lock_texts(agent: &AgentPlan) -> Locks {
    let texts = |list: &[Pattern]| list.iter().map(|p| p.as_str().to_owned()).collect();
    let claim = &agent.claim;
    Locks { exclusive: texts(&claim.exclusive), late: texts(&claim.late), shared: texts(&claim.shared) }
}
