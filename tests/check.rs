//! `check` on whole files: what it prints, and with which code it ends.

#![expect(clippy::unwrap_used, reason = "a test says what failed by panicking")]

use std::fs;
use std::path::Path;

use serde_json::Value;
use supervise::cli::check::{Answer, CheckArgs, Look, answer};
use supervise::cli::{Common, Exit, Format, SelectArgs};

const SESSION: &str = r#"
[session]
name = "backend"

[defaults]
preamble = "House rules: run the tests, keep the changes small, write no comments that repeat the code."

[[phase]]
name = "build"

[[phase]]
name = "describe"

[[agent]]
id = "api"
phase = "build"
priority = 2
prompt = "Add the POST and PUT endpoints for the hops inventory, with tests."
files = ["api/*.py"]
deny = ["**/*.lock"]

[[agent]]
id = "models"
phase = "build"
priority = 1
prompt = "Split the models by table."
files = ["models/"]
reads = ["api/schema.py"]
tags = ["data"]

[[agent]]
id = "api-again"
phase = "build"
prompt = "Add the POST and  PUT endpoints for the hop inventory, with tests!"
files = ["api/*.py"]

[[agent]]
id = "docs"
phase = "describe"
command = ["make", "docs {{{{raw}}", "{{slot}}"]
files = ["docs/", "api/README.md"]
depends_on = ["api"]
"#;

fn args(path: &Path) -> CheckArgs {
    CheckArgs {
        session: path.to_owned(),
        select: SelectArgs::default(),
        resolved: false,
        prompt: None,
        convert: false,
        suggest: None,
        format: Format::Human,
    }
}

/// A directory with these files, every one of which exists in it (so that nothing is warned of).
fn workspace(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in [".git/x", "api/schema.py", "api/README.md", "models/a.py", "docs/a.md"] {
        write(dir.path(), name, "");
    }
    for (name, text) in files {
        write(dir.path(), name, text);
    }
    dir
}

fn write(root: &Path, name: &str, text: &str) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn check(dir: &Path, args: &CheckArgs) -> Answer {
    let common = Common { directory: Some(dir.to_owned()) };
    answer(args, &common, &Look::default()).unwrap()
}

/// The answer, without the directory's name.
fn human(dir: &Path, args: &CheckArgs) -> String {
    let answer = check(dir, args);
    let text = format!("{:?}\n{}{}", answer.exit, answer.text, answer.errors);
    text.replace(&format!("{}/", dir.display()), "")
}

fn json(dir: &Path, args: &CheckArgs) -> (Exit, Value) {
    let answer = check(dir, &CheckArgs { format: Format::Json, ..args.clone() });
    (answer.exit, serde_json::from_str(&answer.text).unwrap())
}

#[test]
fn a_good_session_is_laid_out() {
    let dir = workspace(&[("s.toml", SESSION)]);
    insta::assert_snapshot!(human(dir.path(), &args(&dir.path().join("s.toml"))));
}

#[test]
fn the_document_is_what_programs_expect() {
    let dir = workspace(&[("s.toml", SESSION)]);
    let (exit, document) = json(dir.path(), &args(&dir.path().join("s.toml")));
    assert_eq!(exit, Exit::Success);
    assert_eq!(document["valid"], true);
    assert_eq!(document["errors"], serde_json::json!([]));
    assert_eq!(document["order"], serde_json::json!(["models", "api", "api-again", "docs"]));
    let contest = |a: &str, b: &str, p: &str, q: &str, example: &str| serde_json::json!({"agents": [a, b], "patterns": [p, q], "example": example});
    assert_eq!(
        document["contested"],
        serde_json::json!([
            contest("api", "models", "api/*.py", "api/schema.py", "api/schema.py"),
            contest("api", "api-again", "api/*.py", "api/*.py", "api/a.py"),
            contest("models", "api-again", "api/schema.py", "api/*.py", "api/schema.py"),
        ])
    );
    assert_eq!(document["duplicates"][0]["agents"], serde_json::json!(["api", "api-again"]));
    assert!(document["duplicates"][0]["recommendation"].as_str().unwrap().contains("remove api-again"));
    assert_eq!(document["duplicates"].as_array().unwrap().len(), 1);
}

#[test]
fn the_preamble_does_not_make_agents_alike() {
    let text =
        SESSION.replace("Add the POST and  PUT endpoints for the hop inventory, with tests!", "Review what is there.");
    let dir = workspace(&[("s.toml", &text)]);
    let (_, document) = json(dir.path(), &args(&dir.path().join("s.toml")));
    assert_eq!(document["duplicates"], serde_json::json!([]));
}

#[test]
fn mistakes_are_all_named() {
    let text =
        SESSION.replace("api/*.py", "../api").replace("priority = 2", "priority = 9").replace("[\"api\"]", "[\"apo\"]");
    let dir = workspace(&[("s.toml", &text)]);
    let (exit, document) = json(dir.path(), &args(&dir.path().join("s.toml")));
    assert_eq!((exit, &document["valid"]), (Exit::Invalid, &Value::Bool(false)));
    let errors = document["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 4, "{errors:#?}");
    assert!(errors.iter().all(|e| e["line"].is_number() && e["column"].is_number()), "{errors:#?}");
    let plain = check(dir.path(), &args(&dir.path().join("s.toml")));
    assert_eq!((plain.exit, plain.text.as_str()), (Exit::Invalid, ""));
    assert!(plain.errors.contains("priority"), "{}", plain.errors);
}

#[test]
fn nothing_selected_has_a_code_of_its_own() {
    let dir = workspace(&[("s.toml", SESSION)]);
    let mut args = args(&dir.path().join("s.toml"));
    args.select.phase = Some("build".to_owned());
    args.select.skip = vec!["api*,tag:data".to_owned()];
    assert_eq!(check(dir.path(), &args).exit, Exit::NothingSelected);
    args.select.skip = vec!["api*".to_owned()];
    assert_eq!(json(dir.path(), &args).1["order"], serde_json::json!(["models"]));
}

#[test]
fn the_resolved_session_is_a_session_and_resolves_to_itself() {
    // Some cannot do what is wanted of all, and may not be told so by themselves.
    let some_cannot = format!("{SESSION}\n[[agent]]\nid = \"cannot\"\ncommand = [\"true\"]\n")
        .replace("[defaults]", "[defaults]\nretry = \"continue\"");
    assert!(some_cannot.contains("retry"));
    for session in [SESSION, &some_cannot] {
        let dir = workspace(&[("s.toml", session)]);
        let resolved = CheckArgs { resolved: true, ..args(&dir.path().join("s.toml")) };
        let first = check(dir.path(), &resolved).text;
        write(dir.path(), "again.toml", &first);
        let again = CheckArgs { session: dir.path().join("again.toml"), ..resolved };
        let second = check(dir.path(), &again);
        assert_eq!(second.text, first, "{}", second.errors);
        assert!(first.contains("grace = \"10s\""), "{first}");
        let before = json(dir.path(), &args(&dir.path().join("s.toml"))).1;
        let after = json(dir.path(), &args(&dir.path().join("again.toml"))).1;
        assert_eq!((&before["order"], &before["contested"]), (&after["order"], &after["contested"]));
    }
}

#[test]
fn the_prompt_is_shown_whole() {
    let dir = workspace(&[("s.toml", SESSION)]);
    let of = |id: &str| CheckArgs { prompt: Some(id.to_owned()), ..args(&dir.path().join("s.toml")) };
    let text = check(dir.path(), &of("api")).text;
    assert!(text.contains("`api`") && text.contains("House rules") && text.ends_with("with tests.\n"), "{text}");
    let common = Common { directory: Some(dir.path().to_owned()) };
    for (id, expected) in [("docs", "has no prompt"), ("apu", "no agent `apu`")] {
        let failure = answer(&of(id), &common, &Look::default()).unwrap_err();
        assert_eq!(failure.exit, Exit::Invalid);
        assert!(failure.to_string().contains(expected), "{failure:?}");
    }
}

const MANIFEST: &str = r#"{
  "orchestrator_version": "1.0.0",
  "session_id": "phase-1",
  "agents": {
    "agent-1-api": {"id": "agent-1-api", "name": "Backend API", "status": "running", "pid": 7, "priority": 1,
      "file_locks": ["api/hops.py", "api/yeasts.py"], "dependencies": [], "timeout": 600},
    "agent-4-docs": {"name": "Documentation", "priority": 3, "file_locks": ["README_API.md"],
      "dependencies": ["agent-1-api"], "timeout": 600},
    "agent-again": {"name": "Backend API", "priority": 1, "file_locks": ["api/yeasts.py", "api/hops.py"],
      "warning": "the same as agent-1"}
  },
  "coordination_rules": {"max_concurrent_agents": 4, "checkpoint_interval": 300, "merge_strategy": "manual_review"}
}"#;

#[test]
fn a_manifest_is_checked_and_converted() {
    let dir = workspace(&[("orchestrator.json", MANIFEST)]);
    let manifest = args(&dir.path().join("orchestrator.json"));
    let (exit, document) = json(dir.path(), &manifest);
    assert_eq!(exit, Exit::Success, "{document:#}");
    assert_eq!(document["order"], serde_json::json!(["agent-1-api", "agent-again", "agent-4-docs"]));
    assert_eq!(document["duplicates"][0]["agents"], serde_json::json!(["agent-1-api", "agent-again"]));
    assert!(human(dir.path(), &manifest).contains("--convert"));

    let converted = check(dir.path(), &CheckArgs { convert: true, ..manifest.clone() }).text;
    write(dir.path(), "session.toml", &converted);
    let (exit, of_session) = json(dir.path(), &args(&dir.path().join("session.toml")));
    assert_eq!((exit, &of_session["order"]), (Exit::Success, &document["order"]));
    assert_eq!(of_session["contested"], document["contested"]);

    let common = Common { directory: Some(dir.path().to_owned()) };
    let not_json = CheckArgs { convert: true, ..args(&dir.path().join("session.toml")) };
    assert_eq!(answer(&not_json, &common, &Look::default()).unwrap_err().exit, Exit::Invalid);
}

#[test]
fn mistakes_of_a_manifest_have_their_place_in_it() {
    let dir = workspace(&[("orchestrator.json", &MANIFEST.replace("[\"agent-1-api\"]", "[\"agent-1-apy\"]"))]);
    insta::assert_snapshot!(human(dir.path(), &args(&dir.path().join("orchestrator.json"))));
}

#[test]
fn names_from_the_file_cannot_reach_the_terminal() {
    let text = "[session]\nname = \"x\\u001b[2J\"\n[[agent]]\nid = \"a\"\ncommand = [\"true\"]\nfiles = [\"a\\u001b[31m*\", \"b\\u0007/*\"]\n\
        [[agent]]\nid = \"b\"\ncommand = [\"false\"]\nfiles = [\"b\\u0007/*\"]\n";
    let dir = workspace(&[("s.toml", text)]);
    let shown = human(dir.path(), &args(&dir.path().join("s.toml")));
    assert!(shown.chars().all(|c| c == '\n' || !c.is_control()), "{shown:?}");
}

/// A mistake of each kind; most stand in agents whose id is missing, bad or taken.
const BROKEN: &str = r#"[session]
name = "bad"
max_concurent = 3

[defaults]
timeout = "ten minutes"
files = ["/abs"]

[runner.loop]
extends = "loopy"

[[agent]]
id = "a b"
prompt_file = "nope.md"
files = ["../x", "x/{{nope}}"]

[[agent]]
prompt = "p"
depends_on = ["ghost"]
files = ["a/[z"]

[[agent]]
id = "one"
prompt = "p"
priority = 9
depends_on = ["two"]
files = ["one"]

[[agent]]
id = "two"
prompt = "p"
runner = "codx"
cwd = "../up"
depends_on = ["one"]
files = ["../two"]

[[agent]]
id = "two"
prompt = "again"
each = { pkg = 3 }
phase = "later"
files = ["packages/{{pkg}}/../"]
"#;

const BROKEN_AT: [&str; 20] = [
    "3:1 unknown_key",
    "6:11 bad_duration",
    "7:10 bad_pattern",
    "10:11 unknown_runner",
    "13:6 bad_id",
    "14:15 missing_prompt_file",
    "15:10 bad_pattern",
    "15:21 unknown_placeholder",
    "17:1 missing_key",
    "19:15 unknown_dependency",
    "20:10 bad_pattern",
    "25:12 bad_priority",
    "26:14 cyclic_dependency",
    "32:10 unknown_runner",
    "33:7 bad_cwd",
    "35:10 bad_pattern",
    "38:6 duplicate_id",
    "40:16 wrong_type",
    "41:9 unknown_phase",
    "42:10 bad_pattern",
];

#[test]
fn the_program_names_every_mistake_with_its_place() {
    let dir = workspace(&[("s.toml", BROKEN)]);
    let run = |format: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_supervise"));
        command.current_dir(dir.path()).args(["check", "s.toml", "--format", format]).output().unwrap()
    };
    let json = run("json");
    assert_eq!(json.status.code(), Some(2));
    let document: Value = serde_json::from_slice(&json.stdout).unwrap();
    let errors = document["errors"].as_array().unwrap();
    let at = |e: &Value| format!("{}:{} {}", e["line"], e["column"], e["code"].as_str().unwrap());
    assert_eq!(errors.iter().map(at).collect::<Vec<_>>(), BROKEN_AT);

    let human = run("human");
    assert_eq!((human.status.code(), human.stdout.as_slice()), (Some(2), &b""[..]));
    let text = String::from_utf8(human.stderr).unwrap();
    for expected in BROKEN_AT {
        let (place, code) = expected.split_once(' ').unwrap();
        assert!(text.contains(&format!("s.toml:{place}: error[{code}]: ")), "{expected} is missing:\n{text}");
    }
    assert!(text.trim_end().ends_with("then run `supervise check` again"), "{text}");
}
