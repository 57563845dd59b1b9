//! What survives a restart: from the planner's numbers to fingerprints, URLs and paths, and back.

use std::collections::BTreeMap;

use super::writer::Job;
use super::{Agent, prepare};
use crate::discover::Names;
use crate::ocsp::CertIdHash;
use crate::plan::{self, Attempts, CertId, Content, Memory, ServerId, TargetId};
use crate::store::{self, Record};
use crate::time::UnixTime;

impl Agent {
    /// Takes in what the disk remembers; gives the names that were given.
    pub(super) fn recall(&mut self) -> Names {
        let dir = self.state.clone();
        match dir.remembered(self.clock.now().uptime) {
            Ok(remembered) => {
                let attempts = remembered.attempts.into_iter().map(|(fingerprint, attempt)| {
                    (fingerprint, Attempts { failures: attempt.failures, wait: attempt.wait })
                });
                self.attempts = attempts.collect();
                self.answers = remembered.answers;
                for habit in remembered.habits.into_values().filter(|habit| habit.sha256) {
                    let responder = self.world.responder_id(&habit.responder);
                    self.world.hashes.insert(responder, CertIdHash::Sha256);
                }
            }
            Err(error) => tracing::warn!(%error, "earlier attempts are forgotten"),
        }
        let (issuers, damaged) = dir.issuers();
        self.issuers = issuers.into_iter().map(std::sync::Arc::new).collect();
        for error in damaged {
            tracing::warn!(%error, "a learned issuer is lost");
        }
        match dir.frozen() {
            Ok(frozen) => self.frozen = frozen,
            Err(error) => tracing::error!(%error, "what was frozen is thawed"),
        }
        self.lost = dir.lost().unwrap_or_else(|error| {
            tracing::warn!(%error, "which certificates lost their OCSP URL is forgotten");
            BTreeMap::new()
        });
        self.checked = dir.checked();
        self.renewals = dir.renewals().unwrap_or_else(|error| {
            tracing::warn!(%error, "earlier attempts to renew are forgotten");
            Default::default()
        });
        self.checked_due = self.checked.is_empty();
        let names = dir.names().map_err(|error| error.to_string());
        let names =
            names.and_then(|names| Names::try_from(names).map_err(|error| error.to_string()));
        names.unwrap_or_else(|error| {
            tracing::error!(error, "names of certificates may change: the ones given are lost");
            Names::default()
        })
    }

    pub(super) fn remember(&mut self, memory: Memory) {
        match memory {
            Memory::Attempt { cert, from, attempts } => {
                let certificate = self.world.fingerprint(cert);
                self.records.push(Record::Attempt(store::Attempt {
                    certificate,
                    responder: self.world.url(from).to_string(),
                    failures: attempts.failures,
                    wait: attempts.wait,
                }));
            }
            Memory::Settled { cert } => {
                self.records.push(Record::Settled(self.world.fingerprint(cert)));
            }
            Memory::Thawed { cert } => self.thawed(cert),
            Memory::Loaded { server, targets } => self.remember_loaded(server, &targets),
        }
    }

    /// Writes what has gathered, before a request leaves that it speaks of.
    pub(super) fn flush_records(&mut self) {
        if self.records.is_empty() {
            return;
        }
        let records = std::mem::take(&mut self.records);
        let uptime = self.clock.now().uptime;
        if let Some(Err(error)) = self.store.as_ref().map(|store| store.remember(&records, uptime))
        {
            self.complain(error.to_string());
        }
    }

    pub(super) fn remember_names(&mut self, names: &Names) {
        if let Some(writer) = &self.writer {
            writer.write(Job::Names(BTreeMap::from(names)));
        }
    }

    /// Writes down which signatures were found good, if there are new ones; elsewhere.
    pub(super) fn remember_checked(&mut self) {
        let Some(store) = self.store.clone().filter(|_| self.checked_due) else { return };
        self.checked_due = false;
        let known = self.world.certificates.values();
        let known: Vec<_> =
            known.filter_map(|one| Some((one.issued.clone()?, one.held.clone()))).collect();
        tokio::task::spawn_blocking(move || {
            if let Err(error) = store.remember_checked(&prepare::signatures(&known)) {
                tracing::warn!(%error, "the next start takes longer");
            }
        });
    }

    fn remember_loaded(&mut self, id: ServerId, targets: &[(TargetId, plan::Loaded)]) {
        let (Some(store), Some(server)) = (&self.store, self.world.servers.get(&id)) else {
            return;
        };
        let changed: Vec<_> = targets
            .iter()
            .map(|(target, loaded)| {
                let key = self.world.target(*target).key().into_owned();
                (key, self.loaded_record(loaded))
            })
            .collect();
        let identity = server.identity();
        let stored = store.remember_loaded(&server.key, identity.as_deref(), &changed, &[]);
        if let Err(error) = stored {
            self.complain(error.to_string());
        }
    }

    fn loaded_record(&self, loaded: &plan::Loaded) -> store::Loaded {
        let content = match loaded.content {
            Content::Staple(cert, digest) => {
                store::Content::Staple { certificate: self.world.fingerprint(cert), digest }
            }
            Content::Placeholder => store::Content::Placeholder,
            Content::Nothing => store::Content::Nothing,
            Content::Foreign => store::Content::Foreign,
        };
        store::Loaded {
            content,
            leaf: loaded.leaf.map(|leaf| self.world.fingerprint(leaf)),
            must_staple: loaded.must_staple,
            this_update: loaded.this_update.as_secs(),
            expires: loaded.expires.as_secs(),
            proved: loaded.proved,
        }
    }

    /// What is remembered of a target, in the planner's numbers.
    pub(super) fn loaded_facts(&mut self, loaded: &store::Loaded) -> plan::Loaded {
        let mut id = |fingerprint| -> CertId { self.world.cert_id(fingerprint) };
        plan::Loaded {
            content: match &loaded.content {
                store::Content::Staple { certificate, digest } => {
                    Content::Staple(id(certificate), *digest)
                }
                store::Content::Placeholder => Content::Placeholder,
                store::Content::Nothing => Content::Nothing,
                store::Content::Foreign => Content::Foreign,
            },
            leaf: loaded.leaf.as_ref().map(id),
            must_staple: loaded.must_staple,
            this_update: UnixTime::from_secs(loaded.this_update),
            expires: UnixTime::from_secs(loaded.expires),
            proved: loaded.proved,
        }
    }
}
