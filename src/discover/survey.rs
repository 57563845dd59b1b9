//! Brings together the files that may hold certificates: those of watched folders and those that
//! servers name, each once however many links lead to it.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::files::{Certificates, Content, FileId, Stamp};
use super::folders::{self, Walked};
use super::layout::{self, Role};
use super::links::{Followed, Links, Lost, Step};
use super::problem::{Problem, What};
use super::scan::Watched;
use crate::pki::Certificate;

/// A folder with the files of interest in it.
#[derive(Debug)]
pub(super) struct FolderSurvey {
    /// As the watch or the first server that names a file in it spells it.
    pub(super) path: Arc<Path>,
    real: Arc<Path>,
    /// The watch it belongs to, by its place in the settings.
    pub(super) watch: Option<usize>,
    /// Those from a watch come first, in the order of their names.
    pub(super) files: Vec<FileSurvey>,
    listed: usize,
}

/// One file.
#[derive(Debug)]
pub(super) struct FileSurvey {
    pub(super) name: Arc<OsStr>,
    pub(super) role: Role,
    /// A server presents it: its first certificate is a leaf whatever it says of itself.
    pub(super) presented: bool,
    looked: Looked,
}

/// How far a file was looked into.
#[derive(Clone, Copy, Debug)]
enum Looked {
    NotYet,
    /// It cannot be reached.
    Lost,
    Read(FileId),
}

/// Where a file is in a survey: its folder, and its place there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Spot {
    folder: u32,
    file: u32,
}

impl Spot {
    pub(super) fn new(folder: usize, file: usize) -> Self {
        Spot { folder: number(folder), file: number(file) }
    }
}

/// All that was found to look into.
#[derive(Debug)]
pub(super) struct Survey<'a> {
    pub(super) folders: Vec<FolderSurvey>,
    by_real: HashMap<Arc<Path>, u32>,
    certificates: &'a mut Certificates,
    links: Links,
    /// Files that are there and cannot be used, as they are spelled.
    pub(super) unread: BTreeSet<PathBuf>,
    /// Folders that are there, or were, and could not be looked at.
    pub(super) unseen: Vec<Arc<Path>>,
    pub(super) watch: Vec<Arc<Path>>,
    pub(super) problems: Vec<Problem>,
}

impl<'a> Survey<'a> {
    /// Begins with what lies in watched folders.
    pub(super) fn new(walked: Walked, links: Links, certificates: &'a mut Certificates) -> Self {
        certificates.begin();
        let mut survey = Survey {
            folders: Vec::with_capacity(walked.folders.len()),
            by_real: HashMap::with_capacity(walked.folders.len()),
            certificates,
            links,
            unread: BTreeSet::new(),
            unseen: walked.unseen,
            watch: Vec::with_capacity(walked.folders.len() * 2),
            problems: walked.problems,
        };
        for folder in walked.folders {
            let file = |(name, role): &(Arc<OsStr>, Role)| FileSurvey {
                name: name.clone(),
                role: *role,
                presented: false,
                looked: Looked::NotYet,
            };
            survey.watch.push(folder.path.clone());
            let files: Vec<_> = folder.files.iter().map(file).collect();
            survey.folder(folder.path, folder.real, Some(folder.watch), files);
        }
        survey
    }

    /// Takes in a certificate file that a server names, and says where it is in the survey: a link
    /// into a watched folder is the file there.
    pub(super) fn present(&mut self, path: &Path) -> Option<Spot> {
        let spot = match self.known(path) {
            Some(spot) => spot,
            None => match self.links.follow(path) {
                Ok(followed) => self.place(path, followed)?,
                Err(lost) => {
                    self.lost(path, lost);
                    return None;
                }
            },
        };
        self.file_mut(spot).presented = true;
        Some(spot)
    }

    /// A file of a watched folder that needs no following of links to be known.
    fn known(&mut self, path: &Path) -> Option<Spot> {
        let folder = self.links.folder(path.parent()?).ok()?;
        self.watched(&Step { folder, name: path.file_name()?.to_owned() })
    }

    fn place(&mut self, path: &Path, followed: Followed) -> Option<Spot> {
        if let Some(spot) = followed.steps.iter().find_map(|step| self.watched(step)) {
            self.watch_steps(followed.steps);
            return Some(spot);
        }
        let step = followed.steps.first()?;
        let (real, name) = (step.folder.clone(), Arc::<OsStr>::from(&*step.name));
        let folder = path.parent()?;
        let at = self.folder(folder.into(), real, None, Vec::new());
        let files = &self.folders[at as usize].files;
        if let Some(file) = files.iter().position(|file| file.name == name) {
            return Some(Spot { folder: at, file: number(file) });
        }
        let role = layout::role(folder, &name).unwrap_or(Role::Any);
        let looked = self.reached(path, followed);
        Some(self.put(at, FileSurvey { name, role, presented: false, looked }))
    }

    /// Takes in a file of CA certificates that is trusted to hold issuers.
    pub(super) fn bundle(&mut self, path: &Path) -> Option<FileId> {
        match self.links.follow(path) {
            Ok(followed) => match self.reached(path, followed) {
                Looked::Read(id) => Some(id),
                Looked::Lost | Looked::NotYet => None,
            },
            Err(lost) => {
                self.lost(path, lost);
                None
            }
        }
    }

    /// Watches a file of a server's configuration and the links that lead to it.
    pub(super) fn source(&mut self, path: &Arc<Path>) {
        let steps = match self.links.follow(path) {
            Ok(followed) => followed.steps,
            Err(lost) => lost.steps,
        };
        self.watch.push(path.clone());
        let places = steps.iter().map(Step::path).filter(|place| **place != **path);
        self.watch.extend(places.map(Arc::from));
    }

    /// Reads the files; `proven` tells whether the issuer of a leaf is known.
    ///
    /// Where a folder's own chain is whole, the other files of its certificate are left alone.
    pub(super) fn read(&mut self, proven: impl Fn(&Certificate) -> bool) {
        for at in 0..self.folders.len() {
            let files = &self.folders[at].files;
            let whole = files.iter().any(|file| matches!(file.role, Role::Whole(_)));
            self.look(at, |file| match file.role {
                Role::Whole(_) | Role::Any => true,
                Role::Lineage(_) => !whole || file.presented,
                Role::Issuer => file.presented,
            });
        }
        self.certificates.load();
        for at in 0..self.folders.len() {
            if !self.is_clear(at, &proven) {
                self.issuer_files(at);
                self.look(at, |_| true);
            }
        }
        self.certificates.load();
        self.certificates.end();
    }

    /// Whether all leaves in a folder, and there is one, come with a chain or a known issuer.
    fn is_clear(&self, at: usize, proven: impl Fn(&Certificate) -> bool) -> bool {
        let mut leaves = 0;
        for file in &self.folders[at].files {
            match self.content(file) {
                Some(Content::Chain(chain)) if chain.len() < 2 && !proven(&chain[0]) => {
                    return false;
                }
                Some(Content::Chain(_)) => leaves += 1,
                Some(Content::Bad(_)) if matches!(file.role, Role::Whole(_)) => return false,
                _ => {}
            }
        }
        leaves > 0
    }

    /// What a file holds, if it was read.
    pub(super) fn content(&self, file: &FileSurvey) -> Option<&Content> {
        match file.looked {
            Looked::Read(id) => Some(self.certificates.get(id)),
            Looked::NotYet | Looked::Lost => None,
        }
    }

    /// What a bundle holds.
    pub(super) fn bundled(&self, id: FileId) -> &Content {
        self.certificates.get(id)
    }

    /// Everything to watch, at the end of the survey.
    pub(super) fn into_watch(mut self) -> (Watched, Vec<Problem>) {
        self.watch.append(&mut self.links.folder_links);
        (self.watch.into_iter().collect(), self.problems)
    }

    /// Wants those files of a folder that `wanted` picks and nobody has looked at.
    fn look(&mut self, at: usize, wanted: impl Fn(&FileSurvey) -> bool) {
        for file in 0..self.folders[at].files.len() {
            let folder = &self.folders[at];
            let it = &folder.files[file];
            if !matches!(it.looked, Looked::NotYet) || !wanted(it) {
                continue;
            }
            let (name, presented) = (it.name.clone(), it.presented);
            let path = || folder.path.join(&*name);
            let looked = match self.links.follow_in(&folder.real, &name) {
                Ok(followed) if followed.metadata.is_dir() => Looked::Lost,
                Ok(followed) => {
                    let path = path();
                    self.reached(&path, followed)
                }
                // A link whose target is gone for the moment, or for good, is no news.
                Err(lost) if !presented && matches!(What::of(&lost.error), What::Missing) => {
                    self.watch_steps(lost.steps);
                    Looked::Lost
                }
                Err(lost) => {
                    let path = path();
                    self.lost(&path, lost)
                }
            };
            self.folders[at].files[file].looked = looked;
        }
    }

    /// Puts in the files that may hold the issuers of leaves which only a server names.
    fn issuer_files(&mut self, at: usize) {
        if self.folders[at].watch.is_some() {
            return;
        }
        let stems: Vec<_> =
            self.folders[at].files.iter().map(|file| layout::stem(&file.name)).collect();
        for name in stems.iter().flat_map(|stem| folders::issuer_files(stem)) {
            let folder = &self.folders[at];
            let there = folder.files.iter().any(|file| *file.name == *name);
            if !there && folder.real.join(&name).exists() {
                let name = name.into();
                let looked = Looked::NotYet;
                let at = number(at);
                self.put(at, FileSurvey { name, role: Role::Issuer, presented: false, looked });
            }
        }
    }

    fn folder(
        &mut self,
        path: Arc<Path>,
        real: Arc<Path>,
        watch: Option<usize>,
        files: Vec<FileSurvey>,
    ) -> u32 {
        let next = number(self.folders.len());
        let at = *self.by_real.entry(real.clone()).or_insert(next);
        if at == next {
            let listed = files.len();
            self.folders.push(FolderSurvey { path, real, watch, files, listed });
        }
        at
    }

    fn put(&mut self, folder: u32, file: FileSurvey) -> Spot {
        let files = &mut self.folders[folder as usize].files;
        files.push(file);
        Spot { folder, file: number(files.len() - 1) }
    }

    fn file_mut(&mut self, spot: Spot) -> &mut FileSurvey {
        &mut self.folders[spot.folder as usize].files[spot.file as usize]
    }

    /// Where a file of a watched folder is.
    fn watched(&self, step: &Step) -> Option<Spot> {
        let at = *self.by_real.get(&step.folder)?;
        let folder = &self.folders[at as usize];
        folder.watch?;
        let listed = &folder.files[..folder.listed];
        let place = listed.binary_search_by(|file| (*file.name).cmp(&step.name)).ok()?;
        Some(Spot { folder: at, file: number(place) })
    }

    fn reached(&mut self, path: &Path, followed: Followed) -> Looked {
        if !followed.metadata.is_file() {
            self.unread.insert(path.to_owned());
            self.problems.push(Problem::new(path, What::NotAFile));
            return Looked::Lost;
        }
        let id = self.certificates.want(followed.real(), Stamp::new(&followed.metadata));
        self.watch_steps(followed.steps);
        Looked::Read(id)
    }

    fn lost(&mut self, path: &Path, lost: Lost) -> Looked {
        let what = What::of(&lost.error);
        if what != What::Missing {
            self.unread.insert(path.to_owned());
        }
        self.problems.push(Problem::new(path, what));
        self.watch_steps(lost.steps);
        Looked::Lost
    }

    /// Watches the folders that files and links lie in; of folders that everybody writes to, only
    /// the entries themselves.
    fn watch_steps(&mut self, steps: Vec<Step>) {
        for step in steps {
            let own = step.folder.components().nth(2).is_some();
            let place = if own { step.folder } else { step.path().into() };
            if self.watch.last().is_none_or(|last| *last != place) {
                self.watch.push(place);
            }
        }
    }
}

fn number(place: usize) -> u32 {
    u32::try_from(place).expect("fewer files and folders than that")
}
