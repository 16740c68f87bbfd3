//! Texts with `{{placeholders}}`.
//!
//! Invariant: a [`Template`] holds nothing but text, `{{attempt}}` and `{{slot}}`: all other
//! placeholders are filled in when the session is read.

/// A text whose last two placeholders are known only at launch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Attempt,
    Slot,
}

impl Template {
    /// A template that is only text.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self { parts: vec![Part::Text(text.to_owned())] }
    }

    /// The text for this attempt in this slot.
    #[must_use]
    pub fn fill(&self, attempt: u32, slot: u32) -> String {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(t) => out.push_str(t),
                Part::Attempt => out.push_str(&attempt.to_string()),
                Part::Slot => out.push_str(&slot.to_string()),
            }
        }
        out
    }
}
