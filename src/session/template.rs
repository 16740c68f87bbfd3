//! Texts with `{{placeholders}}`.
//!
//! Invariant: a [`Template`] holds nothing but text and the placeholders that are known only at
//! launch: `{{attempt}}` and `{{slot}}`, and in a command's arguments `{{prompt}}` and
//! `{{prompt_file}}`. All others are filled in when the session is read.

use serde::{Deserialize, Serialize};

use super::source::Span;

/// A text whose last placeholders are known only at launch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Part {
    Text(String),
    Attempt,
    Slot,
    Prompt,
    PromptFile,
    /// No text: what follows are an agent's own words.
    Own,
}

impl Template {
    /// A template that is only text.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self { parts: vec![Part::Text(text.to_owned())] }
    }

    /// The text for this attempt in this slot. A `{{prompt}}` or `{{prompt_file}}` in it stays as it
    /// is; use [`Template::fill_with_prompt`] where there can be one.
    #[must_use]
    pub fn fill(&self, attempt: u32, slot: u32) -> String {
        self.fill_with_prompt(attempt, slot, "{{prompt}}", "{{prompt_file}}")
    }

    /// The text for this attempt in this slot, with the prompt and the path of a file that holds it.
    #[must_use]
    pub fn fill_with_prompt(&self, attempt: u32, slot: u32, prompt: &str, prompt_file: &str) -> String {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(t) => out.push_str(t),
                Part::Attempt => out.push_str(&attempt.to_string()),
                Part::Slot => out.push_str(&slot.to_string()),
                Part::Prompt => out.push_str(prompt),
                Part::PromptFile => out.push_str(prompt_file),
                Part::Own => {}
            }
        }
        out
    }

    /// Does it have a `{{prompt}}`?
    #[must_use]
    pub fn uses_prompt(&self) -> bool {
        self.parts.contains(&Part::Prompt)
    }

    /// Does it have a `{{prompt_file}}`?
    #[must_use]
    pub fn uses_prompt_file(&self) -> bool {
        self.parts.contains(&Part::PromptFile)
    }

    /// As it would be written in a session file.
    #[must_use]
    pub fn source(&self) -> String {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(t) => out.push_str(&t.replace("{{", "{{{{")),
                Part::Attempt => out.push_str("{{attempt}}"),
                Part::Slot => out.push_str("{{slot}}"),
                Part::Prompt => out.push_str("{{prompt}}"),
                Part::PromptFile => out.push_str("{{prompt_file}}"),
                Part::Own => {}
            }
        }
        out
    }

    /// Of a whole prompt, what the agent's own part says: without brief and preamble.
    #[must_use]
    pub fn own_words(&self) -> String {
        let from = self.parts.iter().position(|part| *part == Part::Own).unwrap_or(0);
        Self { parts: self.parts[from..].to_vec() }.fill(1, 0)
    }

    /// What is appended from here on are the agent's own words.
    pub(super) fn mark_own(&mut self) {
        self.parts.push(Part::Own);
    }

    pub(super) fn push_text(&mut self, text: &str) {
        if let Some(Part::Text(last)) = self.parts.last_mut() {
            last.push_str(text);
        } else if !text.is_empty() {
            self.parts.push(Part::Text(text.to_owned()));
        }
    }

    pub(super) fn append(&mut self, other: Self) {
        for part in other.parts {
            match part {
                Part::Text(t) => self.push_text(&t),
                part => self.parts.push(part),
            }
        }
    }

    /// The whole text, where nothing waits for the launch.
    pub(super) fn into_text(mut self) -> String {
        match (self.parts.pop(), self.parts.is_empty()) {
            (Some(Part::Text(t)), true) => t,
            (Some(last), _) => {
                self.parts.push(last);
                self.fill(0, 0)
            }
            (None, _) => String::new(),
        }
    }

    /// Fills in what `scope` knows of the placeholders of `text`. All bad ones are returned.
    pub(super) fn parse(text: &str, scope: Scope<'_>) -> Result<Self, Vec<BadPlaceholder>> {
        let mut out = Self::default();
        let mut bad = Vec::new();
        let mut at = 0;
        while let Some(found) = text[at..].find("{{") {
            let open = at + found;
            out.push_text(&text[at..open]);
            let rest = &text[open + 2..];
            if rest.starts_with("{{") {
                out.push_text("{{");
                at = open + 4;
                continue;
            }
            // Of three braces the first is text: it stands before a placeholder.
            if rest.starts_with('{') {
                out.push_text("{");
                at = open + 1;
                continue;
            }
            let close = rest.find("}}").filter(|end| *end <= MAX_NAME && !rest[..*end].contains("{{"));
            let name = close.map_or("", |end| rest[..end].trim());
            let end = close.map_or(open + 2, |end| open + 2 + end + 2);
            at = end;
            match scope.part(name) {
                Some(Part::Text(value)) => out.push_text(&value),
                Some(part) => out.parts.push(part),
                None if scope.lenient => out.push_text(&text[open..end]),
                None => bad.push(BadPlaceholder { name: name.to_owned(), span: open..end }),
            }
        }
        out.push_text(&text[at..]);
        if bad.is_empty() { Ok(out) } else { Err(bad) }
    }
}

/// The longest text between `{{` and `}}` that is looked at, in bytes.
const MAX_NAME: usize = 128;

/// A `{{…}}` that means nothing where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BadPlaceholder {
    /// Empty where it has no end.
    pub(super) name: String,
    /// Where in the text.
    pub(super) span: Span,
}

/// Names that have a value, beside those of [`Scope::with_launch`] and [`Scope::with_prompt`].
pub(super) type Variables = [(String, String)];

/// Which placeholders a text may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope<'a> {
    variables: &'a Variables,
    launch: bool,
    prompt: bool,
    lenient: bool,
}

impl<'a> Scope<'a> {
    pub(super) fn new(variables: &'a Variables) -> Self {
        Self { variables, launch: false, prompt: false, lenient: false }
    }

    /// `{{attempt}}` and `{{slot}}` too.
    pub(super) fn with_launch(self) -> Self {
        Self { launch: true, ..self }
    }

    /// `{{prompt}}` and `{{prompt_file}}` too.
    pub(super) fn with_prompt(self) -> Self {
        Self { prompt: true, ..self }
    }

    /// What is not known is text.
    pub(super) fn lenient(self) -> Self {
        Self { lenient: true, ..self }
    }

    fn part(&self, name: &str) -> Option<Part> {
        if let Some((_, value)) = self.variables.iter().find(|(n, _)| n == name) {
            return Some(Part::Text(value.clone()));
        }
        match name {
            "attempt" if self.launch => Some(Part::Attempt),
            "slot" if self.launch => Some(Part::Slot),
            "prompt" if self.prompt => Some(Part::Prompt),
            "prompt_file" if self.prompt => Some(Part::PromptFile),
            _ => None,
        }
    }

    /// The names it knows.
    pub(super) fn names(&self) -> Vec<&'a str> {
        let mut names: Vec<&str> = self.variables.iter().map(|(n, _)| n.as_str()).collect();
        if self.launch {
            names.extend(["attempt", "slot"]);
        }
        if self.prompt {
            names.extend(["prompt", "prompt_file"]);
        }
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders() {
        let variables = [("id".to_owned(), "a-1".to_owned()), ("pkg".to_owned(), "core".to_owned())];
        let check = |text: &str, expected: Result<&str, &[&str]>| {
            let got = Template::parse(text, Scope::new(&variables).with_launch());
            let got = got.map(|t| t.fill(2, 7)).map_err(|b| b.into_iter().map(|b| b.name).collect::<Vec<_>>());
            let expected = expected.map(str::to_owned);
            assert_eq!(got, expected.map_err(|n| n.iter().map(|n| (*n).to_owned()).collect()), "{text:?}");
        };
        check("", Ok(""));
        check("no {single} braces }} matter {", Ok("no {single} braces }} matter {"));
        check("{{id}}/{{ pkg }}", Ok("a-1/core"));
        check("{{{{id}}", Ok("{{id}}"));
        check("{{{{{{id}}}}", Ok("{{a-1}}"));
        check("{{{id}}} {{{{{id}}", Ok("{a-1} {{{id}}"));
        check("try {{attempt}} in {{slot}}", Ok("try 2 in 7"));
        check("{{nope}} {{id}} {{also}}", Err(&["nope", "also"]));
        check("{{id", Err(&[""]));
        check("{{}}", Err(&[""]));
        check("{{prompt}}", Err(&["prompt"]));
    }

    #[test]
    fn prompts_keep_what_they_do_not_know() {
        let variables = [("id".to_owned(), "a".to_owned())];
        let scope = Scope::new(&variables).with_launch().lenient();
        let filled = Template::parse("{{id}} {{ x.y }} {{open {{{{z}}", scope).unwrap().fill(1, 0);
        assert_eq!(filled, "a {{ x.y }} {{open {{z}}");
    }

    #[test]
    fn what_is_written_means_the_same() {
        for brace in ["", "{", "{{", "{{{", "{{{{", "{{{{{"] {
            let variables = [("v".to_owned(), format!("x{brace}"))];
            let scope = Scope::new(&variables).with_launch();
            let template = Template::parse("{{v}}{{slot}}{{v}}", scope).unwrap();
            assert_eq!(Template::parse(&template.source(), scope), Ok(template));
        }
    }

    #[test]
    fn launch_fills_the_prompt() {
        let t = Template::parse("-m{{prompt}}:{{prompt_file}}", Scope::new(&[]).with_prompt()).unwrap();
        assert!(t.uses_prompt() && t.uses_prompt_file());
        assert_eq!(t.fill_with_prompt(1, 0, "do {{slot}}", "/p"), "-mdo {{slot}}:/p");
        assert_eq!(t.source(), "-m{{prompt}}:{{prompt_file}}");
    }
}
