//! What every command prints, for people and for programs, of a run that goes on, of one whose supervisor was
//! killed, and of one that is over.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;

use super::support::{TestRepo, eventually};
use super::{Ended, Run, go, head, normal, patient, scripted, supervise};

/// Commands that are about no run, and those that are told elsewhere because they run agents.
const APART: [&str; 10] = ["run", "check", "init", "schema", "demo", "doctor", "completions", "man", "help", "attach"];

/// What was typed and what came of it.
struct Session<'r> {
    repo: &'r TestRepo,
    told: String,
    /// The commands that were typed.
    verbs: Vec<String>,
}

impl<'r> Session<'r> {
    fn of(repo: &'r TestRepo) -> Self {
        Self { repo, told: String::new(), verbs: Vec::new() }
    }

    fn types(&mut self, line: &str) {
        let args: Vec<&str> = line.split(' ').collect();
        self.verbs.push(args[0].to_owned());
        let ended = supervise(self.repo, &args);
        let _ = writeln!(self.told, "$ supervise {line}");
        self.tell(&ended);
    }

    /// For people and for programs.
    fn asks(&mut self, line: &str) {
        self.types(line);
        self.types(&format!("{line} --format json"));
    }

    fn tell(&mut self, ended: &Ended) {
        let out = match serde_json::from_str::<Value>(&ended.stdout) {
            Ok(document) => serde_json::to_string_pretty(&same(document)).unwrap(),
            Err(_) => ended.stdout.clone(),
        };
        for text in [&out, &ended.stderr] {
            // Where a message is folded depends on how many digits its numbers have.
            let text = normal(&text.replace("\n  │ ", " "), self.repo);
            if !text.is_empty() {
                let _ = writeln!(self.told, "{}", dateless(&text));
            }
        }
        let _ = writeln!(self.told, "= {}\n", ended.code.unwrap_or(-1));
    }

    /// Has everything been asked that can be?
    fn covers_every_command(&self) {
        let help = supervise(self.repo, &["--help"]).expect(0).stdout;
        let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
        let names: Vec<&str> = commands
            .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
            .filter_map(|line| line.split_whitespace().next())
            .collect();
        assert!(names.len() > 20, "{help}");
        for name in names {
            let asked = self.verbs.iter().any(|verb| verb == name);
            assert_ne!(asked, APART.contains(&name), "{name} is asked, or set apart");
        }
    }
}

/// A document without what differs from run to run.
fn same(mut document: Value) -> Value {
    match &mut document {
        Value::Object(fields) => {
            for (key, value) in fields.iter_mut() {
                let taken = std::mem::take(value);
                *value = match key.as_str() {
                    _ if taken.is_null() => taken,
                    "pid" | "at" | "bytes" | "started_at" | "ended_at" | "layers" => Value::String(key.to_uppercase()),
                    _ if key.ends_with("_ms") => Value::String("SPAN".to_owned()),
                    _ => same(taken),
                };
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| *item = same(std::mem::take(item))),
        Value::String(text) if text.len() == 40 && text.chars().all(|c| c.is_ascii_hexdigit()) => {
            "OBJECT".clone_into(text);
        }
        _ => {}
    }
    document
}

/// Days, minutes, sizes, objects and processes by other names; what is cut to fit, all of it; without what
/// depends on the machine.
fn dateless(text: &str) -> String {
    let digits = |word: &str| word.len() >= 5 && word.chars().all(|c| c.is_ascii_digit() || c == '-' || c == ':');
    let number = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_digit() || c == '.');
    let span = |word: &str| word.ends_with('s') && number(word.trim_end_matches('s').trim_end_matches('m'));
    let hex = |word: &str| word.len() >= 7 && word.chars().all(|c| c.is_ascii_hexdigit());
    let of_machine = |line: &&str| ["TIME gate ", "TIME watch ", "TIME cgroup "].iter().any(|l| line.starts_with(l));
    let lines = text.lines().filter(|line| !of_machine(line)).map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let named = words.iter().enumerate().map(|(at, word)| {
            let bare = word.trim_matches(|c: char| ",.:\"()".contains(c));
            let (before, after) = (at.checked_sub(1).map_or("", |at| words[at]), words.get(at + 1).copied());
            let is_cut = |word: &str| word.ends_with('…');
            match () {
                () if is_cut(word) || number(word) && after.is_some_and(is_cut) => "…".to_owned(),
                () if span(bare) => word.replace(bare, "SPAN"),
                () if number(bare) && before.ends_with("process") => word.replace(bare, "PID"),
                () if number(bare) && after.is_some_and(|unit| unit.starts_with("KiB")) => word.replace(bare, "SIZE"),
                () if hex(bare) => word.replace(bare, "COMMIT"),
                () if digits(bare) => word.replace(bare, "TIME"),
                () if bare.contains("..") && bare.split("..").all(hex) => word.replace(bare, "COMMIT..COMMIT"),
                () => (*word).to_owned(),
            }
        });
        let mut named: Vec<String> = named.collect();
        named.dedup_by(|one, other| one == "…" && other == "…");
        named.join(" ")
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// `bad` has failed, `api` runs, `tests` waits for its files, `docs` for both.
fn story(repo: &TestRepo) -> String {
    head(repo, "max_concurrent = 1")
        + &scripted("bad", "[\"bad\"]", "echo 1 > bad; echo wrong >&2; exit 3", "priority = 1")
        + &patient("api", "[\"src/\"]", "echo building; echo new > src/api", "priority = 2\nname = \"The API\"")
        + &scripted("docs", "[\"docs/\"]", "echo 1 > docs/x", "depends_on = [\"api\", \"tests\"]")
        + &scripted("tests", "[\"src/t\"]", "echo 1 > src/t", "")
}

fn begun(repo: &TestRepo) -> Run<'_> {
    let run = Run::start(repo, &story(repo), "api");
    let kept = || run.agent("bad").is_some_and(|bad| bad["salvage"].is_string());
    assert!(eventually(Duration::from_secs(30), kept), "{:?}", run.agent("bad"));
    assert!(eventually(Duration::from_secs(30), || repo.read("src/api") == "new\n"));
    let blocked = || run.agent("tests").is_some_and(|tests| tests["state"] == "BLOCKED");
    assert!(eventually(Duration::from_secs(30), blocked), "{:?}", run.agent("tests"));
    run
}

/// Looks at everything that can be looked at.
fn looks(session: &mut Session<'_>) {
    for line in ["list", "status", "status api", "diff", "diff --stat", "conflicts", "salvage list", "runs list"] {
        session.asks(line);
    }
    session.asks("salvage show bad");
    session.types("logs api");
    session.types("logs bad --stderr");
    session.types("timeline");
}

/// Asks for what changes a run.
fn wishes(session: &mut Session<'_>) {
    session.types("register --name more --files more/ --depends-on api -- true");
    session.types("register --name again --files more/ --depends-on api --format json -- true");
    for line in [
        "checkpoint",
        "grant docs extra/",
        "resolve --keep api --terminate docs",
        "release-locks tests",
        "stop docs",
        "complete",
        "salvage apply bad",
        "salvage drop bad/1",
        "runs prune --keep 10",
        "wait tests --timeout 1ms",
    ] {
        session.asks(line);
    }
}

#[test]
fn of_a_run_that_goes_on() {
    let repo = TestRepo::with(&[("src/api", "old\n"), ("docs/y", "")]);
    let run = begun(&repo);
    let mut session = Session::of(&repo);
    looks(&mut session);
    wishes(&mut session);
    for line in ["resume", "retry", "reset"] {
        session.types(line);
    }
    insta::assert_snapshot!("a_run_that_goes_on", session.told);
    session.covers_every_command();
    go(&repo);
    run.finish().expect(1);
}

#[test]
fn of_a_run_whose_supervisor_was_killed() {
    let repo = TestRepo::with(&[("src/api", "old\n"), ("docs/y", "")]);
    begun(&repo).kill();
    repo.assert_no_survivors();
    let mut session = Session::of(&repo);
    looks(&mut session);
    wishes(&mut session);
    session.types("attach");
    session.types("wait");
    session.types("retry");
    session.asks("reset");
    go(&repo);
    session.types("resume");
    session.types("status");
    insta::assert_snapshot!("a_run_that_was_cut_off", session.told);
}

#[test]
fn of_a_run_that_is_over() {
    let repo = TestRepo::with(&[("src/api", "old\n"), ("docs/y", "")]);
    let run = begun(&repo);
    go(&repo);
    run.finish().expect(1);
    let mut session = Session::of(&repo);
    looks(&mut session);
    wishes(&mut session);
    session.types("attach");
    session.asks("wait");
    session.types("resume");
    session.asks("reset");
    session.types("retry");
    session.types("status");
    insta::assert_snapshot!("a_run_that_is_over", session.told);
}
