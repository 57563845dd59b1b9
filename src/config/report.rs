//! Complaints about a configuration file, each with its place, a caret and a hint.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// One fault of a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// The bytes of the source it is about.
    pub span: Range<usize>,
    /// What is wrong, in lower case.
    pub message: String,
    /// What the operator can do.
    pub hint: Option<String>,
}

impl Complaint {
    /// A complaint about the bytes of `span`.
    pub fn new(span: Range<usize>, message: impl Into<String>) -> Self {
        Complaint { span, message: message.into(), hint: None }
    }

    /// The same with advice.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Everything that is wrong with one file, in the order of its lines.
///
/// Prints each complaint as `path:line:column: message`, the line, a caret under the words meant and
/// a hint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    path: PathBuf,
    source: String,
    complaints: Vec<Complaint>,
}

impl std::error::Error for Report {}

impl Report {
    /// The complaints about the file at `path`, whose text is `source`.
    pub fn new(path: &Path, source: &str, mut complaints: Vec<Complaint>) -> Self {
        complaints.sort_by_key(|complaint| complaint.span.start);
        Report { path: path.to_owned(), source: source.to_owned(), complaints }
    }

    /// The complaints, in the order of the lines.
    pub fn complaints(&self) -> &[Complaint] {
        &self.complaints
    }

    fn one(&self, complaint: &Complaint, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = complaint.span.start.min(self.source.len());
        let before = self.source.get(..start).unwrap_or_default();
        let number = before.matches('\n').count() + 1;
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = self.source[line_start..].lines().next().unwrap_or_default();
        let indent = before[line_start..].chars().count();
        let meant = self.source.get(complaint.span.clone()).unwrap_or_default();
        let width = meant.lines().next().unwrap_or_default().chars().count().max(1);
        let margin = " ".repeat(number.to_string().len());
        writeln!(f, "{}:{number}:{}: {}", self.path.display(), indent + 1, complaint.message)?;
        writeln!(f, "  {number} | {line}")?;
        writeln!(f, "  {margin} | {}{}", " ".repeat(indent), "^".repeat(width))?;
        match &complaint.hint {
            Some(hint) => writeln!(f, "hint: {hint}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.complaints.iter().try_for_each(|complaint| self.one(complaint, f))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_shows_its_line_and_a_caret() {
        let source = "# servers\nserver = \"ngnix\"\n";
        let complaint =
            Complaint::new(19..26, "unknown server kind \"ngnix\"").hint("the kinds are …");
        let report = Report::new(Path::new("config.toml"), source, vec![complaint]);
        assert_eq!(
            report.to_string(),
            "config.toml:2:10: unknown server kind \"ngnix\"\n  2 | server = \"ngnix\"\n    \
             |          ^^^^^^^\nhint: the kinds are …\n"
        );
    }
}
