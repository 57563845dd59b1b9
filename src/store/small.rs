//! The small things: names once given, issuers that were fetched, signatures that were checked, the
//! seed of the jitter.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{StateDir, Store, StoreError};
use crate::digest::{Digest, Fingerprint};
use crate::files::{self, Entry, FileError, Step};
use crate::pki::Certificate;
use crate::pki::signature::Checked;

/// A hundred thousand names, with long keys.
const MAX_NAMES_BYTES: u64 = 64 << 20;
/// Two signatures each for half a million certificates.
const MAX_CHECKED_BYTES: u64 = 32 << 20;
/// Far longer than any issuer's certificate.
const MAX_ISSUER_BYTES: u64 = 64 * 1024;

#[derive(Serialize, Deserialize)]
struct Names {
    schema: u32,
    names: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
struct Lost {
    schema: u32,
    lost: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
struct Frozen {
    schema: u32,
    frozen: BTreeSet<Fingerprint>,
}

impl StateDir {
    /// The certificates that are frozen.
    ///
    /// # Errors
    /// The file is there and cannot be read, or is damaged.
    pub fn frozen(&self) -> Result<BTreeSet<Fingerprint>, StoreError> {
        let path = self.root.join("frozen.json");
        let Some(bytes) = files::read(&path, MAX_NAMES_BYTES)? else { return Ok(BTreeSet::new()) };
        match serde_json::from_slice::<Frozen>(&bytes) {
            Ok(read) => Ok(read.frozen),
            Err(error) => Err(StoreError::Damaged { path, reason: error.to_string() }),
        }
    }

    /// The names that were given, by what they were given to.
    ///
    /// # Errors
    /// The file is there and cannot be read, or is damaged. Names that are lost are given anew, and
    /// maybe to others.
    pub fn names(&self) -> Result<BTreeMap<String, String>, StoreError> {
        let path = self.root.join("names.json");
        let Some(bytes) = files::read(&path, MAX_NAMES_BYTES)? else { return Ok(BTreeMap::new()) };
        let parsed = serde_json::from_slice::<Names>(&bytes);
        let parsed =
            parsed.map_err(|error| StoreError::Damaged { path, reason: error.to_string() })?;
        Ok(parsed.names)
    }

    /// Issuers that were fetched once, and what is wrong with files that hold none. Whether an issuer
    /// issued a certificate is for `Issued::prove` to say.
    pub fn issuers(&self) -> (Vec<Certificate>, Vec<StoreError>) {
        let folder = self.root.join("issuers");
        let paths = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let paths = paths.filter(|path| path.extension().is_some_and(|kind| kind == "der"));
        let (mut issuers, mut problems) = (Vec::new(), Vec::new());
        for path in paths {
            match issuer(path) {
                Ok(issuer) => issuers.push(issuer),
                Err(problem) => problems.push(problem),
            }
        }
        (issuers, problems)
    }

    /// The signatures that were found good, as [`Store::remember_checked`] left them; none where that
    /// cannot be told.
    pub fn checked(&self) -> Checked {
        let bytes = files::read(&self.root.join("checked"), MAX_CHECKED_BYTES);
        let bytes = bytes.ok().flatten().unwrap_or_default();
        let (digests, []) = bytes.as_chunks::<32>() else { return Checked::default() };
        digests.iter().map(|digest| Digest::from_bytes(*digest)).collect()
    }
}

impl StateDir {
    /// The OCSP URLs that lineages lost at a renewal, by the lineage's name.
    ///
    /// # Errors
    /// The file is there and cannot be read, or is damaged.
    pub fn lost(&self) -> Result<BTreeMap<String, String>, StoreError> {
        let path = self.root.join("lost.json");
        let Some(bytes) = files::read(&path, MAX_NAMES_BYTES)? else { return Ok(BTreeMap::new()) };
        match serde_json::from_slice::<Lost>(&bytes) {
            Ok(read) => Ok(read.lost),
            Err(error) => Err(StoreError::Damaged { path, reason: error.to_string() }),
        }
    }

    /// The certificates that were seen before, as [`Store::remember_seen`] left them; `None` where that was
    /// never done or cannot be told.
    pub fn seen(&self) -> Option<Vec<Fingerprint>> {
        let bytes = files::read(&self.root.join("seen"), MAX_CHECKED_BYTES).ok()??;
        let (digests, []) = bytes.as_chunks::<32>() else { return None };
        Some(digests.iter().map(|digest| Digest::from_bytes(*digest)).collect())
    }
}

impl Store {
    /// Remembers which certificates were seen.
    ///
    /// # Errors
    /// The disk may be full.
    pub fn remember_seen(&self, fingerprints: &[Fingerprint]) -> Result<(), StoreError> {
        let bytes: Vec<u8> = fingerprints.iter().flat_map(|one| *one.as_bytes()).collect();
        Ok(files::write(&self.dir.root.join("seen"), &bytes, 0o644)?)
    }

    /// Remembers signatures that were found good, so that the next start need not do their arithmetic
    /// again. Losing the file costs that time and nothing else, so the disk is not waited for.
    ///
    /// # Errors
    /// The disk may be full.
    pub fn remember_checked(&self, signatures: &[Digest]) -> Result<(), StoreError> {
        let bytes: Vec<u8> = signatures.iter().flat_map(|one| *one.as_bytes()).collect();
        Ok(files::replace(&self.dir.root.join("checked"), &bytes, 0o644)?)
    }

    /// Remembers all names that were given; unchanged ones cost no write.
    ///
    /// # Errors
    /// The disk may be full.
    pub fn remember_names(&self, names: &BTreeMap<String, String>) -> Result<(), StoreError> {
        if self.dir.names().is_ok_and(|known| known == *names) {
            return Ok(());
        }
        let names = Names { schema: 1, names: names.clone() };
        let text = serde_json::to_vec_pretty(&names).expect("names are plain data");
        Ok(files::write(&self.dir.root.join("names.json"), &text, 0o644)?)
    }

    /// Remembers which certificates are frozen.
    ///
    /// # Errors
    /// The disk may be full.
    pub fn remember_frozen(&self, frozen: &BTreeSet<Fingerprint>) -> Result<(), StoreError> {
        let frozen = Frozen { schema: 1, frozen: frozen.clone() };
        let text = serde_json::to_vec_pretty(&frozen).expect("digests are plain data");
        Ok(files::write(&self.dir.root.join("frozen.json"), &text, 0o644)?)
    }

    /// Remembers which lineages lost which OCSP URL.
    ///
    /// # Errors
    /// The disk may be full.
    pub fn remember_lost(&self, lost: &BTreeMap<String, String>) -> Result<(), StoreError> {
        let lost = Lost { schema: 1, lost: lost.clone() };
        let text = serde_json::to_vec_pretty(&lost).expect("text is plain data");
        Ok(files::write(&self.dir.root.join("lost.json"), &text, 0o644)?)
    }

    /// Remembers an issuer that was fetched.
    ///
    /// # Errors
    /// The disk may be full.
    pub fn remember_issuer(&self, issuer: &Certificate) -> Result<(), StoreError> {
        let path = self.dir.root.join(format!("issuers/{}.der", issuer.fingerprint()));
        if path.exists() {
            return Ok(());
        }
        let outcome = files::write_many(&[Entry::public(path, issuer.der())]).pop();
        Ok(outcome.expect("an outcome for each entry")?)
    }

    /// The number that makes this installation's jitter its own; made on first use. On a full disk
    /// it lasts until the next start.
    pub fn seed(&self) -> u64 {
        let path = self.dir.root.join("seed");
        let known = files::read(&path, 64).ok().flatten();
        let text = known.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
        if let Ok(seed) = u64::from_str_radix(text.trim(), 16) {
            return seed;
        }
        // Hosts have to differ, no more: a cryptographic source takes 60 ms to gather its entropy.
        let seed = RandomState::new().build_hasher().finish();
        if let Err(error) = files::replace(&path, format!("{seed:016x}\n").as_bytes(), 0o644) {
            tracing::warn!(%error, "cannot keep the jitter's seed");
        }
        seed
    }
}

fn issuer(path: PathBuf) -> Result<Certificate, StoreError> {
    let missing =
        |path| FileError { path, step: Step::Read, source: std::io::ErrorKind::NotFound.into() };
    let bytes = files::read(&path, MAX_ISSUER_BYTES)?.ok_or_else(|| missing(path.clone()))?;
    Certificate::from_der(&bytes)
        .map_err(|error| StoreError::Damaged { path, reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Settings;

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().expect("a temp folder");
        let store = Store::open(&Settings { state_dir: folder.path().to_owned() }).expect("ours");
        (folder, store)
    }

    #[test]
    fn names_and_seed_last() {
        let (folder, store) = store();
        assert_eq!(store.dir().names().expect("none yet"), BTreeMap::new());
        let names = BTreeMap::from([("/live/www".to_owned(), "www".to_owned())]);
        store.remember_names(&names).expect("room");
        assert_eq!(store.dir().names().expect("readable"), names);
        let seed = store.seed();
        assert_eq!(store.seed(), seed);
        fs::write(folder.path().join("names.json"), "{").expect("ours");
        let error = store.dir().names().expect_err("damaged");
        assert!(error.to_string().contains("names.json is damaged: EOF"), "{error}");
        store.remember_names(&names).expect("room");
        assert_eq!(store.dir().names().expect("readable"), names);
    }

    #[test]
    fn issuers_are_read_back_as_certificates() {
        let (folder, store) = store();
        let key = rcgen::KeyPair::generate().expect("a key");
        let made = rcgen::CertificateParams::new(Vec::new()).expect("no names");
        let made = made.self_signed(&key).expect("signed");
        let issuer = Certificate::from_der(made.der()).expect("a certificate");
        store.remember_issuer(&issuer).expect("room");
        store.remember_issuer(&issuer).expect("known");
        fs::write(folder.path().join("issuers/junk.der"), "junk").expect("ours");
        let (issuers, problems) = store.dir().issuers();
        assert_eq!(issuers.len(), 1);
        assert_eq!(issuers[0].der(), issuer.der());
        assert!(problems.len() == 1 && problems[0].to_string().contains("junk.der is damaged"));
    }
}
