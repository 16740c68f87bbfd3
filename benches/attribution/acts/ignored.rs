//! What git ignores, or would after a change of its rules; and names that lie outside of the workspace.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};

use crate::desk::{Desk, FREE, write_whole};
use crate::ground::{GRANTED, IGNORED, RULES};

/// An ignored directory in the making, as cargo makes its `target`: whole under a name of its own, then renamed.
/// A user's directory may have such a name as well: that one is not to be removed, filled or renamed.
pub(crate) fn in_the_making(desk: &mut Desk) -> io::Result<()> {
    let (making, made) = (desk.at(&format!("{IGNORED}A1b2C3")), desk.at(IGNORED));
    desk.ignored(&[&made.join("deep/er")], &[&making], || {
        fs::create_dir_all(making.join("deep"))?;
        fs::write(making.join("deep/er"), "in the making\n")?;
        fs::rename(&making, &made)
    })?;
    if !desk.is_in(FREE) {
        return write(desk, "f0");
    }
    let users = desk.at("logs2024Q1");
    desk.content(&[&users.join("mine")], || fs::remove_dir_all(&users))?;
    let new = desk.at("logs2024Q2/new");
    desk.content(&[&new], || fs::write(&new, "in a user's directory\n"))?;
    let (users, renamed) = (desk.at("logs2024Q3"), desk.at("sub").join(IGNORED));
    if desk.content(&[&users.join("mine")], || fs::rename(&users, &renamed))? {
        desk.ignored(&[&renamed.join("mine")], &[], || Ok(()))?;
    }
    Ok(())
}

/// Rules that make git ignore what the user has, or what git has; and then it is removed.
pub(crate) fn new_rules(desk: &mut Desk) -> io::Result<()> {
    if desk.is_own() {
        return write(desk, "f0");
    }
    let rules = desk.root().join(RULES);
    let area = desk.area().to_owned();
    desk.content(&[&rules], || {
        let mut file = OpenOptions::new().append(true).open(&rules)?;
        write!(file, "/{area}/notes/\n/{area}/drafts/\n/{area}/f*\n/{area}/sub/\n")
    })?;
    if desk.is_in(FREE) {
        let users = desk.at("notes");
        desk.content(&[&users.join("mine")], || fs::remove_dir_all(&users))?;
        let users = desk.at("drafts/mine");
        desk.content(&[&users], || fs::write(&users, "taken over\n"))?;
    }
    let tracked = desk.at("f0");
    desk.content(&[&tracked], || fs::remove_file(&tracked))?;
    write(desk, "sub/s0")
}

/// link(2) to a place outside, where no rule reaches, and a write through it. Nobody may, wherever it is.
pub(crate) fn out_of_the_workspace(desk: &mut Desk) -> io::Result<()> {
    let (file, outside) = (desk.at("f0"), desk.aside("outside"));
    desk.forbidden(&[&file], || {
        fs::hard_link(&file, &outside)?;
        OpenOptions::new().append(true).open(&outside)?.write_all(b"through a name outside\n")
    })?;
    let (file, outside) = (desk.at("sub/s0"), desk.aside("outside-at"));
    desk.forbidden(&[&file], || {
        use rustix::fs::{AtFlags, CWD};
        rustix::fs::linkat(fs::File::open(file.parent().unwrap_or(&file))?, "s0", CWD, &outside, AtFlags::empty())?;
        fs::write(&outside, "through a name outside\n")
    })?;
    write(desk, "f1")
}

/// An ignored directory, in which one path is granted to `keeper` when `stray` has written there already.
pub(crate) fn granted(desk: &mut Desk) -> io::Result<()> {
    let granted = desk.root().join(GRANTED);
    if desk.is_in(FREE) {
        let dir = desk.at(IGNORED);
        for n in 0..3 {
            fs::create_dir_all(&dir)?;
            let path = dir.join(format!("n{n}"));
            desk.ignored(&[&path], &[], || fs::write(&path, "free to all\n"))?;
        }
        write_whole(&desk.signal("ready"), "")?;
        desk.signalled("granted")?;
        desk.signalled("kept")?;
        desk.content(&[&granted], || OpenOptions::new().append(true).open(&granted)?.write_all(b"not granted\n"))?;
        let staged = desk.staged("over")?;
        desk.content(&[&granted], || fs::rename(&staged, &granted))?;
        desk.left(&[&staged])?;
        let path = dir.join("after");
        desk.ignored(&[&path], &[], || fs::write(&path, "still free to all\n"))?;
        return Ok(());
    }
    if !desk.is_stray() {
        desk.signalled("granted")?;
        fs::create_dir_all(granted.parent().unwrap_or(&granted))?;
        desk.content(&[&granted], || fs::write(&granted, "granted\n"))?;
        write_whole(&desk.signal("kept"), "")?;
    }
    write(desk, "f0")
}

fn write(desk: &mut Desk, name: &str) -> io::Result<()> {
    let path = desk.at(name);
    desk.content(&[&path], || fs::write(&path, "written\n"))?;
    Ok(())
}
