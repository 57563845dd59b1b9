//! What the operator's hooks were told of and what lasts, so that no start tells it again.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::{StateDir, Store, StoreError};
use crate::digest::Fingerprint;
use crate::files;
use crate::happening::Condition;

/// Every condition of ten thousand certificates.
const MAX_BYTES: u64 = 32 << 20;

/// What hooks were told of and what has not ended since.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Conditions that began.
    pub conditions: HashSet<Condition>,
    /// Certificates that a responder says it does not know.
    pub unknown: HashSet<Fingerprint>,
}

#[derive(Serialize, Deserialize)]
struct File<T> {
    schema: u32,
    #[serde(flatten)]
    told: T,
}

impl StateDir {
    /// What hooks were told of and what had not ended when it was written down.
    ///
    /// # Errors
    /// The file is there and cannot be read, or is damaged.
    pub fn told(&self) -> Result<Told, StoreError> {
        let path = self.root.join("told.json");
        let Some(bytes) = files::read(&path, MAX_BYTES)? else { return Ok(Told::default()) };
        match serde_json::from_slice::<File<Told>>(&bytes) {
            Ok(File { told, .. }) => Ok(told),
            Err(error) => Err(StoreError::Damaged { path, reason: error.to_string() }),
        }
    }
}

impl Store {
    /// Remembers what hooks were told of. Losing it to a power cut costs a second telling, so the disk is not
    /// waited for.
    ///
    /// # Errors
    /// The disk may be full.
    pub fn remember_told(&self, told: &Told) -> Result<(), StoreError> {
        let text =
            serde_json::to_vec_pretty(&File { schema: 1, told }).expect("plain data is JSON");
        Ok(files::replace(&self.dir.root.join("told.json"), &text, 0o644)?)
    }
}
