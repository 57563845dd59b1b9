//! Judges a status document as a monitor does: one grade, and a line for each thing that is wrong.

use std::time::Duration;

use super::output::{Figures, left};
use crate::agent::status::{
    CertificateStatus, Document, ResponderStatus, ServerStatus, Severity, State, Trouble,
};
use crate::time::{MINUTE, UnixTime, format_duration};

/// Certificates that are named one by one; of more, only their number is told.
const MOST_NAMED: usize = 10;
/// A first pass may take so long: a responder that hangs is given up after seconds.
const FIRST_PASS: Duration = MINUTE.saturating_mul(10);

/// What a monitor makes of it. The order is that of how bad it is among the first three.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// All is well.
    Ok,
    /// Will hurt if nobody looks.
    Warning,
    /// Hurts.
    Critical,
    /// Nobody knows: there is no agent, or it says nothing.
    Unknown,
}

impl Grade {
    /// The plugin's exit status.
    pub fn exit_status(self) -> u8 {
        match self {
            Grade::Ok => 0,
            Grade::Warning => 1,
            Grade::Critical => 2,
            Grade::Unknown => 3,
        }
    }
}

impl From<Severity> for Grade {
    fn from(severity: Severity) -> Grade {
        match severity {
            Severity::Ok | Severity::Info => Grade::Ok,
            Severity::Warning => Grade::Warning,
            Severity::Critical => Grade::Critical,
        }
    }
}

/// Limits of slack that were given by hand; without them the schedule's own count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Thresholds {
    /// Warn below.
    pub warning: Option<Duration>,
    /// Critical below.
    pub critical: Option<Duration>,
}

impl Thresholds {
    /// The worst that may be said of a certificate now, and what says so.
    fn grade(&self, certificate: &CertificateStatus, slack: Option<i64>) -> Grade {
        let below = |limit: Duration| {
            let limit = i64::try_from(limit.as_secs()).unwrap_or(i64::MAX);
            slack.is_some_and(|slack| slack < limit)
        };
        // A limit by hand takes the place of the schedule's where there is a slack to compare.
        let replaced = |limit: Option<Duration>| limit.is_some() && slack.is_some();
        let counts = |trouble: &&Trouble| match trouble {
            Trouble::Late => !replaced(self.warning),
            Trouble::AtRisk => !replaced(self.critical),
            _ => true,
        };
        let counted = certificate.troubles.iter().filter(counts);
        let told = counted.map(|trouble| Severity::from(trouble.severity()).into()).max();
        let by_hand = [
            (self.warning.is_some_and(below), Grade::Warning),
            (self.critical.is_some_and(below), Grade::Critical),
        ];
        let by_hand = by_hand.into_iter().filter(|(is_so, _)| *is_so).map(|(_, grade)| grade);
        by_hand.chain(told).max().unwrap_or(Grade::Ok)
    }
}

/// What the plugin prints.
#[derive(Clone, Debug)]
pub struct Report {
    /// The exit status.
    pub grade: Grade,
    /// For the first line, behind the grade.
    pub text: String,
    /// A line each.
    pub details: Vec<String>,
    pub(super) figures: Option<Figures>,
}

impl Report {
    /// Nobody knows, for this reason.
    pub(super) fn unknown(text: String) -> Report {
        Report { grade: Grade::Unknown, text, details: Vec::new(), figures: None }
    }

    /// What is still known from the last document of an agent that says no more.
    pub(super) fn with_last_words(mut self, document: &Document, now: UnixTime) -> Report {
        let mut slacks =
            document.certificates.iter().filter_map(|one| Some((slack(one, document, now)?, one)));
        let line = match slacks.by_ref().min_by_key(|(slack, _)| *slack) {
            Some((slack, first)) if slack > 0 => {
                format!(
                    "by what it said last, staples in use last for {} yet ({})",
                    left(slack),
                    first.name
                )
            }
            Some((_, first)) => {
                format!("by what it said last, the staple of {} has run out meanwhile", first.name)
            }
            None => return self,
        };
        self.details.push(line);
        self
    }
}

/// How long until clients break, at this instant.
fn slack(certificate: &CertificateStatus, document: &Document, now: UnixTime) -> Option<i64> {
    let deployed = !certificate.targets.is_empty();
    let slack = certificate.slack_seconds.filter(|_| deployed)?;
    Some(slack.saturating_sub(now.seconds_since(document.at).max(0)))
}

/// Judges what the agent says, at the instant `now`, which is not before the document's.
pub fn judge(document: &Document, thresholds: Thresholds, now: UnixTime) -> Report {
    let mut findings = Findings::default();
    findings.agent(document, now);
    // By a clock that cannot be believed no slack is right; what the agent tells it has weighed.
    let thresholds = if document.agent.clock_suspect { Thresholds::default() } else { thresholds };
    let sick: Vec<&ResponderStatus> =
        document.responders.iter().filter(|one| one.severity >= Severity::Warning).collect();
    let mut behind = vec![Behind::default(); sick.len()];
    let mut figures = Figures::new(document, thresholds);
    let mut wrong = Vec::new();
    for certificate in &document.certificates {
        let slack = slack(certificate, document, now);
        let grade = thresholds.grade(certificate, slack);
        figures.count(certificate, grade, slack);
        if grade == Grade::Ok {
            continue;
        }
        match blamed(certificate, &sick) {
            Some(place) => behind[place].take(certificate, grade, slack),
            None => wrong.push((grade, slack, certificate)),
        }
    }
    for (responder, behind) in sick.iter().zip(behind) {
        findings.add(behind.grade.max(Some(Grade::Warning)).expect("some"), behind.line(responder));
    }
    document.servers.iter().for_each(|server| findings.server(server));
    findings.certificates(wrong, now);
    if let Some(loopback) = &document.loopback {
        let errors = loopback.listen.iter().filter_map(|one| one.error.clone());
        errors.for_each(|error| findings.add(Grade::Warning, error));
    }
    findings.report(document, figures)
}

/// The sick responder that a certificate suffers from, where it suffers from nothing else.
fn blamed(certificate: &CertificateStatus, sick: &[&ResponderStatus]) -> Option<usize> {
    let waits = |trouble: &Trouble| matches!(trouble, Trouble::Late | Trouble::AtRisk);
    let place = |url: &String| sick.iter().position(|one| one.url == *url);
    let places: Option<Vec<usize>> = certificate.responders.iter().map(place).collect();
    // One that works would be asked: then something else is the matter.
    let first = places.and_then(|places| places.first().copied());
    first.filter(|_| certificate.troubles.iter().all(waits))
}

/// The certificates that suffer from a responder.
#[derive(Clone, Default)]
struct Behind {
    grade: Option<Grade>,
    number: usize,
    /// The one with the least slack, and its name.
    first: Option<(Option<i64>, String)>,
}

impl Behind {
    fn take(&mut self, certificate: &CertificateStatus, grade: Grade, slack: Option<i64>) {
        self.grade = self.grade.max(Some(grade));
        self.number += 1;
        if self.first.as_ref().is_none_or(|(least, _)| slack < *least) {
            self.first = Some((slack, certificate.name.clone()));
        }
    }

    fn line(&self, responder: &ResponderStatus) -> String {
        let mut line = format!(
            "responder {} is down, {} failures in a row, {} certificates wait for it",
            responder.url, responder.failures, responder.waiting
        );
        if let Some((slack, name)) = &self.first {
            let slack = slack
                .map_or_else(|| "no staple".to_owned(), |slack| format!("{} left", left(slack)));
            line += &format!("; {} of them are late, {name} first: {slack}", self.number);
        }
        line
    }
}

#[derive(Default)]
struct Findings {
    all: Vec<(Grade, String)>,
}

impl Findings {
    fn add(&mut self, grade: Grade, line: String) {
        self.all.push((grade, line));
    }

    fn agent(&mut self, document: &Document, now: UnixTime) {
        let agent = &document.agent;
        if agent.clock_suspect {
            let line = "the clock cannot be believed: nothing is withdrawn until it can; see to time \
                        synchronisation";
            self.add(Grade::Warning, line.to_owned());
        }
        let since = agent.started_at.filter(|_| !agent.ready).map(|started| now.since(started));
        if let Some(since) = since.filter(|since| *since > FIRST_PASS) {
            let since = format_duration(since);
            self.add(Grade::Warning, format!("the agent's first pass is not done after {since}"));
        }
    }

    fn server(&mut self, server: &ServerStatus) {
        let name = match &server.config {
            Some(config) => format!("{} ({config})", server.kind),
            None => server.kind.clone(),
        };
        if server.severity >= Severity::Warning {
            let why = server.last_error.as_deref().unwrap_or("see the log");
            let line =
                format!("{name} is not reloaded, {} staples wait for it: {why}", server.pending);
            self.add(server.severity.into(), line);
        }
        if server.running && !server.complete {
            let line = format!(
                "the configuration of {name} cannot be read, what was read before is in effect; see \
                 `staplekeeper status`"
            );
            self.add(Grade::Warning, line);
        }
    }

    fn certificates(
        &mut self,
        mut wrong: Vec<(Grade, Option<i64>, &CertificateStatus)>,
        now: UnixTime,
    ) {
        wrong.sort_by_key(|(grade, slack, _)| (std::cmp::Reverse(*grade), *slack));
        for (grade, slack, certificate) in wrong.iter().take(MOST_NAMED) {
            self.add(*grade, line(certificate, *slack, now));
        }
        let rest = wrong.get(MOST_NAMED..).unwrap_or_default();
        if let Some((grade, ..)) = rest.first() {
            let line =
                format!("and {} more certificates; `staplekeeper status` names them", rest.len());
            self.add(*grade, line);
        }
    }

    fn report(mut self, document: &Document, figures: Figures) -> Report {
        self.all.sort_by_key(|(grade, _)| std::cmp::Reverse(*grade));
        let grade = self.all.first().map_or(Grade::Ok, |(grade, _)| *grade);
        let text = match &*self.all {
            [] => figures.summary(document.agent.ready),
            [(_, only)] => only.clone(),
            [(_, worst), rest @ ..] => format!("{worst} (and {} more)", rest.len()),
        };
        let details = self.all.into_iter().map(|(_, line)| line);
        // What is the first line already need not be said twice.
        let details = if details.len() == 1 { Vec::new() } else { details.collect() };
        Report { grade, text, details, figures: Some(figures) }
    }
}

/// What is wrong with one certificate.
fn line(certificate: &CertificateStatus, slack: Option<i64>, now: UnixTime) -> String {
    let has = |trouble| certificate.troubles.contains(&trouble);
    let name = &certificate.name;
    let must = if certificate.must_staple { " (Must-Staple)" } else { "" };
    let mut line = match slack {
        _ if has(Trouble::Revoked) => format!("{name}{must}: {}", certificate.reason),
        _ if has(Trouble::ServedMismatch) => {
            format!(
                "{name}{must}: clients are handed something else than was published; does the \
                     server read the file that is written?"
            )
        }
        _ if certificate.state != State::Good => format!("{name}{must}: {}", certificate.reason),
        Some(slack) if slack <= 0 => format!("{name}{must}: the staple in use has run out"),
        Some(slack) => {
            format!("{name}{must}: the staple in use lasts {} and is not renewed", left(slack))
        }
        None => format!("{name}{must}: clients are handed no staple"),
    };
    if has(Trouble::PublishFailed) {
        let paths: Vec<_> = certificate.targets.iter().map(|target| &*target.path).collect();
        line += &format!("; its staple cannot be written to {}", paths.join(", "));
    }
    if let Some(error) = &certificate.last_error {
        line += &format!("; last attempt: {error}");
    }
    if let Some(at) = certificate.next_attempt.filter(|at| *at > now) {
        line += &format!("; next attempt in {}", format_duration(at.since(now)));
    }
    line
}
