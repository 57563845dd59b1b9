//! Responses by certificate, and all there ever were by digest.
//!
//! `responses/<fingerprint>.der` is the last good response; `history/<ab>/<digest>.der`, a second name
//! of the same file, stays when the next one comes, until it is pruned.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::{StateDir, Store, StoreError, make_folder};
use crate::digest::{Digest, Fingerprint};
use crate::files::{self, Entry};
use crate::ocsp::Staple;

/// Longer responses are never fetched.
const MAX_BYTES: u64 = 64 * 1024;

impl StateDir {
    /// The bytes of the last good response about a certificate: DER as received, to be decoded and
    /// verified again, since time has passed and disks err.
    ///
    /// # Errors
    /// The file is there and cannot be read, or is longer than any response.
    pub fn load(&self, certificate: Fingerprint) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(files::read(&self.response(certificate), MAX_BYTES)?)
    }

    /// The certificates that have a response here.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn responses(&self) -> Result<Vec<Fingerprint>, StoreError> {
        let folder = self.root.join("responses");
        let entries = fs::read_dir(&folder).map_err(|source| files::FileError {
            path: folder,
            step: files::Step::Read,
            source,
        })?;
        let names = entries.flatten().map(|entry| entry.file_name());
        Ok(names.filter_map(|name| name.to_str()?.strip_suffix(".der")?.parse().ok()).collect())
    }

    /// A response that was kept once, by the digest of its bytes; checked against it.
    ///
    /// # Errors
    /// The file is there and cannot be read, or holds something else.
    pub fn history(&self, digest: Digest) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.past(digest);
        match files::read(&path, MAX_BYTES)? {
            Some(bytes) if Digest::of(&bytes) != digest => {
                let reason = format!("its bytes have the digest {}", Digest::of(&bytes));
                Err(StoreError::Damaged { path, reason })
            }
            found => Ok(found),
        }
    }

    fn response(&self, certificate: Fingerprint) -> PathBuf {
        self.root.join(format!("responses/{certificate}.der"))
    }

    /// Where the history keeps a response.
    pub fn past(&self, digest: Digest) -> PathBuf {
        self.root.join(format!("history/{:02x}/{digest}.der", digest.as_bytes()[0]))
    }
}

impl Store {
    /// Makes each staple the last good response about its certificate, durably, and part of the
    /// history. Outcomes stand in the order of the staples; each failure costs only itself.
    pub fn keep(&self, staples: &[Staple]) -> Vec<Result<(), StoreError>> {
        let entries = staples.iter().map(|staple| {
            let also = Some(self.dir.past(staple.digest()));
            Entry { also, ..Entry::public(self.dir.response(staple.certificate()), staple.der()) }
        });
        let entries: Vec<_> = entries.collect();
        files::write_many(&entries).into_iter().map(|outcome| Ok(outcome?)).collect()
    }

    /// Removes what is kept about certificates that are no longer of interest; their history stays.
    ///
    /// # Errors
    /// The first that could not be removed; the others are.
    pub fn forget(&self, certificates: &[Fingerprint]) -> Result<(), StoreError> {
        let removed = certificates.iter().map(|known| fs::remove_file(self.dir.response(*known)));
        let failed = removed.zip(certificates).find_map(|(outcome, certificate)| {
            let source = outcome.err().filter(|e| e.kind() != std::io::ErrorKind::NotFound)?;
            Some(files::FileError {
                path: self.dir.response(*certificate),
                step: files::Step::Remove,
                source,
            })
        });
        self.forget_attempts(certificates)?;
        failed.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Removes past responses that were written before `cutoff`; says how many. A response that is still
    /// the last good one keeps its first name.
    ///
    /// # Errors
    /// A folder cannot be read. Files that cannot be removed are left for the next time.
    pub fn prune_history(&self, cutoff: SystemTime) -> Result<usize, StoreError> {
        let mut removed = 0;
        let history = self.dir.root.join("history");
        let fail = |path: &Path| {
            let path = path.to_owned();
            move |source| files::FileError { path, step: files::Step::Read, source }
        };
        for folder in fs::read_dir(&history).map_err(fail(&history))?.flatten() {
            let path = folder.path();
            for entry in fs::read_dir(&path).map_err(fail(&path))?.flatten() {
                let written = entry.metadata().and_then(|found| found.modified());
                let old = written.is_ok_and(|written| written < cutoff);
                removed += usize::from(old && fs::remove_file(entry.path()).is_ok());
            }
        }
        Ok(removed)
    }
}

/// The 256 folders of the history, so that a batch of a thousand responses has none to make.
pub(super) fn make_history(history: &Path) -> Result<(), StoreError> {
    let mut folders = (0..=u8::MAX).map(|first| history.join(format!("{first:02x}")));
    // They are made in order, so the last one tells about all of them.
    if history.join("ff").exists() {
        return Ok(());
    }
    folders.try_for_each(|folder| make_folder(&folder))
}
