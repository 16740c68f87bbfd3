//! Every file in `examples/` and `sessions/` runs: as it is, with a scripted program in the place of
//! `codex` that writes one file of each of its agent's claims.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{Ended, TestRepo};

/// Stands in for codex: says what codex says, and appends to the files that a table gives its agent.
const FAKE_CODEX: &str = r#"#!/bin/sh
[ "$1" = --version ] && { echo "codex-cli 0.169.0"; exit 0; }
echo '{"type":"thread.started","thread_id":"t-1"}'
while read -r id path; do
  if [ "$id" = "$SUPERVISE_ID" ]; then
    mkdir -p "$(dirname "$path")"
    echo "by $id" >> "$path"
  fi
done < "$FAKE_TABLE"
echo '{"type":"item.completed","item":{"id":"i","type":"agent_message","text":"Did it."}}'
echo '{"type":"turn.completed","usage":{"input_tokens":100,"cached_input_tokens":0,"output_tokens":7}}'
"#;

fn run_file(file: &Path) {
    let repo = TestRepo::with(&[
        ("src/lib.txt", "code\n"),
        ("packages/one/x", "1\n"),
        ("packages/two/x", "2\n"),
        ("out/keep", "\n"),
        ("services/backend/Database/Models/hop.py", "class Hop: ...\n"),
    ]);
    let bin = repo.tmp().join("bin");
    fs::create_dir(&bin).unwrap();
    crate::support::executable(&bin.join("codex"), FAKE_CODEX);
    let path = std::env::join_paths(
        std::iter::once(bin).chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    )
    .unwrap();

    let check = repo.supervise().args(["check", "--format", "json"]).arg(file).env("PATH", &path).output().unwrap();
    let check = Ended::of(&check).expect(0).json();
    assert_eq!(check["valid"], true, "{}", file.display());
    let order: Vec<_> = check["order"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()).collect();
    assert!(!order.is_empty());

    let table: Vec<String> = claims(&repo, file, &path).iter().map(|(id, path)| format!("{id} {path}\n")).collect();
    let table_file = repo.tmp().join("table");
    fs::write(&table_file, table.concat()).unwrap();
    let mut command = repo.supervise();
    command.args(["run", "--format", "json"]).arg(file).env("PATH", &path).env("FAKE_TABLE", &table_file);
    let ended = Ended::of(&command.output().unwrap()).expect(0);
    for id in &order {
        let agent = ended.agent(id);
        assert_eq!(agent["state"], "COMPLETED", "{}: {agent:#}", file.display());
        assert!(agent["commit"].is_string(), "{}: {id} changed nothing", file.display());
    }
    assert_eq!(ended.json()["unattributed"], serde_json::json!([]), "{}", file.display());
    assert_eq!(repo.subjects().len(), order.len());
    assert_eq!(repo.status(), "");
    repo.assert_no_survivors();
}

/// For each agent a path that its first claim matches, from the session as `check --resolved` prints it.
fn claims(repo: &TestRepo, file: &Path, path: &std::ffi::OsStr) -> Vec<(String, String)> {
    let resolved = repo.supervise().args(["check", "--resolved"]).arg(file).env("PATH", path).output().unwrap();
    let resolved = Ended::of(&resolved).expect(0).stdout;
    let table: toml::Table = resolved.parse().unwrap_or_else(|e| panic!("{e}\n{resolved}"));
    let agents = table["agent"].as_array().unwrap();
    agents
        .iter()
        .filter_map(|agent| {
            let pattern = agent.get("files")?.as_array()?.first()?.as_str()?;
            let pattern = supervise::core::claim::Pattern::new(pattern).unwrap();
            let example = pattern.overlap(&pattern)?;
            Some((agent["id"].as_str()?.to_owned(), example.to_string()))
        })
        .collect()
}

#[test]
fn every_example_runs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<PathBuf> = ["examples", "sessions"]
        .iter()
        .flat_map(|dir| fs::read_dir(root.join(dir)).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .collect();
    files.sort();
    assert!(files.len() >= 7, "{files:?}");
    for file in files {
        run_file(&file);
    }
}
