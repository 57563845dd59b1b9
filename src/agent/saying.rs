//! What `systemctl status` shows beside the unit's name: how things stand, in a line.

use sd_notify::NotifyState;

use super::Agent;
use super::brief::Brief;
use super::status::Severity;
use crate::time::format_duration;

impl Agent {
    /// Tells the service manager how things stand, where that is news.
    pub(super) fn say_status(&mut self, certificates: &[Brief]) {
        let line = line(self.ready, certificates);
        if self.said != line {
            // Whoever started the agent by hand does not listen.
            let _ = sd_notify::notify(&[NotifyState::Status(&line)]);
            self.said = line;
        }
    }
}

/// `14 certificates, least slack 3d 2h (www)`.
fn line(ready: bool, certificates: &[Brief]) -> String {
    let mut line = match certificates.len() {
        1 => "1 certificate".to_owned(),
        number => format!("{number} certificates"),
    };
    if !ready {
        line += ", the first pass is under way";
    }
    let slack = |one: &Brief| Some((one.slack_seconds?, one.name.clone()));
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
    use crate::agent::status::State;
    use crate::plan::CertId;
    use crate::time::UnixTime;

    /// `line` for certificates of these names, slacks and severities.
    fn check(ready: bool, certificates: &[(&str, Option<i64>, Severity)], expected: &str) {
        let briefs: Vec<_> = (0..)
            .zip(certificates)
            .map(|(id, (name, slack, severity))| Brief {
                id: CertId(id),
                name: (*name).into(),
                severity: *severity,
                state: State::Good,
                slack_seconds: *slack,
                not_after: UnixTime::MAX,
                must_staple: true,
                placed: true,
            })
            .collect();
        assert_eq!(line(ready, &briefs), expected);
    }

    #[test]
    fn how_things_stand() {
        check(true, &[], "0 certificates");
        check(false, &[("a", None, Severity::Ok)], "1 certificate, the first pass is under way");
        check(
            true,
            &[
                ("a", Some(400_000), Severity::Ok),
                ("www", Some(266_400), Severity::Ok),
                ("b", None, Severity::Info),
            ],
            "3 certificates, least slack 3d 2h (www)",
        );
        check(
            true,
            &[("a", Some(-5), Severity::Critical), ("b", Some(60), Severity::Ok)],
            "2 certificates, the staple of a ran out, 1 critical: see `staplekeeper status`",
        );
    }
}
