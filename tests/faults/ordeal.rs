//! A run that is watched while it goes by, and the judge of it.
//!
//! Passed: when the end of a tree is in the journal, nothing of it lives; it is there within a second after
//! the grace (on a machine with more to do than processors, in proportion); every agent has exactly one end;
//! and of all that was started nothing is left.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::{Ended, TestRepo, eventually};

/// How long anything may take on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// From SIGTERM to SIGKILL in the sessions here.
pub(crate) const GRACE: Duration = Duration::from_millis(300);

/// Agents that run these scripts; `defaults` are lines of `[defaults]`.
pub(crate) fn session(defaults: &str, agents: &[(&str, &str)]) -> String {
    let mut text = format!("[session]\nmax_concurrent = 256\n[defaults]\ngrace = \"300ms\"\n{defaults}\n");
    for (id, script) in agents {
        text += &format!("[[agent]]\nid = \"{id}\"\nfiles = [\"{id}\"]\ncommand = [\"sh\", \"-c\", '''{script}''']\n");
    }
    text
}

/// A run on its way.
pub(crate) struct Ordeal<'r> {
    repo: &'r TestRepo,
    pub(crate) child: Child,
    records: std::sync::mpsc::Receiver<Value>,
    told: std::thread::JoinHandle<String>,
    seen: Vec<Value>,
}

/// A run that came to its end and was judged.
pub(crate) struct Judged {
    records: Vec<Value>,
    pub(crate) stderr: String,
}

impl<'r> Ordeal<'r> {
    pub(crate) fn start(repo: &'r TestRepo, session: &str) -> Self {
        let path = repo.session(session);
        let mut command = repo.supervise();
        command.arg("run").arg(path).args(["--format", "jsonl"]);
        Self::of(repo, command)
    }

    /// A run, or a resumed one, that prints its records.
    pub(crate) fn of(repo: &'r TestRepo, mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (lines, mut errors) = (BufReader::new(child.stdout.take().unwrap()), child.stderr.take().unwrap());
        let (sender, records) = std::sync::mpsc::channel();
        let mark = repo.mark.clone();
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                let record: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
                let left = (record["kind"] == "tree_ended").then(|| of_agent(&mark, record["agent"].as_str().unwrap()));
                let record = match left {
                    Some(left) if !left.is_empty() => serde_json::json!({"kind": "left", "of": record, "left": left}),
                    _ => record,
                };
                if sender.send(record).is_err() {
                    return;
                }
            }
        });
        let told = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = errors.read_to_string(&mut text);
            text
        });
        Self { repo, child, records, told, seen: Vec::new() }
    }

    /// Waits until there is such a record.
    #[track_caller]
    pub(crate) fn until(&mut self, kind: &str, agent: &str) -> Value {
        let is = |record: &Value| record["kind"] == kind && (agent.is_empty() || record["agent"] == agent);
        if let Some(found) = self.seen.iter().find(|record| is(record)) {
            return found.clone();
        }
        loop {
            let next = self.records.recv_timeout(LONG);
            let record = next.unwrap_or_else(|_| panic!("no {kind} of {agent} among {:#?}", self.seen));
            self.seen.push(record.clone());
            if is(&record) {
                return record;
            }
        }
    }

    /// Waits until this file has so many lines.
    #[track_caller]
    pub(crate) fn until_lines(&self, file: &str, lines: usize) {
        let path = self.repo.tmp().join(file);
        let count = || fs::read_to_string(&path).unwrap_or_default().lines().count();
        assert!(eventually(LONG, || count() >= lines), "{file}: {} of {lines} lines", count());
    }

    /// Waits for its end and judges it: these are its agents.
    #[track_caller]
    pub(crate) fn judge(mut self, agents: &[&str]) -> Judged {
        let ended = eventually(LONG, || self.child.try_wait().unwrap().is_some());
        if !ended {
            let _ = self.child.kill();
        }
        assert!(ended, "the run does not end: {:#?}", self.seen);
        self.seen.extend(std::iter::from_fn(|| self.records.recv_timeout(LONG).ok()));
        let judged = Judged { records: self.seen, stderr: self.told.join().unwrap() };
        self.repo.assert_no_survivors();
        judged.check(agents);
        judged
    }
}

impl Judged {
    #[track_caller]
    fn check(&self, agents: &[&str]) {
        let mut ends: BTreeMap<&str, u32> = agents.iter().map(|id| (*id, 0)).collect();
        let mut intended = BTreeMap::new();
        for record in &self.records {
            let agent = record["agent"].as_str().unwrap_or_default();
            match record["kind"].as_str().unwrap_or_default() {
                "left" => panic!("written down as ended, and alive: {record:#}"),
                "end_intended" => drop(intended.entry(agent).or_insert_with(|| time(record))),
                "tree_ended" => {
                    let took = intended.remove(agent).map(|since| time(record).saturating_sub(since));
                    let bound = GRACE + second();
                    assert!(took.is_none_or(|took| took <= bound), "{agent} took {took:?} to end");
                }
                "agent_ended" => *ends.get_mut(agent).unwrap() += 1,
                _ => {}
            }
        }
        assert!(ends.values().all(|&count| count == 1), "every agent ends once: {ends:?}\n{}", self.stderr);
    }

    /// The state in which the agent ended, and the kind of its reason.
    pub(crate) fn end(&self, agent: &str) -> (String, String) {
        let end = self.records.iter().find(|r| r["kind"] == "agent_ended" && r["agent"] == agent).unwrap();
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (word(&end["state"]), word(&end["reason"]["kind"]))
    }
}

/// A second where there are as many processors as there is work (proc_loadavg(5)).
fn second() -> Duration {
    let load = fs::read_to_string("/proc/loadavg").unwrap();
    let load: f64 = load.split(' ').next().unwrap().parse().unwrap();
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let processors = f64::from(u32::try_from(processors).unwrap());
    Duration::from_secs(1).mul_f64((load / processors).max(1.0))
}

/// When the record was written, since 1970.
fn time(record: &Value) -> Duration {
    let at: jiff::Timestamp = record["at"].as_str().unwrap().parse().unwrap();
    Duration::from_millis(u64::try_from(at.as_millisecond()).unwrap())
}

/// Processes of this agent, started in the repository of this mark, that live.
pub(crate) fn of_agent(mark: &str, agent: &str) -> Vec<String> {
    let wanted = [format!("TEST_MARK={mark}"), format!("SUPERVISE_ID={agent}")];
    let has_all = |environment: &[u8]| {
        wanted.iter().all(|variable| environment.split(|byte| *byte == 0).any(|v| v == variable.as_bytes()))
    };
    let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let alive = processes.filter(|path| {
        let environment = fs::read(path.join("environ")).unwrap_or_default();
        has_all(&environment) && fs::read_to_string(path.join("stat")).is_ok_and(|stat| !stat.contains(") Z "))
    });
    alive.map(|path| format!("{} {:?}", path.display(), fs::read_to_string(path.join("cmdline")))).collect()
}

/// The one who started this process.
pub(crate) fn parent_of(pid: u64) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.split(' ').nth(1).unwrap().parse().unwrap()
}

pub(crate) fn kill(signal: &str, pids: &[u64]) {
    let pids = pids.iter().map(u64::to_string);
    let status = Command::new("kill").args(["-s", signal]).args(pids).status().unwrap();
    assert!(status.success());
}

/// Takes the latest run up again.
pub(crate) fn resume(repo: &TestRepo) -> Ended {
    Ended::of(&repo.supervise().args(["resume", "--format", "json"]).output().unwrap())
}
