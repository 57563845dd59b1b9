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

/// How long files that are on the move, and issuers that are fetched, may keep a hook from beginning;
/// of a short deadline no more than half.
const SETTLES: Duration = Duration::from_secs(10);
/// How long after a hook's deadline the look that it needs may still end: what it shows is worth more than
/// word that the time is over.
const LOOKS: Duration = Duration::from_secs(5);
/// Between two looks at what hooks wait for; longer where that takes longer, by this multiple.
const TELL_EVERY: Duration = Duration::from_millis(50);
const TELL_REST: u32 = 3;

/// All hooks on their way.
#[derive(Debug, Default)]
pub(super) struct Hookings {
    all: Vec<Hooking>,
    /// When something is to be told, whatever happens until then.
    due: Option<Instant>,
    /// Nothing is told before: many certificates, each looked at after every event, would take all time.
    rest: Option<Instant>,
}

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

/// The latest instants at which a hook has to go on that has not begun.
#[derive(Clone, Copy, Debug)]
struct Begins {
    /// From then on things are taken as they lie, and looked at once more for that.
    as_it_lies: Instant,
    /// That look was asked for.
    asked: bool,
    /// From then on there is nothing to hope for.
    never: Instant,
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
        self.scan_rest = now;
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

impl Hookings {
    /// It is too soon to tell anything, or there is nobody to tell.
    fn rests(&mut self, now: Instant) -> bool {
        if self.all.is_empty() {
            self.due = None;
            return true;
        }
        let rests = self.rest.is_some_and(|rest| now < rest);
        if rests {
            // What has happened is told when the rest is over, though nothing else may happen.
            self.due = self.rest;
        }
        rests
    }

    /// All were told, which took so long.
    fn told(&mut self, took: Duration) {
        self.rest = Some(Instant::now() + TELL_EVERY.max(took * TELL_REST));
        self.due = self.all.iter().filter_map(Hooking::due).min();
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

impl Begins {
    /// For a hook that is called `now` and waits for `patience` from `since` on.
    fn of(since: Instant, patience: Duration, now: Instant) -> Begins {
        let as_it_lies = since + SETTLES.min(patience / 2);
        Begins { as_it_lies, asked: false, never: (since + patience).max(now) + LOOKS }
    }

    fn due(&self) -> Instant {
        if self.asked { self.never } else { self.as_it_lies }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn hooking(begins: Begins) -> Hooking {
        Hooking {
            order: Hook::default(),
            since: Instant::now(),
            scan: 1,
            waiting: None,
            begins,
            told: BTreeSet::new(),
            good: 0,
            bad: 0,
            replies: mpsc::unbounded_channel().0,
        }
    }

    #[test]
    fn a_hook_that_cannot_begin_ends_all_the_same() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let mut begins = Begins::of(now, 1200 * second, now);
        assert_eq!(begins.due(), now + SETTLES);
        begins.asked = true;
        assert_eq!(begins.due(), now + 1200 * second + LOOKS);
        let short = Begins::of(now, 4 * second, now);
        assert_eq!((short.due(), short.never), (now + 2 * second, now + 4 * second + LOOKS));
        // Told anew by another agent, after the deadline: one look still.
        let again = Begins::of(now, 4 * second, now + 60 * second);
        assert_eq!(again.never, now + 60 * second + LOOKS);
    }

    #[test]
    fn hooks_are_told_as_often_as_that_is_cheap() {
        let now = Instant::now();
        let mut hooks = Hookings::default();
        assert!(hooks.rests(now), "nobody waits");
        hooks.all.push(hooking(Begins::of(now, Hook::LONGEST, now)));
        assert!(!hooks.rests(now));
        hooks.told(Duration::from_secs(1));
        assert_eq!(hooks.due, Some(now + SETTLES));
        assert!(hooks.rests(now + Duration::from_secs(2)));
        assert_eq!(hooks.due, hooks.rest, "what happened meanwhile is told after the rest");
        assert!(!hooks.rests(now + Duration::from_secs(5)));
    }
}
