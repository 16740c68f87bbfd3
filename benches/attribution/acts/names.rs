//! Ways to change which name stands for what.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags};

use crate::desk::Desk;

/// rename(2) over a file, to a new name, and the exchange of two files.
pub(crate) fn rename_over(desk: &mut Desk) -> io::Result<()> {
    let over = desk.at("f0");
    let staged = desk.staged("over")?;
    desk.content(&[&over], || fs::rename(&staged, &over))?;
    desk.left(&[&staged])?;
    let new = desk.at("new");
    let staged = desk.staged("new")?;
    desk.content(&[&new], || Ok(rustix::fs::renameat_with(CWD, &staged, CWD, &new, RenameFlags::NOREPLACE)?))?;
    desk.left(&[&staged])?;
    let here = desk.at("f1");
    let other = desk.staged("exchange")?;
    desk.content(&[&here, &other], || Ok(rustix::fs::renameat_with(CWD, &here, CWD, &other, RenameFlags::EXCHANGE)?))?;
    desk.left(&[&other])
}

const BELOW: [&str; 3] = ["s0", "s1", "deep/s2"];

/// A directory to another name beside it, one into the area, one out of it.
pub(crate) fn rename_directory(desk: &mut Desk) -> io::Result<()> {
    let (old, new) = (desk.at("sub"), desk.at("moved"));
    desk.content(&borrowed(&[below(&old), below(&new)].concat()), || fs::rename(&old, &new))?;
    let (staged, inside) = (desk.mine("into"), desk.at("into"));
    desk.stage(&borrowed(&below(&staged)), || {
        fs::create_dir_all(staged.join("deep"))?;
        BELOW.iter().try_for_each(|f| fs::write(staged.join(f), "moved in with its directory\n"))
    })?;
    desk.content(&borrowed(&below(&inside)), || fs::rename(&staged, &inside))?;
    desk.left(&borrowed(&below(&staged)))?;
    let (old, out) = (desk.at("sub2"), desk.mine("out"));
    desk.content(&borrowed(&[below(&old), below(&out)].concat()), || fs::rename(&old, &out))?;
    Ok(())
}

fn below(dir: &Path) -> Vec<PathBuf> {
    BELOW.iter().map(|f| dir.join(f)).collect()
}

fn borrowed(paths: &[PathBuf]) -> Vec<&Path> {
    paths.iter().map(PathBuf::as_path).collect()
}

/// link(2): a second name for a file of the area, through which it is then written; a new name in it.
pub(crate) fn link(desk: &mut Desk) -> io::Result<()> {
    let (file, alias) = (desk.at("f0"), desk.mine("alias"));
    let both: [&Path; 2] = [&file, &alias];
    desk.content(&both, || {
        fs::hard_link(&file, &alias)?;
        OpenOptions::new().append(true).open(&alias)?.write_all(b"through its second name\n")
    })?;
    let staged = desk.staged("linked")?;
    desk.left(&[&staged])?;
    let new = desk.at("new");
    desk.content(&[&new], || fs::hard_link(&staged, &new))?;
    Ok(())
}

/// symlink(2); a write through a link to a file, and through one to its directory.
pub(crate) fn symbolic(desk: &mut Desk) -> io::Result<()> {
    let new = desk.at("new");
    desk.content(&[&new], || symlink("f9", &new))?;
    let replaced = desk.at("f0");
    desk.content(&[&replaced], || {
        fs::remove_file(&replaced)?;
        symlink("f9", &replaced)
    })?;
    let (file, link) = (desk.at("f1"), desk.mine("to-file"));
    desk.stage(&[&link], || symlink(&file, &link))?;
    desk.left(&[&link])?;
    desk.content(&[&file], || fs::write(&link, "through a link\n"))?;
    let (dir, link) = (desk.at("sub"), desk.mine("to-directory"));
    desk.stage(&[&link], || symlink(&dir, &link))?;
    desk.left(&[&link])?;
    desk.content(&[&dir.join("s0")], || fs::write(link.join("s0"), "through a link to its directory\n"))?;
    let absent = desk.at("made-through-link");
    let link = desk.mine("to-nothing");
    desk.stage(&[&link], || symlink(&absent, &link))?;
    desk.left(&[&link])?;
    desk.content(&[&absent], || fs::write(&link, "through a link to nothing\n"))?;
    Ok(())
}

/// unlink(2), unlinkat(2), and a whole directory.
pub(crate) fn unlink(desk: &mut Desk) -> io::Result<()> {
    let file = desk.at("f0");
    desk.content(&[&file], || fs::remove_file(&file))?;
    let file = desk.at("f1");
    desk.content(&[&file], || {
        let dir = File::open(file.parent().unwrap_or(&file))?;
        Ok(rustix::fs::unlinkat(&dir, "f1", AtFlags::empty())?)
    })?;
    let dir = desk.at("sub");
    desk.content(&borrowed(&below(&dir)), || fs::remove_dir_all(&dir))?;
    Ok(())
}

/// A file without a name (O_TMPFILE) that linkat(2) gives one: made in the area, and made elsewhere.
pub(crate) fn tmpfile(desk: &mut Desk) -> io::Result<()> {
    for (name, made_in) in [("named", desk.at("sub")), ("brought", desk.mine("tmpfile"))] {
        fs::create_dir_all(&made_in).or_else(|e| if made_in.is_dir() { Ok(()) } else { Err(e) })?;
        let path = desk.at(name);
        desk.content_via(&[&path], &[&made_in], || {
            let fd = rustix::fs::open(&made_in, OFlags::TMPFILE | OFlags::WRONLY, Mode::from(0o644))?;
            let mut file = File::from(fd);
            file.write_all(b"without a name at first\n")?;
            let by_number = format!("/proc/self/fd/{}", file.as_raw_fd());
            Ok(rustix::fs::linkat(CWD, by_number, CWD, &path, AtFlags::SYMLINK_FOLLOW)?)
        })?;
    }
    Ok(())
}
