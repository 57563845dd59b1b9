//! The end of the pipe: how long clients of each certificate are safe, and what is told about it.

use super::action::About;
use super::certificates::{Certificates, Entry as Certificate, State};
use super::desk::Desk;
use super::facts::{CertId, TargetId};
use super::holding::{Holding, Taken};
use super::servers::Servers;
use super::targets::{Entry as Target, HELD_UP, Targets};
use super::window::{self, Window};
use crate::time::UnixTime;

/// How a certificate stands with the clients of all its deployments; the worst of them counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    /// It is deployed somewhere.
    pub deployed: bool,
    /// Until then clients are handed a staple that is in date; `None` where none is.
    pub safe_until: Option<UnixTime>,
    pub late: bool,
    pub at_risk: bool,
    /// When what clients are handed is [late](Window::late) and [at risk](Window::at_risk), wherever
    /// that comes first.
    turns: (UnixTime, UnixTime),
    /// When any of this changes by itself.
    watch: UnixTime,
}

impl Standing {
    /// Nothing is known against it.
    fn new() -> Self {
        Standing {
            deployed: false,
            safe_until: Some(UnixTime::MAX),
            late: false,
            at_risk: false,
            turns: (UnixTime::MAX, UnixTime::MAX),
            watch: UnixTime::MAX,
        }
    }

    fn watch(&mut self, at: UnixTime, now: UnixTime) {
        if at > now {
            self.watch = self.watch.min(at);
        }
    }

    /// Clients are handed a staple with this window; unproven, the `older` one may be theirs still.
    fn staple(&mut self, window: &Window, older: UnixTime, must_staple: bool, now: UnixTime) {
        let safe_until = window.expires.min(older);
        self.safe_until = self.safe_until.map(|until| until.min(safe_until));
        self.turns.0 = self.turns.0.min(window.late());
        self.turns.1 = self.turns.1.min(window.at_risk());
        // Only a mismatch alarms, so notices follow what the reload is taken to have loaded.
        self.late |= window.late() <= now;
        self.at_risk |= must_staple && window.at_risk() <= now;
        self.watch(window.late(), now);
        self.watch(window.at_risk(), now);
    }

    /// The instants at which it turns late and, with Must-Staple, at risk.
    pub(super) fn turns(&self, must_staple: bool) -> (Option<UnixTime>, Option<UnixTime>) {
        let known = |at: &UnixTime| self.safe_until.is_some() && *at != UnixTime::MAX;
        let (late, at_risk) = self.turns;
        (Some(late).filter(known), Some(at_risk).filter(|at| must_staple && known(at)))
    }

    /// Clients are handed no staple; `under_way`: one is on its way to them.
    fn missing(&mut self, must_staple: bool, under_way: bool) {
        self.safe_until = None;
        self.at_risk |= must_staple && !under_way;
    }
}

/// Judges one certificate.
pub(super) fn judge(
    id: CertId,
    certificate: &Certificate,
    targets: &Targets,
    servers: &Servers,
    desk: &Desk,
) -> Standing {
    let now = desk.now;
    let mut standing = Standing::new();
    if let Some(held) = &certificate.held {
        standing.watch(held.expires, now.wall);
        standing.watch(window::withdraws(held, &desk.policy), now.wall);
    }
    if let Some(window) = certificate.window(desk) {
        // Also once it was withdrawn: that ends what clients suffer, not what is wrong.
        standing.late = window.late() <= now.wall;
        standing.watch(window.late(), now.wall);
    }
    for target_id in targets.of_cert(id) {
        let Some(target) = targets.get(target_id) else { continue };
        if target.chosen.is_some_and(|chosen| chosen != id) {
            continue;
        }
        standing.deployed = true;
        if let Some(facts) = target.published.facts() {
            standing.watch(facts.expires, now.wall);
            standing.watch(window::withdraws(facts, &desk.policy), now.wall);
        }
        let writing = targets.is_publishing(target_id) && targets.failures(target_id) == 0;
        let fetching = certificate.is_new() || certificate.state == State::Kept || writing;
        let mut readers = 0;
        for server_id in &target.servers {
            let Some(server) = servers.get(*server_id).filter(|server| server.server.running)
            else {
                continue;
            };
            let Some(holds) = server.holds(target_id) else { continue };
            readers += 1;
            let held_up = server.is_held_up(target_id) && now.uptime >= target.since + HELD_UP;
            let under_way = fetching || server.is_under_way(target_id) && !held_up;
            let before = standing;
            loaded(&mut standing, certificate, target, holds, under_way, desk);
            if server.is_asked_about(target_id) {
                // A handshake is about to tell; until then only what is told already holds on.
                standing.late &= before.late || desk.is_told(About::Late(id));
                standing.at_risk &= before.at_risk || desk.is_told(About::AtRisk(id));
            }
        }
        if readers == 0 {
            let published = Taken {
                holding: target.published,
                leaf: Some(id),
                must_staple: certificate.must_staple,
                proved: true,
                older: UnixTime::MAX,
            };
            loaded(&mut standing, certificate, target, &published, fetching, desk);
        }
        let old = target.old_at().is_some_and(|at| at <= now.uptime);
        standing.late |= old && !certificate.responders.is_empty();
    }
    if !standing.deployed {
        standing.safe_until = certificate.window(desk).map(|window| window.expires);
    }
    standing
}

/// Counts in what one server hands out for one target.
fn loaded(
    standing: &mut Standing,
    certificate: &Certificate,
    target: &Target,
    holds: &Taken,
    under_way: bool,
    desk: &Desk,
) {
    let must_staple =
        if holds.leaf.is_some() { holds.must_staple } else { certificate.must_staple };
    match (holds.window(target.delivery.stops_early, &desk.policy), &holds.holding) {
        (Some(window), _) => standing.staple(&window, holds.older, must_staple, desk.now.wall),
        // A staple of unknown date was in date when it was seen.
        (None, Holding::Unknown(..)) => {
            standing.safe_until = standing.safe_until.min(Some(desk.now.wall))
        }
        // A renewed certificate that is not presented yet misses nothing.
        (None, _) => {
            let presented = holds.presents().is_none_or(|leaf| target.claimants.contains(&leaf));
            standing.missing(must_staple && presented, under_way);
        }
    }
}

/// The last stage: tells what has changed and enters when it changes next. While the clock is in
/// doubt nothing begins to be told; returns whether the certificate is to be judged again after.
pub(super) fn settle(
    id: CertId,
    certificates: &mut Certificates,
    targets: &Targets,
    servers: &Servers,
    desk: &mut Desk,
) -> bool {
    let Some(certificate) = certificates.get(id) else { return false };
    let standing = judge(id, certificate, targets, servers, desk);
    let late = standing.deployed && standing.late;
    let at_risk = standing.deployed && standing.at_risk;
    if !(desk.suspect && late) {
        desk.tell(About::Late(id), late);
    }
    if !(desk.suspect && at_risk) {
        desk.tell(About::AtRisk(id), at_risk);
    }
    certificates.watch(id, standing.watch, desk);
    desk.suspect
}

/// The certificates whose standing depends on a target.
pub(super) fn claimants(id: TargetId, targets: &Targets, into: &mut Desk) {
    if let Some(target) = targets.get(id) {
        into.standing.extend(target.claimants.iter().copied());
    }
}
