//! From what a call would do to the paths that it concerns, and what is there.
//!
//! Invariant: a call that is seen to fail (a new name that is taken, an open of nothing, a directory
//! opened for writing) concerns nothing: nobody has to decide, and nothing is counted. Where it would
//! succeed if another took the name away, or made it, at that moment, it is failed here and not by the
//! kernel. What cannot be seen from the names (permissions, quotas) is counted although it fails.
//! Deliberately absent: whether a path may be changed (`decide`).

use nix::libc;

use super::call::{Act, Opening, Renaming, Subject};
use super::resolve::{Place, Resolved, Unresolved, Workspace};
use crate::core::call::{RefusalReason, Tally, There, Touch};
use crate::core::path::RepoPath;

/// The most paths beneath a directory that one rename is judged by.
pub(super) const MAX_BENEATH: usize = 20_000;

/// One path that a call concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sighting {
    pub(super) place: Place,
    pub(super) touch: Touch,
    pub(super) there: There,
    /// What the watch will see of it.
    pub(super) tally: Tally,
    /// Whether content is changed, and not only what is known of the file.
    pub(super) content: bool,
}

/// Why it is not known what a call concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Blind {
    pub(super) why: RefusalReason,
    pub(super) touch: Touch,
}

/// Why a call has its answer before anybody is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    Blind(Blind),
    /// As seen, it fails with this error number. Let go on, it would be judged by nobody if what is
    /// there changes before the kernel looks: so git got a lock whose owner let go at that moment.
    Fails(i32),
}

impl From<Blind> for Settled {
    fn from(blind: Blind) -> Self {
        Self::Blind(blind)
    }
}

/// All that the call concerns, in the order of its arguments; nothing: let it go on.
pub(super) fn look(workspace: &mut Workspace, tid: u32, act: &Act) -> Result<Vec<Sighting>, Settled> {
    let mut eye = Eye { workspace, tid };
    match act {
        Act::Nothing => Ok(Vec::new()),
        Act::Open { at, how } => eye.open(at, *how),
        Act::New { at, touch } => eye.make(at, *touch),
        Act::Remove { at, directory } => eye.remove(at, *directory),
        Act::Rename { old, new, mode } => eye.rename(old, new, *mode),
        Act::Link { old, new } => eye.link(old, new),
        Act::Change { at, content } => eye.change(at, *content),
    }
}

/// What a look at a subject gave; `None`: the kernel cannot get there.
type Seen = Option<Resolved>;

struct Eye<'a> {
    workspace: &'a mut Workspace,
    tid: u32,
}

impl Eye<'_> {
    fn at(&mut self, subject: &Subject, touch: Touch) -> Result<Seen, Blind> {
        let found = match subject {
            Subject::Path { base, path, last } => self.workspace.resolve(self.tid, *base, path, *last),
            Subject::Descriptor(descriptor) => self.workspace.resolve_fd(self.tid, *descriptor),
        };
        match found {
            Ok(resolved) => Ok(Some(resolved)),
            Err(Unresolved::Missing) => Ok(None),
            Err(_) => Err(Blind { why: RefusalReason::Unresolved, touch }),
        }
    }

    fn open(&mut self, at: &Subject, how: Opening) -> Result<Vec<Sighting>, Settled> {
        let Some(seen) = self.at(at, Touch::Open)? else { return Ok(Vec::new()) };
        match seen.there {
            There::Nothing if !how.creates => return fails(&seen, libc::ENOENT),
            There::File if how.exclusive => return fails(&seen, libc::EEXIST),
            _ => {}
        }
        let futile = match seen.there {
            There::Directory => true,
            There::Nothing | There::File => how.directory,
        };
        let makes = seen.there == There::Nothing;
        if futile || !(makes || how.writes || how.truncates) {
            return Ok(Vec::new());
        }
        let tally = Tally { closes: u32::from(how.writes), creates: u32::from(makes), ..Tally::default() };
        Ok(vec![Sighting { tally, ..sighting(seen, Touch::Open) }])
    }

    fn make(&mut self, at: &Subject, touch: Touch) -> Result<Vec<Sighting>, Settled> {
        let Some(seen) = self.at(at, touch)? else { return Ok(Vec::new()) };
        if seen.there == There::Nothing {
            return Ok(vec![sighting(seen, touch)]);
        }
        // A socket that is bound to a name that is taken gets another error.
        if touch == Touch::MakeDirectory || seen.place == Place::Git {
            return fails(&seen, libc::EEXIST);
        }
        Ok(Vec::new())
    }

    fn remove(&mut self, at: &Subject, directory: bool) -> Result<Vec<Sighting>, Settled> {
        let touch = if directory { Touch::RemoveDirectory } else { Touch::Remove };
        let Some(seen) = self.at(at, touch)? else { return Ok(Vec::new()) };
        if seen.there == There::Nothing {
            return fails(&seen, libc::ENOENT);
        }
        let works = match (seen.there, directory) {
            (There::File, false) => true,
            // Most such calls try whether the directory is empty by now.
            (There::Directory, true) => self.is_empty(at),
            _ => false,
        };
        Ok(if works { vec![sighting(seen, touch)] } else { Vec::new() })
    }

    fn is_empty(&mut self, directory: &Subject) -> bool {
        let Subject::Path { base, path, .. } = directory else { return true };
        // What cannot be listed counts as empty, so that it is judged.
        match self.workspace.beneath(self.tid, *base, path, 1) {
            Ok(entries) => entries.is_empty(),
            Err(Unresolved::TooLarge) => false,
            Err(_) => true,
        }
    }

    fn rename(&mut self, old: &Subject, new: &Subject, mode: Renaming) -> Result<Vec<Sighting>, Settled> {
        let Some(from) = self.at(old, Touch::MoveOut)? else { return Ok(Vec::new()) };
        let Some(to) = self.at(new, Touch::MoveIn)? else { return Ok(Vec::new()) };
        let ours = if concerns(&from) { &from } else { &to };
        let futile = match (from.there, to.there, mode) {
            (There::Nothing, _, _) | (_, There::Nothing, Renaming::Exchange) => return fails(ours, libc::ENOENT),
            (_, There::Nothing, _) | (_, _, Renaming::Exchange) => false,
            (_, _, Renaming::Fresh) => return fails(ours, libc::EEXIST),
            (old, new, Renaming::Replace) => old != new,
        };
        // Two names of one file: nothing is done, or (for an exchange) nothing is seen.
        let same = from.identity.is_some() && from.identity == to.identity;
        if futile || same || !(concerns(&from) || concerns(&to)) {
            return Ok(Vec::new());
        }
        let mut all = Vec::new();
        self.moved(old, &from, &to, &mut all)?;
        if mode == Renaming::Exchange {
            self.moved(new, &to, &from, &mut all)?;
        }
        Ok(all)
    }

    /// What is at `from` gets the name `to`; of a directory, all that is beneath it.
    fn moved(
        &mut self,
        subject: &Subject,
        from: &Resolved,
        to: &Resolved,
        all: &mut Vec<Sighting>,
    ) -> Result<(), Blind> {
        for (seen, touch) in [(from, Touch::MoveOut), (to, Touch::MoveIn)] {
            let tally = Tally::of(touch, seen.there);
            all.push(Sighting { touch: of_kind(touch, from.there), tally, ..sighting(seen.clone(), touch) });
        }
        let (There::Directory, Subject::Path { base, path, .. }) = (from.there, subject) else { return Ok(()) };
        let entries = self.workspace.beneath(self.tid, *base, path, MAX_BENEATH).map_err(|error| Blind {
            why: if matches!(error, Unresolved::TooLarge) {
                RefusalReason::TooLarge
            } else {
                RefusalReason::Unresolved
            },
            touch: Touch::MoveOut,
        })?;
        // The watch sees the directory alone.
        let quiet = Tally::default();
        for (name, kind) in entries {
            for (top, touch, there) in [(from, Touch::MoveOut, kind), (to, Touch::MoveIn, There::Nothing)] {
                if let Some(place) = below(&top.place, &name) {
                    let touch = of_kind(touch, kind);
                    all.push(Sighting { place, touch, there, tally: quiet, content: true });
                }
            }
        }
        Ok(())
    }

    fn link(&mut self, old: &Subject, new: &Subject) -> Result<Vec<Sighting>, Settled> {
        let Some(from) = self.at(old, Touch::Alias)? else { return Ok(Vec::new()) };
        let Some(to) = self.at(new, Touch::Make)? else { return Ok(Vec::new()) };
        // A file without a name may be seen as nothing.
        let nameless = from.place == Place::Nameless;
        if !(from.there == There::File || nameless) {
            return Ok(Vec::new());
        }
        if to.there != There::Nothing {
            return fails(&to, libc::EEXIST);
        }
        // No rule would match what is written through that name. Tools that are told so make a copy.
        if concerns(&from) && to.place == Place::Outside {
            return fails(&from, libc::EXDEV);
        }
        Ok(vec![Sighting { content: false, ..sighting(from, Touch::Alias) }, sighting(to, Touch::Make)])
    }

    fn change(&mut self, at: &Subject, content: bool) -> Result<Vec<Sighting>, Settled> {
        let Some(seen) = self.at(at, Touch::Change)? else { return Ok(Vec::new()) };
        let works = seen.there == There::File || (seen.there == There::Directory && !content);
        Ok(if works { vec![Sighting { content, ..sighting(seen, Touch::Change) }] } else { Vec::new() })
    }
}

/// What a rename does to a name. A directory has no content of its own: with what is beneath it judged
/// by itself, its old name goes away as by rmdir(2), and its new one comes as by mkdir(2).
fn of_kind(touch: Touch, moved: There) -> Touch {
    match (touch, moved) {
        (Touch::MoveOut, There::Directory) => Touch::RemoveDirectory,
        (Touch::MoveIn, There::Directory) => Touch::MakeDirectory,
        (touch, _) => touch,
    }
}

fn sighting(seen: Resolved, touch: Touch) -> Sighting {
    let tally = Tally::of(touch, seen.there);
    Sighting { place: seen.place, touch, there: seen.there, tally, content: true }
}

/// The call fails with this error number, if it is for the gate to say.
fn fails(seen: &Resolved, errno: i32) -> Result<Vec<Sighting>, Settled> {
    if concerns(seen) { Err(Settled::Fails(errno)) } else { Ok(Vec::new()) }
}

fn concerns(seen: &Resolved) -> bool {
    !matches!(seen.place, Place::Outside | Place::Nameless)
}

/// A path beneath one that was resolved; `None`: outside, where nothing needs a verdict.
fn below(top: &Place, name: &[u8]) -> Option<Place> {
    match top {
        Place::Inside(path) => {
            let joined = [path.as_bytes(), b"/", name].concat();
            RepoPath::new(&joined).ok().map(Place::Inside)
        }
        Place::Git => Some(Place::Git),
        Place::Root | Place::Outside | Place::Nameless => None,
    }
}
