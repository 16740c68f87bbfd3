//! The bench's own test: every writer alone, without a supervisor. What the writers' accounts say must
//! be exactly what differs in the workspace afterwards, and every call must have done its work.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::desk::{self, Matter, Outcome, write_whole};
use crate::fault::Fault;
use crate::ground::{furnish, occupy, rule};
use crate::scenario::{Cast, Scenario};
use crate::snapshot::{Difference, Snapshot};
use crate::writer;

/// How much a scenario did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Checked {
    pub(crate) deeds: usize,
    pub(crate) paths: usize,
}

pub(crate) fn check(scenario: &Scenario, quick: bool) -> Result<Checked, Fault> {
    let dir = tempfile::tempdir()?;
    let (root, sync) = (dir.path().join("workspace"), dir.path().join("sync"));
    std::fs::create_dir(&sync)?;
    scenario.areas().iter().try_for_each(|area| furnish(&root, area))?;
    if scenario.ignores {
        rule(&root)?;
        occupy(&root)?;
    }
    let before = Snapshot::take(&root)?;
    let party = scenario.party();
    let writers: Vec<_> = party.iter().map(|agent| start(scenario, &root, &sync, agent, quick)).collect();
    match scenario.cast {
        Cast::PairUnattended => write_whole(&sync.join("go"), "")?,
        Cast::PairGranted => write_whole(&sync.join("granted"), "")?,
        Cast::Pair | Cast::Eight => {}
    }
    for (agent, writer) in party.iter().zip(writers) {
        let status = writer?.wait()?;
        if !status.success() {
            return Err(Fault::Writer { agent: agent.clone(), status });
        }
    }
    let changed = before.differences(&Snapshot::take(&root)?);
    let mut checked = Checked { deeds: 0, paths: 0 };
    let (mut content, mut metadata) = (BTreeSet::new(), BTreeSet::new());
    for agent in &party {
        for deed in desk::read_account(&sync, agent)? {
            match deed.outcome {
                Outcome::Done => checked.deeds += 1,
                Outcome::Passed => continue,
                Outcome::Begun | Outcome::Failed(_) => return Err(Fault::NotDone { agent: agent.clone(), deed }),
            }
            let paths = if deed.matter == Matter::Metadata { &mut metadata } else { &mut content };
            paths.extend(deed.paths);
        }
    }
    checked.paths = content.len() + metadata.difference(&content).count();
    let of = |wanted| changed.iter().filter(move |(_, d)| **d == wanted).map(|(p, _)| p.clone());
    let found: BTreeSet<String> = of(Difference::Content).collect();
    if found != content {
        return Err(Fault::Account { differ: content.symmetric_difference(&found).cloned().collect() });
    }
    let found: BTreeSet<String> = of(Difference::Metadata).collect();
    if found != metadata.difference(&content).cloned().collect() {
        return Err(Fault::Account { differ: metadata.symmetric_difference(&found).cloned().collect() });
    }
    Ok(checked)
}

fn start(
    scenario: &Scenario,
    root: &Path,
    sync: &Path,
    agent: &str,
    quick: bool,
) -> std::io::Result<std::process::Child> {
    let args = writer::arguments(scenario.name, root, sync, agent, scenario.size(quick));
    Command::new(std::env::current_exe()?).args(args).current_dir(root).stdin(Stdio::null()).spawn()
}
