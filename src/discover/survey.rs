//! Brings together the files that may hold certificates: those of watched folders and those that
//! servers name, each once however many links lead to it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::files::Stamp;
use super::folders::{self, Walked};
use super::layout::{self, Role};
use super::links::{Followed, Links};
use super::problem::{Problem, What};

/// A folder with the files of interest in it.
#[derive(Debug)]
pub(super) struct FolderSurvey {
    /// As the watch or the first server that names a file in it spells it.
    pub(super) path: PathBuf,
    /// The watch it belongs to, by its place in the settings.
    pub(super) watch: Option<usize>,
    pub(super) files: BTreeMap<OsString, FileSurvey>,
}

/// One file.
#[derive(Debug)]
pub(super) struct FileSurvey {
    pub(super) role: Role,
    /// The file itself; `None` where it cannot be reached.
    pub(super) real: Option<Arc<Path>>,
    /// A server presents it: its first certificate is a leaf whatever it says of itself.
    pub(super) presented: bool,
}

/// Where a file is in a survey: its folder, and its name there.
pub(super) type Spot = (usize, OsString);

/// All that was found to look into.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub(super) folders: Vec<FolderSurvey>,
    by_real: HashMap<Arc<Path>, usize>,
    /// Files that were reached, with what they were like.
    pub(super) files: Vec<(Arc<Path>, Stamp)>,
    /// Files that are there and could not be reached, as they are spelled.
    pub(super) unread: BTreeSet<PathBuf>,
    /// Folders that are there, or were, and could not be looked at.
    pub(super) unseen: Vec<PathBuf>,
    pub(super) watch: BTreeSet<PathBuf>,
    pub(super) problems: Vec<Problem>,
}

impl Survey {
    /// Takes in what lies in watched folders.
    pub(super) fn folders(&mut self, walked: Walked, links: &mut Links) {
        self.unseen.extend(walked.unseen);
        self.problems.extend(walked.problems);
        for folder in walked.folders {
            self.watch.insert(folder.path.clone());
            let at = self.folder(&folder.path, folder.real, Some(folder.watch));
            for (name, role) in folder.files {
                let path = folder.path.join(&name);
                match links.follow(&path) {
                    Ok(followed) if followed.metadata.is_dir() => {}
                    Ok(followed) => {
                        let real = self.reached(&path, followed);
                        self.put(at, name, FileSurvey { role, real, presented: false });
                    }
                    Err(lost) => {
                        self.watch_steps(lost.steps);
                        // A link whose target is gone for the moment, or for good, is no news.
                        if !matches!(What::of(&lost.error), What::Missing) {
                            self.lost(&path, What::of(&lost.error));
                        }
                    }
                }
            }
        }
    }

    /// Takes in a certificate file that a server names, and says where it is in the survey: a link
    /// into a watched folder is the file there.
    pub(super) fn presented(&mut self, path: &Path, links: &mut Links) -> Option<Spot> {
        let followed = match links.follow(path) {
            Ok(followed) => followed,
            Err(lost) => {
                self.watch_steps(lost.steps);
                self.lost(path, What::of(&lost.error));
                return None;
            }
        };
        let spot = match followed.steps.iter().find_map(|step| self.watched(step)) {
            Some(spot) => {
                self.watch_steps(followed.steps);
                spot
            }
            None => {
                let place = followed.steps.first()?;
                let (real, name) = (place.parent()?.into(), place.file_name()?.to_owned());
                let folder = path.parent()?;
                let at = self.folder(folder, real, None);
                let role = layout::role(folder, &name).unwrap_or(Role::Any);
                let real = self.reached(path, followed);
                self.put(at, name.clone(), FileSurvey { role, real, presented: false });
                (at, name)
            }
        };
        let file = self.folders[spot.0].files.get_mut(&spot.1);
        file.expect("it was found or put there").presented = true;
        Some(spot)
    }

    /// Takes in the files beside one that a server names that may hold its issuer.
    pub(super) fn issuer_files(&mut self, at: usize, name: &OsStr, links: &mut Links) {
        let folder = self.folders[at].path.clone();
        for name in folders::issuer_files(&layout::stem(name)) {
            let path = folder.join(&name);
            if self.folders[at].files.contains_key(&name) {
                continue;
            }
            if let Ok(followed) = links.follow(&path)
                && followed.metadata.is_file()
            {
                let real = self.reached(&path, followed);
                let file = FileSurvey { role: Role::Any, real, presented: false };
                self.put(at, name, file);
            }
        }
    }

    /// Takes in a file of CA certificates that the configuration names, and gives its real path.
    pub(super) fn bundle(&mut self, path: &Path, links: &mut Links) -> Option<Arc<Path>> {
        match links.follow(path) {
            Ok(followed) => self.reached(path, followed),
            Err(lost) => {
                self.watch_steps(lost.steps);
                self.lost(path, What::of(&lost.error));
                None
            }
        }
    }

    /// Watches a file of a server's configuration and the links that lead to it.
    pub(super) fn source(&mut self, path: &Path, links: &mut Links) {
        let steps = match links.follow(path) {
            Ok(followed) => followed.steps,
            Err(lost) => lost.steps,
        };
        self.watch.insert(path.to_owned());
        self.watch.extend(steps);
    }

    fn folder(&mut self, path: &Path, real: Arc<Path>, watch: Option<usize>) -> usize {
        *self.by_real.entry(real).or_insert_with(|| {
            let files = BTreeMap::new();
            self.folders.push(FolderSurvey { path: path.to_owned(), watch, files });
            self.folders.len() - 1
        })
    }

    fn put(&mut self, folder: usize, name: OsString, file: FileSurvey) {
        self.folders[folder].files.entry(name).or_insert(file);
    }

    /// Where a file of a watched folder is, by its real folder and name.
    fn watched(&self, place: &Path) -> Option<Spot> {
        let at = *self.by_real.get(place.parent()?)?;
        let folder = &self.folders[at];
        folder.watch?;
        let (name, _) = folder.files.get_key_value(place.file_name()?)?;
        Some((at, name.clone()))
    }

    fn reached(&mut self, path: &Path, followed: Followed) -> Option<Arc<Path>> {
        if !followed.metadata.is_file() {
            self.lost(path, What::NotAFile);
            return None;
        }
        let real: Arc<Path> = followed.real().into();
        self.files.push((real.clone(), Stamp::new(&followed.metadata)));
        self.watch_steps(followed.steps);
        Some(real)
    }

    fn lost(&mut self, path: &Path, what: What) {
        if what != What::Missing {
            self.unread.insert(path.to_owned());
        }
        self.problems.push(Problem::new(path, what));
    }

    /// Watches the folders that files and links lie in; of folders that everybody writes to, only
    /// the entries themselves.
    fn watch_steps(&mut self, steps: Vec<PathBuf>) {
        for step in steps {
            let folder = step.parent().filter(|folder| folder.components().count() > 2);
            let place = folder.unwrap_or(&step);
            if !self.watch.contains(place) {
                self.watch.insert(place.to_owned());
            }
        }
    }
}
