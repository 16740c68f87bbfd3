//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::fault::Fault;
use crate::scenario::{self, Scenario};
use crate::stage::Layer;

/// What is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The writers under the supervisor.
    Measure,
    /// The writers alone, and the judge.
    Check,
}

#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) mode: Mode,
    /// Smaller counts.
    pub(crate) quick: bool,
    /// Show what the supervisor said, and every note.
    pub(crate) verbose: bool,
    /// Leave the scratch repositories.
    pub(crate) keep: bool,
    pub(crate) layers: Vec<Layer>,
    pub(crate) scenarios: Vec<&'static Scenario>,
    pub(crate) json: Option<PathBuf>,
}

impl Options {
    /// Takes the arguments as cargo gives them, its own `--bench` included.
    pub(crate) fn parse(args: &[OsString]) -> Result<Self, Fault> {
        let mut options = Self {
            mode: Mode::Measure,
            quick: false,
            verbose: false,
            keep: false,
            layers: Layer::BOTH.into(),
            scenarios: Vec::new(),
            json: None,
        };
        let mut args = args.iter().map(|a| a.to_string_lossy());
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| Fault::Usage(format!("{arg} needs a value")));
            match &*arg {
                "--bench" => {}
                "--check" => options.mode = Mode::Check,
                "--quick" => options.quick = true,
                "--verbose" => options.verbose = true,
                "--keep" => options.keep = true,
                "--json" => options.json = Some(PathBuf::from(&*value()?)),
                "--only" => {
                    let name = value()?;
                    let names = || scenario::ALL.iter().map(|s| s.name).collect::<Vec<_>>().join(", ");
                    let unknown = || Fault::Usage(format!("no scenario `{name}`; there are {}", names()));
                    options.scenarios.push(scenario::find(&name).ok_or_else(unknown)?);
                }
                "--layer" => {
                    let name = value()?;
                    let layer = Layer::BOTH.into_iter().find(|l| l.name() == name);
                    options.layers = vec![layer.ok_or_else(|| Fault::Usage(format!("no layer `{name}`")))?];
                }
                other => return Err(Fault::Usage(format!("unknown argument `{other}`"))),
            }
        }
        if options.scenarios.is_empty() {
            options.scenarios = scenario::ALL.iter().collect();
        }
        Ok(options)
    }
}
