//! A run's progress on standard error: plain lines in a pipe; on a terminal a live line for each
//! running agent, with the events above.
//!
//! Invariant: nothing wakes up by itself unless standard error is a terminal, and there once a
//! second. What cannot be written (the reader went away) never disturbs the run.
//!
//! Deliberately absent: what the lines say (`render::event`).

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, IsTerminal as _, Write};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::relay::{STDERR, Through};
use super::terminal::columns;
use crate::core::ids::{AttemptId, Slot};
use crate::core::record::{Fact, Record};
use crate::render::Setting;
use crate::render::event::EventLines;
use crate::render::style::Palette;
use crate::render::text::{pad, printable, truncate};

/// How often live lines are brought up to date when nothing happens.
const TICK: Duration = Duration::from_secs(1);
/// The most redraws a second that events and agents' output cause.
const MAX_REDRAWS: u8 = 5;
/// Columns of an agent's id in a live line.
const ID_COLUMNS: usize = 24;
/// Columns of a notification.
const MAX_RING: usize = 200;
/// Agent and slot, how long it runs, what it says it does.
const TEMPLATE: &str = "  {prefix:.cyan}  {elapsed_precise}  {wide_msg}";

/// Shows one run as it goes on.
#[derive(Debug)]
pub struct Progress {
    lines: EventLines,
    slots: BTreeMap<AttemptId, Slot>,
    out: Out,
}

enum Out {
    Plain(Box<dyn Write + Send>),
    Live(Live),
}

impl fmt::Debug for Out {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain(_) => "Plain",
            Self::Live(_) => "Live",
        })
    }
}

/// Whether text on this stream is to have colours: it is a terminal, and `NO_COLOR`,
/// `CLICOLOR_FORCE` and `TERM` do not say otherwise.
#[must_use]
pub fn palette_for(stream: &impl anstream::stream::RawStream) -> Palette {
    match anstream::AutoStream::choice(stream) {
        anstream::ColorChoice::Never => Palette::Plain,
        _ => Palette::Colour,
    }
}

/// The columns that a report on standard output may take.
#[must_use]
pub fn report_width() -> usize {
    // A report in a file or a pipe is read somewhere else.
    columns(io::stdout()).map_or(100, |columns| columns.clamp(60, 160))
}

impl Progress {
    /// On standard error, live if that is a terminal. The setting's palette is the stream's.
    #[must_use]
    pub fn new(mut setting: Setting) -> Self {
        let stderr = io::stderr();
        setting.palette = palette_for(&stderr);
        let out = if stderr.is_terminal() {
            let terminal = Box::new(Through(&STDERR));
            Out::Live(Live::start(ProgressDrawTarget::term_like_with_hz(terminal, MAX_REDRAWS)))
        } else {
            Out::Plain(Box::new(Through(&STDERR)))
        };
        Self { lines: EventLines::new(setting), slots: BTreeMap::new(), out }
    }

    /// Plain lines to `out`.
    #[must_use]
    pub fn plain(setting: Setting, out: Box<dyn Write + Send>) -> Self {
        Self { lines: EventLines::new(setting), slots: BTreeMap::new(), out: Out::Plain(out) }
    }

    /// Something became a fact of the run. Every record has to come by, in order.
    pub fn record(&mut self, record: &Record) {
        self.record_of(record, Duration::ZERO);
    }

    /// The same of one that is so old.
    pub fn record_of(&mut self, record: &Record, age: Duration) {
        let line = self.lines.line(record);
        match &mut self.out {
            Out::Plain(out) => {
                if let Some(line) = line {
                    // The reader may be gone; the run goes on.
                    let _ = out.write_all(format!("{line}\n").as_bytes()).and_then(|()| out.flush());
                }
            }
            Out::Live(live) => {
                live.follow(&record.fact, &mut self.slots, age);
                if let Some(line) = line {
                    live.print(&line);
                }
            }
        }
    }

    /// Something that was a fact before this was shown.
    pub fn recall(&mut self, record: &Record) {
        let _ = self.lines.line(record);
    }

    /// What a running agent says it does. Shown on its live line only.
    pub fn progress(&mut self, id: &AttemptId, text: &str) {
        if let Out::Live(live) = &self.out {
            live.say(id, text);
        }
    }

    /// For saying what agents do from another thread; `None`: there are no live lines.
    #[must_use]
    pub fn speaker(&self) -> Option<Speaker> {
        match &self.out {
            Out::Live(live) => Some(live.speaker()),
            Out::Plain(_) => None,
        }
    }

    /// Calls whoever looks away from the terminal: its bell, and where it knows that the desktop's
    /// notification (OSC 9, as iTerm2, kitty, WezTerm, foot and others have it). In a pipe nothing.
    pub fn ring(&self, text: &str) {
        if let Out::Live(live) = &self.out {
            let plain = std::env::var_os("TERM").is_none_or(|term| term == "dumb" || term == "linux");
            let text = truncate(&printable(text), MAX_RING);
            let call = if plain { "\u{7}".to_owned() } else { format!("\u{1b}]9;{text}\u{7}\u{7}") };
            live.aside(&call);
        }
    }

    /// Takes the live lines away, and waits for who reads. Nothing is shown after it but plain events.
    pub fn finish(&mut self) {
        if let Out::Live(live) = &mut self.out {
            live.stop();
        }
        STDERR.settle();
    }
}

/// Says what agents do, on their live lines while they have some.
#[derive(Clone, Debug)]
pub struct Speaker {
    all: MultiProgress,
    bars: Bars,
}

impl Speaker {
    pub fn say(&self, id: &AttemptId, text: &str) {
        if let Some(bar) = locked(&self.bars).get(id) {
            bar.set_message(printable(text));
        }
    }

    /// Takes the live lines away, prints a last one, and waits for who reads.
    pub fn leave(&self, text: &str) {
        for (_, bar) in std::mem::take(&mut *locked(&self.bars)) {
            bar.finish_and_clear();
        }
        // The terminal may be gone.
        let _ = self.all.println(text);
        let _ = self.all.clear();
        STDERR.settle();
    }
}

type Bars = Arc<Mutex<BTreeMap<AttemptId, ProgressBar>>>;

/// The live lines, and the thread that keeps their clocks going.
struct Live {
    all: MultiProgress,
    bars: Bars,
    ticker: Option<(mpsc::Sender<()>, JoinHandle<()>)>,
}

impl Live {
    fn start(target: ProgressDrawTarget) -> Self {
        let bars = Bars::default();
        let (stop, stopped) = mpsc::channel();
        let ticked = Arc::clone(&bars);
        let tick = move || {
            while stopped.recv_timeout(TICK) == Err(mpsc::RecvTimeoutError::Timeout) {
                for bar in locked(&ticked).values() {
                    bar.tick();
                }
            }
        };
        // Without the thread the clocks stand still between events, and nothing else is lost.
        let thread = std::thread::Builder::new().name("progress".to_owned()).spawn(tick);
        let ticker = thread.ok().map(|thread| (stop, thread));
        Self { all: MultiProgress::with_draw_target(target), bars, ticker }
    }

    fn follow(&self, fact: &Fact, slots: &mut BTreeMap<AttemptId, Slot>, age: Duration) {
        match fact {
            Fact::AttemptOpened { id, slot } => {
                slots.insert(id.clone(), *slot);
            }
            Fact::AttemptStarted { id, .. } => self.open(id, slots.get(id).copied(), age),
            Fact::EndIntended { id, .. } => self.say(id, "ending"),
            Fact::TreeEnded { id, .. } => self.say(id, "closing"),
            Fact::VerifyStarted { id } => self.say(id, "verifying"),
            Fact::PlaceIntended { id, .. } => self.say(id, "committing"),
            Fact::AttemptReturned { id, .. } | Fact::AgentRequeued { id, .. } => {
                slots.remove(id);
                self.close(id);
            }
            Fact::AgentEnded { agent, .. } => {
                slots.retain(|id, _| id.agent != *agent);
                let of_agent: Vec<AttemptId> =
                    locked(&self.bars).keys().filter(|id| id.agent == *agent).cloned().collect();
                for id in of_agent {
                    self.close(&id);
                }
            }
            _ => {}
        }
    }

    fn speaker(&self) -> Speaker {
        Speaker { all: self.all.clone(), bars: Arc::clone(&self.bars) }
    }

    fn open(&self, id: &AttemptId, slot: Option<Slot>, age: Duration) {
        let bar = self.all.add(ProgressBar::new_spinner().with_elapsed(age));
        // The template is fixed; were it wrong, indicatif's own style would be used.
        bar.set_style(ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_spinner()));
        let agent = pad(&truncate(id.agent.as_str(), ID_COLUMNS), ID_COLUMNS);
        let slot = slot.map(|s| format!("  slot {}", s.0)).unwrap_or_default();
        bar.set_prefix(format!("{agent}{slot}"));
        bar.tick();
        locked(&self.bars).insert(id.clone(), bar);
    }

    fn close(&self, id: &AttemptId) {
        if let Some(bar) = locked(&self.bars).remove(id) {
            bar.finish_and_clear();
            self.all.remove(&bar);
        }
    }

    fn say(&self, id: &AttemptId, text: &str) {
        self.speaker().say(id, text);
    }

    fn print(&self, line: &str) {
        // The terminal may be gone; the run goes on.
        let _ = self.all.println(line);
    }

    /// Writes what takes no room on the screen.
    fn aside(&self, text: &str) {
        self.all.suspend(|| STDERR.say(text.as_bytes()));
    }

    fn stop(&mut self) {
        if let Some((stop, thread)) = self.ticker.take() {
            drop(stop);
            let _ = thread.join();
        }
        let left: Vec<AttemptId> = locked(&self.bars).keys().cloned().collect();
        for id in left {
            self.close(&id);
        }
        let _ = self.all.clear();
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A panic elsewhere does not make the bars wrong.
fn locked(bars: &Bars) -> std::sync::MutexGuard<'_, BTreeMap<AttemptId, ProgressBar>> {
    bars.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::ids::{AgentId, Attempt};
    use crate::core::lifecycle::State;
    use crate::core::moment::Moment;
    use crate::core::record::ProcessId;

    fn setting() -> Setting {
        Setting {
            start: jiff::Timestamp::UNIX_EPOCH,
            zone: jiff::tz::TimeZone::UTC,
            phases: vec![],
            git_dir: ".git".to_owned(),
            git: "git".to_owned(),
            palette: Palette::Plain,
            width: 80,
            notes: vec![],
        }
    }

    fn id() -> AttemptId {
        AttemptId { agent: AgentId::new("a").unwrap(), attempt: Attempt::FIRST }
    }

    fn records() -> Vec<Record> {
        let process = ProcessId { pid: 7, start: 0, boot: String::new() };
        [
            Fact::AttemptOpened { id: id(), slot: Slot(2) },
            Fact::AttemptStarted { id: id(), dirty: vec![] },
            Fact::AttemptSpawned { id: id(), process },
            Fact::AgentEnded { agent: id().agent, state: State::Completed, reason: None },
        ]
        .into_iter()
        .map(|fact| Record { at: Moment(0), fact })
        .collect()
    }

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_pipe_gets_plain_lines_and_no_chatter() {
        let out = Shared::default();
        let mut progress = Progress::plain(setting(), Box::new(out.clone()));
        for record in records() {
            progress.record(&record);
            progress.progress(&id(), "reading \u{1b}[31mfiles");
        }
        progress.finish();
        let text = String::from_utf8(out.0.lock().unwrap().clone()).unwrap();
        let expected = "00:00:00  a         started     (attempt 1, pid 7)\n\
                        00:00:00  a         completed   in 0ms; without changes\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_live_line_lasts_as_long_as_its_attempt() {
        let mut live = Live::start(ProgressDrawTarget::hidden());
        let mut slots = BTreeMap::new();
        let records = records();
        for record in &records[..3] {
            live.follow(&record.fact, &mut slots, Duration::from_mins(3));
        }
        live.say(&id(), "reading \u{1b}[31mfiles");
        let bar = locked(&live.bars).get(&id()).cloned().unwrap();
        assert_eq!(
            (bar.prefix().as_str(), bar.message().as_str()),
            (format!("{:24}  slot 2", "a").as_str(), "reading files")
        );
        assert!(bar.elapsed() >= Duration::from_mins(3), "it began before it was shown");
        live.follow(&records[3].fact, &mut slots, Duration::ZERO);
        assert!(locked(&live.bars).is_empty() && slots.is_empty() && bar.is_finished());
        live.stop();
        assert!(live.ticker.is_none());
    }
}
