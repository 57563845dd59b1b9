//! The operator's commands: hooks, at what happens.

use std::collections::HashSet;

use super::Agent;
use super::message::Message;
use crate::digest::Fingerprint;
use crate::happening::Happening;
use crate::hooks::{Ended, Event, Hooks, Occasion};

/// Certificates that hooks were told of or need not be told of, over restarts.
#[derive(Debug, Default)]
pub(super) struct Seen {
    fingerprints: HashSet<Fingerprint>,
    /// There was no memory: what the first look finds is where the record begins.
    begins: bool,
    changed: bool,
}

impl Agent {
    /// Gets the configured hooks ready. Those of an earlier configuration still tell what they have to.
    pub(super) fn start_hooks(&mut self) {
        let outbox = self.outbox.clone();
        let ended = move |ended| {
            // The loop has ended where nobody receives.
            let _ = outbox.send(Message::HookEnded(ended));
        };
        self.failed_commands.clear();
        self.hooks = Hooks::start(self.settings.hooks.iter().cloned(), ended);
        if self.hooks.want(Event::Discovered) && self.seen.is_none() {
            let known = self.state.seen();
            let (begins, changed) = (known.is_none() && !self.scanned, false);
            let mut fingerprints: HashSet<_> = known.into_iter().flatten().collect();
            if self.scanned {
                let found = self.world.certificates.values();
                fingerprints.extend(found.map(|known| known.leaf.fingerprint()));
            }
            self.seen = Some(Seen { fingerprints, begins, changed });
        }
    }

    /// Runs what is to be run at this.
    pub(super) fn call_hooks(&mut self, happening: &Happening) {
        if let Happening::Discovered { certificate, .. } = happening {
            let Some(seen) = &mut self.seen else { return };
            let new = seen.fingerprints.insert(certificate.fingerprint);
            seen.changed |= new;
            if !new || seen.begins {
                return;
            }
        }
        let wanted = Occasion::of(happening).is_some_and(|one| self.hooks.want(one.event));
        if !self.told.is_news(happening, wanted) {
            return;
        }
        self.hooks.observe(happening, self.clock.now().wall);
    }

    /// A look at everything is over: what was told is remembered.
    pub(super) fn remember_seen(&mut self) {
        let (Some(seen), Some(store)) = (&mut self.seen, self.store.clone()) else { return };
        if !std::mem::take(&mut seen.begins) && !seen.changed {
            return;
        }
        seen.changed = false;
        // Certificates come and go for years; those that are gone need not be remembered for ever.
        if seen.fingerprints.len() > 1_000 + 4 * self.world.certificates.len() {
            let found = self.world.certificates.values();
            seen.fingerprints = found.map(|known| known.leaf.fingerprint()).collect();
        }
        let fingerprints: Vec<_> = seen.fingerprints.iter().copied().collect();
        tokio::task::spawn_blocking(move || {
            if let Err(error) = store.remember_seen(&fingerprints) {
                tracing::warn!(%error, "hooks may be told again of certificates that are not new");
            }
        });
    }

    /// A hook has ended; where it did not do its work that is said, and nothing else.
    pub(super) fn hook_ended(&mut self, ended: Ended) {
        let Ended { event, command, error } = ended;
        let key = format!("hook {command}");
        let Some(error) = error else {
            self.failed_commands.remove(&key);
            return;
        };
        self.command_failed(key, format!("the hook at {event}: {error}"));
        self.observe(Happening::HookFailed { hook: event.to_string(), error });
    }

    /// Keeps what is wrong with a command for the status until it has done its work, and logs it.
    pub(super) fn command_failed(&mut self, key: String, text: String) {
        tracing::warn!("{text}");
        self.failed_commands.insert(key, text);
    }
}
