//! Follows what ACME deploy hooks wait for: the staples of certificates that were just renewed.
//!
//! A hook names files or folders and the certificates in them. A look at everything that begins after
//! its call shows which of them matter here; the planner asks about those that have no staple yet,
//! every few seconds, until it is published or the hook's time is over. The reload is the caller's.
//! `times` says when hooks are told something, `verdict` what.

mod times;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Agent;
use super::refreshing::{Progress, say};
use crate::digest::Fingerprint;
use crate::discover::Scan;
use crate::happening::Happening;
use crate::plan::{CertId, Event, Want};
use crate::serve::control::Hook;
use times::Begins;
pub(super) use times::Hookings;

/// So many hooks are followed at the same time: each is looked at whenever something happens.
const AT_ONCE: usize = 256;

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
    begins: Begins,
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
    /// Sets a hook going for a caller with this uid; what comes of it goes to `replies`, a JSON document a
    /// line. Where too many wait already, that is all he is told.
    pub(super) fn hook(
        &mut self,
        order: Hook,
        uid: Option<u32>,
        replies: mpsc::UnboundedSender<Bytes>,
    ) {
        let now = Instant::now();
        self.hooking.all.retain(|hook| !hook.replies.is_closed());
        if self.hooking.all.len() >= AT_ONCE {
            let reason = format!("the agent follows {AT_ONCE} hooks already, and takes no more");
            if self.hooking.is_news_that_full(now) {
                tracing::warn!("{reason} until one has ended; further ones come back for that");
            }
            return say(&replies, &Progress::Busy { reason });
        }
        let paths = order.paths.clone();
        self.observe(Happening::HookCalled { uid, paths, more: 0 });
        let waited = Duration::from_secs(order.waited_seconds);
        let since = now.checked_sub(waited).unwrap_or(now);
        // Which certificates it is about is what the look is to show.
        let begins = Begins::of(since, order.patience(true), now);
        self.hooking.all.push(Hooking {
            order,
            since,
            begins,
            scan: self.scans_begun + 1,
            waiting: None,
            told: BTreeSet::new(),
            good: 0,
            bad: 0,
            replies,
        });
        if self.hooking.may_hurry(now) {
            self.scan_rest = now;
        }
        self.rescan();
    }

    /// Which certificates lie where hooks wait, by a look that has just been taken in.
    pub(super) fn hooks_see(&mut self, scan: &Scan) {
        let mut hooking = std::mem::take(&mut self.hooking.all);
        let (now, ended) = (Instant::now(), self.scans_begun);
        for hook in hooking.iter_mut().filter(|hook| hook.scan <= ended) {
            // Half of a certificate's files may be the old ones still.
            let settled = scan.again_in.is_none() && self.issuers_awaited == 0;
            if settled || now >= hook.begins.as_it_lies {
                self.hook_sees(hook, scan);
            }
        }
        self.hooking.all.append(&mut hooking);
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
        let now = Instant::now();
        if self.hooking.rests(now) {
            return;
        }
        let mut hooking = std::mem::take(&mut self.hooking.all);
        hooking.retain_mut(|hook| self.goes_on(hook, now) && !hook.replies.is_closed());
        self.hooking.all.append(&mut hooking);
        self.hooking.told(now.elapsed());
    }

    /// Tells one hook; false once it knows all.
    fn goes_on(&mut self, hook: &mut Hooking, now: Instant) -> bool {
        let Some(mut waiting) = hook.waiting.take() else { return self.begins(hook, now) };
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
        goes_on
    }

    /// Sees to it that a hook begins some time; false once it is too late for that.
    fn begins(&mut self, hook: &mut Hooking, now: Instant) -> bool {
        if now >= hook.begins.never {
            let text = "no look at the files was over in time: a disk, or a file that is read, hangs; \
                        `staplekeeper status` shows what cannot be read";
            say(&hook.replies, &Progress::Note { text: text.to_owned() });
            let bad = hook.order.leaves.len().max(1);
            say(&hook.replies, &Progress::Done { good: 0, bad });
            return false;
        }
        if now >= hook.begins.as_it_lies && !hook.begins.asked {
            hook.begins.asked = true;
            // One that is under way is taken as it is when it ends.
            if self.scanner.is_some() {
                self.rescan();
            }
        }
        true
    }

    /// When the next hook has to be told something.
    pub(super) fn hooks_due(&self) -> Option<Instant> {
        self.hooking.due
    }

    /// Some hook waits for a look at things that have settled.
    pub(super) fn hooks_want_a_look(&self) -> bool {
        self.hooking.all.iter().any(|hook| hook.waiting.is_none())
    }

    pub(super) fn is_hooking(&self) -> bool {
        !self.hooking.all.is_empty()
    }
}

impl Hooking {
    /// When it has to be told something, whatever happens until then.
    fn due(&self) -> Option<Instant> {
        match &self.waiting {
            Some(waiting) => waiting.values().map(|awaited| awaited.until).min(),
            None => Some(self.begins.due()),
        }
    }
}

/// The certificates that a hook is about: by what it read itself, or where it looked.
fn found(scan: &Scan, order: &Hook) -> BTreeSet<Fingerprint> {
    let there = scan.lineages.iter().filter(|lineage| {
        let lies = || order.paths.iter().any(|path| lineage.path.starts_with(path));
        order.leaves.contains(&lineage.leaf.fingerprint()) || !lineage.stale && lies()
    });
    there.map(|lineage| lineage.leaf.fingerprint()).collect()
}
