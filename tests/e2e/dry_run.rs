//! `run --dry-run`: the run as it would unfold, and nothing happens.

use crate::support::TestRepo;

const SESSION: &str = r#"
[session]
name = "plan"
max_concurrent = 2
branch = "agents/plan"
[[phase]]
name = "build"
[[phase]]
name = "write"
[[agent]]
id = "api"
phase = "build"
priority = 1
command = ["sh", "-c", "echo x > a"]
files = ["src/api/**"]
reads = ["src/models/"]
[[agent]]
id = "models"
phase = "build"
command = ["sh", "-c", "echo x > a"]
files = ["src/models/**"]
late = ["src/main.rs"]
[[agent]]
id = "web"
phase = "build"
command = ["sh", "-c", "echo x > a"]
files = ["web/"]
depends_on = ["api"]
[[agent]]
id = "docs"
phase = "write"
command = ["sh", "-c", "echo x > a"]
files = ["docs/"]
"#;

const EXPECTED: &str = "\
plan: 4 agents in 3 waves, at most 2 at once
The order, not the time: every agent is taken to complete, and those of a wave to end together.
Nothing was started.

WAVE  SLOT  AGENT   PHASE  LOCKS                            STARTS THEN BECAUSE BEFORE
   1     0  api     build  src/api/**, reads src/models/
   2     0  models  build  src/models/**, late src/main.rs  locked by api
         1  web     build  web/                             needs api
   3     0  docs    write  docs/                            phase `build` is not over
";

#[test]
fn a_dry_run_shows_the_order_and_does_nothing() {
    let repo = TestRepo::new();
    let ended = repo.run(SESSION, &["--dry-run"]).expect(0);
    assert_eq!(ended.stdout, EXPECTED);
    assert_eq!(repo.run(SESSION, &["--dry-run", "--detach"]).expect(0).stdout, EXPECTED, "there is nothing to leave");
    let waves = repo.run(SESSION, &["--dry-run", "--format", "json"]).expect(0).json()["waves"].clone();
    assert_eq!(waves[1]["starts"][1]["waited"]["kind"], "dependencies");
    assert_eq!(waves[0]["waits"][0]["agent"], "models");
    assert_eq!(waves[0]["waits"][0]["state"], "BLOCKED");
    assert_eq!(waves[0]["waiting"], 3);
    assert_eq!(waves[1]["starts"][0]["locks"]["late"][0], "src/main.rs");
    let one = repo.run(SESSION, &["--dry-run", "--only", "models", "--format", "jsonl"]).expect(0);
    assert_eq!(one.json()["waves"].as_array().unwrap().len(), 1);
    assert!(!repo.exists(".git/supervise") && repo.status().is_empty());
    assert_eq!(repo.git(&["branch", "--format=%(refname:short)"]), "main\n");
}

/// What a run would refuse, its rehearsal says too, with the same code.
#[test]
fn a_dry_run_says_what_a_run_would_refuse() {
    let repo = TestRepo::new();
    repo.write("web/x", "mine");
    let ended = repo.run(SESSION, &["--dry-run"]).expect(3);
    assert_eq!(ended.stdout, EXPECTED);
    assert!(ended.stderr.contains("web: web/x"), "{}", ended.stderr);
    repo.run(SESSION, &["--dry-run", "--allow-dirty"]).expect(0);
    repo.run("[[agent]]\nid = \"a\"\n", &["--dry-run"]).expect(2);
    repo.run(SESSION, &["--dry-run", "--skip", "*"]).expect(4);
}
