//! How it stands with an agent that has just joined a run, for people and for programs.
//!
//! Invariant: made of the supervisor's own documents, in which every text is one that could be anybody's; none
//! reaches the terminal unescaped. The last line says how to see what comes of it.

use serde::Serialize;
use serde_json::Value;

use super::status::Commands;
use super::text::printable;

/// Contests and duplicates shown to people.
const SHOWN: usize = 20;

/// The supervisor's answer.
#[derive(Clone, Copy, Debug)]
pub struct Joined<'a> {
    pub run: &'a str,
    /// As in the document of the run.
    pub agent: &'a Value,
    /// As in the document of `check`.
    pub contested: &'a Value,
    pub duplicates: &'a Value,
}

#[derive(Debug, Serialize)]
pub struct JoinedDocument<'a> {
    version: u32,
    run: &'a str,
    id: &'a Value,
    agent: &'a Value,
    contested: &'a Value,
    duplicates: &'a Value,
}

impl<'a> Joined<'a> {
    #[must_use]
    pub fn document(self) -> JoinedDocument<'a> {
        let Self { run, agent, contested, duplicates } = self;
        JoinedDocument { version: 1, run, id: &agent["id"], agent, contested, duplicates }
    }

    /// Several lines, each with its line feed.
    #[must_use]
    pub fn text(self, commands: &Commands) -> String {
        let id = text(&self.agent["id"]);
        let (state, reason) = (text(&self.agent["state"]), text(&self.agent["reason"]["text"]));
        let how = match (state.as_str(), reason.as_str()) {
            ("RUNNING", _) => "STARTED".to_owned(),
            (_, "") => state,
            _ => format!("{state}: {reason}"),
        };
        let mut lines = vec![format!("{id}  {how}")];
        let contests = list(self.contested).iter().map(|contest| {
            let other = other(&contest["agents"], &id);
            let (left, right) = (text(&contest["patterns"][0]), text(&contest["patterns"][1]));
            if left == right {
                return format!("  never beside {other}: both claim `{left}`");
            }
            format!("  never beside {other}: `{left}` and `{right}` meet, as in {}", text(&contest["example"]))
        });
        let duplicates = list(self.duplicates).iter().map(|duplicate| {
            let other = other(&duplicate["agents"], &id);
            format!(
                "  the claims and the work of {other} once more; {} takes it back",
                commands.call(&format!("stop {id}"))
            )
        });
        let all: Vec<String> = contests.chain(duplicates).collect();
        let more = all.len().saturating_sub(SHOWN);
        lines.extend(all.into_iter().take(SHOWN));
        if more > 0 {
            lines.push(format!("  … and {more} more; `--format json` has them"));
        }
        lines.push(format!("{} shows how it goes on", commands.call(&format!("status {id}"))));
        lines.into_iter().map(|line| line + "\n").collect()
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    printable(value.as_str().unwrap_or_default())
}

/// The one of the two that is not this agent.
fn other(agents: &Value, id: &str) -> String {
    list(agents).iter().map(text).find(|agent| agent != id).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(agent: &Value, contested: &Value, duplicates: &Value) -> String {
        let commands = Commands { supervise: "supervise".to_owned(), run: String::new() };
        Joined { run: "r", agent, contested, duplicates }.text(&commands)
    }

    #[test]
    fn who_has_started_and_who_waits_is_told() {
        let none = json!([]);
        let started = json!({"id": "new", "state": "RUNNING", "reason": null});
        assert_eq!(told(&started, &none, &none), "new  STARTED\nsupervise status new shows how it goes on\n");
        let waits =
            json!({"id": "new", "state": "BLOCKED", "reason": {"kind": "locks", "text": "behind \u{1b}[2Japi"}});
        let contested = json!([
            {"agents": ["api", "new"], "patterns": ["src/", "src/x"], "example": "src/x"},
            {"agents": ["new", "z"], "patterns": ["a", "a"], "example": "a"},
        ]);
        let duplicates = json!([{"agents": ["api", "new"], "recommendation": "remove new"}]);
        assert_eq!(
            told(&waits, &contested, &duplicates),
            "new  BLOCKED: behind api\n  never beside api: `src/` and `src/x` meet, as in src/x\n  \
             never beside z: both claim `a`\n  \
             the claims and the work of api once more; supervise stop new takes it back\n\
             supervise status new shows how it goes on\n"
        );
    }
}
