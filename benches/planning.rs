//! How long planning takes. `session` is all of `supervise check`: the file read and validated, patterns
//! parsed, the order, contested pairs and duplicates found. `claims` is the part of the patterns alone.
//!
//! Run with `cargo bench --bench planning`: a table of the least times beside their limits; it fails where one
//! is not met. The sessions have ten patterns an agent. `literal`: all
//! begin with a directory of the agent's own. `deep`: one in ten begins with `**/` and meets nobody,
//! so that nothing but the search's own pruning saves it from comparing all pairs. `meeting`: the
//! same, but whole directories are claimed as well, which every `**/` pattern meets.

#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a benchmark reads the clock, and prints")]

use std::fmt::Write;
use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

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

/// The same with what is literal, by `each`: a file that names so many agents one by one is too large.
fn by_each(agents: usize) -> String {
    let mut text = "[session]\nname = \"planning\"\n".to_owned();
    let numbers: Vec<String> = (0..agents).map(|n| n.to_string()).collect();
    let files: Vec<String> = texts(1, Shape::Literal)[0].iter().map(|text| text.replace("/p0/", "/p{{n}}/")).collect();
    // One `each` may not make more.
    for numbers in numbers.chunks(MOST_BY_HAND) {
        text += "[[agent]]\nid = \"agent-{{n}}\"\nprompt = \"Do part {{n}} of the work.\"\n";
        text += &format!("each = {{ n = {numbers:?} }}\nfiles = {files:?}\n");
    }
    text
}

fn check(text: &str, options: &LoadOptions) -> usize {
    let loaded = load(&Origin::Embedded, text.as_bytes(), options).unwrap_or_else(|errors| panic!("{errors}"));
    let found = analysis(&loaded.session);
    assert_eq!(found.order.len(), loaded.session.plan.agents.len());
    found.contested.pairs.len()
}

/// The least time of a few rounds: the others were disturbed by something else.
fn least(rounds: usize, mut work: impl FnMut()) -> Duration {
    let round = |_| {
        let start = Instant::now();
        work();
        start.elapsed()
    };
    (0..rounds).map(round).min().unwrap_or_default()
}

fn row(name: &str, claims: Duration, whole: Duration, limit: Duration) -> bool {
    let met = whole < limit;
    let ms = |d: Duration| format!("{:.1} ms", d.as_secs_f64() * 1000.0);
    let verdict = if met { "met" } else { "NOT MET" };
    println!("{name:<32} {:>12} {:>12} {:>12}  {verdict}", ms(claims), ms(whole), ms(limit));
    met
}

/// Agents of a session file that says each of them by itself.
const MOST_BY_HAND: usize = 10_000;

fn main() -> ExitCode {
    let options = LoadOptions { workspace: std::env::temp_dir().join("none"), ..LoadOptions::default() };
    println!("{:<32} {:>12} {:>12} {:>12}", "10 patterns an agent", "claims", "session", "limit");
    let mut all_met = true;
    for (name, agents, shape, limit, rounds) in [
        ("1,000 agents, literal", 1_000, Shape::Literal, Duration::from_millis(60), 20),
        ("1,000 agents, deep", 1_000, Shape::Deep, Duration::from_millis(60), 20),
        ("10,000 agents, literal", 10_000, Shape::Literal, Duration::from_secs(1), 5),
        ("10,000 agents, deep", 10_000, Shape::Deep, Duration::from_secs(10), 3),
        ("10,000 agents, meeting", 10_000, Shape::Meeting, Duration::from_secs(10), 3),
        ("100,000 agents, literal, by each", 100_000, Shape::Literal, Duration::from_secs(10), 2),
    ] {
        let texts = texts(agents, shape);
        let ids: Vec<AgentId> = (0_u32..).take(agents).map(AgentId::numbered).collect();
        let claims = least(rounds, || {
            black_box(plan(&ids, &texts));
        });
        let text = if agents > MOST_BY_HAND { by_each(agents) } else { session(&texts) };
        let whole = least(rounds, || {
            black_box(check(&text, &options));
        });
        all_met &= row(name, claims, whole, limit);
    }
    if all_met { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
