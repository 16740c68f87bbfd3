//! One table of the file, read key by key: every wrong type, unknown key and bad value becomes a
//! problem with its place, and reading goes on.
//!
//! Invariant: a getter that finds something wrong reports it and answers `None`, as for a key that
//! is not there; no text that it hands out holds a NUL byte.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{self, Key};
use super::problem::{Problems, suggest};
use super::source::Span;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) span: Span,
}

impl<T> At<T> {
    fn map<U>(self, f: impl FnOnce(T) -> U) -> At<U> {
        At { value: f(self.value), span: self.span }
    }
}

/// Environment variables, in the order of their names.
pub(super) type EnvList = Vec<(String, At<String>)>;

/// The longest duration that is taken.
const MAX_DURATION: Duration = Duration::from_hours(366 * 24);

/// A table whose keys have been checked against those it may have.
#[derive(Debug)]
pub(super) struct Section<'t, 'i> {
    values: BTreeMap<&'static str, &'t Spanned<DeValue<'i>>>,
    /// What messages call it: `[session]`.
    title: &'static str,
}

impl<'t, 'i> Section<'t, 'i> {
    /// `except` are keys that it may not have although `known` lists them.
    pub(super) fn new(
        table: &'t DeTable<'i>,
        title: &'static str,
        known: &'static [Key],
        except: &[&str],
        problems: &mut Problems,
    ) -> Self {
        let mut values = BTreeMap::new();
        for (key, value) in table {
            let word: &str = key.get_ref();
            let found = keys::find(known, word);
            if let Some(found) = found.filter(|k| except.contains(&k.name)) {
                let message = format!("`{}` cannot be set for many agents in {title}", found.name);
                problems.error("misplaced_key", &key.span(), message, Some("set it in each [[agent]]".into()));
            } else if let Some(found) = found {
                if values.contains_key(found.name) {
                    let names = std::iter::once(found.name).chain(found.aliases.iter().copied());
                    let names: Vec<String> = names.map(|n| format!("`{n}`")).collect();
                    let message = format!("{} are names of one key, and {title} has more than one", names.join(", "));
                    problems.error("duplicate_key", &key.span(), message, Some("keep one of them".into()));
                } else {
                    values.insert(found.name, value);
                }
            } else {
                let shown = shorten(word);
                let names = keys::words(known).filter(|w| !except.contains(w));
                let help = suggest(word, names).or_else(|| elsewhere(word, title));
                problems.error("unknown_key", &key.span(), format!("{title} has no key `{shown}`"), help);
            }
        }
        Self { values, title }
    }

    pub(super) fn raw(&self, key: &str) -> Option<&'t Spanned<DeValue<'i>>> {
        debug_assert!(
            [keys::TOP, keys::SESSION, keys::PHASE, keys::RUNNER, keys::AGENT, keys::HOOKS, keys::CONFIG]
                .iter()
                .any(|k| keys::find(k, key).is_some()),
            "{key} is not a key of any table"
        );
        self.values.get(key).copied()
    }

    fn wrong(&self, key: &str, value: &Spanned<DeValue<'_>>, wanted: &str, problems: &mut Problems) {
        let got = type_name(value.get_ref());
        let message = format!("`{key}` in {} must be {wanted}, not {got}", self.title);
        problems.error("wrong_type", &value.span(), message, None);
    }

    pub(super) fn string(&self, key: &str, problems: &mut Problems) -> Option<At<String>> {
        let value = self.raw(key)?;
        let Some(text) = value.get_ref().as_str() else {
            self.wrong(key, value, "a string", problems);
            return None;
        };
        clean(text, &value.span(), problems)
    }

    /// A list of strings, or where `one` is true a single one.
    pub(super) fn strings(&self, key: &str, one: bool, problems: &mut Problems) -> Option<At<Vec<At<String>>>> {
        let value = self.raw(key)?;
        if let (true, Some(text)) = (one, value.get_ref().as_str()) {
            let only = clean(text, &value.span(), problems)?;
            return Some(At { value: vec![only], span: value.span() });
        }
        let Some(items) = value.get_ref().as_array() else {
            let wanted = if one { "a string or a list of strings" } else { "a list of strings" };
            self.wrong(key, value, wanted, problems);
            return None;
        };
        let mut out = Vec::with_capacity(items.len());
        for item in items {
            match item.get_ref().as_str() {
                Some(text) => out.extend(clean(text, &item.span(), problems)),
                None => self.wrong(key, item, "a list of strings", problems),
            }
        }
        Some(At { value: out, span: value.span() })
    }

    pub(super) fn boolean(&self, key: &str, problems: &mut Problems) -> Option<At<bool>> {
        let value = self.raw(key)?;
        let got = value.get_ref().as_bool();
        if got.is_none() {
            self.wrong(key, value, "true or false", problems);
        }
        Some(At { value: got?, span: value.span() })
    }

    pub(super) fn integer(&self, key: &str, problems: &mut Problems) -> Option<At<i64>> {
        let value = self.raw(key)?;
        let Some(number) = value.get_ref().as_integer() else {
            self.wrong(key, value, "a whole number", problems);
            return None;
        };
        let Ok(number) = i64::from_str_radix(number.as_str(), number.radix()) else {
            problems.error("bad_number", &value.span(), format!("`{key}` is out of range"), None);
            return None;
        };
        Some(At { value: number, span: value.span() })
    }

    /// A whole number from `least` on that fits `T`.
    pub(super) fn count<T: TryFrom<i64>>(&self, key: &str, least: i64, problems: &mut Problems) -> Option<At<T>> {
        let number = self.integer(key, problems)?;
        let fits = (number.value >= least).then(|| T::try_from(number.value).ok()).flatten();
        if fits.is_none() {
            let message = format!("`{key}` must be a whole number from {least} on");
            problems.error("bad_number", &number.span, message, None);
        }
        Some(At { value: fits?, span: number.span })
    }

    pub(super) fn positive(&self, key: &str, problems: &mut Problems) -> Option<At<NonZeroU32>> {
        let count = self.count::<u32>(key, 1, problems)?;
        Some(At { value: NonZeroU32::new(count.value)?, span: count.span })
    }

    /// A humantime text, or whole seconds. Zero only where `zero` is true.
    pub(super) fn duration(&self, key: &str, zero: bool, problems: &mut Problems) -> Option<At<Duration>> {
        let value = self.raw(key)?;
        let parsed = match value.get_ref() {
            DeValue::String(text) => humantime::parse_duration(text.trim()).map_err(|e| e.to_string()),
            DeValue::Integer(n) => u64::from_str_radix(n.as_str(), n.radix())
                .map(Duration::from_secs)
                .map_err(|_| "it must be a whole number of seconds from 0 on".to_owned()),
            _ => {
                self.wrong(key, value, "a duration", problems);
                return None;
            }
        };
        let checked = match parsed {
            Ok(d) if d > MAX_DURATION => Err("it is longer than a year".to_owned()),
            Ok(d) if d.is_zero() && !zero => Err("it must be longer than nothing".to_owned()),
            other => other,
        };
        match checked {
            Ok(duration) => Some(At { value: duration, span: value.span() }),
            Err(why) => {
                let help = "write it like \"90s\", \"10m\" or \"1h 30m\"; a bare number is seconds";
                let message = format!("`{key}` is not a duration: {why}");
                problems.error("bad_duration", &value.span(), message, Some(help.into()));
                None
            }
        }
    }

    /// A number of bytes: `"64MiB"`, or a bare integer.
    pub(super) fn size(&self, key: &str, problems: &mut Problems) -> Option<At<u64>> {
        let value = self.raw(key)?;
        let bytes = match value.get_ref() {
            DeValue::String(text) => parse_size(text),
            DeValue::Integer(n) => u64::from_str_radix(n.as_str(), n.radix()).ok(),
            _ => {
                self.wrong(key, value, "a size", problems);
                return None;
            }
        };
        let bytes = bytes.filter(|b| (1024..=1 << 50).contains(b));
        if bytes.is_none() {
            let help = "write it like \"64MiB\" or \"500KB\"; at least 1KiB";
            problems.error("bad_size", &value.span(), format!("`{key}` is not a size"), Some(help.into()));
        }
        Some(At { value: bytes?, span: value.span() })
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&self, key: &str, words: &[(&str, T)], problems: &mut Problems) -> Option<At<T>> {
        let text = self.string(key, problems)?;
        let found = words.iter().find(|(w, _)| *w == text.value);
        if found.is_none() {
            let all: Vec<String> = words.iter().map(|(w, _)| format!("\"{w}\"")).collect();
            let message = format!("`{key}` cannot be \"{}\"", shorten(&text.value));
            let help = suggest(&text.value, words.iter().map(|(w, _)| *w)).map_or_else(
                || format!("one of {}", all.join(", ")),
                |near| format!("{near} One of {}", all.join(", ")),
            );
            problems.error("bad_value", &text.span, message, Some(help));
        }
        Some(text.map(|_| found.map(|(_, v)| *v))).and_then(|at| Some(At { value: at.value?, span: at.span }))
    }

    /// A table of strings (whole numbers are taken as their text).
    pub(super) fn env(&self, key: &str, problems: &mut Problems) -> Option<At<EnvList>> {
        let value = self.raw(key)?;
        let Some(table) = value.get_ref().as_table() else {
            self.wrong(key, value, "a table of strings", problems);
            return None;
        };
        let mut out = Vec::new();
        for (name, item) in table {
            if name.get_ref().is_empty() || name.get_ref().contains(['=', '\0']) {
                let message = "a variable's name may not be empty, nor hold `=` or a NUL";
                problems.error("bad_env", &name.span(), message, None);
                continue;
            }
            let text = match item.get_ref() {
                DeValue::String(text) => clean(text, &item.span(), problems),
                DeValue::Integer(n) if n.radix() == 10 => Some(At { value: n.as_str().to_owned(), span: item.span() }),
                _ => {
                    self.wrong(key, item, "a table of strings", problems);
                    None
                }
            };
            out.extend(text.map(|t| (name.get_ref().to_string(), t)));
        }
        Some(At { value: out, span: value.span() })
    }
}

/// `text`, unless it holds a NUL byte, which neither an argument nor a path can.
fn clean(text: &str, span: &Span, problems: &mut Problems) -> Option<At<String>> {
    if text.contains('\0') {
        problems.error("nul", span, "a text may not hold a NUL character", None);
        return None;
    }
    Some(At { value: text.to_owned(), span: span.clone() })
}

/// Where a key that is not of this table belongs.
fn elsewhere(word: &str, title: &str) -> Option<String> {
    let places = [
        ("[session]", keys::SESSION),
        ("[[agent]]", keys::AGENT),
        ("[runner.NAME]", keys::RUNNER),
        ("the top", keys::TOP),
    ];
    let (place, _) = places.iter().find(|(p, k)| *p != title && keys::find(k, word).is_some())?;
    Some(format!("`{word}` is a key of {place}"))
}

/// A name as messages show it.
pub(super) fn shorten(text: &str) -> String {
    let clean = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    let mut out: String = text.chars().take(60).map(clean).collect();
    if text.chars().nth(60).is_some() {
        out.push('…');
    }
    out
}

pub(super) fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let factor: u64 = match text[digits..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1000,
        "k" | "kib" => 1 << 10,
        "mb" => 1_000_000,
        "m" | "mib" => 1 << 20,
        "gb" => 1_000_000_000,
        "g" | "gib" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let check = |text: &str, expected: Option<u64>| assert_eq!(parse_size(text), expected, "{text:?}");
        check("64MiB", Some(64 << 20));
        check(" 2 gib ", Some(2 << 30));
        check("500KB", Some(500_000));
        check("4096", Some(4096));
        check("", None);
        check("MiB", None);
        check("-1", None);
        check("1.5M", None);
        check("3 parsecs", None);
        check("99999999999999999999", None);
        check("99999999999999GiB", None);
    }
}
