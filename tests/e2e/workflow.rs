//! The workflow that README.md has for CI does what it says: its steps are taken from there and run as GitHub
//! Actions runs them, in a scratch repository, with stand-ins for what is downloaded.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{Ended, TestRepo, executable, text};

/// As much of YAML as the workflow has: mappings by indentation, texts of one line, and blocks (`|`).
#[derive(Debug)]
enum Node {
    Text(String),
    Map(BTreeMap<String, Node>),
}

type Map = BTreeMap<String, Node>;

impl Node {
    fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Map(map) => panic!("{map:?} is no text"),
        }
    }
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// The mapping whose keys these lines have at the first one's indentation.
fn mapping(lines: &[&str]) -> Map {
    let at = lines.first().map_or(0, |line| indent(line));
    let mut map = Map::new();
    let mut rest = lines;
    while let Some((line, below)) = rest.split_first() {
        assert_eq!(indent(line), at, "{line:?}");
        let until = below.iter().position(|line| indent(line) <= at).unwrap_or(below.len());
        let (inner, next) = below.split_at(until);
        // A comment stands behind a blank.
        let line = line.split_once(" #").map_or(*line, |(line, _)| line);
        let (key, value) = line.split_once(':').unwrap_or_else(|| panic!("{line:?} has no key"));
        let node = match value.trim() {
            "|" => Node::Text(inner.iter().flat_map(|line| [&line[indent(inner[0])..], "\n"]).collect()),
            "" if inner.is_empty() => Node::Text(String::new()),
            "" => Node::Map(mapping(inner)),
            value => {
                assert!(inner.is_empty(), "{inner:?} belongs to {line:?}");
                Node::Text(value.to_owned())
            }
        };
        assert!(map.insert(key.trim().to_owned(), node).is_none(), "{line:?} comes twice");
        rest = next;
    }
    map
}

/// The steps of the only job of the only workflow in README.md.
fn steps() -> Vec<Map> {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let workflows: Vec<&str> = readme.split("```yaml\n").skip(1).collect();
    assert_eq!(workflows.len(), 1, "README.md has one workflow");
    let workflow = workflows[0].split_once("```").unwrap().0;
    let lines: Vec<&str> = workflow.lines().skip_while(|line| line.trim() != "steps:").skip(1).collect();
    let items: Vec<String> = lines.iter().map(|line| line.replacen("- ", "  ", 1)).collect();
    let begins: Vec<usize> = (0..lines.len()).filter(|at| lines[*at].starts_with("      - ")).collect();
    let ends = begins.iter().skip(1).copied().chain([lines.len()]);
    let step = |(begin, end): (&usize, usize)| {
        let words: Vec<&str> = items[*begin..end].iter().map(String::as_str).collect();
        mapping(&words)
    };
    begins.iter().zip(ends).map(step).collect()
}

/// What stands in `${{ }}`.
fn filled(text: &str) -> String {
    let mut out = String::new();
    let mut parts = text.split("${{");
    out += parts.next().unwrap();
    for part in parts {
        let (name, rest) = part.split_once("}}").unwrap();
        out += match name.trim() {
            "vars.SUPERVISE_REPOSITORY" => "https://example.invalid/supervise.git",
            "secrets.OPENAI_API_KEY" => "the key",
            "github.run_id" => "77",
            other => panic!("nobody knows {other}"),
        };
        out += rest;
    }
    out
}

/// Notes what it was called with.
const NOTES: &str = "#!/bin/sh\necho \"${0##*/} $*\" >> \"$CALLS\"\n";

/// Logs in with what it is given, and does an agent's work, which fails for one of them.
const CODEX: &str = r#"#!/bin/sh
case "$1" in
  --version) echo "codex-cli 0.169.0"; exit 0;;
  login) echo "codex $* $(cat)" >> "$CALLS"; exit 0;;
esac
echo '{"type":"thread.started","thread_id":"t-1"}'
echo "by $SUPERVISE_ID" > "$SUPERVISE_ID"
test "$SUPERVISE_ID" = "$FAILS" && exit 1
echo '{"type":"item.completed","item":{"id":"i","type":"agent_message","text":"Did it."}}'
echo '{"type":"turn.completed","usage":{"input_tokens":100,"cached_input_tokens":0,"output_tokens":7}}'
"#;

const SESSION: &str = "[session]\nname = \"night\"\nmax_concurrent = 1\n[[agent]]\nid = \"one\"\nprompt = \"p\"\nfiles = [\"one\"]\n\
                       [[agent]]\nid = \"two\"\nprompt = \"p\"\nfiles = [\"two\"]\n";

/// A job on a machine that has checked the repository out.
struct Job {
    repo: TestRepo,
    path: std::ffi::OsString,
}

impl Job {
    fn new() -> Self {
        let repo = TestRepo::with(&[("supervise.toml", SESSION)]);
        let origin = repo.tmp().join("origin").display().to_string();
        repo.git(&["init", "-q", "--bare", &origin]);
        repo.git(&["remote", "add", "origin", &origin]);
        let bin = repo.tmp().join("bin");
        fs::create_dir(&bin).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_supervise"), bin.join("supervise")).unwrap();
        for (name, text) in [("cargo", NOTES), ("npm", NOTES), ("codex", CODEX)] {
            executable(&bin.join(name), text);
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths([bin].into_iter().chain(std::env::split_paths(&path))).unwrap();
        Self { repo, path }
    }

    fn summary(&self) -> PathBuf {
        self.repo.tmp().join("summary.md")
    }

    /// As a runner does that is told no shell: each line of a step has to succeed, and after a step that failed
    /// only those run that always do. Gives the code of the job, and of each step that ran.
    fn run(&self, fails: &str) -> (i32, BTreeMap<String, i32>) {
        let (mut job, mut codes) = (0, BTreeMap::new());
        for step in steps().into_iter().filter(|step| !step.contains_key("uses")) {
            match step.get("if").map(Node::text) {
                None if job != 0 => continue,
                None | Some("always()") => {}
                Some(other) => panic!("nobody knows when {other} is"),
            }
            let script = self.repo.tmp().join("step.sh");
            fs::write(&script, filled(step["run"].text())).unwrap();
            let mut command = self.repo.command("bash");
            command.arg("-e").arg(script).env("PATH", &self.path).env("FAILS", fails);
            command.env("GITHUB_STEP_SUMMARY", self.summary()).env("CALLS", self.repo.tmp().join("calls"));
            if let Some(Node::Map(env)) = step.get("env") {
                command.envs(env.iter().map(|(key, value)| (key, filled(value.text()))));
            }
            let ended = Ended::of(&command.output().unwrap());
            eprintln!("{}\n{}{}", step["run"].text(), ended.stdout, ended.stderr);
            let code = ended.code.unwrap();
            job = if job == 0 { code } else { job };
            codes.insert(step["name"].text().to_owned(), code);
        }
        (job, codes)
    }

    /// What is uploaded afterwards is there, whatever became of the session.
    fn assert_uploads(&self) {
        let uploads: Vec<Map> = steps().into_iter().filter(|step| step.contains_key("uses")).collect();
        let upload = uploads.iter().find(|step| step["uses"].text().starts_with("actions/upload-artifact@")).unwrap();
        assert_eq!(upload["if"].text(), "always()");
        let Node::Map(with) = &upload["with"] else { panic!("{upload:?}") };
        assert_eq!(with["include-hidden-files"].text(), "true", "one of them is below .git");
        let paths: Vec<&str> = with["path"].text().lines().collect();
        assert_eq!(paths.len(), 2, "{paths:?}");
        for path in paths {
            let found = self.repo.path().join(path).metadata().unwrap_or_else(|e| panic!("{path}: {e}"));
            assert!(found.is_dir() || found.len() > 0, "{path} is empty");
        }
        let run = text(&self.repo.path(), ".git/supervise/current");
        assert!(self.repo.exists(&format!(".git/supervise/runs/{}/journal.jsonl", run.trim())));
    }

    /// Subjects of what was pushed, the latest first.
    fn pushed(&self) -> Vec<String> {
        let origin = self.repo.tmp().join("origin").display().to_string();
        let log = self.repo.git(&["-C", &origin, "log", "--format=%s", "refs/heads/agents/77"]);
        log.lines().map(str::to_owned).collect()
    }
}

#[test]
fn a_session_that_succeeds_in_the_workflow_is_pushed_and_reported() {
    let job = Job::new();
    let (code, steps) = job.run("");
    assert_eq!((code, steps.values().sum::<i32>(), steps.len()), (0, 0, 4), "{steps:?}");
    let calls = text(&job.repo.tmp(), "calls");
    let expected = "cargo install --locked --git https://example.invalid/supervise.git\nnpm install -g @openai/codex\n\
                    codex login --with-api-key the key\n";
    assert_eq!(calls, expected);
    assert_eq!(job.pushed(), ["feat(two): two", "feat(one): one", "begin"]);
    job.assert_uploads();
    let junit = job.repo.read("result.xml");
    assert!(junit.contains("tests=\"2\" failures=\"0\" errors=\"0\" skipped=\"0\""), "{junit}");
    let summary = fs::read_to_string(job.summary()).unwrap();
    assert!(summary.starts_with("### supervise: night COMPLETED\n"), "{summary}");
}

#[test]
fn a_session_that_fails_in_the_workflow_fails_the_job_and_is_reported() {
    let job = Job::new();
    let (code, steps) = job.run("two");
    let expected = [("Install", 0), ("Log codex in", 0), ("Run", 1), ("Push what was committed", 0)];
    assert_eq!(steps, expected.map(|(name, code)| (name.to_owned(), code)).into());
    assert_eq!(code, 1, "the job has the code of the session");
    assert_eq!(job.pushed(), ["feat(one): one", "begin"], "what was completed is pushed all the same");
    job.assert_uploads();
    let junit = job.repo.read("result.xml");
    assert!(junit.contains("tests=\"2\" failures=\"1\" errors=\"0\" skipped=\"0\""), "{junit}");
    let summary = fs::read_to_string(job.summary()).unwrap();
    assert!(summary.starts_with("### supervise: night FAILED\n") && summary.contains("| two | FAILED |"), "{summary}");
    // Its work is there to be taken along, as is said below the workflow.
    let origin = job.repo.tmp().join("origin").display().to_string();
    job.repo.git(&["push", "-q", "origin", "refs/supervise/*:refs/supervise/*"]);
    let kept = job.repo.git(&["-C", &origin, "for-each-ref", "--format=%(refname)", "refs/supervise/"]);
    assert!(kept.trim().ends_with("/two/1"), "{kept}");
}
