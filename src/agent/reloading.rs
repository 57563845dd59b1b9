//! One `Reload` action: nothing is taken up that does not belong together.
//!
//! nginx checks nothing, and hands out whatever a file holds, for ever. So before a reload the
//! certificates are looked at again, lest one that was renewed this instant is taken up with its old
//! staple; then every target, lest somebody changed one. What is found is put right first.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Agent;
use super::message::Message;
use super::report::reason;
use crate::happening::Happening;
use crate::plan::{Event, ReloadFault, ServerId, TargetId, Why};
use crate::reload::Snapshot;

/// How long a reload waits for targets that have to be put right first, and how often.
const PUT_RIGHT_WITHIN: Duration = Duration::from_millis(300);
const PUT_RIGHT_TRIES: u32 = 10;

/// A reload that the planner wants.
#[derive(Debug)]
pub(super) struct Due {
    server: ServerId,
    why: Why,
    /// The Must-Staple targets without a staple that the planner knew of.
    accepted: Vec<TargetId>,
    tries: u32,
}

impl Agent {
    /// Reloads after the next scan.
    pub(super) fn reload(&mut self, server: ServerId, why: Why) {
        let accepted = self.blocked(server);
        self.reloads.push(Due { server, why, accepted, tries: PUT_RIGHT_TRIES });
        self.scan_rest = Instant::now();
        self.rescan();
    }

    /// Reloads, or waits until what is wrong has been put right.
    pub(super) fn reload_if_right(&mut self, due: Due) {
        let Due { server: id, why, .. } = due;
        let ids: Vec<TargetId> = self.world.places_of(id).collect();
        let mut wrong = self.put_right(ids.clone());
        if due.tries == PUT_RIGHT_TRIES {
            for spot in &wrong {
                tracing::warn!(target = %spot, "was changed by somebody else; putting it right");
            }
        }
        let writes = |id: &&TargetId| self.planner.target(**id).is_some_and(|one| one.publishing);
        wrong.extend(ids.iter().filter(writes).map(|id| self.world.target(*id).clone()));
        let blocked = self.blocked(id);
        let overtaken = blocked.iter().find(|target| !due.accepted.contains(target));
        let now = self.clock.now().wall;
        let outbox = self.outbox.clone();
        let fail = |fault, text: String| {
            let _ = outbox.send(Message::Reloaded { server: id, outcome: Err((fault, text)) });
        };
        let Some(server) = self.world.servers.get_mut(&id) else {
            return fail(ReloadFault::Inactive, "it is no longer configured".to_owned());
        };
        match wrong.pop() {
            Some(_) if due.tries > 1 => {
                tokio::spawn(async move {
                    sleep(PUT_RIGHT_WITHIN).await;
                    let _ = outbox.send(Message::Reload(Due { tries: due.tries - 1, ..due }));
                });
            }
            Some(spot) => {
                fail(ReloadFault::Failed, format!("{spot} does not hold what it should"));
            }
            None if overtaken.is_some() => {
                let text = "a certificate was renewed that must not go without its staple, which is not here yet";
                fail(ReloadFault::Overtaken, text.to_owned());
            }
            None => {
                server.last_reload = Some((now, why));
                let reloader = server.reloader.clone();
                let server = server.label();
                self.observe(Happening::Reloading { server, reason: reason(why).to_owned() });
                tokio::spawn(async move {
                    let outcome = reloader.reload().await.map(|reloaded| reloaded.server);
                    let outcome = outcome.map_err(|error| (error.fault(), error.to_string()));
                    let _ = outbox.send(Message::Reloaded { server: id, outcome });
                });
            }
        }
    }

    fn blocked(&self, server: ServerId) -> Vec<TargetId> {
        self.planner.server(server).map(|server| server.blocked_by).unwrap_or_default()
    }

    pub(super) fn reloaded(
        &mut self,
        id: ServerId,
        outcome: Result<Option<Snapshot>, (ReloadFault, String)>,
    ) {
        let server = self.server_label(id);
        let (outcome, error) = match outcome {
            Ok(proved) => {
                self.observe(Happening::Reloaded { server });
                (Ok(proved), None)
            }
            Err((ReloadFault::Overtaken, text)) => {
                self.observe(Happening::NotReloaded { server, error: text, put_off: true });
                (Err(ReloadFault::Overtaken), None)
            }
            Err((fault, text)) => {
                let error = text.clone();
                self.observe(Happening::NotReloaded { server, error, put_off: false });
                (Err(fault), Some(text))
            }
        };
        if let Some(server) = self.world.servers.get_mut(&id) {
            server.last_error = error;
            if let Ok(proved) = &outcome {
                server.rebase(proved.clone());
            }
        }
        self.handle(Event::Reloaded { server: id, outcome: outcome.map(drop) });
    }
}
