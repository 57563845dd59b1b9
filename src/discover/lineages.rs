//! Which files belong to one lineage: several files of one leaf, the files of one folder.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::layout::{self, Role};
use super::names::LineageKey;
use crate::pki::Certificate;

/// A file of a folder that holds certificates, the first of them taken for a leaf.
#[derive(Clone, Debug)]
pub(super) struct LeafFile {
    pub(super) name: OsString,
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
    /// What to call it, the best name first; the last resort is last.
    pub(super) names: Vec<String>,
    /// The one to be believed first, then the others.
    pub(super) files: Vec<LeafFile>,
}

/// Sorts the leaf files of `folder` into lineages.
pub(super) fn group(folder: &Path, mut files: Vec<LeafFile>) -> Vec<Group> {
    // The whole chain first, then the plainest name: `www.pem` before `www-old.pem`.
    files.sort_by_cached_key(|file| {
        (file.role, file.chain.len() < 2, file.name.len(), file.name.clone())
    });
    let mut groups: Vec<Group> = Vec::new();
    // Where a lineage's files begin, by fingerprint and by stem: folders may hold thousands.
    let mut by_leaf = std::collections::HashMap::new();
    let mut by_stem = std::collections::HashMap::new();
    for file in files {
        let stem = match file.role {
            Role::Lineage(_) => None,
            Role::Any => Some(layout::stem(&file.name)),
        };
        let same_stem = by_stem.get(&stem).copied();
        let kin = same_stem.filter(|place: &usize| succeeds(&groups[*place].files[0], &file));
        let home = by_leaf.get(&file.leaf().fingerprint()).copied().or(kin);
        let place = home.unwrap_or_else(|| {
            let first_of_stem = same_stem.is_none();
            groups.push(Group::begin(folder, stem.as_deref(), first_of_stem, &file));
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
    fn begin(folder: &Path, stem: Option<&str>, first_of_stem: bool, file: &LeafFile) -> Self {
        let folder_name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let file_name = layout::stem(&file.name);
        let (path, names): (PathBuf, _) = match stem {
            // The slash keeps `www/` apart from `www.pem` beside it.
            None if first_of_stem => (folder.join(""), vec![folder_name, file_name]),
            Some(stem) if first_of_stem => (folder.join(stem), vec![file_name, folder_name]),
            _ => {
                let whole = file.name.to_string_lossy().into_owned();
                (folder.join(&file.name), vec![whole, folder_name])
            }
        };
        Group { key: LineageKey::of(&path), names, files: Vec::new() }
    }

    /// What to call it where `server_names` are known too.
    pub(super) fn wanted_name(&self, server_name: Option<&str>) -> String {
        let telling = |name: &&str| layout::is_telling(name);
        let own = self.names.first().map(String::as_str).filter(telling);
        let other = self.names.get(1).map(String::as_str).filter(telling);
        let last = self.names.iter().find(|name| !name.is_empty());
        let last = last.map(String::as_str);
        own.or(server_name).or(other).or(last).unwrap_or("certificate").to_owned()
    }
}
