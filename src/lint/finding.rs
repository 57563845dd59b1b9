//! What a rule has to say, and how an operator reads it.

use std::fmt;

use serde::Serialize;

use crate::discover::Origin;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nobody is at risk; somebody is annoyed.
    Note,
    /// Hurts users if something else goes wrong, or some of them.
    Warning,
    /// Turns users away, or will at the next reload.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        })
    }
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The rule's name, for filters: it never changes its meaning.
    pub rule: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// The file it is written in; absent where it is in none.
    pub file: Option<String>,
    /// The line there, from 1; 0 where it is about the whole file.
    pub line: u32,
    /// The certificate it is about, by its name; several in short, for people: [`certificates`] has all.
    ///
    /// [`certificates`]: Finding::certificates
    pub certificate: Option<String>,
    /// The names of all certificates it is about.
    pub certificates: Vec<String>,
    /// The kind of server.
    pub server: Option<String>,
    /// What is the matter, in a sentence.
    pub what: String,
    /// The fact behind it: what happens to whom.
    pub why: String,
    /// What to do, in this order.
    pub fix: Vec<Step>,
}

/// One step of a fix. Lines count as in the file at hand: carry out the last one in a file first.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(tag = "do", rename_all = "lowercase")]
pub enum Step {
    /// Write these lines right above or below a line: inside the block that begins there, if it is below.
    Add {
        /// The file.
        file: String,
        /// The line.
        line: u32,
        /// Above it; else below.
        above: bool,
        /// What to write.
        lines: Vec<String>,
    },
    /// Remove a directive with its arguments.
    Remove {
        /// The file.
        file: String,
        /// The line it begins on.
        line: u32,
        /// Its name.
        directive: String,
    },
    /// Write something else in place of a directive.
    Replace {
        /// The file.
        file: String,
        /// The line it begins on.
        line: u32,
        /// Its name.
        directive: String,
        /// What to write.
        lines: Vec<String>,
    },
    /// Write these lines at the end of a file, which is made if it is missing.
    Append {
        /// The file.
        file: String,
        /// What they are, in words.
        what: String,
        /// What to write.
        lines: Vec<String>,
    },
    /// Run a command, as root.
    Run {
        /// For a shell.
        command: String,
    },
    /// What no program can do.
    Act {
        /// What.
        what: String,
    },
}

/// Names for people: all, or where there are many the first and how many more.
pub(super) fn in_short(names: &[String]) -> String {
    match names {
        [first, _, _, _, ..] => format!("{first} and {} more", names.len() - 1),
        names => names.join(", "),
    }
}

/// Lines that go to one place, as one step, where the first of them stands.
pub(super) fn merged(steps: Vec<Step>) -> Vec<Step> {
    let mut merged: Vec<Step> = Vec::with_capacity(steps.len());
    for step in steps {
        let same = |known: &&mut Step| match (&**known, &step) {
            (
                Step::Add { file, line, above, .. },
                Step::Add { file: other, line: at, above: over, .. },
            ) => (file, line, above) == (other, at, over),
            _ => false,
        };
        match (merged.iter_mut().find(same), step) {
            (Some(Step::Add { lines, .. }), Step::Add { lines: more, .. }) => lines.extend(more),
            (_, step) => merged.push(step),
        }
    }
    merged
}

/// So many lines of a step are printed for people.
const MOST_LINES: usize = 8;

impl Step {
    pub(super) fn below(origin: &Origin, lines: impl IntoIterator<Item = String>) -> Step {
        let (file, line) = told(origin);
        Step::Add { file, line, above: false, lines: lines.into_iter().collect() }
    }

    pub(super) fn above(origin: &Origin, lines: impl IntoIterator<Item = String>) -> Step {
        let (file, line) = told(origin);
        Step::Add { file, line, above: true, lines: lines.into_iter().collect() }
    }

    pub(super) fn remove(origin: &Origin, directive: &str) -> Step {
        let (file, line) = told(origin);
        Step::Remove { file, line, directive: directive.to_owned() }
    }

    pub(super) fn replace(
        origin: &Origin,
        directive: &str,
        lines: impl IntoIterator<Item = String>,
    ) -> Step {
        let (file, line) = told(origin);
        let lines = lines.into_iter().collect();
        Step::Replace { file, line, directive: directive.to_owned(), lines }
    }

    pub(super) fn run(command: impl Into<String>) -> Step {
        Step::Run { command: command.into() }
    }

    pub(super) fn act(what: impl Into<String>) -> Step {
        Step::Act { what: what.into() }
    }
}

fn told(origin: &Origin) -> (String, u32) {
    (origin.file.display().to_string(), origin.line)
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = match self {
            Step::Add { file, line, above, lines } => {
                let side = if *above { "above" } else { "below" };
                write!(f, "{side} {file}:{line} write")?;
                lines
            }
            Step::Remove { file, line, directive } => {
                return write!(f, "remove `{directive}` from {file}:{line}");
            }
            Step::Replace { file, line, directive, lines } => {
                write!(f, "in place of `{directive}` at {file}:{line} write")?;
                lines
            }
            Step::Append { file, what, lines } if lines.len() > MOST_LINES => {
                let count = lines.len();
                return write!(f, "append {what} to {file} ({count} lines: see --format json)");
            }
            Step::Append { file, lines, .. } => {
                write!(f, "at the end of {file} write")?;
                lines
            }
            Step::Run { command } => return write!(f, "run: {command}"),
            Step::Act { what } => return f.write_str(what),
        };
        lines.iter().try_for_each(|line| write!(f, "\n    {line}"))
    }
}

impl Finding {
    /// A finding at a line; the rest is put in by struct update.
    pub(super) fn at(rule: &'static str, severity: Severity, origin: &Origin) -> Finding {
        let (file, line) = told(origin);
        Finding { file: Some(file), line, ..Finding::of(rule, severity) }
    }

    /// A finding that no line of a configuration is to blame for.
    pub(super) fn of(rule: &'static str, severity: Severity) -> Finding {
        Finding {
            rule,
            severity,
            file: None,
            line: 0,
            certificate: None,
            certificates: Vec::new(),
            server: None,
            what: String::new(),
            why: String::new(),
            fix: Vec::new(),
        }
    }

    /// `file:line`, as far as there are any.
    pub fn place(&self) -> String {
        match (&self.file, self.line) {
            (Some(file), 0) => file.clone(),
            (Some(file), line) => format!("{file}:{line}"),
            (None, _) => String::new(),
        }
    }
}
