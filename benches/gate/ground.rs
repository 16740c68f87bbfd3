//! What the work is done on, and one run of the supervisor over it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use serde_json::Value;

use crate::work::{self, Taken, Work};

const SUPERVISE: &str = env!("CARGO_BIN_EXE_supervise");

/// What cargo told this program about itself, and must not tell another cargo.
const NOT_FOR_CARGO: [&str; 4] = ["CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR", "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS"];

#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("input or output: {0}")]
    Io(#[from] io::Error),
    #[error("reading JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("git {args}: {stderr}")]
    Git { args: String, stderr: String },
    #[error("the run ended with {status}: {stderr}")]
    Run { status: ExitStatus, stderr: String },
    #[error("the agent is {state}, denied {denied}: {stderr}")]
    Agent { state: String, denied: String, stderr: String },
    #[error("the gate is {0}, and should not be: see `supervise doctor`")]
    Layers(&'static str),
    #[error("{0}")]
    Usage(String),
}

/// Counts: what is worked on, and how often.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) cloned: usize,
    pub(crate) modules: usize,
    pub(crate) files: usize,
    pub(crate) rounds: usize,
}

/// A directory with everything that the runs share.
#[derive(Debug)]
pub(crate) struct Ground {
    dir: tempfile::TempDir,
    sizes: Sizes,
}

impl Ground {
    pub(crate) fn prepare(sizes: Sizes) -> Result<Self, Fault> {
        let dir = tempfile::tempdir()?;
        let source = dir.path().join("source");
        for n in 0..sizes.cloned {
            let path = source.join(format!("dir{:03}/file{:03}.txt", n / 100, n % 100));
            if n % 100 == 0 {
                fs::create_dir_all(path.parent().unwrap_or(&source))?;
            }
            fs::write(&path, format!("file {n}\n").repeat(20))?;
        }
        commit_all(&source)?;
        git(&source, &["repack", "-q", "-a", "-d"])?;
        Ok(Self { dir, sizes })
    }

    /// One run, in a fresh workspace.
    pub(crate) fn run(&self, work: Work, gate: bool) -> Result<Taken, Fault> {
        let top = tempfile::tempdir_in(self.dir.path())?;
        let root = top.path().join("workspace");
        fs::create_dir_all(root.join("work"))?;
        fs::write(root.join("work/README"), "what is made here\n")?;
        fs::write(root.join(".gitignore"), "target/\n")?;
        if work == Work::Build {
            generate(&root.join("crate"), self.sizes.modules)?;
        }
        commit_all(&root)?;
        let (session, result) = (top.path().join("session.toml"), top.path().join("result"));
        fs::write(&session, self.session(work, &result)?)?;
        let progress = top.path().join("progress");
        let mut command = Command::new(SUPERVISE);
        command.arg("-C").arg(&root).arg("run").arg(&session).args(["--format", "json"]);
        if !gate {
            command.arg("--no-gate");
        }
        for name in NOT_FOR_CARGO {
            command.env_remove(name);
        }
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        let out = command.stdin(Stdio::null()).stderr(File::create(&progress)?).output()?;
        let stderr = fs::read_to_string(&progress)?;
        if !matches!(out.status.code(), Some(0 | 1)) {
            return Err(Fault::Run { status: out.status, stderr });
        }
        let document: Value = serde_json::from_slice(&out.stdout)?;
        if document["layers"]["gate"] != gate {
            return Err(Fault::Layers(if gate { "off" } else { "on" }));
        }
        let agent = &document["agents"][0];
        if agent["state"] != "COMPLETED" || agent["denied"].as_array().is_none_or(|denied| !denied.is_empty()) {
            let state = agent["state"].to_string();
            return Err(Fault::Agent { state, denied: agent["denied"].to_string(), stderr });
        }
        Ok(serde_json::from_slice(&fs::read(result)?)?)
    }

    fn session(&self, work: Work, result: &Path) -> Result<String, Fault> {
        let args = work::arguments(work, &self.source(), result, self.sizes.files);
        let program = std::env::current_exe()?.into_os_string();
        let command: Vec<String> = std::iter::once(program)
            .chain(args)
            .map(|a| Value::String(a.to_string_lossy().into()).to_string())
            .collect();
        Ok(format!(
            "[session]\nname = \"gate\"\n[[agent]]\nid = \"worker\"\ntimeout = \"10m\"\n\
             files = [\"work/**\", \"crate/**\"]\ncommand = [{}]\n",
            command.join(", ")
        ))
    }

    fn source(&self) -> PathBuf {
        self.dir.path().join("source")
    }
}

/// A version without the gate has no switch for it either.
pub(crate) fn knows_no_gate() -> Result<bool, Fault> {
    let help = Command::new(SUPERVISE).args(["run", "--help"]).output()?;
    Ok(String::from_utf8_lossy(&help.stdout).contains("--no-gate"))
}

/// A package without dependencies: a module is a struct, its traits, and functions that a compiler has
/// to look at.
fn generate(root: &Path, modules: usize) -> io::Result<()> {
    fs::create_dir_all(root.join("src"))?;
    fs::write(
        root.join("Cargo.toml"),
        "[package]\nname = \"generated\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\n[workspace]\n",
    )?;
    let mut main = String::new();
    for n in 0..modules {
        main += &format!("mod m{n};\n");
        let mut text =
            format!("#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]\npub struct S{n} {{\n");
        (0..8).for_each(|field| text += &format!("    pub f{field}: Vec<Option<String>>,\n"));
        text += "}\n";
        for f in 0..10 {
            text += &format!(
                "pub fn g{f}(s: &S{n}) -> Vec<String> {{\n    let mut v: Vec<String> = s.f{}.iter().flatten()\
                 .map(|t| format!(\"{{t}} {f}\")).collect();\n    v.sort();\n    v.dedup();\n    v\n}}\n",
                f % 8
            );
        }
        fs::write(root.join(format!("src/m{n}.rs")), text)?;
    }
    main += "fn main() {\n";
    (0..modules)
        .for_each(|n| main += &format!("    println!(\"{{:?}}\", m{n}::g{}(&m{n}::S{n}::default()));\n", n % 10));
    main += "}\n";
    fs::write(root.join("src/main.rs"), main)
}

fn commit_all(root: &Path) -> Result<(), Fault> {
    git(root, &["init", "-q", "-b", "main"])?;
    for (key, value) in [("user.name", "Bench"), ("user.email", "bench@example.invalid"), ("gc.auto", "0")] {
        git(root, &["config", key, value])?;
    }
    git(root, &["add", "-A"])?;
    git(root, &["commit", "-q", "-m", "Begin"])
}

fn git(root: &Path, args: &[&str]) -> Result<(), Fault> {
    let mut command = Command::new("git");
    command.current_dir(root).args(args).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    let out = command.output()?;
    if out.status.success() {
        return Ok(());
    }
    Err(Fault::Git { args: args.join(" "), stderr: String::from_utf8_lossy(&out.stderr).into_owned() })
}
