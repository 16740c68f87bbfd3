//! Tells others of a run as it goes on: hooks, and on a terminal whoever looks away from it.
//!
//! Invariant: nothing here waits while the run goes on, and a run without hooks on no terminal does
//! nothing of it.
//!
//! Deliberately absent: what needs a person (`core::attention`) and running commands (`host::hooks`).

use std::time::Duration;

use serde_json::{Value, json};

use super::progress::Progress;
use crate::core::agent::Plan;
use crate::core::attention::{Attention, Lookout};
use crate::core::ids::AgentId;
use crate::core::moment::Moment;
use crate::core::record::{Fact, Record};
use crate::core::view::RunView;
use crate::host::hooks::Hooks;
use crate::host::signals::Signals;
use crate::journal::{self, Entry};
use crate::render::{Setting, attention};
use crate::session::HookPoint;

/// Between two rings; what comes sooner is on the screen all the same.
const QUIET: Duration = Duration::from_secs(5);

/// Whom to tell, and what was told.
#[derive(Debug)]
pub struct Alerts {
    lookout: Lookout,
    pub hooks: Option<Hooks>,
    /// Ring the terminal's bell?
    rings: bool,
    rang: Option<Moment>,
}

impl Alerts {
    #[must_use]
    pub fn new(plan: &Plan, rings: bool) -> Self {
        Self { lookout: Lookout::new(plan), hooks: None, rings, rang: None }
    }

    /// A record is in the journal. Every one has to come by, in order.
    pub fn recorded(&mut self, entry: &Entry, setting: &Setting, progress: &Progress) {
        match &entry.record.fact {
            Fact::AgentEnded { agent, .. } => self.post(HookPoint::AgentEnd, Some(agent), entry, None),
            Fact::ConflictFound(_) => self.post(HookPoint::Conflict, None, entry, None),
            _ => {}
        }
        for found in self.lookout.follow(&entry.record.fact) {
            let text = attention::text(&found, setting);
            self.post(HookPoint::Attention, found.agent(), entry, Some((&found, &text)));
            let at = entry.record.at;
            if self.rings && self.rang.is_none_or(|rang| at.since(rang) >= QUIET) {
                self.rang = Some(at);
                progress.ring(&text);
            }
        }
    }

    /// Something that was a fact before there was anybody to tell.
    pub fn recall(&mut self, record: &Record) {
        let _ = self.lookout.follow(&record.fact);
    }

    fn post(&mut self, point: HookPoint, agent: Option<&AgentId>, entry: &Entry, found: Option<(&Attention, &str)>) {
        let Some(hooks) = self.hooks.as_mut().filter(|hooks| hooks.wants(point)) else { return };
        let Ok(mut line) = journal::event_line(entry) else { return };
        if let Some((found, text)) = found
            && let Ok(Value::Object(mut record)) = serde_json::from_str(&line)
        {
            record.insert("attention".to_owned(), json!({ "kind": attention::kind(found), "text": text }));
            line = Value::Object(record).to_string();
        }
        line.push('\n');
        hooks.post(point, agent, line.as_bytes());
    }

    /// The run is over (`document`: how), and its live lines are gone. Waits for the hooks, within their bound; a
    /// signal hurries them.
    pub async fn finish(self, view: Option<&RunView>, document: Option<Value>, progress: &Progress) {
        if let (true, Some(view)) = (self.rings, view) {
            progress.ring(&attention::ended(view));
        }
        let Some(hooks) = self.hooks else { return };
        let hurry = async {
            match Signals::listen() {
                Ok(mut signals) => drop(signals.next().await),
                // Nobody can hurry them; their bound holds.
                Err(_) => std::future::pending().await,
            }
        };
        let text = document.map(|document| format!("{document}\n").into_bytes());
        hooks.finish(text, hurry).await;
    }
}
