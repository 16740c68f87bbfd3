//! Stores through a shared mapping (mmap(2)): no call says when they happen.
#![expect(unsafe_code, reason = "a mapping is memory that others see; see each block")]

use std::fs::OpenOptions;
use std::io;
use std::path::Path;

use rustix::mm::{MapFlags, MsyncFlags, ProtFlags};

use crate::desk::Desk;

/// What becomes of a mapping after its stores.
#[derive(Clone, Copy, PartialEq, Eq)]
enum After {
    Synced,
    Unmapped,
    /// It is there until the process ends.
    Kept,
}

/// With msync(2), without, and never unmapped.
pub(crate) fn mapped(desk: &mut Desk) -> io::Result<()> {
    for (name, after) in [("f0", After::Synced), ("f1", After::Unmapped), ("f2", After::Kept)] {
        let path = desk.at(name);
        desk.content(&[&path], || store(&path, after))?;
    }
    Ok(())
}

fn store(path: &Path, after: After) -> io::Result<()> {
    const TEXT: &[u8] = b"STORED";
    const AT: usize = 11;
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let len = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    assert!(len >= AT + TEXT.len(), "the fixture is long enough");
    // SAFETY: a new mapping of `len` bytes at an address that the kernel picks takes nobody's memory.
    let start = unsafe {
        rustix::mm::mmap(std::ptr::null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, &file, 0)?
    };
    // The mapping must outlive the descriptor: that is what is being tried.
    drop(file);
    // SAFETY: AT + TEXT.len() <= len, the mapping is writable, no reference to it exists, and the file
    // is not made shorter by anybody in this scenario.
    unsafe { std::ptr::copy_nonoverlapping(TEXT.as_ptr(), start.cast::<u8>().add(AT), TEXT.len()) };
    if after == After::Synced {
        // SAFETY: the range is the mapping's.
        unsafe { rustix::mm::msync(start, len, MsyncFlags::SYNC)? };
    }
    if after != After::Kept {
        // SAFETY: the range is the mapping's, and nothing refers to it from here on.
        unsafe { rustix::mm::munmap(start, len)? };
    }
    Ok(())
}
