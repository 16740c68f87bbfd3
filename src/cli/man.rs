//! `supervise man`: manual pages, made of the same texts as `--help`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory as _};
use clap_mangen::Man;

use super::look::print;
use super::{Cli, Exit, Failure};
use crate::render::text::plural;

/// Write the manual pages, or print the first
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct ManArgs {
    /// Where to write them all; the directory is made
    #[arg(value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

const AFTER_HELP: &str = "\
Examples:
  supervise man | man -l -
  supervise man ~/.local/share/man/man1";

/// What stands at the foot of every page.
const SOURCE: &str = concat!("supervise ", env!("CARGO_PKG_VERSION"));

#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("cannot write {}", .path.display())]
#[diagnostic(help("name a directory that can be written, such as ~/.local/share/man/man1"))]
struct ManError {
    path: PathBuf,
    source: io::Error,
}

pub fn run(args: &ManArgs) -> Result<Exit, Failure> {
    // Pages about `help` itself help nobody.
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let Some(dir) = &args.dir else {
        print(page(command));
        return Ok(Exit::Success);
    };
    let count = write_all(&command, dir).map_err(|error| Failure::new(Exit::Unusable, error))?;
    print(format!("{} in {}\n", plural(count, "page", "pages"), dir.display()));
    Ok(Exit::Success)
}

fn write_all(command: &Command, dir: &Path) -> Result<usize, ManError> {
    fs::create_dir_all(dir).map_err(|source| ManError { path: dir.to_owned(), source })?;
    let mut count = 0;
    let mut left = vec![command.clone()];
    while let Some(command) = left.pop() {
        left.extend(command.get_subcommands().filter(|sub| !sub.is_hide_set()).cloned());
        let path = dir.join(Man::new(command.clone()).get_filename());
        fs::write(&path, page(command)).map_err(|source| ManError { path, source })?;
        count += 1;
    }
    Ok(count)
}

fn page(command: Command) -> Vec<u8> {
    let mut page = Vec::new();
    // Writing to memory does not fail.
    let _ = Man::new(command).source(SOURCE).manual("supervise").render(&mut page);
    as_written(&String::from_utf8_lossy(&page)).into_bytes()
}

/// The page with its examples and tables as they are written (`nf`, groff_man(7)), under a name that says what it is.
fn as_written(page: &str) -> String {
    let Some((before, extra)) = page.split_once(".SH EXTRA\n") else { return page.to_owned() };
    let end = extra.find("\n.SH ").map_or(extra.len(), |at| at + 1);
    let (extra, after) = extra.split_at(end);
    format!("{before}.SH NOTES\n.nf\n{}\n.fi\n{after}", extra.trim_end())
}
