//! Commands as they are typed, with what came of each.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Child;
use std::time::Duration;

use serde_json::Value;

use super::same::{dateless, same};
use crate::support::{TestRepo, eventually, finish};
use crate::{Ended, normal, supervise};

/// Commands that are about no run, and the one that begins it.
const APART: [&str; 8] = ["run", "check", "init", "schema", "demo", "doctor", "completions", "man"];

/// Records of what was seen meanwhile: how many there are, and when, depends on the machine.
const WHENEVER: [&str; 2] = ["wrote", "sampled"];

/// What was typed and what came of it.
pub(super) struct Session<'r> {
    repo: &'r TestRepo,
    pub(super) told: String,
    /// What was typed.
    lines: Vec<String>,
    /// All commands there are, as their help has them, and whether they print for programs too.
    commands: BTreeMap<String, bool>,
    /// The runs of the repository so far, the oldest first.
    runs: Vec<String>,
}

/// A command that lasts, and the files that it prints to.
pub(super) struct Lasting {
    line: String,
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl<'r> Session<'r> {
    pub(super) fn of(repo: &'r TestRepo) -> Self {
        let mut commands = BTreeMap::new();
        find_commands(repo, "", &mut commands);
        assert!(commands.len() > 25 && commands["status"], "{commands:?}");
        Self { repo, told: String::new(), lines: Vec::new(), commands, runs: Vec::new() }
    }

    pub(super) fn types(&mut self, line: &str) {
        let args: Vec<&str> = line.split(' ').collect();
        let ended = supervise(self.repo, &args);
        self.tell(line, &ended);
    }

    /// For people, and for programs where it prints for them.
    pub(super) fn asks(&mut self, line: &str) {
        for line in self.forms(line) {
            self.types(&line);
        }
    }

    /// Begins a command that lasts, in the same way, and waits until it has printed something.
    pub(super) fn begins(&mut self, line: &str) -> Vec<Lasting> {
        self.forms(line).into_iter().map(|line| Lasting::begin(self.repo, line)).collect()
    }

    pub(super) fn ends(&mut self, lasting: Vec<Lasting>) {
        for Lasting { line, child, out, err } in lasting {
            let code = finish(child, Duration::from_secs(30)).code;
            let [stdout, stderr] = [out, err].map(|path| fs::read_to_string(path).unwrap());
            self.tell(&line, &Ended { code, stdout, stderr });
        }
    }

    fn forms(&self, line: &str) -> Vec<String> {
        let command = self.commands.iter().find(|(name, _)| is_of(line, name));
        let json = *command.unwrap_or_else(|| panic!("there is no command for {line:?}")).1;
        let forms = [Some(line.to_owned()), json.then(|| format!("{line} --format json"))];
        forms.into_iter().flatten().collect()
    }

    fn tell(&mut self, line: &str, ended: &Ended) {
        self.lines.push(line.to_owned());
        let _ = writeln!(self.told, "$ supervise {line}");
        for text in [&for_people(&ended.stdout), &ended.stderr] {
            // Where a message is folded depends on how many digits its numbers have.
            let text = self.nameless(&normal(&text.replace("\n  │ ", " "), self.repo));
            if !text.is_empty() {
                let _ = writeln!(self.told, "{}", dateless(&text));
            }
        }
        let _ = writeln!(self.told, "= {}\n", ended.code.unwrap_or(-1));
    }

    /// Earlier runs by their number; the latest one has been named before.
    fn nameless(&mut self, text: &str) -> String {
        let entries = fs::read_dir(self.repo.path().join(".git/supervise/runs")).unwrap();
        let mut found: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        found.retain(|run| !self.runs.contains(run));
        found.sort();
        self.runs.append(&mut found);
        let numbered = self.runs.iter().enumerate();
        numbered.fold(text.to_owned(), |text, (at, run)| text.replace(run, &format!("RUN-{}", at + 1)))
    }

    /// Has everything been asked that can be, for people and for programs?
    pub(super) fn covers_every_command(&self) {
        for (name, json) in &self.commands {
            let mut asked = self.lines.iter().filter(|line| is_of(line, name)).peekable();
            assert_ne!(asked.peek().is_some(), APART.contains(&name.as_str()), "{name} is asked, or set apart");
            let json = *json && !APART.contains(&name.as_str());
            assert!(!json || asked.any(|line| line.contains(" --format json")), "{name} is asked as programs do");
        }
    }
}

impl Lasting {
    fn begin(repo: &TestRepo, line: String) -> Self {
        let [out, err] = ["out", "err"].map(|to| repo.tmp().join(format!("{}.{to}", line.replace(' ', "-"))));
        let mut command = repo.supervise();
        command.args(line.split(' ')).stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
        let child = command.spawn().unwrap();
        let says = || [&out, &err].iter().any(|path| fs::metadata(path).is_ok_and(|found| found.len() > 0));
        assert!(eventually(Duration::from_secs(30), says), "{line} says nothing");
        Self { line, child, out, err }
    }
}

/// Is this line one of this command?
fn is_of(line: &str, command: &str) -> bool {
    line.strip_prefix(command).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
}

/// The commands below this one, as its help has them.
fn find_commands(repo: &TestRepo, above: &str, found: &mut BTreeMap<String, bool>) {
    let words = above.split_whitespace();
    let help = supervise(repo, &words.chain(["--help"]).collect::<Vec<_>>()).expect(0).stdout;
    let below = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let below: Vec<&str> = below
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    for name in below.iter().filter(|name| **name != "help") {
        find_commands(repo, format!("{above} {name}").trim(), found);
    }
    if below.is_empty() {
        let json = help.lines().any(|line| line.trim_start().starts_with("--format <FORMAT>"));
        found.insert(above.to_owned(), json);
    }
}

/// Documents are spread out; records stay a line each.
fn for_people(text: &str) -> String {
    if let Ok(document) = serde_json::from_str::<Value>(text) {
        return serde_json::to_string_pretty(&same(document)).unwrap();
    }
    let records: Result<Vec<Value>, _> = text.lines().map(serde_json::from_str).collect();
    match records {
        Ok(mut records) => {
            records.retain(|record| !WHENEVER.iter().any(|kind| record["kind"] == *kind));
            records.into_iter().flat_map(|record| [same(record).to_string(), "\n".to_owned()]).collect()
        }
        Err(_) => text.to_owned(),
    }
}
