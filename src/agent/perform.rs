//! From actions to work, and from finished work to events.

use std::time::Duration;

use tokio::time::Instant;

use super::Agent;
use super::asking::{Brought, Errand, Failure, Fresh};
use super::kinds;
use super::looking::{self, Expected, Looked, One, Shown, ShownStaple, Viewing};
use super::message::Message;
use super::server::Server;
use super::world::{Place, Spot};
use super::writer::{Job, What};
use crate::digest::Digest;
use crate::happening::Happening;
use crate::ocsp::{CertIdHash, Response, verify};
use crate::plan::{
    Action, Answer, Ask, CertId, Content, Event, FetchFault, PublishFault, ResponderId, Served,
    ServerId, TargetId,
};
use crate::store::{self, Habit, Record};

/// How long a handshake is repeated that does not show what is expected, and how long where a reload
/// is proved by the server's processes.
const PATIENCE: Duration = Duration::from_secs(10);
const PATIENCE_WHERE_SEEN: Duration = Duration::from_secs(3);
/// Handshakes under way at once; their pace is `confirm`'s.
const MAX_LOOKS: usize = 32;

impl Agent {
    /// Tells the planner what happened, and does what it says.
    pub(super) fn handle(&mut self, event: Event) {
        let actions = self.planner.handle(event, self.clock.now());
        if self.store.is_some() {
            actions.into_iter().for_each(|action| self.perform(action));
        }
        let pause = self.status_pause;
        self.status_due.get_or_insert_with(|| Instant::now() + pause);
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Remember(memory) => self.remember(memory),
            Action::Fetch { cert, from, ask } => {
                self.flush_records();
                self.fetch(cert, from, ask);
            }
            Action::Keep { cert, staple } => self.keep(cert, staple),
            Action::Publish { target, content } => self.publish(target, content),
            Action::Reload { server, why } => self.reload(server, why),
            Action::Confirm { target, server, expect } => {
                match self.world.asks_for_itself(target, server) {
                    // A client that comes first goes without: this does not wait its turn.
                    true => self.warm(target, server, &expect),
                    false => {
                        self.confirming.push_back((target, server, expect));
                        self.confirm_next();
                    }
                }
            }
            Action::Tell(notice) => self.tell(notice),
            Action::WakeAt(at) => {
                self.planner_wakes = Some(at);
                self.set_wake();
            }
        }
    }

    /// Takes in finished work.
    pub(super) fn receive(&mut self, message: Message) {
        match message {
            Message::Asked { cert, from, outcome } => self.asked(cert, from, outcome),
            Message::Written(outcomes) => self.written(outcomes),
            Message::NamesKept(trouble) => self.names_trouble = trouble,
            Message::TextfileWritten(trouble) => self.textfile_written(trouble),
            Message::Reload(due) => self.reload_if_right(due),
            Message::Reloaded { server, outcome } => self.reloaded(server, outcome),
            Message::Looked(looked) => self.looked(looked),
            Message::Scanned(scanned) => self.take_in(*scanned),
            Message::Renewed { cert, outcome } => self.renewed(cert, outcome),
            Message::HookEnded(ended) => self.hook_ended(ended),
            Message::IssuersFetched { url, outcome } => self.issuers_fetched(&url, outcome),
        }
    }

    fn fetch(&mut self, cert: CertId, from: ResponderId, ask: Ask) {
        let fault = FetchFault::Certificate;
        let text = || "the certificate is gone".to_owned();
        let gone = || Failure { fault, text: text(), unknown: false };
        let Some((known, issued)) = self
            .world
            .certificates
            .get(&cert)
            .and_then(|known| Some((known, known.issued.clone()?)))
        else {
            let message = Message::Asked { cert, from, outcome: Err(gone()) };
            return self.send(message);
        };
        let errand = Errand {
            issued,
            url: self.world.url(from).clone(),
            profile: known.profile.clone(),
            hash: self.world.hashes.get(&from).copied(),
            sha1_first: self.sha1_wanted.contains(&cert),
            validators: known.validators.as_ref().filter(|of| of.0 == from).map(|of| of.1.clone()),
            afresh: ask.afresh,
        };
        let (fetcher, clock, outbox) =
            (self.fetcher.clone(), self.clock.clone(), self.outbox.clone());
        let counters = self.watched.counters().cloned();
        tokio::spawn(async move {
            let begun = Instant::now();
            let outcome = errand.run(&fetcher, &*clock).await;
            if let Some(counters) = counters {
                counters.took(&errand.url, begun.elapsed());
            }
            // The loop has ended where nobody receives: nothing is owed to it.
            let _ = outbox.send(Message::Asked { cert, from, outcome });
        });
    }

    fn asked(&mut self, cert: CertId, from: ResponderId, outcome: Result<Brought, Failure>) {
        let (certificate, responder) = (self.subject(cert), self.world.url(from).to_string());
        let Some(known) = self.world.certificates.get_mut(&cert) else {
            let fault = FetchFault::Certificate;
            return self.handle(Event::Fetched { cert, from, outcome: Err(fault) });
        };
        let held = known.held.as_ref().map(|staple| staple.digest());
        let mut happened = None;
        let outcome = match outcome {
            Ok(Brought::Staple(answer)) => {
                let Fresh { staple, validators, hash, fresh_for } = *answer;
                known.last_error = None;
                let facts = staple.facts();
                happened = Some(Ok((facts, held == Some(facts.digest))));
                if !validators.is_empty() {
                    self.records.push(Record::Answer(store::Answer {
                        certificate: staple.certificate(),
                        responder: self.world.urls.thing(from.0).to_string(),
                        digest: facts.digest,
                        etag: validators.etag.clone(),
                        last_modified: validators.last_modified.clone(),
                        fresh_for: None,
                    }));
                }
                known.validators = Some(Box::new((from, validators)));
                known.fetched = Some(Box::new(staple));
                let before = self.world.hashes.insert(from, hash).unwrap_or(CertIdHash::Sha1);
                if before != hash {
                    let responder = self.world.urls.thing(from.0).to_string();
                    let sha256 = hash == CertIdHash::Sha256;
                    self.records.push(Record::Habit(Habit { responder, sha256, post: false }));
                }
                Ok(Answer { facts, fresh_for })
            }
            Ok(Brought::NotModified { fresh_for }) => match &known.held {
                Some(held) => {
                    known.last_error = None;
                    happened = Some(Ok((held.facts(), true)));
                    Ok(Answer { facts: held.facts(), fresh_for })
                }
                None => Err(FetchFault::Certificate),
            },
            Err(Failure { fault, text, unknown }) => {
                let news = known.last_error.as_deref() != Some(text.as_str());
                known.last_error = Some(text.clone().into());
                happened = Some(Err((text, news, unknown)));
                Err(fault)
            }
        };
        match happened {
            Some(Ok((staple, unchanged))) => {
                self.observe(Happening::Answered { certificate, responder, staple, unchanged });
            }
            Some(Err((error, news, unknown))) => {
                self.observe(Happening::NotAnswered {
                    certificate,
                    responder,
                    error,
                    unknown,
                    news,
                });
            }
            None => {}
        }
        if outcome.is_ok() {
            self.try_obstructed(cert);
        }
        self.handle(Event::Fetched { cert, from, outcome });
    }

    fn keep(&mut self, cert: CertId, digest: Digest) {
        let staple = self.world.staple(Content::Staple(cert, digest)).cloned();
        match staple {
            Some(staple) => {
                if let Some(known) = self.world.certificates.get_mut(&cert) {
                    known.held = Some(staple.clone());
                    known.fetched = None;
                    self.checked_due = true;
                }
                self.write(Job::Keep { cert, staple });
            }
            None => {
                // Superseded or gone while it was on its way: the planner goes on with what it has.
                let outcome = Err(PublishFault::Failed);
                self.send(Message::Written(vec![(Event::Kept { cert, outcome }, None)]));
            }
        }
    }

    fn publish(&mut self, target: TargetId, content: Content) {
        let what = match content {
            Content::Staple(..) => self.world.staple(content).cloned().map(What::Staple),
            Content::Placeholder => Some(What::Placeholder),
            Content::Nothing => Some(What::Nothing),
            Content::Foreign => None,
        };
        if let Some(place) = self.world.places.get_mut(&target) {
            place.stamp = None;
        }
        if matches!(what, Some(What::Staple(_))) {
            let lying = self.lying(content);
            self.underway.begin(target, content, lying);
        }
        let place = self.world.places.get(&target);
        match (what, place) {
            (Some(what), Some(place)) => match place.written() {
                Some(at) => self.put_into_file(target, at.clone(), content, what),
                None => {
                    self.put_in_answers(place, &what);
                    let outcome = Ok(content);
                    self.send(Message::Written(vec![(Event::Published { target, outcome }, None)]));
                }
            },
            _ => {
                let outcome = Err(PublishFault::Failed);
                self.send(Message::Written(vec![(Event::Published { target, outcome }, None)]));
            }
        }
    }

    fn written(&mut self, outcomes: Vec<(Event, Option<String>)>) {
        for (event, complaint) in outcomes {
            if let Event::Published { target, outcome } = &event {
                let servers = self.readers(*target);
                let spot = self.world.target(*target);
                let (written, label) = (!matches!(spot, Spot::Answered(_)), spot.to_string());
                let begun = self.underway.end(*target, outcome.ok());
                if let Ok(content @ Content::Staple(..)) = outcome {
                    let every = (*target, ServerId(0))..=(*target, ServerId(u32::MAX));
                    for (_, expected) in self.looking.range(every) {
                        expected.add(self.as_shown(*target, *content));
                    }
                }
                let target = label;
                self.observe(match outcome {
                    Ok(content) => {
                        let content = begun.unwrap_or_else(|| self.lying(*content));
                        Happening::Published { target, written, servers, content }
                    }
                    Err(_) => Happening::NotPublished {
                        target,
                        error: complaint.clone().unwrap_or_else(|| "it was put off".to_owned()),
                    },
                });
            }
            if let Some(text) = complaint {
                self.complain(text);
            }
            let entry = match &event {
                Event::Published { target, outcome: Ok(_) } => Some(*target),
                _ => None,
            };
            let entry = entry.filter(|id| matches!(self.world.target(*id), Spot::Stored(..)));
            self.handle(event);
            // How soon mod_md looks for the next one depends on what this one says.
            entry.into_iter().for_each(|target| self.look_again(target));
        }
    }

    /// Sets looks going, a few at a time: after a reload there may be ten thousand to do.
    pub(super) fn confirm_next(&mut self) {
        while self.looks < MAX_LOOKS {
            let Some((target, server, expect)) = self.confirming.pop_front() else { return };
            self.looks += 1;
            self.confirm(target, server, &expect);
        }
    }

    fn confirm(&mut self, target: TargetId, server: ServerId, expect: &[Content]) {
        let Some(place) = self.world.places.get(&target) else {
            let looked = Looked { target, server, shown: None, warmth: None };
            return self.send(Message::Looked(looked));
        };
        let (confirmer, outbox) = (self.confirmer.clone(), self.outbox.clone());
        let viewing = self.viewing(place, target, server, expect);
        self.looking.insert((target, server), viewing.expected.clone());
        tokio::spawn(async move {
            let looked = viewing.run(&confirmer).await;
            let _ = outbox.send(Message::Looked(looked));
        });
    }

    /// What to look at for a target on a server.
    pub(super) fn viewing(
        &self,
        place: &Place,
        target: TargetId,
        server: ServerId,
        expect: &[Content],
    ) -> Viewing {
        let known = self.world.servers.get(&server).map(|server| server.deployments.clone());
        let known = known.unwrap_or_default();
        let deployments = place.presenting(server, expect);
        let leaves = deployments.iter().flat_map(|one| &one.leaves);
        let leaves = leaves.filter_map(|id| self.world.certificates.get(id));
        let expected = Expected::default();
        expect.iter().for_each(|content| expected.add(self.as_shown(target, *content)));
        // Where new workers were seen, only they take connections.
        let seen = self.world.servers.get(&server).is_some_and(Server::is_seen);
        let patience = if seen { PATIENCE_WHERE_SEEN } else { PATIENCE };
        let kind = self.world.servers.get(&server).map(|server| server.kind);
        let by_certificate = kind.is_some_and(kinds::chooses_by_certificate);
        let deployments = self.views(&deployments, &known, by_certificate);
        // An answer is for one certificate of those that a deployment presents.
        let several = deployments.iter().any(|one| one.certificates.len() > 1);
        let each = by_certificate || several && place.written().is_none();
        let keys = looking::kinds(leaves.map(|known| known.leaf.key_type()), each);
        Viewing { target, server, deployments, keys, expected, patience }
    }

    fn as_shown(&self, target: TargetId, content: Content) -> Vec<(Shown, Content)> {
        self.shown(target, content).into_iter().map(|shown| (shown, content)).collect()
    }

    /// What a handshake shows when a target's content is served as it should be.
    fn shown(&self, target: TargetId, content: Content) -> Vec<Shown> {
        let claimants =
            self.world.places.get(&target).map(|place| place.claimants.as_slice()).unwrap_or(&[]);
        let with = |staple| {
            let leaf = |id: &CertId| Some(self.world.fingerprint(*id));
            claimants.iter().map(move |id| Shown { leaf: leaf(id), staple }).collect()
        };
        match content {
            Content::Staple(cert, digest) => {
                let leaf = Some(self.world.fingerprint(cert));
                let revoked = self
                    .world
                    .staple(content)
                    .is_some_and(|staple| staple.status() != crate::ocsp::Status::Good);
                // nginx as a client of ours takes nothing but good answers (facts/servers.md 24).
                match revoked && self.world.is_asked_for_by_workers(target) {
                    true => vec![Shown { leaf, staple: ShownStaple::Nothing }],
                    false => vec![Shown { leaf, staple: ShownStaple::Bytes(digest) }],
                }
            }
            Content::Placeholder => with(ShownStaple::TryLater),
            Content::Nothing => with(ShownStaple::Nothing),
            Content::Foreign => Vec::new(),
        }
    }

    fn looked(&mut self, looked: Looked) {
        let Looked { target, server, shown, warmth } = looked;
        match warmth {
            Some(warmth) => {
                self.warmed(server, &warmth);
                if !warmth.asked {
                    return;
                }
            }
            None => {
                self.looks -= 1;
                self.looking.remove(&(target, server));
                self.confirm_next();
            }
        }
        let seen = shown.as_ref().and_then(|one| match one.shown.staple {
            ShownStaple::Bytes(digest) => Some(digest),
            ShownStaple::Nothing | ShownStaple::TryLater => None,
        });
        let (served, matches) = match shown {
            None => (Served::Unproven, None),
            Some(One { shown, expected, staple }) => {
                let leaf = shown.leaf.map(|fingerprint| self.world.cert_id(&fingerprint));
                let content = expected.unwrap_or_else(|| self.content(leaf, shown.staple, &staple));
                (Served::Seen { leaf, content }, Some(expected.is_some()))
            }
        };
        let (label, by) = (self.target_label(target), self.server_label(server));
        self.observe(Happening::Confirmed { target: label, server: by, matches, staple: seen });
        if let Some(place) = self.world.places.get_mut(&target) {
            place.served = Some(served);
        }
        self.handle(Event::Confirmed { target, server, served });
    }

    /// What was stapled, in the planner's words: a staple only if it proves something about `leaf`.
    fn content(&self, leaf: Option<CertId>, shown: ShownStaple, bytes: &[u8]) -> Content {
        let digest = match shown {
            ShownStaple::Nothing => return Content::Nothing,
            ShownStaple::TryLater => return Content::Placeholder,
            ShownStaple::Bytes(digest) => digest,
        };
        let Some(cert) = leaf else { return Content::Foreign };
        let Some(known) = self.world.certificates.get(&cert) else { return Content::Foreign };
        if known.staple(digest).is_some() {
            return Content::Staple(cert, digest);
        }
        let proven = known.issued.as_ref().is_some_and(|issued| {
            let response = Response::decode(bytes).ok();
            let now = self.clock.now().wall;
            response.is_some_and(|r| verify(r, issued, &known.profile.rules, now).is_ok())
        });
        if proven { Content::Staple(cert, digest) } else { Content::Foreign }
    }

    /// Keeps a complaint for the status, and logs it when it is new.
    pub(super) fn complain(&mut self, text: String) {
        if !self.problems.contains(&text) {
            tracing::warn!("{text}");
            self.problems.push(text);
        }
    }

    /// Clears up after earlier agents, once it is known where the targets are.
    pub(super) fn tidy(&self) {
        let places = self.world.places.values();
        let targets = places.filter_map(|place| place.written().cloned());
        if let Some(writer) = &self.writer {
            writer.write(Job::Tidy(targets.collect()));
        }
    }

    pub(super) fn write(&self, job: Job) {
        let writer = self.writer.as_ref();
        writer.expect("actions are performed with a store, and a store has a writer").write(job);
    }

    pub(super) fn send(&self, message: Message) {
        self.outbox.send(message).expect("the agent holds the receiver");
    }
}
