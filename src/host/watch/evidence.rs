//! Who has a file open for writing at this moment: the only way to a writer's name where no gate is.
//!
//! Invariant: an answer that names somebody was read from the kernel (proc_pid_fd(5), proc_pid_fdinfo(5)), by
//! device and inode. It finds few writers (a short write is over before anybody looks), and none
//! wrongly: while there is a process of another tree that cannot be looked into, nobody is named.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

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

/// Searches the processes of `trees` for one that has `path` (itself, not what it may link to) open for writing.
pub fn writers<K>(path: &Path, trees: impl IntoIterator<Item = (K, Vec<u32>)>) -> Evidence<K> {
    let Ok(file) = fs::symlink_metadata(path) else { return Evidence::None };
    if !file.is_file() {
        return Evidence::None;
    }
    let file = (file.dev(), file.ino());
    let mut found = None;
    let mut hidden = 0_usize;
    let mut budget = MAX_DESCRIPTORS;
    for (key, pids) in trees {
        let mut looks = pids.iter().map(|pid| look(*pid, file, &mut budget));
        let mut unseen = false;
        let writes = looks.any(|look| {
            unseen |= look == Look::Hidden;
            look == Look::Writes
        });
        if writes {
            if found.is_some() {
                return Evidence::Many;
            }
            found = Some(key);
        } else {
            hidden += usize::from(unseen);
        }
    }
    match found {
        Some(key) if hidden == 0 => Evidence::One(key),
        _ => Evidence::None,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Writes,
    DoesNot,
    /// It cannot be said.
    Hidden,
}

fn look(pid: u32, file: (u64, u64), budget: &mut usize) -> Look {
    // The dead have nothing open, and cannot be read either.
    let refused = || if tree::look(pid).is_none_or(|p| p.is_zombie()) { Look::DoesNot } else { Look::Hidden };
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { return refused() };
    for descriptor in descriptors {
        let Ok(descriptor) = descriptor else { return refused() };
        if *budget == 0 {
            return Look::Hidden;
        }
        *budget -= 1;
        // Follows the link to what is open, whatever has become of its name.
        match fs::metadata(descriptor.path()) {
            Ok(open) if (open.dev(), open.ino()) == file => {}
            Ok(_) => continue,
            // Closed meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(_) => return refused(),
        }
        let info = Path::new("/proc").join(pid.to_string()).join("fdinfo").join(descriptor.file_name());
        if fs::read_to_string(info).is_ok_and(|info| opened_for_writing(&info)) {
            return Look::Writes;
        }
    }
    Look::DoesNot
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
    use std::fs::File;
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
        let find = |trees: &[(&'static str, &Holder)]| {
            writers(&path, trees.iter().map(|(key, holder)| (*key, vec![u32::MAX >> 1, holder.0.id()])))
        };
        assert_eq!(find(&[("w", &writer), ("r", &reader)]), Evidence::One("w"));
        assert_eq!(find(&[("r", &reader)]), Evidence::None);
        let other = Holder::of(File::options().append(true).open(&path).unwrap());
        assert_eq!(find(&[("w", &writer), ("o", &other)]), Evidence::Many);
        assert_eq!(writers(dir.path(), [("w", vec![writer.0.id()])]), Evidence::None);
        // It goes by what is open, not by its name.
        fs::rename(&path, dir.path().join("g")).unwrap();
        fs::write(&path, "another file").unwrap();
        assert_eq!(find(&[("w", &writer)]), Evidence::None);
    }
}
