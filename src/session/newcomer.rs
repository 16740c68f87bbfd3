//! An agent that is added to a session whose run goes on.
//!
//! It is read as if it stood in the session file, with the same defaults, phases and runners; the agents of the
//! run stand there with their ids, phases and tags alone. So it keeps to all rules of session files, and
//! neither directories nor prompt files of others that have changed since play a part.
//!
//! Invariant: nothing of the session changes; what comes back is what it is to be extended by.
//!
//! Deliberately absent: whether the run can take it (`core`).

use std::fmt::Write as _;
use std::path::Path;

use toml_edit::{DocumentMut, Item, Value};

use super::append::{append, section};
use super::load::{LoadOptions, load};
use super::plan::{Launch, Origin, Session};
use super::problem::SessionErrors;
use crate::core::agent::{AgentPlan, Plan};
use crate::core::ids::AgentId;
use crate::core::newcomer::NewAgent;

/// What a session is to be extended by. The agent's position says nothing yet.
#[derive(Clone, Debug)]
pub struct Newcomer {
    pub plan: AgentPlan,
    pub launch: Launch,
    pub tags: Vec<String>,
    /// The agent as a section of a session file.
    pub section: String,
}

impl Session {
    /// Takes the agent in, except into the plan: that is the supervisor's.
    pub fn extend(&mut self, newcomer: Newcomer) {
        let Newcomer { plan, launch, tags, section } = newcomer;
        if !tags.is_empty() {
            self.ground.tags.insert(plan.id.to_string(), tags);
        }
        self.ground.added.insert(plan.id.to_string(), section);
        self.launches.insert(plan.id, launch);
    }
}

/// Why an agent cannot be one of the session.
#[derive(Debug, thiserror::Error)]
pub enum NewcomerError {
    #[error("{}", told(.0))]
    Invalid(SessionErrors),
    /// Its text has changed, or is gone.
    #[error("the session that the run was begun from cannot be read any more: {0}")]
    Session(String),
}

/// All that is wrong, on one line, each with what to do. What is underlined in a file has no place here.
fn told(errors: &SessionErrors) -> String {
    let mut out = String::new();
    for problem in &errors.problems {
        let separator = if out.is_empty() { "" } else { "; " };
        let help = problem.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
        // Writing into memory does not fail.
        let _ = write!(out, "{separator}{}{help}", problem.message);
    }
    out.lines().collect::<Vec<_>>().join(" ")
}

/// Reads the agent. `agents`: the run's plan as it is now. Looks at files: the workspace's, and what the
/// session's defaults name.
pub fn read(session: &Session, agents: &Plan, agent: &NewAgent, workspace: &Path) -> Result<Newcomer, NewcomerError> {
    let text = stage(session, agents).map_err(NewcomerError::Session)?;
    let text = append(&text, agent).map_err(|error| NewcomerError::Session(error.to_string()))?;
    let ground = &session.ground;
    let options = LoadOptions {
        base_dir: ground.base_dir.clone().unwrap_or_default().into(),
        workspace: workspace.to_owned(),
        // What is set of single agents is not about this one.
        sets: ground.sets.iter().filter(|set| !set.trim_start().starts_with("agent.")).cloned().collect(),
        only: vec![agent.id.clone()],
        ..LoadOptions::default()
    };
    let loaded = load(&Origin::Embedded, text.as_bytes(), &options).map_err(NewcomerError::Invalid)?;
    let mut read = loaded.session;
    let found = AgentId::new(&agent.id).ok().and_then(|id| {
        let plan = read.plan.agents.into_iter().find(|plan| plan.id == id)?;
        Some((plan, read.launches.remove(&id)?))
    });
    let Some((plan, launch)) = found else {
        return Err(NewcomerError::Session(format!("`{}` is not found in it", agent.id.escape_debug())));
    };
    let tags = read.ground.tags.remove(&agent.id).unwrap_or_default();
    Ok(Newcomer { plan, launch, tags, section: section(agent) })
}

/// The session's text with the agents of the run in the place of its own.
fn stage(session: &Session, agents: &Plan) -> Result<String, String> {
    let mut document: DocumentMut = session.source.parse().map_err(|error: toml_edit::TomlError| error.to_string())?;
    document.remove("agent");
    if document.get("session").is_none() {
        document.insert("session", Item::Table(toml_edit::Table::new()));
    }
    if let Some(table) = document.get_mut("session").and_then(Item::as_table_like_mut) {
        table.insert("name", toml_edit::value(&session.name));
    }
    let mut text = document.to_string();
    text.push('\n');
    for agent in &agents.agents {
        text.push_str(&stand_in(session, agents, agent));
    }
    Ok(text)
}

/// An agent of the run as far as others can name it. What defaults say of agents does not touch it.
fn stand_in(session: &Session, agents: &Plan, agent: &AgentPlan) -> String {
    let quoted = |text: &str| Value::from(text).to_string();
    let phase = agents.phases.get(agent.rank.phase).and_then(|phase| phase.name.as_deref());
    let phase = phase.map(|name| format!("phase = {}\n", quoted(name))).unwrap_or_default();
    let tags = session.ground.tags.get(agent.id.as_str()).map_or(&[][..], Vec::as_slice);
    let tags: toml_edit::Array = tags.iter().collect();
    format!(
        "[[agent]]\nid = \"{}\"\n{phase}tags = {tags}\ncommand = [\"true\"]\ndepends_on = []\nfiles = []\nlate = []\nreads = []\n\
         runner = \"command\"\nverify = []\nname = \"_\"\ncommit_message = \"_\"\n",
        agent.id
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::newcomer::Work;
    use crate::session::RunnerKind;

    const SESSION: &str = r#"
        agent = [
            { id = "api", tags = ["impl"], prompt = "p", files = ["src/"], phase = "one" },
            { id = "docs-{{n}}", each = { n = ["1", "2"] }, prompt_file = "gone.md", phase = "two" },
        ]
        [defaults]
        timeout = "3m"
        tags = ["all"]
        deny = ["**/*.lock"]
        env = { NAME = "{{session}}/{{id}}/{{phase}}" }
        commit_message = "{{id}} of {{session}}"
        [runner.fast]
        extends = "codex"
        model = "small"
        max_concurrent = 2
        [[phase]]
        name = "one"
        [phase.defaults]
        retries = 2
        [[phase]]
        name = "two"
    "#;

    fn session(sets: &[&str]) -> Session {
        let text = SESSION.replace("prompt_file = \"gone.md\"", "prompt = \"p\"");
        let sets = sets.iter().map(|set| (*set).to_owned()).collect();
        let options = LoadOptions { sets, ..LoadOptions::default() };
        let mut session = load(&Origin::Embedded, text.as_bytes(), &options).unwrap().session;
        // A prompt file of another agent that is not there any more changes nothing.
        session.source = SESSION.to_owned();
        session
    }

    fn agent(id: &str) -> NewAgent {
        NewAgent { id: id.to_owned(), work: Work::Prompt("Do it.".to_owned()), ..NewAgent::default() }
    }

    fn read_in(session: &Session, agent: &NewAgent) -> Result<Newcomer, NewcomerError> {
        read(session, &session.plan, agent, Path::new("/nowhere"))
    }

    #[test]
    fn it_is_an_agent_like_those_of_the_file() {
        let session = session(&["agent.api.timeout=9m", "grace=3s"]);
        let wanted = NewAgent {
            phase: Some("two".to_owned()),
            runner: Some("fast".to_owned()),
            files: vec!["x/{{id}}".to_owned()],
            depends_on: vec!["tag:impl".to_owned(), "docs-*".to_owned()],
            ..agent("new")
        };
        let Newcomer { plan, launch, tags, section } = read_in(&session, &wanted).unwrap();
        assert_eq!(plan.depends_on.iter().map(|d| d.on.as_str()).collect::<Vec<_>>(), ["api", "docs-1", "docs-2"]);
        assert_eq!((plan.timeout.as_secs(), plan.grace.as_secs(), plan.retries, plan.rank.phase), (180, 3, 0, 1));
        assert_eq!(plan.claim.exclusive[0].as_str(), "x/new");
        assert_eq!(plan.claim.deny.len(), 1);
        assert_eq!((launch.kind, launch.runner.as_str()), (RunnerKind::Codex, "fast"));
        assert_eq!(launch.env["NAME"].fill(1, 0), "session/new/two");
        assert_eq!(launch.commit_message.fill(1, 0), "new of session");
        assert!(launch.prompt.as_ref().unwrap().fill(1, 0).ends_with("Do it."));
        assert_eq!(tags, ["all"]);

        let early = read_in(&session, &NewAgent { phase: Some("one".to_owned()), ..agent("early") }).unwrap();
        assert_eq!(early.plan.retries, 2);
        // Whoever comes after it can name it.
        let mut session = session;
        session.plan.agents.push(plan.clone());
        session.extend(Newcomer { plan, launch, tags, section });
        let next = NewAgent { phase: Some("two".to_owned()), depends_on: vec!["tag:all".to_owned()], ..agent("next") };
        assert!(read_in(&session, &next).unwrap().plan.depends_on.iter().any(|d| d.on.as_str() == "new"));
        assert!(session.ground.added["new"].contains("[[agent]]"));
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once_and_on_one_line() {
        let session = session(&[]);
        let check = |agent: &NewAgent, said: &[&str]| {
            let error = read_in(&session, agent).unwrap_err().to_string();
            assert!(!error.contains('\n'), "{error}");
            for said in said {
                assert!(error.contains(said), "{error}");
            }
        };
        let one = |text: &str| vec![text.to_owned()];
        let wrong = NewAgent {
            runner: Some("fats".to_owned()),
            files: vec!["../x".to_owned(), "[".to_owned()],
            depends_on: vec!["apj".to_owned(), "tag:none".to_owned()],
            ..agent("new")
        };
        check(
            &wrong,
            &[
                "did you mean `fast`?",
                "`../x`",
                "`[`",
                "there is no agent `apj` (did you mean `api`?)",
                "no agent has the tag `none`",
            ],
        );
        check(&agent("a b"), &["an id has only letters"]);
        check(&agent("api"), &["there are two agents `api`"]);
        check(&NewAgent { depends_on: one("docs-1"), ..agent("new") }, &["which is of a later phase"]);
        check(&NewAgent { depends_on: one("new"), ..agent("new") }, &["agent `new` depends on itself"]);
        check(&NewAgent { phase: Some("tow".to_owned()), ..agent("new") }, &["did you mean `two`?"]);
        check(&NewAgent { work: Work::Prompt(" ".to_owned()), ..agent("new") }, &["the prompt is empty"]);
        check(&NewAgent { work: Work::Command(vec![]), ..agent("new") }, &["no prompt"]);
    }
}
