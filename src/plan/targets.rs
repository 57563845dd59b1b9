//! The third machine: what each target should hold, and the writing of it.
//!
//! The table in the design, §7 Publishing, is [`Targets::desired`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::action::{About, Action};
use super::agenda::{Item, Slot};
use super::backoff::{self, LONGEST_WAIT};
use super::certificates::Certificates;
use super::desk::Desk;
use super::event::PublishFault;
use super::facts::{
    Bare, CertId, Content, Delivery, Facts, OnExpired, OnRevoked, ServerId, Target, TargetId,
};
use super::holding::Holding;
use super::pending::Offer;
use super::table::Table;
use super::window::{self, Lead, Window};
use crate::ocsp::Status;
use crate::time::{HOUR, MINUTE, UnixTime};

/// A placeholder is told once it is this old.
const OLD_PLACEHOLDER: Duration = HOUR;

/// A staple that a reload is held up for is told to be missing after this long.
pub(super) const HELD_UP: Duration = MINUTE;

/// All targets, by number, and who claims and reads them.
#[derive(Clone, Debug, Default)]
pub(super) struct Targets {
    table: Table<TargetId, Entry>,
    claims: BTreeSet<(CertId, TargetId)>,
    readers: BTreeSet<(ServerId, TargetId)>,
    /// Writes under way.
    publishing: BTreeMap<TargetId, Content>,
    faults: BTreeMap<TargetId, Fault>,
}

/// One target.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub servers: Box<[ServerId]>,
    pub claimants: Box<[CertId]>,
    pub delivery: Delivery,
    pub published: Holding,
    /// Whose staple belongs there now.
    pub chosen: Option<CertId>,
    /// When what lies there was put there, or first seen, by uptime.
    pub since: Duration,
    /// A reload is asked for as soon as what should lie there does.
    pub reload_wanted: bool,
    slot: Slot,
}

/// Writes that failed.
#[derive(Clone, Copy, Debug)]
struct Fault {
    failures: u32,
    until: Duration,
}

impl Entry {
    /// No staple lies there for so long that it is told; `None`: a staple does.
    pub(super) fn bare_since(&self) -> Option<Duration> {
        let bare = matches!(self.published, Holding::Placeholder | Holding::Nothing);
        bare.then_some(self.since)
    }

    /// The uptime at which its placeholder is old.
    pub(super) fn old_at(&self) -> Option<Duration> {
        self.bare_since().map(|since| since + OLD_PLACEHOLDER)
    }
}

impl Targets {
    pub(super) fn get(&self, id: TargetId) -> Option<&Entry> {
        self.table.get(id)
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = TargetId> {
        self.table.ids()
    }

    /// The targets that a certificate claims.
    pub(super) fn of_cert(&self, id: CertId) -> impl Iterator<Item = TargetId> {
        self.claims.range((id, TargetId(0))..=(id, TargetId(u32::MAX))).map(|(_, target)| *target)
    }

    /// The targets that a server reads.
    pub(super) fn of_server(&self, id: ServerId) -> impl Iterator<Item = TargetId> {
        self.readers.range((id, TargetId(0))..=(id, TargetId(u32::MAX))).map(|(_, target)| *target)
    }

    /// The most that the targets of a certificate ask for.
    pub(super) fn lead(&self, id: CertId) -> Lead {
        let entries = self.of_cert(id).filter_map(|target| self.get(target));
        entries.map(|entry| entry.delivery.lead()).fold(Lead::default(), Lead::max)
    }

    pub(super) fn is_publishing(&self, id: TargetId) -> bool {
        self.publishing.contains_key(&id)
    }

    /// How many writes are under way.
    pub(super) fn publishing(&self) -> impl Iterator<Item = TargetId> {
        self.publishing.keys().copied()
    }

    /// Failed writes in a row.
    pub(super) fn failures(&self, id: TargetId) -> u32 {
        self.faults.get(&id).map_or(0, |fault| fault.failures)
    }

    /// A target is named, or what is known of it changed.
    pub(super) fn placed(&mut self, id: TargetId, target: &Target, desk: &mut Desk) {
        let before = self.table.remove(id).map(|entry| *entry);
        if let Some(before) = &before {
            self.forget_relations(id, before);
        }
        let published = Holding::new(target.published, target.published_facts);
        let mut entry = before.unwrap_or_else(|| Entry {
            servers: Box::default(),
            claimants: Box::default(),
            delivery: target.delivery,
            published,
            chosen: None,
            since: desk.now.uptime,
            reload_wanted: false,
            slot: Slot::default(),
        });
        entry.servers = target.servers.as_slice().into();
        entry.claimants = target.claimants.as_slice().into();
        entry.delivery = target.delivery;
        // Something has changed there: what failed before may succeed now.
        self.faults.remove(&id);
        // A write under way tells soon what lies there; the agent may have read before it.
        let changed = entry.published.content() != published.content();
        if changed && !self.publishing.contains_key(&id) {
            entry.published = published;
            entry.since = desk.now.uptime;
        }
        self.claims.extend(entry.claimants.iter().map(|cert| (*cert, id)));
        self.readers.extend(entry.servers.iter().map(|server| (*server, id)));
        self.table.insert(id, entry);
        desk.targets.insert(id);
        desk.served.insert(id);
    }

    fn forget_relations(&mut self, id: TargetId, entry: &Entry) {
        for cert in &entry.claimants {
            self.claims.remove(&(*cert, id));
        }
        for server in &entry.servers {
            self.readers.remove(&(*server, id));
        }
    }

    /// A target is no longer named.
    pub(super) fn unplaced(&mut self, id: TargetId, desk: &mut Desk) -> Option<Box<Entry>> {
        let mut entry = self.table.remove(id)?;
        self.forget_relations(id, &entry);
        desk.agenda.clear(Item::Target(id), &mut entry.slot);
        self.publishing.remove(&id);
        self.faults.remove(&id);
        desk.tell(About::PublishFailed(id), false);
        Some(entry)
    }

    /// What is published and not loaded goes at once, when what should lie there does.
    pub(super) fn reload_wanted(&mut self, id: TargetId) {
        if let Some(entry) = self.table.get_mut(id) {
            entry.reload_wanted = true;
        }
    }

    /// A write ended. What lies there is believed even if nobody asked for it.
    pub(super) fn published(
        &mut self,
        id: TargetId,
        outcome: Result<Content, PublishFault>,
        certificates: &Certificates,
        desk: &mut Desk,
    ) {
        let asked = self.publishing.remove(&id);
        let Some(entry) = self.table.get_mut(id) else { return };
        desk.targets.insert(id);
        desk.served.insert(id);
        if let Ok(content) = outcome
            && content != entry.published.content()
        {
            let facts = match content {
                Content::Staple(cert, _) => certificates.held(cert).copied(),
                _ => None,
            };
            entry.published = Holding::new(content, facts);
            entry.since = desk.now.uptime;
        }
        if outcome.is_ok() && outcome.ok() == asked {
            self.faults.remove(&id);
            desk.tell(About::PublishFailed(id), false);
        } else if asked.is_some() {
            let failures = self.failures(id).saturating_add(1);
            let draw = backoff::draw(desk.policy.seed, u64::from(id.0), u64::from(failures));
            let until = desk.now.uptime + backoff::wait(failures, LONGEST_WAIT, draw);
            self.faults.insert(id, Fault { failures, until });
            desk.tell(About::PublishFailed(id), outcome.is_err());
        }
    }

    /// Works out what a target should hold and has it written if something else lies there.
    pub(super) fn evaluate(&mut self, id: TargetId, certificates: &Certificates, desk: &mut Desk) {
        let Some(entry) = self.table.get_mut(id) else { return };
        let (chosen, content) = Self::desired(entry, certificates, desk);
        entry.chosen = chosen;
        let busy = self.publishing.contains_key(&id);
        let retry = self.faults.get(&id).map_or(Duration::ZERO, |fault| fault.until);
        let wrong = content != entry.published.content();
        if wrong && !busy && retry <= desk.now.uptime {
            self.publishing.insert(id, content);
            desk.act(Action::Publish { target: id, content });
        }
        let mut to = Slot::default();
        if let Some((_, until)) = Self::frozen_until(entry, certificates, desk) {
            to.wall = until;
        }
        if retry > desk.now.uptime {
            to.uptime = retry;
        }
        if let Some(old_at) = entry.old_at()
            && old_at > desk.now.uptime
        {
            to.uptime = to.uptime.min(old_at);
        }
        desk.schedule(Item::Target(id), &mut entry.slot, to);
    }

    /// Has it looked at again once what lies there has been held up for long; asked while it is.
    pub(super) fn held_up(&mut self, id: TargetId, desk: &mut Desk) {
        let Some(entry) = self.table.get_mut(id) else { return };
        let at = entry.since + HELD_UP;
        if at > desk.now.uptime {
            let to = Slot { uptime: entry.slot.uptime.min(at), ..entry.slot };
            desk.schedule(Item::Target(id), &mut entry.slot, to);
        }
    }

    /// Whose freeze keeps what lies in a target, and until when at most.
    pub(super) fn frozen(
        &self,
        id: TargetId,
        certificates: &Certificates,
        desk: &Desk,
    ) -> Option<(CertId, UnixTime)> {
        Self::frozen_until(self.table.get(id)?, certificates, desk)
    }

    /// The same; what nothing is known of is not kept, nor what others put there.
    fn frozen_until(
        entry: &Entry,
        certificates: &Certificates,
        desk: &Desk,
    ) -> Option<(CertId, UnixTime)> {
        let cert = entry.published.cert().filter(|cert| entry.claimants.contains(cert))?;
        let staple = entry.published.facts().filter(|_| certificates.is_frozen(cert))?;
        let lead = entry.delivery.lead();
        let window = Window::of(staple.this_update, staple.expires, lead, &desk.policy);
        Some((cert, window.thaws()))
    }

    /// What a target has for its servers.
    pub(super) fn offer(&self, id: TargetId, certificates: &Certificates) -> Option<Offer<'_>> {
        let entry = self.table.get(id)?;
        let chosen = entry.chosen.and_then(|cert| certificates.get(cert));
        let foreign = entry.published == Holding::Foreign;
        let others = entry.published.cert().is_some_and(|cert| !entry.claimants.contains(&cert));
        let writing = self.publishing.contains_key(&id) && !self.faults.contains_key(&id);
        Some(Offer {
            published: &entry.published,
            claimants: &entry.claimants,
            chosen: entry.chosen,
            must_staple: chosen.is_some_and(|cert| cert.must_staple),
            awaited: entry.chosen.is_some_and(|cert| certificates.is_awaited(cert)),
            hopeless: chosen.is_none_or(|cert| cert.responders.is_empty()),
            swapping: (foreign || others) && writing,
            delivery: entry.delivery,
            since: entry.since,
        })
    }

    /// Whether a reload was asked for; asks only once, and not before what should lie there does.
    pub(super) fn take_reload_wanted(&mut self, id: TargetId) -> bool {
        let ready = !self.publishing.contains_key(&id);
        let entry = self.table.get_mut(id).filter(|_| ready);
        entry.is_some_and(|entry| std::mem::take(&mut entry.reload_wanted))
    }

    /// Its instant has come: look again, and at its claimants.
    pub(super) fn due(&mut self, id: TargetId, desk: &mut Desk) {
        desk.targets.insert(id);
        desk.served.insert(id);
    }

    /// Whose staple a target should hold, and what it should hold now.
    fn desired(
        entry: &Entry,
        certificates: &Certificates,
        desk: &Desk,
    ) -> (Option<CertId>, Content) {
        let as_it_is = entry.published.content();
        let bare = match (entry.delivery.bare, as_it_is) {
            (Bare::Placeholder, _) if desk.policy.placeholder => Content::Placeholder,
            (Bare::Nothing, _) => Content::Nothing,
            (Bare::Placeholder | Bare::KeepOld, _) => as_it_is,
        };
        let Some(chosen) = Self::choose(entry, certificates, desk) else {
            // Nobody is known to claim it: what others put there is not ours to judge.
            let ours = entry.published.cert().is_some() || as_it_is == Content::Nothing;
            return (None, if ours { bare } else { as_it_is });
        };
        (Some(chosen), Self::content(entry, chosen, bare, certificates, desk))
    }

    /// Among several claimants: whose valid staple lies there already; else Must-Staple first, then
    /// the default server's, then the first, of those who have one to give or are about to.
    fn choose(entry: &Entry, certificates: &Certificates, desk: &Desk) -> Option<CertId> {
        let claimants = &entry.claimants;
        if claimants.len() <= 1 {
            return claimants.first().copied();
        }
        let now = desk.now.wall;
        let lies_there = entry.published.cert().filter(|cert| claimants.contains(cert));
        if lies_there.is_some() && entry.published.in_date(now) {
            return lies_there;
        }
        let known = |must: bool| {
            let entries = claimants.iter().filter_map(|id| Some((*id, certificates.get(*id)?)));
            entries.filter(move |(_, cert)| cert.must_staple == must)
        };
        let mut in_order = known(true).chain(known(false));
        let has_one = in_order
            .find(|(_, cert)| cert.is_new() || cert.held.is_some_and(|held| held.expires > now));
        let first = || known(true).chain(known(false)).next();
        has_one.or_else(first).map(|(id, _)| id).or_else(|| claimants.first().copied())
    }

    /// What `chosen` puts there.
    fn content(
        entry: &Entry,
        chosen: CertId,
        bare: Content,
        certificates: &Certificates,
        desk: &Desk,
    ) -> Content {
        let (now, policy) = (desk.now.wall, &desk.policy);
        let as_it_is = entry.published.content();
        let Some(certificate) = certificates.get(chosen) else { return as_it_is };
        let own = entry.published.cert() == Some(chosen);
        // Whoever freezes wants it whatever comes, a revocation included.
        if own
            && Self::frozen_until(entry, certificates, desk).is_some_and(|(_, until)| until > now)
        {
            return as_it_is;
        }
        let kept_when_expired = match policy.on_expired {
            OnExpired::Auto => certificate.must_staple,
            OnExpired::Keep => true,
            OnExpired::Withdraw => false,
        };
        let or_bare = |keep: bool| if own && keep { as_it_is } else { bare };
        let keep = kept_when_expired || desk.suspect;
        let expired = or_bare(keep);
        // One that will be withdrawn goes early enough for a reload to end before it expires.
        let lasts = |staple: &Facts| match keep {
            true => staple.expires > now,
            false => window::withdraws(staple, policy) > now,
        };
        let in_date = own
            && match entry.published.facts() {
                Some(staple) => lasts(staple),
                None => entry.published.in_date(now),
            };
        let Some(held) = certificate.held else {
            return if in_date { as_it_is } else { expired };
        };
        if own
            && in_date
            && entry.published.facts().is_some_and(|facts| facts.this_update > held.this_update)
        {
            // The store lost what it had; nothing goes backwards.
            return as_it_is;
        }
        let staple = Content::Staple(chosen, held.digest);
        let last_good = || match in_date && !entry.published.revoked() {
            true => as_it_is,
            false if entry.published.revoked() => or_bare(false),
            false => expired,
        };
        match (held.status, policy.on_revoked) {
            (Status::Revoked, OnRevoked::Withdraw) => or_bare(false),
            (Status::Revoked, OnRevoked::KeepLastGood) => last_good(),
            (Status::Revoked, OnRevoked::Publish) if !entry.delivery.takes_revoked => last_good(),
            _ if lasts(&held) => staple,
            _ if desk.suspect && own => as_it_is,
            _ => expired,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::plan::certificates::Certificates;
    use crate::plan::responders::Responders;
    use crate::plan::trust::Trust;
    use crate::plan::{Attempts, Certificate, Facts, Policy, ResponderId, TakesUp};
    use crate::time::{DAY, Now};

    const NGINX: Delivery = Delivery {
        takes_up: TakesUp::OnReload,
        per_worker: false,
        stops_early: Duration::ZERO,
        bare: Bare::Placeholder,
        takes_revoked: true,
    };
    const HAPROXY: Delivery = Delivery {
        takes_up: TakesUp::ByItself { within: Duration::ZERO },
        bare: Bare::Nothing,
        ..NGINX
    };
    const HITCH: Delivery = Delivery { bare: Bare::KeepOld, takes_revoked: false, ..NGINX };
    const ALL: [Delivery; 3] = [NGINX, HAPROXY, HITCH];

    /// On the tenth day.
    fn desk(policy: Policy) -> Desk {
        let wall = UnixTime::from_secs(0) + 10 * DAY;
        Desk::new(policy, Now { wall, uptime: 10 * DAY })
    }

    /// A staple for a certificate, of so many days: "good 8" was made on the eighth day and is good
    /// for four. Anything else is no staple.
    fn facts(cert: u32, text: &str) -> Option<Facts> {
        let (status, day) = text.split_once(' ')?;
        let status = match status {
            "good" => Status::Good,
            "revoked" => Status::Revoked,
            _ => return None,
        };
        let this_update = UnixTime::from_secs(0) + DAY * day.parse().expect("a day");
        let digest = Digest::of(format!("{cert} {text}").as_bytes());
        Some(Facts { digest, status, this_update, expires: this_update + 4 * DAY })
    }

    fn content(text: &str) -> Content {
        let of = |cert: u32, text: &str| facts(cert, text).map(|f| (cert, f.digest));
        let staple = text.strip_prefix("other's ").map_or_else(|| of(1, text), |text| of(2, text));
        match (staple, text) {
            (Some((cert, digest)), _) => Content::Staple(CertId(cert), digest),
            (None, "placeholder") => Content::Placeholder,
            (None, "nothing") => Content::Nothing,
            (None, "foreign") => Content::Foreign,
            (None, _) => panic!("no such content: {text}"),
        }
    }

    fn certificates(known: &[(u32, bool, &str)], desk: &mut Desk) -> Certificates {
        let mut certificates = Certificates::default();
        for (id, must_staple, held) in known {
            let found = Certificate {
                id: CertId(*id),
                identity: Digest::of(&id.to_be_bytes()),
                must_staple: *must_staple,
                not_after: desk.now.wall + 90 * DAY,
                responders: vec![ResponderId(0)],
                held: facts(*id, held),
                // It has been asked about before.
                attempts: Attempts { failures: 3, wait: HOUR },
            };
            let (mut responders, mut trust) = (Responders::default(), Trust::new(desk.now));
            certificates.found(found, &mut responders, &mut trust, desk);
        }
        certificates
    }

    fn desired(
        known: &[(u32, bool, &str)],
        claimants: &[u32],
        delivery: Delivery,
        published: &str,
        mut desk: Desk,
    ) -> Content {
        let certificates = certificates(known, &mut desk);
        let lies_there = content(published);
        let facts = match lies_there {
            Content::Staple(cert, _) => facts(cert.0, published.trim_start_matches("other's ")),
            _ => None,
        };
        let entry = Entry {
            servers: Box::default(),
            claimants: claimants.iter().copied().map(CertId).collect(),
            delivery,
            published: Holding::new(lies_there, facts),
            chosen: None,
            since: Duration::ZERO,
            reload_wanted: false,
            slot: Slot::default(),
        };
        Targets::desired(&entry, &certificates, &desk).1
    }

    /// The one certificate holds `held`, `published` lies there: what should, by kind of server.
    fn check(policy: Policy, must_staple: bool, held: &str, published: &str, expected: [&str; 3]) {
        for (delivery, expected) in ALL.into_iter().zip(expected) {
            let known = [(1, must_staple, held)];
            let found = desired(&known, &[1], delivery, published, desk(policy));
            let case = format!("{held} over {published} for {delivery:?}, {must_staple}");
            assert_eq!(found, content(expected), "{case}");
        }
    }

    #[test]
    fn a_good_staple_is_published_everywhere() {
        for published in ["nothing", "foreign", "placeholder", "good 7", "revoked 7"] {
            check(Policy::default(), true, "good 8", published, ["good 8"; 3]);
        }
        // What the store has lost does not go backwards.
        check(Policy::default(), true, "good 7", "good 8", ["good 8"; 3]);
    }

    #[test]
    fn without_a_staple_nothing_startles_the_server() {
        let policy = Policy::default();
        check(policy, true, "-", "nothing", ["placeholder", "nothing", "nothing"]);
        check(policy, true, "-", "foreign", ["placeholder", "nothing", "foreign"]);
        check(policy, true, "-", "good 8", ["good 8"; 3]);
        let policy = Policy { placeholder: false, ..policy };
        check(policy, true, "-", "nothing", ["nothing"; 3]);
    }

    #[test]
    fn a_renewed_certificate_never_gets_the_old_ones_staple() {
        let policy = Policy::default();
        let old = "other's good 8";
        check(policy, true, "-", old, ["placeholder", "nothing", old]);
        check(policy, false, "good 8", old, ["good 8"; 3]);
    }

    #[test]
    fn an_expired_staple_goes_unless_must_staple_keeps_it() {
        let policy = Policy::default();
        check(policy, false, "good 5", "good 5", ["placeholder", "nothing", "good 5"]);
        check(policy, true, "good 5", "good 5", ["good 5"; 3]);
        check(policy, false, "-", "good 5", ["placeholder", "nothing", "good 5"]);
        let keep = Policy { on_expired: OnExpired::Keep, ..policy };
        check(keep, false, "good 5", "good 5", ["good 5"; 3]);
        let withdraw = Policy { on_expired: OnExpired::Withdraw, ..policy };
        check(withdraw, true, "good 5", "good 5", ["placeholder", "nothing", "good 5"]);
        let mut doubting = desk(policy);
        doubting.suspect = true;
        let found = desired(&[(1, false, "good 5")], &[1], NGINX, "good 5", doubting);
        assert_eq!(found, content("good 5"), "nothing is withdrawn by a clock in doubt");
    }

    #[test]
    fn a_revocation_is_what_the_policy_makes_of_it() {
        let policy = Policy::default();
        check(policy, false, "revoked 8", "good 7", ["revoked 8", "revoked 8", "good 7"]);
        check(policy, false, "revoked 8", "nothing", ["revoked 8", "revoked 8", "nothing"]);
        let last = Policy { on_revoked: OnRevoked::KeepLastGood, ..policy };
        check(last, false, "revoked 8", "good 7", ["good 7"; 3]);
        check(last, false, "revoked 8", "good 5", ["placeholder", "nothing", "good 5"]);
        check(last, true, "revoked 8", "good 5", ["good 5"; 3]);
        let withdraw = Policy { on_revoked: OnRevoked::Withdraw, ..policy };
        check(withdraw, true, "revoked 8", "good 7", ["placeholder", "nothing", "good 7"]);
    }

    /// Two certificates on one path: the first without Must-Staple, the second with it.
    #[test]
    fn several_claimants_have_an_order() {
        let cases = [
            ("good 8", "good 8", "nothing", "other's good 8"),
            ("good 8", "good 8", "good 7", "good 8"), // a valid staple of any is kept
            ("good 8", "good 8", "good 5", "other's good 8"), // not an expired one
            ("good 8", "-", "nothing", "good 8"),
            ("-", "-", "nothing", "placeholder"),
        ];
        for (first, second, published, expected) in cases {
            let known = [(1, false, first), (2, true, second)];
            let desk = desk(Policy::default());
            let found = desired(&known, &[1, 2], NGINX, published, desk);
            assert_eq!(found, content(expected), "{first}, {second} over {published}");
        }
    }

    #[test]
    fn what_nobody_claims_is_left_alone_unless_it_is_ours() {
        let cases = [("foreign", "foreign"), ("nothing", "placeholder"), ("good 8", "placeholder")];
        for (published, expected) in cases {
            let found = desired(&[], &[], NGINX, published, desk(Policy::default()));
            assert_eq!(found, content(expected), "{published}");
        }
    }
}
