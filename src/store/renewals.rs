//! Attempts to renew certificates by the operator's ACME client, kept so that a crash loop hammers no CA.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{StateDir, Store, StoreError};
use crate::digest::Fingerprint;
use crate::files;
use crate::plan::RenewalAttempts;
use crate::time::UnixTime;

/// Attempts for a hundred thousand certificates.
const MAX_BYTES: u64 = 32 << 20;

#[derive(Serialize, Deserialize)]
struct File {
    schema: u32,
    attempts: BTreeMap<Fingerprint, Attempts>,
}

#[derive(Serialize, Deserialize)]
struct Attempts {
    made: u32,
    next: UnixTime,
}

impl StateDir {
    /// The attempts that were made, by certificate.
    ///
    /// # Errors
    /// The file is there and cannot be read, or is damaged.
    pub fn renewals(&self) -> Result<BTreeMap<Fingerprint, RenewalAttempts>, StoreError> {
        let path = self.root.join("renewals.json");
        let Some(bytes) = files::read(&path, MAX_BYTES)? else { return Ok(BTreeMap::new()) };
        let parsed = serde_json::from_slice::<File>(&bytes);
        let parsed =
            parsed.map_err(|error| StoreError::Damaged { path, reason: error.to_string() })?;
        let attempts = parsed.attempts.into_iter();
        Ok(attempts
            .map(|(of, Attempts { made, next })| (of, RenewalAttempts { made, next }))
            .collect())
    }
}

impl Store {
    /// Remembers the attempts that were made; durable when this returns.
    ///
    /// # Errors
    /// The disk may be full.
    pub fn remember_renewals(
        &self,
        attempts: &BTreeMap<Fingerprint, RenewalAttempts>,
    ) -> Result<(), StoreError> {
        let attempts = attempts
            .iter()
            .map(|(of, RenewalAttempts { made, next })| {
                (*of, Attempts { made: *made, next: *next })
            })
            .collect();
        let text =
            serde_json::to_vec_pretty(&File { schema: 1, attempts }).expect("plain data is JSON");
        Ok(files::write(&self.dir.root.join("renewals.json"), &text, 0o644)?)
    }
}
