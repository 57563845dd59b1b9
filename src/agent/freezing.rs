//! `freeze` and `thaw`: what is published stays because somebody says so, over restarts too.
//!
//! It is certificates that are frozen, not names: a renewed certificate is not, since it never gets
//! the staple of the old one. A revocation does not undo a freeze: it is told as ever, and whoever
//! froze decides. The planner ends one when five sixteenths of the closing margin are left: at a quarter it is
//! critical, and the reload takes its time.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::refreshing::{Progress, Verdict, say};
use super::{Agent, StartError};
use crate::audit::{self, Recorder};
use crate::clock::{Clock as _, SystemClock};
use crate::config::Settings;
use crate::digest::Fingerprint;
use crate::happening::{Happening, Subject};
use crate::plan::{CertId, Event};
use crate::serve::control::Freeze;
use crate::store::{self, Store};

impl Agent {
    /// Freezes or thaws what is called so.
    pub(super) fn freeze(
        &mut self,
        order: &Freeze,
        uid: Option<u32>,
        replies: &mpsc::UnboundedSender<Bytes>,
    ) {
        let certs = match self.world.named(std::slice::from_ref(&order.name)) {
            Ok(certs) => certs,
            Err(unknown) => return say(replies, &Progress::Refused { reason: nobody(&unknown) }),
        };
        for cert in &certs {
            let certificate = self.subject(*cert);
            let changed = change(&mut self.frozen, certificate.fingerprint, order.thaw);
            self.handle(match order.thaw {
                true => Event::Thawed(*cert),
                false => Event::Frozen(*cert),
            });
            if changed {
                self.observe(happening(certificate.clone(), uid, order.thaw));
            }
            let view = self.planner.certificate(*cert);
            let until = view.and_then(|view| view.frozen_until);
            let text = match (order.thaw, changed, until) {
                (true, true, _) => "thawed: the newest staple is published".to_owned(),
                (true, false, _) => "was not frozen".to_owned(),
                (false, _, Some(until)) => {
                    format!("frozen: what is published stays, until {until} at most")
                }
                (false, _, None) => {
                    "frozen: nothing of its own is published yet; what comes first stays".to_owned()
                }
            };
            say(replies, &Progress::Certificate(Verdict::said(certificate, text)));
        }
        self.remember_frozen();
        say(replies, &Progress::Done { good: certs.len(), bad: 0 });
    }

    /// A freeze has ended by itself.
    pub(super) fn thawed(&mut self, cert: CertId) {
        let certificate = self.subject(cert);
        if change(&mut self.frozen, certificate.fingerprint, true) {
            self.remember_frozen();
            self.observe(Happening::Thawed { certificate, uid: None, by_itself: true });
        }
    }

    /// A certificate was found that was frozen before.
    pub(super) fn still_frozen(&mut self, cert: CertId) {
        if self.frozen.contains(&self.world.fingerprint(cert)) {
            self.handle(Event::Frozen(cert));
        }
    }

    fn remember_frozen(&mut self) {
        let stored = self.store.as_ref().map(|store| store.remember_frozen(&self.frozen));
        if let Some(Err(error)) = stored {
            self.complain(format!("{error}; a freeze or a thaw is forgotten at the next start"));
        }
    }
}

/// Freezes or thaws without a running agent, under its lock; the next one goes by it.
///
/// # Errors
/// [`StartError`], a name that nothing is called, or a full disk.
pub async fn freeze_here(settings: Settings, order: &Freeze) -> anyhow::Result<Vec<Verdict>> {
    let store = Store::open(&store::Settings { state_dir: settings.state_dir.clone() })
        .map_err(StartError::from)?;
    let recorder = Recorder::start(audit::Settings::new(settings.state_dir.join(audit::FOLDER)));
    let uid = nix::unistd::getuid().as_raw();
    let command = if order.thaw { "thaw" } else { "freeze" };
    recorder.observe(SystemClock.now().wall, Happening::by_hand(command, uid));
    let mut agent = Agent::with(settings, Arc::new(SystemClock), None)?;
    agent.rescan();
    while !agent.scanned {
        agent.step().await;
    }
    let certs = agent.world.named(std::slice::from_ref(&order.name));
    let certs = certs.map_err(|unknown| anyhow::anyhow!(nobody(&unknown)))?;
    let uid = Some(uid);
    let (mut verdicts, mut changed) = (Vec::new(), Vec::new());
    for cert in certs {
        let certificate = agent.subject(cert);
        let text =
            match (change(&mut agent.frozen, certificate.fingerprint, order.thaw), order.thaw) {
                (true, true) => "thawed, from the agent's next start on",
                (true, false) => "frozen, from the agent's next start on",
                (false, true) => "was not frozen",
                (false, false) => "was frozen already",
            };
        verdicts.push(Verdict::said(certificate.clone(), text.to_owned()));
        changed.push(certificate);
    }
    store.remember_frozen(&agent.frozen)?;
    for certificate in changed {
        recorder.observe(SystemClock.now().wall, happening(certificate, uid, order.thaw));
    }
    Ok(verdicts)
}

fn happening(certificate: Subject, uid: Option<u32>, thaw: bool) -> Happening {
    match thaw {
        true => Happening::Thawed { certificate, uid, by_itself: false },
        false => Happening::Frozen { certificate, uid },
    }
}

/// Says whether anything changed.
fn change(frozen: &mut BTreeSet<Fingerprint>, certificate: Fingerprint, thaw: bool) -> bool {
    match thaw {
        true => frozen.remove(&certificate),
        false => frozen.insert(certificate),
    }
}

fn nobody(name: &str) -> String {
    format!("there is no certificate called {name:?}; `staplekeeper status` lists them")
}
