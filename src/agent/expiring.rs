//! Certificates that run out themselves: told, and renewed by the operator's ACME client.

use std::time::Duration;

use super::Agent;
use super::message::Message;
use crate::command::{self, Run};
use crate::happening::{Condition, Happening};
use crate::plan::{CertId, ExpiryAction, ExpiryPolicy, Life, RenewalAttempts};
use crate::time::{MINUTE, Now, UnixTime};

/// How long an ACME client may take: its own hooks may wait for the CA.
const LIMIT: Duration = MINUTE.saturating_mul(30);

impl Agent {
    /// What the settings say about expiry; `renews`: this process may run the ACME client.
    pub(super) fn expiry_policy(&self, renews: bool) -> ExpiryPolicy {
        ExpiryPolicy {
            warn_below: self.settings.expiry_warn_below,
            renews: renews && !self.settings.renew.is_empty(),
            seed: self.store.as_ref().map_or(0, |store| store.seed()),
        }
    }

    /// Follows the life of a certificate that was found.
    pub(super) fn follow_life(&mut self, id: CertId) {
        let Some(known) = self.world.certificates.get(&id) else { return };
        let identity = known.leaf.fingerprint();
        let (not_before, not_after) = (known.leaf.not_before(), known.leaf.not_after());
        let attempts = self.renewals.get(&identity).copied().unwrap_or_default();
        self.expiry.found(id, Life { identity, not_before, not_after, attempts });
    }

    /// It is about to be forgotten.
    pub(super) fn life_is_over(&mut self, id: CertId) {
        self.failed_commands.remove(&renewal_key(id));
        let action = self.expiry.gone(id);
        action.into_iter().for_each(|action| self.perform_expiry(action));
    }

    /// Does what is due, and sets the alarm for what comes next.
    pub(super) fn look_at_expiry(&mut self) {
        // A clock that went ahead makes everything look old.
        let doubt = self.planner.clock_is_suspect() || !self.scanned;
        let mut due = UnixTime::MAX;
        if !doubt {
            let actions = self.expiry.tick(self.clock.now().wall);
            actions.into_iter().for_each(|action| self.perform_expiry(action));
            due = self.expiry.wakes_at();
        }
        if std::mem::replace(&mut self.expiry_due, due) != due {
            self.set_wake();
        }
    }

    /// The planner and the expiry of certificates share an alarm.
    pub(super) fn set_wake(&mut self) {
        let due = self.expiry_due;
        self.wake_at = self.planner_wakes.map(|at| Now { wall: at.wall.min(due), ..at });
    }

    fn perform_expiry(&mut self, action: ExpiryAction) {
        match action {
            ExpiryAction::Begins(id) => {
                let condition = self.expiring(id);
                self.observe(Happening::Begins { condition });
            }
            ExpiryAction::Ends(id) => {
                let condition = self.expiring(id);
                self.observe(Happening::Ends { condition });
            }
            ExpiryAction::Renew(id, attempts) => self.renew(id, attempts),
        }
    }

    fn expiring(&self, id: CertId) -> Condition {
        let known = self.world.certificates.get(&id);
        let not_after = known.map_or(UnixTime::MAX, |known| known.leaf.not_after());
        Condition::Expiring { certificate: self.subject(id), not_after }
    }

    /// Runs the ACME client, once it is on disk that it was.
    fn renew(&mut self, id: CertId, attempts: RenewalAttempts) {
        let certificate = self.subject(id);
        let words = self.settings.renew.iter();
        let words: Vec<String> =
            words.map(|word| word.replace("{name}", &certificate.name)).collect();
        let environment = vec![("STAPLEKEEPER_NAME", certificate.name.clone())];
        self.renewals.insert(certificate.fingerprint, attempts);
        let known = &self.world.fingerprints;
        self.renewals.retain(|fingerprint, _| known.is_known(fingerprint));
        let (store, renewals) = (self.store.clone(), self.renewals.clone());
        let command = words.join(" ");
        self.observe(Happening::Renewing { certificate, command, attempt: attempts.made });
        let outbox = self.outbox.clone();
        tokio::spawn(async move {
            let written = tokio::task::spawn_blocking(move || {
                store.map_or(Ok(()), |store| store.remember_renewals(&renewals))
            });
            if let Ok(Err(error)) = written.await {
                tracing::warn!(%error, "after a restart this attempt to renew is forgotten");
            }
            let run = Run { words, environment, limit: LIMIT, ..Run::default() };
            let outcome = command::run(run).await.map_err(|error| error.to_string());
            // The loop has ended where nobody receives.
            let _ = outbox.send(Message::Renewed { cert: id, outcome });
        });
    }

    /// The ACME client has ended. Whether it renewed anything is what the next look shows.
    pub(super) fn renewed(&mut self, id: CertId, outcome: Result<String, String>) {
        self.expiry.ended(id);
        let certificate = self.subject(id);
        self.failed_commands.remove(&renewal_key(id));
        if let Err(error) = &outcome {
            let text = format!("{certificate}: renewing it failed: {error}");
            self.command_failed(renewal_key(id), text);
        }
        let (output, error) = match outcome {
            Ok(output) => (output, None),
            Err(error) => (String::new(), Some(error)),
        };
        self.observe(Happening::RenewalEnded { certificate, output, error });
        self.rescan();
    }
}

fn renewal_key(id: CertId) -> String {
    format!("renewal {}", id.0)
}
