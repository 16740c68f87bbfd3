//! A run as it would unfold, rehearsed by the supervisor itself.

use std::num::NonZeroU32;
use std::time::Duration;

use supervise::core::ids::RunnerName;
use supervise::core::rehearsal::{MOST_WAITING, Wave, rehearse};

use super::plan::{Agent, agent, scenario};

/// `0 api; wait web: Locks [api]`, a line for each wave.
fn told(waves: &[Wave]) -> Vec<String> {
    let line = |wave: &Wave| {
        let starts: Vec<String> = wave.starts.iter().map(|start| format!("{} {}", start.slot.0, start.agent)).collect();
        let reason = |reason: &_| format!("{reason:?}").replace("AgentId", "").replace(['"', '(', ')'], "");
        let waits: Vec<String> = wave.waits.iter().map(|(agent, why)| format!("{agent}: {}", reason(why))).collect();
        [starts.join(", "), waits.join(", ")].join(" | ")
    };
    waves.iter().map(line).collect()
}

fn waves(agents: impl IntoIterator<Item = Agent>, slots: u32) -> Vec<Wave> {
    rehearse(&scenario(agents).slots(slots).plan)
}

#[test]
fn waves_are_the_order_of_a_run_and_say_who_waits_for_whom() {
    let found = waves(
        [
            agent("api").files(&["api/"]),
            agent("web").files(&["web/"]).after("api"),
            agent("also-api").files(&["api/x"]),
            agent("early").once_started("api"),
            agent("docs").phase(1),
        ],
        2,
    );
    assert_eq!(
        told(&found),
        [
            "0 api, 1 early | web: Dependencies { on: [api] }, also-api: Locks { holders: [api] }, docs: Phase { open: 0 }",
            "0 web, 1 also-api | docs: Phase { open: 0 }",
            "0 docs | ",
        ]
    );
    let waited: Vec<_> = found[1].starts.iter().map(|start| format!("{:?}", start.waited)).collect();
    assert!(waited[0].contains("Dependencies") && waited[1].contains("Locks"), "{waited:?}");
}

/// What ends a real run early, or holds an agent to more than its exit, does not change the rehearsal.
#[test]
fn every_agent_is_taken_to_complete() {
    let mut strict = scenario([
        agent("changes").with(|plan| plan.expect_changes = true).with(|plan| plan.idle_timeout = Some(Duration::ZERO)),
        agent("verifies").verify(1).after("changes"),
    ]);
    strict.plan.max_tokens = Some(1);
    strict.plan.max_failures = NonZeroU32::new(1);
    assert_eq!(told(&rehearse(&strict.plan)).len(), 2);
    let mut limited = scenario([agent("a").runner("codex"), agent("b").runner("codex")]);
    limited.plan.runner_limits.insert(RunnerName::new("codex"), NonZeroU32::MIN);
    let found = rehearse(&limited.plan);
    assert_eq!(told(&found)[1], "0 b | ");
    assert!(format!("{:?}", found[1].starts[0].waited).contains("RunnerSlot"), "{found:?}");
}

#[test]
fn a_large_session_is_rehearsed_whole() {
    let agents = (0..2000).map(|n| agent(&format!("a{n}")).files(&[&format!("d{}/f", n % 500)]));
    let found = waves(agents, 4);
    assert_eq!(found.iter().map(|wave| wave.starts.len()).sum::<usize>(), 2000);
    assert_eq!((found[0].waiting, found[0].waits.len()), (1996, MOST_WAITING));
    assert!(found[1..].iter().all(|wave| wave.starts.iter().all(|start| start.waited.is_some())));
}
