//! `codex exec`: its arguments and its `--json` events.
//!
//! Facts are of codex-cli 0.169.0, observed against a stand-in of its API. Events are not a record
//! of writes (a move lists only its source, shell writes are a command's text), so they serve
//! progress, usage and the final message.

use std::ffi::OsString;

use serde_json::Value;

use crate::core::record::Usage;

use super::launch::{Context, Environment, RunnerError, Shape, fits_argument};
use super::program::codex_program;
use super::progress::Progress;
use super::reader::{Facts, text_at};

/// `codex exec --json -s workspace-write [-m MODEL] ARGS… -- PROMPT`, or `-` and the prompt on
/// standard input where it is too long for an argument (or would be read as that `-`). To go on with a thread,
/// `… ARGS… resume THREAD PROMPT`: the sandbox is not remembered, and is chosen as ever.
pub(super) fn shape(context: &Context<'_>, env: &Environment) -> Result<Shape, RunnerError> {
    let launch = context.launch;
    let words = launch.command.as_ref().map_or_else(|| vec!["codex".to_owned()], |c| context.fill_all(c));
    let no_command = || RunnerError::NoCommand { runner: launch.runner.to_string() };
    let (program, leading) = words.split_first().ok_or_else(no_command)?;
    let args = context.fill_all(&launch.args);
    let prompt = context.prompt()?;

    let mut argv: Vec<OsString> = vec![codex_program(&context.find(program, env)?).into()];
    argv.extend(leading.iter().map(OsString::from));
    argv.push("exec".into());
    if !has_flag(&args, None, "--json") {
        argv.push("--json".into());
    }
    if !chooses_sandbox(&args) {
        argv.extend(["-s".into(), "workspace-write".into()]);
    }
    if let Some(model) = &launch.model
        && !has_flag(&args, Some("-m"), "--model")
    {
        argv.extend(["-m".into(), context.fill(model).into()]);
    }
    argv.extend(args.iter().map(OsString::from));
    if let Some(again) = context.again {
        argv.extend(["resume", &again.thread, &again.prompt].map(OsString::from));
        return Ok(Shape { argv, ..Shape::default() });
    }
    argv.push("--".into());
    if fits_argument(&prompt) && prompt != "-" {
        argv.push(prompt.into());
        Ok(Shape { argv, ..Shape::default() })
    } else {
        argv.push("-".into());
        Ok(Shape { argv, stdin: Some(prompt.into_bytes()), ..Shape::default() })
    }
}

/// Is the flag given, in any of the ways that clap takes: `-s x`, `-sx`, `--sandbox x`,
/// `--sandbox=x`?
pub(super) fn has_flag(args: &[String], short: Option<&str>, long: &str) -> bool {
    args.iter().any(|arg| {
        short.is_some_and(|s| arg.starts_with(s) && !arg.starts_with("--"))
            || arg.strip_prefix(long).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    })
}

/// Do the user's arguments say which sandbox they want? Codex refuses `-s` given twice, and a `-s`
/// of ours would overrule a `-c sandbox_mode`. (`--full-auto` is of earlier releases.)
fn chooses_sandbox(args: &[String]) -> bool {
    const BYPASS: [&str; 3] = ["--dangerously-bypass-approvals-and-sandbox", "--yolo", "--full-auto"];
    let configured = |arg: &String| {
        let value = arg.strip_prefix("-c").or_else(|| arg.strip_prefix("--config")).unwrap_or(arg);
        value.trim_start_matches('=').trim_start().starts_with("sandbox_mode")
    };
    has_flag(args, Some("-s"), "--sandbox")
        || args.iter().any(|arg| BYPASS.contains(&arg.as_str()))
        || args.iter().any(configured)
}

/// Takes in one event.
pub(super) fn read(event: &Value, facts: &mut Facts, out: &mut Vec<Progress>) {
    match text_at(event, "/type") {
        Some("thread.started") => facts.is_thread(text_at(event, "/thread_id")),
        Some("turn.completed") => {
            facts.finished = true;
            facts.usage = usage(event).or(facts.usage);
        }
        Some("turn.failed") => {
            let message = text_at(event, "/error/message").unwrap_or("the turn failed");
            facts.fail(message);
            out.push(Progress::note(message));
        }
        // Not fatal: "Reconnecting... 1/5" is one.
        Some("error") => {
            let message = text_at(event, "/message").unwrap_or("an error without a message");
            facts.warn(message);
            out.push(Progress::note(message));
        }
        Some("item.started") => started(event, out),
        Some("item.completed") => completed(event, facts, out),
        _ => {}
    }
}

fn started(event: &Value, out: &mut Vec<Progress>) {
    match text_at(event, "/item/type") {
        Some("command_execution") => {
            if let Some(command) = text_at(event, "/item/command") {
                out.push(Progress::runs(&bare_command(command)));
            }
        }
        Some("mcp_tool_call") => {
            let part = |at| text_at(event, at).unwrap_or("?");
            out.push(Progress::uses(&format!("{}.{}", part("/item/server"), part("/item/tool"))));
        }
        _ => {}
    }
}

fn completed(event: &Value, facts: &mut Facts, out: &mut Vec<Progress>) {
    match text_at(event, "/item/type") {
        Some("agent_message") => {
            if let Some(text) = text_at(event, "/item/text") {
                facts.says(text);
                out.push(Progress::says(text));
            }
        }
        Some("file_change") => {
            let changes = event.pointer("/item/changes").and_then(Value::as_array);
            let paths = changes.into_iter().flatten().filter_map(|change| text_at(change, "/path"));
            out.extend(Progress::edits(paths));
        }
        Some("reasoning") => out.push(Progress::Thinks),
        Some("web_search") => out.push(Progress::uses(&match text_at(event, "/item/query") {
            Some(query) => format!("web search: {query}"),
            None => "web search".to_owned(),
        })),
        Some("error") => {
            if let Some(message) = text_at(event, "/item/message") {
                out.push(Progress::note(message));
            }
        }
        _ => {}
    }
}

/// `/bin/bash -lc 'make test'` is `make test` to a reader; anything else is left as it is.
fn bare_command(command: &str) -> String {
    let script = command.split_once(" -lc ").or_else(|| command.split_once(" -c ")).and_then(|(shell, script)| {
        let is_shell = shell.ends_with("sh") && !shell.contains(' ');
        is_shell.then(|| one_word(script)).flatten()
    });
    script.unwrap_or_else(|| command.to_owned())
}

/// What the shell would make of `text`, if it is one word (POSIX.1-2024, XCU 2.2 Quoting).
fn one_word(text: &str) -> Option<String> {
    let mut word = String::new();
    let mut quote: Option<char> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (Some(q), _) if c == q => quote = None,
            (Some('"'), '\\') => {
                let escaped = chars.next()?;
                if !matches!(escaped, '$' | '`' | '"' | '\\') {
                    word.push('\\');
                }
                word.push(escaped);
            }
            (None, '\\') => word.push(chars.next()?),
            (None, _) if c.is_whitespace() => return None,
            _ => word.push(c),
        }
    }
    quote.is_none().then_some(word)
}

/// Counts over the whole thread; input includes what was cached.
fn usage(event: &Value) -> Option<Usage> {
    let count = |at| event.pointer(at).and_then(Value::as_u64);
    Some(Usage { input_tokens: count("/usage/input_tokens")?, output_tokens: count("/usage/output_tokens")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_shown_without_the_shell_around_them() {
        let check = |command: &str, expected: &str| assert_eq!(bare_command(command), expected, "{command}");
        check("/bin/bash -lc 'make test'", "make test");
        check("bash -lc ls", "ls");
        check("/bin/sh -c \"echo 'a'; echo \\$b\"", "echo 'a'; echo $b");
        check("zsh -lc \"printf '%s' \"'$ID > w; exit 3'", "printf '%s' $ID > w; exit 3");
        check(r"bash -lc a\ b", "a b");
        // not what codex makes: left alone
        check("bash -lc 'a' b", "bash -lc 'a' b");
        check("bash -lc 'a", "bash -lc 'a");
        check("python -c 'x'", "python -c 'x'");
        check("git commit -c x", "git commit -c x");
        check("", "");
    }
}
