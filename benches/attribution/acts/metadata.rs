//! Ways to change what belongs to a file and is not its content; by name, and by a descriptor that was
//! opened for reading only.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, PermissionsExt};

use rustix::fs::{AtFlags, CWD, Mode, Timespec, Timestamps, XattrFlags};

use crate::desk::Desk;

/// chmod(2), fchmod(2), fchmodat(2): the executable bit, which git records, and others; of a directory too.
pub(crate) fn chmod(desk: &mut Desk) -> io::Result<()> {
    let path = desk.at("f0");
    desk.content(&[&path], || fs::set_permissions(&path, fs::Permissions::from_mode(0o755)))?;
    let path = desk.at("f1");
    desk.content(&[&path], || Ok(rustix::fs::fchmod(File::open(&path)?, Mode::from(0o755))?))?;
    let path = desk.at("f2");
    desk.metadata(&[&path], || Ok(rustix::fs::chmodat(CWD, &path, Mode::from(0o600), AtFlags::empty())?))?;
    let directory = desk.at("sub2");
    desk.metadata(&[&directory], || fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)))?;
    Ok(())
}

/// utimensat(2) by name and by descriptor; and a change that hides: as long as before, its times put back.
pub(crate) fn utimes(desk: &mut Desk) -> io::Result<()> {
    let long_ago = Timespec { tv_sec: 1_000_000_000, tv_nsec: 5 };
    let times = Timestamps { last_access: long_ago, last_modification: long_ago };
    let path = desk.at("f0");
    desk.metadata(&[&path], || Ok(rustix::fs::utimensat(CWD, &path, &times, AtFlags::empty())?))?;
    let path = desk.at("f1");
    desk.metadata(&[&path], || Ok(rustix::fs::futimens(File::open(&path)?, &times)?))?;
    let directory = desk.at("sub2");
    desk.metadata(&[&directory], || Ok(rustix::fs::utimensat(CWD, &directory, &times, AtFlags::empty())?))?;
    let path = desk.at("f2");
    desk.content(&[&path], || {
        let file = OpenOptions::new().write(true).open(&path)?;
        let before = file.metadata()?.modified()?;
        file.write_all_at(b"HIDDEN", 3)?;
        file.set_modified(before)
    })?;
    Ok(())
}

/// The name of the attribute that is set.
pub(crate) const ATTRIBUTE: &str = "user.supervise.bench";

/// setxattr(2) by name and by descriptor, and together with content.
pub(crate) fn xattr(desk: &mut Desk) -> io::Result<()> {
    let path = desk.at("f0");
    desk.metadata(&[&path], || Ok(rustix::fs::setxattr(&path, ATTRIBUTE, b"1", XattrFlags::CREATE)?))?;
    let path = desk.at("f1");
    desk.metadata(&[&path], || Ok(rustix::fs::fsetxattr(File::open(&path)?, ATTRIBUTE, b"1", XattrFlags::CREATE)?))?;
    let directory = desk.at("sub2");
    desk.metadata(&[&directory], || Ok(rustix::fs::setxattr(&directory, ATTRIBUTE, b"1", XattrFlags::CREATE)?))?;
    let path = desk.at("f2");
    desk.content(&[&path], || {
        rustix::fs::setxattr(&path, ATTRIBUTE, b"1", XattrFlags::empty())?;
        fs::write(&path, "with an attribute\n")
    })?;
    Ok(())
}
