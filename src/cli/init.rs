//! `supervise init`: writes a commented session file to start from.
//!
//! Invariant: a file that is there is never overwritten without `--force`, also when two of these
//! race; what is written loads without errors (a test).

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::{Common, Exit, Failure};

/// The file that is written.
pub const STARTER: &str = include_str!("init.toml");
/// Its name, where none is given; the one that `run` and `check` look for.
pub const DEFAULT_NAME: &str = "supervise.toml";

/// Write a commented session file to start from
#[derive(Clone, Debug, Default, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct InitArgs {
    /// Where to write it
    #[arg(value_name = "FILE", default_value = DEFAULT_NAME)]
    pub file: PathBuf,
    /// Overwrite a file that is there
    #[arg(long)]
    pub force: bool,
}

const AFTER_HELP: &str = "\
Examples:
  supervise init
  supervise init nightly.toml";

#[derive(Debug, thiserror::Error, miette::Diagnostic)]
enum InitError {
    #[error("{} is there already", .path.display())]
    #[diagnostic(help("--force overwrites it; another name as argument leaves it alone"))]
    Exists { path: PathBuf },
    #[error("cannot write {}", .path.display())]
    #[diagnostic(help("is the directory there, and writable?"))]
    Write { path: PathBuf, source: io::Error },
}

pub fn run(args: &InitArgs, common: &Common) -> Result<Exit, Failure> {
    let path = match &common.directory {
        Some(dir) => dir.join(&args.file),
        None => args.file.clone(),
    };
    write(&path, args.force).map_err(|error| {
        let exit = if matches!(error, InitError::Exists { .. }) { Exit::Invalid } else { Exit::Unusable };
        Failure::new(exit, error)
    })?;
    // Standard output may be closed; the file is written all the same.
    let _ = writeln!(io::stdout().lock(), "{} written; edit it, then run `supervise check`", path.display());
    Ok(Exit::Success)
}

fn write(path: &Path, force: bool) -> Result<(), InitError> {
    let mut options = OpenOptions::new();
    options.write(true);
    if force {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    let written = options.open(path).and_then(|mut file| file.write_all(STARTER.as_bytes()));
    written.map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => InitError::Exists { path: path.to_owned() },
        _ => InitError::Write { path: path.to_owned(), source },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{LoadOptions, Origin, load};

    #[test]
    fn a_file_that_is_there_stays() {
        let dir = tempfile::tempdir().unwrap();
        let common = Common { directory: Some(dir.path().to_owned()) };
        let args = |force| InitArgs { file: DEFAULT_NAME.into(), force };
        let path = dir.path().join(DEFAULT_NAME);
        assert_eq!(run(&args(false), &common).unwrap(), Exit::Success);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), STARTER);
        std::fs::write(&path, "mine").unwrap();
        assert_eq!(run(&args(false), &common).unwrap_err().exit, Exit::Invalid);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
        assert_eq!(run(&args(true), &common).unwrap(), Exit::Success);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), STARTER);
        let elsewhere = InitArgs { file: "none/x.toml".into(), force: false };
        assert_eq!(run(&elsewhere, &common).unwrap_err().exit, Exit::Unusable);
    }

    #[test]
    fn what_is_written_loads() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().to_owned();
        let options = LoadOptions { base_dir: at.clone(), workspace: at, ..LoadOptions::default() };
        let loaded = load(&Origin::Embedded, STARTER.as_bytes(), &options).unwrap();
        assert_eq!(loaded.session.plan.agents.len(), 2);
        // With its examples taken out of their comments too.
        let key = |l: &&str| l.contains(" = ") || l.starts_with('[');
        let all: Vec<&str> = STARTER.lines().map(|l| l.strip_prefix("# ").filter(key).unwrap_or(l)).collect();
        std::fs::create_dir_all(dir.path().join("packages/a")).unwrap();
        std::fs::create_dir_all(dir.path().join("prompts")).unwrap();
        std::fs::write(dir.path().join("prompts/rules.md"), "rules").unwrap();
        let loaded = load(&Origin::Embedded, all.join("\n").as_bytes(), &options).unwrap();
        assert_eq!(loaded.session.plan.agents.len(), 3);
    }
}
