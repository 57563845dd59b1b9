//! Watched folders: which files in them may hold certificates.
//!
//! Folders are gone through without being read again while they are unchanged. Customers may write
//! here: depth and number are bounded, links that lead round are passed through once, and nothing is
//! opened that is no regular file.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::files::Stamp;
use super::layout::{self, Role};
use super::links::Links;
use super::problem::{Problem, What};

/// Folders within folders, counted from the watched one: caddy's layout has two, debops' one.
const MAX_DEPTH: usize = 5;

/// Entries looked at in one watch.
const MAX_ENTRIES: usize = 1_000_000;

/// A folder and the files in it that may hold certificates.
#[derive(Debug)]
pub(super) struct Folder {
    /// As the watch spells it.
    pub(super) path: PathBuf,
    /// Its real path.
    pub(super) real: Arc<Path>,
    /// Which watch it belongs to, by its place in the settings.
    pub(super) watch: usize,
    /// File names with what they say.
    pub(super) files: Vec<(OsString, Role)>,
}

/// What was found below the watches.
#[derive(Debug, Default)]
pub(super) struct Walked {
    pub(super) folders: Vec<Folder>,
    /// What could not be looked at: certificates known from there are not gone.
    pub(super) unseen: Vec<PathBuf>,
    pub(super) problems: Vec<Problem>,
    entered: HashSet<Arc<Path>>,
}

/// What folders held when they were last read, by their real path.
#[derive(Debug, Default)]
pub(super) struct Listings {
    known: HashMap<Arc<Path>, (Stamp, Arc<Listing>)>,
}

/// What a folder holds that is of interest.
#[derive(Debug, Default)]
struct Listing {
    /// Folders, and links that may be.
    folders: Vec<OsString>,
    /// Files that may hold certificates.
    files: Vec<(OsString, Role)>,
}

impl Listings {
    /// Goes through what lies below `watches`; each folder belongs to the first that reaches it.
    pub(super) fn walk<'a>(
        &mut self,
        watches: impl Iterator<Item = &'a Path>,
        links: &mut Links,
    ) -> Walked {
        let mut walked = Walked::default();
        for (watch, path) in watches.enumerate() {
            let mut walk = Walk { listings: self, links, watch, left: MAX_ENTRIES, walked };
            walk.root(path);
            walked = walk.walked;
        }
        self.known.retain(|path, _| walked.entered.contains(path));
        walked
    }

    fn list(&mut self, folder: &Arc<Path>) -> io::Result<Arc<Listing>> {
        let now = Stamp::of(folder)?;
        match self.known.get(folder) {
            Some((stamp, listing)) if stamp.still(&now) => Ok(listing.clone()),
            _ => {
                let listing = Arc::new(Listing::read(folder)?);
                self.known.insert(folder.clone(), (now, listing.clone()));
                Ok(listing)
            }
        }
    }
}

impl Listing {
    fn read(folder: &Path) -> io::Result<Self> {
        let mut listing = Listing::default();
        for entry in fs::read_dir(folder)?.take(MAX_ENTRIES) {
            let entry = entry?;
            let name = entry.file_name();
            let kind = entry.file_type()?;
            let hidden = name.as_encoded_bytes().starts_with(b".");
            if kind.is_dir() && !hidden {
                listing.folders.push(name);
            } else if let Some(role) = layout::role(folder, &name) {
                listing.files.push((name, role));
            } else if kind.is_symlink() && !hidden {
                listing.folders.push(name);
            }
        }
        listing.folders.sort();
        listing.files.sort();
        listing.files.shrink_to_fit();
        Ok(listing)
    }
}

struct Walk<'a> {
    listings: &'a mut Listings,
    links: &'a mut Links,
    watch: usize,
    left: usize,
    walked: Walked,
}

impl Walk<'_> {
    fn root(&mut self, path: &Path) {
        match self.links.follow(path) {
            Ok(followed) if followed.metadata.is_dir() => self.folder(path, 0),
            Ok(_) => self.file(path),
            Err(lost) => self.unseen(path, What::of(&lost.error)),
        }
    }

    /// A watch may name one file.
    fn file(&mut self, path: &Path) {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return };
        let role = layout::role(folder, name).unwrap_or(Role::Any);
        let Ok(real) = self.links.folder(folder) else { return };
        self.walked.folders.push(Folder {
            path: folder.to_owned(),
            real,
            watch: self.watch,
            files: vec![(name.to_owned(), role)],
        });
    }

    fn folder(&mut self, path: &Path, depth: usize) {
        let listed = self.links.folder(path).and_then(|real| {
            if self.walked.entered.contains(&real) {
                return Ok(None);
            }
            let listing = self.listings.list(&real)?;
            Ok(Some((real, listing)))
        });
        let (real, listing) = match listed {
            Ok(Some(listed)) => listed,
            Ok(None) => return,
            Err(error) => return self.unseen(path, What::of(&error)),
        };
        self.walked.entered.insert(real.clone());
        let count = listing.files.len() + listing.folders.len();
        if count > self.left {
            return self.unseen(path, What::TooManyEntries { limit: MAX_ENTRIES });
        }
        self.left -= count;
        // What a client keeps inside of a certificate's folder is its own business: older
        // certificates, half-made ones, the parts of a chain.
        let is_lineage = listing.files.iter().any(|(_, role)| matches!(role, Role::Lineage(_)));
        if depth < MAX_DEPTH && (depth == 0 || !is_lineage) {
            for name in &listing.folders {
                self.subfolder(&path.join(name), depth + 1);
            }
        }
        let files = listing.files.clone();
        self.walked.folders.push(Folder { path: path.to_owned(), real, watch: self.watch, files });
    }

    fn subfolder(&mut self, path: &Path, depth: usize) {
        match self.links.folder(path) {
            // A link to a file, by a name that is no certificate's.
            Ok(real) if !real.is_dir() => {}
            Ok(_) => self.folder(path, depth),
            // Gone since it was listed, or a link that leads nowhere: nothing is hidden there.
            Err(error) if matches!(What::of(&error), What::Missing | What::LinkLoop) => {}
            Err(error) => self.unseen(path, What::of(&error)),
        }
    }

    fn unseen(&mut self, path: &Path, what: What) {
        self.walked.unseen.push(path.to_owned());
        self.walked.problems.push(Problem::new(path, what));
    }
}

/// Files that ACME clients put an issuer's certificate into, beside a leaf whose stem is `stem`.
pub(super) fn issuer_files(stem: &str) -> impl Iterator<Item = OsString> + '_ {
    let named = [".issuer.crt", ".issuer.pem", ".chain.pem", "-chain.pem", "_chain.pem"];
    let fixed = ["chain.pem", "chain.crt", "ca.cer", "ca.crt", "issuer.pem", "issuer.crt"];
    let named = named.into_iter().map(move |ending| OsString::from(format!("{stem}{ending}")));
    named.chain(fixed.into_iter().map(|name| OsStr::new(name).to_owned()))
}
