//! The workspace before a scenario begins: the files of every area, and, where a scenario asks for it, rules of
//! what git ignores with a user's own directories beside what they name.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::desk::FREE;

/// The rules of the workspace. Where there are any, `stray` declared this file.
pub(crate) const RULES: &str = ".gitignore";
/// The name of the directories that they ignore, wherever one lies.
pub(crate) const IGNORED: &str = "logs";
/// What `keeper` is granted while the run goes on, in an ignored directory.
pub(crate) const GRANTED: &str = "free/logs/granted";
/// Directories of the user that git neither has nor ignores. The first look like the ignored one in the making.
pub(crate) const USERS: [&str; 5] = ["logs2024Q1", "logs2024Q2", "logs2024Q3", "notes", "drafts"];

/// Does git ignore it?
pub(crate) fn is_never_committed(path: &str) -> bool {
    path.split('/').any(|name| name == IGNORED)
}

/// Is it free to everybody? What is granted of it is not.
pub(crate) fn is_ignored(path: &str) -> bool {
    path != GRANTED && is_never_committed(path)
}

/// The files that every area has before a scenario begins, with what is in them.
pub(crate) fn fixtures() -> Vec<(String, String)> {
    let top = (0..10).map(|n| format!("f{n}"));
    let below = ["sub", "sub2", "sub3"].into_iter().flat_map(|d| ["s0", "s1", "deep/s2"].map(|f| format!("{d}/{f}")));
    top.chain(below).map(|name| (name.clone(), format!("{name}: a line that was there before\n").repeat(8))).collect()
}

/// Makes an area of the workspace.
pub(crate) fn furnish(root: &Path, area: &str) -> io::Result<()> {
    for (name, text) in fixtures() {
        let path = root.join(area).join(name);
        fs::create_dir_all(path.parent().unwrap_or(root))?;
        fs::write(&path, format!("{area}/{text}"))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
    }
    Ok(())
}

/// Writes the rules.
pub(crate) fn rule(root: &Path) -> io::Result<()> {
    fs::write(root.join(RULES), format!("{IGNORED}/\n"))
}

/// Makes what the user has and git does not.
pub(crate) fn occupy(root: &Path) -> io::Result<()> {
    USERS.iter().map(|name| root.join(FREE).join(name)).try_for_each(|dir| {
        fs::create_dir_all(&dir)?;
        fs::write(dir.join("mine"), "the user's alone\n")
    })
}
