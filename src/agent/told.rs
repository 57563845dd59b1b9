//! What hooks were told of, over restarts: a condition that lasts is told once, and its end once.
//!
//! What was told before a start is not known to last until it begins again or something shows that it
//! has ended: an answer of a responder that was down, a reload of a server that could not be reloaded, a
//! handshake that shows what was published; what is known of certificates and of the clock, the first
//! pass shows.

use super::Agent;
use super::server::Server;
use crate::happening::{Condition, Happening, Sighted};
use crate::store;

/// What hooks were told of, and what is still to be shown of it.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// What was told and has not ended, as it is written down.
    told: store::Told,
    /// Those of them that were told before this start, until they begin again or have ended.
    before: Vec<Condition>,
    /// The first pass has shown which conditions of certificates there are.
    settled: bool,
    changed: bool,
}

impl Told {
    /// Goes on from what was written down.
    fn of(told: store::Told) -> Told {
        let before = told.conditions.iter().cloned().collect();
        Told { told, before, settled: false, changed: false }
    }

    /// Whether it has not been told already. What does not last is always news; what no hook is `wanted` for
    /// is not told.
    pub(super) fn is_news(&mut self, happening: &Happening, wanted: bool) -> bool {
        let news = match happening {
            Happening::Begins { condition } => {
                self.before.retain(|one| one != condition);
                match wanted {
                    true => self.told.conditions.insert(condition.clone()),
                    false => {
                        self.changed |= self.told.conditions.remove(condition);
                        return false;
                    }
                }
            }
            Happening::Ends { condition } => {
                self.changed |= self.told.conditions.remove(condition);
                return true;
            }
            Happening::NotAnswered { certificate, unknown: true, .. } if wanted => {
                self.told.unknown.insert(certificate.fingerprint)
            }
            Happening::Answered { certificate, .. } | Happening::Removed { certificate } => {
                self.changed |= self.told.unknown.remove(&certificate.fingerprint);
                return true;
            }
            _ => return true,
        };
        self.changed |= news;
        news
    }

    /// What was told before the start and has ended, as this shows.
    pub(super) fn ended_by(&mut self, happening: &Happening) -> Vec<Condition> {
        self.end(|condition| match (happening, condition) {
            (
                Happening::Answered { responder, .. },
                Condition::ResponderDown { responder: down },
            ) => responder == down,
            (
                Happening::Reloaded { server }
                | Happening::Sighted { server, what: Sighted::Started | Sighted::Reloaded },
                Condition::ReloadFailed { server: failed },
            ) => server == failed,
            (
                Happening::Confirmed { target, server, matches: Some(true), .. },
                Condition::ServedMismatch { target: of, server: by },
            ) => target == of && server == by,
            _ => false,
        })
    }

    /// Takes what `has_ended` out of what was told before the start.
    fn end(&mut self, has_ended: impl Fn(&Condition) -> bool) -> Vec<Condition> {
        let (ended, before) = std::mem::take(&mut self.before).into_iter().partition(has_ended);
        self.before = before;
        ended
    }
}

impl Agent {
    /// Goes on from what hooks were told by the last agent.
    pub(super) fn recall_told(&mut self) {
        self.told = Told::of(self.state.told().unwrap_or_else(|error| {
            tracing::warn!(%error, "hooks are told again of what lasts");
            store::Told::default()
        }));
    }

    /// The first pass is over, and the clock can be believed: what was told of certificates before and has
    /// not begun again has ended, and what was told of those that are gone.
    pub(super) fn settle_told(&mut self) {
        if self.told.settled || !self.ready || self.planner.clock_is_suspect() {
            return;
        }
        self.told.settled = true;
        let (world, servers) = (&self.world, self.world.servers.values());
        let servers: Vec<String> = servers.map(Server::label).collect();
        let targets: Vec<String> =
            world.places.keys().map(|target| self.target_label(*target)).collect();
        let ended = self.told.end(|condition| match condition {
            Condition::Late { .. }
            | Condition::AtRisk { .. }
            | Condition::Revoked { .. }
            | Condition::Expiring { .. }
            | Condition::ClockSuspect => true,
            Condition::ResponderDown { responder } => {
                !world.urls.is_known(&responder.as_str().into())
            }
            Condition::ReloadFailed { server } => !servers.contains(server),
            Condition::ServedMismatch { target, .. } | Condition::PublishFailed { target } => {
                !targets.contains(target)
            }
        });
        for condition in ended {
            self.observe(Happening::Ends { condition });
        }
    }

    /// Writes down what hooks were told of, where that has changed.
    pub(super) fn remember_told(&mut self) {
        let Some(store) = self.store.as_ref().filter(|_| self.told.changed) else { return };
        self.told.changed = false;
        if let Err(error) = store.remember_told(&self.told.told) {
            tracing::warn!(%error, "after a restart hooks are told again of what lasts");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::happening::Subject;

    fn at_risk(name: &str) -> Condition {
        let fingerprint = Digest::of(name.as_bytes());
        Condition::AtRisk { certificate: Subject { name: name.to_owned(), fingerprint } }
    }

    fn down() -> Condition {
        Condition::ResponderDown { responder: "http://ocsp.test/".to_owned() }
    }

    #[test]
    fn what_lasts_is_told_once_over_a_restart() {
        let begins = |condition| Happening::Begins { condition };
        let mut told = Told::default();
        assert!(told.is_news(&begins(at_risk("a")), true) && told.is_news(&begins(down()), true));
        let mut told = Told::of(told.told);
        assert!(!told.is_news(&begins(at_risk("a")), true), "it lasts");
        assert!(told.is_news(&begins(at_risk("b")), true), "it is another one");
        assert_eq!(told.before, [down()], "nothing is known of it yet");
        let ends = Happening::Ends { condition: at_risk("a") };
        assert!(
            told.is_news(&ends, true) && told.is_news(&begins(at_risk("a")), true),
            "it began again"
        );
    }

    #[test]
    fn what_ended_meanwhile_is_told() {
        let mut told = Told::of(store::Told { conditions: [down()].into(), ..Default::default() });
        let reloaded = Happening::Reloaded { server: "nginx".to_owned() };
        assert_eq!(told.ended_by(&reloaded), []);
        let answered = Happening::Answered {
            certificate: Subject { name: "a".to_owned(), fingerprint: Digest::of(b"a") },
            responder: "http://ocsp.test/".to_owned(),
            staple: crate::plan::Facts {
                digest: Digest::of(b""),
                status: crate::ocsp::Status::Good,
                this_update: crate::time::UnixTime::from_secs(0),
                expires: crate::time::UnixTime::from_secs(1),
            },
            unchanged: true,
        };
        assert_eq!(told.ended_by(&answered), [down()]);
        assert_eq!(told.ended_by(&answered), [], "once");
    }
}
