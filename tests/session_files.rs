//! Session files from the outside: what is accepted, what is refused, and where it says so.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use supervise::core::agent::{Dependency, OnPhaseFailure, OnUndeclared, RetryMode};
use supervise::core::ids::AgentId;
use supervise::render::diagnostic::{self, Look};
use supervise::session::{
    LoadOptions, Loaded, Origin, Problem, RunnerKind, SessionErrors, Severity, load, read, workspace_of,
};

fn options(dir: &Path) -> LoadOptions {
    LoadOptions { base_dir: dir.to_owned(), workspace: dir.to_owned(), ..LoadOptions::default() }
}

/// A workspace with a few files in it.
fn workspace() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for sub in ["packages/core", "packages/ui", "src", "prompts"] {
        std::fs::create_dir_all(dir.path().join(sub)).unwrap();
    }
    std::fs::write(dir.path().join("src/main.rs"), "fn main() {}").unwrap();
    std::fs::write(dir.path().join("prompts/docs.md"), "Document {{pkg}}; keep {{ this }} and {{{{x}}.").unwrap();
    std::fs::write(dir.path().join("prompts/house.md"), "House rules for {{id}}.").unwrap();
    dir
}

fn load_with(text: &str, change: impl FnOnce(&mut LoadOptions)) -> Result<Loaded, SessionErrors> {
    let dir = workspace();
    let mut options = options(dir.path());
    change(&mut options);
    load(&Origin::StandardInput, text.as_bytes(), &options)
}

fn good(text: &str) -> Loaded {
    load_with(text, |_| ()).unwrap_or_else(|e| panic!("{}", diagnostic::errors(&e, Look::Plain)))
}

/// The problems of `text` as `code line:column`.
fn codes(text: &str) -> Vec<String> {
    let errors = load_with(text, |_| ()).expect_err("the file has mistakes");
    errors.problems.iter().filter(|p| p.severity == Severity::Error).map(shown).collect()
}

fn shown(p: &Problem) -> String {
    match (p.line, p.column) {
        (Some(line), Some(column)) => format!("{} {line}:{column}", p.code),
        _ => p.code.to_owned(),
    }
}

fn agent<'l>(loaded: &'l Loaded, id: &str) -> &'l supervise::core::agent::AgentPlan {
    loaded.session.plan.agents.iter().find(|a| a.id.as_str() == id).unwrap()
}

fn launch<'l>(loaded: &'l Loaded, id: &str) -> &'l supervise::session::Launch {
    &loaded.session.launches[&AgentId::new(id).unwrap()]
}

fn texts(patterns: &[supervise::core::claim::Pattern]) -> Vec<&str> {
    patterns.iter().map(supervise::core::claim::Pattern::as_str).collect()
}

const SIX: &str = r#"[session]
name = "six"
max_concurent = 2

[[agent]]
id = "a"
prompt = "x"
priority = 9
files = ["../up"]
depends_on = ["nobody"]

[[agent]]
id = "a"
prompt = "x"
timeout = "10 parsecs"
"#;

#[test]
fn six_mistakes_are_named_with_their_places() {
    let expected = [
        "unknown_key 3:1",
        "bad_priority 8:12",
        "bad_pattern 9:10",
        "unknown_dependency 10:15",
        "duplicate_id 13:6",
        "bad_duration 15:11",
    ];
    assert_eq!(codes(SIX), expected);
    let errors = load_with(SIX, |_| ()).unwrap_err();
    assert!(!errors.nothing_selected());
    assert_eq!(errors.count(), 6);
    let unknown = &errors.problems[0];
    assert_eq!(unknown.help.as_deref(), Some("did you mean `max_concurrent`?"));
    let plain = diagnostic::errors(&errors, Look::Plain);
    assert!(plain.contains("standard input:8:12: error[bad_priority]: priority 9 is outside 1–5"), "{plain}");
    assert!(plain.ends_with("then run `supervise check` again\n"), "{plain}");
    let graphical = diagnostic::errors(&errors, Look::Graphical { color: false, width: 100 });
    for place in ["3:1", "8:12", "9:10", "10:15", "13:6", "15:11"] {
        assert!(graphical.contains(&format!("standard input:{place}")), "{place} in {graphical}");
    }
}

#[test]
fn one_mistake_each() {
    let one = |keys: &str, expected: &[&str]| {
        let text = format!("[[agent]]\nid = \"a\"\nprompt = \"p\"\n{keys}\n");
        assert_eq!(codes(&text), expected, "{keys}");
    };
    one("files = [\"/abs\"]", &["bad_pattern 4:10"]);
    one("files = [\"ok\", 3]", &["wrong_type 4:16"]);
    one("files = [\"src/{a\"]", &["bad_pattern 4:10"]);
    one("files = [\"src/{{nope}}/x\"]", &["unknown_placeholder 4:15"]);
    one("files = [\"src/{{attempt}}\"]", &["unknown_placeholder 4:15"]);
    one("files = [\"{{x\"]", &["bad_placeholder 4:11"]);
    one("runner = \"codx\"", &["unknown_runner 4:10"]);
    one("phase = \"p\"", &["unknown_phase 4:9"]);
    one("depends_on = [\"a\"]", &["cyclic_dependency 4:15"]);
    one("depends_on = [\"tag:x\"]", &["unknown_dependency 4:15"]);
    one("depends_on = [\"a*\"]", &["unknown_dependency 4:15"]);
    one("depends_on = \"x\"\nneeds = \"y\"", &["unknown_dependency 4:14", "duplicate_key 5:1"]);
    one("on_conflict = \"fight\"", &["bad_value 4:15"]);
    one("timeout = 0", &["bad_duration 4:11"]);
    one("timeout = -5", &["bad_duration 4:11"]);
    one("timeout = 1.5", &["wrong_type 4:11"]);
    one("log_limit = \"lots\"", &["bad_size 4:13"]);
    one("retries = -1", &["bad_number 4:11"]);
    one("retries = 99999999999999999999", &["bad_number 4:11"]);
    one("cwd = \"../x\"", &["bad_cwd 4:7"]);
    one("prompt_file = \"none.md\"", &["two_prompts 4:15"]);
    one("preamble_file = \"none.md\"", &["missing_prompt_file 4:17"]);
    one("preamble_file = \"prompts\"", &["missing_prompt_file 4:17"]);
    one("command = []", &["empty_command 4:11"]);
    one("command = \"echo hi\"", &["wrong_type 4:11"]);
    one("env = { \"A=B\" = \"x\" }", &["bad_env 4:9"]);
    one("model = \"a\\u0000b\"", &["nul 4:9"]);
    one("each = { id = [\"x\"] }", &["bad_each 4:10"]);
    one("each = { v = [] }", &["empty_each 4:10"]);
    one("each = { v = { dirs = \"nothing/*\" } }", &["empty_each 4:23"]);
    one("each = { v = [\"x\", \"y\"] }", &["duplicate_id 2:6"]);
    one("commit_message = \"{{prompt}}\"", &["unknown_placeholder 4:19"]);
    one("[session]\nbranch = \"a b\"", &["bad_branch 5:10"]);
    one("[session]\nstop_at = \"25:00\"", &["bad_time 5:11"]);
    one("[defaults]\nid = \"b\"", &["misplaced_key 5:1"]);
    one("[runner.x]\nextends = \"y\"\n[runner.y]\nextends = \"x\"", &["cyclic_extends 5:11", "cyclic_extends 7:11"]);
    one("[runner.x]\nmodel = \"m\"", &["incomplete_runner 4:9"]);
    one("[runner.x]\nextends = \"nothing\"", &["unknown_runner 5:11"]);
    one("[hook]", &["unknown_key 4:2"]);
    one("[[phase]]", &["missing_key 4:1"]);
    one("[[phase]]\nname = \"p\"\n[[phase]]\nname = \"p\"", &["duplicate_phase 7:8"]);
}

#[test]
fn files_without_agents_or_prompts_say_so() {
    assert_eq!(codes("[session]\nname = \"s\"\n"), ["no_agents"]);
    assert_eq!(codes("[[agent]]\nid = \"a\"\n"), ["missing_prompt 2:6"]);
    assert_eq!(codes("[[agent]]\nprompt = \"a\"\n"), ["missing_key 1:1"]);
    assert_eq!(codes("[agent]\nid = \"a\"\n"), ["wrong_type 1:1"]);
    assert_eq!(codes("[[agent]]\nid = \"a b\"\nprompt = \"a\"\n"), ["bad_id 2:6"]);
    assert_eq!(codes("[[agent]]\nid = \"a\"\nprompt = \"  \"\n"), ["empty_prompt 3:10"]);
    assert_eq!(codes("[[agent]]\nid = \"a\"\nrunner = \"command\"\n"), ["missing_command 2:6"]);
    assert_eq!(codes("[[agent]]\nid = \"a\"\ncommand = [\"x\", \"{{prompt}}\"]\n"), ["missing_prompt 2:6"]);
}

#[test]
fn syntax_errors_do_not_hide_the_others() {
    let text =
        "[[agent]]\nid = \"a\nprompt = \"p\"\nnonsense = 1\n[[agent]]\nid = \"b\"\nprompt = \"p\"\ntimeout = \"x\"\n";
    let found = codes(text);
    assert!(found.contains(&"syntax 2:8".to_owned()), "{found:?}");
    assert!(found.contains(&"unknown_key 4:1".to_owned()), "{found:?}");
    assert!(found.contains(&"bad_duration 8:11".to_owned()), "{found:?}");
    assert!(!found.iter().any(|c| c.starts_with("missing_key")), "{found:?}");
}

#[test]
fn defaults_of_an_agent() {
    let loaded = good("[[agent]]\nid = \"a\"\nprompt = \"do it\"\n");
    let plan = &loaded.session.plan;
    assert_eq!((plan.max_concurrent.get(), plan.phases.len()), (4, 1));
    assert_eq!(plan.checkpoint_interval, Some(Duration::from_mins(5)));
    assert_eq!((loaded.session.name.as_str(), loaded.session.salvage_days), ("session", 30));
    let a = agent(&loaded, "a");
    assert_eq!((a.name.as_str(), a.rank.priority.get(), a.retries), ("a", 3, 0));
    assert_eq!((a.timeout, a.lock_timeout), (Duration::from_mins(10), Duration::from_mins(10)));
    assert_eq!((a.grace, a.idle_timeout), (Duration::from_secs(10), None));
    let l = launch(&loaded, "a");
    assert_eq!((l.kind, l.runner.as_str(), l.log_limit), (RunnerKind::Codex, "codex", 64 << 20));
    assert_eq!(l.commit_message.fill(1, 0), "feat(a): a");
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
}

#[test]
fn layers_and_aliases() {
    let loaded = good(
        r#"
[session]
max_concurrent_agents = 7
checkpoint_interval = "0s"
[defaults]
timeout = 90
deny = ["**/*.lock"]
env = { A = "1", B = "1" }
tags = ["all"]
files = ["src/main.rs"]
[runner.fast]
extends = "codex"
model = "mini"
args = ["-c", "x"]
max_concurrent = 2
[[phase]]
name = "one"
on_failure = "continue"
[phase.defaults]
priority = 2
deny = ["docs/"]
env = { B = "2" }
[[phase]]
name = "two"
[[agent]]
id = "a"
prompt = "p"
exclusive = "src/a.rs"
shared = "src/"
deny = ["x"]
env = { C = 3 }
[[agent]]
id = "b"
phase = "two"
prompt = "p"
runner = "fast"
args = ["y"]
dependencies = ["a"]
wait_for_completion = false
[[agent]]
id = "c"
phase = "two"
prompt = "p"
file_locks = []
needs = ["tag:all", "b*"]
on_undeclared = "kill"
retry = "continue"
"#,
    );
    let plan = &loaded.session.plan;
    assert_eq!((plan.max_concurrent.get(), plan.checkpoint_interval), (7, None));
    assert_eq!(plan.phases[0].on_failure, OnPhaseFailure::Continue);
    assert_eq!(plan.runner_limits.iter().map(|(n, l)| (n.as_str(), l.get())).collect::<Vec<_>>(), [("fast", 2)]);
    let a = agent(&loaded, "a");
    assert_eq!((a.rank.phase, a.rank.priority.get(), a.timeout), (0, 2, Duration::from_secs(90)));
    assert_eq!((texts(&a.claim.exclusive), texts(&a.claim.shared)), (vec!["src/a.rs"], vec!["src/"]));
    assert_eq!(texts(&a.claim.deny), ["x", "docs/", "**/*.lock"]);
    let env: Vec<_> = launch(&loaded, "a").env.iter().map(|(k, v)| (k.clone(), v.fill(1, 0))).collect();
    let pair = |k: &str, v: &str| (k.to_owned(), v.to_owned());
    assert_eq!(env, [pair("A", "1"), pair("B", "2"), pair("C", "3")]);
    let b = agent(&loaded, "b");
    let on = |id: &str, wait_for_completion| Dependency { on: AgentId::new(id).unwrap(), wait_for_completion };
    assert_eq!(b.depends_on, [on("a", false)]);
    assert_eq!((b.rank.phase, texts(&b.claim.exclusive)), (1, vec!["src/main.rs"]));
    let args: Vec<_> = launch(&loaded, "b").args.iter().map(|t| t.fill(1, 0)).collect();
    assert_eq!(args, ["-c", "x", "y"]);
    assert_eq!(launch(&loaded, "b").model.as_ref().map(|m| m.fill(1, 0)).as_deref(), Some("mini"));
    let c = agent(&loaded, "c");
    assert_eq!(c.depends_on, [on("a", true), on("b", true)]);
    assert_eq!((c.claim.exclusive.len(), c.on_undeclared), (0, OnUndeclared::Kill));
    let codes: Vec<_> = loaded.warnings.iter().map(|w| w.code).collect();
    assert_eq!(codes, ["unmatched_pattern"]);
    assert_eq!((a.retry, c.retry), (RetryMode::Restart, RetryMode::Continue));
}

#[test]
fn who_asks_to_be_continued_has_to_be_able_to() {
    let wanted =
        |args: &str, more: &str| format!("[runner.codex]\nargs = [{args}]\n[defaults]\nretry = \"continue\"\n{more}");
    let able = "[[agent]]\nid = 'a'\nprompt = 'p'\n[[agent]]\nid = 'b'\ncommand = ['x']\n";
    let loaded = good(&wanted("", able));
    assert_eq!(agent(&loaded, "a").retry, RetryMode::Continue);
    assert_eq!(agent(&loaded, "b").retry, RetryMode::CannotContinue, "it is wanted of many, and not of it");
    let forgets = "[[agent]]\nid = 'a'\nprompt = 'p'\n[[agent]]\nid = 'b'\nprompt = 'p'\nretry = 'continue'\n";
    let text = wanted("'--ephemeral'", forgets);
    assert_eq!(codes(&text), ["cannot_continue 11:9"]);
    let command = "[[agent]]\nid = 'a'\ncommand = ['x']\nretry = 'continue'\n";
    let errors = load_with(command, |_| ()).unwrap_err();
    assert_eq!(errors.problems[0].message, "the runner `command` has no threads that could be continued");
    assert_eq!(errors.problems[0].help.as_deref(), Some("leave `retry` out, or use codex or claude"));
}

#[test]
fn each_and_placeholders() {
    let loaded = good(
        r#"
[session]
name = "s"
branch = "agents/{{session}}"
[defaults]
preamble_file = "prompts/house.md"
[[agent]]
id = "docs-{{pkg}}"
name = "Docs of {{pkg}}"
each = { pkg = { dirs = "packages/*" } }
prompt_file = "prompts/docs.md"
files = ["packages/{{pkg}}/README.md"]
env = { PORT = "90{{slot}}" }
[[agent]]
id = "t-{{os}}-{{n}}"
each = { os = ["a", "b"], n = [1, 2] }
command = ["run", "{{prompt}}", "{{prompt_file}}", "{{{{os}}", "{{workspace}}"]
brief = false
prompt = "try {{attempt}} of {{id}} in {{phase}}{{unknown}}"
depends_on = ["docs-*"]
"#,
    );
    let ids: Vec<_> = loaded.session.plan.agents.iter().map(|a| a.id.to_string()).collect();
    assert_eq!(ids, ["docs-core", "docs-ui", "t-a-1", "t-a-2", "t-b-1", "t-b-2"]);
    assert_eq!(loaded.session.branch.as_deref(), Some("agents/s"));
    let docs = launch(&loaded, "docs-core");
    assert_eq!(docs.env["PORT"].fill(1, 3), "903");
    assert_eq!(docs.commit_message.fill(1, 0), "feat(docs-core): Docs of core");
    let prompt = docs.prompt.as_ref().unwrap().fill(1, 0);
    assert!(prompt.starts_with("You are agent `docs-core` (Docs of core)"), "{prompt}");
    assert!(prompt.contains("  packages/core/README.md\n"), "{prompt}");
    assert!(prompt.contains("NEEDS: path: why"), "{prompt}");
    assert!(prompt.ends_with("House rules for docs-core.\n\nDocument core; keep {{ this }} and {{x}}."), "{prompt}");
    let t = launch(&loaded, "t-b-2");
    assert_eq!((t.kind, t.runner.as_str()), (RunnerKind::Command, "command"));
    let prompt = t.prompt.as_ref().unwrap().fill(4, 0);
    assert_eq!(prompt, "House rules for t-b-2.\n\ntry 4 of t-b-2 in {{unknown}}");
    let argv = t.command.as_ref().unwrap();
    let argv: Vec<_> = argv[..4].iter().map(|w| w.fill_with_prompt(1, 0, "P", "/f")).collect();
    assert_eq!(argv, ["run", "P", "/f", "{{os}}"]);
    assert_eq!(agent(&loaded, "t-a-1").depends_on.len(), 2);
}

const CHAIN: &str = r#"
[[phase]]
name = "one"
[[phase]]
name = "two"
[[agent]]
id = "a"
prompt = "p"
tags = ["x"]
[[agent]]
id = "b"
prompt = "p"
depends_on = ["a"]
[[agent]]
id = "c"
phase = "two"
prompt = "p"
depends_on = ["b"]
[[agent]]
id = "d"
phase = "two"
prompt = "p"
tags = ["x"]
"#;

#[test]
fn selection() {
    let check = |only: &[&str], skip: &[&str], phase: Option<&str>, expected: &[&str]| {
        let list = |l: &[&str]| l.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        let loaded = load_with(CHAIN, |o| {
            (o.only, o.skip, o.phase) = (list(only), list(skip), phase.map(str::to_owned));
        });
        let got: Vec<String> = match &loaded {
            Ok(l) => l.session.plan.agents.iter().map(|a| format!("{}{}", a.id, a.depends_on.len())).collect(),
            Err(e) => e.problems.iter().map(|p| p.code.to_owned()).collect(),
        };
        assert_eq!(got, expected, "only {only:?} skip {skip:?} phase {phase:?}");
        assert_eq!(loaded.is_err_and(|e| e.nothing_selected()), expected == ["nothing_selected"]);
    };
    check(&[], &[], None, &["a0", "b1", "c1", "d0"]);
    check(&["b"], &[], None, &["a0", "b1"]);
    check(&["c"], &["a"], None, &["b0", "c1"]);
    check(&["tag:x"], &[], None, &["a0", "d0"]);
    check(&["[cd]"], &[], Some("two"), &["c0", "d0"]);
    check(&[], &["*"], None, &["nothing_selected"]);
    check(&[], &[], Some("two"), &["c0", "d0"]);
    check(&["zzz"], &[], None, &["bad_selector"]);
    check(&[], &[], Some("three"), &["bad_selector"]);
    check(&[], &["tag:nope"], None, &["bad_selector"]);
}

#[test]
fn dependencies_form_no_cycle_and_lead_to_no_later_phase() {
    let text = "[[agent]]\nid = \"a\"\nprompt = \"p\"\ndepends_on = [\"c\"]\n[[agent]]\nid = \"b\"\nprompt = \"p\"\n\
                depends_on = [\"a\"]\n[[agent]]\nid = \"c\"\nprompt = \"p\"\ndepends_on = [\"b\"]\n";
    let errors = load_with(text, |_| ()).unwrap_err();
    let messages: Vec<_> = errors.problems.iter().map(|p| p.message.as_str()).collect();
    assert_eq!(messages, ["agents wait for each other: a → c → b → a"]);
    let later = CHAIN.replace("tags = [\"x\"]\n[[agent]]\nid = \"b\"", "depends_on = [\"d\"]\n[[agent]]\nid = \"b\"");
    assert_eq!(codes(&later), ["later_phase_dependency 9:15"]);
}

#[test]
fn values_from_the_command_line() {
    let set = |sets: &[&str]| load_with(CHAIN, |o| o.sets = sets.iter().map(|s| (*s).to_owned()).collect());
    let loaded = set(&[
        "max_concurrent=9",
        "defaults.timeout=5m",
        "agent.b.priority = 1",
        "runner.codex.model=mini",
        "phase.two.on_failure=continue",
        "session.name=other",
        "agent.d.needs=[\"a\"]",
    ])
    .unwrap();
    assert_eq!((loaded.session.name.as_str(), loaded.session.plan.max_concurrent.get()), ("other", 9));
    let b = agent(&loaded, "b");
    assert_eq!((b.timeout, b.rank.priority.get()), (Duration::from_mins(5), 1));
    assert_eq!(loaded.session.plan.phases[1].on_failure, OnPhaseFailure::Continue);
    assert_eq!(launch(&loaded, "a").model.as_ref().unwrap().fill(1, 0), "mini");
    assert_eq!(agent(&loaded, "d").depends_on.len(), 1);
    let wrong = |text: &str, code: &str, file: &str| {
        let errors = set(&[text]).unwrap_err();
        let p = &errors.problems[0];
        assert_eq!((p.code, p.file.as_str(), p.line), (code, file, None), "{text}");
    };
    wrong("timeout=never", "bad_duration", "--set timeout=never");
    wrong("timeout", "bad_set", "--set timeout");
    wrong("tiemout=1", "bad_set", "--set tiemout=1");
    wrong("agent.e.priority=1", "bad_set", "--set agent.e.priority=1");
    wrong("agent.a.files=[1]", "wrong_type", "--set agent.a.files=[1]");
}

#[test]
fn hostile_bytes_get_a_clear_answer() {
    let check = |bytes: &[u8], expected: &str| {
        let dir = workspace();
        let errors = load(&Origin::StandardInput, bytes, &options(dir.path())).unwrap_err();
        assert_eq!(shown(&errors.problems[0]), expected);
        for look in [Look::Plain, Look::Graphical { color: true, width: 40 }] {
            assert!(diagnostic::errors(&errors, look).len() < 100_000);
        }
    };
    check(b"", "empty_session");
    check(b" \n\t\n", "empty_session");
    check(b"\xef\xbb\xbf", "empty_session");
    check(b"[session]\nname = \"\xff\"\n", "invalid_utf8 2:9");
    check(b"a = 1\n", "unknown_key 1:1");
    check(b"\0\0\0", "syntax 1:1");
    check(&vec![b'\n'; (16 << 20) + 1], "too_large");
    check(format!("x = {}", "[".repeat(100_000)).as_bytes(), "syntax 1:85");
    check(format!("x = {}", "{a=".repeat(100_000)).as_bytes(), "syntax 1:245");
    let deep = format!("[{}a]\n", "a.".repeat(100_000));
    check(deep.as_bytes(), "syntax 1:1");
    let noise = "= [ ] { \" ' \\ # \n".repeat(60_000);
    let dir = workspace();
    let errors = load(&Origin::StandardInput, noise.as_bytes(), &options(dir.path())).unwrap_err();
    assert!(errors.problems.len() <= 1000 && errors.more > 0);
    assert!(diagnostic::errors(&errors, Look::Graphical { color: false, width: 80 }).len() < 100_000);
}

#[test]
fn files_that_cannot_be_read() {
    let dir = workspace();
    let check = |path: &Path, expected: &str| {
        let errors = read(&Origin::File(path.to_owned())).unwrap_err();
        assert_eq!(errors.problems[0].message, expected);
        assert_eq!(errors.problems[0].file, path.display().to_string());
    };
    check(dir.path(), "cannot read the session file: it is a directory");
    check(&dir.path().join("none.toml"), "cannot read the session file: there is no such file");
    std::fs::write(dir.path().join("p.md"), b"ok\n\xff").unwrap();
    let text = "[[agent]]\nid = \"a\"\nprompt_file = \"p.md\"\n[[agent]]\nid = \"b\"\nprompt_file = \"p.md\"\n";
    let errors = load(&Origin::StandardInput, text.as_bytes(), &options(dir.path())).unwrap_err();
    assert_eq!(errors.problems.iter().map(shown).collect::<Vec<_>>(), ["bad_prompt_file 2:1"]);
    assert!(errors.problems[0].file.ends_with("p.md"));
}

#[test]
fn line_ends_and_byte_order_marks_change_nothing() {
    let plain = good(CHAIN);
    let dir = workspace();
    let other = format!("\u{feff}{}", CHAIN.replace('\n', "\r\n"));
    let other = load(&Origin::StandardInput, other.as_bytes(), &options(dir.path())).unwrap();
    assert_eq!(plain.session.plan.agents.len(), other.session.plan.agents.len());
    let six = format!("\u{feff}{}", SIX.replace('\n', "\r\n"));
    assert_eq!(codes(&six), codes(SIX));
}

#[test]
fn large_sessions_are_fine() {
    let mut text = String::from("[defaults]\nprompt = \"p\"\nbrief = false\n");
    for i in 0..10_000 {
        let _ = writeln!(text, "[[agent]]\nid = \"agent-{i:05}\"");
        if i > 0 {
            let _ = writeln!(text, "depends_on = [\"agent-{:05}\"]", i - 1);
        }
        let files: Vec<String> = (0..10).map(|f| format!("\"src/{i}/file-{f}.rs\"")).collect();
        let _ = writeln!(text, "files = [{}]", files.join(", "));
    }
    assert!(text.len() > 1_000_000);
    let loaded = good(&text);
    assert_eq!(loaded.session.plan.agents.len(), 10_000);
    assert_eq!(loaded.session.launches.len(), 10_000);
    assert!(loaded.warnings.len() < 20);
    let all = text.replace("depends_on = [\"agent-09998\"]", "depends_on = [\"agent-*\"]");
    let errors = load_with(&all, |_| ());
    assert!(errors.is_ok(), "the last one may depend on all others");
    let everyone = format!("{text}[[agent]]\nid = \"z\"\n").replace("[defaults]", "[defaults]\ndepends_on = [\"*\"]");
    let everyone = everyone.lines().filter(|l| !l.starts_with("depends_on = [\"agent")).collect::<Vec<_>>().join("\n");
    assert!(codes(&everyone).iter().any(|c| c.starts_with("too_many_dependencies")));
}

#[test]
fn the_workspace_can_be_found_first() {
    let check = |text: &str, expected: Option<&str>| {
        let origin = Origin::File("/x/s.toml".into());
        assert_eq!(workspace_of(&origin, text.as_bytes()).as_deref(), expected.map(Path::new), "{text}");
    };
    check("[session]\nworkspace = \"../y\"\n", Some("/x/../y"));
    check("[session]\nworkspace = \"/z\"\n[[agent]]\nid = 3 3", Some("/z"));
    check("[session]\nworkspace = 1\n", None);
    check("", None);
    check("[session]", None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_panics(text in any::<String>(), bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let options = options(Path::new("/nonexistent"));
        for bytes in [text.as_bytes(), &bytes] {
            if let Err(errors) = load(&Origin::StandardInput, bytes, &options) {
                prop_assert!(errors.count() > 0);
                let _ = diagnostic::errors(&errors, Look::Graphical { color: false, width: 80 });
            }
        }
    }

    #[test]
    fn no_shuffled_session_panics(
        cuts in proptest::collection::vec((0usize..2000, 0usize..2000, "[\\PC\"{}\\[\\]=\\n]{0,6}"), 1..6)
    ) {
        let mut text = format!("{SIX}{CHAIN}");
        for (from, to, with) in cuts {
            let boundary = |at: usize| (0..=at.min(text.len())).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
            let (from, to) = (boundary(from.min(to)), boundary(from.max(to).min(from.min(to) + 40)));
            text.replace_range(from..to, &with);
        }
        let options = options(Path::new("/nonexistent"));
        if let Err(errors) = load(&Origin::StandardInput, text.as_bytes(), &options) {
            prop_assert!(errors.count() > 0);
            let lines = text.lines().count() + 1;
            for problem in &errors.problems {
                prop_assert!(problem.line.is_none_or(|l| l as usize <= lines), "{problem:?}");
            }
            let _ = diagnostic::errors(&errors, Look::Graphical { color: false, width: 80 });
            let _ = diagnostic::errors(&errors, Look::Plain);
        }
    }
}

#[test]
fn codes_are_stable_words() {
    let errors = load_with(SIX, |_| ()).unwrap_err();
    let codes: BTreeSet<&str> = errors.problems.iter().map(|p| p.code).collect();
    assert!(codes.iter().all(|c| c.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit())));
}

/// The codes and texts of what is doubtful.
fn doubts(text: &str) -> Vec<String> {
    good(text).warnings.iter().map(|w| format!("{}: {}", w.code, w.message)).collect()
}

#[test]
fn patterns_that_match_nothing_are_all_counted() {
    let each = |n: usize| {
        let values: Vec<String> = (0..n).map(|at| format!("\"v{at}\"")).collect();
        format!(
            "[[agent]]\nid = \"{{{{v}}}}\"\ncommand = [\"x\"]\nfiles = [\"{{{{v}}}}/\"]\neach = {{ v = [{}] }}\n",
            values.join(", ")
        )
    };
    let first = "unmatched_pattern: `v0/` matches nothing in the workspace yet";
    let more = |text: &str| format!("unmatched_patterns: {text} nothing in the workspace yet");
    assert_eq!(doubts(&each(1)), [first]);
    assert_eq!(doubts(&each(2)), [first.to_owned(), more("1 more pattern matches")]);
    assert_eq!(doubts(&each(12)), [first.to_owned(), more("11 more patterns match")]);
    let own = |at| format!("[[agent]]\nid = \"a{at}\"\ncommand = [\"x\"]\nfiles = [\"v{at}/\"]\n");
    let told = doubts(&(0..12).map(own).collect::<Vec<_>>().concat());
    assert_eq!((told.len(), told.last()), (11, Some(&more("2 more patterns match"))));
}

#[test]
fn what_is_gits_own_is_no_claim() {
    let claims = "[[agent]]\nid = \"a\"\ncommand = [\"x\"]\nfiles = [\".git/hooks/\", \"src/\"]\nlate = [\"packages/*/x\", \"src/.git\"]\n\
                  deny = [\".git/\"]\n";
    let told = doubts(claims);
    let told: Vec<&str> = told.iter().filter_map(|told| told.strip_prefix("denied_pattern: ")).collect();
    assert_eq!(
        told,
        ["`.git/hooks/` is git's own: no agent may write there", "`src/.git` is git's own: no agent may write there"]
    );
}
