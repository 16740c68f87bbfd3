//! Adding an agent to the text of a session file.
//!
//! Invariant: every byte that was there stays as it was; what is added reads back as what was meant.
//!
//! Deliberately absent: whether the session is a good one with it, which loading tells.

use toml::de::DeTable;
use toml_edit::{Array, DocumentMut, InlineTable, Item, RawString, Table, TomlError, Value, value};

use crate::core::newcomer::{NewAgent, Work};

/// The text with the agent at its end. Fails where the text is no TOML.
pub fn append(text: &str, agent: &NewAgent) -> Result<String, TomlError> {
    append_table(text, table(agent))
}

/// The key of the last agent of such a text in whose value, or name, this place is; `None`: it is in no agent's, or
/// in that of one that stands before `from`.
#[must_use]
pub fn key_at(text: &str, from: usize, at: usize) -> Option<String> {
    let (document, _) = DeTable::parse_recoverable(text);
    let last = document.get_ref().get("agent")?.get_ref().as_array()?.iter().next_back()?;
    let keys = last.get_ref().as_table()?.iter();
    let holds = |span: std::ops::Range<usize>| span.contains(&at) || span.start == at;
    let mut found = keys.filter(|(key, value)| holds(key.span()) || holds(value.span()));
    found.next().filter(|(key, _)| key.span().start >= from).map(|(key, _)| key.get_ref().to_string())
}

/// The agent as a section by itself.
#[must_use]
pub fn section(agent: &NewAgent) -> String {
    block(table(agent))
}

/// The text with such a section at its end. Fails where one of the two is no TOML.
pub fn append_section(text: &str, section: &str) -> Result<String, TomlError> {
    let mut document: DocumentMut = section.parse()?;
    let table = document.get_mut("agent").and_then(Item::as_array_of_tables_mut).and_then(|list| list.get_mut(0));
    append_table(text, table.map(std::mem::take).unwrap_or_default())
}

fn append_table(text: &str, table: Table) -> Result<String, TomlError> {
    let mut document: DocumentMut = text.parse()?;
    if let Some(Item::Value(Value::Array(agents))) = document.get_mut("agent") {
        // `agent = [{ … }]`: a section of its own would be a second `agent`.
        push(agents, table.into_inline_table());
        return Ok(document.to_string());
    }
    let block = block(table);
    let (feed, block) = match text.find('\n') {
        Some(at) if text[..at].ends_with('\r') => ("\r\n", block.replace('\n', "\r\n")),
        _ => ("\n", block),
    };
    let mut out = text.to_owned();
    if !out.is_empty() && !out.ends_with('\n') {
        out.push_str(feed);
    }
    if !out.is_empty() {
        out.push_str(feed);
    }
    out.push_str(block.trim_start());
    Ok(out)
}

/// Puts an agent at the end of the list. Where each stands on a line of its own it gets one too, and the comment
/// behind the last one stays there.
fn push(agents: &mut Array, agent: InlineTable) {
    let tail = agents.trailing().as_str().unwrap_or_default().to_owned();
    let indent = agents.iter().last().and_then(|last| last.decor().prefix()?.as_str()).unwrap_or_default();
    let indent = indent.rfind('\n').map(|at| indent[at..].to_owned());
    let mut agent = Value::InlineTable(agent);
    let Some(indent) = indent else {
        agents.push(agent);
        return;
    };
    // What is behind the last one, without a comma before it or with one, comes before the new one's line.
    let behind = agents.iter_mut().last().map(|last| {
        let suffix = last.decor().suffix().and_then(RawString::as_str).unwrap_or_default().to_owned();
        last.decor_mut().set_suffix("");
        suffix
    });
    let behind = [behind.unwrap_or_default(), tail].concat();
    let (comments, close) = behind.split_at(behind.rfind('\n').unwrap_or(behind.len()));
    agent.decor_mut().set_prefix(format!("{}{indent}", comments.trim_end()));
    agent.decor_mut().set_suffix("");
    agents.push_formatted(agent);
    agents.set_trailing(close);
    agents.set_trailing_comma(!close.is_empty());
}

fn block(mut table: Table) -> String {
    table.set_implicit(false);
    let mut block = DocumentMut::new();
    block.insert("agent", Item::ArrayOfTables([table].into_iter().collect()));
    block.to_string()
}

fn table(agent: &NewAgent) -> Table {
    let mut table = Table::new();
    let mut put = |key: &str, item: Option<Item>| {
        if let Some(item) = item {
            table.insert(key, item);
        }
    };
    let text = |text: &Option<String>| text.as_ref().map(value);
    let list = |list: &[String]| (!list.is_empty()).then(|| value(list.iter().collect::<Array>()));
    put("id", Some(value(&agent.id)));
    put("name", text(&agent.name));
    put("phase", text(&agent.phase));
    put("priority", agent.priority.map(|priority| value(i64::from(priority))));
    put("runner", text(&agent.runner));
    match &agent.work {
        Work::Prompt(prompt) => put("prompt", Some(value(prompt))),
        Work::Command(words) => put("command", list(words)),
    }
    put("files", list(&agent.files));
    put("late", list(&agent.late));
    put("reads", list(&agent.reads));
    put("depends_on", list(&agent.depends_on));
    table
}

/// An id made of a name: its letters and digits, in lower case, with dashes between the words.
#[must_use]
pub fn id_of(name: &str) -> String {
    let mut id = String::new();
    for c in name.chars() {
        match c.to_ascii_lowercase() {
            c if c.is_ascii_alphanumeric() => id.push(c),
            _ if !id.is_empty() && !id.ends_with('-') => id.push('-'),
            _ => {}
        }
    }
    id.truncate(MAX_ID);
    id.trim_end_matches('-').to_owned()
}

/// The most letters of an id.
const MAX_ID: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn agent() -> NewAgent {
        NewAgent {
            id: "docs".to_owned(),
            name: Some("The docs".to_owned()),
            priority: Some(2),
            work: Work::Prompt("Say \"hello\".\n{{id}}".to_owned()),
            files: vec!["docs/**".to_owned()],
            depends_on: vec!["api".to_owned(), "tag:x".to_owned()],
            ..NewAgent::default()
        }
    }

    fn check(before: &str, feed: &str) {
        let after = append(before, &agent()).unwrap();
        assert_eq!(append_section(before, &section(&agent())).unwrap(), after);
        let added = after.strip_prefix(before).unwrap_or_else(|| panic!("{before:?} is still there: {after:?}"));
        assert!(!feed.is_empty() && added.split_inclusive('\n').all(|line| line.ends_with(feed)), "{after:?}");
        let read: toml::Table = after.parse().unwrap();
        let agents = read["agent"].as_array().unwrap();
        let last = agents.last().unwrap();
        assert_eq!(last["id"].as_str(), Some("docs"));
        assert_eq!(last["prompt"].as_str().map(|t| t.replace('\r', "")).as_deref(), Some("Say \"hello\".\n{{id}}"));
        assert_eq!(last["depends_on"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn what_was_there_stays_to_the_last_byte() {
        check("", "\n");
        check("# mine\n[session]\nname  =  'x'   # odd\n\n[[agent]]\nid = \"a\"\nprompt='''\np'''\n", "\n");
        check("[[agent]]\nid = \"a\"\n[defaults]\ntimeout = \"1m\" # no line feed", "\n");
        check("[[agent]]\r\nid = \"a\"\r\n", "\r\n");
        check("[[phase]]\nname = \"p\"\n[phase.defaults]\nretries = 1\n\n\n", "\n");
    }

    #[test]
    fn a_list_of_agents_in_one_line_grows() {
        let after = append("agent = [{ id = \"a\", prompt = \"p\" }] # all\n", &agent()).unwrap();
        let read: toml::Table = after.parse().unwrap();
        assert_eq!(read["agent"].as_array().unwrap().len(), 2);
        assert!(after.starts_with("agent = [{ id = \"a\", prompt = \"p\" }") && after.contains("# all"), "{after}");
        assert!(append("[[agent", &agent()).is_err());
    }

    #[test]
    fn in_a_list_of_lines_it_has_a_line_and_comments_stay_where_they_were() {
        for (before, after) in [
            (
                "agent = [\n  { id = \"a\" }, # first\n  { id = \"b\" } # last\n]\n",
                "# first\n  { id = \"b\" }, # last\n  { id",
            ),
            ("agent = [\n  { id = \"b\" }, # last\n  # and more\n]\n", "{ id = \"b\" }, # last\n  # and more\n  { id"),
        ] {
            let text = append(before, &agent()).unwrap();
            assert!(text.contains(after) && text.ends_with("] },\n]\n"), "{text}");
            let read: toml::Table = text.parse().unwrap();
            assert_eq!(read["agent"].as_array().unwrap().last().unwrap()["id"].as_str(), Some("docs"));
        }
    }

    #[test]
    fn a_place_in_what_was_added_is_one_of_its_keys() {
        for before in ["[[agent]]\nid = \"a\"\nfiles = [\"f\"]\n", "agent = [{ id = \"a\", files = [\"f\"] }]"] {
            let after = append(before, &agent()).unwrap();
            let at = |text: &str| key_at(&after, before.rfind(']').unwrap(), after.rfind(text).unwrap());
            assert_eq!(at("\"docs/**\"").as_deref(), Some("files"));
            assert_eq!(at("\"docs\"").as_deref(), Some("id"));
            assert_eq!(at("{{id}}").as_deref(), Some("prompt"));
            assert_eq!((at("\"a\""), at("\"f\"")), (None, None));
        }
    }

    #[test]
    fn ids_are_made_of_names() {
        for (name, id) in [("Backend API (v2)", "backend-api-v2"), ("  Ünïcode--x ", "n-code-x"), ("!", "")] {
            assert_eq!(id_of(name), id);
        }
        assert_eq!(id_of(&"x".repeat(100)).len(), 64);
    }
}
