//! The stand-in itself, asked as its clients ask.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

use super::{Fault, Latch, Model, Script, hermetic_args, hermetic_claude_env, hermetic_env};

/// Status line and body of the answer to this request.
fn post(port: u16, path: &str, body: &Value) -> (String, String) {
    let body = body.to_string();
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\nSession-Id: s1\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

/// A request of codex: the prompt, and so many outputs of tools after it.
fn ask(port: u16, prompt: &str, outputs: usize) -> (String, String) {
    let mut input = vec![json!({"role": "user", "content": [{"type": "input_text", "text": prompt}]})];
    input.extend((0..outputs).map(|n| json!({"type": "function_call_output", "call_id": format!("c{n}")})));
    let tools = json!([{"type": "function", "name": "exec_command"}, {"type": "custom", "name": "apply_patch"}]);
    post(port, "/v1/responses", &json!({"model": "m", "input": input, "tools": tools}))
}

#[test]
fn a_script_is_played_by_the_count_of_tool_outputs() {
    let item = json!({"type": "web_search_call", "id": "ws"});
    let model = Model::start([Script::new("a.b")
        .say("first")
        .also(json!({"type": "reasoning", "summary": []}))
        .shell_with("ls", json!({"yield_time_ms": 1}))
        .patch("*** Begin Patch")
        .write("f", "one\ntwo")
        .call(Some("db"), "query", json!({"q": 1}))
        .item(item)
        .message("done")]);
    let port = model.port();
    let check = |outputs, expected: &[&str]| {
        let (head, body) = ask(port, "old script:x new script:a.b, go", outputs);
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        for text in expected.iter().chain(&["response.created", "response.completed"]) {
            assert!(body.contains(text), "{outputs}: no {text} in {body}");
        }
    };
    check(0, &["\"first\"", "it_1_1", "exec_command", r#"{\"cmd\":\"ls\",\"yield_time_ms\":1}"#]);
    check(1, &["apply_patch", "custom_tool_call", "*** Begin Patch"]);
    check(2, &[r"*** Add File: f\n+one\n+two\n*** End Patch"]);
    check(3, &[r#""namespace":"db""#, r#""name":"query""#]);
    check(4, &["web_search_call", "\"ws\""]);
    check(5, &["\"done\""]);
    check(6, &["the script is over"]);
    assert!(ask(port, "script:nothing", 0).0.starts_with("HTTP/1.1 400"));
    assert!(post(port, "/v1/models", &json!({})).0.starts_with("HTTP/1.1 404"));

    let requests = model.requests_of("a.b");
    assert_eq!(requests.len(), 7);
    assert_eq!(model.requests().len(), 8);
    let last = &requests[6];
    assert_eq!((last.outputs.len(), last.model.as_str(), last.conversation.as_deref()), (6, "m", Some("s1")));
    assert_eq!(last.tools, ["exec_command", "apply_patch"]);
    assert_eq!(last.body["input"][6]["call_id"], "c5");
}

#[test]
fn an_act_is_done_again_while_its_output_says_so() {
    let model = Model::start([Script::new("a")
        .say("I try.")
        .patch("*** Begin Patch")
        .again_on("resource busy", "cat f", 2)
        .message("done")]);
    let ask = |outputs: &[&str]| {
        let mut input = vec![json!({"role": "user", "content": "script:a"})];
        let kind = "custom_tool_call_output";
        let items = outputs.iter().enumerate();
        input.extend(items.map(|(n, text)| json!({"type": kind, "call_id": n.to_string(), "output": text})));
        post(model.port(), "/v1/responses", &json!({"input": input})).1
    };
    let check = |outputs: &[&str], expected: &str| {
        let body = ask(outputs);
        assert!(body.contains(expected), "{outputs:?}: no {expected} in {body}");
    };
    check(&[], "I try.");
    check(&["ok"], "done");
    check(&["Device or Resource Busy"], "cat f");
    check(&["resource busy", "resource busy"], "apply_patch");
    check(&["resource busy", "read", "ok"], "done");
    check(&["resource busy", "read", "resource busy", "read", "resource busy"], "done");
}

#[test]
fn models_in_code_mode_call_tools_from_a_program() {
    let model = Model::start([Script::new("a").shell("ls").message("done")]);
    let tools = json!([{"type": "additional_tools", "tools": [{"type": "custom", "name": "exec"}]},
                       {"role": "user", "content": "script:a"}]);
    let (_, body) = post(model.port(), "/v1/responses", &json!({"input": tools}));
    assert!(body.contains(r#"text(await tools[\"exec_command\"]({\"cmd\":\"ls\"}));"#), "{body}");
}

#[test]
fn faults_fire_as_often_as_they_should() {
    let busy = Fault::http(429).times(2).with_header("retry-after", "7").with_body(json!({"e": 1}));
    let model = Model::start([
        Script::new("busy").fault(busy).fault(Fault::drop_stream().times(1)).message("done"),
        Script::new("down").http(500),
        Script::new("error").error("quota", "no more"),
    ]);
    let port = model.port();
    for _ in 0..2 {
        let (head, body) = ask(port, "script:busy", 0);
        assert!(head.starts_with("HTTP/1.1 429") && head.contains("retry-after: 7"), "{head}");
        assert_eq!(body, r#"{"e":1}"#);
    }
    let (_, cut) = ask(port, "script:busy", 0);
    assert!(cut.contains("response.created") && !cut.contains("response.completed"), "{cut}");
    assert!(ask(port, "script:busy", 0).1.contains("\"done\""));
    assert!(ask(port, "script:down", 0).0.starts_with("HTTP/1.1 500"));
    let (_, failed) = ask(port, "script:error", 0);
    assert!(failed.contains("response.failed") && failed.contains("no more"), "{failed}");
}

#[test]
fn replies_wait_for_each_other_and_for_the_test() {
    let (meeting, gate) = (Latch::opens_after(2), Latch::closed());
    let file = tempfile::tempdir().unwrap();
    let path = file.path().join("sign");
    let model = Model::start([
        Script::new("a").wait(&meeting).wait(&gate).message("a done"),
        Script::new("b").wait(&meeting).wait_for_file(&path).message("b done"),
        Script::new("c").sleep(Duration::from_millis(1)).wait_until("nothing", || true).message("c done"),
        Script::new("never").hang().message("never said"),
    ]);
    let port = model.port();
    let asked = |script: &'static str| std::thread::spawn(move || ask(port, script, 0).1);
    let a = asked("script:a");
    model.wait_for("a to ask", |requests| requests.len() == 1);
    let b = asked("script:b");
    model.wait_for("both to ask", |requests| requests.len() == 2);
    model.wait_for("a at the gate", |_| gate.arrivals() == 1);
    assert!(!a.is_finished() && !b.is_finished());
    std::fs::write(&path, "").unwrap();
    assert!(b.join().unwrap().contains("b done"));
    gate.open();
    assert!(a.join().unwrap().contains("a done"));
    assert!(ask(port, "script:c", 0).1.contains("c done"));

    // A server that stops lets nobody wait.
    let never = std::thread::spawn(move || {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        let body = json!({"input": [{"role": "user", "content": "script:never"}]}).to_string();
        write!(stream, "POST /v1/responses HTTP/1.1\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    });
    model.wait_for("the last to ask", |requests| requests.len() == 4);
    drop(model);
    assert!(!never.join().unwrap().contains("never said"));
}

#[test]
fn the_messages_api_is_spoken_too() {
    let model = Model::start([
        Script::new("a").say("hm").write("/w/f", "x").shell("ls").message("done"),
        Script::new("bad").error("overloaded_error", "busy"),
    ]);
    let ask = |script: &str, results: usize| {
        let mut messages = vec![json!({"role": "user", "content": format!("script:{script}")})];
        messages.extend((0..results).map(|n| {
            let result = json!([{"type": "tool_result", "tool_use_id": n.to_string()}]);
            json!({"role": "user", "content": result})
        }));
        post(model.port(), "/v1/messages?beta=true", &json!({"model": "m", "messages": messages})).1
    };
    let first = ask("a", 0);
    for text in ["\"hm\"", "\"Write\"", r#"{\"content\":\"x\",\"file_path\":\"/w/f\"}"#, "\"stop_reason\":\"tool_use\""]
    {
        assert!(first.contains(text), "no {text} in {first}");
    }
    assert!(ask("a", 1).contains("\"Bash\""));
    assert!(ask("a", 2).contains("\"end_turn\""));
    assert!(ask("bad", 0).contains("overloaded_error"));
}

#[test]
fn clients_are_kept_from_every_other_model() {
    let args = hermetic_args(7).join(" ");
    assert!(args.contains("base_url=http://127.0.0.1:7/v1") && args.contains("--ignore-user-config"));
    let home = std::path::Path::new("/h");
    assert!(hermetic_env(home).contains(&("CODEX_HOME".to_owned(), "/h".to_owned())));
    let env = hermetic_claude_env(7, home);
    assert!(env.contains(&("ANTHROPIC_BASE_URL".to_owned(), "http://127.0.0.1:7".to_owned())));
}
