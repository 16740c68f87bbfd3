//! What single functions of `core` and of the journal cost, measured by criterion: patterns, planning, turns of the
//! scheduler, verdicts, records.
//!
//! `cargo bench --bench functions` prints them and compares with the time before; the plots (SVG) are beneath
//! `target/criterion`. `cargo bench --bench functions -- journal` runs one group. `benches/plots.sh` takes what the
//! groups `planning` and `journal` measured into its pictures.

#![expect(clippy::unwrap_used, reason = "a benchmark stops at the first failure")]

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use jiff::Timestamp;
use supervise::cli::check::analysis;
use supervise::core::agent::Plan;
use supervise::core::call::{CallId, Target, There, Touch};
use supervise::core::claim::{Claim, Limits, Pattern, contested};
use supervise::core::effect::{Effect, Part};
use supervise::core::event::{Event, Preparation};
use supervise::core::facts::{Ignored, PathFacts};
use supervise::core::ids::{AgentId, Attempt, AttemptId, RunId};
use supervise::core::moment::Moment;
use supervise::core::path::RepoPath;
use supervise::core::record::{Fact, Layers, ProcessId, Record, RunOpened};
use supervise::core::supervisor::{Step, Supervisor};
use supervise::journal::{Header, Journal, event_line, read};
use supervise::session::{LoadOptions, Origin, load};

fn pattern(text: &str) -> Pattern {
    Pattern::new(text).unwrap()
}

fn path(text: &str) -> RepoPath {
    RepoPath::new(text.as_bytes()).unwrap()
}

fn patterns(c: &mut Criterion) {
    let mut group = c.benchmark_group("patterns");
    group.bench_function("parse", |b| b.iter(|| pattern(black_box("services/{api,web}/**/*_test.rs"))));
    let (glob, file) = (pattern("services/{api,web}/**/*_test.rs"), path("services/web/src/routes/hops_test.rs"));
    group.bench_function("match", |b| b.iter(|| black_box(&glob).matches(black_box(&file))));
    for (name, one, other) in [
        ("overlap, literal", "services/api/", "services/api/src/main.rs"),
        ("overlap, disjoint prefixes", "services/api/**/*.rs", "services/web/**/*.rs"),
        ("overlap, automata", "services/**/*_test.rs", "**/api/*.rs"),
    ] {
        let (one, other) = (pattern(one), pattern(other));
        group.bench_function(name, |b| b.iter(|| black_box(&one).overlap(black_box(&other))));
    }
    group.finish();
}

/// Agents with ten patterns each, which begin with a directory of their own; as nobody writes thousands by hand,
/// by `each`.
fn session(agents: usize, slots: usize) -> String {
    let mut text = format!("[session]\nname = \"functions\"\nmax_concurrent = {slots}\n");
    let numbers: Vec<String> = (0..agents).map(|n| n.to_string()).collect();
    for numbers in numbers.chunks(MOST_OF_EACH) {
        let files: Vec<String> = (0..10).map(|k| format!("packages/p{{{{n}}}}/part{k}/**/*.rs")).collect();
        let agent = "[[agent]]\nid = \"a{{n}}\"\nprompt = \"work\"\n";
        text += &format!("{agent}each = {{ n = {numbers:?} }}\nfiles = {files:?}\n");
    }
    text
}

/// Agents that one `each` may make.
const MOST_OF_EACH: usize = 10_000;

fn loaded(text: &str) -> supervise::session::Session {
    let options = LoadOptions { workspace: std::env::temp_dir().join("none"), ..LoadOptions::default() };
    load(&Origin::Embedded, text.as_bytes(), &options).unwrap().session
}

fn plan(agents: usize, slots: usize) -> Plan {
    loaded(&session(agents, slots)).plan
}

fn planning(c: &mut Criterion) {
    let mut group = c.benchmark_group("planning");
    group.sampling_mode(SamplingMode::Flat).sample_size(10).measurement_time(Duration::from_secs(3));
    for agents in [100, 1_000, 10_000, 100_000] {
        group.throughput(Throughput::Elements(agents as u64));
        let text = session(agents, 4);
        group.bench_with_input(BenchmarkId::new("session", agents), &text, |b, text| {
            b.iter(|| analysis(&loaded(text)).order.len());
        });
        let plan = plan(agents, 4);
        let claims: Vec<(&AgentId, &Claim)> = plan.agents.iter().map(|agent| (&agent.id, &agent.claim)).collect();
        group.bench_with_input(BenchmarkId::new("claims", agents), &claims, |b, claims| {
            b.iter(|| contested(claims, Limits::default(), |_, _| false).pairs.len());
        });
    }
    group.finish();
}

/// A run of this plan that has just been opened.
fn opened(plan: Plan) -> Supervisor {
    let agents = plan.agents.iter().map(|agent| agent.id.clone()).collect();
    let layers = Layers { gate: true, watch: true, cgroup: false };
    let run = RunId::new("20261126T000000-0000").unwrap();
    let mut supervisor = Supervisor::new(plan);
    let opened = RunOpened { run, session: "functions".to_owned(), base: None, branch: None, layers, agents };
    let record = supervisor.open(Moment::ZERO, opened);
    supervisor.apply(&record);
    supervisor
}

/// The same once as many run as may.
fn running(plan: Plan) -> Supervisor {
    let mut supervisor = opened(plan);
    let mut events = vec![Event::Turn];
    while let Some(event) = events.pop() {
        let Step { records, effects } = supervisor.decide(Moment::ZERO, &event);
        for record in &records {
            supervisor.apply(record);
        }
        if event == Event::Turn && !(records.is_empty() && effects.is_empty()) {
            events.push(Event::Turn);
        }
        events.extend(effects.into_iter().filter_map(answer));
    }
    supervisor
}

fn answer(effect: Effect) -> Option<Event> {
    match effect {
        Effect::Prepare { id } => Some(Event::Prepared { id, outcome: Preparation::Ready { dirty: Vec::new() } }),
        Effect::Spawn { id, .. } => {
            let process = ProcessId { pid: 1, start: 1, boot: String::new() };
            Some(Event::Spawned { id, process })
        }
        _ => None,
    }
}

fn first(id: &str) -> AttemptId {
    AttemptId { agent: AgentId::new(id).unwrap(), attempt: Attempt::FIRST }
}

fn scheduling(c: &mut Criterion) {
    let mut group = c.benchmark_group("supervisor");
    for waiting in [100, 1_000, 10_000] {
        let supervisor = opened(plan(waiting, 4));
        group.bench_with_input(BenchmarkId::new("first turn, 4 start", waiting), &supervisor, |b, supervisor| {
            b.iter(|| supervisor.decide(Moment::ZERO, &Event::Turn).effects.len());
        });
        let supervisor = running(plan(waiting, 4));
        group.bench_with_input(BenchmarkId::new("idle turn, 4 run", waiting), &supervisor, |b, supervisor| {
            b.iter(|| supervisor.decide(Moment(1), &Event::Turn).effects.len());
        });
    }
    let supervisor = running(plan(40, 40));
    let facts = || PathFacts { there: There::File, ignored: Ignored::No };
    for (name, target) in
        [("own", "packages/p0/part1/a.rs"), ("nobody's", "README.md"), ("another's", "packages/p7/part1/a.rs")]
    {
        let target = Target { path: path(target), touch: Touch::Open, there: There::File };
        let targets = vec![(target, facts())];
        let event = Event::Asked { id: first("a0"), part: Part::Agent, call: CallId(0), targets };
        group.bench_with_input(BenchmarkId::new("question of the gate, 40 run", name), &event, |b, event| {
            b.iter(|| supervisor.decide(Moment(1), event).effects.len());
        });
    }
    group.finish();
}

fn wrote(n: usize) -> Record {
    let paths = vec![path(&format!("packages/p{}/part1/file-{n}.rs", n % 40))];
    Record { at: Moment(n as u64), fact: Fact::Wrote { id: first("a0"), paths } }
}

fn fresh(directory: &Path, name: &str) -> Journal {
    let path = directory.join(name);
    let _ = std::fs::remove_file(&path);
    let run = RunId::new("20261126T000000-0000").unwrap();
    Journal::create(&path, &Header::new(run, Timestamp::UNIX_EPOCH)).unwrap()
}

fn journal(c: &mut Criterion) {
    let directory = tempfile::tempdir_in(std::env::current_dir().unwrap().join("target")).unwrap();
    let mut group = c.benchmark_group("journal");
    let records: Vec<Record> = (0..1_000).map(wrote).collect();
    group.throughput(Throughput::Elements(records.len() as u64));
    let mut written = fresh(directory.path(), "read");
    drop(written.append(&records, (), Timestamp::UNIX_EPOCH).unwrap());
    let entries = written.entries(&records, Timestamp::UNIX_EPOCH);
    group.bench_function("write 1,000 records as text", |b| {
        b.iter(|| entries.iter().map(|entry| event_line(entry).unwrap().len()).sum::<usize>());
    });
    group.bench_function("read 1,000 records", |b| {
        b.iter(|| read(&directory.path().join("read")).unwrap().entries.len());
    });
    let supervisor = running(plan(40, 40));
    group.bench_function("apply 1,000 records", |b| {
        b.iter_batched_ref(
            || supervisor.clone(),
            |supervisor| records.iter().for_each(|record| supervisor.apply(record)),
            BatchSize::LargeInput,
        );
    });
    // As large a batch as a turn of the loop has: the sync is once for all of it.
    for batch in [1, 10, 100] {
        let records = &records[..batch];
        group.throughput(Throughput::Elements(batch as u64));
        let mut plain = fresh(directory.path(), "plain");
        group.bench_with_input(BenchmarkId::new("append", batch), records, |b, records| {
            b.iter(|| drop(plain.append(records, (), Timestamp::UNIX_EPOCH).unwrap()));
        });
        let mut synced = fresh(directory.path(), "synced");
        group.sample_size(20);
        group.bench_with_input(BenchmarkId::new("append and sync", batch), records, |b, records| {
            b.iter(|| {
                let appended = synced.append(records, (), Timestamp::UNIX_EPOCH).unwrap();
                appended.commit(synced.sync_point().sync().unwrap()).map(drop)
            });
        });
        group.sample_size(100);
    }
    group.finish();
}

criterion_group!(functions, patterns, planning, scheduling, journal);
criterion_main!(functions);
