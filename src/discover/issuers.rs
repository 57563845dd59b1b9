//! Who issued a leaf: candidates found by name and key identifier, and proof by signature.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::scan::Standing;
use super::work::in_parallel;
use crate::digest::Fingerprint;
use crate::pki::signature::Checked;
use crate::pki::{Certificate, Issued};

/// Of one place, this many candidates with a fitting name are tried for one leaf: uploads cannot
/// make a scan check signatures without end.
const MAX_TRIED: usize = 16;

/// Certificates that may have issued others.
#[derive(Clone, Debug, Default)]
pub(super) struct Issuers {
    by_subject: HashMap<Box<[u8]>, Vec<Arc<Certificate>>>,
    /// Names that differ in their encoding only are found by key.
    by_key_id: HashMap<Box<[u8]>, Vec<Arc<Certificate>>>,
    seen: HashSet<Fingerprint>,
}

impl Issuers {
    /// Adds a certificate, once.
    pub(super) fn add(&mut self, certificate: &Arc<Certificate>) {
        if self.seen.insert(certificate.fingerprint()) {
            let subject = certificate.subject_der().into();
            self.by_subject.entry(subject).or_default().push(certificate.clone());
            if let Some(key_id) = certificate.subject_key_id() {
                self.by_key_id.entry(key_id.into()).or_default().push(certificate.clone());
            }
        }
    }

    /// Those that may have issued `leaf`, the likeliest first.
    fn candidates(&self, leaf: &Certificate) -> impl Iterator<Item = &Arc<Certificate>> {
        let named = self.by_subject.get(leaf.issuer_der()).map_or(&[][..], Vec::as_slice);
        let key_id = leaf.authority_key_id();
        let keyed = key_id.and_then(|key_id| self.by_key_id.get(&*key_id));
        let keyed = keyed.map_or(&[][..], Vec::as_slice);
        // A name and a key identifier that both fit are as good as certain.
        let both = move |one: &&Arc<Certificate>| {
            keyed.iter().any(|keyed| keyed.fingerprint() == one.fingerprint())
        };
        let certain = named.iter().filter(both);
        let by_name = named.iter().filter(move |one| !both(one));
        certain.chain(by_name).chain(keyed).take(MAX_TRIED)
    }
}

/// A leaf that an issuer is looked for.
#[derive(Debug)]
pub(super) struct Search {
    pub(super) leaf: Arc<Certificate>,
    /// What its own file holds.
    pub(super) own: Arc<[Arc<Certificate>]>,
    /// What lies beside them in the folder.
    pub(super) beside: Arc<Issuers>,
}

/// What was proved so far about leaves and their issuers.
#[derive(Debug, Default)]
pub(super) struct Proofs {
    /// [`Standing::Proven`] or [`Standing::SelfSigned`].
    known: HashMap<Fingerprint, Standing>,
    /// Pairs of leaf and not-issuer: their signatures were checked in vain.
    refused: HashSet<(Fingerprint, Fingerprint)>,
    /// What was proved before the first scan.
    pub(super) checked: Checked,
}

impl Proofs {
    /// What is known of a leaf.
    pub(super) fn standing(&self, leaf: &Fingerprint) -> Option<&Standing> {
        self.known.get(leaf)
    }

    /// Looks for the issuers of leaves of unknown standing; `pool` holds for all of them.
    pub(super) fn search(&mut self, searches: Vec<Search>, mut pool: Issuers) {
        if searches.is_empty() {
            return;
        }
        for standing in self.known.values() {
            if let Standing::Proven(issued) = standing {
                pool.add(&issued.issuer);
            }
        }
        let left = self.round(searches, &pool);
        // The issuers found just now may have issued the others.
        let before = pool.seen.len();
        let found = self.known.values().filter_map(|standing| match standing {
            Standing::Proven(issued) => Some(&issued.issuer),
            _ => None,
        });
        found.for_each(|issuer| pool.add(issuer));
        if pool.seen.len() > before {
            self.round(left, &pool);
        }
    }

    /// Forgets the leaves that are no more.
    pub(super) fn retain(&mut self, still: impl Fn(&Fingerprint) -> bool) {
        self.known.retain(|leaf, _| still(leaf));
        self.refused.retain(|(leaf, _)| still(leaf));
    }

    /// Gives back the searches that found nothing.
    fn round(&mut self, searches: Vec<Search>, pool: &Issuers) -> Vec<Search> {
        let Proofs { refused, checked, .. } = &*self;
        let run = |(): &mut (), search: &Search| search.run(pool, refused, checked);
        let outcomes = in_parallel(&searches, || (), run);
        let mut left = Vec::new();
        for (search, (standing, in_vain)) in searches.into_iter().zip(outcomes) {
            let leaf = search.leaf.fingerprint();
            match standing {
                Some(standing) => {
                    self.known.insert(leaf, standing);
                }
                None => {
                    self.refused.extend(in_vain.into_iter().map(|issuer| (leaf, issuer)));
                    left.push(search);
                }
            }
        }
        left
    }
}

impl Search {
    /// Finds the issuer near the leaf, else in `pool`. Also tells which candidates were no use.
    fn run(
        &self,
        pool: &Issuers,
        refused: &HashSet<(Fingerprint, Fingerprint)>,
        checked: &Checked,
    ) -> (Option<Standing>, Vec<Fingerprint>) {
        let fits = |one: &&Arc<Certificate>| one.subject_der() == self.leaf.issuer_der();
        let own = self.own.iter().filter(fits).take(MAX_TRIED);
        let beside = self.beside.candidates(&self.leaf);
        let mut in_vain = Vec::new();
        for candidate in own.chain(beside).chain(pool.candidates(&self.leaf)) {
            let fingerprint = candidate.fingerprint();
            let known = refused.contains(&(self.leaf.fingerprint(), fingerprint));
            if known || in_vain.contains(&fingerprint) {
                continue;
            }
            match Issued::prove_again(self.leaf.clone(), candidate.clone(), checked) {
                Ok(_) if fingerprint == self.leaf.fingerprint() => {
                    return (Some(Standing::SelfSigned), in_vain);
                }
                Ok(issued) => return (Some(Standing::Proven(issued)), in_vain),
                Err(_) => in_vain.push(fingerprint),
            }
        }
        (None, in_vain)
    }
}
