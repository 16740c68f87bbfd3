//! What follows from a call of a running tree: its answer, and what the answer has to leave behind.
//!
//! Invariant: every call that is asked about is answered exactly once, at once. What a tree is allowed
//! beyond its claim is in the journal before it is told so.

use super::answers::end;
use super::closing::Case;
use super::state::{Live, Stage};
use super::{Step, Supervisor};
use crate::core::agent::{AgentPlan, IgnoredPaths, OnUndeclared};
use crate::core::call::{Answer, CallId, Grant, Refusal, RefusalReason, RefusedPath, Target, There, Touch};
use crate::core::claim::{Claim, Pattern};
use crate::core::conflict::Lock;
use crate::core::effect::{Effect, Ending, Part, Telling};
use crate::core::facts::PathFacts;
use crate::core::ids::AttemptId;
use crate::core::moment::Moment;
use crate::core::path::RepoPath;
use crate::core::queue::Seat;
use crate::core::reason::{BusyReason, DenialReason, EndReason};
use crate::core::record::{Admission, Fact, Lockings};
use crate::core::verdict::{Party, Question, Undeclared, Verdict, changes_content};

/// A call that waits.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) id: &'a AttemptId,
    pub(super) part: Part,
    pub(super) number: CallId,
    pub(super) targets: &'a [(Target, PathFacts)],
}

/// What the answer brings with it.
#[derive(Debug, Default)]
struct Reply {
    grants: Vec<Grant>,
    keep: Vec<RepoPath>,
    look_again: Vec<RepoPath>,
}

impl Supervisor {
    pub(super) fn asked(&self, now: Moment, call: &Call<'_>, step: &mut Step) {
        let mut reply = Reply::default();
        let answer = match self.live(call.id) {
            Some((seat, live)) if may_write(live, call.part) => {
                let case = Case { now, seat, live, writes: &[], frozen: None };
                // Whose files are in a directory says more than whose the directory's name is.
                let (names, files): (Vec<_>, Vec<_>) =
                    call.targets.iter().partition(|(target, _)| is_directory(target.touch));
                let mut judge =
                    |(target, facts): &(Target, PathFacts)| self.one(case, call, target, facts, &mut reply, step);
                let verdicts = files.into_iter().chain(names).map(&mut judge);
                verdicts.into_iter().find(|answer| *answer != Answer::Allow).unwrap_or(Answer::Allow)
            }
            // The tree is being ended, or is none of this run's any more.
            _ => Answer::Refuse,
        };
        let Reply { grants, keep, look_again } = if answer == Answer::Refuse { Reply::default() } else { reply };
        let (id, part, call) = (call.id.clone(), call.part, call.number);
        step.ask(Effect::Answer { id, part, call, answer, grants, keep, look_again });
    }

    /// The answer as far as this path is concerned.
    fn one(
        &self,
        case: Case<'_>,
        call: &Call<'_>,
        target: &Target,
        facts: &PathFacts,
        reply: &mut Reply,
        step: &mut Step,
    ) -> Answer {
        let plan = self.agent_plan(case.seat);
        let path = &target.path;
        match self.verdict(case, plan, call.part, target, facts) {
            Verdict::Own if self.by_grant(case.seat, case.live, path) => {
                self.lock(case, target, Lockings::Granted, reply, step)
            }
            Verdict::Own => {
                // What it locked by itself has to be known before it changes; where it is, this does nothing.
                reply.keep.extend(case.live.locked.contains(path).then(|| path.clone()));
                self.grant(case, path, reply);
                Answer::Allow
            }
            Verdict::Admitted => {
                reply.grants.push(Grant::Path(path.clone()));
                Answer::Allow
            }
            Verdict::IgnoredBeneath(directory) => {
                // So it is known that what it writes there need not be remembered.
                if call.part == Part::Agent && !case.live.admitted.contains_key(&directory) {
                    let (id, path) = (case.live.id.clone(), directory.clone());
                    case.note(step, Fact::Admitted { id, path, how: Admission::Ignored });
                }
                if self.nobody_can_lock_within(&directory) {
                    reply.grants.push(Grant::Beneath(directory));
                }
                Answer::Allow
            }
            Verdict::OnTheWay => Answer::Allow,
            Verdict::IgnoredNew => self.admit(case, target, Admission::Ignored, reply, step),
            Verdict::Provisional => self.admit(case, target, Admission::Provisional, reply, step),
            Verdict::Late => self.lock(case, target, Lockings::Late, reply, step),
            Verdict::Stale => {
                reply.look_again.push(path.clone());
                Self::busied(case, path, BusyReason::Stale, step)
            }
            Verdict::Held(by) => Self::busied(case, path, self.held(by, path), step),
            Verdict::Conflict { holder, lock, pattern } => {
                let from = step.effects.len();
                let conflict = self.contest(case, path, holder, lock, pattern, false, step);
                let why = DenialReason::Conflict { conflict, holder: self.agent_plan(holder).id.clone() };
                let answer = self.denied(case, call.part, RefusedPath::Inside(path.clone()), target.touch, why, step);
                // Why the call fails is in the agent's log before its tree is ended for it.
                step.effects[from..].sort_by_key(|effect| matches!(effect, Effect::End { .. }));
                answer
            }
            Verdict::Deny => {
                let inside = RefusedPath::Inside(path.clone());
                self.denied(case, call.part, inside, target.touch, DenialReason::Deny, step)
            }
            Verdict::Undeclared(why) => self.undeclared(case, plan, call.part, target, why, reply, step),
        }
    }

    fn verdict(
        &self,
        case: Case<'_>,
        plan: &AgentPlan,
        part: Part,
        target: &Target,
        facts: &PathFacts,
    ) -> Verdict<Seat> {
        // Whoever is still being prepared holds its locks already.
        let holders = self.all_live().filter(|&(seat, _)| seat != case.seat);
        let others: Vec<Party<'_, Seat>> = holders.map(|(seat, live)| self.party(seat, live)).collect();
        let question = Question {
            target,
            facts,
            writer: self.party(case.seat, case.live),
            others: &others,
            made: &self.made,
            ignored: plan.ignored,
            stale: self.is_stale(case.seat, case.live, &target.path),
            verify: part == Part::Verify,
        };
        question.verdict()
    }

    fn party<'a>(&'a self, seat: Seat, live: &'a Live) -> Party<'a, Seat> {
        Party { id: seat, claim: &self.agent_plan(seat).claim, locked: &live.locked, admitted: &live.admitted }
    }

    /// Did somebody else write the path since the attempt began, or was told to look again?
    fn is_stale(&self, seat: Seat, live: &Live, path: &RepoPath) -> bool {
        let looked = live.refreshed.get(path).copied().unwrap_or(live.started);
        self.last_writes.get(path).is_some_and(|&(at, by)| by != Some(seat) && at > looked)
    }

    /// May everybody write this ignored path and everything beneath it, whatever still starts? Only then
    /// need a shim not ask again.
    fn nobody_can_lock_within(&self, ignored: &RepoPath) -> bool {
        let locks = |agent: &AgentPlan| agent.ignored == IgnoredPaths::Enforce || reaches_within(&agent.claim, ignored);
        !self.plan.agents.iter().any(locks)
    }

    /// A claim is about to come that nobody knew of: of what it may lock, nothing stays granted.
    pub(super) fn withdraw_before(&self, claim: &Claim, ignored: IgnoredPaths, step: &mut Step) {
        for (_, live) in self.all_live() {
            let mut granted = live.admitted.iter().filter(|(_, how)| **how == Admission::Ignored);
            if granted.any(|(path, _)| ignored == IgnoredPaths::Enforce || reaches_within(claim, path)) {
                step.ask(Effect::Withdraw { id: live.id.clone() });
            }
        }
    }

    fn admit(&self, case: Case<'_>, target: &Target, how: Admission, reply: &mut Reply, step: &mut Step) -> Answer {
        let path = target.path.clone();
        let directory = is_directory(target.touch);
        // A directory is nothing to git, but for what it lets be made in it.
        if (!directory || how == Admission::Provisional) && case.live.admitted.get(&path) != Some(&how) {
            case.note(step, Fact::Admitted { id: case.live.id.clone(), path: path.clone(), how });
        }
        if !directory {
            if how != Admission::Ignored {
                reply.keep.push(path.clone());
                reply.grants.push(Grant::Path(path));
            } else if self.nobody_can_lock_within(&path) {
                reply.grants.push(Grant::Path(path));
            }
        }
        Answer::Allow
    }

    fn lock(&self, case: Case<'_>, target: &Target, how: Lockings, reply: &mut Reply, step: &mut Step) -> Answer {
        let path = target.path.clone();
        case.note(step, Fact::Locked { id: case.live.id.clone(), path: path.clone(), how });
        if !is_directory(target.touch) {
            reply.keep.push(path.clone());
        }
        self.grant(case, &path, reply);
        Answer::Allow
    }

    /// It need not ask about the path again, unless it has to look at it first: a call that leaves
    /// content alone goes through before that.
    fn grant(&self, case: Case<'_>, path: &RepoPath, reply: &mut Reply) {
        if !self.is_stale(case.seat, case.live, path) {
            reply.grants.push(Grant::Path(path.clone()));
        }
    }

    /// What another has it for.
    fn held(&self, other: Seat, path: &RepoPath) -> BusyReason {
        let plan = self.agent_plan(other);
        let locked = self.agents[other].live().is_some_and(|live| live.locked.contains(path));
        let writes = locked || plan.claim.exclusive_matches(path);
        let reads = plan.claim.shared.iter().any(|pattern| pattern.matches(path));
        let by = plan.id.clone();
        if reads && !writes { BusyReason::Read { by } } else { BusyReason::Held { by } }
    }

    fn busied(case: Case<'_>, path: &RepoPath, why: BusyReason, step: &mut Step) -> Answer {
        let (id, path) = (case.live.id.clone(), path.clone());
        step.ask(Effect::Tell { id: id.clone(), text: Telling::Busied { path: path.clone(), why: why.clone() } });
        case.note(step, Fact::Busied { id, path, why });
        Answer::Busy
    }

    /// Writes a refusal down, the first time for each path and reason.
    fn denied(
        &self,
        case: Case<'_>,
        part: Part,
        path: RefusedPath,
        touch: Touch,
        why: DenialReason,
        step: &mut Step,
    ) -> Answer {
        let known = &self.agents[case.seat].latest.denied;
        let new = known.len() < MOST_DENIALS && !known.contains_key(&(path.clone(), why.clone()));
        if new {
            let id = case.live.id.clone();
            let text = Telling::Denied { path: path.clone(), why: why.clone() };
            step.ask(Effect::Tell { id: id.clone(), text });
            case.note(step, Fact::Denied { id, part, path, touch, why });
        }
        Answer::Refuse
    }

    #[expect(clippy::too_many_arguments, reason = "one step of one verdict")]
    fn undeclared(
        &self,
        case: Case<'_>,
        plan: &AgentPlan,
        part: Part,
        target: &Target,
        why: Undeclared,
        reply: &mut Reply,
        step: &mut Step,
    ) -> Answer {
        let path = &target.path;
        let reason = match why {
            Undeclared::NoClaim if is_directory(target.touch) || target.there == There::Directory => {
                DenialReason::Directory
            }
            Undeclared::NoClaim => DenialReason::Undeclared,
            Undeclared::Protected => DenialReason::ProtectedIgnored,
            Undeclared::Enforced => DenialReason::IgnoredEnforced,
            Undeclared::Verify => DenialReason::Verify,
        };
        let policy = if part == Part::Verify { OnUndeclared::Deny } else { plan.on_undeclared };
        let elsewhere = self.admitted_elsewhere(case.seat, path);
        let lets = matches!(policy, OnUndeclared::Warn | OnUndeclared::Claim) && elsewhere.is_none();
        if lets && changes_content(target.touch) && self.is_stale(case.seat, case.live, path) {
            reply.look_again.push(path.clone());
            return Self::busied(case, path, BusyReason::Stale, step);
        }
        let reason = match (policy, elsewhere) {
            // It is another's file in the making: not to be mixed with this one's.
            (OnUndeclared::Claim, Some((by, _))) | (OnUndeclared::Warn, Some((by, Admission::Provisional))) => {
                return Self::busied(case, path, BusyReason::Held { by: self.agent_plan(by).id.clone() }, step);
            }
            (OnUndeclared::Warn, _) => return self.admit(case, target, Admission::Warned, reply, step),
            (OnUndeclared::Claim, None) => match self.with_look(|look| self.queue.reserved_by(look, case.seat, path)) {
                None => return self.lock(case, target, Lockings::Claimed, reply, step),
                Some(by) => DenialReason::Reserved { by: self.agent_plan(by).id.clone() },
            },
            (OnUndeclared::Deny | OnUndeclared::Kill, _) => reason,
        };
        let answer = self.denied(case, part, RefusedPath::Inside(path.clone()), target.touch, reason, step);
        if policy == OnUndeclared::Kill {
            let how = Ending::Orderly { grace: plan.grace };
            end(case.now, &case.live.id, Part::Agent, how, EndReason::Undeclared { path: path.clone() }, step);
        }
        answer
    }

    /// Another one that may write the path without a lock on it, and why.
    fn admitted_elsewhere(&self, seat: Seat, path: &RepoPath) -> Option<(Seat, Admission)> {
        let others = self.all_live().filter(|&(other, _)| other != seat);
        let mut admitted = others.filter_map(|(other, live)| Some((other, *live.admitted.get(path)?)));
        admitted.find(|(_, how)| *how != Admission::Ignored)
    }

    /// Where there is no gate, a tree was seen writing this. What the gate would have refused ends it.
    pub(super) fn caught(&self, case: Case<'_>, target: &Target, facts: &PathFacts, step: &mut Step) {
        let gated = self.opened.as_ref().is_some_and(|opened| opened.layers.gate);
        let (path, id, plan) = (&target.path, &case.live.id, self.agent_plan(case.seat));
        if gated || case.live.wrote.contains(path) {
            return;
        }
        let verdict = self.verdict(case, plan, Part::Agent, target, facts);
        if !matches!(verdict, Verdict::IgnoredBeneath(_) | Verdict::IgnoredNew) {
            case.note(step, Fact::Wrote { id: id.clone(), paths: vec![path.clone()] });
        }
        match verdict {
            Verdict::Conflict { holder, lock, pattern } => {
                self.contest(case, path, holder, lock, pattern, true, step);
            }
            Verdict::Held(holder) => {
                self.contest(case, path, holder, Lock::Late, None, true, step);
            }
            Verdict::Late => {
                case.note(step, Fact::Locked { id: id.clone(), path: path.clone(), how: Lockings::Late });
            }
            Verdict::Deny | Verdict::Undeclared(_) => {
                let reserved = || self.with_look(|look| self.queue.reserved_by(look, case.seat, path)).is_some();
                match plan.on_undeclared {
                    OnUndeclared::Warn if verdict != Verdict::Deny => {
                        let how = Admission::Warned;
                        case.note(step, Fact::Admitted { id: id.clone(), path: path.clone(), how });
                    }
                    OnUndeclared::Claim if verdict != Verdict::Deny && !reserved() => {
                        let how = Lockings::Claimed;
                        case.note(step, Fact::Locked { id: id.clone(), path: path.clone(), how });
                    }
                    _ => {
                        let how = Ending::Orderly { grace: plan.grace };
                        end(case.now, id, Part::Agent, how, EndReason::Undeclared { path: path.clone() }, step);
                    }
                }
            }
            _ => {}
        }
    }

    /// A shim refused something by itself.
    pub(super) fn refused_locally(&self, case: Case<'_>, part: Part, refusal: &Refusal, step: &mut Step) {
        let why = match refusal.why {
            RefusalReason::Git => DenialReason::Git,
            RefusalReason::Nested => DenialReason::Nested,
            RefusalReason::Denied => DenialReason::Deny,
            RefusalReason::Unresolved => DenialReason::Unresolved,
            RefusalReason::NoAnswer => DenialReason::NoAnswer,
            RefusalReason::TooLarge => DenialReason::TooLarge,
            RefusalReason::Stale => {
                if let RefusedPath::Inside(path) = &refusal.path {
                    Self::busied(case, path, BusyReason::Stale, step);
                }
                return;
            }
            // It is being ended: what it still tries tells nobody anything.
            RefusalReason::Ending => return,
        };
        self.denied(case, part, refusal.path.clone(), refusal.touch, why, step);
    }

    pub(super) fn not_kept(&self, case: Case<'_>, part: Part, path: &RepoPath, error: &str, step: &mut Step) {
        let why = DenialReason::NotKept { error: error.to_owned() };
        self.denied(case, part, RefusedPath::Inside(path.clone()), Touch::Open, why, step);
    }

    /// What a tree was let write. Of what git ignores nothing is remembered.
    pub(super) fn wrote(&self, case: Case<'_>, part: Part, paths: &[RepoPath], step: &mut Step) {
        let (live, claim) = (case.live, &self.agent_plan(case.seat).claim);
        let news = |path: &&RepoPath| {
            let known = live.wrote.contains(*path) && !live.busy.contains(*path);
            let own = || claim.exclusive_matches(path) || live.locked.contains(*path);
            !known && (own() || !is_ignored(live, path))
        };
        let paths: Vec<RepoPath> =
            if part == Part::Agent { paths.iter().filter(news).cloned().collect() } else { Vec::new() };
        if !paths.is_empty() {
            case.note(step, Fact::Wrote { id: live.id.clone(), paths });
        }
    }

    /// Somebody outside every tree wrote these: whoever holds them has to look again.
    pub(super) fn outside_write(&self, now: Moment, paths: &[RepoPath], step: &mut Step) {
        if paths.is_empty() {
            return;
        }
        step.note(now, Fact::OutsideWrite { paths: paths.to_vec() });
        for (seat, live) in self.all_live().filter(|(_, live)| live.stage == Stage::Running) {
            let claim = &self.agent_plan(seat).claim;
            let own = |path: &&RepoPath| claim.exclusive_matches(path) || live.locked.contains(*path);
            let paths: Vec<RepoPath> = paths.iter().filter(own).cloned().collect();
            if !paths.is_empty() {
                step.ask(Effect::Stale { id: live.id.clone(), paths });
            }
        }
    }
}

/// May it lock something within this ignored path?
fn reaches_within(claim: &Claim, ignored: &RepoPath) -> bool {
    let patterns = claim.exclusive.iter().chain(&claim.late).chain(&claim.shared).chain(&claim.deny);
    patterns.filter_map(Pattern::literal_prefix).any(|prefix| prefix.is_within(ignored))
}

/// The most different refusals that are remembered of one attempt.
const MOST_DENIALS: usize = 10_000;

fn may_write(live: &Live, part: Part) -> bool {
    let runs = match part {
        Part::Agent => matches!(live.stage, Stage::Starting | Stage::Running),
        Part::Verify => matches!(live.stage, Stage::Verifying { .. }),
    };
    runs && live.ending.is_none()
}

/// Was it, or a directory that it lies in, admitted as ignored?
fn is_ignored(live: &Live, path: &RepoPath) -> bool {
    let mut ancestors = std::iter::successors(Some(path.clone()), RepoPath::parent);
    ancestors.any(|path| live.admitted.get(&path) == Some(&Admission::Ignored))
}

/// A directory is nothing to git: it need not be kept, and is not missed.
fn is_directory(touch: Touch) -> bool {
    matches!(touch, Touch::MakeDirectory | Touch::RemoveDirectory)
}
