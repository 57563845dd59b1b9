//! Seeing what others do to a server: starts, stops and reloads that nobody told us of.
//!
//! Nothing announces a reload: the master stays, only its workers are others (and Apache's pid file). So
//! a [`Watch`] looks from time to time; a look reads a handful of files in /proc.

use std::path::{Path, PathBuf};

use super::Kind;
use super::process::{Snapshot, Unseen};
use crate::plan::Sighting;

/// What happened to a server between two looks; `None` where it did not run.
pub fn compare(kind: Kind, old: Option<&Snapshot>, new: Option<&Snapshot>) -> Option<Sighting> {
    match (old, new) {
        (None, None) => None,
        (Some(_), None) => Some(Sighting::Stopped),
        (None, Some(_)) => Some(Sighting::Started),
        (Some(old), Some(new)) if !new.same_master(old) => Some(Sighting::Started),
        (Some(old), Some(new)) => new.reloaded_since(old, kind).then_some(Sighting::Reloaded),
    }
}

/// Looks at one server again and again.
#[derive(Debug)]
pub struct Watch {
    kind: Kind,
    pid_file: PathBuf,
    last: Option<Snapshot>,
}

impl Watch {
    /// Watches the server of this kind whose master writes `pid_file`. `last` is what an earlier agent saw: the
    /// first look tells what has happened since.
    pub fn new(kind: Kind, pid_file: &Path, last: Option<Snapshot>) -> Self {
        Watch { kind, pid_file: pid_file.to_owned(), last }
    }

    /// Where the server's master writes its process id.
    pub fn pid_file(&self) -> &Path {
        &self.pid_file
    }

    /// What has happened since the last look or [`Watch::rebase`].
    ///
    /// # Errors
    /// The server cannot be seen; nothing is concluded from that.
    pub fn look(&mut self) -> Result<Option<Sighting>, Unseen> {
        let new = Snapshot::take(self.kind, &self.pid_file)?.ok();
        let sighting = compare(self.kind, self.last.as_ref(), new.as_ref());
        // In the middle of a reload old and new workers stand side by side, and a crashed worker is
        // replaced by one new one: the old picture stays until all of it is replaced.
        if sighting.is_some() {
            self.last = new;
        }
        Ok(sighting)
    }

    /// Takes what a reload of our own left as known: it is nobody else's. `proved` is the server as it
    /// was when the reload was proved, so that another's reload right behind it is still noticed;
    /// without it, what runs now.
    ///
    /// # Errors
    /// The server cannot be seen; the old picture stays.
    pub fn rebase(&mut self, proved: Option<Snapshot>) -> Result<(), Unseen> {
        self.last = match proved {
            Some(proved) => Some(proved),
            None => Snapshot::take(self.kind, &self.pid_file)?.ok(),
        };
        Ok(())
    }

    /// The server as last seen; `None` while it does not run.
    pub fn last(&self) -> Option<&Snapshot> {
        self.last.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(old: &str, new: &str, expected: Option<Sighting>) {
        let [old, new] = [old, new].map(|text| text.parse().ok());
        assert_eq!(
            compare(Kind::Nginx, old.as_ref(), new.as_ref()),
            expected,
            "{old:?} -> {new:?}"
        );
    }

    #[test]
    fn two_looks_tell_what_happened() {
        check("", "", None);
        check("", "b 9 100 11", Some(Sighting::Started));
        check("b 9 100 11", "", Some(Sighting::Stopped));
        check("b 9 100 11 12", "b 9 100 11 12", None);
        check("b 9 100 11 12", "b 9 100 13 14", Some(Sighting::Reloaded));
        check("b 9 100 11 12", "b 9 100 11 13", None);
        check("b 9 100 11", "b 9 200 11", Some(Sighting::Started));
        check("b 9 100 11", "c 9 100 11", Some(Sighting::Started));
        check("b 9 100 @1 11", "b 9 100 @2 11 12", Some(Sighting::Reloaded));
        check("b 9 100 @1 11", "b 9 100 @1 12", None);
    }
}
