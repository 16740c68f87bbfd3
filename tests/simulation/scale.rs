//! The cost of an agent does not grow with the number of agents.

use super::plan::{agent, scenario, Agent};
use super::world::World;

fn cost(agents: impl Iterator<Item = Agent>) -> std::time::Duration {
    let world = World::unchecked(scenario(agents));
    let begun = now();
    let world = world.run();
    let took = now() - begun;
    assert!(!world.log.is_empty());
    took
}

#[expect(clippy::disallowed_methods, reason = "the real cost is what is measured")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}

#[test]
fn report() {
    for n in [1000_usize, 10_000] {
        let free = cost((0..n).map(|i| agent(&format!("a{i}")).files(&[&format!("f{i}")])));
        let none = cost((0..n).map(|i| agent(&format!("a{i}"))));
        let same = cost((0..n).map(|i| agent(&format!("a{i}")).files(&["f"])));
        let few = cost((0..n).map(|i| agent(&format!("a{i}")).files(&[&format!("f{}", i % 3)])));
        let pairs = cost((0..n).map(|i| agent(&format!("a{i}")).files(&[&format!("f{}", i % 10), &format!("g{i}")])));
        let chain = cost((0..n).map(|i| {
            let a = agent(&format!("a{i}"));
            if i > 0 { a.after(&format!("a{}", i - 1)) } else { a }
        }));
        for (name, took) in [("free", free), ("none", none), ("same", same), ("few", few), ("pairs", pairs), ("chain", chain)] {
            println!("{n} {name}: {:?} each", took / u32::try_from(n).unwrap());
        }
    }
}
