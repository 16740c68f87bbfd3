//! The system calls that can change a name, a file's content or what is known of it, with their
//! numbers on both architectures.
//!
//! Invariant: a call that is not in this table, and that the table is not too old to know, changes
//! nothing that a path leads to without a descriptor that was opened for writing before.
//! Deliberately absent: the filter itself (`filter`), and what a call does to which path (`call`).
//!
//! Sources: `arch/x86/entry/syscalls/syscall_64.tbl` and `scripts/syscall.tbl` of Linux 6.18.

/// A machine that the gate knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Machine {
    X86_64,
    Aarch64,
}

impl Machine {
    /// The one that this was compiled for; `None`: the gate does not know it.
    #[must_use]
    pub(super) fn here() -> Option<Self> {
        if cfg!(all(target_arch = "x86_64", target_pointer_width = "64")) {
            Some(Self::X86_64)
        } else if cfg!(all(target_arch = "aarch64", target_endian = "little")) {
            Some(Self::Aarch64)
        } else {
            None
        }
    }

    /// `AUDIT_ARCH_*` of `linux/audit.h`.
    #[must_use]
    pub(super) fn audit_arch(self) -> u32 {
        match self {
            Self::X86_64 => 0xC000_003E,
            Self::Aarch64 => 0xC000_00B7,
        }
    }

    /// The number that a call has here; `None`: the machine does not have it.
    #[must_use]
    pub(super) fn number(self, entry: &Entry) -> Option<u32> {
        let number = match self {
            Self::X86_64 => entry.x86_64,
            Self::Aarch64 => entry.aarch64,
        };
        (number != NONE).then_some(number)
    }

    /// The call that has this number here, if it is one that is asked about.
    #[must_use]
    pub(super) fn call(self, number: u32) -> Option<Call> {
        TABLE.iter().find(|entry| self.number(entry) == Some(number)).map(|entry| entry.call)
    }
}

/// A call that concerns the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Openat,
    Open,
    Creat,
    Openat2,
    OpenByHandleAt,
    Rename,
    Renameat,
    Renameat2,
    Mkdir,
    Mkdirat,
    Rmdir,
    Link,
    Linkat,
    Unlink,
    Unlinkat,
    Symlink,
    Symlinkat,
    Mknod,
    Mknodat,
    Bind,
    Truncate,
    Chmod,
    Fchmod,
    Fchmodat,
    Fchmodat2,
    Chown,
    Fchown,
    Lchown,
    Fchownat,
    Utime,
    Utimes,
    Futimesat,
    Utimensat,
    Setxattr,
    Lsetxattr,
    Fsetxattr,
    Setxattrat,
    Removexattr,
    Lremovexattr,
    Fremovexattr,
    Removexattrat,
    FileSetattr,
    Ioctl,
    IoUringSetup,
}

/// What the filter does with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Treatment {
    /// The shim decides.
    Notify,
    /// The shim decides where this argument, the flags of open(2), could let something be written.
    NotifyIfWriting { argument: u8 },
    /// The same, but such a call fails: it names no path.
    RefuseIfWriting { argument: u8 },
    /// The shim decides where this argument is one of [`IOCTLS`].
    NotifyIfChanging { argument: u8 },
    /// The kernel does not have it.
    Missing,
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) call: Call,
    pub(super) treatment: Treatment,
    x86_64: u32,
    aarch64: u32,
}

/// No number: the machine does not have the call.
const NONE: u32 = u32::MAX;

/// The last call that this table takes into account: `file_setattr`, of Linux 6.17. Later ones could
/// do anything, so they are missing for a gated tree.
pub(super) const LAST_KNOWN: u32 = 469;

/// Flags of open(2) of which each can let something be written, or made: `O_WRONLY`, `O_RDWR`,
/// `O_CREAT`, `O_TRUNC`, and the bit that makes `O_TMPFILE` of `O_DIRECTORY`. The same everywhere.
pub(super) const WRITING: u32 = 0o1 | 0o2 | 0o100 | 0o1000 | 0o20_000_000;

/// Requests of ioctl(2) that change attributes through a descriptor that need not be open for
/// writing: `FS_IOC_SETFLAGS`, its 32-bit twin, `FS_IOC_FSSETXATTR`.
pub(super) const IOCTLS: [u32; 3] = [0x4008_6602, 0x4004_6602, 0x401C_5820];

const fn notify(call: Call, x86_64: u32, aarch64: u32) -> Entry {
    Entry { call, treatment: Treatment::Notify, x86_64, aarch64 }
}

const fn treat(call: Call, treatment: Treatment, x86_64: u32, aarch64: u32) -> Entry {
    Entry { call, treatment, x86_64, aarch64 }
}

/// The table; what is called most comes first.
pub(super) const TABLE: [Entry; 44] = [
    treat(Call::Openat, Treatment::NotifyIfWriting { argument: 2 }, 257, 56),
    treat(Call::Open, Treatment::NotifyIfWriting { argument: 1 }, 2, NONE),
    treat(Call::Ioctl, Treatment::NotifyIfChanging { argument: 1 }, 16, 29),
    notify(Call::Openat2, 437, 437),
    notify(Call::Creat, 85, NONE),
    treat(Call::OpenByHandleAt, Treatment::RefuseIfWriting { argument: 2 }, 304, 265),
    notify(Call::Rename, 82, NONE),
    notify(Call::Renameat, 264, 38),
    notify(Call::Renameat2, 316, 276),
    notify(Call::Mkdir, 83, NONE),
    notify(Call::Mkdirat, 258, 34),
    notify(Call::Rmdir, 84, NONE),
    notify(Call::Link, 86, NONE),
    notify(Call::Linkat, 265, 37),
    notify(Call::Unlink, 87, NONE),
    notify(Call::Unlinkat, 263, 35),
    notify(Call::Symlink, 88, NONE),
    notify(Call::Symlinkat, 266, 36),
    notify(Call::Mknod, 133, NONE),
    notify(Call::Mknodat, 259, 33),
    notify(Call::Bind, 49, 200),
    notify(Call::Truncate, 76, 45),
    notify(Call::Chmod, 90, NONE),
    notify(Call::Fchmod, 91, 52),
    notify(Call::Fchmodat, 268, 53),
    notify(Call::Fchmodat2, 452, 452),
    notify(Call::Chown, 92, NONE),
    notify(Call::Fchown, 93, 55),
    notify(Call::Lchown, 94, NONE),
    notify(Call::Fchownat, 260, 54),
    notify(Call::Utime, 132, NONE),
    notify(Call::Utimes, 235, NONE),
    notify(Call::Futimesat, 261, NONE),
    notify(Call::Utimensat, 280, 88),
    notify(Call::Setxattr, 188, 5),
    notify(Call::Lsetxattr, 189, 6),
    notify(Call::Fsetxattr, 190, 7),
    notify(Call::Setxattrat, 463, 463),
    notify(Call::Removexattr, 197, 14),
    notify(Call::Lremovexattr, 198, 15),
    notify(Call::Fremovexattr, 199, 16),
    notify(Call::Removexattrat, 466, 466),
    notify(Call::FileSetattr, 469, 469),
    treat(Call::IoUringSetup, Treatment::Missing, 425, 425),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn numbers_are_used_once() {
        for machine in [Machine::X86_64, Machine::Aarch64] {
            let numbers: Vec<u32> = TABLE.iter().filter_map(|entry| machine.number(entry)).collect();
            assert_eq!(numbers.iter().collect::<BTreeSet<_>>().len(), numbers.len());
            assert!(numbers.iter().all(|number| *number <= LAST_KNOWN));
            for entry in &TABLE {
                assert!(machine.number(entry).is_none_or(|number| machine.call(number) == Some(entry.call)));
            }
        }
    }

    /// The C library's own numbers, on the machine that this runs on.
    #[test]
    fn numbers_are_those_of_the_c_library() {
        use nix::libc;
        let check = |call: Call, expected: libc::c_long| {
            let machine = Machine::here().unwrap();
            let entry = TABLE.iter().find(|entry| entry.call == call).unwrap();
            assert_eq!(machine.number(entry).map(libc::c_long::from), Some(expected), "{call:?}");
        };
        check(Call::Openat, libc::SYS_openat);
        check(Call::Ioctl, libc::SYS_ioctl);
        check(Call::Openat2, libc::SYS_openat2);
        check(Call::OpenByHandleAt, libc::SYS_open_by_handle_at);
        check(Call::Renameat, libc::SYS_renameat);
        check(Call::Renameat2, libc::SYS_renameat2);
        check(Call::Mkdirat, libc::SYS_mkdirat);
        check(Call::Linkat, libc::SYS_linkat);
        check(Call::Unlinkat, libc::SYS_unlinkat);
        check(Call::Symlinkat, libc::SYS_symlinkat);
        check(Call::Mknodat, libc::SYS_mknodat);
        check(Call::Bind, libc::SYS_bind);
        check(Call::Truncate, libc::SYS_truncate);
        check(Call::Fchmod, libc::SYS_fchmod);
        check(Call::Fchmodat, libc::SYS_fchmodat);
        check(Call::Fchown, libc::SYS_fchown);
        check(Call::Fchownat, libc::SYS_fchownat);
        check(Call::Utimensat, libc::SYS_utimensat);
        check(Call::Setxattr, libc::SYS_setxattr);
        check(Call::Lsetxattr, libc::SYS_lsetxattr);
        check(Call::Fsetxattr, libc::SYS_fsetxattr);
        check(Call::Removexattr, libc::SYS_removexattr);
        check(Call::Lremovexattr, libc::SYS_lremovexattr);
        check(Call::Fremovexattr, libc::SYS_fremovexattr);
        check(Call::IoUringSetup, libc::SYS_io_uring_setup);
        #[cfg(target_arch = "x86_64")]
        for (call, expected) in [
            (Call::Open, libc::SYS_open),
            (Call::Creat, libc::SYS_creat),
            (Call::Rename, libc::SYS_rename),
            (Call::Mkdir, libc::SYS_mkdir),
            (Call::Rmdir, libc::SYS_rmdir),
            (Call::Link, libc::SYS_link),
            (Call::Unlink, libc::SYS_unlink),
            (Call::Symlink, libc::SYS_symlink),
            (Call::Mknod, libc::SYS_mknod),
            (Call::Chmod, libc::SYS_chmod),
            (Call::Chown, libc::SYS_chown),
            (Call::Lchown, libc::SYS_lchown),
            (Call::Utime, libc::SYS_utime),
            (Call::Utimes, libc::SYS_utimes),
            (Call::Futimesat, libc::SYS_futimesat),
            (Call::Fchmodat2, libc::SYS_fchmodat2),
        ] {
            check(call, expected);
        }
    }
}
