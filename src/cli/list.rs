//! `supervise list`: the registry of a run, or of the session file where nothing has been run.
//!
//! Invariant: it changes nothing, and shows a run that goes on and one that is over in the same way.

use std::io;
use std::path::Path;

use super::look::{AboutRun, Look, LookError, print};
use super::progress::{palette_for, report_width};
use super::select::{DEFAULT_SESSION, SelectArgs, origin};
use super::{Common, Exit, Failure, Format};
use crate::host::past::NoRun;
use crate::render::json::pretty;
use crate::render::list::{ListSetting, Registry};
use crate::session;

/// List the agents: name, phase, priority, state, files
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct ListArgs {
    #[command(flatten)]
    pub about: AboutRun,
}

const AFTER_HELP: &str = "\
Where nothing has been run yet, the agents are those of `supervise.toml`.

Examples:
  supervise list
  supervise list --format json | jq -r '.agents[].id'";

#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("there has been no run in this repository yet, and no {DEFAULT_SESSION} is here")]
#[diagnostic(help("`supervise init` writes a session file, `supervise run SESSION` runs one"))]
struct Nothing;

pub fn run(args: &ListArgs, common: &Common) -> Result<Exit, Failure> {
    let (registry, setting) = match Look::at(common, &args.about.run) {
        Ok(look) => {
            let state = look.state().map_err(LookError::fail)?;
            (Registry::of_run(&state.view), ListSetting::from(&state.setting))
        }
        Err(LookError::Run(NoRun::None)) => of_session(common)?,
        Err(error) => return Err(error.fail()),
    };
    print(match args.about.format {
        Format::Human => registry.text(&setting),
        Format::Json => pretty(&registry),
    });
    Ok(Exit::Success)
}

/// The agents of the session file that `run` would take.
fn of_session(common: &Common) -> Result<(Registry, ListSetting), Failure> {
    let named = Path::new(DEFAULT_SESSION);
    if !named.exists() {
        return Err(Failure::new(Exit::NothingSelected, Nothing));
    }
    let origin = origin(named);
    let bytes = session::read(&origin).map_err(Failure::session)?;
    let options = SelectArgs::default().load_options(common, &origin, &bytes);
    let loaded = session::load(&origin, &bytes, &options).map_err(Failure::session)?;
    let setting =
        ListSetting { palette: palette_for(&io::stdout()), width: report_width(), next: "(supervise run)".to_owned() };
    Ok((Registry::of_plan(&loaded.session.name, &loaded.session.plan), setting))
}
