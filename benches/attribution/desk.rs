//! Where a scripted writer works, and the account that it keeps of itself.
//!
//! Invariant: every change that a writer makes or tries goes through a [`Desk`], and the lines about it
//! are written before and after it, outside the workspace: what the account says is true also of a
//! writer that was killed. Nothing here knows of the supervisor; the account is the ground truth that
//! the supervisor is measured by.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::ground::{GRANTED, RULES};

/// How long a writer waits for anything.
const PATIENCE: Duration = Duration::from_mins(4);

/// What in a change git would record: content, type, the executable bit; or what it would not: other metadata, and
/// all of a path that it ignores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Matter {
    Content,
    Metadata,
    Ignored,
}

/// One call, or a few that belong together, and what became of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Deed {
    /// The paths that it changes if it succeeds, relative to the workspace.
    pub(crate) paths: Vec<String>,
    pub(crate) matter: Matter,
    /// Other paths that its calls name: a refusal may be about one of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) via: Vec<String>,
    /// May the writer do this: is each of these paths covered by its claim, or free to all?
    pub(crate) allowed: bool,
    pub(crate) outcome: Outcome,
    /// How often it was told EBUSY before, and tried again.
    pub(crate) retried: u32,
}

/// What became of a deed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// It was begun; a writer that was killed then leaves this behind.
    Begun,
    Done,
    /// Done, and undone by a later deed: what it made has moved on.
    Passed,
    /// With this error number.
    Failed(i32),
}

impl Outcome {
    fn of(errno: i32) -> Self {
        if errno == 0 { Self::Done } else { Self::Failed(errno) }
    }
}

/// The directory that one agent may write, in all scenarios.
pub(crate) fn own(agent: &str) -> String {
    format!("{agent}/own")
}

/// The part of an agent's claim that it leaves alone and that the stray one goes for.
pub(crate) fn theirs(agent: &str) -> String {
    format!("{agent}/theirs")
}

/// What nobody claims.
pub(crate) const FREE: &str = "free";
/// The agent that also writes what it has not declared.
pub(crate) const STRAY: &str = "stray";
/// The first of those that do not.
pub(crate) const KEEPER: &str = "keeper";

/// One writer's place of work.
#[derive(Debug)]
pub(crate) struct Desk {
    root: PathBuf,
    /// Outside the workspace: accounts and the signals of the writers to each other.
    sync: PathBuf,
    agent: String,
    /// The directory that is being written.
    area: String,
    account: File,
    /// How large the scenario is to be.
    pub(crate) size: usize,
}

impl Desk {
    pub(crate) fn new(root: &Path, sync: &Path, agent: &str, size: usize) -> io::Result<Self> {
        let account = OpenOptions::new().append(true).create(true).open(account_of(sync, agent))?;
        let area = own(agent);
        Ok(Self { root: root.into(), sync: sync.into(), agent: agent.into(), area, account, size })
    }

    /// Where this writer works: first what it declared, then, if it is the stray one, the rest.
    pub(crate) fn areas(&self) -> Vec<String> {
        let mut areas = vec![own(&self.agent)];
        if self.is_stray() {
            areas.extend([FREE.to_owned(), theirs(KEEPER)]);
        }
        areas
    }

    pub(crate) fn enter(&mut self, area: &str) {
        area.clone_into(&mut self.area);
    }

    pub(crate) fn is_stray(&self) -> bool {
        self.agent == STRAY
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A path outside the workspace, of this writer for the area that is being written.
    pub(crate) fn aside(&self, name: &str) -> PathBuf {
        self.sync.join(format!("{}.{}.{name}", self.agent, self.word()))
    }

    /// Is the area that is being written the writer's own?
    pub(crate) fn is_own(&self) -> bool {
        self.area == own(&self.agent)
    }

    pub(crate) fn is_in(&self, area: &str) -> bool {
        self.area == area
    }

    pub(crate) fn area(&self) -> &str {
        &self.area
    }

    /// The area as part of a file name.
    fn word(&self) -> String {
        self.area.replace('/', "-")
    }

    /// A path in the area that is being written.
    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.root.join(&self.area).join(name)
    }

    /// A path in the writer's own area, with a name that no other area uses there.
    pub(crate) fn mine(&self, name: &str) -> PathBuf {
        self.root.join(own(&self.agent)).join(format!("{name}-{}", self.word()))
    }

    /// Does `act`, which changes the content of these paths, and writes down what came of it. Was it done?
    pub(crate) fn content(&mut self, paths: &[&Path], act: impl FnMut() -> io::Result<()>) -> io::Result<bool> {
        self.deed(paths, &[], Matter::Content, act)
    }

    /// The same, with other paths that the calls name.
    pub(crate) fn content_via(
        &mut self,
        paths: &[&Path],
        via: &[&Path],
        act: impl FnMut() -> io::Result<()>,
    ) -> io::Result<bool> {
        self.deed(paths, via, Matter::Content, act)
    }

    /// The same for what git does not record.
    pub(crate) fn metadata(&mut self, paths: &[&Path], act: impl FnMut() -> io::Result<()>) -> io::Result<bool> {
        self.deed(paths, &[], Matter::Metadata, act)
    }

    /// The same for what git ignores.
    pub(crate) fn ignored(
        &mut self,
        paths: &[&Path],
        via: &[&Path],
        act: impl FnMut() -> io::Result<()>,
    ) -> io::Result<bool> {
        self.deed(paths, via, Matter::Ignored, act)
    }

    /// A change of content that nobody may make like this, not even of its own.
    pub(crate) fn forbidden(&mut self, paths: &[&Path], act: impl FnMut() -> io::Result<()>) -> io::Result<bool> {
        let deed = Deed { allowed: false, ..self.describe(paths, &[], Matter::Content)? };
        self.perform(deed, act)
    }

    /// An error is one of the account, or of an `act` that failed without an error number.
    fn deed(
        &mut self,
        paths: &[&Path],
        via: &[&Path],
        matter: Matter,
        act: impl FnMut() -> io::Result<()>,
    ) -> io::Result<bool> {
        let deed = self.describe(paths, via, matter)?;
        self.perform(deed, act)
    }

    fn perform(&mut self, mut deed: Deed, mut act: impl FnMut() -> io::Result<()>) -> io::Result<bool> {
        const BUSY: i32 = nix::errno::Errno::EBUSY as i32;
        self.write_down(&deed)?;
        let errno = loop {
            match act() {
                Ok(()) => break 0,
                // "Somebody else's at this moment, or changed": look again, and once more.
                Err(e) if e.raw_os_error() == Some(BUSY) && deed.retried < 2 => deed.retried += 1,
                Err(e) => break e.raw_os_error().ok_or(e)?,
            }
        };
        deed.outcome = Outcome::of(errno);
        self.write_down(&deed)?;
        Ok(errno == 0)
    }

    /// Writes down what others are about to do on its behalf; [`Desk::record`] says what came of it.
    pub(crate) fn begin(&mut self, paths: &[&Path], matter: Matter) -> io::Result<()> {
        let deed = self.describe(paths, &[], matter)?;
        self.write_down(&deed)
    }

    /// Writes down what was done already, or by others on its behalf; `errno` is 0 if it was done.
    pub(crate) fn record(&mut self, paths: &[&Path], matter: Matter, errno: i32) -> io::Result<()> {
        let deed = Deed { outcome: Outcome::of(errno), ..self.describe(paths, &[], matter)? };
        self.write_down(&deed)
    }

    fn describe(&self, paths: &[&Path], via: &[&Path], matter: Matter) -> io::Result<Deed> {
        let names = |paths: &[&Path]| -> Option<Vec<String>> { paths.iter().map(|p| self.inside(p)).collect() };
        let (paths, via) =
            names(paths).zip(names(via)).ok_or_else(|| io::Error::other("a writer left the workspace"))?;
        let home = format!("{}/", own(&self.agent));
        let extra = |path: &str| match path {
            GRANTED => self.agent == KEEPER,
            RULES => self.is_stray(),
            free => matter == Matter::Ignored && free.starts_with(&format!("{FREE}/")),
        };
        let allowed = paths.iter().all(|p| p.starts_with(&home) || extra(p));
        Ok(Deed { paths, matter, via, allowed, outcome: Outcome::Begun, retried: 0 })
    }

    fn write_down(&mut self, deed: &Deed) -> io::Result<()> {
        let mut line = serde_json::to_vec(deed)?;
        line.push(b'\n');
        self.account.write_all(&line)
    }

    fn inside(&self, path: &Path) -> Option<String> {
        path.strip_prefix(&self.root).ok()?.to_str().map(ToOwned::to_owned)
    }

    /// A file that another deed then moves or links: made in the writer's own area. [`Desk::left`] says
    /// what came of it.
    pub(crate) fn staged(&mut self, name: &str) -> io::Result<PathBuf> {
        let (path, text) = (self.mine(name), format!("staged for {}\n", self.area));
        self.stage(&[&path], || fs::write(&path, text))?;
        Ok(path)
    }

    /// Makes what another deed then uses.
    pub(crate) fn stage(&mut self, paths: &[&Path], make: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        self.begin(paths, Matter::Content)?;
        make()
    }

    /// What was staged is a change of its own where it is still there, and none where it moved on.
    pub(crate) fn left(&mut self, paths: &[&Path]) -> io::Result<()> {
        let there = paths.iter().all(|path| path.symlink_metadata().is_ok());
        let outcome = if there { Outcome::Done } else { Outcome::Passed };
        let deed = Deed { outcome, ..self.describe(paths, &[], Matter::Content)? };
        self.write_down(&deed)
    }

    /// Waits until all `party` writers of the scenario are there, so that they run at once.
    pub(crate) fn arrive(&self, party: &[String]) -> io::Result<()> {
        write_whole(&self.sync.join(format!("{}.here", self.agent)), &std::process::id().to_string())?;
        wait_for(|| party.iter().all(|other| self.sync.join(format!("{other}.here")).exists()))
    }

    /// Says that its work is done, then stays until that of all others is, or they are gone.
    pub(crate) fn leave(&self, party: &[String]) -> io::Result<()> {
        write_whole(&done_of(&self.sync, &self.agent), "")?;
        wait_for(|| party.iter().all(|other| done_of(&self.sync, other).exists() || self.is_gone(other)))
    }

    /// Waits for a signal of the bench or of another writer.
    pub(crate) fn signalled(&self, name: &str) -> io::Result<()> {
        wait_for(|| self.signal(name).exists())
    }

    /// What is there once it is given.
    pub(crate) fn signal(&self, name: &str) -> PathBuf {
        self.sync.join(name)
    }

    fn is_gone(&self, other: &str) -> bool {
        let pid = fs::read_to_string(self.sync.join(format!("{other}.here"))).unwrap_or_default();
        matches!(process_state(&pid), None | Some('Z' | 'X'))
    }
}

/// Where an agent's account is kept.
pub(crate) fn account_of(sync: &Path, agent: &str) -> PathBuf {
    sync.join(format!("{agent}.account"))
}

/// What is there once an agent has done all of its work.
pub(crate) fn done_of(sync: &Path, agent: &str) -> PathBuf {
    sync.join(format!("{agent}.done"))
}

/// The whole account of an agent, each deed with its outcome; a line cut short by a kill is left out.
pub(crate) fn read_account(sync: &Path, agent: &str) -> io::Result<Vec<Deed>> {
    let text = match fs::read_to_string(account_of(sync, agent)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
        read => read?,
    };
    let mut deeds: Vec<Deed> = Vec::new();
    for line in text.split_inclusive('\n').filter(|l| l.ends_with('\n')) {
        let deed: Deed = serde_json::from_str(line)?;
        // Several may have been begun before the first of them came to its end.
        if let Some(begun) = deeds.iter().rposition(|d| d.outcome == Outcome::Begun && d.paths == deed.paths) {
            deeds.remove(begun);
        }
        deeds.push(deed);
    }
    Ok(deeds)
}

/// The letter of proc(5) for the state of a process; `None`: there is no such process.
pub(crate) fn process_state(pid: &str) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

/// Writes a file that nobody sees half of.
pub(crate) fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let part = path.with_extension(format!("part{}", std::process::id()));
    fs::write(&part, text)?;
    fs::rename(part, path)
}

/// Looks every two milliseconds until it is so.
pub(crate) fn wait_for(mut so: impl FnMut() -> bool) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !so() {
        if Instant::now() > deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        pause(Duration::from_millis(2));
    }
    Ok(())
}

/// Lets time pass: for what is to happen late on purpose, and between two looks.
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}
