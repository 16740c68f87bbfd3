//! A line of a `.gitignore` and paths that it may mean, one a line: git's own answer against ours.

use std::fs;
use std::process::{Command, Stdio};

use supervise::core::path::RepoPath;
use supervise::host::git::ignore_line_matches;

/// The most paths that git is asked about at a time.
const MAX_PATHS: usize = 16;

thread_local! {
    static REPOSITORY: Option<tempfile::TempDir> = repository();
}

/// An empty one; `None`: there is no git here, and nothing to compare with.
fn repository() -> Option<tempfile::TempDir> {
    let directory = tempfile::tempdir().ok()?;
    let made = git(&directory).args(["init", "-q"]).status().ok()?;
    made.success().then_some(directory)
}

/// `git` that knows of no settings but the repository's.
fn git(directory: &tempfile::TempDir) -> Command {
    let mut git = Command::new("git");
    git.current_dir(directory.path()).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
    git.env_remove("GIT_DIR").env_remove("GIT_WORK_TREE").env_remove("GIT_INDEX_FILE");
    git
}

pub fn ignore(data: &[u8]) {
    let mut lines = data.split(|b| *b == b'\n');
    let line = lines.next().unwrap_or_default();
    // git's own files are no paths of the workspace.
    let ours = |path: &RepoPath| path.as_bytes().split(|b| *b == b'/').all(|part| !part.eq_ignore_ascii_case(b".git"));
    let paths: Vec<RepoPath> = lines.filter_map(|path| RepoPath::new(path).ok()).filter(ours).take(MAX_PATHS).collect();
    let answers: Vec<bool> = paths.iter().map(|path| ignore_line_matches(line, path)).collect();
    if line.first() == Some(&b'!') || paths.is_empty() {
        return;
    }
    REPOSITORY.with(|repository| {
        let Some(repository) = repository else { return };
        for (path, (ours, gits)) in paths.iter().zip(answers.iter().zip(asked(repository, line, &paths))) {
            assert_eq!(*ours, gits, "`{}` on {path:?}: ours, and git's", line.escape_ascii());
        }
    });
}

/// What `git check-ignore` says about paths of which nothing is there.
fn asked(repository: &tempfile::TempDir, line: &[u8], paths: &[RepoPath]) -> Vec<bool> {
    fs::write(repository.path().join(".gitignore"), [line, b"\n"].concat()).expect("there is room for a file");
    // From a file: git may end before it has read all, and a pipe without a reader ends the writer.
    let input = repository.path().join(".git/paths");
    fs::write(&input, paths.iter().flat_map(|path| [path.as_bytes(), b"\0"].concat()).collect::<Vec<u8>>())
        .expect("there is room for a file");
    let mut git = git(repository);
    git.args(["--literal-pathspecs", "check-ignore", "--no-index", "-z", "-v", "-n", "--stdin"]);
    let input = fs::File::open(&input).expect("it was just written");
    let output = git.stdin(input).stderr(Stdio::null()).output().expect("git runs");
    // Source, line, pattern and path of each; without a source nothing matches.
    let fields: Vec<&[u8]> = output.stdout.split(|b| *b == 0).collect();
    fields.chunks_exact(4).map(|of_path| !of_path[0].is_empty()).collect()
}
