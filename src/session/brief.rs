//! What an agent is told before its own prompt.
//!
//! Invariant: the text depends on the session alone, so `check --prompt` prints what is sent.

use std::fmt::Write as _;

use crate::core::claim::{Claim, Pattern};

/// The most patterns of one kind that the brief lists.
const MAX_LISTED: usize = 50;

/// The brief for agent `id`, called `name`, in session `session`.
pub(super) fn text(id: &str, name: &str, session: &str, claim: &Claim) -> String {
    let mut out = format!("You are agent `{id}`");
    if name != id {
        let _ = write!(out, " ({name})");
    }
    let _ = write!(
        out,
        " of the session \"{session}\". Other agents work in this same checkout at the same time; a supervisor decides \
         who may write what.\n\n"
    );
    let may = !claim.exclusive.is_empty() || !claim.late.is_empty();
    if may {
        out.push_str("You may change only these paths of the workspace:\n");
        list(&mut out, &claim.exclusive, "");
        list(&mut out, &claim.late, " (shared with others in turn: change it late and briefly)");
    } else {
        out.push_str("You have declared no files: do not change anything in the workspace.\n");
    }
    if !claim.shared.is_empty() {
        out.push_str("These stay unchanged while you run; read them, do not change them:\n");
        list(&mut out, &claim.shared, "");
    }
    if !claim.deny.is_empty() {
        out.push_str("Never change these, whatever else is said:\n");
        list(&mut out, &claim.deny, "");
    }
    out.push_str(
        "(A path without wildcards includes everything under it; `*` stays within a directory, `**` does not.)\n\n\
         - \"Permission denied\" on a write is a rule, not a fault: the path is not yours. Do not work around it.\n\
         - \"Device or resource busy\" means that somebody else has the file at this moment, or changed it since you read \
         it: read it again, then retry.\n\
         - An edit that fails without saying why may be either: read the file again and retry once.\n\
         - Do not commit, stash, switch branches or otherwise change git's state: the supervisor commits your work.\n\
         - Leave changes that you did not make alone, also where they look wrong.\n\
         - Leave no processes running when you end.\n\
         - If you cannot finish without a path that is not yours, end your final message with one line for each: \
         NEEDS: path: why\n",
    );
    out
}

fn list(out: &mut String, patterns: &[Pattern], note: &str) {
    for pattern in patterns.iter().take(MAX_LISTED) {
        let _ = writeln!(out, "  {}{note}", pattern.as_str());
    }
    if patterns.len() > MAX_LISTED {
        let _ = writeln!(out, "  … and {} more", patterns.len() - MAX_LISTED);
    }
}
