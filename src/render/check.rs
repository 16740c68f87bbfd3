//! What `check` found: the order, who contends for what, who is there twice, and what to do next.
//!
//! Invariant: columns line up in any script; nothing from the session file is shown unescaped.
//! Each list is cut for people after some lines, and says so; the JSON has all of it.

use serde::Serialize;
use unicode_width::UnicodeWidthStr as _;

use super::style::{Palette, Tone};
use super::text::{pad, pad_left, plural, printable, truncate};
use crate::core::agent::{AgentPlan, Plan};
use crate::core::claim::{Claim, Contest};
use crate::session::analysis::{Analysis, Duplicate, Likeness};
use crate::session::{Problem, SessionErrors, Severity};

/// Contests and duplicates shown to people.
const SHOWN: usize = 20;
/// Patterns of a claim shown in the table.
const PATTERNS: usize = 4;
/// The narrowest column for claims.
const MIN_CLAIM: usize = 24;

/// A valid session and what it amounts to.
#[derive(Clone, Copy, Debug)]
pub struct Checked<'a> {
    pub session: &'a str,
    pub plan: &'a Plan,
    pub analysis: &'a Analysis,
    pub warnings: &'a [Problem],
    /// What to do next, a sentence that names the command.
    pub next: &'a str,
    pub palette: Palette,
    /// Columns; a table that does not fit is cut in its last one.
    pub width: usize,
}

/// Several lines, each with its line feed.
#[must_use]
pub fn checked(found: &Checked<'_>) -> String {
    let mut lines = vec![headline(found), String::new()];
    lines.extend(table(found));
    lines.extend(section(found, "Contested: these wait for each other", contests(found)));
    lines.extend(section(found, "Duplicates", duplicates(found)));
    lines.extend(section(found, "Warnings", warnings(found)));
    let done = found.palette.paint(Tone::Good, "valid");
    lines.extend([String::new(), format!("{done}; {}", printable(found.next)), String::new()]);
    lines.join("\n")
}

/// What adding an agent to a session comes to; `next` is the agent's id, `analysis` what concerns it.
#[must_use]
pub fn added(found: &Checked<'_>) -> String {
    let count = plural(found.plan.agents.len(), "agent", "agents");
    let mut lines = vec![format!("{} added to {}, which has {count} now", found.next, printable(found.session))];
    lines.extend(section(found, "Contested: these wait for each other", contests(found)));
    lines.extend(section(found, "Duplicates", duplicates(found)));
    lines.push(String::new());
    lines.join("\n")
}

fn headline(found: &Checked<'_>) -> String {
    let name = found.palette.paint(Tone::Heading, printable(found.session));
    let agents = plural(found.plan.agents.len(), "agent", "agents");
    let phases = match found.plan.phases.len() {
        0 | 1 => String::new(),
        n => format!(" in {n} phases"),
    };
    format!("{name}: {agents}{phases}, at most {} at once", found.plan.max_concurrent)
}

fn table(found: &Checked<'_>) -> Vec<String> {
    let plan = found.plan;
    let with_phases = plan.phases.iter().any(|phase| phase.name.is_some());
    let head = ["#", "AGENT", "PHASE", "PRIO", "AFTER", "CLAIM"].map(str::to_owned);
    let rows = found.analysis.order.iter().enumerate().map(|(at, index)| row(plan, at + 1, &plan.agents[*index]));
    let rows: Vec<[String; 6]> = std::iter::once(head).chain(rows).collect();
    let widths: [usize; 6] = std::array::from_fn(|column| match column {
        2 if !with_phases => 0,
        _ => rows.iter().map(|row| row[column].width()).max().unwrap_or_default(),
    });
    let room = {
        let others: usize = widths[..5].iter().filter(|w| **w > 0).map(|w| w + 2).sum();
        found.width.saturating_sub(others + 2).max(MIN_CLAIM)
    };
    let line = |row: &[String; 6]| {
        let mut line = format!("  {}", pad_left(&row[0], widths[0]));
        for column in (1..5).filter(|column| widths[*column] > 0) {
            let place = if column == 3 { pad_left } else { pad };
            line.push_str("  ");
            line.push_str(&place(&row[column], widths[column]));
        }
        format!("{line}  {}", truncate(&row[5], room))
    };
    let mut lines: Vec<String> = rows.iter().map(line).collect();
    lines[0] = found.palette.paint(Tone::Quiet, &lines[0]);
    lines
}

fn row(plan: &Plan, place: usize, agent: &AgentPlan) -> [String; 6] {
    let phase = plan.phases.get(agent.rank.phase).and_then(|phase| phase.name.as_deref()).unwrap_or_default();
    [
        place.to_string(),
        agent.id.to_string(),
        truncate(&printable(phase), 40),
        agent.rank.priority.get().to_string(),
        after(agent),
        claim(&agent.claim),
    ]
}

fn after(agent: &AgentPlan) -> String {
    let name = |at: usize| agent.depends_on.get(at).map(|d| d.on.to_string()).unwrap_or_default();
    match agent.depends_on.len() {
        0 => "-".to_owned(),
        1 => name(0),
        2 => format!("{}, {}", name(0), name(1)),
        n => format!("{}, {} and {} more", name(0), name(1), n - 2),
    }
}

fn claim(claim: &Claim) -> String {
    let lists = [("", &claim.exclusive), ("late ", &claim.late), ("reads ", &claim.shared)];
    let all: Vec<String> = lists
        .iter()
        .flat_map(|(kind, patterns)| patterns.iter().map(move |p| format!("{kind}{}", printable(p.as_str()))))
        .collect();
    match all.len().saturating_sub(PATTERNS) {
        _ if all.is_empty() => "nothing".to_owned(),
        0 => all.join(", "),
        more => format!("{} and {more} more", all[..PATTERNS].join(", ")),
    }
}

fn contests(found: &Checked<'_>) -> Vec<String> {
    let contested = &found.analysis.contested;
    let mut lines: Vec<String> = contested
        .pairs
        .iter()
        .take(SHOWN)
        .map(|contest| {
            let (left, right) = (printable(contest.overlap.left.as_str()), printable(contest.overlap.right.as_str()));
            let (a, b) = &contest.agents;
            let patterns = if left == right { format!("`{left}`") } else { format!("`{left}` and `{right}`") };
            format!("{a} and {b}: {patterns}, as in {}", contest.overlap.example)
        })
        .collect();
    lines.extend(more(contested.pairs.len()));
    if contested.truncated {
        lines.push("there are more; the search was cut short".to_owned());
    }
    lines
}

fn duplicates(found: &Checked<'_>) -> Vec<String> {
    let all = &found.analysis.duplicates;
    all.iter().take(SHOWN).map(recommendation).chain(more(all.len())).collect()
}

fn more(all: usize) -> Option<String> {
    (all > SHOWN).then(|| format!("… and {} more; `--format json` has them", all - SHOWN))
}

/// What to do about two agents that do the same.
#[must_use]
pub fn recommendation(duplicate: &Duplicate) -> String {
    let likeness = match duplicate.likeness {
        Likeness::Same => "the same work",
        Likeness::Near => "nearly the same work",
    };
    let Duplicate { keep, drop, .. } = duplicate;
    format!("{drop} has the claims of {keep} and {likeness}: remove {drop}, which is declared later")
}

fn section(found: &Checked<'_>, heading: &str, lines: Vec<String>) -> Vec<String> {
    if lines.is_empty() {
        return lines;
    }
    let head = [String::new(), found.palette.paint(Tone::Warning, heading)];
    head.into_iter().chain(lines.into_iter().map(|line| format!("  {line}"))).collect()
}

fn warnings(found: &Checked<'_>) -> Vec<String> {
    let one = |problem: &Problem| {
        let place = match (problem.line, problem.column) {
            (Some(line), Some(column)) => format!("{}:{line}:{column}: ", printable(&problem.file)),
            _ => String::new(),
        };
        let help = problem.help.as_ref().map(|help| format!(" ({})", printable(help))).unwrap_or_default();
        format!("{place}{}{help}", printable(&problem.message))
    };
    let serial = serial_warnings(found.plan, found.analysis);
    let all = found.warnings.len() + serial.len();
    serial.into_iter().chain(found.warnings.iter().map(one)).take(SHOWN).chain(more(all)).collect()
}

/// That claims allow no parallelism.
fn serial_warnings(plan: &Plan, analysis: &Analysis) -> Vec<String> {
    let phase = |at: &usize| match plan.phases.get(*at).and_then(|phase| phase.name.as_deref()) {
        Some(name) => format!("in phase `{}` the claims let no two agents run at once", printable(name)),
        None => "the claims let no two agents run at once".to_owned(),
    };
    analysis.serial_phases.iter().map(phase).collect()
}

/// What `check --format json` prints.
#[derive(Clone, Debug, Default, Serialize)]
pub struct CheckDocument {
    pub valid: bool,
    pub errors: Vec<ErrorDocument>,
    pub warnings: Vec<ErrorDocument>,
    pub order: Vec<String>,
    pub contested: Vec<ContestDocument>,
    /// The list of contests is not complete.
    pub contested_truncated: bool,
    pub duplicates: Vec<DuplicateDocument>,
}

/// What `register --format json` prints.
#[derive(Clone, Debug, Serialize)]
pub struct AddedDocument {
    version: u32,
    id: String,
    file: String,
    contested: Vec<ContestDocument>,
    duplicates: Vec<DuplicateDocument>,
}

impl AddedDocument {
    /// `analysis`: what concerns the agent.
    #[must_use]
    pub fn of(id: &str, file: &std::path::Path, plan: &Plan, analysis: &Analysis) -> Self {
        let CheckDocument { contested, duplicates, .. } = CheckDocument::valid(plan, analysis, &[]);
        Self { version: 1, id: id.to_owned(), file: file.display().to_string(), contested, duplicates }
    }
}

/// One mistake or doubt. `line` and `column` count from 1.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ErrorDocument {
    code: &'static str,
    message: String,
    file: Option<String>,
    line: Option<u32>,
    column: Option<u32>,
    help: Option<String>,
}

impl From<&Problem> for ErrorDocument {
    fn from(problem: &Problem) -> Self {
        Self {
            code: problem.code,
            message: problem.message.clone(),
            file: Some(problem.file.clone()),
            line: problem.line,
            column: problem.column,
            help: problem.help.clone(),
        }
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct ContestDocument {
    agents: [String; 2],
    patterns: [String; 2],
    example: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct DuplicateDocument {
    agents: [String; 2],
    recommendation: String,
}

impl CheckDocument {
    /// Of a session that is valid.
    #[must_use]
    pub fn valid(plan: &Plan, analysis: &Analysis, warnings: &[Problem]) -> Self {
        let serial = |message| ErrorDocument { code: "serial_claims", message, ..ErrorDocument::default() };
        let contest = |contest: &Contest| ContestDocument {
            agents: [contest.agents.0.to_string(), contest.agents.1.to_string()],
            patterns: [contest.overlap.left.to_string(), contest.overlap.right.to_string()],
            example: contest.overlap.example.to_string(),
        };
        let duplicate = |duplicate: &Duplicate| DuplicateDocument {
            agents: [duplicate.keep.to_string(), duplicate.drop.to_string()],
            recommendation: recommendation(duplicate),
        };
        Self {
            valid: true,
            errors: Vec::new(),
            warnings: serial_warnings(plan, analysis)
                .into_iter()
                .map(serial)
                .chain(warnings.iter().map(ErrorDocument::from))
                .collect(),
            order: analysis.order.iter().map(|at| plan.agents[*at].id.to_string()).collect(),
            contested: analysis.contested.pairs.iter().map(contest).collect(),
            contested_truncated: analysis.contested.truncated,
            duplicates: analysis.duplicates.iter().map(duplicate).collect(),
        }
    }

    /// Of one that is not.
    #[must_use]
    pub fn invalid(errors: &SessionErrors) -> Self {
        let of = |severity| errors.problems.iter().filter(move |p| p.severity == severity).map(ErrorDocument::from);
        Self { errors: of(Severity::Error).collect(), warnings: of(Severity::Warning).collect(), ..Self::default() }
    }
}
