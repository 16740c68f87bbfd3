//! The rules of going on with an earlier attempt, each with the timeline that it must give.

use std::time::Duration;

use supervise::core::agent::RetryMode;
use supervise::core::change::Attribution;
use supervise::core::event::ReturnRefusal;
use supervise::core::record::Fact;
use supervise::core::view::Began;

use super::calls::{Call, write};
use super::plan::{Agent, Fate, agent, scenario};
use super::story::{check, effects};
use super::world::{World, path};

/// Fails once, then completes; goes on with its thread.
fn fails_once() -> Agent {
    agent("only").files(&["f"]).continues().first_ends(&[Fate::Exits(1)]).with(|plan| plan.retries = 3)
}

/// Its first attempt has failed and its second one starts; what follows.
fn after_a_failure(agent: Agent, lines: &[&str]) -> World {
    let before = [
        "0 only starts",
        "0 only is thread t1",
        "10 only is salvaged",
        "10 only is put back",
        "10 only WAITING until 11: Exit",
        "11 only starts, attempt 2",
    ];
    check(scenario([agent]), &[&before, lines].concat())
}

#[test]
fn work_and_thread_of_the_attempt_before_are_gone_on_with() {
    let world = after_a_failure(
        fails_once(),
        &[
            "11 only gets [`f`] of attempt 1",
            "11 only continues t1 of attempt 1",
            "11 only is thread t1",
            "21 only COMPLETED",
        ],
    );
    let effects = effects(&world);
    let from = effects.iter().position(|effect| effect.starts_with("return")).unwrap();
    assert_eq!(
        effects[from - 1..][..3],
        ["prepare only", "return only [`f`]", "spawn only with t1 of attempt 1 after Exit"]
    );
}

#[test]
fn what_was_put_back_is_its_own_even_if_it_does_not_touch_it_again() {
    let mut twice = fails_once();
    twice.acts[1].writes = vec!["g".to_owned()];
    let world = after_a_failure(
        twice.with(|plan| plan.claim.exclusive.extend(agent("x").files(&["g"]).plan.claim.exclusive)),
        &[
            "11 only gets [`f`] of attempt 1",
            "11 only continues t1 of attempt 1",
            "11 only is thread t1",
            "21 only COMPLETED",
        ],
    );
    let view = world.supervisor.view().unwrap();
    assert_eq!(view.agents[0].writes, [path("f"), path("g")]);
    assert_eq!(view.agents[0].began, Some(Began::Continued { from: supervise::core::ids::Attempt(1) }));
    assert_eq!(view.agents[0].attribution, Some(Attribution::Inferred), "as sure as it was before");
}

#[test]
fn rate_limits_and_failed_verifications_go_on_too() {
    check(
        scenario([agent("only")
            .files(&["f"])
            .continues()
            .first_ends(&[Fate::RateLimited(Some(Duration::from_secs(5)))])]),
        &[
            "0 only starts",
            "0 only is thread t1",
            "10 command pauses until 15",
            "10 only is salvaged",
            "10 only is put back",
            "10 only WAITING: rate limit",
            "15 only starts, attempt 2",
            "15 only gets [`f`] of attempt 1",
            "15 only continues t1 of attempt 1",
            "15 only is thread t1",
            "25 only COMPLETED",
        ],
    );
    let mut verified = fails_once().verify(0);
    verified.acts[0].fate = Fate::Exits(0);
    verified.acts[0].verify_exit = 1;
    let world = check(
        scenario([verified]),
        &[
            "0 only starts",
            "0 only is thread t1",
            "11 only is put back",
            "11 only WAITING until 12: VerifyFailed",
            "12 only starts, attempt 2",
            "12 only gets [`f`] of attempt 1",
            "12 only continues t1 of attempt 1",
            "12 only is thread t1",
            "23 only COMPLETED",
        ],
    );
    assert!(effects(&world).contains(&"spawn only with t1 of attempt 1 after VerifyFailed".to_owned()));
}

#[test]
fn without_work_only_the_thread_goes_on() {
    check(
        scenario([fails_once().writes(&[])]),
        &[
            "0 only starts",
            "0 only is thread t1",
            "10 only WAITING until 11: Exit",
            "11 only starts, attempt 2",
            "11 only continues t1 of attempt 1",
            "11 only is thread t1",
            "21 only COMPLETED",
        ],
    );
}

/// The lines from the second attempt's start on.
fn begins_anew(agent: Agent, why: &str) {
    let lines = [
        "0 only starts".to_owned(),
        "10 only is salvaged".to_owned(),
        "10 only is put back".to_owned(),
        "10 only WAITING until 11: Exit".to_owned(),
        "11 only starts, attempt 2".to_owned(),
        format!("11 only begins anew after attempt 1: {why}"),
        "21 only COMPLETED".to_owned(),
    ];
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let world = check(scenario([agent]), &lines);
    assert!(effects(&world).iter().filter(|effect| *effect == "spawn only in slot 0").count() == 2);
}

#[test]
fn without_a_thread_it_begins_anew_and_says_so() {
    begins_anew(fails_once().every_act(|act| act.thread = None), "NoThread");
    let cannot = fails_once().every_act(|act| act.thread = None);
    begins_anew(cannot.with(|plan| plan.retry = RetryMode::CannotContinue), "Runner");
}

#[test]
fn who_restarts_says_nothing_of_it() {
    let world = after_a_failure(
        fails_once().with(|plan| plan.retry = RetryMode::Restart),
        &["11 only is thread t1", "21 only COMPLETED"],
    );
    assert_eq!(world.supervisor.view().unwrap().agents[0].began, None);
}

#[test]
fn what_head_got_since_or_cannot_be_put_back_makes_it_begin_anew() {
    for (refusal, why) in [
        (ReturnRefusal::HeadChanged { paths: vec![path("f")] }, "HeadChanged"),
        (ReturnRefusal::Occupied { paths: vec![path("f")] }, "Occupied"),
        (ReturnRefusal::Failed { error: "no space".to_owned() }, "Failed"),
    ] {
        let mut agent = fails_once();
        agent.acts[1].not_returned = Some(refusal);
        let line = format!("11 only begins anew after attempt 1: {why}");
        let world = after_a_failure(
            agent,
            &["11 only gets [`f`] of attempt 1", &line, "11 only is thread t1", "21 only COMPLETED"],
        );
        assert!(effects(&world).contains(&"spawn only in slot 0".to_owned()));
    }
}

#[test]
fn nobody_begins_on_the_half_of_it() {
    let mut agent = fails_once();
    agent.acts.insert(1, agent.acts[1].clone());
    agent.acts[1].not_returned = Some(ReturnRefusal::Stuck { error: "no space".to_owned() });
    after_a_failure(
        agent,
        &[
            "11 only gets [`f`] of attempt 1",
            "11 only is ended AtOnce: Git",
            "11 only is salvaged",
            "11 only is put back",
            "11 only WAITING until 13: Git",
            "13 only starts, attempt 3",
            "13 only gets [`f`] of attempt 1",
            "13 only continues t1 of attempt 1",
            "13 only is thread t1",
            "23 only COMPLETED",
        ],
    );
}

#[test]
fn what_cannot_be_started_after_that_is_kept_and_put_away_again() {
    let mut agent = fails_once();
    agent.acts.insert(1, agent.acts[1].clone());
    agent.acts[1].fate = Fate::SpawnFails;
    let world = after_a_failure(
        agent,
        &[
            "11 only gets [`f`] of attempt 1",
            "11 only continues t1 of attempt 1",
            "11 only is ended AtOnce: SpawnFailed",
            "11 only is salvaged",
            "11 only is put back",
            "11 only WAITING until 13: SpawnFailed",
            "13 only starts, attempt 3",
            "13 only gets [`f`] of attempt 2",
            "13 only continues t1 of attempt 2",
            "13 only is thread t1",
            "23 only COMPLETED",
        ],
    );
    assert_eq!(world.supervisor.view().unwrap().agents[0].salvage.len(), 2);
}

#[test]
fn a_thread_that_could_not_be_continued_is_not_tried_twice() {
    let mut agent = fails_once();
    agent.acts.insert(1, agent.acts[0].clone());
    agent.acts[1].thread = None;
    after_a_failure(
        agent,
        &[
            "11 only gets [`f`] of attempt 1",
            "11 only continues t1 of attempt 1",
            "21 only is salvaged",
            "21 only is put back",
            "21 only WAITING until 23: Exit",
            "23 only starts, attempt 3",
            "23 only begins anew after attempt 2: NoThread",
            "23 only is thread t1",
            "33 only COMPLETED",
        ],
    );
}

#[test]
fn a_late_path_is_locked_again_or_it_begins_anew() {
    let late = |id: &str| {
        let late = agent(id).late(&["f"]).continues().calls(&[write(1, "f")]);
        late.with(|plan| plan.retries = 1).first_ends(&[Fate::Exits(1)])
    };
    let told = |world: &World| {
        let locked = |r: &&supervise::core::record::Record| matches!(r.fact, Fact::Locked { .. });
        world.log.iter().filter(locked).count()
    };
    let world = World::new(scenario([late("only")]).gated()).run();
    assert_eq!(told(&world), 2);
    assert_eq!(world.supervisor.view().unwrap().agents[0].writes, [path("f")]);
    // Another one takes it between the two attempts.
    let (after, pause) = (Duration::from_millis(10_200), Duration::from_millis(100));
    let taken = Call { after, pause, ..write(0, "f") };
    let thief = agent("thief").late(&["f"]).calls(&[taken.retries(3)]).takes(20);
    let world = World::new(scenario([late("only"), thief]).gated()).run();
    let anew = world.log.iter().find_map(|record| match &record.fact {
        Fact::BegunAnew { why, .. } => Some(format!("{why:?}")),
        _ => None,
    });
    assert!(anew.is_some_and(|why| why.starts_with("Held") && why.contains("thief")));
}
