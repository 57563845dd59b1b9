//! Handshakes: what is asked about, and what an answer says of what a server holds.

use std::time::Duration;

use super::{Asking, Deployed, Entry, Mismatched, Purpose, Servers, Upstream};
use crate::plan::action::{About, Action};
use crate::plan::backoff;
use crate::plan::desk::Desk;
use crate::plan::event::Served;
use crate::plan::facts::{Content, ServerId, TargetId};
use crate::plan::holding::{Holding, Taken};
use crate::plan::pending::Offer;
use crate::time::{DAY, HOUR, UnixTime};

/// A target that goes on being something else than it should is tried again after at most this long.
const LONGEST_MISMATCH_RETRY: Duration = DAY;
/// For so long after a reload another one may be under way that was taken for the same.
const SETTLES: Duration = Duration::from_secs(5);
/// After a renewal it is looked again so soon, and after twice as long each time until the new certificate
/// is presented.
const LOOKS_AGAIN: Duration = Duration::from_secs(10);
const LOOKS_AGAIN_AT_MOST: Duration = HOUR;

impl Entry {
    /// Asks for a handshake, unless one is under way: its answer will be asked for again.
    pub(in crate::plan) fn ask(
        &mut self,
        server: ServerId,
        id: TargetId,
        offer: &Offer<'_>,
        purpose: Purpose,
        desk: &mut Desk,
    ) {
        if let Some(asking) = self.asking.get_mut(&id) {
            asking.purpose = purpose;
            return;
        }
        let mut expect = vec![offer.published.content()];
        let taken = self.snapshot.get(&id).map(|taken| taken.holding.content());
        let settled = self.last.is_none_or(|last| last.ended + SETTLES <= desk.now.uptime);
        let held = self.holds(id).filter(|_| purpose == Purpose::Renewal && settled);
        for also in taken.into_iter().chain(held.map(|held| held.holding.content())) {
            if !expect.contains(&also) {
                expect.insert(0, also);
            }
        }
        let (generation, published) = (self.generation, offer.published.content());
        self.asking.insert(id, Asking { generation, purpose, published });
        desk.act(Action::Confirm { target: id, server, expect });
    }

    /// Something more was renewed: it is looked again soon, whatever else is waited for.
    pub(super) fn look_again_soon(&mut self, desk: &Desk) {
        let soon = (desk.now.uptime + LOOKS_AGAIN, LOOKS_AGAIN * 2);
        self.looks_again = Some(self.looks_again.map_or(soon, |before| before.min(soon)));
    }

    /// When it is looked once more; while a reload runs, its end tells.
    pub(super) fn next_look(&self) -> Option<Duration> {
        self.looks_again.filter(|_| self.reloading.is_none()).map(|(at, _)| at)
    }

    /// It did not take up a target: another try is put off, longer each time.
    fn blame(&mut self, server: ServerId, id: TargetId, reloaded: bool, desk: &mut Desk) {
        let before = self.mismatched.get(&id).copied();
        let times = before.map_or(1, |mismatched| mismatched.times + 1);
        let reloaded = reloaded || before.is_some_and(|mismatched| mismatched.reloaded);
        self.forgive(id);
        let draw = backoff::draw(desk.policy.seed, u64::from(id.0), u64::from(times));
        let until = desk.now.uptime + backoff::wait(times, LONGEST_MISMATCH_RETRY, draw);
        self.mismatched.insert(id, Mismatched { times, until, reloaded });
        desk.tell(About::Mismatch(id, server), true);
    }
}

impl Servers {
    /// Looks at what was renewed: somebody may have reloaded and not been seen to, as when a reload of
    /// ours was under way.
    pub(super) fn look_again(&mut self, id: ServerId, up: Upstream<'_>, desk: &mut Desk) {
        let Some(entry) = self.table.get_mut(&id) else { return };
        let Some((at, wait)) = entry.looks_again else { return };
        if at > desk.now.uptime || entry.reloading.is_some() {
            return;
        }
        let awaiting = entry.differs.iter().filter(|target| entry.awaits_owner(**target));
        let awaiting: Vec<TargetId> = awaiting.copied().collect();
        let next = (desk.now.uptime + wait, (wait * 2).min(LOOKS_AGAIN_AT_MOST));
        entry.looks_again = Some(next).filter(|_| !awaiting.is_empty());
        for target in awaiting {
            let probed = entry.server.running && entry.server.probed;
            if let Some(offer) = up.offer(target).filter(|_| probed) {
                entry.ask(id, target, &offer, Purpose::Renewal, desk);
            }
        }
    }

    /// A handshake told what clients see, or could not.
    pub(in crate::plan) fn confirmed(
        &mut self,
        id: ServerId,
        target: TargetId,
        served: Served,
        up: Upstream<'_>,
        desk: &mut Desk,
    ) {
        let (Some(entry), Some(offer)) = (self.table.get_mut(&id), up.offer(target)) else {
            return;
        };
        let Some(asking) = entry.asking.remove(&target) else { return };
        desk.servers.insert(id);
        if let Some(deployed) = entry.deployed.get_mut(target) {
            deployed.learning = None;
        }
        let in_snapshot = entry.snapshot.contains_key(&target);
        let outdated = asking.published != offer.published.content();
        if offer.delivery.per_worker && outdated && entry.reloading.is_none() {
            // One worker may have it and the others not.
            entry.ask(id, target, &offer, asking.purpose, desk);
            entry.compare(target, &offer, desk);
            return;
        }
        if asking.generation != entry.generation {
            // It may have been seen before the last reload. While one runs, its end asks again.
            let open =
                in_snapshot || entry.holds(target).is_none() || entry.differs.contains(&target);
            if entry.reloading.is_none() && open {
                entry.ask(id, target, &offer, asking.purpose, desk);
            }
            entry.compare(target, &offer, desk);
            return;
        }
        let Served::Seen { leaf, content } = served else {
            entry.unanswered.remove(&target);
            if in_snapshot && entry.unanswered.is_empty() && entry.reloading.is_none() {
                self.conclude(id, false, up, desk);
            } else if asking.purpose == Purpose::Learn && entry.holds(target).is_none() {
                let holding = Holding::Nothing;
                let older = UnixTime::MAX;
                let taken = Taken {
                    holding,
                    leaf: None,
                    must_staple: offer.must_staple,
                    proved: false,
                    older,
                };
                entry.deployed.get_or_insert_with(target, Deployed::default).holds = Some(taken);
                entry.compare(target, &offer, desk);
            } else {
                if asking.purpose == Purpose::Uptake && entry.is_mismatched(target) {
                    entry.blame(id, target, false, desk);
                }
                entry.compare(target, &offer, desk);
            }
            return;
        };
        let before = entry.holds(target).copied();
        let claimed = leaf.filter(|leaf| offer.claimants.contains(leaf));
        let known_leaf = claimed
            .or(leaf.filter(|leaf| before.is_some_and(|before| before.presents() == Some(*leaf))));
        let same = |holding: &Holding| holding.content() == content;
        let (taken, coming) = (entry.snapshot.get(&target).copied(), entry.coming(target));
        // What the last proved reload left there is right too, though something newer is published.
        let settled = before.filter(|_| !in_snapshot && !entry.is_mismatched(target));
        let expected = [Some(*offer.published), taken.or(settled).map(|taken| taken.holding)];
        let matching = expected.iter().flatten().find(|holding| same(holding)).copied();
        let leaf_fits = claimed.is_some() || offer.claimants.is_empty();
        let known = [before, coming].into_iter().flatten().find(|taken| same(&taken.holding));
        let holding = matching.unwrap_or_else(|| match known {
            Some(known) => known.holding,
            None => {
                let facts = match content {
                    Content::Staple(cert, _) => up.certificates.held(cert).copied(),
                    _ => None,
                };
                Holding::new(content, facts)
            }
        });
        let must_staple = known_leaf
            .and_then(|leaf| up.certificates.get(leaf).map(|cert| cert.must_staple))
            .or(before.map(|before| before.must_staple))
            .unwrap_or(offer.must_staple);
        let seen =
            Taken { holding, leaf: known_leaf, must_staple, proved: true, older: UnixTime::MAX };
        entry.unanswered.remove(&target);
        let matches = matching.is_some() && leaf_fits;
        if matches {
            entry.snapshot.remove(&target);
            entry.forgive(target);
            desk.tell(About::Mismatch(target, id), false);
            entry.holds_now(id, target, seen, Some(&offer), desk);
            if in_snapshot && entry.reloading.is_none() {
                self.conclude(id, true, up, desk);
            }
            return;
        }
        // A server that did not take up what our reload was for. Another's reload may have come
        // before what is published now, and then nothing is wrong.
        entry.snapshot.remove(&target);
        if leaf_fits {
            entry.expect_nothing(target);
        }
        if let Some(deployed) = entry.deployed.get_mut(target) {
            deployed.differed = desk.now.uptime;
        }
        if matches!(asking.purpose, Purpose::Reload | Purpose::Uptake) {
            entry.blame(id, target, asking.purpose == Purpose::Reload, desk);
        }
        entry.holds_now(id, target, seen, Some(&offer), desk);
        if entry.unanswered.is_empty() && !entry.snapshot.is_empty() && entry.reloading.is_none() {
            self.conclude(id, false, up, desk);
        }
    }
}
