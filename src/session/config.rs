//! The user's own file, `supervise/config.toml` in the configuration directory: what a person wants of
//! every run, whatever its session says.
//!
//! Invariant: a file that is not there is the same as an empty one; all that is wrong with one is
//! reported at once, each with its place.
//!
//! Deliberately absent: anything that changes what agents may do. That is the session's alone, so that a
//! session means the same for everybody.

use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::hooks::{self, Hook};
use super::keys;
use super::manifest::table;
use super::problem::{Problem, Problems, SYNTAX, SessionErrors, Severity};
use super::section::Section;
use super::source::{self, ReadError, SourceText};

/// The largest configuration file, in bytes.
const MAX_CONFIG_FILE: u64 = 1 << 20;

/// What the user's file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserConfig {
    pub hooks: Vec<Hook>,
    /// Ring the bell and notify the desktop, on a terminal?
    pub notify: bool,
}

impl Default for UserConfig {
    fn default() -> Self {
        Self { hooks: Vec::new(), notify: true }
    }
}

/// Where the file is: below `config_home` (`XDG_CONFIG_HOME`; a relative one does not count, as the XDG
/// Base Directory Specification has it), else below `.config` in `home`.
#[must_use]
pub fn path(config_home: Option<&Path>, home: Option<&Path>) -> Option<PathBuf> {
    let base = config_home.filter(|dir| dir.is_absolute()).map(Path::to_owned);
    let base = base.or_else(|| home.filter(|dir| dir.is_absolute()).map(|dir| dir.join(".config")))?;
    Some(base.join("supervise/config.toml"))
}

/// Reads the file.
pub fn load(path: &Path) -> Result<UserConfig, SessionErrors> {
    let name = path.display().to_string();
    let unreadable = |code, message: String, help: &str| {
        let file = name.clone();
        let help = Some(help.to_owned());
        let problem =
            Problem { code, severity: Severity::Error, message, file, line: None, column: None, help, span: None };
        SessionErrors::one(SourceText::new(&name, ""), problem)
    };
    let bytes = match source::read_file(path, MAX_CONFIG_FILE) {
        Ok(bytes) => bytes,
        Err(ReadError::Missing) => return Ok(UserConfig::default()),
        Err(error) => {
            let message = format!("cannot read your configuration: {error}");
            return Err(unreadable("unreadable", message, "make it a readable file, or remove it"));
        }
    };
    let text = source::decode(&bytes)
        .map_err(|valid| unreadable("invalid_utf8", format!("byte {valid} is not UTF-8"), "save the file as UTF-8"))?;
    read(&SourceText::new(&name, text))
}

fn read(source: &SourceText) -> Result<UserConfig, SessionErrors> {
    let mut problems = Problems::new(source.clone(), &[]);
    let (document, errors) = DeTable::parse_recoverable(source.text());
    for error in &errors {
        let message = error.message().lines().collect::<Vec<_>>().join("; ");
        problems.error(SYNTAX, &error.span().unwrap_or(0..0), message, None);
    }
    let top = Section::new(document.get_ref(), "the configuration", keys::CONFIG, &[], &mut problems);
    let hooks = table(&top, "hooks", "write [hooks]", &mut problems);
    let hooks = hooks.map(|(t, _)| hooks::read(t, &mut problems)).unwrap_or_default();
    let notify = top.boolean("notify", &mut problems).is_none_or(|at| at.value);
    problems.finish()?;
    Ok(UserConfig { hooks, notify })
}

#[cfg(test)]
mod tests {
    use super::super::hooks::{HookCommand, HookPoint};
    use super::*;

    #[test]
    fn the_file_lies_where_the_specification_says() {
        let check = |config: Option<&str>, home: Option<&str>, expected: Option<&str>| {
            assert_eq!(path(config.map(Path::new), home.map(Path::new)), expected.map(PathBuf::from));
        };
        check(Some("/etc/me"), Some("/home/me"), Some("/etc/me/supervise/config.toml"));
        check(None, Some("/home/me"), Some("/home/me/.config/supervise/config.toml"));
        check(Some("relative"), Some("/home/me"), Some("/home/me/.config/supervise/config.toml"));
        check(Some(""), None, None);
    }

    #[test]
    fn what_it_says_is_read_and_no_file_is_an_empty_one() {
        assert_eq!(load(Path::new("/no/such/file")).unwrap(), UserConfig::default());
        assert_eq!(read(&SourceText::new("c", "")).unwrap(), UserConfig::default());
        let config = read(&SourceText::new("c", "notify = false\n[hooks]\non_conflict = [\"a\", \"b\"]\n")).unwrap();
        let command = HookCommand::Program(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(config, UserConfig { hooks: vec![Hook { point: HookPoint::Conflict, command }], notify: false });
    }

    #[test]
    fn all_that_is_wrong_has_its_place() {
        let text = "notfy = true\n[hooks]\non_run_ends = \"x\"\non_conflict = []\non_attention = 3\n";
        let errors = read(&SourceText::new("c.toml", text)).unwrap_err();
        let found: Vec<_> = errors.problems.iter().map(|p| (p.code, p.line, p.column)).collect();
        let at = |code, line, column| (code, Some(line), Some(column));
        let expected =
            [at("unknown_key", 1, 1), at("unknown_key", 3, 1), at("empty_command", 4, 15), at("wrong_type", 5, 16)];
        assert_eq!(found, expected, "{:?}", errors.problems);
        assert_eq!(errors.problems[1].help.as_deref(), Some("did you mean `on_run_end`?"));
    }
}
