//! What follows when a person stops agents, completes the run or a phase, or wants a checkpoint.

use std::time::Duration;

use supervise::core::agent::{OnConflict, OnPhaseFailure};
use supervise::core::claim::Pattern;
use supervise::core::event::Event;
use supervise::core::ids::AgentId;
use supervise::core::path::RepoPath;
use supervise::core::reason::Interrupt;
use supervise::core::steer::Stop;

use super::calls::write;
use super::plan::{Fate, agent, scenario};
use super::story::{check, effects};

fn stop(ids: &[&str], how: Stop) -> Event {
    Event::StopAsked { agents: ids.iter().map(|id| AgentId::new(id).unwrap()).collect(), how }
}

#[test]
fn a_stopped_agent_is_ended_kept_and_not_tried_again() {
    check(
        scenario([
            agent("one").files(&["f"]).hangs().with(|plan| plan.retries = 3),
            agent("two").files(&["f"]),
            agent("after").after("one"),
        ])
        .wish(3, stop(&["one"], Stop::Orderly)),
        &[
            "0 two BLOCKED: Locks [one]",
            "0 one starts",
            "3 one is ended Orderly: Stopped",
            "8 one is salvaged",
            "8 one is put back",
            "8 one TERMINATED: Stopped",
            "8 after SKIPPED: DependencyFailed",
            "8 two starts",
            "18 two COMPLETED",
            "18 phase 0 fails",
        ],
    );
}

#[test]
fn force_does_not_wait_for_the_grace_nor_for_who_is_ended_already() {
    check(
        scenario([agent("one").files(&["f"]).hangs()]).wish(3, stop(&["one"], Stop::AtOnce)),
        &[
            "0 one starts",
            "3 one is ended AtOnce: Stopped",
            "3 one is salvaged",
            "3 one is put back",
            "3 one TERMINATED: Stopped",
            "3 phase 0 fails",
        ],
    );
    check(
        scenario([agent("one").hangs()])
            .wish(3, stop(&["one"], Stop::Orderly))
            .wish(4, stop(&["one"], Stop::Orderly))
            .wish(5, stop(&["one"], Stop::AtOnce)),
        &[
            "0 one starts",
            "3 one is ended Orderly: Stopped",
            "5 one is ended AtOnce: Stopped",
            "5 one TERMINATED: Stopped",
            "5 phase 0 fails",
        ],
    );
}

#[test]
fn a_graceful_stop_lets_the_attempt_finish_and_is_its_last() {
    let agents = || {
        [
            agent("good").files(&["f"]).verify(0),
            agent("bad").ends(&Fate::Exits(1)).with(|plan| plan.retries = 3),
            agent("behind").files(&["f"]),
        ]
    };
    check(
        scenario(agents()).wish(3, stop(&["good", "bad", "behind"], Stop::Graceful)),
        &[
            "0 behind BLOCKED: Locks [good]",
            "0 good starts",
            "0 bad starts",
            "3 behind TERMINATED: Stopped",
            "10 bad FAILED: Exit",
            "11 good COMPLETED",
            "11 phase 0 fails",
        ],
    );
}

#[test]
fn an_agent_that_waits_for_its_next_attempt_has_none() {
    check(
        scenario([agent("one").ends(&Fate::Exits(1)).with(|plan| plan.retries = 3), agent("two").takes(20)])
            .wish(10, Event::Turn)
            .wish(12, stop(&["one"], Stop::Orderly)),
        &[
            "0 one starts",
            "0 two starts",
            "10 one WAITING until 11: Exit",
            "11 one starts, attempt 2",
            "12 one is ended Orderly: Stopped",
            "17 one TERMINATED: Stopped",
            "20 two COMPLETED",
            "20 phase 0 fails",
        ],
    );
}

/// Its processes are gone, but what they did is not to be verified and committed any more.
#[test]
fn a_verify_command_is_ended_too() {
    check(
        scenario([agent("one").files(&["f"]).verify(0).every_act(|act| act.verify_takes = None)])
            .wish(12, stop(&["one"], Stop::AtOnce)),
        &[
            "0 one starts",
            "12 one is ended AtOnce: Stopped",
            "12 one is put back",
            "12 one TERMINATED: Stopped",
            "12 phase 0 fails",
        ],
    );
}

#[test]
fn stopping_everything_is_an_interrupt() {
    check(
        scenario([agent("one").hangs(), agent("two").after("one")])
            .wish(3, Event::Interrupted(Interrupt::Asked))
            .wish(4, Event::Interrupted(Interrupt::Asked)),
        &[
            "0 one starts",
            "3 stop: Interrupt(Asked)",
            "3 one is ended Orderly: Interrupted",
            "3 two TERMINATED: Interrupted",
            "4 kill",
            "4 one is ended AtOnce: Interrupted",
            "4 one TERMINATED: Interrupted",
            "4 phase 0 fails",
        ],
    );
}

#[test]
fn completing_starts_nothing_more_and_lets_what_runs_finish() {
    check(
        scenario([
            agent("good"),
            agent("bad").ends(&Fate::Exits(1)).with(|plan| plan.retries = 3),
            agent("later").after("good"),
        ])
        .wish(3, Event::CompleteAsked { phase: None })
        .wish(4, Event::CompleteAsked { phase: None }),
        &[
            "0 good starts",
            "0 bad starts",
            "3 stop: Complete",
            "3 later SKIPPED: Closed",
            "10 good COMPLETED",
            "10 bad FAILED: Exit",
            "10 phase 0 fails",
        ],
    );
}

#[test]
fn completing_with_nothing_left_to_start_is_no_failure() {
    check(
        scenario([agent("good")]).wish(3, Event::CompleteAsked { phase: None }),
        &["0 good starts", "3 stop: Complete", "10 good COMPLETED"],
    );
}

#[test]
fn a_phase_is_completed_alone_and_the_next_opens_as_it_says() {
    let agents = || [agent("one"), agent("rest").after("one"), agent("next").phase(1)];
    let wish = || Event::CompleteAsked { phase: Some(0) };
    let begin = ["0 one starts", "3 rest SKIPPED: Closed", "10 one COMPLETED", "10 phase 0 fails"];
    let told = |end: &[&'static str]| [&begin[..], end].concat();
    check(
        scenario(agents()).wish(3, wish()).with(|plan| plan.phases[0].on_failure = OnPhaseFailure::Continue),
        &told(&["10 next starts", "20 next COMPLETED"]),
    );
    check(scenario(agents()).wish(3, wish()), &told(&["10 next SKIPPED: PhaseFailed", "10 phase 1 fails"]));
    // One that has not opened yet ends without having begun.
    check(
        scenario(agents()).wish(3, Event::CompleteAsked { phase: Some(1) }),
        &[
            "0 one starts",
            "3 next SKIPPED: Closed",
            "10 one COMPLETED",
            "10 rest starts",
            "20 rest COMPLETED",
            "20 phase 1 fails",
        ],
    );
}

#[test]
fn a_checkpoint_is_made_when_somebody_wants_it() {
    let world = check(
        scenario([agent("one").files(&["f"]), agent("two").files(&["g"])])
            .with(|plan| plan.checkpoint_interval = Some(Duration::from_secs(8)))
            .wish(3, Event::CheckpointAsked { agent: Some(AgentId::new("one").unwrap()) })
            .wish(4, Event::CheckpointAsked { agent: None }),
        &[
            "0 one starts",
            "0 two starts",
            "3 one has a checkpoint",
            "4 one has a checkpoint",
            "4 two has a checkpoint",
            "10 one COMPLETED",
            "10 two COMPLETED",
        ],
    );
    assert_eq!(effects(&world).iter().filter(|effect| effect.starts_with("checkpoint")).count(), 3);
}

fn grant(agent: &str, pattern: &str) -> Event {
    Event::GrantAsked { agent: AgentId::new(agent).unwrap(), pattern: Pattern::new(pattern).unwrap() }
}

#[test]
fn an_agent_that_waits_is_granted_what_is_free_and_keeps_it_for_every_attempt() {
    check(
        scenario([
            agent("first").files(&["a"]).takes(5),
            agent("second").files(&["b"]).after("first").ends(&Fate::Exits(1)).with(|plan| plan.retries = 1),
            agent("third").files(&["c"]).after("first"),
        ])
        .wish(1, grant("second", "c"))
        .wish(2, grant("second", "a")),
        &[
            "0 first starts",
            "1 second is granted c",
            "5 first COMPLETED",
            "5 third BLOCKED: Locks [second]",
            "5 second starts",
            "15 second is salvaged",
            "15 second is put back",
            "15 second WAITING until 16: Exit",
            "15 third starts",
            "16 second BLOCKED: Locks [third]",
            "25 third COMPLETED",
            "25 second starts, attempt 2",
            "35 second is salvaged",
            "35 second is put back",
            "35 second FAILED: Exit",
            "35 phase 0 fails",
        ],
    );
}

#[test]
fn a_running_agent_locks_what_it_was_granted_path_by_path() {
    let one = agent("one").files(&["a"]).calls(&[write(5, "lib/x"), write(6, "lib/y"), write(7, "lib/x")]);
    let two = agent("two").files(&["b"]).conflict(OnConflict::Deny).calls(&[write(1, "b"), write(7, "lib/x")]);
    let world = check(
        scenario([one, two])
            .gated()
            .wish(1, grant("one", "lib/"))
            .wish(2, grant("two", "lib/z"))
            .wish(3, grant("one", "lib/")),
        &[
            "0 one starts",
            "0 two starts",
            "1 one is granted lib/",
            "5 one locks lib/x: Granted",
            "6 one locks lib/y: Granted",
            "7 CONFLICT 1: one and two at lib/x",
            "7 conflict 1: Refused by Policy",
            "7 two is denied lib/x: Conflict",
            "10 one COMPLETED",
            "10 two COMPLETED",
            "10 conflict 1: Clean",
        ],
    );
    let view = world.supervisor.view().unwrap();
    let texts = |paths: &[RepoPath]| paths.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(texts(&view.agents[0].writes), ["lib/x", "lib/y"]);
}

/// Nothing could be asked of its processes, nor kept before they write.
#[test]
fn without_a_gate_an_attempt_is_granted_nothing() {
    check(scenario([agent("one").files(&["a"])]).wish(1, grant("one", "lib/")), &["0 one starts", "10 one COMPLETED"]);
}

/// Processes of its last holder may still write there.
#[test]
fn what_passed_to_nobody_is_not_granted() {
    check(
        scenario([agent("one").files(&["f"]).ends(&Fate::Survives), agent("two").files(&["g"]).takes(30)])
            .gated()
            .wish(15, grant("two", "f"))
            .wish(16, grant("two", "h")),
        &[
            "0 one starts",
            "0 two starts",
            "10 one FAILED: Survivors",
            "16 two is granted h",
            "30 two COMPLETED",
            "30 phase 0 fails",
        ],
    );
}

#[test]
fn what_somebody_has_reserved_is_not_granted() {
    check(
        scenario([
            agent("first").files(&["a"]),
            agent("second").files(&["a", "b"]),
            agent("third").files(&["c"]).after("first"),
        ])
        .wish(1, grant("third", "b")),
        &[
            "0 second BLOCKED: Locks [first]",
            "0 first starts",
            "10 first COMPLETED",
            "10 second starts",
            "10 third starts",
            "20 second COMPLETED",
            "20 third COMPLETED",
        ],
    );
}
