//! `--set KEY=VALUE`: values put into the document before it is read.
//!
//! Invariant: what is put in carries the span of its option, so that a problem with it names the
//! option and not a place in the file.
//!
//! `KEY` is `session.K`, `defaults.K`, `runner.NAME.K`, `phase.NAME.K`, `agent.ID.K`, or a key of
//! `[session]` or `[defaults]` alone. `VALUE` is TOML where it parses as that, else a string.

use std::borrow::Cow;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::keys::{self, Key};
use super::problem::{Problems, nearest, suggest};
use super::section::shorten;
use super::source::Span;

const HELP: &str =
    "session.KEY, defaults.KEY, runner.NAME.KEY, phase.NAME.KEY, agent.ID.KEY, or a key of [session] or [defaults]";

pub(super) fn apply<'i>(document: &mut DeTable<'i>, sets: &'i [String], problems: &mut Problems) {
    for (index, set) in sets.iter().enumerate() {
        let span = problems.set_span(index);
        let Some((path, text)) = set.split_once('=') else {
            problems.error("bad_set", &span, "`--set` needs KEY=VALUE", Some(HELP.to_owned()));
            continue;
        };
        let value = value_of(text.trim(), &span);
        if let Err(help) = put(document, path.trim(), value, &span) {
            let message = format!("`--set` cannot find `{}`", shorten(path.trim()));
            problems.error("bad_set", &span, message, Some(help));
        }
    }
}

fn value_of<'i>(text: &'i str, span: &Span) -> Spanned<DeValue<'i>> {
    match DeValue::parse(text) {
        Ok(value) => moved(value, span),
        Err(_) => Spanned::new(span.clone(), DeValue::String(Cow::Borrowed(text))),
    }
}

/// The same value at another place. The parser bounds how deep it nests.
fn moved<'i>(value: Spanned<DeValue<'i>>, span: &Span) -> Spanned<DeValue<'i>> {
    let inner = match value.into_inner() {
        DeValue::Array(items) => DeValue::Array(items.into_iter().map(|v| moved(v, span)).collect::<DeArray<'i>>()),
        DeValue::Table(table) => DeValue::Table(
            table.into_iter().map(|(k, v)| (Spanned::new(span.clone(), k.into_inner()), moved(v, span))).collect(),
        ),
        other => other,
    };
    Spanned::new(span.clone(), inner)
}

fn put<'i>(document: &mut DeTable<'i>, path: &'i str, value: Spanned<DeValue<'i>>, span: &Span) -> Result<(), String> {
    let Some((room, rest)) = path.split_once('.') else {
        let (room, known) = if keys::find(keys::SESSION, path).is_some() && path != "name" {
            ("session", keys::SESSION)
        } else if keys::find(keys::AGENT, path).is_some() {
            ("defaults", keys::AGENT)
        } else {
            let words = keys::words(keys::SESSION).chain(keys::words(keys::AGENT));
            return Err(suggest(path, words).unwrap_or_else(|| HELP.to_owned()));
        };
        return replace(child(document, room, span)?, known, path, value, span);
    };
    match room {
        "session" => replace(child(document, room, span)?, keys::SESSION, rest, value, span),
        "defaults" => replace(child(document, room, span)?, keys::AGENT, rest, value, span),
        "runner" => {
            let (name, key) = rest.rsplit_once('.').ok_or(HELP)?;
            replace(child(child(document, room, span)?, name, span)?, keys::RUNNER, key, value, span)
        }
        "agent" => named(document, "agent", "id", rest, keys::AGENT, value, span),
        "phase" => named(document, "phase", "name", rest, keys::PHASE, value, span),
        _ => Err(suggest(room, ["session", "defaults", "runner", "phase", "agent"]).unwrap_or_else(|| HELP.to_owned())),
    }
}

/// The table `name` in `table`, made where there is none.
fn child<'t, 'i>(table: &'t mut DeTable<'i>, name: &'i str, span: &Span) -> Result<&'t mut DeTable<'i>, String> {
    if !table.contains_key(name) {
        let key = Spanned::new(span.clone(), Cow::Borrowed(name));
        table.insert(key, Spanned::new(span.clone(), DeValue::Table(DeTable::new())));
    }
    match table.get_mut(name).map(Spanned::get_mut) {
        Some(DeValue::Table(t)) => Ok(t),
        _ => Err(format!("`{name}` is not a table in the file")),
    }
}

/// Sets a key of the element of an array of tables whose `key` is the first part of `rest`.
fn named<'i>(
    document: &mut DeTable<'i>,
    room: &str,
    key: &str,
    rest: &'i str,
    known: &'static [Key],
    value: Spanned<DeValue<'i>>,
    span: &Span,
) -> Result<(), String> {
    let (name, field) = rest.rsplit_once('.').ok_or(HELP)?;
    let Some(DeValue::Array(items)) = document.get_mut(room).map(Spanned::get_mut) else {
        return Err(format!("the file has no [[{room}]]"));
    };
    let name_of = |item: &Spanned<DeValue<'i>>| {
        item.get_ref().as_table().and_then(|t| t.get(key)).and_then(|v| v.get_ref().as_str().map(str::to_owned))
    };
    let names: Vec<Option<String>> = items.iter().map(name_of).collect();
    let Some(index) = names.iter().position(|n| n.as_deref() == Some(name)) else {
        let near = nearest(name, names.iter().flatten().map(String::as_str));
        return Err(near.map_or_else(
            || format!("no [[{room}]] has {key} = \"{}\"", shorten(name)),
            |n| format!("did you mean `{room}.{n}.{field}`?"),
        ));
    };
    match items.as_mut()[index].get_mut() {
        DeValue::Table(table) => replace(table, known, field, value, span),
        _ => Err(format!("`{room}` is not a list of tables in the file")),
    }
}

/// Puts `value` in the place of whatever names the same key.
fn replace<'i>(
    table: &mut DeTable<'i>,
    known: &'static [Key],
    word: &'i str,
    value: Spanned<DeValue<'i>>,
    span: &Span,
) -> Result<(), String> {
    let Some(key) = keys::find(known, word) else {
        return Err(suggest(word, keys::words(known)).unwrap_or_else(|| HELP.to_owned()));
    };
    for name in std::iter::once(&key.name).chain(key.aliases) {
        table.remove(*name);
    }
    table.insert(Spanned::new(span.clone(), Cow::Borrowed(key.name)), value);
    Ok(())
}
