//! What is printed without what differs from run to run and from machine to machine.

use serde_json::Value;

/// What a field of this name says is another time something else, or on another machine.
const VARYING: [&str; 11] =
    ["pid", "at", "t", "seq", "start", "boot", "bytes", "started_at", "ended_at", "layers", "attribution"];

/// A document without what differs from run to run.
pub(super) fn same(mut document: Value) -> Value {
    match &mut document {
        Value::Object(fields) => {
            for (key, value) in fields.iter_mut() {
                let taken = std::mem::take(value);
                *value = match key.as_str() {
                    _ if taken.is_null() => taken,
                    _ if VARYING.contains(&key.as_str()) => Value::String(key.to_uppercase()),
                    _ if key.ends_with("_ms") => Value::String("SPAN".to_owned()),
                    _ => same(taken),
                };
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| *item = same(std::mem::take(item))),
        Value::String(text) if text.len() == 40 && text.chars().all(|c| c.is_ascii_hexdigit()) => {
            "OBJECT".clone_into(text);
        }
        _ => {}
    }
    document
}

/// Days, minutes, sizes, objects and processes by other names; what is cut to fit, all of it; without what
/// depends on the machine.
pub(super) fn dateless(text: &str) -> String {
    let digits = |word: &str| word.len() >= 5 && word.chars().all(|c| c.is_ascii_digit() || c == '-' || c == ':');
    let number = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_digit() || c == '.');
    let span = |word: &str| word.ends_with('s') && number(word.trim_end_matches('s').trim_end_matches('m'));
    let hex = |word: &str| word.len() >= 7 && word.chars().all(|c| c.is_ascii_hexdigit());
    let of_machine = |line: &&str| ["TIME gate ", "TIME watch ", "TIME cgroup "].iter().any(|l| line.starts_with(l));
    let lines = text.lines().filter(|line| !of_machine(line)).map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let named = words.iter().enumerate().map(|(at, word)| {
            let bare = word.trim_matches(|c: char| ",.:\"()".contains(c));
            let (before, after) = (at.checked_sub(1).map_or("", |at| words[at]), words.get(at + 1).copied());
            let is_cut = |word: &str| word.ends_with('…');
            match () {
                () if is_cut(word) || number(word) && after.is_some_and(is_cut) => "…".to_owned(),
                () if span(bare) => word.replace(bare, "SPAN"),
                () if number(bare) && before.ends_with("process") => word.replace(bare, "PID"),
                () if number(bare) && after.is_some_and(|unit| unit.starts_with("KiB")) => word.replace(bare, "SIZE"),
                () if hex(bare) => word.replace(bare, "COMMIT"),
                () if digits(bare) => word.replace(bare, "TIME"),
                () if bare.contains("..") && bare.split("..").all(hex) => word.replace(bare, "COMMIT..COMMIT"),
                () => (*word).to_owned(),
            }
        });
        let mut named: Vec<String> = named.collect();
        named.dedup_by(|one, other| one == "…" && other == "…");
        named.join(" ")
    });
    lines.collect::<Vec<_>>().join("\n")
}
