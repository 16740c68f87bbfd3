//! The work of attempts that did not complete, as git keeps it: finding it, comparing it, dropping it.
//!
//! Invariant: nothing here changes the branch, the index or the working tree, and a reference is
//! dropped only while it holds what it was seen to hold.
//!
//! Deliberately absent: why an attempt ended (its run's journal tells); putting work into the tree
//! (`apply`).

use std::ffi::OsString;
use std::fs::{self, File};

use crate::core::change::{Change, Entry, ObjectId};
use crate::core::ids::{AgentId, Attempt, AttemptId, RunId};
use crate::core::path::RepoPath;

use super::Repository;
use super::error::GitError;
use super::objects::CommitInfo;
use super::trees::Trees;

/// Where all of it is; beneath are `RUN/AGENT/ATTEMPT` and `RUN/AGENT/ATTEMPT.checkpoint`.
const PREFIX: &str = "refs/supervise/attempts/";

/// A reference that keeps an attempt's work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptRef {
    pub name: String,
    pub commit: ObjectId,
    pub run: RunId,
    pub id: AttemptId,
    /// Taken while the attempt ran, not at its end.
    pub checkpoint: bool,
    /// When the commit was made, in seconds since 1970.
    pub made: i64,
}

/// What is compared: two trees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patch {
    pub old: ObjectId,
    pub new: ObjectId,
}

impl Patch {
    /// How `diff-tree --stdin` takes it, and begins its answer.
    fn head(&self) -> String {
        format!("{} {}\n", self.old, self.new)
    }
}

/// A path of a [`Patch`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatchPath {
    pub path: RepoPath,
    pub before: Option<Entry>,
    pub after: Option<Entry>,
    /// Lines added and removed; `None`: no text.
    pub lines: Option<(u64, u64)>,
}

/// How a [`Patch`] is written by git.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchForm {
    /// Every line.
    Whole,
    /// A line a file, in so many columns.
    Stat { width: usize },
}

impl Repository {
    /// All references that keep work, by run, agent and attempt. Names that are not ours are passed over.
    pub fn kept_work(&self) -> Result<Vec<KeptRef>, GitError> {
        let mut kept = Vec::new();
        for (name, commit) in self.objects.references(PREFIX)? {
            let Some((run, id, checkpoint)) = parse(&name) else { continue };
            // One that is damaged keeps nothing that could be shown.
            let Ok(info) = self.objects.read_commit(&commit) else { continue };
            kept.push(KeptRef { name, commit, run, id, checkpoint, made: seconds(&info) });
        }
        kept.sort_by(|a, b| (&a.run, &a.id, a.checkpoint).cmp(&(&b.run, &b.id, b.checkpoint)));
        Ok(kept)
    }

    /// Lets go of a reference; false: it is gone, or holds something else now.
    pub fn drop_kept(&self, kept: &KeptRef) -> Result<bool, GitError> {
        if self.objects.read_reference(&kept.name)? != Some(kept.commit) {
            return Ok(false);
        }
        self.objects.delete_reference(&kept.name)?;
        // Directories of loose references stay behind; those go that are empty.
        let mut dir = kept.name.as_str();
        while let Some((above, _)) = dir.rsplit_once('/').filter(|(above, _)| above.len() >= PREFIX.len()) {
            if fs::remove_dir(self.common_dir.join(above)).is_err() {
                break;
            }
            dir = above;
        }
        Ok(true)
    }

    /// What a commit changed against its parent.
    pub fn patch_of(&self, commit: &ObjectId) -> Result<Patch, GitError> {
        let info = self.objects.read_commit(commit)?;
        let old = match self.tree_of(info.parent.as_ref())? {
            Some(tree) => tree,
            None => self.objects.write_tree(&[])?,
        };
        Ok(Patch { old, new: info.tree })
    }

    /// What these changes are on top of HEAD, as a comparison of two trees.
    pub fn patch_between(&self, changes: &[Change]) -> Result<Patch, GitError> {
        let head = self.tree_of(self.head()?.commit.as_ref())?;
        let mut trees = Trees::new(&self.objects);
        let mut side = |pick: fn(&Change) -> Option<Entry>| {
            let edits: Vec<_> = changes.iter().map(|change| (change.path.clone(), pick(change))).collect();
            match trees.edit(head.as_ref(), &edits)? {
                Some(tree) => Ok(tree),
                None => self.objects.write_tree(&[]),
            }
        };
        Ok(Patch { old: side(|change| change.before)?, new: side(|change| change.after)? })
    }

    /// The paths of each patch, with the lines that were added and removed. One process for all.
    pub fn patch_paths(&self, patches: &[Patch]) -> Result<Vec<Vec<PatchPath>>, GitError> {
        if patches.is_empty() {
            return Ok(Vec::new());
        }
        let input: Vec<u8> = patches.iter().flat_map(|patch| patch.head().into_bytes()).collect();
        let args = ["diff-tree", "--stdin", "-r", "-z", "--numstat", "--no-renames"];
        let out = self.objects.git.run(&args, &input)?;
        let mut counts = Counts(&out);
        let mut trees = Trees::new(&self.objects);
        let mut all = Vec::with_capacity(patches.len());
        for patch in patches {
            let steps = trees.diff(Some(&patch.old), Some(&patch.new))?;
            let counted = counts.next(patch);
            let path = |(path, before, after): (RepoPath, Option<Entry>, Option<Entry>)| {
                let lines = counted.iter().find(|(name, _)| *name == path.as_bytes()).and_then(|(_, lines)| *lines);
                PatchPath { path, before, after, lines }
            };
            all.push(steps.into_iter().map(path).collect());
        }
        Ok(all)
    }

    /// Has git write the patch into `out`.
    pub fn write_patch(&self, patch: &Patch, form: PatchForm, colour: bool, out: &File) -> Result<(), GitError> {
        let mut args: Vec<OsString> = ["diff", "--no-ext-diff", "--no-textconv"].map(OsString::from).to_vec();
        args.push(if colour { "--color=always" } else { "--color=never" }.into());
        match form {
            PatchForm::Whole => args.push("--binary".into()),
            PatchForm::Stat { width } => args.push(format!("--stat={width}").into()),
        }
        args.extend([patch.old.to_string().into(), patch.new.to_string().into(), "--".into()]);
        self.objects.git.run_into(&args, out)
    }
}

/// What `diff-tree --stdin -z --numstat` says: for each patch a line with its two trees, then
/// `added<TAB>removed<TAB>path` with a NUL after each.
struct Counts<'o>(&'o [u8]);

type Counted<'o> = (&'o [u8], Option<(u64, u64)>);

impl<'o> Counts<'o> {
    fn next(&mut self, patch: &Patch) -> Vec<Counted<'o>> {
        let Some(rest) = self.0.strip_prefix(patch.head().as_bytes()) else { return Vec::new() };
        self.0 = rest;
        let mut counted = Vec::new();
        while let Some((one, rest)) = Self::one(self.0) {
            self.0 = rest;
            counted.push(one);
        }
        counted
    }

    /// The head of the next patch has no tab.
    fn one(text: &'o [u8]) -> Option<(Counted<'o>, &'o [u8])> {
        let end = text.iter().position(|byte| *byte == 0)?;
        let mut parts = text[..end].splitn(3, |byte| *byte == b'\t');
        let (added, removed, path) = (parts.next()?, parts.next()?, parts.next()?);
        let number = |field: &[u8]| std::str::from_utf8(field).ok()?.parse::<u64>().ok();
        if added.len() > 20 {
            return None;
        }
        Some(((path, number(added).zip(number(removed))), &text[end + 1..]))
    }
}

/// Run, attempt, and whether it is a checkpoint.
fn parse(name: &str) -> Option<(RunId, AttemptId, bool)> {
    let mut parts = name.strip_prefix(PREFIX)?.split('/');
    let (run, agent, last) = (parts.next()?, parts.next()?, parts.next()?);
    let (number, checkpoint) = last.strip_suffix(".checkpoint").map_or((last, false), |number| (number, true));
    let attempt = Attempt(number.parse().ok()?);
    let id = AttemptId { agent: AgentId::new(agent).ok()?, attempt };
    parts.next().is_none().then_some((RunId::new(run)?, id, checkpoint))
}

fn seconds(info: &CommitInfo) -> i64 {
    let date = info.author.rsplit_once("> ").map_or("", |(_, date)| date);
    date.split(' ').next().and_then(|seconds| seconds.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_lines_belong_to_their_patch() {
        let id = |digit: &str| ObjectId::from_hex(&digit.repeat(40)).unwrap();
        let (one, none, two) = (
            Patch { old: id("1"), new: id("2") },
            Patch { old: id("3"), new: id("3") },
            Patch { old: id("2"), new: id("1") },
        );
        let head = Patch::head;
        let (first, second) = ("1\t0\ta\tb\n\0-\t-\tc\0", "0\t12\ta\0");
        let text = format!("{}{first}{}{}{second}", head(&one), head(&none), head(&two));
        let mut counts = Counts(text.as_bytes());
        assert_eq!(counts.next(&one), [(&b"a\tb\n"[..], Some((1, 0))), (b"c", None)]);
        assert_eq!(counts.next(&none), []);
        assert_eq!(counts.next(&two), [(&b"a"[..], Some((0, 12)))]);
    }

    #[test]
    fn names_of_kept_work_are_read() {
        let check = |name: &str, expected: Option<(&str, &str, u32, bool)>| {
            let found = parse(name).map(|(run, id, checkpoint)| (run, id.agent, id.attempt.0, checkpoint));
            let found =
                found.as_ref().map(|(run, agent, n, checkpoint)| (run.as_str(), agent.as_str(), *n, *checkpoint));
            assert_eq!(found, expected, "{name}");
        };
        check("refs/supervise/attempts/r-1/a.b/2", Some(("r-1", "a.b", 2, false)));
        check("refs/supervise/attempts/r-1/a/12.checkpoint", Some(("r-1", "a", 12, true)));
        check("refs/supervise/attempts/r-1/a", None);
        check("refs/supervise/attempts/r-1/a/x", None);
        check("refs/supervise/attempts/r-1/a/1/2", None);
        check("refs/heads/main", None);
    }
}
