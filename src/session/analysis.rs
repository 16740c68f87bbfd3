//! What a session amounts to: the order in which its agents start, who contends for what, and who is
//! there twice.
//!
//! Invariant: nothing here changes what a run does; the supervisor decides by the plan alone. Work
//! is bounded for ten thousand agents, and an answer that was cut short says so.
//!
//! Deliberately absent: the texts of recommendations (`render`).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use super::plan::{Launch, RunnerKind};
use super::template::Template;
use crate::core::agent::{AgentPlan, Plan, Rank};
use crate::core::claim::{Claim, Contested, Limits, Pattern, contested};
use crate::core::ids::AgentId;

/// Sessions with more agents than this have their contests listed without regard to dependencies.
const MAX_ORDERED: usize = 20_000;
/// The most dependencies whose own dependencies are followed.
const MAX_FOLLOWED: usize = 2_000_000;
/// Phases with more agents than this are not asked whether any two could run at once.
const MAX_PAIRED: usize = 300;
/// The most duplicates that are reported.
const MAX_DUPLICATES: usize = 1_000;
/// The most pairs of different texts that are compared for likeness.
const MAX_COMPARED: usize = 4_000;
/// How much of a text is compared, in characters.
const COMPARED_CHARS: usize = 2_000;
/// Texts that share so many of their letter pairs are near-same (Sørensen–Dice).
const NEAR: f64 = 0.9;

/// What a session amounts to.
#[derive(Clone, Debug)]
pub struct Analysis {
    /// Indexes into [`Plan::agents`], as the agents would start with one slot and no failures.
    pub order: Vec<usize>,
    pub contested: Contested,
    pub duplicates: Vec<Duplicate>,
    /// Indexes into [`Plan::phases`]: those in which claims let no two agents run at once, although
    /// dependencies would.
    pub serial_phases: Vec<usize>,
}

/// Two agents with the same claims and the same work. The one declared later should go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Duplicate {
    pub keep: AgentId,
    pub drop: AgentId,
    pub likeness: Likeness,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Likeness {
    /// The same text, but for case and white space.
    Same,
    Near,
}

/// What an agent is to do, as far as two agents can be compared by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// A prompt: near-same counts.
    Prompt(String),
    /// A command line: only the same counts, `./run 1` and `./run 2` being different work.
    Command(String),
}

/// What an agent that is launched like this is to do.
#[must_use]
pub fn work_of(launch: &Launch) -> Option<Work> {
    if let (Some(prompt), true) = (&launch.prompt, launch.kind != RunnerKind::Command) {
        return Some(Work::Prompt(prompt.own_words()));
    }
    let words = launch.command.iter().flatten().chain(&launch.args).map(|word| word.fill(1, 0));
    let words = words.chain(launch.prompt.as_ref().map(Template::own_words));
    Some(Work::Command(words.collect::<Vec<_>>().join(" ")))
}

/// The same for one agent of the plan, whose index this is: with whom it contends of those for whom `lives`
/// holds, and whose work it does again. Serial phases are not looked for.
pub fn analyse_one(
    plan: &Plan,
    one: usize,
    lives: impl Fn(&AgentPlan) -> bool,
    work: impl Fn(&AgentPlan) -> Option<Work>,
) -> Analysis {
    let order = start_order(plan);
    let agents: Vec<(&AgentId, &Claim)> = plan.agents.iter().map(|a| (&a.id, &a.claim)).collect();
    let before = Before::new(plan, &order);
    let other = |i: usize, j: usize| if i == one { Some(j) } else { (j == one).then_some(i) };
    let apart = |i: usize, j: usize| {
        other(i, j).is_none_or(|other| !lives(&plan.agents[other]))
            || plan.agents[i].rank.phase != plan.agents[j].rank.phase
            || before.ends_before(i, j)
            || before.ends_before(j, i)
    };
    let contested = contested(&agents, Limits::default(), apart);
    let mut duplicates = duplicates(plan, work, |i, j| before.ends_before(i, j));
    let id = &plan.agents[one].id;
    duplicates.retain(|duplicate| duplicate.keep == *id || duplicate.drop == *id);
    Analysis { contested, duplicates, serial_phases: Vec::new(), order }
}

/// Looks at a plan; `work` tells what each agent of [`Plan::agents`] is to do.
pub fn analyse(plan: &Plan, work: impl Fn(&AgentPlan) -> Option<Work>) -> Analysis {
    let order = start_order(plan);
    let agents: Vec<(&AgentId, &Claim)> = plan.agents.iter().map(|a| (&a.id, &a.claim)).collect();
    let before = Before::new(plan, &order);
    let apart = |i: usize, j: usize| {
        plan.agents[i].rank.phase != plan.agents[j].rank.phase || before.ends_before(i, j) || before.ends_before(j, i)
    };
    let contested = contested(&agents, Limits::default(), apart);
    let duplicates = duplicates(plan, work, |i, j| before.ends_before(i, j));
    Analysis { contested, duplicates, serial_phases: serial_phases(plan, apart), order }
}

fn serial_phases(plan: &Plan, apart: impl Fn(usize, usize) -> bool) -> Vec<usize> {
    let mut phases: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    if plan.max_concurrent.get() > 1 {
        for (at, agent) in plan.agents.iter().enumerate() {
            phases.entry(agent.rank.phase).or_default().push(at);
        }
    }
    let is_serial = |members: &[usize]| {
        let pairs = members.iter().enumerate().flat_map(|(n, i)| members[n + 1..].iter().map(move |j| (*i, *j)));
        let mut free = pairs.filter(|(i, j)| !apart(*i, *j)).peekable();
        members.len() <= MAX_PAIRED
            && free.peek().is_some()
            && free.all(|(i, j)| plan.agents[i].claim.excludes(&plan.agents[j].claim))
    };
    phases.into_iter().filter(|(_, members)| is_serial(members)).map(|(phase, _)| phase).collect()
}

/// Indexes by id.
fn by_id(plan: &Plan) -> BTreeMap<&AgentId, usize> {
    plan.agents.iter().enumerate().map(|(at, agent)| (&agent.id, at)).collect()
}

/// The order of ranks, in which nobody comes before what they depend on.
pub fn start_order(plan: &Plan) -> Vec<usize> {
    let by_id = by_id(plan);
    let mut missing: Vec<usize> = vec![0; plan.agents.len()];
    let mut dependents: Vec<Vec<usize>> = vec![Vec::new(); plan.agents.len()];
    for (at, agent) in plan.agents.iter().enumerate() {
        for on in agent.depends_on.iter().filter_map(|d| by_id.get(&d.on)) {
            missing[at] += 1;
            dependents[*on].push(at);
        }
    }
    let place = |at: usize| Reverse((plan.agents[at].rank, at));
    let mut ready: BinaryHeap<Reverse<(Rank, usize)>> =
        missing.iter().enumerate().filter(|(_, n)| **n == 0).map(|(at, _)| place(at)).collect();
    let mut order = Vec::with_capacity(plan.agents.len());
    while let Some(Reverse((_, at))) = ready.pop() {
        order.push(at);
        for &next in &dependents[at] {
            missing[next] -= 1;
            if missing[next] == 0 {
                ready.push(place(next));
            }
        }
    }
    order
}

/// Who has ended before whom starts, by dependencies, through others as well.
struct Before {
    /// For each agent that waits for somebody: a bit for each agent that has ended by then.
    ended: Vec<Option<Box<[u64]>>>,
}

impl Before {
    fn new(plan: &Plan, order: &[usize]) -> Self {
        let n = plan.agents.len();
        let mut ended: Vec<Option<Box<[u64]>>> = vec![None; n];
        if n > MAX_ORDERED {
            return Self { ended };
        }
        let by_id = by_id(plan);
        let mut place = vec![0; n];
        order.iter().enumerate().for_each(|(position, at)| place[*at] = position);
        let mut followed = 0;
        for &at in order {
            let mut on: Vec<(usize, bool)> = plan.agents[at]
                .depends_on
                .iter()
                .filter_map(|d| Some((*by_id.get(&d.on)?, d.wait_for_completion)))
                .collect();
            if on.is_empty() {
                continue;
            }
            // The latest first: most of the others have then been counted through it.
            on.sort_by_key(|(on, _)| Reverse(place[*on]));
            let mut own = vec![0_u64; n.div_ceil(64)].into_boxed_slice();
            for (on, waits) in on {
                if own[on / 64] >> (on % 64) & 1 == 1 {
                    continue;
                }
                // Where it has only to have started, what it waited for has still ended.
                if let Some(earlier) = &ended[on]
                    && followed < MAX_FOLLOWED
                {
                    followed += 1;
                    own.iter_mut().zip(earlier).for_each(|(mine, theirs)| *mine |= theirs);
                }
                if waits {
                    own[on / 64] |= 1 << (on % 64);
                }
            }
            ended[at] = Some(own);
        }
        Self { ended }
    }

    /// Has `first` ended whenever `second` starts?
    fn ends_before(&self, first: usize, second: usize) -> bool {
        self.ended[second].as_ref().is_some_and(|bits| bits[first / 64] >> (first % 64) & 1 == 1)
    }
}

/// Agents of one claim set that do the same; each is named once, with the first it repeats. Who
/// waits for the one they repeat does so on purpose: a second pass.
fn duplicates(
    plan: &Plan,
    work: impl Fn(&AgentPlan) -> Option<Work>,
    ends_before: impl Fn(usize, usize) -> bool,
) -> Vec<Duplicate> {
    let mut groups: BTreeMap<ClaimSet<'_>, Vec<usize>> = BTreeMap::new();
    for (at, agent) in plan.agents.iter().enumerate() {
        groups.entry(ClaimSet::of(&agent.claim)).or_default().push(at);
    }
    let mut found: Vec<(u32, Duplicate)> = Vec::new();
    let mut left = MAX_COMPARED;
    for (claims, agents) in groups.into_iter().filter(|(_, agents)| agents.len() > 1) {
        // Who may write nothing repeats somebody only by asking the very same.
        let near_counts = !claims.is_empty();
        let mut firsts: Vec<(usize, Text)> = Vec::new();
        let mut by_text: BTreeMap<String, usize> = BTreeMap::new();
        for at in agents {
            let agent = &plan.agents[at];
            let Some(text) = work(agent).and_then(|work| Text::of(work, near_counts)) else { continue };
            let repeated = match by_text.get(&text.normal) {
                Some(first) => Some((*first, Likeness::Same)),
                None => text.nearest(&firsts, &mut left).map(|first| (first, Likeness::Near)),
            };
            if let Some((first, likeness)) = repeated {
                if !ends_before(first, at) {
                    let keep = plan.agents[first].id.clone();
                    found.push((agent.rank.position, Duplicate { keep, drop: agent.id.clone(), likeness }));
                }
            } else {
                by_text.insert(text.normal.clone(), at);
                firsts.push((at, text));
            }
        }
    }
    found.sort_by_key(|(position, _)| *position);
    found.truncate(MAX_DUPLICATES);
    found.into_iter().map(|(_, duplicate)| duplicate).collect()
}

/// What an agent may write and needs, in no order.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct ClaimSet<'a> {
    writes: BTreeSet<&'a str>,
    reads: BTreeSet<&'a str>,
}

impl<'a> ClaimSet<'a> {
    fn of(claim: &'a Claim) -> Self {
        Self {
            writes: claim.exclusive.iter().chain(&claim.late).map(Pattern::as_str).collect(),
            reads: claim.shared.iter().map(Pattern::as_str).collect(),
        }
    }

    fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }
}

/// Work in a form that can be compared.
struct Text {
    normal: String,
    near_counts: bool,
}

impl Text {
    fn of(work: Work, near_counts: bool) -> Option<Self> {
        let (text, near_counts) = match work {
            Work::Prompt(text) => (text, near_counts),
            // Many agents without claims may well run the same command, to test it or to warm up.
            Work::Command(_) if !near_counts => return None,
            Work::Command(text) => (text, false),
        };
        let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
        (!words.is_empty()).then(|| Self { normal: words.join(" "), near_counts })
    }

    fn nearest(&self, others: &[(usize, Self)], left: &mut usize) -> Option<usize> {
        if !self.near_counts {
            return None;
        }
        let start = self.start();
        for (first, other) in others.iter().filter(|(_, other)| other.near_counts) {
            let (short, long) = (self.normal.len().min(other.normal.len()), self.normal.len().max(other.normal.len()));
            // Lengths this far apart cannot share enough.
            if long > short * 5 / 4 + 8 {
                continue;
            }
            *left = left.checked_sub(1)?;
            if strsim::sorensen_dice(start, other.start()) >= NEAR {
                return Some(*first);
            }
        }
        None
    }

    fn start(&self) -> &str {
        let end = self.normal.char_indices().nth(COMPARED_CHARS).map_or(self.normal.len(), |(at, _)| at);
        &self.normal[..end]
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use super::*;
    use crate::core::agent::{
        Dependency, IgnoredPaths, OnAbort, OnConflict, OnDenied, OnDependencyFailure, OnOutsideEdit, OnPhaseFailure,
        OnUndeclared, PhasePlan, Priority, RetryMode,
    };
    use crate::core::ids::RunnerName;

    /// `(id, phase, priority, what it waits for, its exclusive patterns)`; a dependency that begins
    /// with `~` has only to have started.
    type Row<'a> = (&'a str, usize, i64, &'a [&'a str], &'a [&'a str]);

    fn plan(rows: &[Row<'_>]) -> Plan {
        let agent = |(at, (id, phase, priority, on, files)): (usize, &Row<'_>)| AgentPlan {
            id: AgentId::new(id).unwrap(),
            name: (*id).to_owned(),
            rank: Rank {
                phase: *phase,
                priority: Priority::new(*priority).unwrap(),
                position: u32::try_from(at).unwrap(),
            },
            runner: RunnerName::new("command"),
            claim: Claim { exclusive: files.iter().map(|p| Pattern::new(p).unwrap()).collect(), ..Claim::default() },
            depends_on: on
                .iter()
                .map(|on| Dependency {
                    on: AgentId::new(on.trim_start_matches('~')).unwrap(),
                    wait_for_completion: !on.starts_with('~'),
                })
                .collect(),
            on_dependency_failure: OnDependencyFailure::Skip,
            timeout: Duration::from_secs(1),
            idle_timeout: None,
            lock_timeout: Duration::from_secs(1),
            grace: Duration::from_secs(1),
            retries: 0,
            retry: RetryMode::Restart,
            verify: None,
            on_undeclared: OnUndeclared::Deny,
            on_conflict: OnConflict::Terminate,
            on_abort: OnAbort::Restore,
            on_outside_edit: OnOutsideEdit::Fail,
            on_denied: OnDenied::Warn,
            ignored: IgnoredPaths::Allow,
            expect_changes: false,
        };
        let phase = || PhasePlan { name: None, on_failure: OnPhaseFailure::Stop };
        Plan {
            phases: vec![phase(), phase()],
            agents: rows.iter().enumerate().map(agent).collect(),
            max_concurrent: NonZeroU32::new(4).unwrap(),
            fits: None,
            runner_limits: BTreeMap::new(),
            stop_at: None,
            max_failures: None,
            max_tokens: None,
            checkpoint_interval: None,
            allow_dirty: false,
        }
    }

    #[test]
    fn the_order_is_that_of_ranks_behind_what_they_depend_on() {
        let plan = plan(&[
            ("late", 1, 1, &[], &[]),
            ("needs-low", 0, 1, &["low"], &[]),
            ("low", 0, 5, &[], &[]),
            ("mid", 0, 3, &["~low"], &[]),
            ("first", 0, 3, &[], &[]),
        ]);
        let names: Vec<&str> = start_order(&plan).into_iter().map(|at| plan.agents[at].id.as_str()).collect();
        assert_eq!(names, ["first", "low", "needs-low", "mid", "late"]);
    }

    fn contests(rows: &[Row<'_>]) -> Vec<String> {
        let found = analyse(&plan(rows), |_| None).contested;
        assert!(!found.truncated);
        found.pairs.iter().map(|c| format!("{} {} {}", c.agents.0, c.agents.1, c.overlap.example)).collect()
    }

    #[test]
    fn who_never_runs_at_once_does_not_contend() {
        assert_eq!(contests(&[("a", 0, 3, &[], &["x/"]), ("b", 0, 3, &[], &["x/y"])]), ["a b x/y"]);
        assert_eq!(contests(&[("a", 0, 3, &[], &["x/"]), ("b", 1, 3, &[], &["x/y"])]), [""; 0]);
        assert_eq!(contests(&[("a", 0, 3, &["b"], &["x/"]), ("b", 0, 3, &[], &["x/y"])]), [""; 0]);
        assert_eq!(contests(&[("a", 0, 3, &["~b"], &["x/"]), ("b", 0, 3, &[], &["x/y"])]), ["a b x/y"]);
    }

    #[test]
    fn dependencies_count_through_others() {
        let chain = |of_a: &'static str, of_b: &'static str| {
            let rows: [Row<'_>; 3] =
                [("a", 0, 3, &[of_a], &["x"]), ("b", 0, 3, &[of_b], &[]), ("c", 0, 3, &[], &["x"])];
            contests(&rows).len()
        };
        assert_eq!(chain("b", "c"), 0);
        assert_eq!(chain("~b", "c"), 0, "b starts only when c has ended, and a after that");
        assert_eq!(chain("b", "~c"), 1, "c may outlive b");
        assert_eq!(chain("~b", "~c"), 1);
    }

    #[test]
    fn a_phase_whose_claims_let_nobody_run_beside_another_is_serial() {
        let serial = |rows: &[Row<'_>]| analyse(&plan(rows), |_| None).serial_phases;
        let all: [Row<'_>; 3] = [("a", 0, 3, &[], &["x/"]), ("b", 0, 3, &[], &["**"]), ("c", 0, 3, &[], &["x/y"])];
        assert_eq!(serial(&all), [0]);
        assert_eq!(serial(&[all[0], all[1], ("c", 0, 3, &[], &["x"]), ("d", 0, 3, &[], &[])]), [0; 0]);
        assert_eq!(serial(&[("a", 0, 3, &[], &["x/"]), ("b", 0, 3, &["a"], &["x/"])]), [0; 0], "a chain by intent");
        assert_eq!(serial(&[("a", 0, 3, &[], &["x/"])]), [0; 0]);
    }

    fn repeats(rows: &[Row<'_>], works: &[Work]) -> Vec<(String, String, Likeness)> {
        let plan = plan(rows);
        let found = analyse(&plan, |agent| works.get(agent.rank.position as usize).cloned()).duplicates;
        found.into_iter().map(|d| (d.keep.to_string(), d.drop.to_string(), d.likeness)).collect()
    }

    #[test]
    fn the_later_of_two_that_do_the_same_should_go() {
        let prompt = |text: &str| Work::Prompt(text.to_owned());
        let rows: [Row<'_>; 5] = [
            ("a", 0, 3, &[], &["x", "y/"]),
            ("b", 0, 1, &[], &["y/", "x"]),
            ("c", 0, 3, &[], &["x"]),
            ("d", 0, 3, &[], &["x", "y/"]),
            ("e", 0, 3, &[], &["x", "y/"]),
        ];
        let task = "Add the POST and PUT endpoints for the hops inventory, with tests";
        let works = [
            prompt(task),
            prompt(&task.to_uppercase().replace(' ', "\n ")),
            prompt(task),
            prompt(&task.replace("hops", "hop")),
            prompt("Write the documentation of the endpoints for fermentables and yeasts, with examples"),
        ];
        let pair = |keep: &str, drop: &str, likeness| (keep.to_owned(), drop.to_owned(), likeness);
        assert_eq!(repeats(&rows, &works), [pair("a", "b", Likeness::Same), pair("a", "d", Likeness::Near)]);
        let again: [Row<'_>; 2] = [("a", 0, 3, &[], &["x"]), ("b", 0, 3, &["a"], &["x"])];
        assert_eq!(repeats(&again, &[prompt(task), prompt(task)]), [], "a second pass");
    }

    #[test]
    fn commands_repeat_only_word_by_word_and_only_with_claims() {
        let command = |text: &str| Work::Command(text.to_owned());
        let claimed: [Row<'_>; 3] = [("a", 0, 3, &[], &["x"]), ("b", 0, 3, &[], &["x"]), ("c", 0, 3, &[], &["x"])];
        let found =
            repeats(&claimed, &[command("./run --part 1"), command("./run --part 2"), command("./run --part 1")]);
        assert_eq!(found, [("a".to_owned(), "c".to_owned(), Likeness::Same)]);
        let unclaimed: [Row<'_>; 2] = [("a", 0, 3, &[], &[]), ("b", 0, 3, &[], &[])];
        assert_eq!(repeats(&unclaimed, &[command("true"), command("true")]), []);
    }

    #[test]
    fn ten_thousand_agents_with_all_their_dependencies_are_looked_at() {
        let ids: Vec<String> = (0..10_000).map(|i| format!("a{i}")).collect();
        let waits: Vec<[&str; 2]> =
            (0..ids.len()).map(|i| [ids[i.saturating_sub(1)].as_str(), ids[i / 2].as_str()]).collect();
        let rows: Vec<Row<'_>> = ids
            .iter()
            .zip(&waits)
            .enumerate()
            .map(|(i, (id, on))| (id.as_str(), 0, 3, if i == 0 { &[][..] } else { &on[..] }, &["src/"][..]))
            .collect();
        let prompt = |agent: &AgentPlan| Some(Work::Prompt(format!("{0} {0} {0}", agent.rank.position)));
        let found = analyse(&plan(&rows), prompt);
        assert_eq!(found.order, (0..10_000).collect::<Vec<_>>());
        assert_eq!(found.contested.pairs, []);
    }
}
