//! Anthropic's Messages API, as `claude -p` speaks it.

use std::io::Result;

use serde_json::{Value, json};

use super::http::Events;
use super::script::{Act, Before};
use super::{Dialect, Reply, Request, script_token};

pub(super) const DIALECT: Dialect = Dialect { request, reply };

fn request(body: &Value, session: Option<String>) -> Request {
    let mut script = None;
    let mut done = Vec::new();
    for message in body["messages"].as_array().into_iter().flatten().filter(|m| m["role"] == "user") {
        let whole = message["content"].as_str().map(|text| json!({"type": "text", "text": text}));
        for block in message["content"].as_array().into_iter().flatten().chain(whole.as_ref()) {
            if block["type"] == "tool_result" {
                let content = &block["content"];
                done.push(content.as_str().map_or_else(|| content.to_string(), str::to_owned));
            } else if let Some(name) = block["text"].as_str().and_then(script_token) {
                script = Some(name);
                done.clear();
            }
        }
    }
    let tools = body["tools"].as_array().into_iter().flatten().filter_map(|t| t["name"].as_str());
    Request {
        script,
        outputs: done,
        conversation: session.or_else(|| body["metadata"]["user_id"].as_str().map(str::to_owned)),
        model: body["model"].as_str().unwrap_or_default().to_owned(),
        tools: tools.map(str::to_owned).collect(),
        body: body.clone(),
    }
}

fn reply(events: &mut Events<'_>, request: &Request, reply: &Reply<'_>) -> Result<()> {
    let message = json!({
        "id": format!("msg_{}", reply.serial), "type": "message", "role": "assistant", "model": request.model,
        "content": [], "stop_reason": null, "stop_sequence": null,
        "usage": {"input_tokens": request.body.to_string().len() / 4, "output_tokens": 1},
    });
    events.send("message_start", json!({"message": message}))?;
    if let Some(fault) = reply.fault {
        return match fault.in_stream() {
            Some((code, message)) => events.send("error", json!({"error": {"type": code, "message": message}})),
            None => Ok(()),
        };
    }
    let mut blocks: Vec<Value> = Vec::new();
    for step in reply.before {
        match step {
            Before::Say(text) => blocks.push(text_block(text)),
            Before::Also(item) => blocks.push(item.clone()),
            Before::Wait(_) | Before::Fault(_) => {}
        }
    }
    blocks.push(output(reply.act, &reply.serial.to_string()));
    let stop = if blocks.last().is_some_and(|b| b["type"] == "tool_use") { "tool_use" } else { "end_turn" };
    for (index, block) in blocks.into_iter().enumerate() {
        send_block(events, index, block)?;
    }
    let delta = json!({"stop_reason": stop, "stop_sequence": null});
    events.send("message_delta", json!({"delta": delta, "usage": {"output_tokens": 10}}))?;
    events.send("message_stop", json!({}))
}

/// A block starts empty; its content follows as a delta.
fn send_block(events: &mut Events<'_>, index: usize, mut block: Value) -> Result<()> {
    let delta = match block["type"].as_str() {
        Some("tool_use") => {
            let input = std::mem::replace(&mut block["input"], json!({}));
            json!({"type": "input_json_delta", "partial_json": input.to_string()})
        }
        _ => json!({"type": "text_delta", "text": std::mem::replace(&mut block["text"], json!(""))}),
    };
    events.send("content_block_start", json!({"index": index, "content_block": block}))?;
    events.send("content_block_delta", json!({"index": index, "delta": delta}))?;
    events.send("content_block_stop", json!({"index": index}))
}

fn text_block(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

fn output(act: &Act, uid: &str) -> Value {
    let tool = |name: &str, input: Value| json!({"type": "tool_use", "id": format!("toolu_{uid}"), "name": name, "input": input});
    match act {
        Act::Message(text) => text_block(text),
        Act::Over => text_block("the script is over"),
        Act::Item(item) => item.clone(),
        Act::Shell { command, arguments } => {
            let mut arguments = arguments.clone();
            arguments["command"] = json!(command);
            tool("Bash", arguments)
        }
        Act::Write { path, content } => tool("Write", json!({"file_path": path, "content": content})),
        Act::Call { name, namespace, arguments } => {
            let name = namespace.as_ref().map_or_else(|| name.clone(), |space| format!("mcp__{space}__{name}"));
            tool(&name, arguments.clone())
        }
        Act::Patch(_) => text_block("this client has no tool for patches"),
    }
}
