//! What the agent does, and how long it takes; measured where it is done, so that nothing else counts.
//! `work NAME SOURCE RESULT SIZE`, in the root of the workspace.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// Something that agents do all day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// `git clone` of a local repository into the workspace.
    Clone,
    /// `cargo build --offline`; its `target` is ignored by git, as usual.
    Build,
    /// Small files made, and opened for writing again.
    Files,
}

/// How long it took.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Taken {
    pub(crate) seconds: f64,
    /// Medians of one call in microseconds, for [`Work::Files`].
    pub(crate) create: f64,
    pub(crate) open: f64,
}

impl Work {
    pub(crate) const ALL: [Self; 3] = [Self::Clone, Self::Build, Self::Files];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Clone => "clone",
            Self::Build => "build",
            Self::Files => "files",
        }
    }
}

pub(crate) fn arguments(work: Work, source: &Path, result: &Path, size: usize) -> [OsString; 5] {
    ["work".into(), work.name().into(), source.into(), result.into(), size.to_string().into()]
}

pub(crate) fn main(args: &[OsString]) -> ExitCode {
    match perform(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            let _ = writeln!(io::stderr(), "work: {e}");
            ExitCode::FAILURE
        }
    }
}

fn perform(args: &[OsString]) -> io::Result<()> {
    let [name, source, result, size] = args else { return Err(io::ErrorKind::InvalidInput.into()) };
    let work = Work::ALL.into_iter().find(|w| name == w.name()).ok_or(io::ErrorKind::NotFound)?;
    let size = size.to_string_lossy().parse().map_err(io::Error::other)?;
    let start = Instant::now();
    let (mut create, mut open) = (Vec::new(), Vec::new());
    match work {
        Work::Clone => run(Command::new("git").args(["clone", "-q"]).arg(source).arg("work/clone"))?,
        Work::Build => run(Command::new("cargo").args([
            "build",
            "--offline",
            "--quiet",
            "--manifest-path",
            "crate/Cargo.toml",
            "--target-dir",
            "crate/target",
        ]))?,
        Work::Files => files(size, &mut create, &mut open)?,
    }
    let seconds = start.elapsed().as_secs_f64();
    let taken = Taken { seconds, create: median_micros(&mut create), open: median_micros(&mut open) };
    fs::write(result, serde_json::to_vec(&taken)?)
}

fn run(command: &mut Command) -> io::Result<()> {
    let status = command.status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("{command:?}: {status}"))) }
}

fn files(size: usize, create: &mut Vec<Duration>, open: &mut Vec<Duration>) -> io::Result<()> {
    let dirs: Vec<PathBuf> = (0..size.div_ceil(200)).map(|n| PathBuf::from(format!("work/files/{n}"))).collect();
    dirs.iter().try_for_each(fs::create_dir_all)?;
    let paths: Vec<PathBuf> = (0..size).map(|n| dirs[n / 200].join(n.to_string())).collect();
    for path in &paths {
        let (took, file) = timed(|| OpenOptions::new().write(true).create_new(true).open(path));
        file?.write_all(b"small\n")?;
        create.push(took);
    }
    for path in &paths {
        let (took, file) = timed(|| OpenOptions::new().write(true).open(path));
        file?;
        open.push(took);
    }
    Ok(())
}

fn timed<T>(act: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let done = act();
    (start.elapsed(), done)
}

fn median_micros(times: &mut [Duration]) -> f64 {
    times.sort();
    times.get(times.len() / 2).map_or(0.0, |t| t.as_secs_f64() * 1e6)
}
