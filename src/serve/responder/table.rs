//! What the responder answers from: certificates, by every way in which a CertID can name them.
//!
//! Who owns the table says which certificates there are and what is answered about each; the responder
//! looks up. A certificate that has been renewed is forgotten, not withdrawn: its last staple is
//! answered until it runs out, since a server presents the old certificate until somebody reloads it.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::answer::Answer;
use super::askers::Askers;
use crate::digest::Fingerprint;
use crate::ocsp::{IssuerName, Question, Staple};
use crate::pki::{Issued, Serial};
use crate::time::UnixTime;

/// The certificates that are answered about. Changes are cheap, and a reader waits for none longer
/// than it takes to put one entry in its place.
#[derive(Debug, Default)]
pub struct Table {
    inner: RwLock<Inner>,
    askers: Askers,
}

#[derive(Debug, Default)]
struct Inner {
    /// Issuers by the hash of their key; a number for each.
    issuers: HashMap<Box<[u8]>, Vec<(IssuerName, usize)>>,
    /// By the number of their issuer.
    serials: Vec<HashMap<Serial, Fingerprint>>,
    entries: HashMap<Fingerprint, Entry>,
    /// How many entries have an answer.
    answered: usize,
}

#[derive(Debug)]
struct Entry {
    issuer: usize,
    serial: Serial,
    answer: Option<Arc<Answer>>,
    /// Somebody still wants it; otherwise it goes when its answer runs out.
    known: bool,
}

/// What there is to say about a certificate.
#[derive(Clone, Debug)]
pub(super) enum Found {
    /// Nobody here knows it.
    Unknown,
    /// It is known, and there is no staple for it.
    Nothing,
    Answer(Arc<Answer>),
}

/// How much a table holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Certificates that are known.
    pub certificates: usize,
    /// Those with a staple.
    pub answered: usize,
}

impl Table {
    /// From now on `issued` is known: `tryLater` until there is a staple.
    pub fn know(&self, issued: &Issued) {
        let names = IssuerName::all(issued);
        let mut inner = self.write();
        let issuer = inner.issuer(names);
        let (serial, fingerprint) = (issued.leaf.serial(), issued.fingerprint());
        inner.serials[issuer].insert(serial.clone(), fingerprint);
        let entry = Entry { issuer, serial, answer: None, known: true };
        inner.entries.entry(fingerprint).or_insert(entry).known = true;
    }

    /// A certificate is in use nowhere any more; the staple it has is answered until it runs out.
    pub fn forget(&self, certificate: Fingerprint, now: UnixTime) {
        let mut inner = self.write();
        if let Some(entry) = inner.entries.get_mut(&certificate) {
            entry.known = false;
        }
        inner.purge(certificate, now);
    }

    /// What has been forgotten and has run out by `now` goes.
    pub fn tidy(&self, now: UnixTime) {
        let mut inner = self.write();
        let forgotten = inner.entries.iter().filter(|(_, entry)| !entry.known);
        let forgotten: Vec<Fingerprint> = forgotten.map(|(fingerprint, _)| *fingerprint).collect();
        for certificate in forgotten {
            inner.purge(certificate, now);
        }
    }

    /// From now on `staple` is the answer about its certificate, if that is known; also past its
    /// expiry, until it is withdrawn.
    pub fn answer(&self, staple: &Staple) -> bool {
        let answer = Arc::new(Answer::new(staple.clone()));
        self.replace(staple.certificate(), Some(answer))
    }

    /// From now on there is no staple for a certificate: `tryLater`.
    pub fn withdraw(&self, certificate: Fingerprint) {
        self.replace(certificate, None);
    }

    /// The staple that is answered with about a certificate.
    pub fn staple(&self, certificate: Fingerprint) -> Option<Staple> {
        let inner = self.read();
        let answer = inner.entries.get(&certificate)?.answer.as_ref()?;
        Some(answer.staple.clone())
    }

    /// Which processes have been answered what.
    pub fn askers(&self) -> &Askers {
        &self.askers
    }

    /// How much it holds.
    pub fn size(&self) -> Size {
        let inner = self.read();
        Size { certificates: inner.entries.len(), answered: inner.answered }
    }

    pub(super) fn find(&self, question: &Question<'_>, now: UnixTime) -> Found {
        let inner = self.read();
        let Some(entry) = inner.find(question) else { return Found::Unknown };
        match &entry.answer {
            // Whoever withdraws things has no eye on it any more.
            Some(answer) if !entry.known && answer.staple.expires() <= now => Found::Nothing,
            Some(answer) => Found::Answer(answer.clone()),
            None => Found::Nothing,
        }
    }

    fn replace(&self, certificate: Fingerprint, answer: Option<Arc<Answer>>) -> bool {
        let mut inner = self.write();
        let Some(entry) = inner.entries.get_mut(&certificate) else { return false };
        let after = usize::from(answer.is_some());
        let before = std::mem::replace(&mut entry.answer, answer);
        inner.answered = inner.answered + after - usize::from(before.is_some());
        true
    }

    // A panic between two statements of this file is a defect whose harm is one entry at most.
    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// The number of the issuer that goes by these names; a new one where none of them is known.
    fn issuer(&mut self, names: Vec<IssuerName>) -> usize {
        let known = |name: &IssuerName| {
            let same_key = self.issuers.get(name.key_hash())?;
            same_key.iter().find(|(known, _)| known == name).map(|(_, number)| *number)
        };
        let number = names.iter().find_map(known).unwrap_or(self.serials.len());
        if number == self.serials.len() {
            self.serials.push(HashMap::new());
        }
        for name in names {
            let same_key = self.issuers.entry(name.key_hash().into()).or_default();
            if !same_key.iter().any(|(known, _)| *known == name) {
                same_key.push((name, number));
            }
        }
        number
    }

    fn find(&self, question: &Question<'_>) -> Option<&Entry> {
        let same_key = self.issuers.get(question.issuer_key_hash())?;
        let (_, issuer) = same_key.iter().find(|(name, _)| name.is_meant_by(question))?;
        let fingerprint = self.serials[*issuer].get(&question.serial())?;
        self.entries.get(fingerprint)
    }

    fn purge(&mut self, certificate: Fingerprint, now: UnixTime) {
        let over = |entry: &Entry| {
            let lasts = |answer: &Arc<Answer>| answer.staple.expires() > now;
            !entry.known && !entry.answer.as_ref().is_some_and(lasts)
        };
        if !self.entries.get(&certificate).is_some_and(over) {
            return;
        }
        if let Some(entry) = self.entries.remove(&certificate) {
            self.answered -= usize::from(entry.answer.is_some());
            let serials = &mut self.serials[entry.issuer];
            if serials.get(&entry.serial) == Some(&certificate) {
                serials.remove(&entry.serial);
            }
        }
    }
}
