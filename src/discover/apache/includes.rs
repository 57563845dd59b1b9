//! `Include` and `IncludeOptional`: files, folders with all that is in them, and patterns.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::read::{Place, Walk};
use crate::discover::include;
use crate::discover::model::Origin;
use crate::discover::problem::{Problem, What};
use crate::discover::sources::Source;

/// Folders are gone into this deep, as by Apache.
const MAX_FOLDERS: usize = 20;

impl Walk<'_> {
    /// Reads what `word` names into `place`.
    pub(super) fn include(
        &mut self,
        word: &[u8],
        optional: bool,
        origin: &Origin,
        place: &mut Place,
    ) {
        let path = self.paths.resolve(word).ours;
        if !include::is_pattern(word) {
            if optional && !path.exists() {
                return self.found.sources.push(Source::look(path));
            }
            return self.include_one(&path, origin, place, 0);
        }
        let matches = include::matches(&path);
        for folder in matches.folders {
            self.found.sources.push(Source::look(folder));
        }
        for (folder, error) in matches.failures {
            self.found.faults.push(Problem::new(folder.clone(), What::of(&error)));
            self.found.sources.push(Source { path: folder.into(), stamp: None });
        }
        if matches.files.is_empty() && !optional {
            let what = What::IncludeNothing(path.to_path_buf());
            self.found.faults.push(Problem::at(origin, what));
        }
        for file in matches.files {
            self.include_one(&file, origin, place, 0);
        }
    }

    /// Reads a file, or all files in a folder and below it.
    fn include_one(&mut self, path: &Path, origin: &Origin, place: &mut Place, depth: usize) {
        if !path.is_dir() {
            return self.file(path, Some(origin), place);
        }
        self.found.sources.push(Source::look(path));
        let inside = match list(path) {
            Ok(_) if depth >= MAX_FOLDERS => Err(What::IncludeDepth(MAX_FOLDERS)),
            Ok(inside) => Ok(inside),
            Err(error) => Err(What::of(&error)),
        };
        match inside {
            Ok(inside) => {
                for one in inside {
                    self.include_one(&one, origin, place, depth + 1);
                }
            }
            Err(why) => self.found.faults.push(Problem::at(origin, What::included(path, why))),
        }
    }
}

/// What is in a folder, in the order of its names.
fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(folder)? {
        paths.push(entry?.path());
    }
    paths.sort_unstable();
    Ok(paths)
}
