//! What shells are told while somebody types, and the manual pages.

use std::fs;
use std::path::Path;

use super::support::TestRepo;
use super::{Ended, scripted, supervise};

fn session() -> String {
    scripted("api", "[\"api\"]", "echo 1 > api; exit 3", "phase = \"code\"")
        + &scripted("docs", "[\"docs\"]", "echo 1 > docs", "phase = \"text\"\nname = \"The docs\"")
        + "[[phase]]\nname = \"code\"\non_failure = \"continue\"\n[[phase]]\nname = \"text\"\n"
}

/// What is offered at the end of the line, in the order of the shell.
fn offered(repo: &TestRepo, directory: &Path, line: &[&str]) -> Vec<String> {
    let mut command = repo.supervise();
    command.current_dir(directory).env("SUPERVISE_COMPLETE", "fish").arg("--").arg("supervise").args(line);
    let told = Ended::of(&command.output().unwrap()).expect(0);
    assert_eq!(told.stderr, "");
    told.stdout.lines().filter(|line| !line.starts_with('-')).map(str::to_owned).collect()
}

#[test]
fn agents_runs_work_and_phases_are_offered() {
    let repo = TestRepo::new();
    let at = |line: &[&str]| offered(&repo, &repo.path(), line);
    assert_eq!(at(&["sal"]), ["salvage\tLook at, take or drop the kept work of attempts that did not complete"]);
    assert!(at(&["status", ""]).is_empty() && at(&["salvage", "drop", ""]).is_empty(), "there is nothing yet");
    // Before a run, of the session file.
    fs::write(repo.path().join("supervise.toml"), session()).unwrap();
    assert_eq!(at(&["status", ""]), ["api", "docs\tThe docs"]);
    assert_eq!(at(&["run", "--only", "d"]), ["docs\tThe docs"]);
    assert_eq!(at(&["run", "--phase", ""]), ["code", "text"]);
    let elsewhere = repo.tmp().join("other.toml");
    fs::write(&elsewhere, scripted("other", "[\"x\"]", "true", "")).unwrap();
    assert_eq!(at(&["run", &elsewhere.display().to_string(), "--only", ""]), ["other"]);
    fs::remove_file(repo.path().join("supervise.toml")).unwrap();

    repo.run(&session(), &[]).expect(1);
    let run = fs::read_to_string(repo.path().join(".git/supervise/current")).unwrap();
    let expected = ["api\tFAILED", "docs\tCOMPLETED"];
    for line in [&["status", ""][..], &["logs", ""], &["diff", "--id", ""], &["resolve", "--keep", ""]] {
        assert_eq!(at(line), expected, "{line:?}");
    }
    assert_eq!(at(&["list", "--run", ""]), [run.trim()]);
    assert_eq!(at(&["complete", "--phase", ""]), ["code\tFAILED", "text\tCOMPLETED"]);
    assert_eq!(at(&["resume", "--run", ""]), [run.trim()]);
    assert_eq!(at(&["salvage", "apply", ""]), [format!("api/1\t{}", run.trim())]);
    // From outside of the repository, and where nothing can be read.
    let there = repo.path().display().to_string();
    assert_eq!(offered(&repo, &repo.tmp(), &["-C", &there, "status", ""]), expected);
    assert!(offered(&repo, Path::new("/"), &["status", ""]).is_empty());
}

#[test]
fn bash_completes_by_the_printed_script() {
    let repo = TestRepo::new();
    repo.run(&session(), &[]).expect(1);
    let script = r#"source <("$0" completions bash)
        COMP_WORDS=("$0" status ap) COMP_CWORD=2 COMP_TYPE=9
        _clap_complete_supervise "$0" ap status 2>/dev/null
        echo "<${COMPREPLY[*]}>""#;
    let mut command = repo.command("bash");
    command.args(["-c", script, env!("CARGO_BIN_EXE_supervise")]);
    let told = Ended::of(&command.output().unwrap()).expect(0);
    assert_eq!(told.stdout.trim().replace(' ', ""), "<api>", "{}", told.stderr);
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        let script = supervise(&repo, &["completions", shell]).expect(0).stdout;
        assert!(script.contains("SUPERVISE_COMPLETE") && script.contains(env!("CARGO_BIN_EXE_supervise")), "{script}");
    }
    supervise(&repo, &["completions", "tcsh"]).expect(2);
}

#[test]
fn every_command_has_a_manual_page() {
    let repo = TestRepo::new();
    let dir = repo.tmp().join("share/man1");
    let told = supervise(&repo, &["man", &dir.display().to_string()]).expect(0).stdout;
    let pages: Vec<String> =
        fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(told, format!("{} pages in {}\n", pages.len(), dir.display()));
    for page in ["supervise.1", "supervise-run.1", "supervise-salvage-apply.1", "supervise-runs-prune.1"] {
        assert!(pages.iter().any(|found| found == page), "{page}: {pages:?}");
    }
    let run = fs::read_to_string(dir.join("supervise-run.1")).unwrap();
    assert!(run.contains(".TH supervise-run 1") && run.contains("Exit codes:"), "{run}");
    let notes = run.split_once(".SH NOTES\n.nf\n").unwrap().1.split_once("\n.fi\n").unwrap().0;
    assert!(notes.starts_with("Examples:") && notes.contains("4  nothing was selected"), "as it is written: {run}");
    let first = supervise(&repo, &["man"]).expect(0).stdout;
    assert_eq!(first, fs::read_to_string(dir.join("supervise.1")).unwrap());
    let refused = supervise(&repo, &["man", "/proc/man"]).expect(3);
    assert!(refused.stderr.contains("cannot write /proc/man"), "{}", refused.stderr);
}
