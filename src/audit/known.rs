//! What the trail has said before, so that a start does not say it all again.
//!
//! The agent says of every certificate that it was found at each start, and of every answer of its
//! own responder that it is put there. A certificate that was known and is not found any more has gone
//! while no agent ran. The file `known` holds the digest of what was said last; one that is lost or old
//! costs lines that say nothing new.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::placed::Placed;
use crate::digest::{Digest, Fingerprint};
use crate::files::{self, FileError};
use crate::happening::{Happening, Subject};

/// The file's name in the trail's folder.
const NAME: &str = "known";
/// Some hundred thousand certificates; more than that are said again.
const MAX_BYTES: u64 = 64 << 20;

/// Digests of what was said last, by whom it was about.
#[derive(Debug)]
pub(super) struct Known {
    path: PathBuf,
    certificates: HashMap<Fingerprint, (Digest, Box<str>)>,
    /// By the digest of the target's name.
    answers: HashMap<Digest, Digest>,
    /// Certificates that have not been found since the start.
    unseen: HashSet<Fingerprint>,
    changed: bool,
    /// Which targets servers name.
    placed: Placed,
}

impl Known {
    /// What the file in `folder` remembers; nothing where there is none.
    pub(super) fn read(folder: &Path) -> Known {
        let path = folder.join(NAME);
        let bytes = files::read(&path, MAX_BYTES).ok().flatten().unwrap_or_default();
        let (mut certificates, mut answers) = (HashMap::new(), HashMap::new());
        for line in String::from_utf8_lossy(&bytes).lines() {
            let mut words = line.splitn(3, ' ');
            let mut digest = || words.next()?.parse::<Digest>().ok();
            let (Some(about), Some(said)) = (digest(), digest()) else { continue };
            match words.next() {
                Some(name) => drop(certificates.insert(about, (said, name.into()))),
                None => drop(answers.insert(about, said)),
            }
        }
        let unseen = certificates.keys().copied().collect();
        let placed = Placed::read(folder);
        Known { path, certificates, answers, unseen, changed: false, placed }
    }

    /// Whether it is worth a line.
    pub(super) fn is_news(&mut self, happening: &Happening) -> bool {
        match happening {
            Happening::Discovered { certificate: Subject { name, fingerprint }, .. } => {
                self.unseen.remove(fingerprint);
                let said = digest(happening);
                let before = self.certificates.get(fingerprint).map(|(said, _)| *said);
                if before != Some(said) {
                    self.certificates.insert(*fingerprint, (said, name.as_str().into()));
                    self.changed = true;
                }
                before != Some(said)
            }
            Happening::Removed { certificate } => {
                self.changed |= self.certificates.remove(&certificate.fingerprint).is_some();
                true
            }
            Happening::Published { written: false, target, .. } => {
                let said = digest(happening);
                let before = self.answers.insert(Digest::of(target.as_bytes()), said);
                self.changed |= before != Some(said);
                before != Some(said)
            }
            Happening::Unplaced { target } => {
                self.changed |= self.answers.remove(&Digest::of(target.as_bytes())).is_some();
                self.placed.is_news(happening)
            }
            Happening::Placed { .. } => self.placed.is_news(happening),
            Happening::NotAnswered { news, .. } => *news,
            _ => true,
        }
    }

    /// The certificates and targets that were known and have not been found since the start; said once.
    pub(super) fn gone(&mut self) -> Vec<Happening> {
        let gone = std::mem::take(&mut self.unseen).into_iter().filter_map(|fingerprint| {
            let (_, name) = self.certificates.remove(&fingerprint)?;
            self.changed = true;
            let certificate = Subject { name: name.into(), fingerprint };
            Some(Happening::Removed { certificate })
        });
        let mut gone: Vec<_> = gone.collect();
        gone.sort_by_key(|one| match one {
            Happening::Removed { certificate } => certificate.name.clone(),
            _ => String::new(),
        });
        gone.extend(self.placed.gone());
        gone
    }

    /// Lines were lost: nobody knows which, so all is news at the next start.
    pub(super) fn forget(&mut self) {
        self.certificates.clear();
        self.answers.clear();
        self.changed = true;
        self.placed.forget();
    }

    /// Writes the file, where something has changed. It need not survive a power cut.
    ///
    /// # Errors
    /// The disk may be full.
    pub(super) fn save(&mut self) -> Result<(), FileError> {
        self.placed.save()?;
        if !std::mem::take(&mut self.changed) {
            return Ok(());
        }
        let mut text = String::with_capacity(160 * self.certificates.len());
        let infallible = "a string takes whatever is written";
        for (fingerprint, (said, name)) in &self.certificates {
            writeln!(text, "{fingerprint} {said} {name}").expect(infallible);
        }
        for (target, said) in &self.answers {
            writeln!(text, "{target} {said}").expect(infallible);
        }
        files::replace(&self.path, text.as_bytes(), 0o644)
    }
}

fn digest(happening: &Happening) -> Digest {
    Digest::of(&serde_json::to_vec(happening).expect("what happened is plain data"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::UnixTime;

    fn found(name: &str) -> Happening {
        Happening::Discovered {
            certificate: Subject {
                name: name.to_owned(),
                fingerprint: Digest::of(name.as_bytes()),
            },
            issuer: "CN=ca".to_owned(),
            must_staple: false,
            not_after: UnixTime::from_secs(2_000_000_000),
            responders: Vec::new(),
        }
    }

    #[test]
    fn only_what_is_new_is_news_over_restarts() {
        let folder = tempfile::tempdir().expect("a temp folder");
        let mut known = Known::read(folder.path());
        assert!(known.is_news(&found("a")) && known.is_news(&found("b")));
        assert!(!known.is_news(&found("a")));
        assert_eq!(known.gone(), []);
        known.save().expect("room");

        let mut known = Known::read(folder.path());
        assert!(!known.is_news(&found("a")) && known.is_news(&found("c")));
        let gone = known.gone();
        let [Happening::Removed { certificate }] = &*gone else { panic!("{gone:?}") };
        assert_eq!(certificate.name, "b");
        assert_eq!(known.gone(), []);
        assert!(known.is_news(&found("b")), "it is back");
    }
}
