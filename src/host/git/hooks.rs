//! `git_hooks = "run"`: the hooks of a commit, in a throwaway worktree, before it is placed.
//!
//! They see what `git commit` would show them: HEAD is the parent, index and files are the commit.
//! A hook that fails or changes something refuses the commit. They run here and not through the
//! launcher of agents: one at a time, in a process group of their own, killed when their time is up.

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::core::change::ObjectId;
use crate::core::event::PlaceRefusal;

use super::Repository;
use super::command::{clean, run};
use super::error::GitError;

/// The longest that one hook may take.
const LIMIT: Duration = Duration::from_secs(300);

enum Verdict {
    Good,
    Refused(String),
}

impl Repository {
    pub(super) fn check_hooks(&mut self, commit: &ObjectId) -> Result<(), PlaceRefusal> {
        match self.try_hooks(commit) {
            Ok(Verdict::Good) => Ok(()),
            Ok(Verdict::Refused(error)) => Err(PlaceRefusal::Hook { error }),
            Err(e) => Err(PlaceRefusal::Git { error: e.to_string() }),
        }
    }

    fn try_hooks(&mut self, commit: &ObjectId) -> Result<Verdict, GitError> {
        let dir = self.hooks_dir();
        let hooks = self.facts()?.hooks;
        let wanted: Vec<&str> =
            ["pre-commit", "commit-msg"].into_iter().filter(|h| hooks.iter().any(|k| k == h)).collect();
        if wanted.is_empty() {
            return Ok(Verdict::Good);
        }
        let info = self.objects.read_commit(commit)?;
        let scratch = self.worktree_of(commit)?;
        let git = self.objects.git.at(scratch.path());
        if let Some(parent) = info.parent {
            // HEAD becomes the parent; index and files stay the commit's.
            git.run(&["reset", "--quiet", "--soft", &parent.to_string()], b"")?;
        }
        let git_dir = git.line(&["rev-parse", "--absolute-git-dir"])?;
        let message = std::path::PathBuf::from(&git_dir).join("COMMIT_EDITMSG");
        fs::write(&message, &info.message).map_err(GitError::io("writing the message for hooks"))?;
        for hook in wanted {
            let mut command = Command::new(dir.join(hook));
            clean(&mut command);
            command.current_dir(scratch.path()).env("GIT_DIR", &git_dir).env("GIT_EDITOR", ":");
            command
                .env("GIT_WORK_TREE", scratch.path())
                .env("GIT_INDEX_FILE", std::path::Path::new(&git_dir).join("index"));
            command.env_remove("GIT_LITERAL_PATHSPECS");
            if hook == "commit-msg" {
                command.arg(&message);
            }
            let output = run(command, b"", LIMIT).map_err(GitError::io(format!("running the hook {hook}")))?;
            if !output.status.is_some_and(|s| s.success()) {
                return Ok(Verdict::Refused(format!("{hook}: {}", output.tail())));
            }
            let tree = git.line(&["write-tree"])?;
            let status = git.run(&["status", "--porcelain", "--untracked-files=all", "-z"], b"")?;
            let only_staged =
                status.split(|b| *b == 0).filter(|e| e.len() > 2).all(|e| e[1] == b' ' || e[0] == b' ' && e[1] == b' ');
            if tree.to_string_lossy() != info.tree.to_string() || !only_staged {
                return Ok(Verdict::Refused(format!("{hook} changed files")));
            }
        }
        let after = fs::read(&message).map_err(GitError::io("reading the message after hooks"))?;
        if after != info.message {
            return Ok(Verdict::Refused("commit-msg changed the message".to_owned()));
        }
        Ok(Verdict::Good)
    }
}
