//! Reads the `orchestrator.json` of the scripts that `supervise` replaces, and writes it as a session file.
//!
//! Invariant: what [`convert`] returns holds every agent, lock, dependency and limit of the manifest,
//! and loads as a session; what it cannot take over is an error with its place. What the scripts only
//! recorded (states, pids, conflicts, times) is left behind.
//!
//! Deliberately absent: prompts. The manifest has none, so the result has a sentence to replace.

mod spanned;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, value};

use crate::core::agent::Priority;
use crate::core::claim::Pattern;
use crate::core::ids::AgentId;

use spanned::{Entry, Json, Node};

/// What a prompt that is still to be written begins with.
pub const FILL_IN: &str = "FILL IN: what should this agent do?";

/// The largest manifest that is read, in bytes.
pub const MAX_MANIFEST: usize = 16 << 20;

/// The longest name of a session, in bytes; agents' names are held to it as well.
const MAX_NAME: usize = 200;

/// Something in a manifest that cannot be taken over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Byte offset into the text, and how many bytes it concerns.
    pub offset: usize,
    pub len: usize,
    /// From 1; the column counts characters.
    pub line: usize,
    pub column: usize,
}

/// A manifest in the terms of a session.
#[derive(Debug, Default)]
struct Manifest {
    name: Option<String>,
    max_concurrent: Option<u64>,
    checkpoint_interval: Option<Duration>,
    lock_timeout: Option<Duration>,
    /// Conflicts were to be looked at by a person.
    manual: bool,
    agents: Vec<Agent>,
}

#[derive(Debug, Default)]
struct Agent {
    id: String,
    /// Where the id stands.
    place: std::ops::Range<usize>,
    name: Option<String>,
    prompt: Option<String>,
    priority: Option<i64>,
    files: Vec<String>,
    reads: Vec<String>,
    depends_on: Vec<String>,
    wait_for_completion: Option<bool>,
    timeout: Option<Duration>,
    warning: Option<String>,
}

/// Is this text JSON rather than a session file? (No TOML document begins with a brace.)
#[must_use]
pub fn is_json(text: &str) -> bool {
    text.trim_start_matches('\u{feff}').trim_start().starts_with('{')
}

/// Turns the text of an `orchestrator.json` into the text of a session file. Returns all that is
/// wrong with it otherwise.
pub fn convert(text: &str) -> Result<String, Vec<Problem>> {
    let mut reader = Reader { text, problems: Vec::new() };
    let manifest = reader.manifest();
    if reader.problems.is_empty() { Ok(write(&manifest)) } else { Err(reader.problems) }
}

struct Reader<'a> {
    text: &'a str,
    problems: Vec<Problem>,
}

/// Keys beside which agents may stand when the manifest is a plain map of them.
const NOT_AGENTS: [&str; 7] =
    ["coordination_rules", "conflicts", "conflict_detection", "file_change_queue", "file_locks", "session", "phases"];

impl Reader<'_> {
    fn manifest(&mut self) -> Manifest {
        let mut out = Manifest::default();
        if self.text.len() > MAX_MANIFEST {
            self.problems.push(place(self.text, 0..0, format!("the manifest is larger than {MAX_MANIFEST} bytes")));
            return out;
        }
        let root = match spanned::parse(self.text) {
            Ok(root) => root,
            Err((offset, message)) => {
                self.problems.push(place(self.text, offset..offset, message));
                return out;
            }
        };
        let Node::Object(entries) = &root.node else {
            self.wrong(&root, "an orchestrator manifest is a JSON object", None);
            return out;
        };
        for entry in entries {
            match entry.key.as_str() {
                "session_id" | "session" | "session_name" => out.name = self.name(&entry.value),
                "coordination_rules" => self.rules(&entry.value, &mut out),
                _ => {}
            }
        }
        let named = entries.iter().find(|e| matches!(e.key.as_str(), "agents" | "active_agents"));
        if let Some(agents) = named {
            self.agents(&agents.value, &mut out);
        } else {
            for entry in entries.iter().filter(|e| !NOT_AGENTS.contains(&e.key.as_str()) && e.value.is_object()) {
                self.agent(Some(entry), &entry.value, &mut out);
            }
        }
        if out.agents.is_empty() && self.problems.is_empty() {
            let help = "agents are expected under `agents`, each with its `file_locks`";
            self.wrong(&root, "the manifest has no agents", Some(help));
        }
        self.references(&out, &root);
        if self.problems.is_empty() {
            self.ring(&out);
        }
        out
    }

    fn agents(&mut self, agents: &Json, out: &mut Manifest) {
        match &agents.node {
            Node::Object(entries) => entries.iter().for_each(|e| self.agent(Some(e), &e.value, out)),
            Node::Array(items) => items.iter().for_each(|item| self.agent(None, item, out)),
            _ => self.wrong(agents, "agents are an object or a list of objects", None),
        }
    }

    fn agent(&mut self, entry: Option<&Entry>, json: &Json, out: &mut Manifest) {
        let Node::Object(entries) = &json.node else {
            return self.wrong(json, "an agent is an object", None);
        };
        let mut agent = Agent::default();
        let id = entries.iter().find(|e| e.key == "id").map(|e| &e.value);
        let (id, place) = match (id.and_then(Json::as_text), entry) {
            (Some(text), _) => (text.to_owned(), id.unwrap_or(json).clone_place()),
            (None, Some(entry)) => (entry.key.clone(), entry.place.clone()),
            (None, None) => return self.wrong(json, "an agent needs an `id`", None),
        };
        agent.place = place.clone();
        if let Err(error) = AgentId::new(&id) {
            self.at(place, error.to_string(), Some("ids look like `agent-1-backend`".to_owned()));
        } else if out.agents.iter().any(|a| a.id == id) {
            self.at(place, format!("a second agent has the id `{id}`"), None);
        }
        agent.id = id;
        for entry in entries {
            let value = &entry.value;
            match entry.key.as_str() {
                "name" => agent.name = self.name(value),
                "prompt" | "task" | "description" => agent.prompt = self.optional_text(value),
                "warning" => agent.warning = self.optional_text(value),
                "priority" => agent.priority = self.priority(value),
                "timeout" => agent.timeout = self.seconds(value),
                "file_locks" | "files" => self.locks(value, &mut agent),
                "shared_locks" | "reads" => agent.reads.extend(self.patterns(value)),
                "dependencies" | "depends_on" => agent.depends_on = self.texts(value).map(|(text, _)| text).collect(),
                "wait_for_completion" => agent.wait_for_completion = self.flag(value),
                _ => {}
            }
        }
        out.agents.push(agent);
    }

    fn rules(&mut self, json: &Json, out: &mut Manifest) {
        let Node::Object(entries) = &json.node else {
            return self.wrong(json, "`coordination_rules` is an object", None);
        };
        for entry in entries {
            let value = &entry.value;
            match entry.key.as_str() {
                "max_concurrent_agents" | "max_concurrent" => out.max_concurrent = self.count(value),
                "checkpoint_interval" => out.checkpoint_interval = self.seconds_or_zero(value),
                "lock_timeout" => out.lock_timeout = self.seconds(value),
                "merge_strategy" => out.manual |= value.as_text() == Some("manual_review"),
                _ => {}
            }
        }
    }

    /// `file_locks`: patterns, or objects with a path and the kind of lock.
    fn locks(&mut self, json: &Json, agent: &mut Agent) {
        let Node::Array(items) = &json.node else {
            return agent.files.extend(self.patterns(json));
        };
        for item in items {
            let Node::Object(entries) = &item.node else {
                agent.files.extend(self.patterns(item));
                continue;
            };
            let text = |keys: &[&str]| entries.iter().find(|e| keys.contains(&e.key.as_str())).map(|e| &e.value);
            let shared = text(&["type", "mode", "lock"]).and_then(Json::as_text) == Some("shared");
            match text(&["path", "pattern", "file"]) {
                Some(pattern) if shared => agent.reads.extend(self.patterns(pattern)),
                Some(pattern) => agent.files.extend(self.patterns(pattern)),
                None => self.wrong(item, "a lock needs a `path`", None),
            }
        }
    }

    fn patterns(&mut self, json: &Json) -> Vec<String> {
        let mut out = Vec::new();
        for (text, place) in self.texts(json).collect::<Vec<_>>() {
            match Pattern::new(&text) {
                Ok(_) => out.push(text),
                Err(error) => self.at(place, format!("`{}` is no pattern: {error}", text.escape_debug()), None),
            }
        }
        out
    }

    /// The strings of a list, or the one string.
    fn texts(&mut self, json: &Json) -> std::vec::IntoIter<(String, std::ops::Range<usize>)> {
        let mut out = Vec::new();
        let items = match &json.node {
            Node::Array(items) => items.as_slice(),
            Node::Null => &[],
            _ => std::slice::from_ref(json),
        };
        for item in items {
            match item.as_text() {
                Some(text) => out.push((text.to_owned(), item.clone_place())),
                None => self.wrong(item, "expected a string", None),
            }
        }
        out.into_iter()
    }

    fn optional_text(&mut self, json: &Json) -> Option<String> {
        match &json.node {
            Node::Text(text) => Some(text.clone()),
            Node::Null => None,
            _ => {
                self.wrong(json, "expected a string", None);
                None
            }
        }
    }

    /// The name of an agent or of the session.
    fn name(&mut self, json: &Json) -> Option<String> {
        let name = self.optional_text(json)?;
        if name.trim().is_empty() || name.contains(char::is_control) || name.len() > MAX_NAME {
            self.wrong(json, &format!("a name is one line of at most {MAX_NAME} bytes"), None);
        }
        Some(name)
    }

    fn flag(&mut self, json: &Json) -> Option<bool> {
        if let Node::Bool(flag) = json.node {
            return Some(flag);
        }
        self.wrong(json, "expected `true` or `false`", None);
        None
    }

    fn priority(&mut self, json: &Json) -> Option<i64> {
        let value = json.as_number().filter(|n| Priority::new(*n).is_some());
        if value.is_none() {
            self.wrong(json, "a priority is a number from 1 (first) to 5 (last)", None);
        }
        value
    }

    fn count(&mut self, json: &Json) -> Option<u64> {
        let value = json.as_number().and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0 && *n <= 10_000);
        if value.is_none() {
            self.wrong(json, "expected a number from 1 to 10000", None);
        }
        value
    }

    fn seconds_or_zero(&mut self, json: &Json) -> Option<Duration> {
        const YEAR: u64 = 366 * 24 * 3600;
        let value = json.as_number().and_then(|n| u64::try_from(n).ok()).filter(|n| *n <= YEAR);
        if value.is_none() && json.node != Node::Null {
            self.wrong(json, "expected a whole number of seconds", None);
        }
        value.map(Duration::from_secs)
    }

    fn seconds(&mut self, json: &Json) -> Option<Duration> {
        let value = self.seconds_or_zero(json)?;
        if value.is_zero() {
            self.wrong(json, "expected more than 0 seconds", None);
        }
        Some(value)
    }

    /// Dependencies must be agents of the manifest.
    fn references(&mut self, manifest: &Manifest, root: &Json) {
        let ids: BTreeSet<&str> = manifest.agents.iter().map(|a| a.id.as_str()).collect();
        let mut unknown = Vec::new();
        root.visit(&mut |key, value| {
            if matches!(key, "dependencies" | "depends_on") {
                let items =
                    if let Node::Array(items) = &value.node { items.as_slice() } else { std::slice::from_ref(value) };
                let names = items.iter().filter_map(|item| Some((item.as_text()?, item.clone_place())));
                unknown.extend(
                    names.filter(|(name, _)| !ids.contains(name)).map(|(name, place)| (name.to_owned(), place)),
                );
            }
        });
        for (name, place) in unknown {
            let near = ids.iter().map(|id| (strsim::jaro_winkler(id, &name), *id)).max_by(|a, b| a.0.total_cmp(&b.0));
            let help = near.filter(|(score, _)| *score > 0.8).map(|(_, id)| format!("did you mean `{id}`?"));
            self.at(place, format!("no agent has the id `{}`", name.escape_debug()), help);
        }
    }

    /// No agent may wait for itself, by itself or through others.
    fn ring(&mut self, manifest: &Manifest) {
        let agents = &manifest.agents;
        let known: BTreeMap<&str, usize> = agents.iter().zip(0..).map(|(agent, at)| (agent.id.as_str(), at)).collect();
        let on = |at: usize| agents[at].depends_on.iter().filter_map(|id| known.get(id.as_str()).copied());
        let mut dependents = vec![Vec::new(); agents.len()];
        let mut lacking: Vec<usize> = (0..agents.len()).map(|at| on(at).count()).collect();
        for at in 0..agents.len() {
            on(at).for_each(|other| dependents[other].push(at));
        }
        let mut free: Vec<usize> = (0..agents.len()).filter(|at| lacking[*at] == 0).collect();
        while let Some(done) = free.pop() {
            for &at in &dependents[done] {
                lacking[at] -= 1;
                if lacking[at] == 0 {
                    free.push(at);
                }
            }
        }
        // Each that still lacks something lacks one of these, so following them leads round.
        let mut next = (0..agents.len()).find(|at| lacking[*at] > 0);
        let mut seen: BTreeSet<usize> = BTreeSet::new();
        let mut ring = Vec::new();
        while let Some(at) = next.filter(|at| ring.first() != Some(at)) {
            if !seen.insert(at) {
                ring.push(at);
            }
            next = on(at).find(|other| lacking[*other] > 0);
        }
        let Some(&first) = ring.iter().min() else { return };
        let names: Vec<&str> = ring.iter().chain(&ring[..1]).map(|at| agents[*at].id.as_str()).collect();
        let message = format!("agents wait for each other: {}", names.join(" → "));
        let help = Some("take one of these dependencies out".to_owned());
        self.at(agents[first].place.clone(), message, help);
    }

    fn wrong(&mut self, json: &Json, message: &str, help: Option<&str>) {
        self.at(json.clone_place(), message.to_owned(), help.map(str::to_owned));
    }

    fn at(&mut self, range: std::ops::Range<usize>, message: String, help: Option<String>) {
        self.problems.push(Problem { help, ..place(self.text, range, message) });
    }
}

fn place(text: &str, range: std::ops::Range<usize>, message: String) -> Problem {
    let before = text.get(..range.start).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    Problem {
        message,
        help: None,
        offset: range.start,
        len: range.len(),
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
    }
}

fn write(manifest: &Manifest) -> String {
    let mut session = Table::new();
    session["name"] = value(literal(manifest.name.as_deref().unwrap_or("orchestrator")));
    if let Some(n) = manifest.max_concurrent {
        session["max_concurrent"] = value(i64::try_from(n).unwrap_or(i64::MAX));
    }
    if let Some(interval) = manifest.checkpoint_interval {
        session["checkpoint_interval"] = duration(interval);
    }
    let mut defaults = Table::new();
    if let Some(timeout) = manifest.lock_timeout {
        defaults["lock_timeout"] = duration(timeout);
    }
    if manifest.manual {
        defaults["on_conflict"] = value("manual");
    }
    let mut agents = ArrayOfTables::new();
    manifest.agents.iter().for_each(|agent| agents.push(agent_table(agent)));

    let mut document = DocumentMut::new();
    document["session"] = Item::Table(session);
    if !defaults.is_empty() {
        document["defaults"] = Item::Table(defaults);
    }
    document["agent"] = Item::ArrayOfTables(agents);
    let head =
        "# Made from an orchestrator manifest, which has no prompts: write each `prompt`, then `supervise check`.\n\n";
    format!("{head}{document}")
}

fn agent_table(agent: &Agent) -> Table {
    let mut table = Table::new();
    table["id"] = value(agent.id.as_str());
    if let Some(name) = &agent.name {
        table["name"] = value(literal(name));
    }
    if let Some(priority) = agent.priority {
        table["priority"] = value(priority);
    }
    let prompt = agent.prompt.clone().unwrap_or_else(|| match &agent.name {
        Some(name) => format!("{FILL_IN} ({name})"),
        None => FILL_IN.to_owned(),
    });
    table["prompt"] = value(prompt.replace("{{", "{{{{"));
    for (key, patterns) in [("files", &agent.files), ("reads", &agent.reads)] {
        if !patterns.is_empty() {
            table[key] = value(list(patterns.iter().map(|p| literal(p))));
        }
    }
    if !agent.depends_on.is_empty() {
        table["depends_on"] = value(list(agent.depends_on.iter().cloned()));
    }
    if let Some(wait) = agent.wait_for_completion {
        table["wait_for_completion"] = value(wait);
    }
    if let Some(timeout) = agent.timeout {
        table["timeout"] = duration(timeout);
    }
    let warning: Option<String> = agent.warning.as_ref().map(|w| w.split_whitespace().collect::<Vec<_>>().join(" "));
    let comment = warning.map(|w| format!("# {}\n", w.replace(char::is_control, "")));
    table.decor_mut().set_prefix(format!("\n{}", comment.unwrap_or_default()));
    table
}

/// Text of the manifest is no template.
fn literal(text: &str) -> String {
    text.replace("{{", "{{{{")
}

fn duration(value_of: Duration) -> Item {
    value(humantime::format_duration(value_of).to_string())
}

/// One line for one item, a line each for more.
fn list(items: impl Iterator<Item = String>) -> Array {
    let mut array: Array = items.collect();
    if array.len() > 1 {
        array.iter_mut().for_each(|item| item.decor_mut().set_prefix("\n  "));
        array.set_trailing("\n");
        array.set_trailing_comma(true);
    }
    array
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = r#"{
  "session_id": "phase-1",
  "agents": {
    "agent-1": {"name": "API", "priority": 1, "file_locks": ["api/*.py", "api/v2/"], "dependencies": [], "timeout": 600},
    "agent-2": {"name": "Docs {{x}}", "status": "running", "pid": 7,
      "file_locks": [{"path": "README.md"}, {"path": "api/", "type": "shared"}],
      "dependencies": ["agent-1"], "wait_for_completion": false, "warning": "same as\nagent-1"}
  },
  "conflicts": [{"agents": ["agent-1"], "files": ["x"]}],
  "coordination_rules": {"max_concurrent_agents": 4, "merge_strategy": "manual_review", "checkpoint_interval": 300}
}"#;

    #[test]
    fn a_manifest_becomes_a_session_file() {
        insta::assert_snapshot!(convert(MANIFEST).unwrap(), @r#"
        # Made from an orchestrator manifest, which has no prompts: write each `prompt`, then `supervise check`.

        [session]
        name = "phase-1"
        max_concurrent = 4
        checkpoint_interval = "5m"

        [defaults]
        on_conflict = "manual"

        [[agent]]
        id = "agent-1"
        name = "API"
        priority = 1
        prompt = "FILL IN: what should this agent do? (API)"
        files = [
          "api/*.py",
          "api/v2/",
        ]
        timeout = "10m"

        # same as agent-1
        [[agent]]
        id = "agent-2"
        name = "Docs {{{{x}}"
        prompt = "FILL IN: what should this agent do? (Docs {{{{x}})"
        files = ["README.md"]
        reads = ["api/"]
        depends_on = ["agent-1"]
        wait_for_completion = false
        "#);
    }

    #[test]
    fn agents_may_stand_at_the_top_or_in_a_list() {
        let expected = convert(r#"{"agents": {"a": {"file_locks": ["x"]}}}"#).unwrap();
        assert_eq!(convert(r#"{"active_agents": [{"id": "a", "file_locks": "x"}]}"#).unwrap(), expected);
        assert_eq!(convert(r#"{"a": {"file_locks": ["x"]}, "coordination_rules": {}}"#).unwrap(), expected);
    }

    #[track_caller]
    fn check(text: &str, expected: &[(usize, usize, &str)]) {
        let problems = convert(text).expect_err("something is wrong with it");
        let got: Vec<_> = problems.iter().map(|p| (p.line, p.column, p.message.as_str())).collect();
        assert_eq!(got, expected, "{text}");
    }

    #[test]
    fn all_that_is_wrong_is_said_with_its_place() {
        check("{", &[(1, 1, "EOF while parsing an object")]);
        check("[]", &[(1, 1, "an orchestrator manifest is a JSON object")]);
        check("{}", &[(1, 1, "the manifest has no agents")]);
        check(r#"{"agents": 3}"#, &[(1, 12, "agents are an object or a list of objects")]);
        check(
            "{\"agents\": {\n \"a b\": {\"file_locks\": [\"/x\", \"é\", 1], \"priority\": 9},\n \"c\": {\"dependencies\": [\"d\"], \"timeout\": 0}}}",
            &[
                (2, 2, "an id has only letters, digits, `_`, `-` and single inner `.`"),
                (2, 25, "`/x` is no pattern: a pattern is relative to the workspace; it may not start with `/`"),
                (2, 36, "expected a string"),
                (2, 52, "a priority is a number from 1 (first) to 5 (last)"),
                (3, 42, "expected more than 0 seconds"),
                (3, 25, "no agent has the id `d`"),
            ],
        );
        check(
            r#"{"session_id": " ", "x": {"name": "a\nb"}}"#,
            &[(1, 16, "a name is one line of at most 200 bytes"), (1, 35, "a name is one line of at most 200 bytes")],
        );
        let waits = "agents wait for each other";
        check(r#"{"x": {"needs": 1, "depends_on": "x"}}"#, &[(1, 2, &format!("{waits}: x → x"))]);
        check(
            r#"{"c": {"depends_on": ["a"]}, "a": {"depends_on": "b"}, "b": {"depends_on": ["x", "a"]}, "x": {}}"#,
            &[(1, 30, &format!("{waits}: a → b → a"))],
        );
        let nested = format!("{{\"agents\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        check(&nested, &[(1, 138, "recursion limit exceeded")]);
    }
}
