//! Ways to change what is in a file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};

use rustix::fs::{FallocateFlags, Mode, OFlags, ResolveFlags};

use crate::desk::Desk;

/// open(2), openat2(2), creat(2): new, emptied, in place.
pub(crate) fn open_write(desk: &mut Desk) -> io::Result<()> {
    let new = desk.at("new");
    desk.content(&[&new], || File::create_new(&new)?.write_all(b"new\n"))?;
    let emptied = desk.at("f0");
    desk.content(&[&emptied], || fs::write(&emptied, "emptied first\n"))?;
    let within = desk.at("f1");
    desk.content(&[&within], || {
        let mut file = OpenOptions::new().read(true).write(true).open(&within)?;
        file.seek(SeekFrom::Start(3))?;
        file.write_all(b"WITHIN")
    })?;
    let how = desk.at("f2");
    desk.content(&[&how], || {
        let fd =
            rustix::fs::openat2(rustix::fs::CWD, &how, OFlags::WRONLY, Mode::empty(), ResolveFlags::NO_MAGICLINKS)?;
        File::from(fd).write_all(b"OPENAT2")
    })?;
    let created = desk.at("created");
    desk.content(&[&created], || {
        let fd = rustix::fs::open(&created, OFlags::CREATE | OFlags::WRONLY | OFlags::TRUNC, Mode::from(0o644))?;
        File::from(fd).write_all(b"created\n")
    })?;
    Ok(())
}

/// truncate(2) without a descriptor, ftruncate(2), O_TRUNC alone; shorter and longer.
pub(crate) fn truncate(desk: &mut Desk) -> io::Result<()> {
    let shorter = desk.at("f0");
    desk.content(&[&shorter], || Ok(nix::unistd::truncate(&shorter, 5)?))?;
    let longer = desk.at("f1");
    desk.content(&[&longer], || Ok(nix::unistd::truncate(&longer, 5000)?))?;
    let by_descriptor = desk.at("f2");
    desk.content(&[&by_descriptor], || OpenOptions::new().write(true).open(&by_descriptor)?.set_len(7))?;
    let emptied = desk.at("f3");
    desk.content(&[&emptied], || OpenOptions::new().write(true).truncate(true).open(&emptied).map(drop))?;
    Ok(())
}

/// O_APPEND.
pub(crate) fn append(desk: &mut Desk) -> io::Result<()> {
    for name in ["f0", "f1"] {
        let path = desk.at(name);
        desk.content(&[&path], || {
            let mut file = OpenOptions::new().append(true).open(&path)?;
            (0..3).try_for_each(|n| writeln!(file, "appended {n}"))
        })?;
    }
    Ok(())
}

/// `mkdir -p a/b/c` and a write into it at once: the race of whoever only watches directories.
pub(crate) fn mkdir_write(desk: &mut Desk) -> io::Result<()> {
    for n in 0..desk.size {
        let dir = desk.at(&format!("made{n}/a/b"));
        let file = dir.join("f");
        desk.content(&[&file], || {
            fs::create_dir_all(&dir)?;
            fs::write(&file, "written at once\n")
        })?;
    }
    Ok(())
}

/// One byte far out, one byte within, a file of one byte, and a hundred opens for one byte each.
pub(crate) fn small_writes(desk: &mut Desk) -> io::Result<()> {
    let sparse = desk.at("sparse");
    desk.content(&[&sparse], || File::create(&sparse)?.write_all_at(b"x", 1 << 22))?;
    let within = desk.at("f0");
    desk.content(&[&within], || OpenOptions::new().write(true).open(&within)?.write_all_at(b"#", 9))?;
    let one = desk.at("one");
    desk.content(&[&one], || fs::write(&one, "1"))?;
    let often = desk.at("f1");
    desk.content(&[&often], || {
        (0..100).try_for_each(|n| OpenOptions::new().write(true).open(&often)?.write_all_at(b"#", n))
    })?;
    Ok(())
}

/// sendfile(2), copy_file_range(2), and the copy of the standard library.
pub(crate) fn copy(desk: &mut Desk) -> io::Result<()> {
    let source = desk.at("f9");
    let sent = desk.at("sent");
    desk.content(&[&sent], || {
        let (from, to) = (File::open(&source)?, File::create(&sent)?);
        rustix::fs::sendfile(&to, &from, None, 100).map(drop)?;
        Ok(())
    })?;
    let ranged = desk.at("f0");
    desk.content(&[&ranged], || {
        let (from, to) = (File::open(&source)?, OpenOptions::new().write(true).open(&ranged)?);
        rustix::fs::copy_file_range(&from, None, &to, None, 100)?;
        Ok(())
    })?;
    let copied = desk.at("copied");
    desk.content(&[&copied], || fs::copy(&source, &copied).map(drop))?;
    Ok(())
}

/// fallocate(2): longer, a hole, and a new file.
pub(crate) fn fallocate(desk: &mut Desk) -> io::Result<()> {
    let longer = desk.at("f0");
    desk.content(&[&longer], || {
        let file = OpenOptions::new().write(true).open(&longer)?;
        Ok(rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, 9000)?)
    })?;
    let hole = desk.at("f1");
    desk.content(&[&hole], || {
        let file = OpenOptions::new().write(true).open(&hole)?;
        Ok(rustix::fs::fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 10, 50)?)
    })?;
    let new = desk.at("new");
    desk.content(&[&new], || {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&new)?;
        Ok(rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, 1 << 16)?)
    })?;
    Ok(())
}
