//! Which session a command is about, which agents of it, and what it changes of its settings.
//!
//! Invariant: all commands that read a session take these in the same words.

use std::env;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use clap::{Args as _, FromArgMatches as _};

use super::Common;
use crate::session::{LoadOptions, Origin, base_dir, workspace_of};

/// The session file that is meant where none is named.
pub const DEFAULT_SESSION: &str = "supervise.toml";

/// The flags that choose agents and change settings.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct SelectArgs {
    /// Only these agents, and what they depend on; may be given several times
    #[arg(long, value_name = "ID|PATTERN|tag:T")]
    pub only: Vec<String>,
    /// All but these agents; may be given several times
    #[arg(long, value_name = "ID|PATTERN|tag:T")]
    pub skip: Vec<String>,
    /// Only the agents of this phase
    #[arg(long, value_name = "PHASE")]
    pub phase: Option<String>,
    /// Set a key of the session: `max_concurrent=2`, `agent.ID.timeout=5m`; may be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// At most N agents at once
    #[arg(short = 'j', value_name = "N")]
    pub jobs: Option<NonZeroU32>,
}

impl SelectArgs {
    /// What loading `bytes` from `origin` has to know.
    #[must_use]
    pub fn load_options(&self, common: &Common, origin: &Origin, bytes: &[u8]) -> LoadOptions {
        LoadOptions {
            base_dir: base_dir(origin),
            workspace: workspace(common, origin, bytes),
            sets: self.set.clone(),
            only: items(&self.only),
            named: Vec::new(),
            skip: items(&self.skip),
            phase: self.phase.clone(),
            jobs: self.jobs,
            allow_dirty: false,
        }
    }

    /// Its settings, with `-j N` as what it means: the last word on `max_concurrent`.
    pub(super) fn sets(&self) -> Vec<String> {
        self.set.iter().cloned().chain(self.jobs.map(|jobs| format!("max_concurrent={jobs}"))).collect()
    }

    /// As the words of a command line that mean the same, each an option with its value.
    pub(super) fn words(&self) -> Vec<String> {
        let list = |option: &str, values: &[String]| -> Vec<String> {
            values.iter().map(|value| format!("--{option}={value}")).collect()
        };
        let mut words = [list("only", &self.only), list("skip", &self.skip)].concat();
        words.extend(self.phase.iter().map(|phase| format!("--phase={phase}")));
        words.extend(list("set", &self.sets()));
        words
    }

    /// What such words mean.
    pub(super) fn of_words(words: &[String]) -> Result<Self, clap::Error> {
        let command = Self::augment_args(clap::Command::new("options").no_binary_name(true));
        Self::from_arg_matches(&command.try_get_matches_from(words)?)
    }

    /// Does it choose agents?
    pub(super) fn chooses(&self) -> bool {
        !self.only.is_empty() || !self.skip.is_empty() || self.phase.is_some()
    }
}

/// Where a SESSION argument points.
#[must_use]
pub fn origin(session: &Path) -> Origin {
    if session.as_os_str() == "-" { Origin::StandardInput } else { Origin::File(session.to_owned()) }
}

/// The workspace: `-C DIR`, else the session's own, else the current directory; the root of the
/// repository that it lies in, if it lies in one.
#[must_use]
pub fn workspace(common: &Common, origin: &Origin, bytes: &[u8]) -> PathBuf {
    let named = common.directory.clone().or_else(|| workspace_of(origin, bytes));
    let start = named.or_else(|| env::current_dir().ok()).unwrap_or_else(|| PathBuf::from("."));
    let start = start.canonicalize().unwrap_or(start);
    let root = start.ancestors().find(|dir| dir.join(".git").exists()).map(Path::to_path_buf);
    root.unwrap_or(start)
}

/// `a,b` is two items; a comma within braces separates nothing.
pub(super) fn items(args: &[String]) -> Vec<String> {
    let mut out = Vec::new();
    for arg in args {
        let mut depth = 0_usize;
        let mut start = 0;
        for (at, c) in arg.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth = depth.saturating_sub(1),
                ',' if depth == 0 => {
                    out.push(arg[start..at].trim().to_owned());
                    start = at + 1;
                }
                _ => {}
            }
        }
        out.push(arg[start..].trim().to_owned());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_separate_outside_of_braces() {
        let check = |args: &[&str], expected: &[&str]| {
            assert_eq!(items(&args.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>()), expected, "{args:?}");
        };
        check(&[], &[]);
        check(&["a", "b, tag:c"], &["a", "b", "tag:c"]);
        check(&["agent-{1,2}-*,x"], &["agent-{1,2}-*", "x"]);
        check(&["a,"], &["a", ""]);
    }

    #[test]
    fn options_become_words_and_options_again() {
        let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let args = SelectArgs {
            only: words(&["a,b", "-x"]),
            skip: words(&["tag:c"]),
            phase: Some("the first".to_owned()),
            set: words(&["agent.a.env={WHO=\"me\"}", "max_concurrent=2"]),
            jobs: NonZeroU32::new(3),
        };
        let read = SelectArgs::of_words(&args.words()).unwrap();
        assert_eq!((&read.only, &read.skip, &read.phase), (&args.only, &args.skip, &args.phase));
        assert_eq!(read.set, [&args.set[..], &words(&["max_concurrent=3"])[..]].concat());
        assert!(SelectArgs::default().words().is_empty());
        assert!(SelectArgs::of_words(&words(&["--of-a-later-version"])).is_err());
    }

    #[test]
    fn the_workspace_is_the_root_of_the_repository() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join(".git")).unwrap();
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        let common = Common { directory: Some(root.join("a/b")) };
        assert_eq!(workspace(&common, &Origin::StandardInput, b""), root);
        let session = Origin::File(root.join("a/s.toml"));
        assert_eq!(workspace(&Common::default(), &session, b"[session]\nworkspace = \"b\"\n"), root);
    }
}
