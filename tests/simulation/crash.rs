//! The supervisor dies anywhere, and another takes the run up from what is in the journal.
//!
//! A point is a record or an effect: before each the supervisor may die. What had been told to it, and every tree,
//! is gone then; of a batch of records the first few may have reached the disk.
//!
//! Until the first death the oracle looks at every record. It knows nothing of how a run is taken up, so from then on
//! each death shows that replay gives the live state, and the whole journal is judged at the end.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use supervise::core::ids::{AgentId, AttemptId};
use supervise::core::lifecycle::State;
use supervise::core::moment::Moment;
use supervise::core::reason::EndReason;
use supervise::core::record::{Fact, Record, RunOutcome, StopCause};

use super::plan::{Fate, Scenario, agent, scenario};
use super::seeds::some_scenario;
use super::world::{Random, World};

/// Runs it to its end; dies before each of these points (counted anew after each death), and is taken up again
/// whenever it can be.
pub(crate) fn run(scenario: Scenario, deaths: &[usize]) -> World {
    let mut world = World::new(scenario);
    let mut deaths = deaths.iter();
    world.lives_for(deaths.next().copied());
    world.open();
    let mut interrupts = 0;
    for _ in 0..2_000_000 {
        if world.is_dead() {
            world.crash();
            world.lives_for(deaths.next().copied());
            world.take_up();
        } else if world.closed && world.supervisor.can_resume() && interrupts < 3 {
            interrupts += 1;
            world.crash();
            world.take_up();
        } else if world.closed {
            world.judge_end();
            check(&world.log);
            return world;
        } else {
            world.advance();
        }
    }
    panic!("the run does not come to an end");
}

/// What must hold of every journal, however often its supervisor died.
fn check(log: &[Record]) {
    let mut ended: BTreeMap<&AgentId, State> = BTreeMap::new();
    let mut placed: BTreeSet<&AgentId> = BTreeSet::new();
    let mut started: BTreeSet<&AttemptId> = BTreeSet::new();
    let mut live: BTreeMap<&AgentId, &AttemptId> = BTreeMap::new();
    let mut stopped: BTreeSet<&AgentId> = BTreeSet::new();
    for record in log {
        match &record.fact {
            Fact::RunResumed { reopened, .. } => {
                for agent in reopened {
                    assert!(
                        ended.remove(agent).is_some_and(|state| state == State::Terminated),
                        "{agent} had not ended"
                    );
                }
            }
            Fact::AgentStopRequested { agent, .. } => drop(stopped.insert(agent)),
            Fact::AttemptOpened { id, .. } => {
                assert!(!stopped.contains(&id.agent), "{id} begins after somebody stopped its agent");
                assert!(!ended.contains_key(&id.agent), "{id} begins after the end of its agent");
                let before = live.insert(&id.agent, id);
                assert_eq!(before, None, "{id} begins beside another attempt");
            }
            Fact::AttemptStarted { id, .. } => assert!(started.insert(id), "{id} is started twice"),
            Fact::AttemptReturned { id, .. } | Fact::AgentRequeued { id, .. } => drop(live.remove(&id.agent)),
            Fact::Placed { id, .. } => assert!(placed.insert(&id.agent), "{id} is committed twice"),
            Fact::AgentEnded { agent, state, .. } => {
                let before = ended.insert(agent, *state);
                assert_eq!(before, None, "{agent} ends twice");
                live.remove(agent);
            }
            _ => {}
        }
    }
    let open = log.iter().find_map(|record| match &record.fact {
        Fact::RunOpened(opened) => Some(&opened.agents),
        _ => None,
    });
    let joined = log.iter().filter_map(|record| match &record.fact {
        Fact::AgentRegistered(plan) => Some(&plan.id),
        _ => None,
    });
    for agent in open.into_iter().flatten().chain(joined) {
        assert!(ended.contains_key(agent), "{agent} has an end");
    }
    for agent in placed {
        assert_eq!(ended[agent], State::Completed, "{agent} is committed and completes");
    }
    assert!(matches!(log.last().map(|r| &r.fact), Some(Fact::RunEnded { .. })), "the run has an end");
}

/// Every kind of step: verify, checkpoints, a late lock, a retry, dependencies, two phases.
fn every_step() -> Scenario {
    let mut fails_once = agent("fails-once").files(&["b"]);
    let ok = fails_once.acts[0].clone();
    fails_once.acts = vec![super::plan::Act { fate: Fate::Exits(1), ..ok.clone() }, ok];
    scenario(vec![
        agent("first").files(&["a"]),
        fails_once.with(|plan| plan.retries = 1),
        agent("verified").files(&["c"]).with(|plan| plan.verify = Some(std::time::Duration::from_secs(9))),
        agent("after").files(&["a", "d"]).after("first"),
        agent("later").files(&["e"]).phase(1),
    ])
    .slots(2)
    .with(|plan| plan.checkpoint_interval = Some(std::time::Duration::from_millis(300)))
}

#[test]
fn a_supervisor_may_die_before_any_record_and_any_act() {
    let completed = |world: &World| {
        let ends = world.log.iter().filter_map(|record| match &record.fact {
            Fact::AgentEnded { agent, state, .. } => Some((agent.to_string(), *state)),
            _ => None,
        });
        ends.collect::<BTreeSet<_>>()
    };
    let undisturbed = completed(&run(every_step(), &[]));
    assert!(undisturbed.iter().all(|(_, state)| *state == State::Completed), "{undisturbed:?}");
    // Before the first record there is no run.
    let mut points = 1;
    loop {
        let world = run(every_step(), &[points]);
        assert_eq!(completed(&world), undisturbed, "death before point {points}");
        if !world.log.iter().any(|record| matches!(record.fact, Fact::RunResumed { .. })) {
            break;
        }
        points += 1;
    }
    assert!(points > 100, "only {points} points");
}

#[test]
fn an_interrupted_run_goes_on_where_it_was() {
    for at in (0..4_000).step_by(50) {
        let mut made = every_step();
        made.interrupts = vec![Moment(at), Moment(at + 30)];
        let world = run(made, &[]);
        let Some(Fact::RunEnded { outcome }) = world.log.last().map(|record| &record.fact) else { panic!("no end") };
        assert_eq!(*outcome, RunOutcome::Completed, "interrupted at {at}");
    }
}

/// The first death is after the run had come to its limit and cuts off who still ran, the second after that.
#[test]
fn a_run_that_was_stopping_by_itself_reopens_nobody() {
    let fails = || {
        let mut fails = agent("fails").files(&["a"]);
        fails.acts = vec![super::plan::Act { fate: Fate::Exits(1), ..fails.acts[0].clone() }];
        fails
    };
    let made = || {
        let longer = agent("longer").files(&["b"]).takes(60).with(|plan| plan.retries = 1);
        scenario(vec![fails(), longer, agent("after").files(&["b"])])
            .slots(2)
            .with(|plan| plan.max_failures = std::num::NonZeroU32::new(1))
    };
    let mut cut_off = 0;
    for (first, second) in (1..80).flat_map(|first| (1..25).map(move |second| (first, second))) {
        let world = run(made(), &[first, second]);
        let facts: Vec<&Fact> = world.log.iter().map(|record| &record.fact).collect();
        let limit = |fact: &&Fact| matches!(fact, Fact::StopRequested { by: StopCause::Limit(_) });
        let Some(stopping) = facts.iter().position(limit) else { continue };
        // One that had come to its end is gone on with by somebody's will.
        let later = facts.iter().enumerate().skip(stopping);
        for (at, fact) in later.take_while(|(_, fact)| !matches!(fact, Fact::RunEnded { .. })) {
            let Fact::RunResumed { reopened, .. } = fact else { continue };
            assert!(reopened.is_empty(), "deaths before {first} and {second}: {reopened:?}");
            let died = |fact: &&&Fact| matches!(fact, Fact::AgentEnded { reason: Some(EndReason::SupervisorDied), .. });
            cut_off += facts[..at].iter().filter(died).count();
        }
    }
    assert!(cut_off > 0, "nobody was cut off at the limit before a second death");
}

/// Early, in the middle, or late.
pub(crate) fn deaths_of(seed: u64) -> Vec<usize> {
    let random = &mut Random(seed);
    let (deaths, before) = (1 + random.below(4), [30, 150, 600][usize::try_from(random.below(3)).unwrap()]);
    (0..deaths).map(|_| usize::try_from(random.below(before)).unwrap()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn made_up_worlds_survive_the_deaths_of_their_supervisors(size in 1..12_usize, seed: u64) {
        run(some_scenario(size, seed), &deaths_of(seed));
    }
}
