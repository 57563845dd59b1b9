//! Makes the status document out of what the planner shows and the agent knows.

use super::Agent;
use super::life;
use super::status::{
    AgentStatus, CertificateStatus, Document, Published, ResponderStatus, SCHEMA, Served,
    ServerStatus, State, TargetStatus,
};
use super::world::{Known, Place};
use crate::audit::Recorder;
use crate::plan::{self, CertId, CertificateView, Content, LoadedView, TargetView, Why};
use crate::time::{UnixTime, format_duration};

/// Why a server is reloaded, in words.
pub(super) fn reason(why: Why) -> &'static str {
    match why {
        Why::Renewed => "a renewed certificate waited long enough for its owner's reload",
        Why::Closing => "what is loaded closes soon",
        Why::First => "a first staple",
        Why::Withdrawn => "a staple that must go",
        Why::Wanted => "asked for",
        Why::Revoked => "a revocation",
    }
}

impl Agent {
    /// The status document as of now, whole; what the agent itself hands out is told in pieces.
    pub(super) fn document(&self) -> Document {
        let order = self.briefs();
        let all = order.iter().filter_map(|brief| self.certificate_status(brief.id));
        self.document_of(all.collect())
    }

    /// The same, with what is to be said of certificates.
    pub(super) fn document_of<C>(&self, certificates: C) -> Document<C> {
        let mut servers: Vec<_> = self.world.servers.keys().copied().collect();
        servers.sort_unstable();
        Document {
            schema: SCHEMA,
            at: self.clock.now().wall,
            agent: self.agent_status(),
            certificates,
            servers: servers.into_iter().filter_map(|id| self.server_status(id)).collect(),
            responders: self.responder_statuses(),
            loopback: self.loopback_status(),
            problems: {
                let problems = self.scan_problems.iter().chain(self.obstacles.values());
                let problems = problems.chain(self.failed_commands.values()).chain(&self.problems);
                let problems = problems.chain(&self.names_trouble).cloned();
                problems.chain(self.recorder.as_ref().and_then(Recorder::problem)).collect()
            },
        }
    }

    fn agent_status(&self) -> AgentStatus {
        let works = self.store.is_some();
        AgentStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: works.then(std::process::id),
            pid_namespace: works.then(life::pid_namespace).flatten(),
            process_start: works.then(|| life::process_start(std::process::id())).flatten(),
            started_at: works.then_some(self.started),
            valid_for_seconds: works.then_some(life::VALID_FOR.as_secs()),
            ready: self.ready,
            clock_suspect: self.planner.clock_is_suspect(),
        }
    }

    /// One certificate's part of the document; `None` once it is gone.
    pub(super) fn certificate_status(&self, id: CertId) -> Option<CertificateStatus> {
        let known = self.world.certificates.get(&id)?;
        let view = self.planner.certificate(id)?;
        let now = self.clock.now().wall;
        let held = known.held.as_ref();
        let effective_expiry = self.effective_expiry(known);
        let state = state(known, effective_expiry, now);
        let places = view.targets.iter().filter_map(|id| self.world.places.get(id).map(|it| &**it));
        let places: Vec<_> = places.collect();
        let mut reason = sentence(state, known, &view, effective_expiry, now);
        let expiring = self.expiry.is_expiring(id);
        if expiring {
            reason += &format!("; the certificate itself runs out at {}", known.leaf.not_after());
        }
        Some(CertificateStatus {
            name: known.name().to_string(),
            fingerprint: known.leaf.fingerprint(),
            subject: subject(known),
            must_staple: view.must_staple,
            frozen: view.frozen,
            state,
            reason: reason + &frozen(&view),
            severity: view.severity.into(),
            troubles: view.troubles.clone(),
            this_update: held.map(|staple| staple.this_update()),
            next_update: held.and_then(|staple| staple.next_update()),
            effective_expiry,
            // The planner's own figure is of its last event, which may be hours ago.
            slack_seconds: view.safe_until.map(|until| until.seconds_since(now)),
            warning_at: view.turns.0,
            critical_at: view.turns.1,
            next_attempt: view.next_attempt,
            last_error: known.last_error.as_deref().map(str::to_owned),
            failures: view.failures,
            not_after: known.leaf.not_after(),
            expiring,
            responders: known.responders.iter().map(|id| self.world.url(*id).to_string()).collect(),
            targets: view.targets.iter().filter_map(|id| self.target_status(known, *id)).collect(),
            served: self.served(&view, &places),
        })
    }

    /// When clients stop believing the staple held.
    pub(super) fn effective_expiry(&self, known: &Known) -> Option<UnixTime> {
        let staple = known.held.as_ref()?;
        Some(staple.expires().min(staple.this_update() + self.settings.policy.max_age))
    }

    fn target_status(&self, known: &Known, id: plan::TargetId) -> Option<TargetStatus> {
        let place = self.world.places.get(&id)?;
        let view = self.planner.target(id)?;
        let worst = worst_loaded(&view);
        let label = |id| self.world.servers.get(&id).map(|server| server.label());
        Some(TargetStatus {
            path: place.spot.to_string(),
            published: published(known, view.published),
            servers: place.servers().into_iter().filter_map(label).collect(),
            loaded: worst
                .and_then(|loaded| loaded.content)
                .map(|content| published(known, content)),
            loaded_expiry: worst.and_then(|loaded| loaded.expires),
            taken_up_by: view.loaded.iter().filter_map(|loaded| loaded.by_itself).max(),
        })
    }

    /// The worst over all targets of what clients were seen to be handed.
    fn served(&self, view: &CertificateView, places: &[&Place]) -> Option<Served> {
        let targets = view.targets.iter().filter_map(|id| self.planner.target(*id));
        let loaded = targets.flat_map(|target| target.loaded);
        let worst = loaded.filter(|loaded| loaded.content.is_some()).map(|loaded| {
            if loaded.mismatch {
                Served::Mismatch
            } else if loaded.proved {
                Served::Match
            } else {
                Served::Unproven
            }
        });
        let unproven = places.iter().any(|place| place.served == Some(plan::Served::Unproven));
        worst.max().or(unproven.then_some(Served::Unproven))
    }

    fn server_status(&self, id: plan::ServerId) -> Option<ServerStatus> {
        let server = self.world.servers.get(&id)?;
        let view = self.planner.server(id)?;
        Some(ServerStatus {
            kind: server.kind.to_string(),
            config: server.config.as_deref().map(|path| path.to_string_lossy().into_owned()),
            running: view.running,
            complete: server.complete,
            pending: view.pending,
            next_reload: view.next_reload.map(|(at, _)| at),
            next_reload_reason: view.next_reload.map(|(_, why)| reason(why).to_owned()),
            last_reload: server.last_reload.map(|(at, _)| at),
            last_reload_reason: server.last_reload.map(|(_, why)| reason(why).to_owned()),
            last_error: server.last_error.clone(),
            severity: view.severity.into(),
            warm: server.warm.status(),
        })
    }

    fn responder_statuses(&self) -> Vec<ResponderStatus> {
        let status = |(id, view): (plan::ResponderId, plan::ResponderView)| {
            ResponderStatus::of(self.world.url(id).to_string(), &view)
        };
        self.planner.responders().map(status).collect()
    }
}

fn subject(known: &Known) -> String {
    let subject = known.leaf.subject();
    match subject.is_empty() {
        true => known.leaf.names().into_iter().next().unwrap_or_default(),
        false => subject,
    }
}

pub(super) fn state(known: &Known, effective_expiry: Option<UnixTime>, now: UnixTime) -> State {
    match (&known.held, effective_expiry) {
        (Some(_), Some(expiry)) if expiry <= now => State::Expired,
        (Some(staple), _) => staple.status().into(),
        (None, _) if known.issued.is_none() => State::NoIssuer,
        (None, _) if known.responders.is_empty() => State::NoOcspUrl,
        (None, _) => State::Waiting,
    }
}

fn frozen(view: &CertificateView) -> String {
    match (view.frozen, view.frozen_until) {
        (false, _) => String::new(),
        (true, Some(until)) => format!("; frozen: what is published stays, until {until} at most"),
        (true, None) => "; frozen: what is published first stays".to_owned(),
    }
}

fn sentence(
    state: State,
    known: &Known,
    view: &CertificateView,
    effective_expiry: Option<UnixTime>,
    now: UnixTime,
) -> String {
    let refused = if view.must_staple { "; clients refuse it without one" } else { "" };
    match (state, effective_expiry) {
        (State::Good, Some(expiry)) => {
            format!("good until {expiry} ({})", format_duration(expiry.since(now)))
        }
        (State::Revoked, _) => {
            let staple = known.held.as_ref();
            let revocation = staple.and_then(|staple| staple.revocation());
            let when = revocation.map(|it| format!(" since {}", it.time)).unwrap_or_default();
            format!("revoked{when}, says its CA; replace the certificate")
        }
        (State::Expired, Some(expiry)) => {
            format!("its staple ran out at {expiry} and no newer one could be had{refused}")
        }
        (State::NoOcspUrl, _) if view.must_staple => {
            "it demands a staple (Must-Staple) and names no responder to get one from: have it \
             issued again without Must-Staple, or by a CA that runs OCSP"
                .to_owned()
        }
        (State::NoOcspUrl, _) => "it names no OCSP responder: nothing to staple".to_owned(),
        (State::NoIssuer, _) => format!(
            "its issuer was not found: put the chain behind the certificate in its file{refused}"
        ),
        _ => format!("no staple yet{refused}"),
    }
}

fn published(known: &Known, content: Content) -> Published {
    match content {
        Content::Staple(_, digest) => {
            let held = known.held.as_ref().is_some_and(|staple| staple.digest() == digest);
            if held { Published::Staple } else { Published::OlderStaple }
        }
        Content::Placeholder => Published::Placeholder,
        Content::Nothing => Published::Nothing,
        Content::Foreign => Published::Foreign,
    }
}

/// Of several servers, the one that breaks first.
fn worst_loaded(view: &TargetView) -> Option<&LoadedView> {
    view.loaded.iter().min_by_key(|loaded| (loaded.proved, loaded.expires))
}
