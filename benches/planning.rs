//! How long planning takes. `session` is all of `supervise check`: the file read and validated, patterns
//! parsed, the order, contested pairs and duplicates found. `claims` is the part of the patterns alone.
//!
//! Run with `cargo bench --bench planning`. The sessions have ten patterns an agent. `literal`: all
//! begin with a directory of the agent's own. `deep`: one in ten begins with `**/` and meets nobody,
//! so that nothing but the search's own pruning saves it from comparing all pairs. `meeting`: the
//! same, but whole directories are claimed as well, which every `**/` pattern meets.

use std::fmt::Write;
use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use supervise::cli::check::analysis;
use supervise::core::claim::{Claim, Limits, Pattern, contested};
use supervise::core::ids::AgentId;
use supervise::session::{LoadOptions, Origin, load};

#[derive(Clone, Copy)]
enum Shape {
    Literal,
    Deep,
    Meeting,
}

fn texts(agents: usize, shape: Shape) -> Vec<Vec<String>> {
    let patterns = |agent: usize| {
        let mut texts = Vec::new();
        for k in 0..10 {
            let mut text = String::new();
            let written = match (shape, k) {
                (Shape::Deep | Shape::Meeting, 0) => write!(text, "**/generated-{agent}/*.md"),
                (Shape::Literal | Shape::Meeting, 1 | 2) => write!(text, "packages/p{agent}/tree{k}/"),
                (Shape::Literal | Shape::Meeting, 3 | 4) => write!(text, "packages/p{agent}/src/file{k}.rs"),
                (_, 5) => write!(text, "packages/p{agent}/**/*_{k}.rs"),
                (_, 6) => write!(text, "packages/p{agent}/docs/*.md"),
                _ => write!(text, "packages/p{agent}/src/part{k}/*.rs"),
            };
            assert!(written.is_ok());
            texts.push(text);
        }
        texts
    };
    (0..agents).map(patterns).collect()
}

fn plan(ids: &[AgentId], texts: &[Vec<String>]) -> usize {
    let parse = |text: &String| Pattern::new(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let claims: Vec<Claim> =
        texts.iter().map(|list| Claim { exclusive: list.iter().map(parse).collect(), ..Claim::default() }).collect();
    let agents: Vec<_> = ids.iter().zip(&claims).collect();
    contested(&agents, Limits::default(), |_, _| false).pairs.len()
}

fn session(texts: &[Vec<String>]) -> String {
    let mut parts = vec!["[session]\nname = \"planning\"\n".to_owned()];
    for (agent, patterns) in texts.iter().enumerate() {
        let on = if agent % 10 == 9 { format!("depends_on = [\"agent-{}\"]\n", agent - 9) } else { String::new() };
        let head = format!("\n[[agent]]\nid = \"agent-{agent}\"\nprompt = \"Do part {agent} of the work.\"\n{on}");
        parts.push(format!("{head}priority = {}\nfiles = {patterns:?}\n", agent % 5 + 1));
    }
    parts.concat()
}

fn check(text: &str, options: &LoadOptions) -> usize {
    let loaded = load(&Origin::Embedded, text.as_bytes(), options).unwrap_or_else(|errors| panic!("{errors}"));
    let found = analysis(&loaded.session);
    assert_eq!(found.order.len(), loaded.session.plan.agents.len());
    found.contested.pairs.len()
}

fn planning(c: &mut Criterion) {
    let options = LoadOptions { workspace: std::env::temp_dir().join("none"), ..LoadOptions::default() };
    let mut group = c.benchmark_group("planning");
    group.sample_size(10).measurement_time(Duration::from_secs(5));
    for (name, agents, shape) in [
        ("1000 agents, literal", 1_000, Shape::Literal),
        ("1000 agents, deep", 1_000, Shape::Deep),
        ("10000 agents, literal", 10_000, Shape::Literal),
        ("10000 agents, deep", 10_000, Shape::Deep),
        ("10000 agents, meeting", 10_000, Shape::Meeting),
    ] {
        let texts = texts(agents, shape);
        let ids: Vec<AgentId> = (0..agents)
            .map(|i| AgentId::new(&format!("agent-{i}")).unwrap_or_else(|error| panic!("agent-{i}: {error}")))
            .collect();
        group.bench_function(format!("claims, {name}"), |b| b.iter(|| black_box(plan(&ids, &texts))));
        let text = session(&texts);
        group.bench_function(format!("session, {name}"), |b| b.iter(|| black_box(check(&text, &options))));
    }
    group.finish();
}

criterion_group!(benches, planning);
criterion_main!(benches);
