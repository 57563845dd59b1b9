//! Which files belong to one lineage: several files of one leaf, the files of one folder.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

use super::layout::{self, Role};
use super::names::LineageKey;
use super::survey::Spot;
use crate::pki::Certificate;

/// A file of a folder that holds certificates, the first of them taken for a leaf.
#[derive(Clone, Debug)]
pub(super) struct LeafFile {
    pub(super) spot: Spot,
    pub(super) name: Arc<OsStr>,
    pub(super) role: Role,
    pub(super) chain: Arc<[Arc<Certificate>]>,
}

impl LeafFile {
    pub(super) fn leaf(&self) -> &Arc<Certificate> {
        &self.chain[0]
    }
}

/// Files that hold one certificate after another, together.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) key: LineageKey,
    kind: Kind,
    /// The one to be believed first, then the others.
    pub(super) files: Vec<LeafFile>,
}

/// What a lineage is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Its folder.
    Folder,
    /// What its files' names have in common.
    Stem,
    /// One file, since another lineage has the folder or the stem.
    File,
}

/// Sorts the leaf files of `folder` into lineages.
pub(super) fn group(folder: &Path, mut files: Vec<LeafFile>) -> Vec<Group> {
    // The whole chain first, then the plainest name: `www.pem` before `www-old.pem`.
    files.sort_by_cached_key(|file| {
        (file.role, file.chain.len() < 2, file.name.len(), file.name.clone())
    });
    let mut groups: Vec<Group> = Vec::new();
    // Which lineage has a fingerprint, or a stem: folders may hold thousands.
    let mut by_leaf = HashMap::new();
    let mut by_stem = HashMap::new();
    for file in files {
        let stem = match file.role {
            Role::Whole(_) | Role::Lineage(_) => None,
            Role::Any | Role::Issuer => Some(layout::stem(&file.name)),
        };
        let same_stem = by_stem.get(&stem).copied();
        let kin = same_stem.filter(|place: &usize| succeeds(&groups[*place].files[0], &file));
        let home = by_leaf.get(&file.leaf().fingerprint()).copied().or(kin);
        let place = home.unwrap_or_else(|| {
            groups.push(Group::begin(folder, stem.as_deref(), same_stem.is_none(), &file.name));
            groups.len() - 1
        });
        by_leaf.entry(file.leaf().fingerprint()).or_insert(place);
        by_stem.entry(stem).or_insert(place);
        groups[place].files.push(file);
    }
    groups
}

/// Whether two files of one stem hold an older and a newer certificate of one lineage, as they do
/// while a client replaces them one by one. Others that share a stem are told apart by their names.
fn succeeds(one: &LeafFile, other: &LeafFile) -> bool {
    let sorted = |file: &LeafFile| {
        let mut names = file.leaf().names();
        names.sort();
        names
    };
    one.leaf().key_type() == other.leaf().key_type() && sorted(one) == sorted(other)
}

impl Group {
    fn begin(folder: &Path, stem: Option<&str>, first_of_stem: bool, name: &OsStr) -> Self {
        let (kind, path) = match stem {
            // The slash keeps `www/` apart from `www.pem` beside it.
            None if first_of_stem => (Kind::Folder, folder.join("")),
            Some(stem) if first_of_stem => (Kind::Stem, folder.join(stem)),
            _ => (Kind::File, folder.join(name)),
        };
        Group { key: LineageKey::of(&path), kind, files: Vec::new() }
    }

    /// What to call it: by its folder or file, unless a server's name says more.
    pub(super) fn wanted_name(&self, folder: &Path, server_name: Option<&str>) -> String {
        let folder = folder.file_name().unwrap_or_default().to_string_lossy();
        let file = &self.files[0].name;
        let stem = layout::stem(file);
        let whole = file.to_string_lossy();
        let (own, other) = match self.kind {
            Kind::Folder => (&*folder, &*stem),
            Kind::Stem => (&*stem, &*folder),
            Kind::File => (&*whole, &*folder),
        };
        let telling = |name: &&str| layout::is_telling(name);
        let name = Some(own).filter(telling).or(server_name).or(Some(other).filter(telling));
        name.unwrap_or(if own.is_empty() { other } else { own }).to_owned()
    }
}
