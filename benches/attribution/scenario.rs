//! The scenarios: what is done, by whom, and what the machine must have for it.
//!
//! Invariant: in every scenario each agent does all it does in a directory that it declared; the one
//! called `stray` does the same also where nobody and where `keeper` declared it. So who changed which
//! path, and who was allowed to, follows from the directory alone; but for what git ignores (`ground`), which is
//! free to all until it is granted to one, and for links out of the workspace, which nobody may make.

use std::io;

use crate::acts::{content, ignored, many, memory, metadata, names, processes};
use crate::desk::{Desk, FREE, KEEPER, STRAY, own, theirs};
use crate::stage::Layer;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// What is done in an area.
    pub(crate) act: fn(&mut Desk) -> io::Result<()>,
    pub(crate) cast: Cast,
    pub(crate) needs: Need,
    /// There are rules of what git ignores, and directories of the user's beside it.
    pub(crate) ignores: bool,
    /// How often, where that is a question: in full, and where time is short.
    sizes: (usize, usize),
}

/// Who takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cast {
    /// One that keeps to what it declared, one that does not.
    Pair,
    /// Seven that do, one that does not.
    Eight,
    /// A pair; the supervisor stands still (SIGSTOP) while they write.
    PairUnattended,
    /// A pair; `keeper` is granted more while they write.
    PairGranted,
}

/// What a machine may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    Nothing,
    UserNamespace,
    UserAttributes,
}

impl Scenario {
    const fn new(name: &'static str, about: &'static str, act: fn(&mut Desk) -> io::Result<()>) -> Self {
        Self { name, about, act, cast: Cast::Pair, needs: Need::Nothing, ignores: false, sizes: (0, 0) }
    }

    const fn needs(self, needs: Need) -> Self {
        Self { needs, ..self }
    }

    const fn ignoring(self) -> Self {
        Self { ignores: true, ..self }
    }

    const fn sized(self, full: usize, quick: usize) -> Self {
        Self { sizes: (full, quick), ..self }
    }

    const fn cast(self, cast: Cast) -> Self {
        Self { cast, ..self }
    }

    pub(crate) fn size(&self, quick: bool) -> usize {
        if quick { self.sizes.1 } else { self.sizes.0 }
    }

    /// Why it cannot be had with this layer; `None`: it can.
    pub(crate) fn lacks(&self, layer: Layer) -> Option<&'static str> {
        let granted = self.cast == Cast::PairGranted && layer == Layer::Watch;
        granted.then_some("who runs without the gate is granted nothing before its next attempt")
    }

    /// The agents, in order.
    pub(crate) fn party(&self) -> Vec<String> {
        let others = if self.cast == Cast::Eight { 6 } else { 0 };
        let others = (0..others).map(|n| format!("keeper{}", n + 2));
        std::iter::once(KEEPER.to_owned()).chain(others).chain([STRAY.to_owned()]).collect()
    }

    /// The directories of the workspace.
    pub(crate) fn areas(&self) -> Vec<String> {
        let owned = self.party().into_iter().map(|agent| own(&agent));
        owned.chain([FREE.to_owned(), theirs(KEEPER)]).collect()
    }
}

/// The directories that `stray` writes and did not declare.
pub(crate) fn undeclared() -> [String; 2] {
    [FREE.to_owned(), theirs(KEEPER)]
}

pub(crate) fn find(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|s| s.name == name)
}

pub(crate) const ALL: &[Scenario] = &[
    Scenario::new("open-write", "open, openat2, creat; new, emptied, in place", content::open_write),
    Scenario::new("truncate", "truncate, ftruncate, O_TRUNC", content::truncate),
    Scenario::new("append", "O_APPEND", content::append),
    Scenario::new("rename-over", "over a file, NOREPLACE, EXCHANGE", names::rename_over),
    Scenario::new("rename-directory", "within, into, out of an area", names::rename_directory),
    Scenario::new("link", "a second name, and a write through it", names::link),
    Scenario::new("symlink", "made, and written through: file, directory, nothing yet", names::symbolic),
    Scenario::new("unlink", "unlink, unlinkat, a whole directory", names::unlink),
    Scenario::new("mkdir-write", "mkdir -p a/b/c and a write at once", content::mkdir_write).sized(100, 20),
    Scenario::new("tmpfile", "O_TMPFILE, then linkat", names::tmpfile),
    Scenario::new("mmap", "stores with msync, without, never unmapped", memory::mapped),
    Scenario::new("copy", "sendfile, copy_file_range", content::copy),
    Scenario::new("fallocate", "longer, a hole, a new file", content::fallocate),
    Scenario::new("chmod", "by name and by descriptor", metadata::chmod),
    Scenario::new("utimes", "by name, by descriptor, and to hide a change", metadata::utimes),
    Scenario::new("setxattr", "by name and by descriptor", metadata::xattr).needs(Need::UserAttributes),
    Scenario::new("small-writes", "sparse, and one byte at a time", content::small_writes),
    Scenario::new("short-process", "processes that live for a millisecond", processes::short).sized(50, 10),
    Scenario::new("daemon", "setsid, second fork, writes 300 ms late", processes::daemon),
    Scenario::new("threads", "four threads", processes::threads),
    Scenario::new("user-namespace", "nested, and mounted elsewhere", processes::user_namespace)
        .needs(Need::UserNamespace),
    Scenario::new("chroot", "into the workspace", processes::chroot).needs(Need::UserNamespace),
    Scenario::new("inherited", "a descriptor from parent to a child that execs", processes::inherited),
    Scenario::new("dirfd", "relative to a descriptor, upwards too", processes::directory_relative),
    Scenario::new("proc-fd", "/proc/self/fd/N", processes::by_number),
    Scenario::new("ignored-in-making", "logsA1b2C3 renamed to logs; a user's logs2024Q1", ignored::in_the_making)
        .ignoring(),
    Scenario::new("new-rules", ".gitignore made to name what others have", ignored::new_rules).ignoring(),
    Scenario::new("link-outside", "a name outside of the workspace", ignored::out_of_the_workspace),
    Scenario::new("granted", "an ignored path that somebody is granted later", ignored::granted)
        .ignoring()
        .cast(Cast::PairGranted),
    Scenario::new("storm", "8 agents at once, 100,000 writes", many::storm).cast(Cast::Eight).sized(12_500, 1_250),
    Scenario::new("flood", "20,000 new files while the supervisor is stopped", many::flood)
        .cast(Cast::PairUnattended)
        .sized(20_000, 2_000),
];
