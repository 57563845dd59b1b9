//! Follows what ACME deploy hooks wait for: the staples of certificates that were just renewed.
//!
//! A hook names files or folders and the certificates in them. A look at everything that begins after
//! its call shows which of them matter here; the planner asks about those that have no staple yet,
//! every few seconds, until it is published or the hook's time is over. The reload is the caller's.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Agent;
use super::refreshing::{Progress, Verdict, say};
use super::status::{CertificateStatus, State};
use crate::digest::Fingerprint;
use crate::discover::Scan;
use crate::plan::{CertId, Content, Event, Want};
use crate::serve::control::Hook;

/// How long files that are on the move, and issuers that are fetched, may keep a hook from beginning.
const SETTLES: Duration = Duration::from_secs(10);

/// A hook on its way.
#[derive(Debug)]
pub(super) struct Hooking {
    order: Hook,
    /// The instant from which its time counts.
    since: Instant,
    /// The first look that begins after the call.
    scan: u64,
    /// What it waits for; none before that look is over.
    waiting: Option<BTreeMap<CertId, Awaited>>,
    told: BTreeSet<CertId>,
    good: usize,
    bad: usize,
    replies: mpsc::UnboundedSender<Bytes>,
}

/// One certificate that a hook waits for.
#[derive(Debug)]
struct Awaited {
    until: Instant,
    /// The last that was said about it.
    said: Option<Box<str>>,
}

impl Agent {
    /// Sets a hook going; what comes of it goes to `replies`, a JSON document a line.
    pub(super) fn hook(&mut self, order: Hook, replies: mpsc::UnboundedSender<Bytes>) {
        let now = Instant::now();
        let waited = Duration::from_secs(order.waited_seconds);
        self.hooking.push(Hooking {
            order,
            since: now.checked_sub(waited).unwrap_or(now),
            scan: self.scans_begun + 1,
            waiting: None,
            told: BTreeSet::new(),
            good: 0,
            bad: 0,
            replies,
        });
        self.scan_rest = now;
        self.rescan();
    }

    /// Which certificates lie where hooks wait, by a look that has just been taken in.
    pub(super) fn hooks_see(&mut self, scan: &Scan) {
        let mut hooking = std::mem::take(&mut self.hooking);
        let ended = self.scans_begun;
        for hook in hooking.iter_mut().filter(|hook| hook.scan <= ended) {
            // Half of a certificate's files may be the old ones still.
            let settled = scan.again_in.is_none() && self.issuers_awaited == 0;
            if settled || hook.since.elapsed() > SETTLES {
                self.hook_sees(hook, scan);
            }
        }
        self.hooking.append(&mut hooking);
    }

    /// Has the planner ask about those of a hook's certificates that are new to it.
    fn hook_sees(&mut self, hook: &mut Hooking, scan: &Scan) {
        let ids: Vec<CertId> =
            found(scan, &hook.order).iter().map(|leaf| self.world.cert_id(leaf)).collect();
        let waiting = hook.waiting.get_or_insert_default();
        for id in ids.into_iter().filter(|id| !hook.told.contains(id)) {
            let Some(known) = self.world.certificates.get(&id) else { continue };
            let until = hook.since + hook.order.patience(known.leaf.must_staple());
            let is_new = waiting.insert(id, Awaited { until, said: None }).is_none();
            let now = self.clock.now();
            let in_date = known.held.as_ref().is_some_and(|staple| staple.expires() > now.wall);
            if is_new && !in_date {
                let left = until.saturating_duration_since(Instant::now());
                let until = now.uptime + left;
                self.handle(Event::Wanted(vec![id], Want::Hook { until }));
            }
        }
    }

    /// Tells hooks what has been published since, and what will not be in time.
    pub(super) fn report_hooks(&mut self) {
        let mut hooking = std::mem::take(&mut self.hooking);
        hooking.retain_mut(|hook| {
            let Some(mut waiting) = hook.waiting.take() else { return !hook.replies.is_closed() };
            waiting.retain(|id, awaited| {
                let Some(verdict) = self.hook_verdict(*id, awaited.until) else {
                    self.say_why_it_waits(*id, awaited, &hook.replies);
                    return true;
                };
                *(if verdict.good { &mut hook.good } else { &mut hook.bad }) += 1;
                hook.told.insert(*id);
                say(&hook.replies, &Progress::Certificate(verdict));
                false
            });
            let goes_on = !waiting.is_empty();
            hook.waiting = Some(waiting);
            if !goes_on {
                say(&hook.replies, &Progress::Done { good: hook.good, bad: hook.bad });
            }
            goes_on && !hook.replies.is_closed()
        });
        self.hooking.append(&mut hooking);
    }

    /// When the next hook's time is over.
    pub(super) fn hooks_due(&self) -> Option<Instant> {
        let waiting = self.hooking.iter().filter_map(|hook| hook.waiting.as_ref());
        waiting.flat_map(|waiting| waiting.values().map(|awaited| awaited.until)).min()
    }

    pub(super) fn is_hooking(&self) -> bool {
        !self.hooking.is_empty()
    }

    /// What a hook is told about a certificate that it need not wait for any longer.
    fn hook_verdict(&self, id: CertId, until: Instant) -> Option<Verdict> {
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
    fn say_why_it_waits(
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

/// The certificates that a hook is about: by what it read itself, or where it looked.
fn found(scan: &Scan, order: &Hook) -> BTreeSet<Fingerprint> {
    let there = scan.lineages.iter().filter(|lineage| {
        let lies = || order.paths.iter().any(|path| lineage.path.starts_with(path));
        order.leaves.contains(&lineage.leaf.fingerprint()) || !lineage.stale && lies()
    });
    there.map(|lineage| lineage.leaf.fingerprint()).collect()
}
