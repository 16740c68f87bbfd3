//! What follows when an agent joins a run that goes on.

use std::num::NonZeroU32;

use supervise::core::agent::{OnConflict, OnDependencyFailure, OnPhaseFailure};
use supervise::core::event::Event;
use supervise::core::ids::AgentId;
use supervise::core::moment::Moment;
use supervise::core::newcomer::JoinRefusal;
use supervise::core::reason::Limit;
use supervise::core::record::{Fact, StopCause};

use super::calls::write;
use super::plan::{Agent, Fate, Scenario, agent, scenario};
use super::story::check;
use super::world::World;

fn id(text: &str) -> AgentId {
    AgentId::new(text).unwrap()
}

#[test]
fn who_joins_starts_when_a_slot_is_free_and_waits_for_locks_like_everybody() {
    check(
        scenario([agent("one").files(&["f"])])
            .joins(3, agent("free").files(&["g"]))
            .joins(4, agent("other").files(&["f"])),
        &[
            "0 one starts",
            "3 free joins",
            "3 free starts",
            "4 other joins",
            "4 other BLOCKED: Locks [one]",
            "10 one COMPLETED",
            "10 other starts",
            "13 free COMPLETED",
            "20 other COMPLETED",
        ],
    );
}

/// What git ignores is everybody's until somebody has a lock on it.
#[test]
fn a_lock_that_joins_holds_where_all_was_free_before() {
    let writes = [write(1, "target/x"), write(2, "f"), write(5, "target/own"), write(6, "target/z")];
    check(
        scenario([agent("one").files(&["f"]).calls(&writes).conflict(OnConflict::Deny)])
            .gated()
            .joins(4, agent("new").files(&["target/own"])),
        &[
            "0 one starts",
            "1 one is let at target: Ignored",
            "4 new joins",
            "4 new starts",
            "5 CONFLICT 1: new and one at target/own",
            "5 conflict 1: Refused by Policy",
            "5 one is denied target/own: Conflict",
            "10 one COMPLETED",
            "14 new COMPLETED",
            "14 conflict 1: Clean",
        ],
    );
}

#[test]
fn who_joins_stands_after_all_of_its_priority_and_before_those_of_lower_ones() {
    check(
        scenario([agent("runs").files(&["f"]), agent("equal").files(&["f"]), agent("lower").files(&["f"]).priority(5)])
            .slots(1)
            .joins(2, agent("second").files(&["f"]))
            .joins(3, agent("third").files(&["f"]))
            .joins(4, agent("first").files(&["f"]).priority(1)),
        &[
            "0 runs starts",
            "2 second joins",
            "3 third joins",
            "4 first joins",
            "10 runs COMPLETED",
            "10 first starts",
            "20 first COMPLETED",
            "20 equal starts",
            "30 equal COMPLETED",
            "30 second starts",
            "40 second COMPLETED",
            "40 third starts",
            "50 third COMPLETED",
            "50 lower starts",
            "60 lower COMPLETED",
        ],
    );
}

#[test]
fn a_phase_waits_for_who_joins_it_and_who_joins_a_later_one_waits_for_it() {
    check(
        scenario([agent("now"), agent("later").phase(1)])
            .joins(2, agent("early").takes(20))
            .joins(3, agent("late").phase(1).priority(1)),
        &[
            "0 now starts",
            "2 early joins",
            "2 early starts",
            "3 late joins",
            "10 now COMPLETED",
            "22 early COMPLETED",
            "22 late starts",
            "22 later starts",
            "32 late COMPLETED",
            "32 later COMPLETED",
        ],
    );
}

#[test]
fn who_joins_may_depend_on_who_is_there_whatever_has_become_of_them() {
    check(
        scenario([agent("done").takes(1), agent("runs"), agent("waits").after("runs")])
            .joins(3, agent("after-done").after("done"))
            .joins(3, agent("beside").once_started("runs"))
            .joins(3, agent("after-waits").after("waits").after("after-done")),
        &[
            "0 done starts",
            "0 runs starts",
            "1 done COMPLETED",
            "3 after-done joins",
            "3 beside joins",
            "3 after-waits joins",
            "3 after-done starts",
            "3 beside starts",
            "10 runs COMPLETED",
            "10 waits starts",
            "13 after-done COMPLETED",
            "13 beside COMPLETED",
            "20 waits COMPLETED",
            "20 after-waits starts",
            "30 after-waits COMPLETED",
        ],
    );
    // It is skipped like everybody when one fails later; and may want to run all the same.
    check(
        scenario([agent("fails").ends(&Fate::Exits(1))]).joins(3, agent("skipped").after("fails")).joins(
            4,
            agent("anyway").after("fails").with(|plan| plan.on_dependency_failure = OnDependencyFailure::Run),
        ),
        &[
            "0 fails starts",
            "3 skipped joins",
            "4 anyway joins",
            "10 fails FAILED: Exit",
            "10 skipped SKIPPED: DependencyFailed",
            "10 anyway starts",
            "20 anyway COMPLETED",
            "20 phase 0 fails",
        ],
    );
}

/// Why `newcomer` may not join once the scenario has come to this second.
fn refused(made: Scenario, seconds: u64, newcomer: &Agent) -> JoinRefusal {
    let mut world = World::new(made);
    world.open();
    while world.now < Moment(seconds * 1000) {
        world.advance();
    }
    let event = Event::RegisterAsked { agent: Box::new(newcomer.plan.clone()) };
    assert!(world.supervisor.decide(world.now, &event).is_empty(), "nothing follows");
    world.supervisor.joining(&newcomer.plan).unwrap_err()
}

#[test]
fn who_cannot_be_started_any_more_is_refused_with_the_reason() {
    let two = || scenario([agent("one"), agent("two").takes(30)]);
    let new = || agent("new");
    assert_eq!(refused(two(), 0, &agent("one")), JoinRefusal::Known(id("one")));
    let complete = two().wish(3, Event::CompleteAsked { phase: None });
    assert_eq!(refused(complete, 10, &new()), JoinRefusal::Stopping(StopCause::Complete));
    let stop_at = two().with(|plan| plan.stop_at = Some(Moment(4_000)));
    assert_eq!(refused(stop_at, 4, &new()), JoinRefusal::Stopping(StopCause::Limit(Limit::StopAt)));
    let failures = scenario([agent("one").ends(&Fate::Exits(1)), agent("two").takes(30)])
        .with(|plan| plan.max_failures = NonZeroU32::new(1));
    assert_eq!(refused(failures, 10, &new()), JoinRefusal::Stopping(StopCause::Limit(Limit::Failures)));

    let phases = || scenario([agent("one"), agent("two").phase(1).takes(30), agent("three").phase(2)]);
    assert_eq!(refused(phases(), 15, &new()), JoinRefusal::PhaseOver);
    let closing = phases().wish(3, Event::CompleteAsked { phase: Some(2) });
    assert_eq!(refused(closing, 10, &new().phase(2)), JoinRefusal::PhaseClosing);
    assert_eq!(refused(phases(), 0, &new().phase(9)), JoinRefusal::Over);

    let failed = || scenario([agent("one").ends(&Fate::Exits(1)), agent("two").takes(30)]);
    assert_eq!(refused(failed(), 10, &new().after("one")), JoinRefusal::DependencyFailed { on: id("one") });
    assert_eq!(refused(phases(), 0, &new().after("two")), JoinRefusal::DependencyLater { on: id("two") });
    assert_eq!(refused(phases(), 0, &new().after("nobody")), JoinRefusal::DependencyLater { on: id("nobody") });
    assert_eq!(refused(phases(), 0, &new().after("new")), JoinRefusal::DependencyLater { on: id("new") });

    let haunted = scenario([agent("one").files(&["f"]).ends(&Fate::Survives), agent("two").takes(30)]);
    assert_eq!(refused(haunted, 10, &new().files(&["*"])), JoinRefusal::Haunted { by: id("one") });
}

#[test]
fn a_run_with_agents_that_joined_is_taken_up_with_them() {
    let made = scenario([agent("one").takes(20), agent("later").phase(1)])
        .with(|plan| plan.phases[0].on_failure = OnPhaseFailure::Continue)
        .joins(1, agent("new").priority(1).takes(4))
        .joins(2, agent("next").phase(1).after("new").after("one"));
    for points in 1..70 {
        let world = super::crash::run(made.clone(), &[points]);
        let joined = world.log.iter().filter(|record| matches!(record.fact, Fact::AgentRegistered(_))).count();
        // A supervisor that is gone before it is asked has nobody who joins.
        let ends = world.supervisor.view().unwrap().agents.into_iter().map(|agent| (agent.id, agent.state));
        let ends: std::collections::BTreeMap<_, _> = ends.collect();
        assert_eq!(ends.len(), 2 + joined, "death before point {points}: {ends:?}");
        assert!(ends.values().all(|state| state.as_str() == "COMPLETED"), "death before point {points}: {ends:?}");
    }
}
