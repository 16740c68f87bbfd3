//! What a run leaves for CI: a JUnit file, and a table on the job's summary page.
//!
//! Invariant: whoever asked for a JUnit file finds one of this run or none; nothing here changes how the
//! run ends.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::run::Done;
use super::{Exit, Failure, What};
use crate::render::{diagnostic, junit, summary};

/// Where the runner of GitHub Actions collects the summary of a step.
const SUMMARY: &str = "GITHUB_STEP_SUMMARY";

#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("cannot write the JUnit file {}", .path.display())]
#[diagnostic(help("--junit takes a file in a directory that is there and can be written"))]
struct JunitError {
    path: PathBuf,
    source: io::Error,
}

/// Runs, and writes down what came of it: as JUnit XML where a path is given, and where GitHub wants it.
pub(super) fn reported(junit: Option<&Path>, run: impl FnOnce() -> Result<Done, Failure>) -> Result<Done, Failure> {
    prepare(junit)?;
    let outcome = run();
    write(junit, &outcome);
    outcome
}

/// Looks whether the file could be written, and removes the one of an earlier run, before anything is started.
fn prepare(path: Option<&Path>) -> Result<(), Failure> {
    let Some(path) = path else { return Ok(()) };
    let beside = beside(path);
    let tried = fs::write(&beside, "").and_then(|()| fs::remove_file(&beside));
    let removed = tried.and_then(|()| match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    });
    removed.map_err(|source| Failure::new(Exit::Unusable, JunitError { path: path.to_owned(), source }))
}

/// Writes what was asked for. What cannot be written is said, and the run ended all the same.
fn write(path: Option<&Path>, outcome: &Result<Done, Failure>) {
    if let Some(path) = path {
        let text = match outcome {
            Ok(done) => junit::junit(&done.view, &done.setting, done.ended),
            Err(failure) => junit::unusable(&text_of(failure)),
        };
        if let Err(error) = replace(path, text.as_bytes()) {
            tracing::error!(path = %path.display(), %error, "the JUnit file cannot be written");
        }
    }
    if let (Ok(done), Some(path)) = (outcome, std::env::var_os(SUMMARY)) {
        let text = summary::markdown(&done.view, &done.setting, done.ended);
        if let Err(error) = append(Path::new(&path), text.as_bytes()) {
            tracing::warn!(%error, "the step summary cannot be written");
        }
    }
}

/// An error with its causes; everything that is wrong with a session.
fn text_of(failure: &Failure) -> String {
    match &failure.what {
        What::Report(report) => report.chain().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
        What::Session(errors) => diagnostic::errors(errors, diagnostic::Look::Plain),
        What::Addition(errors) => diagnostic::not_added(errors, diagnostic::Look::Plain),
    }
}

/// The file is the old one or the new one, never a part.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = beside(path);
    fs::write(&beside, bytes)?;
    fs::rename(&beside, path)
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    name.into()
}

fn append(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // What is no file could make us wait.
    if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        return Err(io::Error::other("it is not a file"));
    }
    OpenOptions::new().append(true).create(true).open(path)?.write_all(bytes)
}
