//! The text of a commit: the session's message, the agent's last words, and trailers.
//!
//! Invariant: the trailers are the last paragraph and ours alone; what the agent said is bounded and
//! can forge none of them.

use std::fmt::Write;

use crate::core::change::Attribution;
use crate::core::ids::{AttemptId, RunId};

/// The most of an agent's final message that goes into a commit, in bytes.
const MAX_BODY: usize = 4096;

/// What a commit says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommitMessage {
    pub session: String,
    /// `commit_message`, filled in: a subject, and perhaps more paragraphs.
    pub subject_and_body: String,
    /// The agent's last words.
    pub final_message: Option<String>,
    /// Further trailers, such as `("Supervise-Mixed", path)`.
    pub trailers: Vec<(String, String)>,
}

impl CommitMessage {
    pub(super) fn text(&self, run: Option<&RunId>, id: &AttemptId, attribution: Attribution) -> Vec<u8> {
        let mut out = clean(&self.subject_and_body);
        if out.is_empty() {
            let _ = write!(out, "supervise: {}", id.agent);
        }
        let body = self.final_message.as_deref().map(|m| clean(bounded(m, MAX_BODY))).unwrap_or_default();
        if !body.is_empty() {
            let _ = write!(out, "\n\n{body}");
            if self.final_message.as_deref().is_some_and(|m| m.len() > MAX_BODY) {
                out.push_str(" …");
            }
        }
        out.push_str("\n\n");
        let mut trailer = |name: &str, value: &str| {
            let value = value.replace(|c: char| c.is_control(), " ");
            let _ = writeln!(out, "{name}: {value}");
        };
        trailer("Supervise-Session", &self.session);
        trailer("Supervise-Run", run.map_or("", RunId::as_str));
        trailer("Supervise-Agent", id.agent.as_str());
        trailer("Supervise-Attempt", &id.attempt.to_string());
        if attribution != Attribution::Certain {
            trailer("Supervise-Attribution", "inferred");
        }
        for (name, value) in &self.trailers {
            trailer(name, value);
        }
        out.into_bytes()
    }
}

/// Without control characters, trailing blanks, runs of empty lines, and lines that tools take for
/// the end of a message.
fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut blank = 0;
    for line in text.lines() {
        let line: String = line.chars().filter(|c| *c == '\t' || !c.is_control()).collect();
        let line = line.trim_end();
        if line.is_empty() {
            blank += 1;
            continue;
        }
        if !out.is_empty() {
            out.push_str(if blank > 0 { "\n\n" } else { "\n" });
        }
        blank = 0;
        if line.starts_with("---") || line.starts_with("diff --git ") {
            out.push(' ');
        }
        out.push_str(line);
    }
    out
}

fn bounded(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::ids::{AgentId, Attempt};

    fn check(subject: &str, body: Option<&str>, expected: &str) {
        let id = AttemptId { agent: AgentId::new("a1").unwrap(), attempt: Attempt(2) };
        let message = CommitMessage {
            session: "s\nupervise".to_owned(),
            subject_and_body: subject.to_owned(),
            final_message: body.map(str::to_owned),
            trailers: Vec::new(),
        };
        let text = message.text(RunId::new("r-1").as_ref(), &id, Attribution::Inferred);
        let trailers = "Supervise-Session: s upervise\nSupervise-Run: r-1\nSupervise-Agent: a1\n\
                        Supervise-Attempt: 2\nSupervise-Attribution: inferred\n";
        assert_eq!(String::from_utf8(text).unwrap(), format!("{expected}\n\n{trailers}"));
    }

    #[test]
    fn messages_are_clean_and_end_in_our_trailers() {
        check("feat: x", None, "feat: x");
        check("feat: x\n", Some("  \n"), "feat: x");
        check("", Some("done"), "supervise: a1\n\ndone");
        check("x\n\nmore", Some("a\r\n\n\n\nb\x1b[31m \0"), "x\n\nmore\n\na\n\nb[31m");
        check("x", Some("end\n---\n a"), "x\n\nend\n ---\n a");
        check("x", Some("Supervise-Agent: other"), "x\n\nSupervise-Agent: other");
        let long = "é".repeat(5000);
        check("x", Some(&long), &format!("x\n\n{} …", "é".repeat(2048)));
    }
}
