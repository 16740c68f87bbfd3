//! `supervise doctor`: what this machine allows, and how to get what is missing.

use std::io::{self, Write};
use std::path::PathBuf;

use serde::Serialize;

use super::progress::palette_for;
use super::{Common, Exit, Failure, Format};
use crate::host::doctor::{Finding, Verdict, examine};
use crate::render::json::pretty;
use crate::render::style::{Palette, Tone};
use crate::render::text::{pad, printable};

/// Tell what this machine allows
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct DoctorArgs {
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

const AFTER_HELP: &str = "\
Examples:
  supervise doctor
  supervise doctor --format json";

/// Exits with 0 when everything that is needed is there, else with 3.
pub fn run(args: &DoctorArgs, common: &Common) -> Result<Exit, Failure> {
    let directory = common.directory.clone().unwrap_or_else(|| PathBuf::from("."));
    let directory = directory.canonicalize().unwrap_or(directory);
    let findings = examine(&directory);
    let text = match args.format {
        Format::Human => human(&findings, palette_for(&io::stdout())),
        Format::Json => json(&findings),
    };
    // A reader that went away has read what it wanted.
    let _ = io::stdout().lock().write_all(text.as_bytes());
    Ok(if usable(&findings) { Exit::Success } else { Exit::Unusable })
}

fn usable(findings: &[Finding]) -> bool {
    findings.iter().all(|f| f.verdict != Verdict::Missing)
}

/// One line a finding, `ok`, `missing` or `absent`; how to get it in a line below.
fn human(findings: &[Finding], palette: Palette) -> String {
    let titles = findings.iter().map(|f| f.title.len()).max().unwrap_or(0);
    let mut lines = Vec::new();
    for finding in findings {
        let (tone, verdict) = match finding.verdict {
            Verdict::Ok => (Tone::Good, "ok"),
            Verdict::Missing => (Tone::Bad, "missing"),
            Verdict::Absent => (Tone::Warning, "absent"),
        };
        let verdict = palette.paint(tone, pad(verdict, 7));
        lines.push(format!("{verdict}  {}  {}", pad(finding.title, titles), printable(&finding.found)));
        if let Some(help) = &finding.help {
            lines.push(format!("{}  → {}", pad("", 9 + titles), printable(help)));
        }
    }
    lines.push(String::new());
    let verdict = if usable(findings) {
        "Everything that is needed is here; what is absent, some sessions need."
    } else {
        "Something that is needed is missing."
    };
    lines.push(verdict.to_owned());
    lines.join("\n") + "\n"
}

#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    usable: bool,
    findings: Vec<FindingDocument<'a>>,
}

#[derive(Serialize)]
struct FindingDocument<'a> {
    check: &'a str,
    /// `ok`, `missing` or `absent`
    status: &'a str,
    found: &'a str,
    help: Option<&'a str>,
}

fn json(findings: &[Finding]) -> String {
    let document = Document {
        version: 1,
        usable: usable(findings),
        findings: findings
            .iter()
            .map(|f| FindingDocument {
                check: f.check,
                status: match f.verdict {
                    Verdict::Ok => "ok",
                    Verdict::Missing => "missing",
                    Verdict::Absent => "absent",
                },
                found: &f.found,
                help: f.help.as_deref(),
            })
            .collect(),
    };
    pretty(&document)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(verdict: Verdict) -> Vec<Finding> {
        let finding = |check, title, verdict, help: Option<&str>| Finding {
            check,
            title,
            verdict,
            found: "some\nthing".to_owned(),
            help: help.map(str::to_owned),
        };
        vec![finding("a", "short", Verdict::Ok, None), finding("b", "rather long", verdict, Some("get it"))]
    }

    #[test]
    fn columns_line_up() {
        let expected = "ok       short        some thing\n\
                        missing  rather long  some thing\n\
                        \u{20}                     → get it\n\
                        \nSomething that is needed is missing.\n";
        assert_eq!(human(&findings(Verdict::Missing), Palette::Plain), expected);
        assert!(human(&findings(Verdict::Absent), Palette::Plain).contains("Everything that is needed is here"));
    }

    #[test]
    fn programs_get_the_same() {
        let document: serde_json::Value = serde_json::from_str(&json(&findings(Verdict::Absent))).unwrap();
        assert_eq!(
            document,
            serde_json::json!({"version": 1, "usable": true, "findings": [
                {"check": "a", "status": "ok", "found": "some\nthing", "help": null},
                {"check": "b", "status": "absent", "found": "some\nthing", "help": "get it"},
            ]})
        );
    }
}
