//! What a call that waits would do, from its number, its arguments and its process's memory.
//!
//! Invariant: an [`Act`] names every path or descriptor that the call could change something at; a call
//! that the kernel is going to fail whatever anybody answers is [`Act::Nothing`].
//! Deliberately absent: where a path leads (`resolve`), and what is there (`sight`).
//!
//! Sources: the section 2 manual pages of the calls.

use nix::libc;

use super::memory::{Memory, MemoryError};
use super::resolve::{Base, Last};
use super::table::{Call, WRITING};
use crate::core::call::Touch;

/// What a call would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// It changes nothing, or cannot succeed.
    Nothing,
    Open {
        at: Subject,
        how: Opening,
    },
    /// A new name that must not be there yet.
    New {
        at: Subject,
        touch: Touch,
    },
    Remove {
        at: Subject,
        directory: bool,
    },
    Rename {
        old: Subject,
        new: Subject,
        mode: Renaming,
    },
    Link {
        old: Subject,
        new: Subject,
    },
    /// `content`: the length, and not only what is known of the file.
    Change {
        at: Subject,
        content: bool,
    },
}

/// At what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Path { base: Base, path: Vec<u8>, last: Last },
    Descriptor(i32),
}

/// What of the flags of open(2) matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "flags of a call; they are independent")]
pub(super) struct Opening {
    /// Through the descriptor can be written.
    pub(super) writes: bool,
    pub(super) truncates: bool,
    pub(super) creates: bool,
    pub(super) exclusive: bool,
    /// What is there must be a directory, so it cannot be written.
    pub(super) directory: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Renaming {
    Replace,
    /// The new name must not be there.
    Fresh,
    /// Both names change places.
    Exchange,
}

/// Whether a symbolic link as last component is followed.
fn unless(no_follow: bool) -> Last {
    if no_follow { Last::NoFollow } else { Last::Follow }
}

const DESCRIPTOR_BITS: u64 = 0xFFFF_FFFF;

/// An argument that is an `int`, as the kernel takes it.
fn int(argument: u64) -> i32 {
    ((argument & DESCRIPTOR_BITS) as u32).cast_signed()
}

fn base(argument: u64) -> Base {
    match int(argument) {
        libc::AT_FDCWD => Base::Cwd,
        descriptor => Base::Fd(descriptor),
    }
}

/// Reads a call. An error: the process's memory could not be read although the kernel might.
pub(super) fn read(call: Call, arguments: [u64; 6], memory: &impl Memory) -> Result<Act, MemoryError> {
    match (Reader { a: arguments, memory }).act(call) {
        Ok(act) => Ok(act),
        Err(MemoryError::Futile) => Ok(Act::Nothing),
        Err(MemoryError::Closed) => Err(MemoryError::Closed),
    }
}

struct Reader<'a, M> {
    a: [u64; 6],
    memory: &'a M,
}

impl<M: Memory> Reader<'_, M> {
    fn act(&self, call: Call) -> Result<Act, MemoryError> {
        use Last::{Follow, NoFollow};
        let a = &self.a;
        let change = |at| Ok(Act::Change { at, content: false });
        let descriptor = || Ok(Act::Change { at: Subject::Descriptor(int(a[0])), content: false });
        match call {
            Call::Open => self.open(Base::Cwd, a[0], a[1]),
            Call::Openat => self.open(base(a[0]), a[1], a[2]),
            Call::Creat => {
                self.open(Base::Cwd, a[0], (libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC).cast_unsigned().into())
            }
            Call::Openat2 => self.openat2(),
            Call::Rename => self.rename((Base::Cwd, a[0]), (Base::Cwd, a[1]), 0),
            Call::Renameat => self.rename((base(a[0]), a[1]), (base(a[2]), a[3]), 0),
            Call::Renameat2 => self.rename((base(a[0]), a[1]), (base(a[2]), a[3]), int(a[4]).cast_unsigned()),
            Call::Mkdir => self.make(Base::Cwd, a[0], Touch::MakeDirectory),
            Call::Mkdirat => self.make(base(a[0]), a[1], Touch::MakeDirectory),
            Call::Symlink => self.make(Base::Cwd, a[1], Touch::Make),
            Call::Symlinkat => self.make(base(a[1]), a[2], Touch::Make),
            Call::Mknod => self.make(Base::Cwd, a[0], Touch::Make),
            Call::Mknodat => self.make(base(a[0]), a[1], Touch::Make),
            Call::Bind => self.bind(),
            Call::Rmdir => self.remove(Base::Cwd, a[0], true),
            Call::Unlink => self.remove(Base::Cwd, a[0], false),
            Call::Unlinkat => self.remove(base(a[0]), a[1], int(a[2]) & libc::AT_REMOVEDIR != 0),
            Call::Link => self.link((Base::Cwd, a[0], 0), (Base::Cwd, a[1])),
            Call::Linkat => self.link((base(a[0]), a[1], int(a[4])), (base(a[2]), a[3])),
            Call::Truncate => Ok(Act::Change { at: self.path(Base::Cwd, a[0], Follow)?, content: true }),
            Call::Chmod | Call::Chown | Call::Utime | Call::Utimes | Call::Setxattr | Call::Removexattr => {
                change(self.path(Base::Cwd, a[0], Follow)?)
            }
            Call::Lchown | Call::Lsetxattr | Call::Lremovexattr => change(self.path(Base::Cwd, a[0], NoFollow)?),
            Call::Fchmodat => change(self.path(base(a[0]), a[1], Follow)?),
            Call::Fchmodat2 | Call::Utimensat => change(self.flagged(a[0], a[1], a[3])?),
            Call::Fchownat | Call::FileSetattr => change(self.flagged(a[0], a[1], a[4])?),
            Call::Setxattrat | Call::Removexattrat => change(self.flagged(a[0], a[1], a[2])?),
            Call::Futimesat => change(self.flagged(a[0], a[1], 0)?),
            Call::Fchmod | Call::Fchown | Call::Fsetxattr | Call::Fremovexattr | Call::Ioctl => descriptor(),
            // The filter has answered these.
            Call::OpenByHandleAt | Call::IoUringSetup => Ok(Act::Nothing),
        }
    }

    /// A path; an empty one is none.
    fn path(&self, base: Base, address: u64, last: Last) -> Result<Subject, MemoryError> {
        let path = self.memory.text(address)?;
        if path.is_empty() { Err(MemoryError::Futile) } else { Ok(Subject::Path { base, path, last }) }
    }

    /// The subject of a call with `AT_EMPTY_PATH` and `AT_SYMLINK_NOFOLLOW`. A null pointer means the
    /// descriptor where the call has a twin that takes one (utimensat(2)), and recent kernels take it for
    /// an empty path elsewhere, so it is taken as that everywhere: the kernel knows better.
    fn flagged(&self, directory: u64, address: u64, flags: u64) -> Result<Subject, MemoryError> {
        let path = if address == 0 { Vec::new() } else { self.memory.text(address)? };
        let flags = int(flags);
        if !path.is_empty() {
            let last = unless(flags & libc::AT_SYMLINK_NOFOLLOW != 0);
            return Ok(Subject::Path { base: base(directory), path, last });
        }
        if address != 0 && flags & libc::AT_EMPTY_PATH == 0 {
            return Err(MemoryError::Futile);
        }
        Ok(match base(directory) {
            Base::Fd(descriptor) => Subject::Descriptor(descriptor),
            Base::Cwd => Subject::Path { base: Base::Cwd, path: b".".to_vec(), last: Last::Follow },
        })
    }

    fn open(&self, base: Base, address: u64, flags: u64) -> Result<Act, MemoryError> {
        let flags = int(flags);
        let Some((how, last)) = opening(flags) else { return Ok(Act::Nothing) };
        Ok(Act::Open { at: self.path(base, address, last)?, how })
    }

    fn openat2(&self) -> Result<Act, MemoryError> {
        // `struct open_how`: flags, mode, resolve.
        let how = self.memory.exact::<24>(self.a[2])?;
        let word = |at: usize| how[at..at + 8].iter().rev().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
        let (flags, resolve) = (word(0), word(16));
        let Ok(flags) = i32::try_from(flags) else { return Ok(Act::Nothing) };
        let Some((how, last)) = opening(flags) else { return Ok(Act::Nothing) };
        let mut at = self.path(base(self.a[0]), self.a[1], last)?;
        if let Subject::Path { path, .. } = &mut at
            && resolve & libc::RESOLVE_IN_ROOT != 0
        {
            // The directory stands for the root, and `..` does not lead out of it.
            if path.split(|byte| *byte == b'/').any(|part| part == b"..") {
                return Err(MemoryError::Closed);
            }
            let root = path.iter().position(|byte| *byte != b'/').unwrap_or(path.len());
            path.drain(..root);
            if path.is_empty() {
                return Ok(Act::Nothing);
            }
        }
        Ok(Act::Open { at, how })
    }

    fn make(&self, base: Base, address: u64, touch: Touch) -> Result<Act, MemoryError> {
        Ok(Act::New { at: self.path(base, address, Last::NoFollow)?, touch })
    }

    fn remove(&self, base: Base, address: u64, directory: bool) -> Result<Act, MemoryError> {
        Ok(Act::Remove { at: self.path(base, address, Last::NoFollow)?, directory })
    }

    fn rename(&self, old: (Base, u64), new: (Base, u64), flags: u32) -> Result<Act, MemoryError> {
        let mode = match (flags & libc::RENAME_EXCHANGE != 0, flags & libc::RENAME_NOREPLACE != 0) {
            (true, true) => return Ok(Act::Nothing),
            (true, false) => Renaming::Exchange,
            (false, true) => Renaming::Fresh,
            (false, false) => Renaming::Replace,
        };
        let (old, new) = (self.path(old.0, old.1, Last::NoFollow)?, self.path(new.0, new.1, Last::NoFollow)?);
        Ok(Act::Rename { old, new, mode })
    }

    fn link(&self, old: (Base, u64, i32), new: (Base, u64)) -> Result<Act, MemoryError> {
        let (directory, address, flags) = old;
        let path = self.memory.text(address)?;
        let old = match (path.is_empty(), directory) {
            (false, base) => Subject::Path { base, path, last: unless(flags & libc::AT_SYMLINK_FOLLOW == 0) },
            (true, Base::Fd(descriptor)) if flags & libc::AT_EMPTY_PATH != 0 => Subject::Descriptor(descriptor),
            (true, _) => return Ok(Act::Nothing),
        };
        Ok(Act::Link { old, new: self.path(new.0, new.1, Last::NoFollow)? })
    }

    /// A socket that is bound to a path makes it.
    fn bind(&self) -> Result<Act, MemoryError> {
        const FAMILY: usize = 2;
        let length = usize::try_from(self.a[2] & DESCRIPTOR_BITS).unwrap_or(usize::MAX);
        let mut address = [0; 110];
        if !(FAMILY + 1..=address.len()).contains(&length) || self.a[1] == 0 {
            return Ok(Act::Nothing);
        }
        let read = self.memory.read(self.a[1], &mut address[..length])?;
        let address = &address[..read];
        let local = address.get(..FAMILY) == Some(&libc::AF_UNIX.to_le_bytes()[..FAMILY]);
        let path = address.get(FAMILY..).unwrap_or_default().split(|byte| *byte == 0).next().unwrap_or_default();
        // Without a path: of the kernel's choice, or abstract.
        if !local || path.is_empty() {
            return Ok(Act::Nothing);
        }
        let at = Subject::Path { base: Base::Cwd, path: path.to_vec(), last: Last::NoFollow };
        Ok(Act::New { at, touch: Touch::Make })
    }
}

/// `None`: such an open writes nothing to what has a name.
fn opening(flags: i32) -> Option<(Opening, Last)> {
    let has = |flag: i32| flags & flag == flag;
    // A file without a name gets one by linkat(2), if ever.
    if flags.cast_unsigned() & WRITING == 0 || has(libc::O_PATH) || has(libc::O_TMPFILE) {
        return None;
    }
    let how = Opening {
        // The value 3 asks for the right to write, and gives a descriptor that cannot.
        writes: matches!(flags & libc::O_ACCMODE, libc::O_WRONLY | libc::O_RDWR),
        truncates: has(libc::O_TRUNC),
        creates: has(libc::O_CREAT),
        exclusive: has(libc::O_CREAT | libc::O_EXCL),
        directory: has(libc::O_DIRECTORY),
    };
    Some((how, unless(has(libc::O_NOFOLLOW) || how.exclusive)))
}

#[cfg(test)]
mod tests {
    use super::super::memory::tests::Pretended;
    use super::*;

    fn at(base: Base, path: &str, last: Last) -> Subject {
        Subject::Path { base, path: path.as_bytes().to_vec(), last }
    }

    fn follow(path: &str) -> Subject {
        at(Base::Cwd, path, Last::Follow)
    }

    fn itself(path: &str) -> Subject {
        at(Base::Cwd, path, Last::NoFollow)
    }

    fn beside(path: &str) -> Subject {
        at(Base::Fd(7), path, Last::NoFollow)
    }

    /// Two texts `old` and `new` lie in memory; `arguments` says where they go.
    fn check(call: Call, arguments: impl Fn(u64, u64) -> [u64; 6], expected: Act) {
        let memory = Pretended::default();
        let (old, new) = (memory.put_text("old"), memory.put_text("new"));
        assert_eq!(read(call, arguments(old, new), &memory), Ok(expected), "{call:?}");
    }

    const CWD: u64 = 0xFFFF_FF9C;

    fn opened(at: Subject, letters: &str) -> Act {
        let has = |letter| letters.contains(letter);
        let how = Opening {
            writes: has('w'),
            truncates: has('t'),
            creates: has('c'),
            exclusive: has('x'),
            directory: has('d'),
        };
        Act::Open { at, how }
    }

    #[test]
    fn opens() {
        let flags = |flags: i32| u64::from(flags.cast_unsigned());
        let (w, rw, c, t, x) = (libc::O_WRONLY, libc::O_RDWR, libc::O_CREAT, libc::O_TRUNC, libc::O_EXCL);
        check(Call::Open, |p, _| [p, flags(w), 0, 0, 0, 0], opened(follow("old"), "w"));
        check(Call::Open, |p, _| [p, flags(c), 0, 0, 0, 0], opened(follow("old"), "c"));
        check(Call::Open, |p, _| [p, flags(3), 0, 0, 0, 0], opened(follow("old"), ""));
        check(Call::Openat, |p, _| [CWD, p, flags(rw | c | t), 0, 0, 0], opened(follow("old"), "wct"));
        check(Call::Openat, |p, _| [7, p, flags(rw | c | x), 0, 0, 0], opened(beside("old"), "wcx"));
        check(Call::Openat, |p, _| [CWD, p, flags(rw | libc::O_NOFOLLOW), 0, 0, 0], opened(itself("old"), "w"));
        check(Call::Openat, |p, _| [CWD, p, flags(rw | libc::O_TMPFILE), 0, 0, 0], Act::Nothing);
        check(Call::Openat, |p, _| [CWD, p, flags(rw | libc::O_PATH), 0, 0, 0], Act::Nothing);
        check(Call::Openat, |_, _| [CWD, 0, flags(rw), 0, 0, 0], Act::Nothing);
        check(Call::Creat, |p, _| [p, 0, 0, 0, 0, 0], opened(follow("old"), "wct"));
    }

    #[test]
    fn openat2_is_read_from_its_structure() {
        let check = |flags: i32, resolve: u64, path: &str, expected| {
            let memory = Pretended::default();
            let mut how = u64::from(flags.cast_unsigned()).to_le_bytes().to_vec();
            how.extend([0; 8]);
            how.extend(resolve.to_le_bytes());
            let arguments = [7, memory.put_text(path), memory.put(&how), 24, 0, 0];
            assert_eq!(read(Call::Openat2, arguments, &memory), expected, "{path}");
        };
        let there = |path| Ok(opened(at(Base::Fd(7), path, Last::Follow), "w"));
        check(libc::O_RDONLY, 0, "p", Ok(Act::Nothing));
        check(libc::O_WRONLY, 0, "/p", there("/p"));
        check(libc::O_WRONLY, libc::RESOLVE_BENEATH, "p", there("p"));
        check(libc::O_WRONLY, libc::RESOLVE_IN_ROOT, "//a/p", there("a/p"));
        check(libc::O_WRONLY, libc::RESOLVE_IN_ROOT, "a/../p", Err(MemoryError::Closed));
    }

    #[test]
    fn names_are_made_moved_and_removed() {
        let new = |at, touch| Act::New { at, touch };
        check(Call::Mkdir, |p, _| [p, 0, 0, 0, 0, 0], new(itself("old"), Touch::MakeDirectory));
        check(Call::Mkdirat, |p, _| [7, p, 0, 0, 0, 0], new(beside("old"), Touch::MakeDirectory));
        check(Call::Symlink, |t, p| [t, p, 0, 0, 0, 0], new(itself("new"), Touch::Make));
        check(Call::Symlinkat, |t, p| [t, 7, p, 0, 0, 0], new(beside("new"), Touch::Make));
        check(Call::Mknod, |p, _| [p, 0, 0, 0, 0, 0], new(itself("old"), Touch::Make));
        check(Call::Mknodat, |p, _| [7, p, 0, 0, 0, 0], new(beside("old"), Touch::Make));

        let remove = |at, directory| Act::Remove { at, directory };
        check(Call::Rmdir, |p, _| [p, 0, 0, 0, 0, 0], remove(itself("old"), true));
        check(Call::Unlink, |p, _| [p, 0, 0, 0, 0, 0], remove(itself("old"), false));
        check(Call::Unlinkat, |p, _| [7, p, 0, 0, 0, 0], remove(beside("old"), false));
        check(Call::Unlinkat, |p, _| [7, p, 0x200, 0, 0, 0], remove(beside("old"), true));

        let rename = |old, new, mode| Act::Rename { old, new, mode };
        check(Call::Rename, |o, n| [o, n, 0, 0, 0, 0], rename(itself("old"), itself("new"), Renaming::Replace));
        check(Call::Renameat, |o, n| [7, o, CWD, n, 9, 0], rename(beside("old"), itself("new"), Renaming::Replace));
        for (flags, mode) in [(0, Renaming::Replace), (1, Renaming::Fresh), (2, Renaming::Exchange)] {
            check(Call::Renameat2, |o, n| [7, o, CWD, n, flags, 0], rename(beside("old"), itself("new"), mode));
        }

        let link = |old, new| Act::Link { old, new };
        check(Call::Link, |o, n| [o, n, 0, 0, 0, 0], link(itself("old"), itself("new")));
        check(Call::Linkat, |o, n| [CWD, o, 7, n, 0, 0], link(itself("old"), beside("new")));
        check(Call::Linkat, |o, n| [CWD, o, 7, n, 0x400, 0], link(follow("old"), beside("new")));
    }

    #[test]
    fn an_empty_path_is_the_descriptor_where_that_is_asked_for() {
        let check = |call, arguments: &dyn Fn(u64, u64) -> [u64; 6], expected| {
            let memory = Pretended::default();
            let arguments = arguments(memory.put_text(""), memory.put_text("new"));
            assert_eq!(read(call, arguments, &memory), Ok(expected), "{call:?}");
        };
        let change = |at| Act::Change { at, content: false };
        let seven = || Subject::Descriptor(7);
        let link = Act::Link { old: seven(), new: itself("new") };
        check(Call::Linkat, &|e, n| [7, e, CWD, n, 0x1000, 0], link);
        check(Call::Linkat, &|e, n| [7, e, CWD, n, 0, 0], Act::Nothing);
        check(Call::Utimensat, &|_, _| [7, 0, 0, 0, 0, 0], change(seven()));
        check(Call::Utimensat, &|e, _| [7, e, 0, 0, 0, 0], Act::Nothing);
        check(Call::Futimesat, &|_, _| [7, 0, 0, 0, 0, 0], change(seven()));
        check(Call::Fchownat, &|e, _| [7, e, 0, 0, 0x1000, 0], change(seven()));
        check(Call::Fchownat, &|e, _| [CWD, e, 0, 0, 0x1000, 0], change(follow(".")));
        check(Call::Fchmodat2, &|e, _| [7, e, 0, 0x1000, 0, 0], change(seven()));
        check(Call::Setxattrat, &|e, _| [7, e, 0x1000, 0, 0, 0], change(seven()));
        check(Call::FileSetattr, &|e, _| [7, e, 0, 0, 0x1000, 0], change(seven()));
        for call in [Call::Unlink, Call::Mkdir, Call::Open, Call::Truncate] {
            check(call, &|e, _| [e, 1, 0, 0, 0, 0], Act::Nothing);
        }
    }

    #[test]
    fn attributes() {
        let change = |at| Act::Change { at, content: false };
        check(Call::Truncate, |p, _| [p, 0, 0, 0, 0, 0], Act::Change { at: follow("old"), content: true });
        for call in [Call::Chmod, Call::Chown, Call::Utime, Call::Utimes, Call::Setxattr, Call::Removexattr] {
            check(call, |p, _| [p, 0, 0, 0, 0, 0], change(follow("old")));
        }
        for call in [Call::Lchown, Call::Lsetxattr, Call::Lremovexattr] {
            check(call, |p, _| [p, 0, 0, 0, 0, 0], change(itself("old")));
        }
        for call in [Call::Fchmod, Call::Fchown, Call::Fsetxattr, Call::Fremovexattr, Call::Ioctl] {
            check(call, |_, _| [7, 0, 0, 0, 0, 0], change(Subject::Descriptor(7)));
        }
        // The fourth argument of fchmodat(2) is the C library's; the kernel takes three.
        check(Call::Fchmodat, |p, _| [CWD, p, 0, 0x100, 0, 0], change(follow("old")));
        check(Call::Fchmodat2, |p, _| [CWD, p, 0, 0x100, 0, 0], change(itself("old")));
        check(Call::Fchownat, |p, _| [7, p, 0, 0, 0x100, 0], change(beside("old")));
        check(Call::Utimensat, |p, _| [7, p, 0, 0x100, 0, 0], change(beside("old")));
        check(Call::Removexattrat, |p, _| [7, p, 0x100, 0, 0, 0], change(beside("old")));
    }

    #[test]
    fn a_socket_is_made_where_it_is_bound() {
        let check = |address: &[u8], length: u64, expected| {
            let memory = Pretended::default();
            assert_eq!(read(Call::Bind, [3, memory.put(address), length, 0, 0, 0], &memory), Ok(expected));
        };
        let made = |path| Act::New { at: itself(path), touch: Touch::Make };
        check(b"\x01\0a/s\0garbage", 13, made("a/s"));
        check(b"\x01\0a/socket", 5, made("a/s"));
        check(b"\x01\0\0abstract", 11, Act::Nothing);
        check(b"\x01\0", 2, Act::Nothing);
        check(b"\x02\0\x1f\x90\x7f\0\0\x01\0\0\0\0\0\0\0\0", 16, Act::Nothing);
    }
}
