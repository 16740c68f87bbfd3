//! The rules of the gate and of conflicts, each with the timeline that it must give.

use std::time::Duration;

use supervise::core::agent::{IgnoredPaths, OnConflict, OnDenied, OnOutsideEdit, OnUndeclared};
use supervise::core::call::Touch;
use supervise::core::conflict::{Resolution, Wish};
use supervise::core::event::Event;
use supervise::core::ids::AgentId;
use supervise::core::lifecycle::State;
use supervise::core::reason::{BusyReason, EndReason};
use supervise::core::record::{Fact, Record};
use supervise::core::view::Why;

use super::calls::write;
use super::plan::{Agent, Scenario, agent, scenario};
use super::story::{check, effects};
use super::world::World;

fn id(text: &str) -> AgentId {
    AgentId::new(text).unwrap()
}

/// Declares `f`, writes it, and is done after 10 seconds.
fn holder() -> Agent {
    agent("holder").files(&["f"]).calls(&[write(1, "f")])
}

/// Declares something else, writes it, and writes the holder's file too.
fn writer(policy: OnConflict) -> Agent {
    agent("writer").files(&["g"]).calls(&[write(1, "g"), write(2, "f")]).conflict(policy)
}

fn met(policy: OnConflict) -> Scenario {
    scenario([holder(), writer(policy)]).gated()
}

const FOUND: [&str; 4] =
    ["0 holder starts", "0 writer starts", "2 CONFLICT 1: holder and writer at f", "2 writer is denied f: Conflict"];

#[track_caller]
fn check_after_found(scenario: Scenario, rest: &[&str]) -> World {
    check(scenario, &[&FOUND, rest].concat())
}

#[test]
fn terminate_ends_the_writer_and_the_holder_keeps_its_file() {
    check(
        met(OnConflict::Terminate),
        &[
            "0 holder starts",
            "0 writer starts",
            "2 CONFLICT 1: holder and writer at f",
            "2 conflict 1: EndWriter by Policy",
            "2 writer is ended Orderly: Conflict",
            "2 writer is denied f: Conflict",
            "7 writer is salvaged",
            "7 writer is put back",
            "7 writer TERMINATED: Conflict",
            "10 holder COMPLETED",
            "10 conflict 1: Clean",
            "10 phase 0 fails",
        ],
    );
}

#[test]
fn deny_lets_both_live() {
    let world = check(
        met(OnConflict::Deny),
        &[
            "0 holder starts",
            "0 writer starts",
            "2 CONFLICT 1: holder and writer at f",
            "2 conflict 1: Refused by Policy",
            "2 writer is denied f: Conflict",
            "10 holder COMPLETED",
            "10 writer COMPLETED",
            "10 conflict 1: Clean",
        ],
    );
    assert_eq!(world.supervisor.view().unwrap().agents[1].denied.len(), 1);
}

#[test]
fn a_conflict_is_found_once_however_often_the_writer_tries() {
    let stubborn = writer(OnConflict::Deny).calls(&[write(1, "g"), write(2, "f"), write(3, "f"), write(4, "f")]);
    let world = World::new(scenario([holder(), stubborn]).gated()).run();
    assert_eq!(world.supervisor.view().unwrap().conflicts.len(), 1);
}

/// The lower priority ends; the winner gets the path, and has to read it again before it writes.
#[test]
fn priority_requeues_a_holder_of_lower_priority_and_gives_the_writer_its_path() {
    let first =
        writer(OnConflict::Priority).priority(1).calls(&[write(1, "g"), write(2, "f"), write(8, "f").retries(1)]);
    let world = check(
        scenario([holder(), first]).gated(),
        &[
            "0 writer starts",
            "0 holder starts",
            "2 CONFLICT 1: holder and writer at f",
            "2 conflict 1: RequeueHolder by Policy",
            "2 holder is ended Orderly: Outranked",
            "2 writer is denied f: Conflict",
            "7 holder is salvaged",
            "7 holder is put back",
            "7 holder WAITING: outranked",
            "7 writer locks f: Won",
            "7 holder BLOCKED: Locks [writer]",
            "8 writer is told to look at f again: Stale",
            "10 writer COMPLETED",
            "10 conflict 1: Clean",
            "10 holder starts, attempt 2",
            "20 holder COMPLETED",
        ],
    );
    assert!(effects(&world).contains(&"freeze writer Completion [`f`, `g`]".to_owned()));
}

#[test]
fn a_path_that_a_third_has_locked_as_well_does_not_pass_to_the_winner() {
    let reader = |id: &str| agent(id).reads(&["f"]).takes(20);
    let first = agent("writer").files(&["g"]).calls(&[write(2, "f")]).conflict(OnConflict::Priority).priority(1);
    let world = World::new(scenario([reader("one"), reader("other"), first.takes(30)]).gated()).run();
    let requeued = |record: &&Record| matches!(record.fact, Fact::AgentRequeued { .. });
    assert_eq!(world.log.iter().filter(requeued).count(), 1, "one of the readers has to go");
    let locked = |record: &&Record| matches!(record.fact, Fact::Locked { .. });
    assert_eq!(world.log.iter().filter(locked).count(), 0, "the other reads the path to its end");
}

#[test]
fn priority_ends_a_writer_of_lower_priority() {
    let last = writer(OnConflict::Priority).priority(5);
    let world = World::new(scenario([holder(), last]).gated()).run();
    let view = world.supervisor.view().unwrap();
    assert_eq!(view.conflicts[0].resolution.unwrap().0, Resolution::EndWriter);
    assert_eq!(view.agents.iter().map(|a| a.state).collect::<Vec<_>>(), [State::Completed, State::Terminated]);
}

#[test]
fn on_a_tie_who_started_later_ends() {
    let started_later = |late: &str| {
        let after = |made: Agent| if made.plan.id.as_str() == late { made.after("base") } else { made };
        let base = agent("base").takes(1);
        let world = World::new(scenario([base, after(holder()), after(writer(OnConflict::Priority))]).gated()).run();
        world.supervisor.view().unwrap().conflicts[0].resolution.unwrap().0
    };
    assert_eq!(started_later("writer"), Resolution::EndWriter);
    assert_eq!(started_later("holder"), Resolution::RequeueHolder);
}

#[test]
fn wait_puts_the_writer_behind_the_lock() {
    check(
        scenario([holder(), writer(OnConflict::Wait)]).gated(),
        &[
            "0 holder starts",
            "0 writer starts",
            "2 CONFLICT 1: holder and writer at f",
            "2 conflict 1: WriterWaits by Policy",
            "2 writer is ended Orderly: WaitsBehind",
            "2 writer is denied f: Conflict",
            "7 writer is salvaged",
            "7 writer is put back",
            "7 writer WAITING: behind f",
            "7 writer BLOCKED: Locks [holder]",
            "10 holder COMPLETED",
            "10 conflict 1: Clean",
            "10 writer starts, attempt 2",
            "20 writer COMPLETED",
        ],
    );
}

fn keep(keep: &str, terminate: &str) -> Event {
    let wish = Wish::Keep { keep: id(keep), terminate: id(terminate) };
    Event::ResolveAsked { conflict: None, wish }
}

#[test]
fn manual_keeps_the_conflict_open_until_somebody_decides_or_one_is_gone() {
    check_after_found(
        met(OnConflict::Manual).wish(4, keep("holder", "writer")),
        &[
            "4 conflict 1: EndWriter by Person",
            "4 writer is ended Orderly: Conflict",
            "9 writer is salvaged",
            "9 writer is put back",
            "9 writer TERMINATED: Conflict",
            "10 holder COMPLETED",
            "10 conflict 1: Clean",
            "10 phase 0 fails",
        ],
    );
    check_after_found(
        met(OnConflict::Manual).wish(4, keep("writer", "holder")),
        &[
            "4 conflict 1: EndHolder by Person",
            "4 holder is ended Orderly: Conflict",
            "9 holder is salvaged",
            "9 holder is put back",
            "9 holder TERMINATED: Conflict",
            "9 writer locks f: Won",
            "10 writer COMPLETED",
            "10 conflict 1: Clean",
            "10 phase 0 fails",
        ],
    );
    let wait = Event::ResolveAsked { conflict: None, wish: Wish::Wait };
    check_after_found(
        met(OnConflict::Manual).wish(4, wait),
        &[
            "4 conflict 1: WriterWaits by Person",
            "4 writer is ended Orderly: WaitsBehind",
            "9 writer is salvaged",
            "9 writer is put back",
            "9 writer WAITING: behind f",
            "9 writer BLOCKED: Locks [holder]",
            "10 holder COMPLETED",
            "10 conflict 1: Clean",
            "10 writer starts, attempt 2",
            "20 writer COMPLETED",
        ],
    );
    check_after_found(
        met(OnConflict::Manual),
        &["10 holder COMPLETED", "10 writer COMPLETED", "10 conflict 1: Moot by Nobody", "10 conflict 1: Clean"],
    );
}

#[test]
fn an_open_conflict_is_a_state_of_its_own() {
    let mut world = World::new(met(OnConflict::Manual));
    world.open();
    while world.supervisor.view().unwrap().conflicts.is_empty() {
        world.advance();
    }
    let view = world.supervisor.view().unwrap();
    assert_eq!(view.agents.iter().map(|a| a.state).collect::<Vec<_>>(), [State::Running, State::Conflict]);
}

/// One agent that declared `f` and writes `z` as well.
fn stray(policy: OnUndeclared) -> Scenario {
    scenario([agent("only").files(&["dir/f"]).calls(&[write(1, "dir/f"), write(2, "z")]).undeclared(policy)]).gated()
}

#[test]
fn an_undeclared_write_is_what_the_session_says() {
    check(stray(OnUndeclared::Deny), &["0 only starts", "2 only is denied z: Undeclared", "10 only COMPLETED"]);
    check(
        stray(OnUndeclared::Kill),
        &[
            "0 only starts",
            "2 only is denied z: Undeclared",
            "2 only is ended Orderly: Undeclared",
            "7 only is salvaged",
            "7 only is put back",
            "7 only TERMINATED: Undeclared",
            "7 phase 0 fails",
        ],
    );
    let world = check(stray(OnUndeclared::Warn), &["0 only starts", "2 only is let at z: Warned", "10 only COMPLETED"]);
    assert!(effects(&world).contains(&"freeze only Completion [`dir/f`]".to_owned()));
    assert_eq!(world.supervisor.view().unwrap().agents[0].warned.len(), 1);
    let world = check(stray(OnUndeclared::Claim), &["0 only starts", "2 only locks z: Claimed", "10 only COMPLETED"]);
    assert!(effects(&world).contains(&"freeze only Completion [`dir/f`, `z`]".to_owned()));
}

#[test]
fn what_an_agent_that_waits_has_reserved_is_not_claimed() {
    check(
        scenario([
            agent("first").files(&["a", "z"]).priority(1).after("base"),
            agent("base").takes(1),
            agent("holder").files(&["a"]).priority(2).takes(3),
            agent("stray")
                .files(&["b"])
                .calls(&[write(1, "b"), write(2, "z")])
                .undeclared(OnUndeclared::Claim)
                .takes(4),
        ])
        .gated(),
        &[
            "0 holder starts",
            "0 base starts",
            "0 stray starts",
            "1 base COMPLETED",
            "1 first BLOCKED: Locks [holder]",
            "2 stray is denied z: Reserved",
            "3 holder COMPLETED",
            "3 first starts",
            "4 stray COMPLETED",
            "13 first COMPLETED",
        ],
    );
}

/// A path that a tree is at is nobody else's until it is gone, locked or not.
#[test]
fn nobody_starts_on_what_another_writes_undeclared() {
    check(
        scenario([
            agent("base").takes(3),
            agent("stray").calls(&[write(1, "z")]).undeclared(OnUndeclared::Warn),
            agent("owner").files(&["z"]).after("base").takes(1),
        ])
        .gated(),
        &[
            "0 base starts",
            "0 stray starts",
            "1 stray is let at z: Warned",
            "3 base COMPLETED",
            "3 owner BLOCKED: Locks [stray]",
            "10 stray COMPLETED",
            "10 owner starts",
            "11 owner COMPLETED",
        ],
    );
}

#[test]
fn a_late_claim_is_locked_at_the_first_write() {
    let world = check(
        scenario([agent("only").late(&["f"]).calls(&[write(1, "f"), write(2, "f")])]).gated(),
        &["0 only starts", "1 only locks f: Late", "10 only COMPLETED"],
    );
    assert!(effects(&world).contains(&"freeze only Completion [`f`]".to_owned()));
    assert_eq!(effects(&world).iter().filter(|e| e.starts_with("answer")).count(), 1, "then it need not ask");
}

/// Held: EBUSY while the other has it; afterwards it has changed, so once more; then it is its own.
#[test]
fn a_late_path_that_another_holds_is_busy_then_stale_then_free() {
    check(
        scenario([
            agent("one").late(&["f"]).calls(&[write(1, "f")]).takes(4),
            agent("two").late(&["f"]).calls(&[write(2, "f").retries(9)]),
        ])
        .gated(),
        &[
            "0 one starts",
            "0 two starts",
            "1 one locks f: Late",
            "2 two is told to look at f again: Held",
            "3 two is told to look at f again: Held",
            "4 two is told to look at f again: Held",
            "4 one COMPLETED",
            "5 two is told to look at f again: Stale",
            "6 two locks f: Late",
            "10 two COMPLETED",
        ],
    );
}

#[test]
fn who_does_not_try_again_is_requeued_behind_the_lock_at_no_cost() {
    let world = check(
        scenario([
            agent("one").late(&["f"]).calls(&[write(1, "f")]).takes(20),
            agent("two").late(&["f"]).calls(&[write(2, "f")]),
        ])
        .gated(),
        &[
            "0 one starts",
            "0 two starts",
            "1 one locks f: Late",
            "2 two is told to look at f again: Held",
            "10 two WAITING: busy [`f`]",
            "10 two BLOCKED: Locks [one]",
            "20 one COMPLETED",
            "20 two starts, attempt 2",
            "30 two COMPLETED",
        ],
    );
    assert_eq!(world.supervisor.view().unwrap().agents[1].locks.exclusive, ["f"]);
}

/// It wrote the path before the other began, and again afterwards; only the first write was told.
#[test]
fn a_second_write_counts_as_a_change_too() {
    check(
        scenario([
            agent("base").takes(2),
            agent("one").late(&["f"]).calls(&[write(1, "f"), write(4, "f")]).takes(5),
            agent("two").late(&["f"]).calls(&[write(6, "f").retries(1)]).after("base"),
        ])
        .gated(),
        &[
            "0 base starts",
            "0 one starts",
            "1 one locks f: Late",
            "2 base COMPLETED",
            "2 two starts",
            "5 one COMPLETED",
            "8 two is told to look at f again: Stale",
            "9 two locks f: Late",
            "12 two COMPLETED",
        ],
    );
}

/// A new file beside a claimed one, left there.
fn leftover(policy: OnUndeclared) -> Scenario {
    scenario([agent("only").files(&["f"]).calls(&[write(1, "f"), write(2, "new1")]).undeclared(policy)]).gated()
}

#[test]
fn what_is_left_beside_a_claim_is_judged_at_the_end() {
    let begins = ["0 only starts", "2 only is let at new1: Provisional"];
    for policy in [OnUndeclared::Deny, OnUndeclared::Kill] {
        let ends = [
            "10 only will not complete: Leftovers",
            "10 only is salvaged",
            "10 only is put back",
            "10 only FAILED: Leftovers",
            "10 phase 0 fails",
        ];
        let world = check(leftover(policy), &[&begins[..], &ends].concat());
        assert!(effects(&world).contains(&"freeze only Salvage [`f`, `new1`]".to_owned()));
    }
    for (policy, commit) in [(OnUndeclared::Warn, "[`f`]"), (OnUndeclared::Claim, "[`f`, `new1`]")] {
        let world = check(leftover(policy), &[&begins[..], &["10 only COMPLETED"]].concat());
        assert!(effects(&world).contains(&format!("freeze only Completion {commit}")));
    }
}

#[test]
fn ignored_paths_are_free_unless_they_were_there_or_are_enforced() {
    let calls = [write(1, "f"), write(2, "target/x"), write(3, "out.log"), write(4, ".env")];
    let made = agent("only").files(&["f"]).calls(&calls);
    let world = check(
        scenario([made.clone()]).gated(),
        &[
            "0 only starts",
            "2 only is let at target: Ignored",
            "3 only is let at out.log: Ignored",
            "4 only is denied .env: ProtectedIgnored",
            "10 only COMPLETED",
        ],
    );
    assert!(effects(&world).contains(&"freeze only Completion [`f`]".to_owned()));
    check(
        scenario([made.with(|plan| plan.ignored = IgnoredPaths::Enforce)]).gated(),
        &[
            "0 only starts",
            "2 only is denied target/x: IgnoredEnforced",
            "3 only is denied out.log: IgnoredEnforced",
            "4 only is denied .env: IgnoredEnforced",
            "10 only COMPLETED",
        ],
    );
}

/// It may go on writing what git ignores only until another locks it: by its claim, or on the way.
#[test]
fn an_ignored_path_is_free_only_while_nobody_has_it_locked() {
    let free = |calls: &[_]| agent("free").files(&["f"]).calls(calls).conflict(OnConflict::Deny);
    let declares = [
        free(&[write(1, "f"), write(2, "out.log"), write(12, "out.log")]).takes(20),
        agent("first").files(&["g"]),
        agent("owner").files(&["out.log"]).calls(&[write(1, "out.log")]),
    ];
    check(
        scenario(declares).gated().slots(2),
        &[
            "0 free starts",
            "0 first starts",
            "2 free is let at out.log: Ignored",
            "10 first COMPLETED",
            "10 owner starts",
            "12 CONFLICT 1: owner and free at out.log",
            "12 conflict 1: Refused by Policy",
            "12 free is denied out.log: Conflict",
            "20 owner COMPLETED",
            "20 free COMPLETED",
            "20 conflict 1: Clean",
        ],
    );
    let claims = [
        free(&[write(1, "f"), write(2, "out.log"), write(6, "out.log")]),
        agent("strict").files(&["g"]).calls(&[write(1, "g"), write(4, "out.log")]).with(|plan| {
            plan.ignored = IgnoredPaths::Enforce;
            plan.on_undeclared = OnUndeclared::Claim;
        }),
    ];
    check(
        scenario(claims).gated(),
        &[
            "0 free starts",
            "0 strict starts",
            "2 free is let at out.log: Ignored",
            "4 strict locks out.log: Claimed",
            "6 CONFLICT 1: strict and free at out.log",
            "6 conflict 1: Refused by Policy",
            "6 free is denied out.log: Conflict",
            "10 free COMPLETED",
            "10 strict COMPLETED",
            "10 conflict 1: Clean",
        ],
    );
}

#[test]
fn a_reason_names_some_paths_and_counts_all() {
    let calls: Vec<_> = (0..30).map(|n| write(1, &format!("z{n}"))).collect();
    let world = World::new(scenario([agent("only").files(&["dir/f"]).calls(&calls)]).gated()).run();
    let Why::Ends(EndReason::AllDenied { paths, more }) = &world.supervisor.view().unwrap().agents[0].why else {
        panic!("every write was refused");
    };
    assert_eq!((paths.len(), *more), (20, 10));
}

#[test]
fn an_attempt_whose_every_write_was_refused_has_failed() {
    check(
        scenario([agent("only").files(&["dir/f"]).calls(&[write(1, "z")])]).gated(),
        &[
            "0 only starts",
            "1 only is denied z: Undeclared",
            "10 only will not complete: AllDenied",
            "10 only FAILED: AllDenied",
            "10 phase 0 fails",
        ],
    );
}

#[test]
fn a_refused_write_fails_the_attempt_where_the_session_says_so() {
    check(
        stray(OnUndeclared::Deny).with_agents(|plan| plan.on_denied = OnDenied::Fail),
        &[
            "0 only starts",
            "2 only is denied z: Undeclared",
            "10 only will not complete: Denied",
            "10 only is salvaged",
            "10 only is put back",
            "10 only FAILED: Denied",
            "10 phase 0 fails",
        ],
    );
}

#[test]
fn what_somebody_outside_wrote_as_well_is_salvaged_and_left() {
    let made = || scenario([agent("only").files(&["f", "g"]).calls(&[write(1, "f"), write(1, "g")])]).gated();
    let world = check(
        made().outside(5, &["f"]),
        &[
            "0 only starts",
            "5 outside [`f`]",
            "10 only will not complete: OutsideEdit",
            "10 only is salvaged",
            "10 only is put back",
            "10 only FAILED: OutsideEdit",
            "10 phase 0 fails",
        ],
    );
    assert!(effects(&world).contains(&"restore only [`g`]".to_owned()), "{:?}", effects(&world));
    let world = check(
        made().outside(5, &["f"]).with_agents(|plan| plan.on_outside_edit = OnOutsideEdit::Commit),
        &["0 only starts", "5 outside [`f`]", "10 only COMPLETED"],
    );
    assert!(effects(&world).contains(&"freeze only Completion [`f`, `g`]".to_owned()));
    let world = check(
        scenario([agent("only").files(&["f", "g"]).calls(&[write(1, "g")])]).gated().outside(5, &["f"]),
        &["0 only starts", "5 outside [`f`]", "10 only COMPLETED"],
    );
    assert!(effects(&world).contains(&"freeze only Completion [`g`]".to_owned()), "it is nobody's");
}

#[test]
fn a_quiet_holder_is_ended_once_somebody_waits_for_its_lock_and_only_then() {
    let idle = || agent("idle").files(&["f"]).hangs().with(|plan| plan.lock_timeout = Duration::from_secs(4));
    check(
        scenario([
            idle().with(|plan| plan.timeout = Duration::from_secs(30)),
            agent("base").takes(10),
            agent("next").files(&["f"]).after("base").calls(&[write(1, "f")]),
        ])
        .gated(),
        &[
            "0 idle starts",
            "0 base starts",
            "10 base COMPLETED",
            "10 next BLOCKED: Locks [idle]",
            "14 idle is ended Orderly: LockTimeout",
            "19 idle TIMEOUT: LockTimeout",
            "19 next starts",
            "29 next COMPLETED",
            "29 phase 0 fails",
        ],
    );
    check(
        scenario([idle().with(|plan| plan.timeout = Duration::from_secs(30)), agent("other").files(&["g"])]).gated(),
        &[
            "0 idle starts",
            "0 other starts",
            "10 other COMPLETED",
            "30 idle is ended Orderly: Timeout",
            "35 idle TIMEOUT: Timeout",
            "35 phase 0 fails",
        ],
    );
    let lively = idle().takes(20).every_act(|act| act.lively = true);
    check(
        scenario([lively, agent("next").files(&["f"])]).gated(),
        &["0 next BLOCKED: Locks [idle]", "0 idle starts", "20 idle COMPLETED", "20 next starts", "30 next COMPLETED"],
    );
}

#[test]
fn locks_are_released_by_hand_with_their_holder() {
    check(
        scenario([holder(), agent("next").files(&["f"]).calls(&[write(1, "f")])])
            .gated()
            .wish(3, Event::ReleaseAsked { agent: id("holder") }),
        &[
            "0 next BLOCKED: Locks [holder]",
            "0 holder starts",
            "3 holder is ended Orderly: LocksReleased",
            "8 holder is salvaged",
            "8 holder is put back",
            "8 holder TERMINATED: LocksReleased",
            "8 next starts",
            "18 next COMPLETED",
            "18 phase 0 fails",
        ],
    );
}

#[test]
fn a_verify_command_writes_only_what_git_ignores() {
    let calls = |at: u64| vec![write(at, "f"), write(at, "target/x"), write(at, "new.log")];
    let made = holder().verify(0).every_act(|act| {
        act.verify_takes = Some(Duration::from_secs(3));
        act.verify_calls = calls(1);
    });
    check(
        scenario([made]).gated(),
        &[
            "0 holder starts",
            "11 holder is denied f: Verify",
            "11 holder is let at new.log: Ignored",
            "13 holder COMPLETED",
        ],
    );
}

#[test]
fn a_directory_on_the_way_to_a_claim_may_be_made() {
    let makes = |path| write(1, path).touch(Touch::MakeDirectory);
    check(
        scenario([agent("only").files(&["deep/er/f"]).calls(&[makes("deep"), makes("deep/er"), makes("else")])])
            .gated(),
        &[
            "0 only starts",
            "1 only is denied else: Directory",
            "10 only will not complete: AllDenied",
            "10 only FAILED: AllDenied",
            "10 phase 0 fails",
        ],
    );
}

#[test]
fn who_only_reads_a_path_is_said_to_read_it() {
    let why = |other: Agent| {
        let late = agent("late").files(&["g"]).late(&["f"]).calls(&[write(2, "f")]);
        let world = World::new(scenario([other.takes(20), late]).gated()).run();
        let busied = world.log.iter().filter_map(|record| match &record.fact {
            Fact::Busied { why, .. } => Some(why.clone()),
            _ => None,
        });
        busied.collect::<Vec<_>>()
    };
    assert_eq!(why(agent("reader").reads(&["f"])), [BusyReason::Read { by: id("reader") }]);
    let writer = agent("writer").files(&["h"]).late(&["f"]).calls(&[write(1, "f")]);
    assert_eq!(why(writer), [BusyReason::Held { by: id("writer") }]);
}
