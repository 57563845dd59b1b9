//! `loaded/<server>.json` and `loaded/<server>.changes`: what each server was last proved to hold.
//!
//! The first file is the whole picture as of some moment, the second one line of JSON for each change
//! since, so that ten thousand confirmations do not write ten thousand pictures. Replaying changes that
//! are in the picture already changes nothing: a crash between writing the one and emptying the other
//! does no harm. Changes are not synced: after a power cut the servers start anew, too.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::journal::{self, Journal};
use super::{StateDir, Store, StoreError, locked};
use crate::digest::{Digest, Fingerprint};
use crate::files;

/// Bytes of changes before they are folded into the picture; at least as many as that has.
const GROWTH: u64 = 256 * 1024;
/// A picture is never longer.
const MAX_BYTES: u64 = 1 << 30;
/// Longer names of servers are cut.
const MAX_NAME: usize = 100;

/// What one server was last proved to have taken up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadedServer {
    /// The running server as text (`reload::Snapshot`): another one has loaded something else.
    pub identity: Option<String>,
    /// By the path that the server's configuration names.
    pub targets: BTreeMap<String, Loaded>,
}

/// What a server holds for one target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loaded {
    /// What it is.
    pub content: Content,
    /// The leaf it presents there, where known.
    pub leaf: Option<Fingerprint>,
    /// Whether that leaf carries Must-Staple.
    pub must_staple: bool,
    /// thisUpdate of the staple, in seconds since 1970; meaningless without one.
    pub this_update: i64,
    /// The staple's effective expiry, in seconds since 1970; meaningless without one.
    pub expires: i64,
    /// Seen by a handshake or told by the server; otherwise only concluded.
    pub proved: bool,
}

/// The kinds of content, with identities that survive a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Content {
    /// A staple.
    Staple {
        /// The certificate it is about.
        certificate: Fingerprint,
        /// Of its DER.
        digest: Digest,
    },
    /// `tryLater`.
    Placeholder,
    /// No staple at all.
    Nothing,
    /// Something else.
    Foreign,
}

/// One line of changes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Change {
    Identity(Option<String>),
    Loaded(String, Loaded),
    Gone(String),
}

impl LoadedServer {
    fn take(&mut self, change: Change) {
        match change {
            Change::Identity(identity) => self.identity = identity,
            Change::Loaded(target, loaded) => {
                self.targets.insert(target, loaded);
            }
            Change::Gone(target) => {
                self.targets.remove(&target);
            }
        }
    }
}

impl StateDir {
    /// What the server of this name was last proved to hold; empty if nothing is known.
    ///
    /// # Errors
    /// A file is there and cannot be read, or is damaged: nothing is known then, either.
    pub fn loaded(&self, server: &str) -> Result<LoadedServer, StoreError> {
        read(&Place::of(&self.root.join("loaded"), server))
    }
}

impl Store {
    /// Remembers what changed in what a server holds: who it is (`reload::Snapshot` as text), targets
    /// by path, and targets it no longer names.
    ///
    /// # Errors
    /// The disk may be full.
    pub fn remember_loaded(
        &self,
        server: &str,
        identity: Option<&str>,
        changed: &[(String, Loaded)],
        gone: &[String],
    ) -> Result<(), StoreError> {
        let identity = Change::Identity(identity.map(str::to_owned));
        let changed =
            changed.iter().map(|(path, loaded)| Change::Loaded(path.clone(), loaded.clone()));
        let gone = gone.iter().cloned().map(Change::Gone);
        let changes: Vec<_> = [identity].into_iter().chain(changed).chain(gone).collect();
        locked(&self.loaded).append(server, &changes)
    }

    /// Nothing is known any more of what this server holds: it was started anew, or is gone.
    ///
    /// # Errors
    /// The files cannot be removed.
    pub fn forget_loaded(&self, server: &str) -> Result<(), StoreError> {
        locked(&self.loaded).remove(server)
    }
}

/// The two files of a server.
#[derive(Debug)]
struct Place {
    picture: PathBuf,
    changes: PathBuf,
}

impl Place {
    fn of(folder: &Path, server: &str) -> Self {
        let name = file_name(server);
        let [picture, changes] =
            ["json", "changes"].map(|kind| folder.join(format!("{name}.{kind}")));
        Place { picture, changes }
    }
}

/// The name itself where it is harmless, else what is harmless of it and a digest of the whole.
fn file_name(server: &str) -> String {
    let harmless = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let good = !server.is_empty() && !server.starts_with('.') && server.len() <= MAX_NAME;
    if good && server.chars().all(harmless) {
        return server.to_owned();
    }
    let kept: String = server.chars().filter(|c| harmless(*c)).take(MAX_NAME / 2).collect();
    let digest = Digest::of(server.as_bytes()).to_string();
    format!("{}-{}", kept.trim_start_matches('.'), &digest[..16])
}

fn read(place: &Place) -> Result<LoadedServer, StoreError> {
    let mut server = match files::read(&place.picture, MAX_BYTES)? {
        None => LoadedServer::default(),
        Some(bytes) => serde_json::from_slice(&bytes).map_err(|error| StoreError::Damaged {
            path: place.picture.clone(),
            reason: error.to_string(),
        })?,
    };
    for line in journal::lines(&journal::read(&place.changes)?) {
        // A torn line, after a power cut: what it said is not known to be loaded.
        if let Ok(change) = serde_json::from_slice(line) {
            server.take(change);
        }
    }
    Ok(server)
}

/// The journals of all servers, for the one who writes them.
#[derive(Debug)]
pub(super) struct Journals {
    folder: PathBuf,
    open: HashMap<String, Journal>,
}

impl Journals {
    pub(super) fn new(folder: &Path) -> Self {
        Journals { folder: folder.to_owned(), open: HashMap::new() }
    }

    fn append(&mut self, server: &str, changes: &[Change]) -> Result<(), StoreError> {
        let place = Place::of(&self.folder, server);
        let journal = self.open.entry(server.to_owned());
        let journal = journal.or_insert_with(|| Journal::new(&place.changes));
        journal.append(changes)?;
        let picture = std::fs::metadata(&place.picture).map_or(0, |found| found.len());
        if journal.bytes() > GROWTH.max(picture) {
            let whole = serde_json::to_vec(&read(&place)?).expect("the picture is plain data");
            files::write(&place.picture, &whole, 0o644)?;
            journal.replace::<Change>(&[])?;
        }
        Ok(())
    }

    fn remove(&mut self, server: &str) -> Result<(), StoreError> {
        let place = Place::of(&self.folder, server);
        self.open.remove(server);
        // The other way round a crash would leave changes to a picture that is gone.
        files::remove(&place.changes)?;
        Ok(files::remove(&place.picture)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Settings;

    fn loaded(number: u8) -> Loaded {
        let digest = Digest::of(&[number]);
        Loaded {
            content: Content::Staple { certificate: digest, digest },
            leaf: Some(digest),
            must_staple: true,
            this_update: 1_700_000_000,
            expires: i64::MAX,
            proved: number.is_multiple_of(2),
        }
    }

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().expect("a temp folder");
        let store = Store::open(&Settings { state_dir: folder.path().to_owned() }).expect("ours");
        (folder, store)
    }

    #[test]
    fn changes_add_up_to_the_picture() {
        let (_folder, store) = store();
        let name = "nginx";
        assert_eq!(store.dir().loaded(name).expect("nothing yet"), LoadedServer::default());
        let both = [("/a.der".to_owned(), loaded(1)), ("/b.der".to_owned(), loaded(2))];
        store.remember_loaded(name, Some("boot 1 2"), &both, &[]).expect("room");
        let placeholder = Loaded { content: Content::Placeholder, leaf: None, ..loaded(3) };
        let change = [("/a.der".to_owned(), placeholder.clone())];
        store.remember_loaded(name, Some("boot 1 2 3"), &change, &["/b.der".into()]).expect("room");
        let seen = store.dir().loaded(name).expect("readable");
        assert_eq!(seen.identity.as_deref(), Some("boot 1 2 3"));
        assert_eq!(seen.targets, BTreeMap::from([("/a.der".to_owned(), placeholder)]));
        assert_eq!(store.dir().loaded("other").expect("nothing"), LoadedServer::default());
        store.forget_loaded(name).expect("ours");
        assert_eq!(store.dir().loaded(name).expect("nothing"), LoadedServer::default());
    }

    #[test]
    fn changes_are_folded_in_when_they_get_many() {
        let (folder, store) = store();
        for round in 0..30_u8 {
            let all: Vec<_> = (0..100).map(|n| (format!("/{n}.der"), loaded(round))).collect();
            store.remember_loaded("nginx", Some("x"), &all, &[]).expect("room");
        }
        let size = |kind: &str| {
            let path = folder.path().join(format!("loaded/nginx.{kind}"));
            std::fs::metadata(path).expect("there").len()
        };
        assert!(size("changes") < GROWTH + 64 * 1024 && size("json") > 0);
        let seen = store.dir().loaded("nginx").expect("readable");
        assert!(seen.targets.len() == 100 && seen.targets["/7.der"] == loaded(29));
    }

    #[test]
    fn any_name_is_a_file_name() {
        let check = |name: &str, expected: &str| {
            let file = file_name(name);
            assert!(file.starts_with(expected) && file.len() <= MAX_NAME, "{name} -> {file}");
            assert!(!file.contains('/') && !file.starts_with('.'), "{name} -> {file}");
        };
        check("nginx", "nginx");
        check("../../etc/passwd", "etcpasswd-");
        check("/etc/nginx/nginx.conf", "etcnginxnginx.conf-");
        check("", "-");
        check(&"x".repeat(300), "xxx");
        assert_ne!(file_name("a/b"), file_name("ab"));
    }
}
