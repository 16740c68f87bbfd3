//! A run as JUnit XML, for programs that show test results: one suite for each phase, one case for each
//! agent.
//!
//! Invariant: well-formed XML 1.0 whatever an agent said: what XML has no place for is left out, the rest is
//! escaped.
//!
//! Source: the schema that Jenkins and GitLab document (there is no standard), in what both read.

use std::fmt::Write as _;
use std::time::Duration;

use super::reason::{refused_path, why_kind, why_text};
use super::text::printable;
use super::{Setting, wall};
use crate::core::ids::AttemptId;
use crate::core::lifecycle::State;
use crate::core::moment::Moment;
use crate::core::view::{AgentView, RunView};

/// The most of a final message that is kept, in bytes, from its end.
const MOST_OUTPUT: usize = 16 << 10;
/// Refused paths that are listed.
const MOST_DENIED: usize = 20;

const HEAD: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

/// The whole document.
#[must_use]
pub fn junit(view: &RunView, setting: &Setting, now: Moment) -> String {
    let mut suites: Vec<(String, Vec<&AgentView>)> = Vec::new();
    for agent in &view.agents {
        let name = agent.phase.as_deref().unwrap_or(&view.session);
        match suites.iter_mut().find(|(known, _)| known == name) {
            Some((_, agents)) => agents.push(agent),
            None => suites.push((name.to_owned(), vec![agent])),
        }
    }
    let mut out = HEAD.to_owned();
    let took = view.ended_at.unwrap_or(now).since(Moment::ZERO);
    let name = attribute("name", &view.session);
    let _ = writeln!(out, "<testsuites{name}{}{}>", counts(&view.agents.iter().collect::<Vec<_>>()), time(took));
    for (name, agents) in &suites {
        let began = agents.iter().filter_map(|agent| agent.started_at).min();
        let at = began.map(|at| attribute("timestamp", &format!("{:.0}", wall(setting.start, at)))).unwrap_or_default();
        let sum = agents.iter().map(|agent| duration_of(agent, now)).sum();
        let head = [attribute("name", name), counts(agents), time(sum), at].concat();
        let _ = writeln!(out, "  <testsuite{head}>");
        for agent in agents {
            case(&mut out, view, agent, setting, now);
        }
        out.push_str("  </testsuite>\n");
    }
    out.push_str("</testsuites>\n");
    out
}

/// A run that came to no end, or never began, for this reason: one case with an error.
#[must_use]
pub fn unusable(why: &str) -> String {
    let counts = "tests=\"1\" failures=\"0\" errors=\"1\" skipped=\"0\"";
    let first = printable(why.lines().find(|line| !line.trim().is_empty()).unwrap_or_default());
    format!(
        "{HEAD}<testsuites name=\"supervise\" {counts}>\n  <testsuite name=\"supervise\" {counts}>\n    \
         <testcase classname=\"supervise\" name=\"run\">\n      <error{}>{}</error>\n    \
         </testcase>\n  </testsuite>\n</testsuites>\n",
        attribute("message", &first),
        escape(&anstream::adapter::strip_str(why).to_string()),
    )
}

fn case(out: &mut String, view: &RunView, agent: &AgentView, setting: &Setting, now: Moment) {
    let class = attribute("classname", agent.phase.as_deref().unwrap_or(&view.session));
    let head = [class, attribute("name", agent.id.as_str()), time(duration_of(agent, now))].concat();
    let _ = writeln!(out, "    <testcase{head}>");
    let why = why_text(&agent.why, setting).unwrap_or_else(|| agent.state.as_str().to_lowercase());
    match agent.state {
        State::Completed => {}
        State::Skipped => {
            let _ = writeln!(out, "      <skipped{}/>", attribute("message", &why));
        }
        state => {
            let kind = why_kind(&agent.why).unwrap_or("unfinished");
            let head = [attribute("message", &why), attribute("type", kind)].concat();
            let text = failure(view, agent, state, &why, setting);
            let _ = writeln!(out, "      <failure{head}>{}</failure>", escape(&text));
        }
    }
    if let Some(message) = agent.message.as_deref().filter(|message| !message.trim().is_empty()) {
        let _ = writeln!(out, "      <system-out>{}</system-out>", escape(tail(message)));
    }
    out.push_str("    </testcase>\n");
}

/// What somebody needs who sees the failure and not the report.
fn failure(view: &RunView, agent: &AgentView, state: State, why: &str, setting: &Setting) -> String {
    let mut lines = vec![format!("{}: {why}", state.as_str())];
    for denied in agent.denied.iter().take(MOST_DENIED) {
        lines.push(format!("refused: {}", refused_path(&denied.path)));
    }
    if let Some(verify) = agent.verify.as_ref().filter(|verify| !verify.ok) {
        lines.push(format!("verify said:\n{}", verify.tail.trim_end()));
    }
    if let Some(attempt) = agent.attempt {
        lines.push(format!("logs: {}", setting.logs(&view.run, &AttemptId { agent: agent.id.clone(), attempt })));
    }
    if let Some(salvage) = agent.salvage.last() {
        lines.push(format!("its work: {} show {salvage}", setting.git));
    }
    lines.join("\n")
}

fn duration_of(agent: &AgentView, now: Moment) -> Duration {
    agent.started_at.map_or(Duration::ZERO, |started| agent.ended_at.unwrap_or(now).since(started))
}

fn counts(agents: &[&AgentView]) -> String {
    let skipped = agents.iter().filter(|agent| agent.state == State::Skipped).count();
    let completed = agents.iter().filter(|agent| agent.state == State::Completed).count();
    let failures = agents.len() - skipped - completed;
    format!(" tests=\"{}\" failures=\"{failures}\" errors=\"0\" skipped=\"{skipped}\"", agents.len())
}

fn time(took: Duration) -> String {
    format!(" time=\"{}.{:03}\"", took.as_secs(), took.subsec_millis())
}

fn attribute(name: &str, text: &str) -> String {
    format!(" {name}=\"{}\"", escape(&printable(text)))
}

/// The end of a text, from a line's beginning where one is near.
fn tail(text: &str) -> &str {
    let mut from = text.len().saturating_sub(MOST_OUTPUT);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    let text_from = &text[from..];
    match text_from.find('\n') {
        Some(at) if from > 0 && at < MOST_OUTPUT / 4 => &text_from[at + 1..],
        _ => text_from,
    }
}

/// Text or a quoted value of XML 1.0 (section 2.2 says which characters there are).
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in anstream::adapter::strip_str(text).to_string().chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(c),
            '\u{fffe}' | '\u{ffff}' => {}
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_breaks_the_document() {
        let check = |text: &str, expected: &str| assert_eq!(escape(text), expected, "{text:?}");
        check("a <b> & \"c\"", "a &lt;b&gt; &amp; &quot;c&quot;");
        check("]]>", "]]&gt;");
        check("\u{1b}[31mred\u{1b}[0m\r\n\tx\u{0}\u{b}\u{ffff}\u{9b}", "red\n\tx");
        check("漢字 😀", "漢字 😀");
    }

    #[test]
    fn the_end_of_a_long_message_is_kept() {
        assert_eq!(tail("short\nmessage"), "short\nmessage");
        let long = format!("é{}\nlast line", "x".repeat(2 * MOST_OUTPUT));
        assert_eq!(tail(&long).len(), MOST_OUTPUT, "no line begins near");
        let lines = format!("{}end", "a line of some length\n".repeat(2000));
        assert!(
            tail(&lines).starts_with("a line") && tail(&lines).ends_with("end") && tail(&lines).len() <= MOST_OUTPUT
        );
    }
}
