//! Follows what somebody asked for by hand until the last certificate is settled.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Agent;
use super::status::{CertificateStatus, Published, Served, Severity, State, TargetStatus};
use crate::digest::Fingerprint;
use crate::happening::Subject;
use crate::plan::{CertId, Event, Want};
use crate::serve::control::Refresh;
use crate::time::{UnixTime, format_duration};

/// Between two looks at what has been settled, while there is work.
const TELL_EVERY: Duration = Duration::from_millis(50);

/// A line of the answer to a refresh or a hook.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Progress {
    /// One certificate is settled.
    Certificate(Verdict),
    /// All are.
    Done {
        /// How many have what they should have.
        good: usize,
        /// How many have not.
        bad: usize,
    },
    /// Something a person who waits may want to know.
    Note {
        /// In a sentence.
        text: String,
    },
    /// Nothing was done, and the same may be done later.
    Busy {
        /// Why not now.
        reason: String,
    },
    /// Nothing was done.
    Refused {
        /// Why.
        reason: String,
    },
}

/// How a certificate stands after a refresh.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// What people call it.
    pub name: String,
    /// SHA-256 of its DER.
    pub fingerprint: Fingerprint,
    /// It has a current, good staple, published and, where a server is configured, loaded; or there
    /// is nothing to staple.
    pub good: bool,
    /// In a sentence: what is well, or what is not and what still protects clients, until when.
    pub text: String,
}

/// A refresh on its way.
#[derive(Debug)]
pub(super) struct Refreshing {
    waiting: BTreeSet<CertId>,
    reload: bool,
    good: usize,
    bad: usize,
    replies: mpsc::UnboundedSender<Bytes>,
}

impl Agent {
    /// Sets a refresh going; its progress goes to `replies`, a JSON document a line.
    pub(super) fn refresh(&mut self, order: &Refresh, replies: mpsc::UnboundedSender<Bytes>) {
        let certs = match self.world.named(&order.names) {
            Ok(certs) => certs,
            Err(unknown) => {
                let reason = format!(
                    "there is no certificate called {unknown:?}; `staplekeeper status` lists them"
                );
                return say(&replies, &Progress::Refused { reason });
            }
        };
        let want = if order.no_reload { Want::RefreshWithoutReload } else { Want::Refresh };
        for cert in &certs {
            if let Some(known) = self.world.certificates.get_mut(cert) {
                known.last_error = None;
            }
        }
        self.refreshing.push(Refreshing {
            waiting: certs.iter().copied().collect(),
            reload: !order.no_reload,
            good: 0,
            bad: 0,
            replies,
        });
        self.handle(Event::Wanted(certs, want));
    }

    /// Tells `replies` how a certificate stands once what was begun about it has ended.
    pub(super) fn follow(&mut self, cert: CertId, replies: mpsc::UnboundedSender<Bytes>) {
        let waiting = BTreeSet::from([cert]);
        self.refreshing.push(Refreshing { waiting, reload: false, good: 0, bad: 0, replies });
    }

    /// Tells those who wait for a refresh what has been settled since.
    pub(super) fn report_progress(&mut self) {
        // Asking about each of very many after every event would cost more than the work itself.
        let busy = !self.planner.busy().is_idle();
        if self.refreshing.is_empty() || busy && self.progress_told.elapsed() < TELL_EVERY {
            return;
        }
        self.progress_told = Instant::now();
        let mut refreshing = std::mem::take(&mut self.refreshing);
        refreshing.retain_mut(|one| {
            let settled: Vec<CertId> =
                one.waiting.iter().copied().filter(|id| self.planner.settled(&[*id])).collect();
            for id in settled {
                one.waiting.remove(&id);
                let Some(status) = self.certificate_status(id) else { continue };
                let verdict = Verdict::of(&status, one.reload, self.clock.now().wall);
                *(if verdict.good { &mut one.good } else { &mut one.bad }) += 1;
                say(&one.replies, &Progress::Certificate(verdict));
            }
            if one.waiting.is_empty() {
                say(&one.replies, &Progress::Done { good: one.good, bad: one.bad });
            }
            // A caller that hung up needs no more lines; its refresh goes on.
            !one.waiting.is_empty() && !one.replies.is_closed()
        });
        self.refreshing.append(&mut refreshing);
    }

    pub(super) fn is_refreshing(&self) -> bool {
        !self.refreshing.is_empty()
    }
}

impl Verdict {
    /// Something that was done to a certificate as it should be.
    pub(super) fn said(certificate: Subject, text: String) -> Verdict {
        let Subject { name, fingerprint } = certificate;
        Verdict { name, fingerprint, good: true, text }
    }

    fn of(status: &CertificateStatus, reload: bool, now: UnixTime) -> Verdict {
        let problem = problem(status, reload, now);
        let text = match &problem {
            None => status.reason.clone(),
            Some(problem) => format!("{problem}; {}", protection(status, now)),
        };
        Verdict {
            name: status.name.clone(),
            fingerprint: status.fingerprint,
            good: problem.is_none(),
            text,
        }
    }
}

/// What keeps a refresh from being a success, if anything does.
fn problem(status: &CertificateStatus, reload: bool, now: UnixTime) -> Option<String> {
    match status.state {
        State::NoOcspUrl if !status.must_staple => return None,
        State::Good => {}
        _ => return Some(with_error(&status.reason, status)),
    }
    if let Some(error) = &status.last_error {
        return Some(format!("not refreshed: {error}"));
    }
    if status.severity == Severity::Critical {
        return Some(status.reason.clone());
    }
    // Frozen: somebody wants it so.
    for target in status.targets.iter().filter(|_| !status.frozen) {
        if target.published != Published::Staple {
            return Some(format!("its staple was not published to {}", target.path));
        }
        let read = !target.servers.is_empty();
        if reload && read && target.loaded.is_some_and(|loaded| loaded != Published::Staple) {
            return Some(not_taken_up(target, now));
        }
    }
    let mismatch = reload && status.served == Some(Served::Mismatch);
    mismatch.then(|| "clients are handed something else than was published".to_owned())
}

/// Servers that do not hand out yet what lies in a target.
fn not_taken_up(target: &TargetStatus, now: UnixTime) -> String {
    let (servers, path) = (target.servers.join(", "), &target.path);
    match target.taken_up_by {
        Some(by) if by > now => {
            let left = format_duration(by.since(now));
            format!("{servers} takes up {path} by itself, by {by} at the latest (in {left})")
        }
        Some(by) => {
            format!(
                "{servers} should have taken up {path} by itself by {by}, which is not seen yet"
            )
        }
        None => format!("{servers} has not taken up {path}"),
    }
}

fn with_error(reason: &str, status: &CertificateStatus) -> String {
    match &status.last_error {
        Some(error) => format!("{reason}: {error}"),
        None => reason.to_owned(),
    }
}

/// What clients still have, and for how long.
fn protection(status: &CertificateStatus, now: UnixTime) -> String {
    let left = |until: UnixTime| format_duration(until.since(now));
    let loaded = status
        .targets
        .iter()
        .filter(|target| matches!(target.loaded, Some(Published::Staple | Published::OlderStaple)));
    let loaded = loaded.filter_map(|target| target.loaded_expiry).min();
    match (loaded, status.effective_expiry) {
        (Some(until), _) if until > now => {
            format!(
                "clients are still handed a staple that is good until {until} ({})",
                left(until)
            )
        }
        (_, Some(until)) if until > now => {
            format!("the staple in the store is good until {until} ({})", left(until))
        }
        _ if status.must_staple => "nothing protects clients, who refuse it".to_owned(),
        _ => "no staple is left; clients connect without one".to_owned(),
    }
}

pub(super) fn say(replies: &mpsc::UnboundedSender<Bytes>, progress: &Progress) {
    let mut line = serde_json::to_vec(progress).expect("plain data is JSON");
    line.push(b'\n');
    // Whoever hung up does not want to know.
    let _ = replies.send(line.into());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_takes_up_by_itself_has_not_failed_to() {
        let now = UnixTime::from_secs(1_795_356_875);
        let check = |taken_up_by: Option<UnixTime>, expected: &str| {
            let target = TargetStatus {
                path: "/a.der".to_owned(),
                published: Published::Staple,
                servers: vec!["exim".to_owned()],
                loaded: Some(Published::OlderStaple),
                loaded_expiry: None,
                taken_up_by,
            };
            assert_eq!(not_taken_up(&target, now), expected);
        };
        let soon = Some(now + Duration::from_secs(6));
        check(
            soon,
            "exim takes up /a.der by itself, by 2026-11-22T14:14:41Z at the latest (in 6s)",
        );
        check(
            Some(now),
            "exim should have taken up /a.der by itself by 2026-11-22T14:14:35Z, which is not seen yet",
        );
        check(None, "exim has not taken up /a.der");
    }
}
