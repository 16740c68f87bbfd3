//! Guards the directions between the rooms: who may import whom, and what `core` must not touch.
#![expect(clippy::expect_used, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};

/// For each room the rooms that it may import. `main.rs` may import all.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("core", &[]),
    ("session", &["core"]),
    ("journal", &["core"]),
    ("control", &["core", "journal"]),
    ("runner", &["core", "session"]),
    ("shim", &["core"]),
    ("render", &["core", "session", "journal"]),
    ("host", &["core", "session", "journal", "control", "runner", "shim"]),
    ("cli", &["core", "session", "journal", "control", "runner", "shim", "render", "host"]),
];

/// What the pure room must not name, and why.
const NOT_IN_CORE: &[(&str, &str)] = &[
    ("std::fs", "files"),
    ("std::net", "the network"),
    ("std::env", "the environment"),
    ("std::process", "processes"),
    ("std::thread", "threads"),
    ("std::io", "input and output"),
    ("SystemTime", "the clock"),
    ("Instant", "the clock"),
    ("tokio", "a runtime"),
    ("nix::", "system calls"),
    ("rustix::", "system calls"),
    ("serde", "a wire format"),
    ("serde_json", "a wire format"),
    ("HashMap", "an order that changes"),
    ("HashSet", "an order that changes"),
    ("rand", "chance"),
];

struct Source {
    room: String,
    path: PathBuf,
    /// (line number, code without comments), tests at the end of the file included.
    lines: Vec<(usize, String)>,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    let mut dirs = vec![root.clone()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).expect("the source directory can be read") {
            let path = entry.expect("its entries too").path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let inside = path.strip_prefix(&root).expect("it is below the root").to_owned();
                let mut parts = inside.components();
                let first = parts.next().expect("a path has a component").as_os_str().to_string_lossy().into_owned();
                let room = if parts.next().is_some() { first } else { String::new() };
                let text = fs::read_to_string(&path).expect("a source file is text");
                let lines = text
                    .lines()
                    .enumerate()
                    .map(|(n, line)| (n + 1, line.split("//").next().unwrap_or_default().to_owned()))
                    .collect();
                files.push(Source { room, path: inside, lines });
            }
        }
    }
    assert!(files.len() > 30, "only {} source files found: is the test looking in the right place?", files.len());
    files
}

/// The rooms that a line of code names: `crate::room` (in lists too) and `supervise::room`.
fn rooms_named(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    for prefix in ["crate::", "supervise::"] {
        for (at, _) in line.match_indices(prefix) {
            let rest = &line[at + prefix.len()..];
            let list = rest.strip_prefix('{').map_or(rest, |inner| inner.split('}').next().unwrap_or(inner));
            for item in if rest.starts_with('{') { list.split(',').collect::<Vec<_>>() } else { vec![rest] } {
                let word: String = item.trim().chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
                found.push(word);
            }
        }
    }
    found
}

#[test]
fn rooms_import_only_what_lies_below_them() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|s| !s.room.is_empty()) {
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(room, _)| *room == source.room) else {
            wrong.push(format!("{}: a room without a rule", source.path.display()));
            continue;
        };
        for (number, line) in &source.lines {
            for named in rooms_named(line) {
                let known = MAY_IMPORT.iter().any(|(room, _)| *room == named);
                if known && named != source.room && !allowed.contains(&named.as_str()) {
                    wrong.push(format!("{}:{number}: {} may not import {named}", source.path.display(), source.room));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn core_touches_nothing_outside() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|s| s.room == "core") {
        for (number, line) in &source.lines {
            for (name, what) in NOT_IN_CORE {
                let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
                let hit = line.match_indices(name).any(|(at, _)| {
                    let (before, after) = (&line[..at], &line[at + name.len()..]);
                    !before.ends_with(word) && (name.ends_with(':') || !after.starts_with(word))
                });
                if hit {
                    wrong.push(format!("{}:{number}: core has no business with {what}", source.path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_file_says_what_it_is_for() {
    let missing: Vec<_> = sources()
        .iter()
        .map(|s| s.path.clone())
        .filter(|p| {
            let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(p)).expect("readable");
            !text.starts_with("//!")
        })
        .collect();
    assert!(missing.is_empty(), "without a module doc: {missing:?}");
}

#[test]
fn unsafe_code_stays_out() {
    // The crate denies it; this names the files that make an exception.
    let mut excepted: Vec<_> = sources()
        .iter()
        .filter(|s| s.lines.iter().any(|(_, l)| l.contains("unsafe_code") || l.contains("unsafe {")))
        .map(|s| s.path.clone())
        .collect();
    excepted.sort();
    let least = ["shim/gate/sys.rs", "shim/server.rs"].map(Path::new);
    assert_eq!(excepted, least, "seccomp(2) and the fork of a sibling have no safe interface; all else has");
}
