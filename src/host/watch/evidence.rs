//! Who has a file open for writing at this moment: the only way to a writer's name where no gate is.
//!
//! Invariant: an answer that names somebody was read from the kernel (proc_pid_fd(5), proc_pid_fdinfo(5)), by
//! device and inode. It finds few writers (a short write is over before anybody looks), and none
//! wrongly: while there is a process of another tree that cannot be looked into, nobody is named.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, openat, statat};
use rustix::io::Errno;

use crate::shim::tree;

/// Who has it open for writing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence<K> {
    /// This tree, and no other.
    One(K),
    /// Several trees.
    Many,
    /// Nobody that could be seen, which says nothing.
    None,
}

/// The most descriptors that one search looks at.
const MAX_DESCRIPTORS: usize = 1 << 16;

/// Device and inode.
type Identity = (u64, u64);

/// What a tree has open for writing.
#[derive(Debug, Default)]
struct Open {
    files: BTreeSet<Identity>,
    /// There is a process of which it cannot be said.
    hidden: bool,
}

/// Searches the processes of `trees` for those that have one of `paths` (itself, not what it may link to) open
/// for writing. Each descriptor is looked at once, however many paths there are.
pub fn writers<K: Clone>(paths: &[impl AsRef<Path>], trees: &[(K, Vec<u32>)]) -> Vec<Evidence<K>> {
    let files: Vec<Option<Identity>> = paths.iter().map(|path| identity(path.as_ref())).collect();
    let sought: BTreeSet<Identity> = files.iter().flatten().copied().collect();
    let mut budget = MAX_DESCRIPTORS;
    let mut look = |pids: &[u32]| {
        let mut open = Open::default();
        if !sought.is_empty() {
            for pid in pids {
                open.hidden |= look(*pid, &sought, &mut open.files, &mut budget).is_err();
            }
        }
        open
    };
    let open: Vec<(&K, Open)> = trees.iter().map(|(key, pids)| (key, look(pids))).collect();
    files.into_iter().map(|file| file.map_or(Evidence::None, |file| judge(file, &open))).collect()
}

fn judge<K: Clone>(file: Identity, open: &[(&K, Open)]) -> Evidence<K> {
    let (writing, others): (Vec<_>, Vec<_>) = open.iter().partition(|(_, open)| open.files.contains(&file));
    match writing.as_slice() {
        [(key, _)] if !others.iter().any(|(_, open)| open.hidden) => Evidence::One((*key).clone()),
        [] | [_] => Evidence::None,
        _ => Evidence::Many,
    }
}

fn identity(path: &Path) -> Option<Identity> {
    let stat = statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    (FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile).then_some((stat.st_dev, stat.st_ino))
}

/// It cannot be said what the process has open.
#[derive(Clone, Copy, Debug)]
struct Hidden;

fn look(
    pid: u32,
    sought: &BTreeSet<Identity>,
    found: &mut BTreeSet<Identity>,
    budget: &mut usize,
) -> Result<(), Hidden> {
    // The dead have nothing open, and cannot be read either.
    let refused = |_: Errno| if tree::look(pid).is_none_or(|p| p.is_zombie()) { Ok(()) } else { Err(Hidden) };
    let directory = |path: String| openat(CWD, path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let fds: OwnedFd = match directory(format!("/proc/{pid}/fd")) {
        Ok(fds) => fds,
        Err(error) => return refused(error),
    };
    let entries = match Dir::read_from(&fds) {
        Ok(entries) => entries,
        Err(error) => return refused(error),
    };
    for entry in entries {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => return refused(error),
        };
        if entry.file_name().to_bytes().first() == Some(&b'.') {
            continue;
        }
        *budget = budget.checked_sub(1).ok_or(Hidden)?;
        // Follows the link to what is open, whatever has become of its name.
        let open = match statat(&fds, entry.file_name(), AtFlags::empty()) {
            Ok(stat) => (stat.st_dev, stat.st_ino),
            // Closed meanwhile.
            Err(Errno::NOENT) => continue,
            Err(error) => return refused(error),
        };
        if sought.contains(&open) && !found.contains(&open) {
            let info = format!("/proc/{pid}/fdinfo/{}", entry.file_name().to_string_lossy());
            if std::fs::read_to_string(info).is_ok_and(|info| opened_for_writing(&info)) {
                found.insert(open);
            }
        }
    }
    Ok(())
}

/// By the flags of the open, in octal.
fn opened_for_writing(info: &str) -> bool {
    const ACCESS: u32 = 0o3;
    const PATH_ONLY: u32 = 0o10_000_000;
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok());
    flags.is_some_and(|flags| flags & PATH_ONLY == 0 && matches!(flags & ACCESS, 1 | 2))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::process::{Child, Command, Stdio};

    use super::*;

    #[test]
    fn flags_tell_who_may_write() {
        let check = |flags: &str, expected| {
            assert_eq!(opened_for_writing(&format!("pos:\t0\nflags:\t{flags}\nmnt_id:\t9\n")), expected, "{flags}");
        };
        check("0100000", false);
        check("0100001", true);
        check("0102002", true);
        check("012000001", false);
        check("rubbish", false);
        assert!(!opened_for_writing(""));
    }

    struct Holder(Child);

    impl Holder {
        /// A process that has `file` as its standard output until it is dropped.
        fn of(file: File) -> Self {
            Self(Command::new("cat").stdin(Stdio::piped()).stdout(file).spawn().unwrap())
        }
    }

    impl Drop for Holder {
        fn drop(&mut self) {
            drop(self.0.stdin.take());
            self.0.wait().unwrap();
        }
    }

    #[test]
    fn open_files_name_their_holder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let writer = Holder::of(File::create(&path).unwrap());
        let reader = Holder::of(File::open(&path).unwrap());
        let aside = dir.path().join("aside");
        let other_file = Holder::of(File::create(&aside).unwrap());
        let find = |trees: &[(&'static str, &Holder)]| {
            let trees = trees.iter().map(|(key, holder)| (*key, vec![u32::MAX >> 1, holder.0.id(), other_file.0.id()]));
            let trees: Vec<_> = trees.collect();
            let [aside, found] = writers(&[&aside, &path], &trees).try_into().unwrap();
            assert_eq!(aside, if trees.len() > 1 { Evidence::Many } else { Evidence::One(trees[0].0) });
            found
        };
        assert_eq!(find(&[("w", &writer), ("r", &reader)]), Evidence::One("w"));
        assert_eq!(find(&[("r", &reader)]), Evidence::None);
        let other = Holder::of(File::options().append(true).open(&path).unwrap());
        assert_eq!(find(&[("w", &writer), ("o", &other)]), Evidence::Many);
        assert_eq!(writers(&[dir.path()], &[("w", vec![writer.0.id()])]), [Evidence::None]);
        // It goes by what is open, not by its name.
        fs::rename(&path, dir.path().join("g")).unwrap();
        fs::write(&path, "another file").unwrap();
        assert_eq!(find(&[("w", &writer)]), Evidence::None);
    }
}
