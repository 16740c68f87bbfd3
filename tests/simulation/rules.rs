//! The rules of scheduling, each with the timeline that it must give.

use std::num::NonZeroU32;
use std::time::Duration;

use supervise::core::agent::{OnAbort, OnDependencyFailure, OnPhaseFailure};
use supervise::core::event::{Event, PlaceRefusal};
use supervise::core::ids::{AgentId, Attempt, AttemptId};
use supervise::core::lifecycle::State;
use supervise::core::moment::Moment;
use supervise::core::reason::{EndReason, Exit, WaitReason};
use supervise::core::record::Summary;
use supervise::core::view::Why;

use super::plan::{Fate, agent, scenario};
use super::story::{check, effects};
use super::world::World;

#[test]
fn agents_start_in_the_order_of_phase_priority_and_position() {
    check(
        scenario([
            agent("late-phase").phase(1).priority(1),
            agent("third"),
            agent("fourth"),
            agent("second").priority(2),
            agent("first").priority(1),
        ])
        .slots(1),
        &[
            "0 first starts",
            "10 first COMPLETED",
            "10 second starts",
            "20 second COMPLETED",
            "20 third starts",
            "30 third COMPLETED",
            "30 fourth starts",
            "40 fourth COMPLETED",
            "40 late-phase starts",
            "50 late-phase COMPLETED",
        ],
    );
}

#[test]
fn one_attempt_goes_from_its_lease_to_its_commit_in_this_order() {
    let world = check(scenario([agent("only").files(&["f"]).verify(0)]), &["0 only starts", "11 only COMPLETED"]);
    assert_eq!(
        effects(&world),
        [
            "prepare only",
            "spawn only in slot 0",
            "measure only",
            "freeze only Completion [`f`]",
            "verify only its commit",
            "prepare place only",
            "place only",
            "unpin only",
            "sweep command",
            "survey",
            "close",
        ]
    );
}

#[test]
fn an_agent_without_changes_is_verified_and_completes_without_a_commit() {
    let world = check(scenario([agent("only").verify(0)]), &["0 only starts", "11 only COMPLETED"]);
    assert!(effects(&world).contains(&"verify only no commit".to_owned()));
    let view = world.supervisor.view().unwrap();
    assert_eq!((view.agents[0].commit, &view.agents[0].why), (None, &Why::WithoutChanges));
}

#[test]
fn expected_changes_must_be_there() {
    check(
        scenario([agent("only").with(|plan| plan.expect_changes = true)]),
        &["0 only starts", "10 only FAILED: NoChanges", "10 phase 0 fails"],
    );
}

#[test]
fn an_exclusive_lock_makes_others_wait_until_the_work_is_committed() {
    check(
        scenario([
            agent("first").files(&["f"]).verify(0),
            agent("second").files(&["f"]),
            agent("reader").reads(&["f"]),
            agent("other").files(&["g"]),
        ]),
        &[
            "0 second BLOCKED: Locks [first]",
            "0 reader BLOCKED: Locks [first]",
            "0 first starts",
            "0 other starts",
            "10 other COMPLETED",
            "11 first COMPLETED",
            "11 second starts",
            "21 second COMPLETED",
            "21 reader starts",
            "31 reader COMPLETED",
        ],
    );
}

#[test]
fn readers_share() {
    check(
        scenario([agent("one").reads(&["f"]), agent("two").reads(&["f"])]),
        &["0 one starts", "0 two starts", "10 one COMPLETED", "10 two COMPLETED"],
    );
}

#[test]
fn late_claims_exclude_nobody_at_the_start_and_a_contested_path_is_left() {
    let world = check(
        scenario([agent("one").late(&["f"]).writes(&["f"]), agent("two").late(&["f"]).writes(&["f"]).takes(20)]),
        &["0 one starts", "0 two starts", "10 one COMPLETED", "20 two COMPLETED"],
    );
    let view = world.supervisor.view().unwrap();
    assert_eq!(view.agents[0].commit, None, "two had it claimed as well");
    assert!(view.agents[1].commit.is_some());
}

#[test]
fn locks_are_granted_all_or_none_and_reserved_meanwhile() {
    check(
        scenario([
            agent("holder").files(&["a"]),
            agent("both").files(&["a", "b"]),
            agent("small").files(&["b"]).takes(1),
            agent("free").files(&["c"]).takes(1),
        ]),
        &[
            "0 both BLOCKED: Locks [holder]",
            "0 small BLOCKED: Reserved both",
            "0 holder starts",
            "0 free starts",
            "1 free COMPLETED",
            "10 holder COMPLETED",
            "10 both starts",
            "20 both COMPLETED",
            "20 small starts",
            "21 small COMPLETED",
        ],
    );
}

#[test]
fn who_lacks_more_than_locks_reserves_nothing() {
    check(
        scenario([
            agent("base").takes(5),
            agent("dependent").files(&["a"]).after("base").priority(1),
            agent("free").files(&["a"]).takes(10),
        ]),
        &[
            "0 base starts",
            "0 free starts",
            "5 base COMPLETED",
            "5 dependent BLOCKED: Locks [free]",
            "10 free COMPLETED",
            "10 dependent starts",
            "20 dependent COMPLETED",
        ],
    );
}

#[test]
fn runners_have_limits_of_their_own_and_do_not_hold_up_others() {
    let world = check(
        scenario([agent("one").runner("codex"), agent("two").runner("codex"), agent("three").runner("fast")])
            .limit("codex", 1),
        &[
            "0 one starts",
            "0 three starts",
            "10 one COMPLETED",
            "10 three COMPLETED",
            "10 two starts",
            "20 two COMPLETED",
        ],
    );
    let slots: Vec<String> = effects(&world).into_iter().filter(|e| e.starts_with("spawn")).collect();
    assert_eq!(slots, ["spawn one in slot 0", "spawn three in slot 1", "spawn two in slot 0"]);
}

#[test]
fn a_dependency_must_complete_or_where_that_is_enough_start() {
    check(
        scenario([
            agent("base").takes(10),
            agent("patient").after("base").takes(1),
            agent("eager").once_started("base").takes(1),
        ]),
        &[
            "0 base starts",
            "0 eager starts",
            "1 eager COMPLETED",
            "10 base COMPLETED",
            "10 patient starts",
            "11 patient COMPLETED",
        ],
    );
}

#[test]
fn a_dependency_that_does_not_complete_skips_all_that_follow_unless_they_run_anyway() {
    check(
        scenario([
            agent("base").ends(&Fate::Exits(1)),
            agent("skipped").after("base"),
            agent("too").after("skipped"),
            agent("anyway").after("too").with(|p| p.on_dependency_failure = OnDependencyFailure::Run).takes(1),
            agent("eager").once_started("base").takes(20),
        ]),
        &[
            "0 base starts",
            "0 eager starts",
            "10 base FAILED: Exit",
            "10 skipped SKIPPED: DependencyFailed",
            "10 too SKIPPED: DependencyFailed",
            "10 anyway starts",
            "11 anyway COMPLETED",
            "20 eager COMPLETED",
            "20 phase 0 fails",
        ],
    );
}

#[test]
fn a_phase_without_agents_is_passed_over() {
    let agents = || [agent("one").phase(1), agent("three").phase(3)];
    let story = ["0 one starts", "10 one COMPLETED", "10 three starts", "20 three COMPLETED"];
    check(scenario(agents()), &story);
    // The last of all has none either.
    check(scenario(agents()).with(|plan| plan.phases.push(plan.phases[0].clone())), &story);
}

#[test]
fn a_phase_that_fails_stops_the_later_ones_unless_told_otherwise() {
    let agents = || [agent("one").ends(&Fate::Exits(1)), agent("two").phase(1), agent("three").phase(2)];
    check(
        scenario(agents()),
        &[
            "0 one starts",
            "10 one FAILED: Exit",
            "10 phase 0 fails",
            "10 two SKIPPED: PhaseFailed",
            "10 three SKIPPED: PhaseFailed",
            "10 phase 1 fails",
            "10 phase 2 fails",
        ],
    );
    check(
        scenario(agents()).with(|plan| plan.phases[0].on_failure = OnPhaseFailure::Continue),
        &[
            "0 one starts",
            "10 one FAILED: Exit",
            "10 phase 0 fails",
            "10 two starts",
            "20 two COMPLETED",
            "20 three starts",
            "30 three COMPLETED",
        ],
    );
}

#[test]
fn failed_work_is_salvaged_before_it_is_put_back() {
    let world = check(
        scenario([agent("only").files(&["f"]).ends(&Fate::Exits(3))]),
        &["0 only starts", "10 only is salvaged", "10 only is put back", "10 only FAILED: Exit", "10 phase 0 fails"],
    );
    let view = world.supervisor.view().unwrap();
    assert_eq!(view.agents[0].salvage, ["refs/supervise/attempts/20260131T142501-4f2a/only/1"]);
    assert!(!effects(&world).contains(&"unpin only".to_owned()));
}

#[test]
fn work_to_be_kept_is_salvaged_and_left() {
    check(
        scenario([agent("only").files(&["f"]).ends(&Fate::Fatal).with(|plan| plan.on_abort = OnAbort::Keep)]),
        &["0 only starts", "10 only is salvaged", "10 only FAILED: RunnerFailed", "10 phase 0 fails"],
    );
}

#[test]
fn what_cannot_be_salvaged_is_not_put_back() {
    let broken = agent("only").files(&["f"]).ends(&Fate::Exits(3)).every_act(|act| act.freeze_fails = true);
    let world = check(scenario([broken]), &["0 only starts", "10 only FAILED: Exit", "10 phase 0 fails"]);
    assert!(!effects(&world).iter().any(|e| e.starts_with("restore")));
}

#[test]
fn retries_pause_longer_each_time_and_keep_their_rank() {
    check(
        scenario([
            agent("flaky").first_ends(&[Fate::Exits(1), Fate::SpawnFails, Fate::Fatal]).with(|plan| plan.retries = 3),
            agent("other").takes(11),
            agent("last").takes(1),
        ])
        .slots(1),
        &[
            "0 flaky starts",
            "10 flaky WAITING until 11: Exit",
            "10 other starts",
            "21 other COMPLETED",
            "21 flaky starts, attempt 2",
            "21 flaky WAITING until 23: SpawnFailed",
            "21 last starts",
            "22 last COMPLETED",
            "23 flaky starts, attempt 3",
            "33 flaky WAITING until 37: RunnerFailed",
            "37 flaky starts, attempt 4",
            "47 flaky COMPLETED",
        ],
    );
}

#[test]
fn news_of_an_earlier_attempt_changes_nothing() {
    let first = AttemptId { agent: AgentId::new("only").unwrap(), attempt: Attempt(1) };
    let late = Event::TreeEnded { id: first, exit: Exit::Code(0), summary: Summary::default() };
    let fails_once = agent("only").files(&["f"]).first_ends(&[Fate::Exits(1)]).with(|plan| plan.retries = 1);
    check(
        scenario([fails_once]).wish(15, late),
        &[
            "0 only starts",
            "10 only is salvaged",
            "10 only is put back",
            "10 only WAITING until 11: Exit",
            "11 only starts, attempt 2",
            "21 only COMPLETED",
        ],
    );
}

#[test]
fn retries_run_out() {
    check(
        scenario([agent("bad").ends(&Fate::Exits(1)).with(|plan| plan.retries = 1)]),
        &[
            "0 bad starts",
            "10 bad WAITING until 11: Exit",
            "11 bad starts, attempt 2",
            "21 bad FAILED: Exit",
            "21 phase 0 fails",
        ],
    );
}

#[test]
fn a_rate_limit_pauses_its_runner_and_costs_no_retry() {
    let limited = Fate::RateLimited(Some(Duration::from_secs(100)));
    check(
        scenario([
            agent("one").runner("codex").files(&["f"]).first_ends(&[limited, Fate::RateLimited(None)]),
            agent("two").runner("codex").takes(1),
            agent("three").runner("fast").files(&["f"]).takes(1),
        ])
        .slots(1),
        &[
            "0 one starts",
            "10 codex pauses until 110",
            "10 one is salvaged",
            "10 one is put back",
            "10 one WAITING: rate limit",
            "10 three starts",
            "11 three COMPLETED",
            "110 one starts, attempt 2",
            "120 codex pauses until 180",
            "120 one is salvaged",
            "120 one is put back",
            "120 one WAITING: rate limit",
            "180 one starts, attempt 3",
            "190 one COMPLETED",
            "190 two starts",
            "191 two COMPLETED",
        ],
    );
}

#[test]
fn waiting_for_a_rate_limit_is_bounded() {
    let world = World::new(scenario([agent("one").ends(&Fate::RateLimited(None))])).run();
    let view = world.supervisor.view().unwrap();
    assert_eq!(view.agents[0].why, Why::Ends(EndReason::RateLimited));
    assert_eq!(world.attempts().len(), 21, "twenty pauses");
    check(
        scenario([agent("one").ends(&Fate::RateLimited(Some(Duration::from_hours(7))))]),
        &["0 one starts", "10 one FAILED: RateLimited", "10 phase 0 fails"],
    );
}

#[test]
fn a_timeout_ends_the_tree_salvages_and_passes_the_lock_on() {
    check(
        scenario([
            agent("slow").files(&["f"]).hangs().with(|plan| plan.timeout = Duration::from_secs(30)),
            agent("next").files(&["f"]),
        ]),
        &[
            "0 next BLOCKED: Locks [slow]",
            "0 slow starts",
            "30 slow is ended Orderly: Timeout",
            "35 slow is salvaged",
            "35 slow is put back",
            "35 slow TIMEOUT: Timeout",
            "35 next starts",
            "45 next COMPLETED",
            "45 phase 0 fails",
        ],
    );
}

#[test]
fn a_quiet_agent_is_looked_at_and_ended_a_lively_one_is_not() {
    let quiet = |id| agent(id).with(|plan| plan.idle_timeout = Some(Duration::from_secs(4)));
    check(
        scenario([quiet("dead").hangs(), quiet("lively").takes(20).every_act(|act| act.lively = true)]),
        &[
            "0 dead starts",
            "0 lively starts",
            "4 dead is ended Orderly: IdleTimeout",
            "9 dead TIMEOUT: IdleTimeout",
            "20 lively COMPLETED",
            "20 phase 0 fails",
        ],
    );
}

#[test]
fn a_verify_command_that_fails_or_hangs_fails_the_attempt() {
    check(
        scenario([agent("only").files(&["f"]).verify(1)]),
        &["0 only starts", "11 only is put back", "11 only FAILED: VerifyFailed", "11 phase 0 fails"],
    );
    check(
        scenario([agent("only").files(&["f"]).verify(0).every_act(|act| act.verify_takes = None)]),
        &[
            "0 only starts",
            "70 only is ended Orderly: VerifyTimeout",
            "75 only is put back",
            "75 only FAILED: VerifyTimeout",
            "75 phase 0 fails",
        ],
    );
}

#[test]
fn checkpoints_are_made_while_it_runs() {
    let world = check(
        scenario([agent("only").files(&["f"]).takes(11)])
            .with(|plan| plan.checkpoint_interval = Some(Duration::from_secs(5))),
        &["0 only starts", "5 only has a checkpoint", "10 only has a checkpoint", "11 only COMPLETED"],
    );
    assert_eq!(effects(&world).iter().filter(|e| e.starts_with("checkpoint")).count(), 2);
}

#[test]
fn a_dirty_claim_blocks_until_something_has_ended_and_fails_when_nothing_can() {
    check(
        scenario([agent("other"), agent("soiled").files(&["f"]).dirty(1)]),
        &[
            "0 other starts",
            "0 soiled BLOCKED: DirtyClaim",
            "10 other COMPLETED",
            "10 soiled starts",
            "20 soiled COMPLETED",
        ],
    );
    check(
        scenario([agent("other"), agent("soiled").files(&["f"]).dirty(9)]),
        &[
            "0 other starts",
            "0 soiled BLOCKED: DirtyClaim",
            "10 other COMPLETED",
            "10 soiled BLOCKED: DirtyClaim",
            "10 soiled FAILED: DirtyClaim",
            "10 phase 0 fails",
        ],
    );
}

#[test]
fn a_path_that_was_dirty_at_the_start_is_salvaged_and_not_committed() {
    let mut soiled = agent("only").files(&["clean", "soiled"]);
    soiled.begins_dirty = vec!["soiled".to_owned()];
    let world = check(scenario([soiled]), &["0 only starts", "10 only is salvaged", "10 only COMPLETED"]);
    let done = effects(&world);
    assert!(done.contains(&"freeze only Completion [`clean`]".to_owned()), "{done:?}");
    assert!(done.contains(&"freeze only Salvage [`soiled`]".to_owned()), "{done:?}");
    assert!(!done.contains(&"unpin only".to_owned()), "{done:?}");
}

#[test]
fn placing_is_tried_again_while_others_commit_but_not_for_ever() {
    let moved = |times| vec![PlaceRefusal::Moved; times];
    check(scenario([agent("only").files(&["f"]).refused(&moved(4))]), &["0 only starts", "10 only COMPLETED"]);
    check(
        scenario([agent("only").files(&["f"]).refused(&moved(5))]),
        &["0 only starts", "10 only is put back", "10 only FAILED: Git", "10 phase 0 fails"],
    );
}

#[test]
fn a_branch_that_is_another_now_is_not_tried_again() {
    check(
        scenario([agent("only").files(&["f"]).refused(&[PlaceRefusal::BranchMoved]).with(|plan| plan.retries = 3)]),
        &["0 only starts", "10 only is put back", "10 only FAILED: BranchMoved", "10 phase 0 fails"],
    );
}

#[test]
fn a_lost_shim_terminates_its_agent() {
    check(
        scenario([agent("only").files(&["f"]).ends(&Fate::LosesShim)]),
        &[
            "0 only starts",
            "10 only is salvaged",
            "10 only is put back",
            "10 only TERMINATED: ShimLost",
            "10 phase 0 fails",
        ],
    );
}

/// A lock never leaves a living tree: nobody else starts on its files, in later phases neither, and
/// there is no further attempt.
#[test]
fn what_cannot_be_ended_keeps_its_files() {
    check(
        scenario([
            agent("stuck").files(&["f"]).ends(&Fate::Survives).with(|plan| plan.retries = 3),
            agent("rival").files(&["f", "g"]),
            agent("other").files(&["h"]).takes(20),
            agent("later").files(&["f"]).with(|plan| plan.rank.phase = 1),
        ])
        .with(|plan| plan.phases[0].on_failure = OnPhaseFailure::Continue),
        &[
            "0 rival BLOCKED: Locks [stuck]",
            "0 stuck starts",
            "0 other starts",
            "10 stuck is salvaged",
            "10 stuck is put back",
            "10 stuck FAILED: Survivors",
            "10 rival SKIPPED: DependencyFailed",
            "10 later SKIPPED: DependencyFailed",
            "20 other COMPLETED",
            "20 phase 0 fails",
            "20 phase 1 fails",
        ],
    );
}

#[test]
fn the_first_interrupt_ends_in_order_and_the_second_at_once() {
    let agents = || [agent("one").files(&["f"]).hangs(), agent("two").files(&["f"])];
    let first = ["0 two BLOCKED: Locks [one]", "0 one starts", "3 stop: Interrupt(Interrupt)"];
    let then = ["3 one is ended Orderly: Interrupted", "3 two TERMINATED: Interrupted"];
    let salvaged = |at: u64| {
        [
            format!("{at} one is salvaged"),
            format!("{at} one is put back"),
            format!("{at} one TERMINATED: Interrupted"),
            format!("{at} phase 0 fails"),
        ]
    };
    let lines = |parts: &[&[&str]], at| {
        let mut lines: Vec<String> = parts.concat().iter().map(|l| (*l).to_owned()).collect();
        lines.extend(salvaged(at));
        lines
    };
    let once = lines(&[&first, &then], 8);
    check(scenario(agents()).interrupt_at(3), &once.iter().map(String::as_str).collect::<Vec<_>>());
    let twice = lines(&[&first, &then, &["4 kill", "4 one is ended AtOnce: Interrupted"]], 4);
    check(scenario(agents()).interrupt_at(3).interrupt_at(4), &twice.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn limits_start_nothing_more_and_let_what_runs_finish() {
    let agents = || [agent("bad").ends(&Fate::Exits(1)).takes(5), agent("good"), agent("never")];
    check(
        scenario(agents()).slots(2).with(|plan| plan.max_failures = NonZeroU32::new(1)),
        &[
            "0 bad starts",
            "0 good starts",
            "5 bad FAILED: Exit",
            "5 stop: Limit(Failures)",
            "5 never SKIPPED: LimitReached",
            "10 good COMPLETED",
            "10 phase 0 fails",
        ],
    );
    check(
        scenario([agent("one"), agent("never")]).slots(1).with(|plan| plan.stop_at = Some(Moment(4_000))),
        &[
            "0 one starts",
            "4 stop: Limit(StopAt)",
            "4 never SKIPPED: LimitReached",
            "10 one COMPLETED",
            "10 phase 0 fails",
        ],
    );
    let hungry = |id| agent(id).every_act(|act| act.tokens = 60);
    check(
        scenario([hungry("one"), hungry("two"), hungry("never")]).slots(1).with(|plan| plan.max_tokens = Some(100)),
        &[
            "0 one starts",
            "10 one COMPLETED",
            "10 two starts",
            "20 two COMPLETED",
            "20 stop: Limit(Tokens)",
            "20 never SKIPPED: LimitReached",
            "20 phase 0 fails",
        ],
    );
}

#[test]
fn every_waiting_agent_says_why() {
    let mut world = World::new(
        scenario([
            agent("holder").files(&["a"]).runner("codex").hangs(),
            agent("locked").files(&["a", "b"]),
            agent("behind").files(&["b"]),
            agent("runner").runner("codex"),
            agent("dependent").after("holder"),
            agent("phased").phase(1),
        ])
        .limit("codex", 1),
    );
    world.open();
    while world.supervisor.view().unwrap().agents[0].state != State::Running {
        world.advance();
    }
    let view = world.supervisor.view().unwrap();
    let reasons: Vec<_> = view.agents[1..].iter().map(|a| (a.state, a.why.clone())).collect();
    let id = |n: usize| view.agents[n].id.clone();
    let blocked = |reason| (State::Blocked, Why::Waits(reason));
    let waiting = |reason| (State::Waiting, Why::Waits(reason));
    assert_eq!(
        reasons,
        [
            blocked(WaitReason::Locks { holders: vec![id(0)] }),
            blocked(WaitReason::Reserved { by: id(1) }),
            waiting(WaitReason::RunnerSlot { runner: view.agents[0].runner.clone() }),
            waiting(WaitReason::Dependencies { on: vec![id(0)] }),
            waiting(WaitReason::Phase { open: 0 }),
        ]
    );
}

#[test]
fn as_many_run_at_once_as_fit_and_the_rest_says_so() {
    let all =
        || scenario(["a", "b", "c", "d"].map(|id| agent(id).takes(5))).with(|plan| plan.fits = NonZeroU32::new(2));
    let mut world = World::new(all());
    world.open();
    while world.supervisor.view().unwrap().agents[1].state != State::Running {
        world.advance();
    }
    let view = world.supervisor.view().unwrap();
    let why: Vec<_> = view.agents[2..].iter().map(|a| (a.state, a.why.clone())).collect();
    let waits = (State::Waiting, Why::Waits(WaitReason::OpenFiles { fit: 2 }));
    assert_eq!(why, [waits.clone(), waits]);
    let world = World::new(all()).run();
    assert!(world.supervisor.view().unwrap().agents.iter().all(|a| a.state == State::Completed));
}
