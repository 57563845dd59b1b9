//! The metrics of each certificate: a hundred bytes apiece while a scrape lasts.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::DescriptorEncoder;

use super::snapshot::{gauges, number};
use crate::digest::Fingerprint;
use crate::plan::{CertificateView, LoadedView, ResponderId, Severity, Trouble};
use crate::time::UnixTime;

/// One certificate.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) name: Arc<str>,
    /// The first half of its fingerprint's hex digits is unique enough, and short.
    id: String,
    not_after: UnixTime,
    must_staple: bool,
    deployed: bool,
    severity: Severity,
    revoked: bool,
    responders: usize,
    failures: u32,
    held: Option<(UnixTime, UnixTime)>,
    safe_until: Option<UnixTime>,
    turns: (Option<UnixTime>, Option<UnixTime>),
    /// All its responders are down, and nothing else is the matter.
    waits: bool,
    /// Clients are handed what was published; `None`: nobody could be asked.
    matches: Option<bool>,
}

impl Row {
    /// A certificate as the planner shows it, with what servers hold for it; `down` are responders that
    /// have an alert of their own.
    pub(super) fn of(
        name: Arc<str>,
        fingerprint: Fingerprint,
        not_after: UnixTime,
        view: &CertificateView,
        loaded: &[LoadedView],
        down: &HashSet<ResponderId>,
    ) -> Row {
        let waits = |trouble: &Trouble| matches!(trouble, Trouble::Late | Trouble::AtRisk);
        let mut id = fingerprint.to_string();
        id.truncate(16);
        let mismatch = loaded.iter().any(|one| one.mismatch);
        let proved = loaded.iter().any(|one| one.proved);
        Row {
            name,
            id,
            not_after,
            must_staple: view.must_staple,
            deployed: view.deployed,
            severity: view.severity,
            revoked: view.troubles.contains(&Trouble::Revoked),
            responders: view.responders.len(),
            failures: view.failures,
            // As `check` blames them.
            waits: !view.responders.is_empty()
                && view.responders.iter().all(|one| down.contains(one))
                && view.troubles.iter().all(waits),
            held: view.held.map(|held| (held.this_update, held.expires)),
            safe_until: view.safe_until.filter(|_| view.deployed),
            turns: view.turns,
            matches: (mismatch || proved).then_some(!mismatch),
        }
    }
}

type Value = fn(&Row) -> Option<i64>;

/// Name, meaning, and how it is read; what has no value is left out.
const METRICS: [(&str, &str, Value); 14] = [
    ("certificate_not_after_timestamp_seconds", "When the certificate ends", |row| {
        Some(row.not_after.as_secs())
    }),
    ("certificate_must_staple", "Clients refuse it without a staple (RFC 7633)", |row| {
        Some(row.must_staple.into())
    }),
    ("certificate_responders", "OCSP URLs it is asked about at; 0: nothing to staple", |row| {
        i64::try_from(row.responders).ok()
    }),
    ("certificate_deployed", "A server presents it, and a place for its staple is known", |row| {
        Some(row.deployed.into())
    }),
    (
        "certificate_severity",
        "0: fine; 1: worth knowing; 2: warning; 3: critical, by the agent's own schedule",
        |row| Some(number(row.severity)),
    ),
    ("certificate_revoked", "Its CA says revoked, and it is deployed", |row| {
        Some(row.revoked.into())
    }),
    ("certificate_failures", "Attempts to refresh its staple that failed in a row", |row| {
        Some(row.failures.into())
    }),
    (
        "certificate_waits_for_responder",
        "All its responders are down (their severity is 2), and nothing else is the matter with it",
        |row| (row.responders > 0).then_some(row.waits.into()),
    ),
    ("certificate_served_matches", "Handshakes show what was published", |row| {
        row.matches.map(i64::from)
    }),
    ("staple_this_update_timestamp_seconds", "thisUpdate of the staple that is held", |row| {
        row.held.map(|(this_update, _)| this_update.as_secs())
    }),
    (
        "staple_effective_expiry_timestamp_seconds",
        "When clients stop believing the staple that is held",
        |row| row.held.map(|(_, expires)| expires.as_secs()),
    ),
    (
        "staple_served_expiry_timestamp_seconds",
        "When clients stop believing the staple that servers hand out; absent: they hand out none",
        |row| row.safe_until.map(UnixTime::as_secs),
    ),
    (
        "staple_warning_timestamp_seconds",
        "When what servers hand out becomes worth a warning unless it is replaced",
        |row| row.turns.0.map(UnixTime::as_secs),
    ),
    (
        "staple_critical_timestamp_seconds",
        "When what servers hand out becomes critical unless it is replaced (Must-Staple)",
        |row| row.turns.1.map(UnixTime::as_secs),
    ),
];

fn labels(row: &Row) -> [(&'static str, &str); 2] {
    [("name", &row.name), ("id", &row.id)]
}

/// Writes all metrics of all certificates.
pub(super) fn encode(encoder: &mut DescriptorEncoder<'_>, rows: &[Row]) -> fmt::Result {
    for (name, help, value) in METRICS {
        gauges(encoder, (name, help), rows, labels, value)?;
    }
    Ok(())
}
