//! The agent of a scenario: `write SCENARIO WORKSPACE SYNC AGENT SIZE`.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use crate::desk::Desk;
use crate::scenario::{self, Cast};

/// The arguments after `write`.
pub(crate) fn arguments(scenario: &str, workspace: &Path, sync: &Path, agent: &str, size: usize) -> Vec<OsString> {
    let size = size.to_string();
    vec!["write".into(), scenario.into(), workspace.into(), sync.into(), agent.into(), size.into()]
}

pub(crate) fn main(args: &[OsString]) -> ExitCode {
    match write(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            let _ = writeln!(io::stderr(), "writer: {e}");
            ExitCode::FAILURE
        }
    }
}

fn write(args: &[OsString]) -> io::Result<()> {
    let [name, workspace, sync, agent, size] = args else { return Err(io::ErrorKind::InvalidInput.into()) };
    let text = |arg: &OsString| arg.to_str().map(ToOwned::to_owned).ok_or(io::ErrorKind::InvalidInput);
    let scenario = scenario::find(&text(name)?).ok_or(io::ErrorKind::NotFound)?;
    let size = text(size)?.parse().map_err(io::Error::other)?;
    let mut desk = Desk::new(Path::new(workspace), Path::new(sync), &text(agent)?, size)?;
    let party = scenario.party();
    desk.arrive(&party)?;
    if scenario.cast == Cast::PairUnattended {
        desk.signalled("go")?;
    }
    for area in desk.areas() {
        desk.enter(&area);
        (scenario.act)(&mut desk)?;
    }
    desk.leave(&party)
}
