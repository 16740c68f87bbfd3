//! Looking a contested file over after a conflict.
//!
//! Invariant: the file is read once, in a bounded buffer, whatever its size.

use std::io::{self, Read};

use crate::core::facts::{Expected, Verified};
use crate::core::path::RepoPath;

use super::Repository;
use super::error::GitError;
use super::trees::Trees;

/// The lines that an unresolved merge leaves, in their order; the middle one is the whole line.
const MARKERS: [&[u8]; 3] = [b"<<<<<<< ", b"=======", b">>>>>>> "];
/// A NUL among the first bytes means that it is no text; git looks at as many.
const TEXT: usize = 8000;

impl Repository {
    /// Is `path` what it should be, and does its text hold conflict markers?
    pub fn conflict_free(&mut self, path: &RepoPath, expected: Expected) -> Result<Verified, GitError> {
        let failed = || GitError::io(format!("reading `{path}`"));
        let index = self.index()?;
        self.look_for_attributes(&index, false);
        let expected = match expected {
            Expected::Entry(entry) => Some(entry),
            Expected::Nothing => None,
            Expected::Head => {
                let head = self.head()?.commit;
                let tree = self.tree_of(head.as_ref())?;
                Trees::new(&self.objects).entry(tree.as_ref(), path)?
            }
        };
        let now = self.store_path(path, expected.map(|e| e.mode))?;
        let is_file = self.root.lstat(path).map_err(failed())?.is_some_and(|s| s.is_file());
        let markers = is_file && has_markers(self.root.file(path).map_err(failed())?).map_err(failed())?;
        Ok(Verified { same: now == expected, markers })
    }
}

fn has_markers(mut file: impl Read) -> io::Result<bool> {
    let mut buffer = vec![0; 1 << 16];
    // The beginning of the present line: one byte more than the longest marker.
    let mut line = Vec::with_capacity(9);
    let mut found = 0;
    let mut total = 0;
    loop {
        let read = file.read(&mut buffer)?;
        let chunk = &buffer[..read];
        let head = &chunk[..read.min(TEXT.saturating_sub(total))];
        if head.contains(&0) {
            return Ok(false);
        }
        total += read;
        for byte in chunk {
            match byte {
                b'\n' => {
                    found += usize::from(is_marker(&line, found));
                    line.clear();
                }
                _ if line.len() < 9 => line.push(*byte),
                _ => {}
            }
            if found == MARKERS.len() {
                return Ok(true);
            }
        }
        if read == 0 {
            return Ok(found == 2 && is_marker(&line, 2));
        }
    }
}

fn is_marker(line: &[u8], which: usize) -> bool {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if which == 1 { line == MARKERS[1] } else { line.starts_with(MARKERS[which]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_are_three_lines_in_their_order() {
        for (text, expected) in [
            ("a\n<<<<<<< ours\nx\n=======\ny\n>>>>>>> theirs\n", true),
            ("<<<<<<< ours\r\n=======\r\n>>>>>>> theirs", true),
            ("<<<<<<< ours\n||||||| base\n=======\n>>>>>>> theirs\nmore\n", true),
            ("", false),
            ("Title\n=======\n", false),
            ("<<<<<<< ours\n======= no\n>>>>>>> theirs\n", false),
            ("<<<<<<< ours\n========\n>>>>>>> theirs\n", false),
            (" <<<<<<< ours\n=======\n>>>>>>> theirs\n", false),
            (">>>>>>> theirs\n=======\n<<<<<<< ours\n", false),
            ("<<<<<<<\n=======\n>>>>>>>\n", false),
            ("\0<<<<<<< ours\n=======\n>>>>>>> theirs\n", false),
        ] {
            assert_eq!(has_markers(text.as_bytes()).unwrap(), expected, "{text:?}");
        }
        let long = format!("{}\n<<<<<<< a\n{}\n=======\n>>>>>>> b\n", "x".repeat(70_000), "y".repeat(140_000));
        assert!(has_markers(long.as_bytes()).unwrap());
    }
}
