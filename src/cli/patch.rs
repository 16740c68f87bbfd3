//! Printing what git says of changes: as it is into a pipe, so that it can be applied from there;
//! on a terminal with git's colours, and harmless.
//!
//! Invariant: no pager is started, and what is printed of a file on a terminal goes through
//! `render::patch`.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, IsTerminal as _, Seek as _, SeekFrom, Write as _};

use super::progress::{palette_for, report_width};
use crate::host::git::{GitError, Patch, PatchForm, Repository};
use crate::render::patch;
use crate::render::style::Palette;

/// How a patch is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    Whole,
    Stat,
}

/// Prints the patch on standard output; false: its reader went away.
pub fn print_patch(repository: &Repository, patch: &Patch, wanted: Wanted) -> Result<bool, GitError> {
    let form = match wanted {
        Wanted::Whole => PatchForm::Whole,
        Wanted::Stat => PatchForm::Stat { width: report_width() },
    };
    let plain = written(repository, patch, form, false)?;
    let stdout = io::stdout();
    if !stdout.is_terminal() {
        let mut plain = plain;
        return Ok(io::copy(&mut plain, &mut stdout.lock()).is_ok());
    }
    let coloured = match palette_for(&stdout) {
        Palette::Plain => None,
        Palette::Colour => Some(written(repository, patch, form, true)?),
    };
    Ok(harmless(plain, coloured).is_ok())
}

fn harmless(plain: File, coloured: Option<File>) -> io::Result<()> {
    let mut coloured = coloured.map(|file| BufReader::new(file).split(b'\n'));
    let mut out = io::stdout().lock();
    for plain in BufReader::new(plain).split(b'\n') {
        let plain = plain?;
        let plain = String::from_utf8_lossy(&plain);
        let with_colours = coloured.as_mut().and_then(Iterator::next).transpose()?;
        let with_colours = with_colours.as_deref().map_or(plain.clone(), String::from_utf8_lossy);
        writeln!(out, "{}", patch::line(&plain, &with_colours))?;
    }
    out.flush()
}

/// What git writes, in a file that is nowhere.
fn written(repository: &Repository, patch: &Patch, form: PatchForm, colour: bool) -> Result<File, GitError> {
    let mut file = crate::host::git::scratch_file()?;
    repository.write_patch(patch, form, colour, &file)?;
    // A file in memory can always be read from its beginning.
    let _ = file.seek(SeekFrom::Start(0));
    Ok(file)
}
