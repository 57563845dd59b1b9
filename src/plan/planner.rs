//! The planner itself: four machines in a row and the routing between them.
//!
//! An event goes to the machine it concerns, which leaves notes on the [`Desk`] for those down the
//! pipe: responders, certificates, targets, servers, and last how each certificate stands.

use std::collections::BTreeSet;

use super::action::{About, Action, Memory, Why};
use super::agenda::{Item, Slot};
use super::certificates::{Certificates, Ended, State};
use super::desk::Desk;
use super::event::{Event, Want};
use super::facts::{CertId, Policy, ResponderId, ServerId, Target, TargetId};
use super::responders::Responders;
use super::servers::{Entry, Servers, Upstream};
use super::standing;
use super::targets::Targets;
use super::trust::Trust;
use super::view::{
    Busy, CertificateState, CertificateView, LoadedView, ResponderView, ServerView, Severity,
    TargetView, Trouble,
};
use crate::time::{Now, UnixTime};

/// Decides what to ask, keep, publish, reload and confirm, and when. See the [module](super).
#[derive(Clone, Debug)]
pub struct Planner {
    desk: Desk,
    trust: Trust,
    /// Where doubt about the clock stands in the agenda.
    doubt: Slot,
    responders: Responders,
    certificates: Certificates,
    targets: Targets,
    servers: Servers,
    /// To be judged again when the clock is believed again.
    deferred: BTreeSet<CertId>,
}

impl Planner {
    /// A planner that knows of nothing yet.
    pub fn new(policy: Policy, now: Now) -> Self {
        Planner {
            desk: Desk::new(policy, now),
            trust: Trust::new(now),
            doubt: Slot::default(),
            responders: Responders::default(),
            certificates: Certificates::default(),
            targets: Targets::default(),
            servers: Servers::default(),
            deferred: BTreeSet::new(),
        }
    }

    /// Takes in what happened by `now` and says what to do about it, most urgent first.
    ///
    /// Events may come in any order and about things never heard of; such ones change nothing. Costs
    /// O((1 + k) log n) in the certificates known, k being the entries changed. The last action is
    /// always a `WakeAt`, and the only one.
    pub fn handle(&mut self, event: Event, now: Now) -> Vec<Action> {
        self.desk.now = now;
        if self.trust.observe(now, &self.desk.policy) {
            self.desk.targets.extend(self.targets.ids());
        }
        self.doubt();
        self.take_in(event);
        self.doubt();
        for item in self.desk.agenda.due(now) {
            self.due(item);
        }
        self.flow();
        self.desk.hand_over()
    }

    /// Routes an event to its machine.
    fn take_in(&mut self, event: Event) {
        let desk = &mut self.desk;
        let responders = &mut self.responders;
        match event {
            Event::Tick => {}
            Event::Configured(policy) => self.configured(policy),
            Event::ClockSynchronised(synchronised) => self.trust.synchronised(synchronised),
            Event::Found(found) => {
                let id = found.id;
                self.certificates.found(found, responders, &mut self.trust, desk);
                desk.targets.extend(self.targets.of_cert(id));
            }
            Event::Gone(id) => {
                self.certificates.gone(id, responders, desk);
                self.deferred.remove(&id);
                desk.targets.extend(self.targets.of_cert(id));
            }
            Event::Served(id, server) => {
                self.servers.served(id, server, up(&self.targets, &self.certificates), desk)
            }
            Event::Unserved(id) => {
                self.servers.unserved(id, up(&self.targets, &self.certificates), desk)
            }
            Event::Placed(id, target) => self.placed(id, &target),
            Event::Unplaced(id) => self.unplaced(id),
            Event::Sighted(id, sighting) => {
                self.servers.sighted(id, sighting, up(&self.targets, &self.certificates), desk);
            }
            Event::Frozen(id) => {
                self.certificates.freeze(id);
                desk.targets.extend(self.targets.of_cert(id));
            }
            Event::Thawed(id) => {
                self.certificates.thaw(id);
                desk.targets.extend(self.targets.of_cert(id));
            }
            Event::Brought { cert, facts } => {
                let trust = &mut self.trust;
                let ended = self.certificates.brought(cert, facts, responders, trust, desk);
                self.ended(cert, ended);
            }
            Event::Wanted(ids, want) => ids.into_iter().for_each(|id| self.wanted(id, want)),
            Event::Fetched { cert, from, outcome } => {
                let ended = self.certificates.fetched(
                    cert,
                    from,
                    outcome,
                    responders,
                    &mut self.trust,
                    desk,
                );
                self.ended(cert, ended);
            }
            // A failure does not stop publishing: the disk is for the next start.
            Event::Kept { cert, outcome: _ } => {
                let ended = self.certificates.kept(cert, responders, desk);
                self.ended(cert, ended);
            }
            Event::Published { target, outcome } => {
                self.targets.published(target, outcome, &self.certificates, desk);
            }
            Event::Reloaded { server, outcome } => {
                self.servers.reloaded(server, outcome, up(&self.targets, &self.certificates), desk);
            }
            Event::Confirmed { target, server, served } => {
                self.servers.confirmed(
                    server,
                    target,
                    served,
                    up(&self.targets, &self.certificates),
                    desk,
                );
            }
        }
    }

    fn configured(&mut self, policy: Policy) {
        self.desk.policy = policy;
        self.certificates.configured(&mut self.responders, &mut self.desk);
        self.desk.targets.extend(self.targets.ids());
        self.desk.servers.extend(self.servers.ids());
    }

    fn wanted(&mut self, id: CertId, want: Want) {
        let ended = self.certificates.wanted(id, want, &mut self.responders, &mut self.desk);
        self.ended(id, ended);
        if matches!(want, Want::Hook { .. }) {
            self.desk.targets.extend(self.targets.of_cert(id));
        }
    }

    /// An attempt has ended: its targets are looked at.
    fn ended(&mut self, id: CertId, ended: Ended) {
        let Ended::Attempt { reload_wanted } = ended else { return };
        for target in self.targets.of_cert(id) {
            self.desk.targets.insert(target);
        }
        if reload_wanted {
            let targets: Vec<TargetId> = self.targets.of_cert(id).collect();
            targets.into_iter().for_each(|target| self.targets.reload_wanted(target));
        }
    }

    fn placed(&mut self, id: TargetId, target: &Target) {
        let before = self.targets.get(id);
        let was_claimed = before.map(|entry| entry.claimants.clone()).unwrap_or_default();
        let was_read = before.map(|entry| entry.servers.clone()).unwrap_or_default();
        self.targets.placed(id, target, &mut self.desk);
        for server in was_read.iter().filter(|server| !target.servers.contains(server)) {
            self.servers.unplaced(*server, id, &mut self.desk);
        }
        for server in &target.servers {
            let loaded = target.loaded.iter().find(|(of, _)| of == server);
            self.servers.placed(*server, id, loaded.map(|(_, loaded)| loaded));
        }
        for cert in was_claimed.iter().chain(&target.claimants) {
            self.claims_changed(*cert);
        }
    }

    fn unplaced(&mut self, id: TargetId) {
        let Some(entry) = self.targets.unplaced(id, &mut self.desk) else { return };
        for server in &entry.servers {
            self.servers.unplaced(*server, id, &mut self.desk);
        }
        for cert in &entry.claimants {
            self.claims_changed(*cert);
        }
    }

    fn claims_changed(&mut self, cert: CertId) {
        let lead = self.targets.lead(cert);
        self.certificates.lead(cert, lead, &mut self.responders, &mut self.desk);
        self.desk.standing.insert(cert);
    }

    /// An instant on the agenda has come.
    fn due(&mut self, item: Item) {
        match item {
            Item::Clock => {}
            Item::Certificate(id) => {
                self.certificates.due(id, &mut self.responders, &mut self.desk);
                self.desk.targets.extend(self.targets.of_cert(id));
            }
            Item::Responder(id) => {
                self.desk.responders.insert(id);
            }
            Item::Target(id) => self.targets.due(id, &mut self.desk),
            Item::Server(id) => {
                self.desk.servers.insert(id);
            }
        }
    }

    /// Lets what was noted flow down the pipe.
    fn flow(&mut self) {
        while let Some(id) = self.desk.responders.pop_first() {
            self.certificates.ask(id, &mut self.responders, &mut self.desk);
            self.responders.settle(id, &mut self.desk);
        }
        while let Some(id) = self.desk.targets.pop_first() {
            self.thaw_in_time(id);
            self.targets.evaluate(id, &self.certificates, &mut self.desk);
            let wanted = self.targets.take_reload_wanted(id);
            let servers = self.targets.get(id).map(|entry| entry.servers.clone());
            for server in servers.iter().flatten() {
                let up = up(&self.targets, &self.certificates);
                self.servers.offered(*server, id, wanted, up, &mut self.desk);
                if self.servers.get(*server).is_some_and(|server| server.is_held_up(id)) {
                    self.targets.held_up(id, &mut self.desk);
                }
            }
        }
        while let Some(id) = self.desk.servers.pop_first() {
            self.servers.settle(id, up(&self.targets, &self.certificates), &mut self.desk);
        }
        while let Some(id) = self.desk.served.pop_first() {
            standing::claimants(id, &self.targets, &mut self.desk);
        }
        while let Some(id) = self.desk.standing.pop_first() {
            let (certificates, desk) = (&mut self.certificates, &mut self.desk);
            if standing::settle(id, certificates, &self.targets, &self.servers, desk) {
                self.deferred.insert(id);
            }
        }
    }

    /// Ends a freeze that would let what is published run out.
    fn thaw_in_time(&mut self, id: TargetId) {
        let frozen = self.targets.frozen(id, &self.certificates, &self.desk);
        let Some((cert, until)) = frozen else { return };
        if until <= self.desk.now.wall && self.certificates.thaw(cert) {
            self.desk.act(Action::Remember(Memory::Thawed { cert }));
            self.desk.targets.extend(self.targets.of_cert(cert));
        }
    }

    /// Follows whether the wall clock can be believed.
    fn doubt(&mut self) {
        let (now, policy) = (self.desk.now, &self.desk.policy);
        let suspect = self.trust.suspect(now, policy);
        let mut to = Slot::default();
        if suspect {
            (to.wall, to.uptime) = self.trust.next(now, policy);
        } else if self.desk.suspect {
            for id in std::mem::take(&mut self.deferred) {
                self.desk.standing.insert(id);
                self.desk.targets.extend(self.targets.of_cert(id));
            }
        }
        self.desk.suspect = suspect;
        self.desk.schedule(Item::Clock, &mut self.doubt, to);
        self.desk.tell(About::ClockSuspect, suspect);
    }
}

/// The worst of its troubles, else whether there is anything to say.
fn severity(troubles: &[Trouble], deployed: bool, hopeless: bool) -> Severity {
    let calm = if hopeless || !deployed { Severity::Info } else { Severity::Fine };
    troubles.iter().map(|trouble| trouble.severity()).max().unwrap_or(calm)
}

fn up<'a>(targets: &'a Targets, certificates: &'a Certificates) -> Upstream<'a> {
    Upstream { targets, certificates }
}

/// Views.
impl Planner {
    /// Every certificate known, in the order of their numbers.
    pub fn certificates(&self) -> impl Iterator<Item = CertificateView> {
        self.certificates.ids().filter_map(|id| self.certificate(id))
    }

    /// A certificate, as it stands at the instant of the last event.
    pub fn certificate(&self, id: CertId) -> Option<CertificateView> {
        let entry = self.certificates.get(id)?;
        let now = self.desk.now.wall;
        let standing = standing::judge(id, entry, &self.targets, &self.servers, &self.desk);
        let next_attempt = self.certificates.next_attempt(id, &self.desk);
        let state = match entry.state {
            State::Resting if entry.responders.is_empty() => CertificateState::NoResponder,
            State::Resting if next_attempt.is_none() => CertificateState::Over,
            State::Resting => CertificateState::Fresh,
            State::Waiting => CertificateState::Waiting,
            State::Parked => CertificateState::Parked,
            State::Queued(_) | State::Asked(_) => CertificateState::Asking,
            State::Kept => CertificateState::Keeping,
        };
        let slack = |until: UnixTime| until.seconds_since(now);
        let troubles = self.troubles(id, standing.deployed);
        let frozen = self.targets.of_cert(id);
        let frozen =
            frozen.filter_map(|one| self.targets.frozen(one, &self.certificates, &self.desk));
        Some(CertificateView {
            id,
            frozen: self.certificates.is_frozen(id),
            frozen_until: frozen.map(|(_, until)| until).min(),
            held: entry.held,
            state,
            failures: entry.failures(),
            next_attempt,
            window: entry.window(&self.desk).map(|window| (window.opens, window.closes)),
            safe_until: standing.safe_until,
            slack_seconds: standing.safe_until.map(slack),
            turns: standing.turns(entry.must_staple),
            deployed: standing.deployed,
            severity: severity(&troubles, standing.deployed, entry.responders.is_empty()),
            troubles,
            must_staple: entry.must_staple,
            responders: entry.responders.to_vec(),
            targets: self.targets.of_cert(id).collect(),
        })
    }

    /// What is told about a certificate and its targets.
    fn troubles(&self, id: CertId, deployed: bool) -> Vec<Trouble> {
        let told = |about| self.desk.is_told(about);
        let mismatch = |target: TargetId| {
            let servers = self.targets.get(target).map(|entry| entry.servers.iter());
            servers.into_iter().flatten().any(|server| told(About::Mismatch(target, *server)))
        };
        let mut targets = self.targets.of_cert(id);
        let known = [
            (Trouble::Late, told(About::Late(id))),
            (
                Trouble::PublishFailed,
                self.targets.of_cert(id).any(|target| told(About::PublishFailed(target))),
            ),
            (Trouble::AtRisk, told(About::AtRisk(id))),
            (Trouble::Revoked, deployed && told(About::Revoked(id))),
            (Trouble::ServedMismatch, targets.any(mismatch)),
        ];
        known.into_iter().filter(|(_, is_so)| *is_so).map(|(trouble, _)| trouble).collect()
    }

    /// Every target known.
    pub fn targets(&self) -> impl Iterator<Item = TargetView> {
        self.targets.ids().filter_map(|id| self.target(id))
    }

    /// A target.
    pub fn target(&self, id: TargetId) -> Option<TargetView> {
        let entry = self.targets.get(id)?;
        let loaded = entry.servers.iter().map(|server| {
            let known = self.servers.get(*server);
            let holds = known.and_then(|known| known.holds(id));
            LoadedView {
                server: *server,
                content: holds.map(|holds| holds.holding.content()),
                expires: holds.and_then(|holds| Some(holds.holding.facts()?.expires)),
                proved: holds.is_some_and(|holds| holds.proved),
                mismatch: known.is_some_and(|known| known.is_mismatched(id)),
                pending: known.is_some_and(|known| known.is_pending(id)),
                by_itself: known.and_then(|known| known.takes_up(id)).map(|at| {
                    let now = self.desk.now;
                    now.wall + at.saturating_sub(now.uptime)
                }),
            }
        });
        Some(TargetView {
            id,
            published: entry.published.content(),
            expires: entry.published.facts().map(|facts| facts.expires),
            chosen: entry.chosen,
            publishing: self.targets.is_publishing(id),
            failures: self.targets.failures(id),
            loaded: loaded.collect(),
        })
    }

    /// Every server known.
    pub fn servers(&self) -> impl Iterator<Item = ServerView> {
        self.servers.ids().filter_map(|id| self.server(id))
    }

    /// A server.
    pub fn server(&self, id: ServerId) -> Option<ServerView> {
        let entry = self.servers.get(id)?;
        Some(ServerView {
            id,
            running: entry.server.running,
            reloading: entry.is_reloading(),
            pending: entry.pending(),
            next_reload: entry.next_reload(&self.desk),
            blocked_by: entry.blocked_by().collect(),
            last_reload: entry.last(),
            failures: entry.failures(),
            severity: match self.desk.is_told(About::ReloadFailed(id)) {
                true if entry.is_past_a_close(self.desk.now.wall) => Severity::Critical,
                true => Severity::Warning,
                false => Severity::Fine,
            },
            confirming: entry.asking(),
        })
    }

    /// Every responder that was ever asked.
    pub fn responders(&self) -> impl Iterator<Item = (ResponderId, ResponderView)> {
        self.responders.ids().filter_map(|id| Some((id, self.responder(id)?)))
    }

    /// A responder; `None` if it was never asked.
    pub fn responder(&self, id: ResponderId) -> Option<ResponderView> {
        self.responders.view(id, &self.desk)
    }

    /// Whether the wall clock is in doubt.
    pub fn clock_is_suspect(&self) -> bool {
        self.desk.suspect
    }

    /// What is under way. Once it [is idle](Busy::is_idle) after everything found was handed in, the
    /// first pass is done.
    pub fn busy(&self) -> Busy {
        let (queued, fetching) = self.responders.load();
        let servers = || self.servers.ids().filter_map(|id| self.servers.get(id));
        Busy {
            queued,
            fetching,
            keeping: self.certificates.keeping(),
            publishing: self.targets.publishing().count(),
            reloading: servers().filter(|server| server.is_reloading() || server.gathers()).count(),
            confirming: servers().map(|server| server.asking()).sum(),
        }
    }

    /// Whether nothing of these certificates is under way or about to be: no request, write, urgent
    /// reload or handshake. A wait by back-off, for an open circuit, for the owner of a renewed
    /// certificate or for a close counts as settled: nothing will happen soon.
    pub fn settled(&self, ids: &[CertId]) -> bool {
        ids.iter().all(|id| {
            !self.is_asked(*id)
                && self.targets.of_cert(*id).all(|target| self.target_settled(target))
        })
    }

    fn is_asked(&self, id: CertId) -> bool {
        let running = |state| matches!(state, State::Queued(_) | State::Asked(_) | State::Kept);
        self.certificates.get(id).is_some_and(|entry| running(entry.state))
    }

    fn target_settled(&self, id: TargetId) -> bool {
        let servers = self.targets.get(id).map(|entry| entry.servers.iter());
        let known = servers.into_iter().flatten().filter_map(|server| self.servers.get(*server));
        // A staple that is on its way holds a reload up for moments only.
        let coming = |target: TargetId| {
            let claimants = self.targets.get(target).map(|entry| entry.claimants.iter());
            self.targets.is_publishing(target)
                || claimants.into_iter().flatten().any(|cert| self.is_asked(*cert))
        };
        let now = self.desk.now.uptime;
        let busy = |server: &Entry| {
            server.is_busy_with(id)
                || server.takes_up_soon(id, now)
                || server.is_held_up(id) && server.blocked_by().any(coming)
        };
        !self.targets.is_publishing(id) && !known.into_iter().any(busy)
    }
}

/// A server's reason for its next reload reads as one word in logs and metrics.
impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Why::Renewed => "renewed",
            Why::Closing => "closing",
            Why::First => "first",
            Why::Withdrawn => "withdrawn",
            Why::Wanted => "wanted",
            Why::Revoked => "revoked",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::digest::Digest;
    use crate::ocsp::Status;
    use crate::plan::{
        Answer, Attempts, Bare, Certificate, Content, Delivery, Facts, Served, Server, TakesUp,
    };
    use crate::time::DAY;

    const CERT: CertId = CertId(1);
    const TARGET: TargetId = TargetId(2);
    const SERVER: ServerId = ServerId(3);
    const FROM: ResponderId = ResponderId(4);
    const NGINX: Delivery = Delivery {
        takes_up: TakesUp::OnReload,
        per_worker: false,
        stops_early: Duration::ZERO,
        bare: Bare::Placeholder,
        takes_revoked: true,
    };

    /// `seconds` after a start at noon, on both clocks.
    fn at(seconds: u64) -> Now {
        let uptime = Duration::from_secs(1_000_000 + seconds);
        Now { wall: UnixTime::from_secs(1_800_000_000) + Duration::from_secs(seconds), uptime }
    }

    fn facts(name: &str, seconds: u64) -> Facts {
        let this_update = at(seconds).wall;
        let digest = Digest::of(name.as_bytes());
        Facts { digest, status: Status::Good, this_update, expires: this_update + 7 * DAY }
    }

    /// The actions but the wake-up and what is remembered.
    fn acts(planner: &mut Planner, event: Event, now: Now) -> Vec<Action> {
        let mut actions = planner.handle(event, now);
        assert!(matches!(actions.pop(), Some(Action::WakeAt(_))), "a wake-up comes last");
        actions.retain(|action| !matches!(action, Action::Remember(_)));
        actions
    }

    #[test]
    fn a_certificate_goes_down_the_whole_pipe() {
        let mut planner = Planner::new(Policy::default(), at(0));
        let mut step = |event, seconds| acts(&mut planner, event, at(seconds));
        let server = Server { running: true, reloads: true, probed: true };
        assert_eq!(step(Event::Served(SERVER, server), 0), []);
        let found = Certificate {
            id: CERT,
            identity: Digest::of(b"leaf"),
            must_staple: false,
            not_after: at(0).wall + 90 * DAY,
            responders: vec![FROM],
            held: None,
            attempts: Attempts::default(),
        };
        let ask = crate::plan::Ask { afresh: false };
        assert_eq!(step(Event::Found(found), 0), [Action::Fetch { cert: CERT, from: FROM, ask }]);
        let target = Target {
            servers: vec![SERVER],
            claimants: vec![CERT],
            delivery: NGINX,
            published: Content::Nothing,
            published_facts: None,
            loaded: vec![],
        };
        let placeholder = Content::Placeholder;
        assert_eq!(
            step(Event::Placed(TARGET, target), 0),
            [Action::Publish { target: TARGET, content: placeholder }]
        );
        assert_eq!(step(Event::Published { target: TARGET, outcome: Ok(placeholder) }, 0), []);
        let fresh = facts("first", 0);
        let answer = Answer { facts: fresh, fresh_for: None };
        assert_eq!(
            step(Event::Fetched { cert: CERT, from: FROM, outcome: Ok(answer) }, 1),
            [Action::Keep { cert: CERT, staple: fresh.digest }]
        );
        let content = Content::Staple(CERT, fresh.digest);
        assert_eq!(
            step(Event::Kept { cert: CERT, outcome: Ok(()) }, 1),
            [Action::Publish { target: TARGET, content }]
        );
        assert_eq!(step(Event::Published { target: TARGET, outcome: Ok(content) }, 1), []);
        assert_eq!(step(Event::Tick, 2), []);
        let why = Why::First;
        assert_eq!(step(Event::Tick, 3), [Action::Reload { server: SERVER, why }]);
        let confirm = Action::Confirm { target: TARGET, server: SERVER, expect: vec![content] };
        assert_eq!(step(Event::Reloaded { server: SERVER, outcome: Ok(()) }, 4), [confirm]);
        let served = Served::Seen { leaf: Some(CERT), content };
        assert_eq!(step(Event::Confirmed { target: TARGET, server: SERVER, served }, 4), []);
        assert!(planner.busy().is_idle() && planner.settled(&[CERT]));
        let view = planner.certificate(CERT).expect("it was found");
        assert_eq!(view.slack_seconds, Some(7 * 86_400 - 4));
        assert_eq!((view.severity, view.state), (Severity::Fine, CertificateState::Fresh));
    }
}
