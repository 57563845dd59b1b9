//! Watched folders: which files in them may hold certificates.
//!
//! Folders are gone through without being read again while they are unchanged. Customers may write
//! here: depth and number are bounded, links that lead round are passed through once, and nothing is
//! opened that is no regular file.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::Path;
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
    pub(super) path: Arc<Path>,
    /// Its real path.
    pub(super) real: Arc<Path>,
    /// Which watch it belongs to, by its place in the settings.
    pub(super) watch: usize,
    /// File names with what they say, in the order of the names.
    pub(super) files: Arc<[(Arc<OsStr>, Role)]>,
}

/// What was found below the watches.
#[derive(Debug, Default)]
pub(super) struct Walked {
    pub(super) folders: Vec<Folder>,
    /// What could not be looked at: certificates known from there are not gone.
    pub(super) unseen: Vec<Arc<Path>>,
    pub(super) problems: Vec<Problem>,
}

/// What folders held when they were last read, by their real path.
#[derive(Debug, Default)]
pub(super) struct Listings {
    known: HashMap<Box<OsStr>, Known>,
    /// Counts the scans.
    pass: u32,
}

#[derive(Debug)]
struct Known {
    stamp: Stamp,
    pass: u32,
    /// The paths by which it was reached.
    path: Arc<Path>,
    real: Arc<Path>,
    listing: Arc<Listing>,
}

/// What a folder holds that is of interest.
#[derive(Debug)]
struct Listing {
    /// Folders, and links that may be; those are marked.
    folders: Box<[(Box<OsStr>, bool)]>,
    /// Files that may hold certificates.
    files: Arc<[(Arc<OsStr>, Role)]>,
}

impl Listings {
    /// Goes through what lies below `watches`; each folder belongs to the first that reaches it.
    pub(super) fn walk<'a>(
        &mut self,
        watches: impl Iterator<Item = &'a Path>,
        links: &mut Links,
    ) -> Walked {
        self.pass = self.pass.wrapping_add(1);
        let mut walked = Walked::default();
        for (watch, path) in watches.enumerate() {
            let mut walk = Walk { listings: self, links, watch, left: MAX_ENTRIES, walked };
            walk.root(path);
            walked = walk.walked;
        }
        let pass = self.pass;
        self.known.retain(|_, known| known.pass == pass);
        walked
    }

    /// What is in a folder; `None` if this scan has been there.
    fn list(&mut self, path: &Path, real: &Path) -> io::Result<Option<&Known>> {
        let pass = self.pass;
        let before = self.known.get_mut(real.as_os_str());
        if before.as_ref().is_some_and(|known| known.pass == pass) {
            return Ok(None);
        }
        let stamp = Stamp::of(real)?;
        match before {
            Some(known) if known.stamp.still(&stamp) && *known.path == *path => {
                known.pass = pass;
            }
            _ => {
                let listing = Listing::read(real)?.into();
                let real_path: Arc<Path> = real.into();
                let path = if path == real { real_path.clone() } else { path.into() };
                let known = Known { stamp, pass, path, real: real_path, listing };
                self.known.insert(real.as_os_str().into(), known);
            }
        }
        Ok(self.known.get(real.as_os_str()))
    }
}

impl Listing {
    fn read(folder: &Path) -> io::Result<Self> {
        let mut folders = Vec::new();
        let mut files = Vec::new();
        for entry in fs::read_dir(folder)?.take(MAX_ENTRIES) {
            let entry = entry?;
            let name = entry.file_name();
            let kind = entry.file_type()?;
            let hidden = name.as_encoded_bytes().starts_with(b".");
            if kind.is_dir() && !hidden {
                folders.push((name.into_boxed_os_str(), false));
            } else if let Some(role) = layout::role(folder, &name) {
                files.push((name.into(), role));
            } else if kind.is_symlink() && !hidden {
                folders.push((name.into_boxed_os_str(), true));
            }
        }
        folders.sort();
        files.sort();
        Ok(Listing { folders: folders.into(), files: files.into() })
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
            Ok(followed) if followed.metadata.is_dir() => match self.links.folder(path) {
                Ok(real) => self.folder(path, &real, 0),
                Err(error) => self.unseen(path, What::of(&error)),
            },
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
            path: folder.into(),
            real,
            watch: self.watch,
            files: [(name.into(), role)].into(),
        });
    }

    fn folder(&mut self, path: &Path, real: &Path, depth: usize) {
        let (folder, listing) = match self.listings.list(path, real) {
            Ok(Some(known)) => {
                let (path, real) = (known.path.clone(), known.real.clone());
                let files = known.listing.files.clone();
                (Folder { path, real, watch: self.watch, files }, known.listing.clone())
            }
            Ok(None) => return,
            Err(error) => return self.unseen(path, What::of(&error)),
        };
        let count = listing.files.len() + listing.folders.len();
        if count > self.left {
            return self.unseen(path, What::TooManyEntries { limit: MAX_ENTRIES });
        }
        self.left -= count;
        // What a client keeps inside of a certificate's folder is its own business: older
        // certificates, half-made ones, the parts of a chain.
        let is_lineage =
            listing.files.iter().any(|(_, role)| matches!(role, Role::Whole(_) | Role::Lineage(_)));
        if depth < MAX_DEPTH && (depth == 0 || !is_lineage) {
            for (name, is_link) in &listing.folders {
                let path = path.join(&**name);
                if *is_link {
                    self.link(&path, depth + 1);
                } else if *folder.path == *folder.real {
                    self.folder(&path, &path, depth + 1);
                } else {
                    self.folder(&path, &real.join(&**name), depth + 1);
                }
            }
        }
        self.walked.folders.push(folder);
    }

    fn link(&mut self, path: &Path, depth: usize) {
        match self.links.folder(path) {
            // A link to a file, by a name that is no certificate's.
            Ok(real) if !real.is_dir() => {}
            Ok(real) => self.folder(path, &real, depth),
            // A link that leads nowhere: nothing is hidden there.
            Err(error) if matches!(What::of(&error), What::Missing | What::LinkLoop) => {}
            Err(error) => self.unseen(path, What::of(&error)),
        }
    }

    fn unseen(&mut self, path: &Path, what: What) {
        self.walked.unseen.push(path.into());
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
