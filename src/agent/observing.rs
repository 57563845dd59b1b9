//! Says what happened to those who keep a record of it. They decide nothing.

use super::Agent;
use crate::happening::{Condition, Happening, Lying, Sighted, Subject};
use crate::plan::{About, CertId, Content, Notice, ServerId, TargetId};

impl Agent {
    /// Says that something happened.
    pub(super) fn observe(&mut self, happening: Happening) {
        let happening = happening.bounded();
        if let Some(counters) = self.watched.counters() {
            counters.observe(&happening, self.clock.now().wall);
        }
        log(&happening);
        if let Some(news) = self.outages.observe(&happening, self.clock.now().wall) {
            news.log();
        }
        self.call_hooks(&happening);
        let ended = self.told.ended_by(&happening);
        if let Some(recorder) = &self.recorder {
            recorder.observe(self.clock.now().wall, happening);
        }
        for condition in ended {
            self.observe(Happening::Ends { condition });
        }
    }

    /// Says that every certificate there is has been found, where nothing kept a scan from it.
    pub(super) fn all_found(&self) {
        if let Some(recorder) = self.recorder.as_ref().filter(|_| self.scan_problems.is_empty()) {
            recorder.all_found(self.clock.now().wall);
        }
    }

    /// Says that a certificate was found, or is to be asked about otherwise.
    pub(super) fn discovered(&mut self, id: CertId) {
        let Some(known) = self.world.certificates.get(&id) else { return };
        let issuer = known.issued.as_ref().map(|issued| issued.issuer.subject());
        let happening = Happening::Discovered {
            certificate: self.subject(id),
            issuer: issuer.unwrap_or_default(),
            must_staple: known.leaf.must_staple(),
            not_after: known.leaf.not_after(),
            responders: known.responders.iter().map(|id| self.world.url(*id).to_string()).collect(),
        };
        self.observe(happening);
    }

    /// A certificate, as the record knows it; by its fingerprint alone once it is gone.
    pub(super) fn subject(&self, id: CertId) -> Subject {
        Subject { name: self.world.name(id).to_string(), fingerprint: self.world.fingerprint(id) }
    }

    /// What lies in a target now.
    pub(super) fn lying(&self, content: Content) -> Lying {
        match content {
            Content::Staple(cert, _) => match self.world.staple(content) {
                Some(staple) => {
                    Lying::Staple { certificate: self.subject(cert), staple: staple.facts() }
                }
                // It has been superseded since: what it says is said no more.
                None => Lying::Nothing,
            },
            Content::Placeholder => Lying::Placeholder,
            Content::Foreign => Lying::Foreign { sha256: None },
            Content::Nothing => Lying::Nothing,
        }
    }

    /// Says that a condition begins or ends.
    pub(super) fn tell(&mut self, notice: Notice) {
        let condition = self.condition(notice.about);
        self.observe(match notice.begins {
            true => Happening::Begins { condition },
            false => Happening::Ends { condition },
        });
    }

    fn condition(&self, about: About) -> Condition {
        match about {
            About::Late(cert) => Condition::Late { certificate: self.subject(cert) },
            About::AtRisk(cert) => Condition::AtRisk { certificate: self.subject(cert) },
            About::Revoked(cert) => Condition::Revoked { certificate: self.subject(cert) },
            About::ResponderDown(id) => {
                Condition::ResponderDown { responder: self.world.url(id).to_string() }
            }
            About::Mismatch(target, server) => Condition::ServedMismatch {
                target: self.target_label(target),
                server: self.server_label(server),
            },
            About::ReloadFailed(server) => {
                Condition::ReloadFailed { server: self.server_label(server) }
            }
            About::PublishFailed(target) => {
                Condition::PublishFailed { target: self.target_label(target) }
            }
            About::ClockSuspect => Condition::ClockSuspect,
        }
    }

    /// What people call a target.
    pub(super) fn target_label(&self, id: TargetId) -> String {
        self.world.target(id).to_string()
    }

    /// What people call the servers whose configuration names a target.
    pub(super) fn readers(&self, id: TargetId) -> Vec<String> {
        let servers = self.world.places.get(&id).map(|place| place.servers()).unwrap_or_default();
        servers.into_iter().map(|server| self.server_label(server)).collect()
    }

    /// What people call a server.
    pub(super) fn server_label(&self, id: ServerId) -> String {
        match self.world.servers.get(&id) {
            Some(server) => server.label(),
            None => "a server that is gone".to_owned(),
        }
    }
}

/// A line in the log for each change that is seen from outside, steps at a lower level.
fn log(happening: &Happening) {
    match happening {
        Happening::Started { version, .. } => tracing::info!(version, "started"),
        Happening::ByHand { command, uid, .. } => tracing::info!(command, uid, "by hand"),
        Happening::Stopping => tracing::info!("stopping"),
        Happening::Configured { .. } => tracing::info!("the configuration was read again"),
        Happening::NotConfigured { error } => {
            tracing::error!("the configuration was not taken, the old one stays:\n{error}");
        }
        Happening::Discovered { certificate, must_staple, not_after, .. } => {
            tracing::debug!(cert = %certificate, must_staple, %not_after, "found");
        }
        Happening::Removed { certificate } => tracing::info!(cert = %certificate, "is gone"),
        Happening::Answered { certificate, responder, staple, .. } => tracing::debug!(
            cert = %certificate, %responder, this_update = %staple.this_update,
            expires = %staple.expires, "answered"
        ),
        Happening::NotAnswered { certificate, error, .. } => {
            tracing::debug!(cert = %certificate, "{error}");
        }
        // At a start there are thousands.
        Happening::Published { target, written: false, content, .. } => {
            tracing::debug!(target, ?content, "answers otherwise");
        }
        Happening::Published { target, content, .. } => log_published(target, content),
        Happening::Linked { target, path } => tracing::info!(target, ?path, "was made a link"),
        Happening::NotPublished { target, error } => tracing::debug!(target, "{error}"),
        // At a start there are thousands.
        Happening::Placed { target, servers, .. } => tracing::debug!(target, ?servers, "is named"),
        Happening::Unplaced { target } => tracing::debug!(target, "no server names it any more"),
        Happening::Reloading { server, reason } => tracing::info!(server, reason, "reloading"),
        Happening::Reloaded { server } => tracing::info!(server, "reloaded"),
        Happening::NotReloaded { server, error, put_off: true } => {
            tracing::info!(server, "not reloaded yet: {error}");
        }
        Happening::NotReloaded { server, error, .. } => {
            tracing::error!(server, "not reloaded: {error}");
        }
        Happening::Sighted { server, what } => match what {
            Sighted::Started => tracing::info!(server, "was started"),
            Sighted::Stopped => tracing::info!(server, "was stopped"),
            Sighted::Reloaded => tracing::info!(server, "was reloaded by somebody else"),
        },
        Happening::Confirmed { target, server, matches, .. } => {
            tracing::debug!(target, server, ?matches, "looked at what is served");
        }
        Happening::Begins { condition } => log_begin(condition),
        Happening::Ends { condition } => tracing::info!("over: {condition}"),
        Happening::Renewing { certificate, command, attempt } => {
            tracing::info!(cert = %certificate, command, attempt, "renewing");
        }
        Happening::RenewalEnded { certificate, output, error: None } => {
            tracing::info!(cert = %certificate, "the renewal has ended: {output}");
        }
        // The complaint about it is in the log.
        Happening::RenewalEnded { .. } => {}
        Happening::HookFailed { hook, error } => tracing::debug!(hook, error, "a hook failed"),
        Happening::HookCalled { uid, paths, more } => {
            tracing::info!(uid, ?paths, more, "a hook waits for staples");
        }
        Happening::Frozen { certificate, uid } => {
            tracing::info!(cert = %certificate, uid, "frozen: what is published stays");
        }
        Happening::Thawed { certificate, by_itself: true, .. } => {
            tracing::warn!(cert = %certificate, "thawed: little is left of what was published");
        }
        Happening::Thawed { certificate, uid, .. } => {
            tracing::info!(cert = %certificate, uid, "thawed");
        }
        Happening::Imported { certificate, uid, staple } => tracing::info!(
            cert = %certificate, uid, expires = %staple.expires, "a response was brought"
        ),
        Happening::NotImported { uid, error } => {
            tracing::warn!(uid, "a response was brought and not taken: {error}");
        }
        Happening::RefreshAsked { uid, names, more, .. } => {
            tracing::info!(uid, ?names, more, "a refresh was asked for");
        }
    }
}

fn log_published(target: &str, content: &Lying) {
    match content {
        Lying::Staple { certificate, staple } => {
            tracing::info!(cert = %certificate, target, expires = %staple.expires, "published a staple");
        }
        Lying::Placeholder => tracing::info!(target, "published the placeholder"),
        Lying::Nothing => tracing::info!(target, "withdrew the staple"),
        Lying::Foreign { .. } => tracing::info!(target, "published what nobody has judged"),
    }
}

fn log_begin(condition: &Condition) {
    match condition {
        Condition::Late { .. }
        | Condition::Expiring { .. }
        | Condition::ResponderDown { .. }
        | Condition::ClockSuspect => {
            tracing::warn!("{condition}");
        }
        _ => tracing::error!("{condition}"),
    }
}
