//! What hooks are told about a certificate.

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Awaited;
use crate::agent::Agent;
use crate::agent::refreshing::{Progress, Verdict, say};
use crate::agent::status::{CertificateStatus, State};
use crate::plan::{CertId, Content};

impl Agent {
    /// What a hook is told about a certificate that it need not wait for any longer.
    pub(super) fn hook_verdict(&self, id: CertId, until: Instant) -> Option<Verdict> {
        let Some(status) = self.certificate_status(id) else {
            let (name, fingerprint) = (self.world.name(id).to_string(), self.world.fingerprint(id));
            let text = "it was replaced while this waited".to_owned();
            return Some(Verdict { name, fingerprint, good: true, text });
        };
        let (good, text) = match status.state {
            State::Good if self.is_published(id) => {
                (true, format!("its staple is published, {}", status.reason))
            }
            State::NoOcspUrl => (!status.must_staple, status.reason),
            State::NoIssuer if !status.must_staple => (true, status.reason),
            State::Revoked => (false, status.reason),
            _ if until <= Instant::now() => (false, late(&status)),
            _ => return None,
        };
        let CertificateStatus { name, fingerprint, .. } = status;
        Some(Verdict { name, fingerprint, good, text })
    }

    /// Its staple lies in every target that is its own.
    fn is_published(&self, id: CertId) -> bool {
        let held = self.world.certificates.get(&id).and_then(|known| known.held.as_ref());
        let Some(here) = held.map(|staple| Content::Staple(id, staple.digest())) else {
            return false;
        };
        let targets = self.planner.certificate(id).map(|view| view.targets).unwrap_or_default();
        let mut views = targets.into_iter().filter_map(|target| self.planner.target(target));
        views.all(|target| target.chosen != Some(id) || target.published == here)
    }

    /// Says once what keeps a certificate waiting.
    pub(super) fn say_why_it_waits(
        &self,
        id: CertId,
        awaited: &mut Awaited,
        replies: &mpsc::UnboundedSender<Bytes>,
    ) {
        let Some(known) = self.world.certificates.get(&id) else { return };
        if let Some(error) = known.last_error.as_ref().filter(|_| known.last_error != awaited.said)
        {
            say(replies, &Progress::Note { text: format!("{} waits: {error}", known.name()) });
            awaited.said = Some(error.clone());
        }
    }
}

/// Why a staple was not published in time, and what follows from that.
fn late(status: &CertificateStatus) -> String {
    let why = match (&status.state, &status.last_error) {
        (State::Good, _) => "its staple is here and could not be published".to_owned(),
        (_, Some(error)) => format!("{}: {error}", status.reason),
        (_, None) => status.reason.clone(),
    };
    let advice = match status.must_staple {
        true => "; whoever reloads a server now locks out clients",
        false => "; clients connect without one until it comes",
    };
    why + advice
}
