//! What `systemctl status` shows beside the unit's name: how things stand, in a line.

use sd_notify::NotifyState;

use super::Agent;
use super::status::{Document, Severity};
use crate::time::format_duration;

impl Agent {
    /// Tells the service manager how things stand, where that is news.
    pub(super) fn say_status(&mut self, document: &Document) {
        let line = line(document);
        if self.said != line {
            // Whoever started the agent by hand does not listen.
            let _ = sd_notify::notify(&[NotifyState::Status(&line)]);
            self.said = line;
        }
    }
}

/// `14 certificates, least slack 3d 2h (www)`.
fn line(document: &Document) -> String {
    let certificates = &document.certificates;
    let mut line = match certificates.len() {
        1 => "1 certificate".to_owned(),
        number => format!("{number} certificates"),
    };
    if !document.agent.ready {
        line += ", the first pass is under way";
    }
    let slack =
        |one: &super::status::CertificateStatus| Some((one.slack_seconds?, one.name.clone()));
    match certificates.iter().filter_map(slack).min() {
        Some((slack, name)) if slack < 0 => line += &format!(", the staple of {name} ran out"),
        Some((slack, name)) => {
            let slack = std::time::Duration::from_secs(slack.unsigned_abs());
            line += &format!(", least slack {} ({name})", format_duration(slack));
        }
        None => {}
    }
    let critical = certificates.iter().filter(|one| one.severity == Severity::Critical).count();
    if critical > 0 {
        line += &format!(", {critical} critical: see `staplekeeper status`");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `line` for certificates of these names, slacks and severities.
    fn check(ready: bool, certificates: &[(&str, Option<i64>, &str)], expected: &str) {
        let certificates = certificates.iter().map(|(name, slack, severity)| {
            serde_json::json!({
                "name": name, "fingerprint": "00".repeat(32), "subject": name, "must_staple": true,
                "state": "good", "reason": "", "severity": severity, "slack_seconds": slack,
                "failures": 0, "not_after": "2027-01-01T00:00:00Z", "responders": [], "targets": [],
            })
        });
        let document = serde_json::json!({
            "schema": 1, "at": "2026-11-22T00:00:00Z",
            "agent": {"version": "1", "pid": 1, "ready": ready, "clock_suspect": false},
            "certificates": certificates.collect::<Vec<_>>(), "servers": [], "responders": [],
            "problems": [],
        });
        let document = serde_json::from_value(document).expect("a status document");
        assert_eq!(line(&document), expected);
    }

    #[test]
    fn how_things_stand() {
        check(true, &[], "0 certificates");
        check(false, &[("a", None, "ok")], "1 certificate, the first pass is under way");
        check(
            true,
            &[("a", Some(400_000), "ok"), ("www", Some(266_400), "ok"), ("b", None, "info")],
            "3 certificates, least slack 3d 2h (www)",
        );
        check(
            true,
            &[("a", Some(-5), "critical"), ("b", Some(60), "ok")],
            "2 certificates, the staple of a ran out, 1 critical: see `staplekeeper status`",
        );
    }
}
