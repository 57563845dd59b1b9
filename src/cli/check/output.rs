//! A report as monitors read it: the first line, its figures behind a bar, details below.

use std::fmt;
use std::time::Duration;

use super::judge::{Grade, Report, Thresholds};
use crate::agent::status::{CertificateStatus, Document, State};
use crate::pki::printable;
use crate::time::format_duration;

/// What is counted. The labels are these, however many certificates there are.
#[derive(Clone, Debug)]
pub(super) struct Figures {
    thresholds: Thresholds,
    certificates: usize,
    must_staple: usize,
    warning: usize,
    critical: usize,
    without_staple: usize,
    responders: usize,
    responders_down: usize,
    /// In seconds, and whose.
    least_slack: Option<(i64, String)>,
}

impl Figures {
    pub(super) fn new(document: &Document, thresholds: Thresholds) -> Figures {
        Figures {
            thresholds,
            certificates: document.certificates.len(),
            must_staple: 0,
            warning: 0,
            critical: 0,
            without_staple: 0,
            responders: document.responders.len(),
            responders_down: document.responders.iter().filter(|one| one.down).count(),
            least_slack: None,
        }
    }

    pub(super) fn count(
        &mut self,
        certificate: &CertificateStatus,
        grade: Grade,
        slack: Option<i64>,
    ) {
        self.must_staple += usize::from(certificate.must_staple);
        self.warning += usize::from(grade == Grade::Warning);
        self.critical += usize::from(grade == Grade::Critical);
        let wants = !matches!(certificate.state, State::NoOcspUrl | State::NoIssuer);
        let deployed = !certificate.targets.is_empty();
        self.without_staple += usize::from(wants && deployed && slack.is_none());
        if let Some(slack) = slack
            && self.least_slack.as_ref().is_none_or(|(least, _)| slack < *least)
        {
            self.least_slack = Some((slack, certificate.name.clone()));
        }
    }

    /// Where nothing is wrong.
    pub(super) fn summary(&self, ready: bool) -> String {
        let mut text = match self.certificates {
            1 => "1 certificate".to_owned(),
            number => format!("{number} certificates"),
        };
        if self.must_staple > 0 {
            text += &format!(" ({} Must-Staple)", self.must_staple);
        }
        if let Some((slack, name)) = &self.least_slack {
            text += &format!(", the first staple runs out in {} ({name})", left(*slack));
        }
        if !ready {
            text += "; the agent is at its first pass";
        }
        text
    }
}

/// Slack for people.
pub(super) fn left(slack: i64) -> String {
    match u64::try_from(slack) {
        Ok(slack) => format_duration(Duration::from_secs(slack)),
        Err(_) => "nothing".to_owned(),
    }
}

/// `label=value[unit];warn;crit;min`, by the guidelines of the Monitoring Plugins.
impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [
            ("certificates", self.certificates),
            ("must_staple", self.must_staple),
            ("warning", self.warning),
            ("critical", self.critical),
            ("without_staple", self.without_staple),
            ("responders", self.responders),
            ("responders_down", self.responders_down),
        ];
        for (label, count) in counts {
            write!(f, "{label}={count};;;0 ")?;
        }
        if let Some((slack, _)) = &self.least_slack {
            // "Alarm below" is written with a colon behind.
            let limit = |limit: Option<Duration>| {
                limit.map(|limit| format!("{}:", limit.as_secs())).unwrap_or_default()
            };
            let Thresholds { warning, critical } = self.thresholds;
            write!(f, "least_slack={slack}s;{};{}", limit(warning), limit(critical))?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let grade = match self.grade {
            Grade::Ok => "OK",
            Grade::Warning => "WARNING",
            Grade::Critical => "CRITICAL",
            Grade::Unknown => "UNKNOWN",
        };
        write!(f, "STAPLEKEEPER {grade}: {}", plain(&self.text))?;
        if let Some(figures) = &self.figures {
            write!(f, " | {}", figures.to_string().trim_end())?;
        }
        writeln!(f)?;
        self.details.iter().try_for_each(|line| writeln!(f, "{}", plain(line)))
    }
}

/// A bar begins figures and a line's end ends the line, wherever they come from.
fn plain(text: &str) -> String {
    let replaced = text.chars().map(|c| match c {
        '|' => '/',
        c if c.is_control() => ' ',
        c => c,
    });
    printable(&replaced.collect::<String>())
}
