//! The cost of an agent does not grow with the number of agents.

use std::time::{Duration, Instant};

use super::plan::{Agent, agent, scenario};
use super::world::World;

/// The fake world's cost is part of it; it does not depend on the number either.
#[expect(clippy::disallowed_methods, reason = "the real cost is what is measured")]
fn cost_of_each(agents: u32, make: impl Fn(u32) -> Agent) -> Duration {
    let world = World::unchecked(scenario((0..agents).map(make)));
    let begun = Instant::now();
    let world = world.run();
    assert_eq!(world.attempts().len(), usize::try_from(agents).unwrap());
    begun.elapsed() / agents
}

/// Ten times as many agents cost each as much as before. The bound leaves room for logarithms and
/// for a busy machine; looking at every agent at every step would be far beyond it.
#[track_caller]
fn check(what: &str, make: impl Fn(u32) -> Agent + Copy) {
    let best = |agents| (0..2).map(|_| cost_of_each(agents, make)).min().unwrap();
    let (few, many) = (best(600), best(6_000));
    assert!(many < few * 6, "{what}: {few:?} an agent of 600, {many:?} of 6,000");
}

#[test]
fn ten_times_the_agents_cost_as_much_each() {
    let named = |n| agent(&format!("agent-{n}"));
    check("each its own file", |n| named(n).files(&[&format!("file-{n}")]));
    check("all the same file", |n| named(n).files(&["file"]));
    check("some files that many want", |n| named(n).files(&[&format!("file-{n}"), &format!("shared-{}", n % 10)]));
    check("a chain of dependencies", |n| if n == 0 { named(n) } else { named(n).after(&format!("agent-{}", n - 1)) });
}
