//! Paths as a process says them, and which file of the workspace the gate takes them for.
//!
//! The first byte chooses the directory in which they begin and whether a link at the end is followed; bytes from
//! 128 on stand for words (`WORDS`), the rest for themselves. The kernel is asked for the same path: what it opens
//! has to be what the gate named, and what it opens or would make may not be taken for something that fails by
//! itself, because that passes unjudged.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open, openat};
use supervise::core::call::There;
use supervise::core::path::RepoPath;
use supervise::shim::gate::resolve::{Base, Last, Place, Resolved, Unresolved, Workspace};

const WORDS: [&str; 32] = [
    "/",
    "..",
    "../",
    ".",
    "./",
    "//",
    "@",
    "@/ws",
    "@/ws/",
    "@/out/",
    "src",
    "lib",
    "deep",
    "er",
    "a.txt",
    "link",
    "file-link",
    "dangling",
    "loop",
    "to-git",
    "slash",
    "escapes",
    "enters",
    "makes",
    ".git",
    "HEAD",
    "refs",
    "new",
    "top.txt",
    "/proc/self/",
    "cwd",
    "root",
];

thread_local! {
    static GROUND: Ground = Ground::new();
}

/// A workspace `ws` with a git directory of its own and one outside, and neighbours.
struct Ground {
    directory: tempfile::TempDir,
    bases: Vec<OwnedFd>,
}

impl Ground {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("there is room for a workspace");
        let root = directory.path();
        let fine = |result: std::io::Result<()>| result.expect("there is room for a workspace");
        for dir in ["ws/.git/refs", "ws/src/lib/deep/er", "out/dir", "git/refs"] {
            fine(fs::create_dir_all(root.join(dir)));
        }
        for file in ["ws/.git/HEAD", "ws/src/lib/a.txt", "ws/top.txt", "out/o.txt", "git/HEAD"] {
            fine(fs::write(root.join(file), "text"));
        }
        for (name, to) in [
            ("ws/src/link", "lib"),
            ("ws/src/file-link", "lib/a.txt"),
            ("ws/src/dangling", "lib/new"),
            ("ws/src/loop", "loop"),
            ("ws/src/to-git", "../.git/refs/new"),
            ("ws/src/slash", "lib/"),
        ] {
            fine(symlink(to, root.join(name)));
        }
        for (name, to) in [("ws/src/escapes", "out/o.txt"), ("out/enters", "ws/src"), ("out/makes", "ws/src/lib/new")] {
            fine(symlink(root.join(to), root.join(name)));
        }
        let find = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let base = |dir: &str| open(root.join(dir), find, Mode::empty()).expect("it was just made");
        let bases = ["ws", "ws/src", "ws/src/lib/deep", "out"].map(base).into();
        Self { directory, bases }
    }

    fn root(&self) -> PathBuf {
        self.directory.path().canonicalize().expect("it is there")
    }

    fn path(&self, bytes: &[u8]) -> Vec<u8> {
        let mut path = Vec::new();
        for byte in bytes {
            match byte.checked_sub(128) {
                None => path.push(*byte),
                Some(word) => match WORDS[usize::from(word) % WORDS.len()].strip_prefix('@') {
                    Some(rest) => path.extend([self.root().as_os_str().as_bytes(), rest.as_bytes()].concat()),
                    None => path.extend(WORDS[usize::from(word) % WORDS.len()].as_bytes()),
                },
            }
        }
        path
    }
}

pub fn paths(data: &[u8]) {
    let [how, rest @ ..] = data else { return };
    GROUND.with(|ground| {
        let base = &ground.bases[usize::from(how >> 1) % ground.bases.len()];
        let last = if how & 1 == 0 { Last::Follow } else { Last::NoFollow };
        let path = ground.path(rest);
        let root = ground.root();
        let forbidden = [root.join("ws/.git"), root.join("git")];
        let mut workspace = Workspace::open(&root.join("ws"), &forbidden).expect("it can be opened");
        let mut ask = || workspace.resolve(std::process::id(), Base::Fd(base.as_raw_fd()), &path, last);
        let found = ask();
        // How many names the root of procfs has changes with every process.
        let same = |found: &Result<Resolved, Unresolved>| found.clone().map(|found| Resolved { links: 0, ..found });
        assert_eq!(same(&ask()), same(&found), "what is remembered is something else");
        if !path.contains(&0) {
            compare(&root, base, &path, last, &found);
        }
    });
}

fn compare(root: &Path, base: &OwnedFd, path: &[u8], last: Last, found: &Result<Resolved, Unresolved>) {
    let said = || format!("{} {last:?}: {found:?}", path.escape_ascii());
    let mut flags = OFlags::PATH | OFlags::CLOEXEC;
    if last == Last::NoFollow {
        flags |= OFlags::NOFOLLOW;
    }
    let opened = openat(base, OsStr::from_bytes(path), flags, Mode::empty());
    match (opened, found) {
        (Ok(thing), Ok(resolved)) => {
            let name = format!("/proc/self/fd/{}", thing.as_raw_fd());
            let real = fs::read_link(&name).expect("a descriptor has a name");
            assert_eq!(resolved.place, expected(root, &real), "{} is {}", said(), real.display());
            let facts = rustix::fs::fstat(&thing).expect("it is open");
            assert_eq!(resolved.identity, Some((facts.st_dev, facts.st_ino)), "{}", said());
            assert_ne!(resolved.there, There::Nothing, "{}", said());
        }
        (Ok(_), Err(Unresolved::Missing | Unresolved::Loop | Unresolved::TooLong)) => panic!("it is there: {}", said()),
        (Err(_), Ok(Resolved { place, there: There::Nothing, .. })) => {
            if let Place::Inside(rel) = place {
                let at = root.join("ws").join(rel.as_path());
                assert!(fs::symlink_metadata(&at).is_err(), "something is there: {}", said());
                let above = at.parent().and_then(|above| fs::symlink_metadata(above).ok());
                assert!(above.is_some_and(|above| above.is_dir()), "nothing can be made there: {}", said());
            }
        }
        (Err(errno), Ok(resolved)) => panic!("the kernel finds nothing ({errno}): {} {resolved:?}", said()),
        (Err(_), Err(Unresolved::Missing)) => assert!(!can_be_made(base, path), "it can be made: {}", said()),
        (_, Err(_)) => {}
    }
}

/// What a file that the kernel opened is to the workspace.
fn expected(root: &Path, real: &Path) -> Place {
    let git = [root.join("ws/.git"), root.join("git")];
    if git.iter().any(|dir| real.starts_with(dir)) {
        return Place::Git;
    }
    if !real.is_absolute() {
        return Place::Nameless;
    }
    let Ok(rel) = real.strip_prefix(root.join("ws")) else { return Place::Outside };
    RepoPath::new(rel.as_os_str().as_bytes()).map_or(Place::Root, Place::Inside)
}

/// A plain new name in a directory that is there.
fn can_be_made(base: &OwnedFd, path: &[u8]) -> bool {
    let at = path.iter().rposition(|b| *b == b'/').map_or(0, |at| at + 1);
    let (above, name) = path.split_at(at);
    if matches!(name, b"" | b"." | b"..") || name.len() > 255 {
        return false;
    }
    let above = if above.is_empty() { b"." } else { above };
    let find = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(above) = openat(base, OsStr::from_bytes(above), find, Mode::empty()) else { return false };
    let in_proc = rustix::fs::fstatfs(&above).is_ok_and(|facts| facts.f_type == 0x9fa0);
    let there = rustix::fs::statat(&above, OsStr::from_bytes(name), rustix::fs::AtFlags::SYMLINK_NOFOLLOW);
    !in_proc && there.is_err_and(|errno| errno == rustix::io::Errno::NOENT)
}
