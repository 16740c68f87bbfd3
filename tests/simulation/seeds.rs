//! Made-up sessions in made-up worlds.

use std::time::Duration;

use proptest::prelude::*;
use supervise::core::agent::{
    IgnoredPaths, OnAbort, OnConflict, OnDenied, OnDependencyFailure, OnOutsideEdit, OnPhaseFailure, OnUndeclared,
    RetryMode,
};
use supervise::core::call::Touch;
use supervise::core::claim::Pattern;
use supervise::core::conflict::{ConflictId, Wish};
use supervise::core::event::{Event, PlaceRefusal, ReturnRefusal};
use supervise::core::moment::Moment;
use supervise::core::steer::Stop;

use super::calls::Call;

use super::plan::{Act, Agent, Fate, Scenario, agent, scenario};
use super::world::{Random, World, path};

const FILES: [&str; 5] = ["a", "b", "c", "d", "e"];

fn some_files(random: &mut Random, most: u64) -> Vec<&'static str> {
    (0..random.below(most + 1)).map(|_| FILES[usize::try_from(random.below(5)).unwrap()]).collect()
}

/// What a made-up world has more of than others.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mood {
    Mixed,
    /// Most agents want the same few files.
    Crowded,
    /// Providers are short of capacity, too.
    Limited,
}

fn some_act(random: &mut Random, mood: Mood) -> Act {
    let more_limits = mood == Mood::Limited && random.percent(30);
    let fate = match random.below(100) {
        _ if more_limits => Fate::RateLimited(random.percent(80).then(|| Duration::from_secs(random.below(90)))),
        0..=64 => Fate::Exits(0),
        65..=76 => Fate::Exits(1),
        77..=84 => Fate::RateLimited(random.percent(50).then(|| Duration::from_secs(random.below(90)))),
        85..=89 => Fate::Fatal,
        90..=93 => Fate::LosesShim,
        94 => Fate::Survives,
        _ => Fate::SpawnFails,
    };
    let refusal = |random: &mut Random| match random.below(10) {
        0..=6 => PlaceRefusal::Moved,
        7 => PlaceRefusal::BranchMoved,
        8 => PlaceRefusal::ChangedUnderneath { paths: vec![path("a")] },
        _ => PlaceRefusal::Git { error: "index.lock exists".to_owned() },
    };
    let refusals = if random.percent(25) { 1 + random.below(6) } else { 0 };
    Act {
        fate,
        takes: (!random.percent(8)).then(|| Duration::from_millis(random.below(30_000))),
        writes: some_files(random, 3).into_iter().map(str::to_owned).collect(),
        calls: Vec::new(),
        verify_calls: Vec::new(),
        tokens: random.below(100),
        verify_takes: (!random.percent(8)).then(|| Duration::from_millis(random.below(5_000))),
        verify_exit: i32::from(random.percent(15)),
        refusals: (0..refusals).map(|_| refusal(random)).collect(),
        freeze_fails: random.percent(4),
        measure_fails: random.percent(4),
        lively: random.percent(50),
        thread: (!random.percent(15)).then_some("t1"),
        not_returned: random.percent(20).then(|| match random.below(4) {
            0 => ReturnRefusal::HeadChanged { paths: vec![path("a")] },
            1 => ReturnRefusal::Occupied { paths: vec![path("a")] },
            2 => ReturnRefusal::Failed { error: "no space".to_owned() },
            _ => ReturnRefusal::Stuck { error: "no space".to_owned() },
        }),
    }
}

fn some_agent(random: &mut Random, mood: Mood, n: usize, phases: u64) -> Agent {
    let mut made = agent(&format!("agent-{n}"));
    made = match mood {
        Mood::Mixed => made.files(&some_files(random, 2)).late(&some_files(random, 1)).reads(&some_files(random, 1)),
        Mood::Crowded | Mood::Limited => {
            made.files([&["a"][..], &["b"], &["a", "b"]][usize::try_from(random.below(3)).unwrap()])
        }
    };
    made = made
        .phase(usize::try_from(random.below(phases)).unwrap())
        .priority(1 + i64::try_from(random.below(5)).unwrap())
        .runner(["codex", "fast"][usize::try_from(random.below(2)).unwrap()]);
    made.acts = (0..=random.below(3)).map(|_| some_act(random, mood)).collect();
    made.dirty = if random.percent(12) { 1 + u32::try_from(random.below(3)).unwrap() } else { 0 };
    made.prepare_fails = random.percent(2);
    if random.percent(10) {
        made.begins_dirty = some_files(random, 2).into_iter().map(str::to_owned).collect();
    }
    made.with(|plan| {
        plan.retries = u32::try_from(random.below(3)).unwrap();
        plan.timeout = Duration::from_millis(5_000 + random.below(30_000));
        plan.idle_timeout = random.percent(20).then(|| Duration::from_millis(500 + random.below(5_000)));
        plan.grace = Duration::from_millis(random.below(3_000));
        plan.verify = random.percent(30).then(|| Duration::from_millis(1_000 + random.below(5_000)));
        plan.expect_changes = random.percent(10);
        plan.retry = match random.below(100) {
            0..=39 => RetryMode::Continue,
            40..=44 => RetryMode::CannotContinue,
            _ => RetryMode::Restart,
        };
        if random.percent(20) {
            plan.on_abort = OnAbort::Keep;
        }
        if random.percent(30) {
            plan.on_dependency_failure = OnDependencyFailure::Run;
        }
    })
}

pub(crate) fn some_scenario(size: usize, seed: u64) -> Scenario {
    let random = &mut Random(seed);
    let mood = [Mood::Mixed, Mood::Mixed, Mood::Crowded, Mood::Limited][usize::try_from(random.below(4)).unwrap()];
    let phases = 1 + random.below(if mood == Mood::Mixed { 3 } else { 1 });
    let mut agents: Vec<Agent> = (0..size).map(|n| some_agent(random, mood, n, phases)).collect();
    for n in 1..size {
        for _ in 0..random.below(3) {
            let on = usize::try_from(random.below(u64::try_from(n).unwrap())).unwrap();
            let (id, phase) = (agents[on].plan.id.clone(), agents[on].plan.rank.phase);
            if phase <= agents[n].plan.rank.phase {
                let made = agents[n].clone();
                let waits = random.percent(70);
                agents[n] = if waits { made.after(id.as_str()) } else { made.once_started(id.as_str()) };
            }
        }
    }
    let mut made = scenario(agents).slots(1 + u32::try_from(random.below(4)).unwrap());
    if random.percent(40) {
        made = made.limit("codex", 1 + u32::try_from(random.below(2)).unwrap());
    }
    made.latency = random.below(400);
    made.seed = random.next();
    if random.percent(25) {
        let first = random.below(60_000);
        made.interrupts.push(Moment(first));
        if random.percent(60) {
            made.interrupts.push(Moment(first + random.below(4_000)));
        }
    }
    made = made.with(|plan| {
        for phase in &mut plan.phases {
            if random.percent(50) {
                phase.on_failure = OnPhaseFailure::Continue;
            }
        }
        plan.max_failures = if random.percent(10) { std::num::NonZeroU32::new(2) } else { None };
        plan.max_tokens = random.percent(10).then_some(150);
        plan.stop_at = random.percent(10).then(|| Moment(random.below(60_000)));
        plan.checkpoint_interval = random.percent(30).then(|| Duration::from_millis(100 + random.below(9_000)));
    });
    // Of a stream of its own: worlds without a gate are what they were before there was one.
    let random = &mut Random(seed ^ 0x6761_7465);
    let made = if random.percent(60) { gated(random, made) } else { made };
    // Likewise: worlds in which nobody joins are what they were before one could.
    joined(&mut Random(seed ^ 0x6a6f_696e), mood, phases, made)
}

/// Lets a few more join at any time.
fn joined(random: &mut Random, mood: Mood, phases: u64, mut made: Scenario) -> Scenario {
    let most = if random.percent(50) { 4 } else { 0 };
    for n in 0..random.below(most + 1) {
        // Now and then one that is there already.
        let number = if random.percent(10) { 0 } else { made.agents.len() };
        let mut newcomer = some_agent(random, mood, number, phases);
        let others: Vec<_> = made.agents.keys().cloned().collect();
        for _ in 0..random.below(3) {
            let on = &others[usize::try_from(random.below(others.len() as u64)).unwrap()];
            newcomer =
                if random.percent(70) { newcomer.after(on.as_str()) } else { newcomer.once_started(on.as_str()) };
        }
        if made.gate {
            newcomer.every_act_in_turn(|act| act.calls = some_calls(random, 4));
        }
        let at = Moment(random.below(if n == 0 { 5_000 } else { 60_000 }));
        if number == 0 {
            made.wishes.push((at, Event::RegisterAsked { agent: Box::new(newcomer.plan) }));
        } else {
            made.add(at, newcomer);
        }
    }
    made
}

/// What trees try to write: what is claimed, what is not, what is new, what git ignores.
const PATHS: [&str; 16] = [
    "a",
    "b",
    "c",
    "a",
    "b",
    "d",
    "e",
    "z",
    "new1",
    "new2",
    "dir/old",
    "dir/new",
    "target/x",
    "target/own",
    "out.log",
    ".env",
];

fn pick<T: Copy>(random: &mut Random, from: &[T]) -> T {
    from[usize::try_from(random.below(u64::try_from(from.len()).unwrap())).unwrap()]
}

fn some_calls(random: &mut Random, most: u64) -> Vec<Call> {
    let touches = [Touch::Open, Touch::Open, Touch::Open, Touch::MoveIn, Touch::Remove, Touch::MakeDirectory];
    let some_call = |random: &mut Random| Call {
        after: Duration::from_millis(random.below(20_000)),
        path: pick(random, &PATHS).to_owned(),
        touch: pick(random, &touches),
        retries: u32::try_from(random.below(4)).unwrap(),
        pause: Duration::from_millis(1 + random.below(4_000)),
    };
    (0..random.below(most + 1)).map(|_| some_call(random)).collect()
}

/// Puts a gate into a world, and people who interfere.
fn gated(random: &mut Random, mut made: Scenario) -> Scenario {
    let quiet = random.percent(30);
    let policies =
        [OnConflict::Terminate, OnConflict::Deny, OnConflict::Priority, OnConflict::Wait, OnConflict::Manual];
    let undeclared = [OnUndeclared::Deny, OnUndeclared::Kill, OnUndeclared::Warn, OnUndeclared::Claim];
    let agents = made.plan.agents.clone();
    for plan in &mut made.plan.agents {
        plan.on_conflict = pick(random, &policies);
        plan.on_undeclared = pick(random, &undeclared);
        plan.on_outside_edit = pick(random, &[OnOutsideEdit::Fail, OnOutsideEdit::Commit]);
        plan.on_denied = pick(random, &[OnDenied::Warn, OnDenied::Warn, OnDenied::Fail]);
        plan.ignored = pick(random, &[IgnoredPaths::Allow, IgnoredPaths::Allow, IgnoredPaths::Enforce]);
        if random.percent(30) {
            plan.lock_timeout = Duration::from_millis(500 + random.below(8_000));
        }
        if random.percent(40) {
            plan.claim.late.extend(some_files(random, 2).into_iter().map(|text| Pattern::new(text).unwrap()));
        }
        if random.percent(15) {
            plan.claim.exclusive.push(Pattern::new(pick(random, &["target/own", "out.log"])).unwrap());
        }
        if random.percent(10) {
            plan.claim.deny.push(Pattern::new(pick(random, &["a", "dir/"])).unwrap());
        }
    }
    for plan in &made.plan.agents {
        let agent = made.agents.get_mut(&plan.id).unwrap();
        agent.plan = plan.clone();
        for act in &mut agent.acts {
            act.calls = some_calls(random, if quiet { 2 } else { 8 });
            act.verify_calls = some_calls(random, 2);
        }
    }
    for _ in 0..random.below(4) {
        let at = Moment(random.below(60_000));
        made.outside.push((at, some_files(random, 2).into_iter().map(str::to_owned).collect()));
    }
    for _ in 0..random.below(8) {
        let at = Moment(random.below(60_000));
        let other =
            |random: &mut Random| agents[usize::try_from(random.below(agents.len() as u64)).unwrap()].id.clone();
        let event = match random.below(10) {
            6 => Event::StopAsked {
                agents: vec![other(random)],
                how: Stop::ALL[usize::try_from(random.below(3)).unwrap()],
            },
            7 if random.percent(30) => {
                let phase = random.percent(80).then(|| usize::try_from(random.below(3)).unwrap());
                Event::CompleteAsked { phase }
            }
            9 => {
                let file = some_files(random, 1).first().copied().unwrap_or("granted/**");
                Event::GrantAsked { agent: other(random), pattern: Pattern::new(file).unwrap() }
            }
            8 => Event::CheckpointAsked { agent: random.percent(50).then(|| other(random)) },
            0 => Event::ReleaseAsked { agent: other(random) },
            1 => Event::ResolveAsked { conflict: None, wish: Wish::Wait },
            _ => {
                let number = 1 + u32::try_from(random.below(4)).unwrap();
                let conflict = random.percent(70).then_some(ConflictId(number));
                let wish = Wish::Keep { keep: other(random), terminate: other(random) };
                Event::ResolveAsked { conflict, wish }
            }
        };
        made.wishes.push((at, event));
    }
    made.gated()
}

#[expect(clippy::print_stdout, reason = "a failing test says how to fail again")]
fn simulate(size: usize, seed: u64) {
    let told = std::panic::catch_unwind(|| World::new(some_scenario(size, seed)).run());
    if let Err(cause) = told {
        println!("replay it with: SIMULATE={size}:{seed} cargo test --test simulation replay -- --nocapture");
        std::panic::resume_unwind(cause);
    }
}

/// `PROPTEST_CASES` asks for more worlds.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(300)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    /// Every invariant of the oracle, in every world.
    #[test]
    fn the_invariants_hold_in_made_up_worlds(size in 1_usize..14, seed in any::<u64>()) {
        simulate(size, seed);
    }
}

/// `SIMULATE=SIZE:SEED` runs one made-up world again; without it, a fixed one.
#[test]
fn replay_a_made_up_world() {
    let asked = std::env::var("SIMULATE").unwrap_or_else(|_| "13:20261124".to_owned());
    let (size, seed) = asked.split_once(':').expect("SIMULATE=SIZE:SEED");
    simulate(size.parse().unwrap(), seed.parse().unwrap());
}
