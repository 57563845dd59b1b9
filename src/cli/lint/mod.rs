//! `staplekeeper lint [--format text|json]`.

pub(super) mod gather;
mod rights;

use std::path::Path;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use super::format::Format;
use super::say;
use crate::agent::Survey;
use crate::config::Settings;
use crate::lint::{self, Finding, Severity, Step};
use crate::pki::printable;
use crate::time::UnixTime;

/// The number of the JSON document's shape; grows when a reader would be surprised.
const SCHEMA: u32 = 1;

/// What the command takes.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit status: 0 nobody is at risk, 1 warnings, 2 errors, or used or configured wrongly"
)]
pub(super) struct Args {
    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    at: UnixTime,
    errors: usize,
    warnings: usize,
    notes: usize,
    /// The worst first.
    findings: &'a [Finding],
    /// What could not be read, or could not be judged by this user.
    problems: &'a [String],
}

pub(super) fn run(
    args: &Args,
    settings: &Settings,
    config: Option<&Path>,
) -> anyhow::Result<ExitCode> {
    let survey = Survey::take(settings)?;
    let mut problems = survey.unread.clone();
    let view = gather::view(&survey, settings, config, None, &mut problems);
    let scan = &survey.scan;
    let of_scan = scan.problems.iter().chain(scan.servers.iter().flat_map(|one| &one.problems));
    problems.extend(of_scan.map(|problem| match problem.hint() {
        Some(hint) => format!("{problem}\nhint: {hint}"),
        None => problem.to_string(),
    }));
    let findings = lint::lint(&view);
    let count = |severity| findings.iter().filter(|one| one.severity == severity).count();
    let (errors, warnings, notes) =
        (count(Severity::Error), count(Severity::Warning), count(Severity::Note));
    match args.format {
        Format::Json => {
            let (at, schema) = (survey.at, SCHEMA);
            let (findings, problems) = (&*findings, &*problems);
            let document = Document { schema, at, errors, warnings, notes, findings, problems };
            say::json(&document)?;
        }
        Format::Text => {
            let looked = view.leaves.len();
            let blocks = scan.deployments().count();
            let headline = match findings.len() {
                0 => "nothing found".to_owned(),
                _ => [(errors, "error"), (warnings, "warning"), (notes, "note")]
                    .iter()
                    .filter(|(count, _)| *count > 0)
                    .map(|(count, word)| format!("{count} {word}{}", plural(*count)))
                    .collect::<Vec<_>>()
                    .join(", "),
            };
            say::note(format!(
                "{headline} ({looked} certificate{}, {blocks} place{} that present{} them)",
                plural(looked),
                plural(blocks),
                if blocks == 1 { "s" } else { "" },
            ));
            findings
                .iter()
                .for_each(|finding| say::page(format!("\n{}\n", text(finding, super::width()))));
            problems
                .iter()
                .for_each(|problem| say::problem(format!("could not be judged: {problem}")));
        }
    }
    Ok(match (errors, warnings) {
        (0, 0) => ExitCode::SUCCESS,
        (0, _) => ExitCode::from(1),
        _ => ExitCode::from(2),
    })
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// A finding for people: what, where, why, and what to write.
pub(super) fn text(finding: &Finding, width: usize) -> String {
    let colour = match finding.severity {
        Severity::Error => AnsiColor::Red,
        Severity::Warning => AnsiColor::Yellow,
        Severity::Note => AnsiColor::Cyan,
    };
    let style = Style::new().bold().fg_color(Some(colour.into()));
    let mut text = format!("{style}{}{style:#} {}", finding.severity, finding.rule);
    let place = printable(&finding.place());
    if !place.is_empty() {
        text += &format!("  {place}");
    }
    text += &wrapped(&finding.what, "  ", width);
    text += &wrapped(&format!("why: {}", finding.why), "  ", width);
    for (number, step) in finding.fix.iter().enumerate() {
        let first = if number == 0 { "  fix: " } else { "       " };
        match step {
            Step::Act { what } => {
                let lines = wrapped(what, "       ", width);
                text += &lines.replacen("\n       ", &format!("\n{first}"), 1);
            }
            step => {
                let lines = step.to_string();
                let lines: Vec<_> = lines.lines().map(printable).collect();
                text += &format!("\n{first}{}", lines.join("\n       "));
            }
        }
    }
    text
}

/// Words on lines of at most `width` columns, each line behind a line break and `indent`.
fn wrapped(words: &str, indent: &str, width: usize) -> String {
    let mut text = String::new();
    let mut column = usize::MAX;
    for word in words.split(' ') {
        let length = word.chars().count();
        if column.saturating_add(1 + length) > width.max(60) {
            text += "\n";
            text += indent;
            column = indent.len() + length;
        } else {
            text.push(' ');
            column += 1 + length;
        }
        text += &printable(word);
    }
    text
}
