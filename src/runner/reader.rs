//! Reading a runner's output: bytes in, [`Progress`] and one [`Summary`] out.
//!
//! Invariant: the result depends on the bytes and not on how they were cut into pieces. Nothing
//! that an agent prints makes reading fail: lines that are no JSON, of unknown types, not UTF-8 or
//! too long are passed over, and memory is bounded by [`MAX_LINE`].

use serde_json::Value;

use crate::core::reason::Exit;
use crate::core::record::{Need, RateLimit, Summary, Usage};
use crate::session::RunnerKind;

use super::progress::{Progress, one_line, plain};
use super::{again, claude, codex, limits, needs};

/// The longest line that is looked at, in bytes. Lines of 300 KB have been seen; each holds the
/// whole output of a command.
pub const MAX_LINE: usize = 8 * 1024 * 1024;
/// What is kept allocated between lines, in bytes.
const KEPT_BUFFER: usize = 64 * 1024;
/// The most bytes that are kept of the final message.
const MAX_MESSAGE: usize = 16 * 1024;
/// The most characters that are kept of a fatal error, which is one line.
const MAX_ERROR: usize = 2 * 1024;

/// Reads the standard output of one attempt.
#[derive(Debug)]
pub struct Reader {
    kind: RunnerKind,
    lines: Lines,
    facts: Facts,
    /// What was counted of the thread before.
    used: Option<Usage>,
}

impl Reader {
    #[must_use]
    pub fn new(kind: RunnerKind) -> Self {
        Self { kind, lines: Lines::default(), facts: Facts::default(), used: None }
    }

    /// Reads the output of an attempt that goes on with a thread, of which so much was counted before: codex counts
    /// over the whole thread.
    #[must_use]
    pub fn going_on(kind: RunnerKind, used: Option<Usage>) -> Self {
        Self { used: used.filter(|_| kind == RunnerKind::Codex), ..Self::new(kind) }
    }

    /// What the thread is called, once after each time that it became known.
    pub fn new_thread(&mut self) -> Option<String> {
        let is_new = std::mem::take(&mut self.facts.thread_is_new);
        self.facts.thread.clone().filter(|_| is_new)
    }

    /// Takes the next bytes of output; gives what became known by them.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Progress> {
        let mut out = Vec::new();
        if self.kind != RunnerKind::Command {
            let (kind, facts) = (self.kind, &mut self.facts);
            self.lines.feed(bytes, |line| read_line(kind, line, facts, &mut out));
        }
        out
    }

    /// Some output is missing here. What is left of a broken line is dropped: the end of a cut
    /// line is not JSON by itself, since quotes inside its texts are escaped.
    pub fn gap(&mut self) {
        self.lines = Lines::default();
    }

    /// What the whole output says, given how the attempt's leader ended. A last line without a line
    /// feed counts.
    #[must_use]
    pub fn finish(mut self, exit: Exit) -> Summary {
        if self.kind == RunnerKind::Command {
            return Summary::default();
        }
        let (kind, facts) = (self.kind, &mut self.facts);
        self.lines.finish(|line| read_line(kind, line, facts, &mut Vec::new()));
        if let (Some(before), Some(usage)) = (self.used, &mut self.facts.usage) {
            usage.input_tokens = usage.input_tokens.saturating_sub(before.input_tokens);
            usage.output_tokens = usage.output_tokens.saturating_sub(before.output_tokens);
        }
        self.facts.summary(exit)
    }
}

/// What is known so far.
#[derive(Debug, Default)]
pub(super) struct Facts {
    thread: Option<String>,
    thread_is_new: bool,
    pub(super) usage: Option<Usage>,
    /// The runner said that its work is done.
    pub(super) finished: bool,
    message: Option<String>,
    needs: Vec<Need>,
    failed: Option<String>,
    rate_limit: Option<RateLimit>,
    /// The last error that was not fatal by itself.
    warning: Option<String>,
}

impl Facts {
    /// What the thread is called, as the runner says; what is no such name is passed over.
    pub(super) fn is_thread(&mut self, name: Option<&str>) {
        if let Some(name) = name.filter(|name| again::is_thread(name)) {
            self.thread = Some(name.to_owned());
            self.thread_is_new = true;
        }
    }

    /// The last thing said is the final message.
    pub(super) fn says(&mut self, text: &str) {
        self.needs = needs::in_message(text);
        self.message = Some(plain(text, MAX_MESSAGE)).filter(|m| !m.is_empty());
    }

    pub(super) fn warn(&mut self, message: &str) {
        self.warning = Some(one_line(message, MAX_ERROR));
    }

    /// The runner gave up, and says why.
    pub(super) fn fail(&mut self, message: &str) {
        let inner = inner_message(message);
        let message = inner.as_deref().unwrap_or(message);
        let limit = limits::rate_limit(message);
        self.failed = Some(one_line(message, MAX_ERROR));
        self.rate_limit = limit.map(|l| self.with_hint(l));
    }

    /// The same, where the runner says that the provider answered with a rate limit.
    pub(super) fn fail_limited(&mut self, message: &str) {
        self.failed = Some(one_line(message, MAX_ERROR));
        self.rate_limit = Some(self.with_hint(RateLimit { lifts_after: limits::lifts_after(message) }));
    }

    /// The time to wait may have been told earlier, in a retry.
    fn with_hint(&self, limit: RateLimit) -> RateLimit {
        let earlier = || self.warning.as_deref().and_then(limits::lifts_after);
        RateLimit { lifts_after: limit.lifts_after.or_else(earlier) }
    }

    fn summary(mut self, exit: Exit) -> Summary {
        // An error that was not fatal by itself explains an end that nothing else does.
        if let Exit::Code(code) = exit
            && code != 0
            && !self.finished
            && self.failed.is_none()
            && let Some(warning) = self.warning.take()
        {
            self.fail(&warning);
        }
        let ended_well = exit.success();
        Summary {
            needs: self.needs,
            message: self.message,
            usage: self.usage,
            thread: self.thread,
            fatal: self.failed.filter(|_| !ended_well),
            rate_limit: self.rate_limit.filter(|_| !ended_well),
        }
    }
}

fn read_line(kind: RunnerKind, line: &[u8], facts: &mut Facts, out: &mut Vec<Progress>) {
    if !line.trim_ascii_start().starts_with(b"{") {
        return;
    }
    // Into a generic value first: some events repeat a key, which a struct would refuse.
    let text = String::from_utf8_lossy(line);
    let Ok(event) = serde_json::from_str::<Value>(&text) else { return };
    match kind {
        RunnerKind::Codex => codex::read(&event, facts, out),
        RunnerKind::Claude => claude::read(&event, facts, out),
        RunnerKind::Command => {}
    }
}

/// The message inside an error that is the provider's answer as it came: `{"error":{"message":…}}`.
fn inner_message(message: &str) -> Option<String> {
    let value: Value = serde_json::from_str(message.trim()).ok()?;
    let text = ["/error/message", "/message", "/detail"].iter().find_map(|at| text_at(&value, at))?;
    Some(text.to_owned())
}

/// The text at a JSON pointer (RFC 6901).
pub(super) fn text_at<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer).and_then(Value::as_str)
}

/// Cuts bytes into lines.
#[derive(Debug, Default)]
struct Lines {
    partial: Vec<u8>,
    /// The present line is too long; its rest is passed over.
    skipping: bool,
}

impl Lines {
    fn feed(&mut self, bytes: &[u8], mut each: impl FnMut(&[u8])) {
        for piece in bytes.split_inclusive(|b| *b == b'\n') {
            let (body, ends) = piece.strip_suffix(b"\n").map_or((piece, false), |body| (body, true));
            if self.partial.len() + body.len() > MAX_LINE {
                self.skipping = true;
                self.partial = Vec::new();
            }
            if !ends {
                if !self.skipping {
                    self.partial.extend_from_slice(body);
                }
            } else if std::mem::take(&mut self.skipping) {
                self.partial.clear();
            } else if self.partial.is_empty() {
                each(body);
            } else {
                self.partial.extend_from_slice(body);
                each(&self.partial);
                self.partial.clear();
                self.partial.shrink_to(KEPT_BUFFER);
            }
        }
    }

    fn finish(&mut self, each: impl FnOnce(&[u8])) {
        if !std::mem::take(&mut self.skipping) {
            each(&std::mem::take(&mut self.partial));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(kind: RunnerKind, output: &[u8], exit: Exit) -> (Vec<Progress>, Summary) {
        let mut reader = Reader::new(kind);
        let progress = reader.feed(output);
        (progress, reader.finish(exit))
    }

    fn codex(lines: &[&str], code: i32) -> (Vec<Progress>, Summary) {
        read(RunnerKind::Codex, (lines.join("\n") + "\n").as_bytes(), Exit::Code(code))
    }

    fn claude(lines: &[&str], code: i32) -> (Vec<Progress>, Summary) {
        read(RunnerKind::Claude, (lines.join("\n") + "\n").as_bytes(), Exit::Code(code))
    }

    const THREAD: &str = r#"{"type":"thread.started","thread_id":"01a2"}"#;
    const SAYS: &str = r#"{"type":"item.completed","item":{"id":"i0","type":"agent_message","text":"First I look."}}"#;
    const DONE: &str = r#"{"type":"item.completed","item":{"id":"i9","type":"agent_message","text":"All done.\nNEEDS: a.py: a route"}}"#;
    const TURN_DONE: &str = r#"{"type":"turn.completed","usage":{"input_tokens":9641,"cached_input_tokens":3,"output_tokens":10,"reasoning_output_tokens":0}}"#;

    #[test]
    fn a_codex_session_is_told() {
        let shell = r#"{"type":"item.started","item":{"id":"i1","type":"command_execution","command":"/bin/bash -lc 'make\ntest'","aggregated_output":"","exit_code":null,"status":"in_progress"}}"#;
        let patch = r#"{"type":"item.completed","item":{"id":"i2","type":"file_change","changes":[{"path":"/w/a.py","kind":"add"},{"path":"/w/b.py","kind":"update"}],"status":"completed"}}"#;
        // `id` twice, as codex prints it
        let search = r#"{"type":"item.completed","item":{"id":"i3","type":"web_search","id":"ws_1","query":"rust"}}"#;
        let think = r#"{"type":"item.completed","item":{"id":"i4","type":"reasoning","text":"hm"}}"#;
        let tool = r#"{"type":"item.started","item":{"id":"i5","type":"mcp_tool_call","server":"db","tool":"query"}}"#;
        let unknown = r#"{"type":"item.completed","item":{"id":"i6","type":"hologram"}}"#;
        let lines = [
            "Reading prompt from stdin...",
            THREAD,
            r#"{"type":"turn.started"}"#,
            SAYS,
            shell,
            patch,
            search,
            think,
            tool,
            unknown,
            "{broken",
            "{}",
            "[1]",
            "null",
            "",
            r#"{"type":7}"#,
            DONE,
            TURN_DONE,
        ];
        let (progress, summary) = codex(&lines, 0);
        let text = str::to_owned;
        assert_eq!(
            progress,
            [
                Progress::Says(text("First I look.")),
                Progress::Runs(text("make test")),
                Progress::Edits(vec![text("/w/a.py"), text("/w/b.py")]),
                Progress::Uses(text("web search: rust")),
                Progress::Thinks,
                Progress::Uses(text("db.query")),
                Progress::Says(text("All done. NEEDS: a.py: a route")),
            ]
        );
        assert_eq!(
            summary,
            Summary {
                message: Some(text("All done.\nNEEDS: a.py: a route")),
                usage: Some(Usage { input_tokens: 9641, output_tokens: 10 }),
                thread: Some(text("01a2")),
                fatal: None,
                rate_limit: None,
                needs: vec![Need { path: text("a.py"), why: text("a route") }],
            }
        );
    }

    #[test]
    fn a_thread_is_told_once_and_its_tokens_are_counted_once() {
        let used = Some(Usage { input_tokens: 9000, output_tokens: 4 });
        let count = |kind, output: &str| {
            let mut reader = Reader::going_on(kind, used);
            assert_eq!(reader.new_thread(), None);
            reader.feed(output.as_bytes());
            let threads = [reader.new_thread(), reader.new_thread()];
            (threads, reader.finish(Exit::Code(0)).usage)
        };
        let (threads, usage) = count(RunnerKind::Codex, &format!("{THREAD}\n{TURN_DONE}\n"));
        assert_eq!(threads, [Some("01a2".to_owned()), None]);
        assert_eq!(usage, Some(Usage { input_tokens: 641, output_tokens: 6 }));
        let result =
            r#"{"type":"result","is_error":false,"result":"done","usage":{"input_tokens":5,"output_tokens":3}}"#;
        let (_, usage) = count(RunnerKind::Claude, &format!("{result}\n"));
        assert_eq!(usage, Some(Usage { input_tokens: 5, output_tokens: 3 }), "claude counts each session by itself");
        let bad = r#"{"type":"thread.started","thread_id":"-c x"}"#;
        assert_eq!(count(RunnerKind::Codex, &format!("{bad}\n")).0, [None, None]);
    }

    #[test]
    fn errors_are_fatal_only_where_codex_gave_up() {
        let retry =
            r#"{"type":"error","message":"Reconnecting... 1/5 (rate limit exceeded: Please try again in 20s.)"}"#;
        let (progress, summary) = codex(&[THREAD, retry, DONE, TURN_DONE], 0);
        assert!(matches!(&progress[0], Progress::Note(n) if n.starts_with("Reconnecting")));
        assert_eq!((summary.fatal, summary.rate_limit), (None, None), "it went on");

        let failed = |message: &str| {
            let end = serde_json::json!({"type": "turn.failed", "error": {"message": message}}).to_string();
            let (_, summary) = codex(&[THREAD, retry, &end], 1);
            (summary.fatal.unwrap(), summary.rate_limit.map(|l| l.lifts_after.map(|d| d.as_secs())))
        };
        let message = "exceeded retry limit, last status: 429 Too Many Requests";
        assert_eq!(failed(message), (message.to_owned(), Some(Some(20))), "the time was told in a retry");
        let message = "Quota exceeded. Check your plan and billing details.";
        assert_eq!(failed(message), (message.to_owned(), None));
        let message = r#"{"error":{"code":"x","message":"Bad request."}}"#;
        assert_eq!(failed(message), ("Bad request.".to_owned(), None));

        let (_, summary) = codex(&[THREAD, retry], 1);
        assert!(summary.fatal.is_some_and(|f| f.starts_with("Reconnecting")), "the best explanation there is");
        let (_, summary) = read(RunnerKind::Codex, retry.as_bytes(), Exit::Signal(15));
        assert_eq!(summary.fatal, None, "a signal explains itself");
    }

    #[test]
    fn a_claude_session_is_told() {
        let init = r#"{"type":"system","subtype":"init","cwd":"/w","session_id":"4348","model":"m"}"#;
        let write = r#"{"type":"assistant","message":{"content":[{"type":"thinking","thinking":"…"},{"type":"tool_use","name":"Write","input":{"file_path":"/w/a.txt","content":"x"}}]},"parent_tool_use_id":null}"#;
        let bash = r#"{"type":"assistant","message":{"content":[{"type":"tool_use","name":"Bash","input":{"command":"make"}},{"type":"tool_use","name":"Grep","input":{}}]},"parent_tool_use_id":null}"#;
        let sub = r#"{"type":"assistant","message":{"content":[{"type":"text","text":"from below"}]},"parent_tool_use_id":"t1"}"#;
        let result = r#"{"type":"result","subtype":"success","is_error":false,"result":"done\nNEEDS: b: c","usage":{"input_tokens":300,"cache_creation_input_tokens":20,"cache_read_input_tokens":1,"output_tokens":51}}"#;
        let (progress, summary) = claude(&[init, write, bash, sub, result], 0);
        let text = str::to_owned;
        assert_eq!(
            progress,
            [
                Progress::Thinks,
                Progress::Edits(vec![text("/w/a.txt")]),
                Progress::Runs(text("make")),
                Progress::Uses(text("Grep")),
                Progress::Says(text("from below")),
            ]
        );
        assert_eq!(summary.message.as_deref(), Some("done\nNEEDS: b: c"));
        assert_eq!(summary.usage, Some(Usage { input_tokens: 321, output_tokens: 51 }));
        assert_eq!(summary.thread.as_deref(), Some("4348"));
        assert_eq!(summary.needs.len(), 1);
        assert_eq!(summary.fatal, None);
    }

    #[test]
    fn a_claude_session_fails() {
        let retry = r#"{"type":"system","subtype":"api_retry","attempt":1,"max_retries":10,"retry_delay_ms":3000,"error_status":429,"error":"rate_limit"}"#;
        let limited = r#"{"type":"result","subtype":"success","is_error":true,"api_error_status":429,"result":"Request rejected"}"#;
        let (progress, summary) = claude(&[retry, limited], 1);
        assert_eq!(progress[0], Progress::Note("rate_limit: try 1 failed, the next is in 3.0s".to_owned()));
        assert_eq!(summary.fatal.as_deref(), Some("Request rejected"));
        assert_eq!(summary.rate_limit, Some(RateLimit { lifts_after: None }));

        let poor = r#"{"type":"result","subtype":"success","is_error":true,"api_error_status":400,"result":"Credit balance is too low"}"#;
        let told = r#"{"type":"assistant","message":{"model":"<synthetic>","content":[{"type":"text","text":"Credit balance is too low"}]}}"#;
        let (_, summary) = claude(&[told, poor], 1);
        assert_eq!(summary.message, None);
        assert_eq!((summary.fatal.as_deref(), summary.rate_limit), (Some("Credit balance is too low"), None));
        let turns = r#"{"type":"result","subtype":"error_max_turns","is_error":true}"#;
        assert_eq!(claude(&[turns], 1).1.fatal.as_deref(), Some("error_max_turns"));
    }

    #[test]
    fn a_command_has_no_events() {
        let (progress, summary) = read(RunnerKind::Command, SAYS.as_bytes(), Exit::Code(1));
        assert_eq!((progress, summary), (Vec::new(), Summary::default()));
    }

    #[test]
    fn lines_that_cannot_be_read_are_passed_over() {
        let mut output = b"\xff\xfe{\n".to_vec();
        output.extend(vec![b'x'; MAX_LINE + 1]);
        output.push(b'\n');
        output.extend(br#"{"type":"item.completed","item":{"type":"agent_message","text":"a"#);
        output.extend(b"\xff\"}}\n");
        output.extend(vec![b'['; 300_000]);
        output.push(b'\n');
        let big = serde_json::json!({"type": "item.completed", "item": {"type": "agent_message", "text": "x".repeat(300_000)}});
        let mut reader = Reader::new(RunnerKind::Codex);
        assert_eq!(reader.feed(&output), [Progress::Says("a\u{fffd}".to_owned())]);
        assert_eq!(reader.feed(format!("{big}\n").as_bytes()).len(), 1);
        let summary = reader.finish(Exit::Code(0));
        assert_eq!(summary.message.map(|m| m.len() <= MAX_MESSAGE), Some(true));
    }

    #[test]
    fn a_gap_costs_the_broken_line_only() {
        let mut reader = Reader::new(RunnerKind::Codex);
        assert_eq!(reader.feed(&SAYS.as_bytes()[..30]), []);
        reader.gap();
        assert_eq!(reader.feed(&SAYS.as_bytes()[50..]), []);
        assert_eq!(reader.feed(b"\n"), []);
        assert_eq!(reader.feed(format!("{DONE}\n").as_bytes()).len(), 1);
        reader.feed(TURN_DONE.as_bytes());
        assert!(reader.finish(Exit::Code(0)).usage.is_some(), "the last line needs no line feed");
    }

    /// Bytes that are often nearly an event.
    fn output() -> impl Strategy<Value = Vec<u8>> {
        let line = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..40),
            prop::sample::select(vec![THREAD, SAYS, DONE, TURN_DONE, "{", "\n", r#"{"type":"turn.failed"}"#])
                .prop_map(|l| l.as_bytes().to_vec()),
            Just(b"\n".to_vec()),
        ];
        prop::collection::vec(line, 0..30).prop_map(|lines| lines.concat())
    }

    proptest! {
        #[test]
        fn cutting_does_not_change_the_result(
            output in output(),
            cuts in prop::collection::vec(0usize..2000, 0..10),
            kind in prop::sample::select(vec![RunnerKind::Codex, RunnerKind::Claude, RunnerKind::Command]),
        ) {
            let whole = read(kind, &output, Exit::Code(1));
            let mut reader = Reader::new(kind);
            let mut progress = Vec::new();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(output.len())).collect();
            cuts.extend([0, output.len()]);
            cuts.sort_unstable();
            for pair in cuts.windows(2) {
                progress.extend(reader.feed(&output[pair[0]..pair[1]]));
            }
            prop_assert_eq!((progress, reader.finish(Exit::Code(1))), whole);
        }
    }
}
