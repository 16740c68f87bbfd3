//! OpenAI's Responses API, as `codex exec` speaks it.

use std::fmt::Write as _;
use std::io::Result;

use serde_json::{Value, json};

use super::http::Events;
use super::script::{Act, Before};
use super::{Dialect, Reply, Request, script_token};

pub(super) const DIALECT: Dialect = Dialect { request, reply };

const OUTPUTS: [&str; 3] = ["function_call_output", "custom_tool_call_output", "tool_search_output"];

fn request(body: &Value, session: Option<String>) -> Request {
    let mut script = None;
    let mut done: Vec<(&str, String)> = Vec::new();
    for item in body["input"].as_array().into_iter().flatten() {
        if item["role"] == "user" {
            if let Some(name) = script_token(&text_of(item)) {
                script = Some(name);
                done.clear();
            }
        } else if item["type"].as_str().is_some_and(|t| OUTPUTS.contains(&t))
            && let Some(call) = item["call_id"].as_str()
            && done.iter().all(|(known, _)| *known != call)
        {
            done.push((call, said(&item["output"])));
        }
    }
    Request {
        script,
        outputs: done.into_iter().map(|(_, output)| output).collect(),
        conversation: session.or_else(|| body["prompt_cache_key"].as_str().map(str::to_owned)),
        model: body["model"].as_str().unwrap_or_default().to_owned(),
        tools: offered(body),
        body: body.clone(),
    }
}

/// What a tool put out, as text.
fn said(output: &Value) -> String {
    output.as_str().map_or_else(|| output.to_string(), str::to_owned)
}

fn text_of(item: &Value) -> String {
    match &item["content"] {
        Value::String(text) => text.clone(),
        content => {
            let parts = content.as_array().into_iter().flatten().filter_map(|part| part["text"].as_str());
            parts.collect::<Vec<_>>().join(" ")
        }
    }
}

/// Names of the tools that a request offers: in `tools`, or (for models that run in code mode) in
/// an item of its input. Those of a namespace are `NAMESPACE.NAME`.
fn offered(body: &Value) -> Vec<String> {
    let input = body["input"].as_array().into_iter().flatten();
    let more = input.filter(|item| item["type"] == "additional_tools").map(|item| &item["tools"]);
    let mut names = Vec::new();
    for tool in std::iter::once(&body["tools"]).chain(more).filter_map(Value::as_array).flatten() {
        let name = tool["name"].as_str().or(tool["type"].as_str()).unwrap_or_default();
        match tool["tools"].as_array() {
            Some(inner) if !inner.is_empty() => {
                let prefix = if name == "functions" { String::new() } else { format!("{name}.") };
                names.extend(inner.iter().filter_map(|t| t["name"].as_str()).map(|n| format!("{prefix}{n}")));
            }
            _ => names.push(name.to_owned()),
        }
    }
    names
}

fn reply(events: &mut Events<'_>, request: &Request, reply: &Reply<'_>) -> Result<()> {
    let id = format!("resp_{}", reply.serial);
    events.send("response.created", json!({"response": {"id": id}}))?;
    if let Some(fault) = reply.fault {
        return match fault.in_stream() {
            Some((code, message)) => {
                let error = json!({"code": code, "message": message});
                events.send("response.failed", json!({"response": {"id": id, "status": "failed", "error": error}}))
            }
            None => Ok(()),
        };
    }
    for (number, step) in reply.before.iter().enumerate() {
        let item = match step {
            Before::Say(text) => message(&format!("{}_{number}", reply.serial), text),
            Before::Also(item) => with_id(item, &format!("it_{}_{number}", reply.serial)),
            Before::Wait(_) | Before::Fault(_) => continue,
        };
        events.send("response.output_item.done", json!({"item": item}))?;
    }
    let item = output(reply.act, request, &reply.serial.to_string());
    events.send("response.output_item.done", json!({"item": item}))?;
    let input = request.body.to_string().len() / 4;
    let usage = json!({
        "input_tokens": input, "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 10, "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": input + 10,
    });
    events.send("response.completed", json!({"response": {"id": id, "usage": usage}}))
}

fn message(uid: &str, text: &str) -> Value {
    let content = json!([{"type": "output_text", "text": text}]);
    json!({"type": "message", "role": "assistant", "id": format!("msg_{uid}"), "content": content})
}

fn with_id(item: &Value, id: &str) -> Value {
    let mut item = item.clone();
    if item["id"].is_null() {
        item["id"] = json!(id);
    }
    item
}

fn output(act: &Act, request: &Request, uid: &str) -> Value {
    match act {
        Act::Message(text) => message(uid, text),
        Act::Over => message(uid, "the script is over"),
        Act::Item(item) => with_id(item, &format!("it_{uid}")),
        Act::Patch(patch) => call(request, uid, None, "apply_patch", &json!(patch)),
        Act::Write { path, content } => call(request, uid, None, "apply_patch", &json!(added_file(path, content))),
        Act::Shell { command, arguments } => {
            let mut arguments = arguments.clone();
            arguments["cmd"] = json!(command);
            call(request, uid, None, "exec_command", &arguments)
        }
        Act::Call { name, namespace, arguments } => call(request, uid, namespace.as_deref(), name, arguments),
    }
}

/// A patch that adds a file. The content's last line gets a line feed, as patches are of lines.
fn added_file(path: &str, content: &str) -> String {
    let mut patch = format!("*** Begin Patch\n*** Add File: {path}\n");
    for line in content.lines() {
        writeln!(patch, "+{line}").expect("writing to a String");
    }
    patch + "*** End Patch"
}

/// A call of a tool. Arguments that are a text are for a freeform tool; models that run in code
/// mode call every tool from JavaScript given to `exec`.
fn call(request: &Request, uid: &str, namespace: Option<&str>, name: &str, arguments: &Value) -> Value {
    let custom = |name: &str, input: &str| {
        json!({"type": "custom_tool_call", "id": format!("ctc_{uid}"), "call_id": format!("call_{uid}"),
               "name": name, "input": input})
    };
    if request.tools.iter().any(|tool| tool == "exec") {
        let full = namespace.map_or_else(|| name.to_owned(), |space| format!("{space}__{name}"));
        return custom("exec", &format!("text(await tools[{}]({arguments}));", json!(full)));
    }
    if let Value::String(text) = arguments {
        return custom(name, text);
    }
    let mut item = json!({"type": "function_call", "id": format!("fc_{uid}"), "call_id": format!("call_{uid}"),
                          "name": name, "arguments": arguments.to_string()});
    if let Some(namespace) = namespace {
        item["namespace"] = json!(namespace);
    }
    item
}
