//! A log file of bounded size: the beginning and the end of what was written, and a line between
//! them that says how much is missing.
//!
//! While it is written, the first half of the limit goes to the file itself and what follows to
//! `NAME.tail`; a full tail becomes `NAME.tail.old`, over the one before. [`Log::finish`] puts them
//! together. The names say which is newer, so that what a killed shim left can be joined too.
//!
//! Invariant: at most one and a half times the limit is on disk, whatever is written, and nothing
//! but counts is in memory. Writing never fails: an agent must not stall on a full disk. What could
//! not be written is counted and the first error kept.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// The smallest limit: below it the line in the middle would be the larger part.
const MIN_LIMIT: u64 = 4096;

#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    head: File,
    /// Bytes in the head, and the most in each of the three files.
    head_bytes: u64,
    half: u64,
    tail: Option<Tail>,
    total: u64,
    /// Bytes that the disk did not take.
    lost: u64,
    error: Option<io::ErrorKind>,
}

#[derive(Debug)]
struct Tail {
    file: File,
    bytes: u64,
    /// Bytes in the tail before this one, which is full, or none.
    old_bytes: u64,
}

/// What became of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Bytes that were written to it.
    pub total: u64,
    /// Bytes of these that are not in the file.
    pub omitted: u64,
    /// The first error of the disk.
    pub error: Option<io::ErrorKind>,
}

/// A file of the user's own, empty.
pub(super) fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

impl Log {
    /// Makes the file, or empties it. `limit` is in bytes.
    pub fn create(path: &Path, limit: u64) -> io::Result<Self> {
        let head = private(path)?;
        let half = limit.max(MIN_LIMIT) / 2;
        Ok(Self { path: path.to_owned(), head, head_bytes: 0, half, tail: None, total: 0, lost: 0, error: None })
    }

    /// Takes all of `bytes`.
    pub fn write(&mut self, mut bytes: &[u8]) {
        self.total += bytes.len() as u64;
        while !bytes.is_empty() {
            let written = self.write_some(bytes).unwrap_or_else(|error| {
                self.error.get_or_insert(error.kind());
                self.lost += bytes.len() as u64;
                bytes.len()
            });
            bytes = &bytes[written..];
        }
    }

    fn write_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.head_bytes < self.half {
            let written = write_up_to(&mut self.head, bytes, self.half - self.head_bytes)?;
            self.head_bytes += written as u64;
            return Ok(written);
        }
        let half = self.half;
        let tail = match &mut self.tail {
            Some(tail) if tail.bytes < half => tail,
            full => {
                let old_bytes = full.as_ref().map_or(0, |tail| tail.bytes);
                if full.is_some() {
                    fs::rename(tail_path(&self.path), old_tail_path(&self.path))?;
                }
                full.insert(Tail { file: private(&tail_path(&self.path))?, bytes: 0, old_bytes })
            }
        };
        let written = write_up_to(&mut tail.file, bytes, half - tail.bytes)?;
        tail.bytes += written as u64;
        Ok(written)
    }

    /// Makes it one file.
    pub fn finish(mut self) -> Kept {
        let in_tail = self.tail.take().map_or(0, |tail| tail.bytes + tail.old_bytes);
        let kept = in_tail.min(self.half);
        let omitted = self.total - self.head_bytes - kept;
        if in_tail > 0 {
            let left_out = (omitted > 0).then(|| omitted.to_string());
            if let Err(error) = join(&mut self.head, &self.path, kept, left_out.as_deref()) {
                self.error.get_or_insert(error.kind());
            }
        }
        Kept { total: self.total, omitted: omitted.max(self.lost), error: self.error }
    }
}

/// Joins what a shim that was killed left of a log; nothing to do where it is one file already.
pub fn join_leftovers(path: &Path) -> io::Result<()> {
    if !fs::exists(tail_path(path))? {
        return Ok(());
    }
    let mut head = OpenOptions::new().append(true).open(path)?;
    let half = head.metadata()?.len();
    let (tail, old) = (size(&tail_path(path))?, size(&old_tail_path(path))?);
    let left_out = (old > 0).then_some("an unknown number of");
    join(&mut head, path, (tail + old).min(half), left_out)
}

/// Appends the marker and the last `keep` bytes of both tails to `head`, and removes the tails.
fn join(head: &mut File, path: &Path, keep: u64, left_out: Option<&str>) -> io::Result<()> {
    if let Some(left_out) = left_out {
        writeln!(head, "\n[supervise: {left_out} bytes left out here]")?;
    }
    let (tail, old) = (tail_path(path), old_tail_path(path));
    let from_old = keep.saturating_sub(size(&tail)?);
    if from_old > 0 {
        append_last(head, &old, from_old)?;
    }
    append_last(head, &tail, keep - from_old)?;
    fs::remove_file(&tail)?;
    match fs::remove_file(&old) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn append_last(to: &mut File, from: &Path, bytes: u64) -> io::Result<()> {
    let mut from = File::open(from)?;
    let length = from.metadata()?.len();
    from.seek(SeekFrom::Start(length.saturating_sub(bytes)))?;
    io::copy(&mut from.take(bytes), to).map(drop)
}

fn size(path: &Path) -> io::Result<u64> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(metadata.len()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

fn write_up_to(file: &mut File, bytes: &[u8], limit: u64) -> io::Result<usize> {
    let most = usize::try_from(limit).unwrap_or(usize::MAX).min(bytes.len());
    file.write_all(&bytes[..most])?;
    Ok(most)
}

/// What is written after the first half, while the log is written.
#[must_use]
pub fn tail_path(path: &Path) -> PathBuf {
    with_suffix(path, ".tail")
}

/// A full tail, until the next one is full.
#[must_use]
pub fn old_tail_path(path: &Path) -> PathBuf {
    with_suffix(path, ".tail.old")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that tell where they are.
    fn pattern(length: u64) -> Vec<u8> {
        (0..length).map(|at| b"0123456789abcdefghijklmnopqrstuvwxyz"[usize::try_from(at % 36).unwrap()]).collect()
    }

    fn expected(all: &[u8], half: usize) -> Vec<u8> {
        if all.len() <= 2 * half {
            return all.to_vec();
        }
        let marker = format!("\n[supervise: {} bytes left out here]\n", all.len() - 2 * half);
        [&all[..half], marker.as_bytes(), &all[all.len() - half..]].concat()
    }

    #[test]
    fn beginning_and_end_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let half = 2048;
        for length in [0, 1, 2047, 2048, 2049, 4096, 4097, 6143, 6144, 6145, 10_000, 100_000] {
            for piece in [1, 100, 5000] {
                let path = directory.path().join(format!("{length}-{piece}"));
                let mut log = Log::create(&path, 4096).unwrap();
                let all = pattern(length);
                all.chunks(piece).for_each(|bytes| log.write(bytes));
                let kept = log.finish();
                assert!(fs::read(&path).unwrap() == expected(&all, half), "{length} bytes in pieces of {piece}");
                assert_eq!(kept, Kept { total: length, omitted: length.saturating_sub(4096), error: None });
                assert!(!tail_path(&path).exists() && !old_tail_path(&path).exists());
            }
        }
    }

    #[test]
    fn what_a_killed_shim_left_is_joined() {
        let directory = tempfile::tempdir().unwrap();
        for length in [100, 3000, 9000] {
            let path = directory.path().join(format!("{length}"));
            let mut log = Log::create(&path, 4096).unwrap();
            let all = pattern(length);
            log.write(&all);
            drop(log);
            join_leftovers(&path).unwrap();
            let text = fs::read(&path).unwrap();
            let tail = &all[all.len().saturating_sub(if length > 4096 { 2048 } else { 952 })..];
            assert!(text.ends_with(tail) && text.starts_with(&all[..100]), "{length}");
            assert_eq!(text.windows(7).any(|bytes| bytes == b"unknown"), length == 9000, "{length}");
            assert!(!tail_path(&path).exists() && !old_tail_path(&path).exists());
        }
    }

    #[test]
    fn a_full_disk_stops_nobody() {
        let mut log = Log::create(Path::new("/dev/full"), 4096).unwrap();
        log.write(b"text");
        let kept = log.finish();
        assert_eq!(kept, Kept { total: 4, omitted: 4, error: Some(io::ErrorKind::StorageFull) });
    }
}
