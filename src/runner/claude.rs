//! The `claude` command's print mode: its arguments and its stream-json events.
//!
//! Facts are of Claude Code 2.1.197, observed against a stand-in of its API.
//!
//! The permission mode is `acceptEdits`: file edits and simple file commands pass, other commands
//! are refused unless `args` allow them (`--allowedTools "Bash(cargo *)"`); in print mode nobody
//! can be asked. `bypassPermissions` is the user's to choose, and refused to root by the program.

use std::ffi::OsString;

use serde_json::Value;

use crate::core::record::Usage;

use super::codex::has_flag;
use super::launch::{Context, Environment, RunnerError, Shape};
use super::progress::Progress;
use super::reader::{Facts, text_at};

/// `claude -p --output-format stream-json --verbose --permission-mode acceptEdits [--model M]
/// ARGS… [--resume SESSION]`, with the prompt on standard input: any length, and never mistaken for a flag.
pub(super) fn shape(context: &Context<'_>, env: &Environment) -> Result<Shape, RunnerError> {
    let launch = context.launch;
    let words = launch.command.as_ref().map_or_else(|| vec!["claude".to_owned()], |c| context.fill_all(c));
    let no_command = || RunnerError::NoCommand { runner: launch.runner.to_string() };
    let (program, leading) = words.split_first().ok_or_else(no_command)?;
    let args = context.fill_all(&launch.args);

    let mut argv: Vec<OsString> = vec![context.find(program, env)?.into()];
    argv.extend(leading.iter().map(OsString::from));
    argv.extend(["-p", "--output-format", "stream-json", "--verbose"].map(OsString::from));
    if !has_flag(&args, None, "--permission-mode") && !has_flag(&args, None, "--dangerously-skip-permissions") {
        argv.extend(["--permission-mode".into(), "acceptEdits".into()]);
    }
    if let Some(model) = &launch.model
        && !has_flag(&args, None, "--model")
    {
        argv.extend(["--model".into(), context.fill(model).into()]);
    }
    argv.extend(args.iter().map(OsString::from));
    let prompt = match context.again {
        Some(again) => {
            argv.extend(["--resume", &again.thread].map(OsString::from));
            again.prompt.clone()
        }
        None => context.prompt()?,
    };
    Ok(Shape { argv, stdin: Some(prompt.into_bytes()), ..Shape::default() })
}

/// Takes in one event.
pub(super) fn read(event: &Value, facts: &mut Facts, out: &mut Vec<Progress>) {
    match text_at(event, "/type") {
        Some("system") => system(event, facts, out),
        Some("assistant") => assistant(event, facts, out),
        Some("result") => result(event, facts, out),
        _ => {}
    }
}

fn system(event: &Value, facts: &mut Facts, out: &mut Vec<Progress>) {
    match text_at(event, "/subtype") {
        Some("init") => facts.is_thread(text_at(event, "/session_id")),
        Some("api_retry") => {
            let error = text_at(event, "/error").unwrap_or("error");
            let number = |at| event.pointer(at).and_then(Value::as_f64).unwrap_or(0.0);
            let delay = number("/retry_delay_ms") / 1000.0;
            // Its own pause, which is not what the provider asked for.
            let message = format!("{error}: try {} failed, the next is in {delay:.1}s", number("/attempt"));
            facts.warn(&message);
            out.push(Progress::note(&message));
        }
        _ => {}
    }
}

fn assistant(event: &Value, facts: &mut Facts, out: &mut Vec<Progress>) {
    // The program's own words for an error; the result says it again.
    if text_at(event, "/message/model") == Some("<synthetic>") {
        return;
    }
    // What a subagent says is not what the agent says.
    let own = event.pointer("/parent_tool_use_id").is_none_or(Value::is_null);
    let blocks = event.pointer("/message/content").and_then(Value::as_array);
    for block in blocks.into_iter().flatten() {
        match text_at(block, "/type") {
            Some("text") => {
                if let Some(text) = text_at(block, "/text") {
                    if own {
                        facts.says(text);
                    }
                    out.push(Progress::says(text));
                }
            }
            Some("tool_use") => out.extend(tool(block)),
            Some("thinking" | "redacted_thinking") => out.push(Progress::Thinks),
            _ => {}
        }
    }
}

fn tool(block: &Value) -> Option<Progress> {
    let name = text_at(block, "/name")?;
    match name {
        "Bash" => text_at(block, "/input/command").map(Progress::runs),
        "Write" | "Edit" | "MultiEdit" => Progress::edits(text_at(block, "/input/file_path")),
        "NotebookEdit" => Progress::edits(text_at(block, "/input/notebook_path")),
        _ => Some(Progress::uses(name)),
    }
}

fn result(event: &Value, facts: &mut Facts, out: &mut Vec<Progress>) {
    facts.usage = usage(event).or(facts.usage);
    let text = text_at(event, "/result");
    let failed = event.pointer("/is_error").and_then(Value::as_bool).unwrap_or(false);
    if !failed {
        facts.finished = true;
        if let Some(text) = text {
            facts.says(text);
        }
        return;
    }
    let first_error = text_at(event, "/errors/0");
    let message = text.or(first_error).or(text_at(event, "/subtype")).unwrap_or("the session failed");
    match event.pointer("/api_error_status").and_then(Value::as_u64) {
        Some(429) => facts.fail_limited(message),
        _ => facts.fail(message),
    }
    out.push(Progress::note(message));
}

/// Counts over the whole session. Input that was cached is counted apart by this API; it is input
/// all the same.
fn usage(event: &Value) -> Option<Usage> {
    let count = |at| event.pointer(at).and_then(Value::as_u64);
    let cached = ["/usage/cache_creation_input_tokens", "/usage/cache_read_input_tokens"];
    let input = cached.iter().filter_map(|at| count(at)).fold(count("/usage/input_tokens")?, u64::saturating_add);
    Some(Usage { input_tokens: input, output_tokens: count("/usage/output_tokens")? })
}
