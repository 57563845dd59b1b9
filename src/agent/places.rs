//! Where paths lead: ten thousand targets lie in a few folders, which are looked up once.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Folders that were looked up.
#[derive(Debug, Default)]
pub(super) struct Folders {
    /// Their real paths; none for those that do not exist.
    real: HashMap<PathBuf, Option<PathBuf>>,
}

impl Folders {
    /// The file that a path leads to, over links; the file itself need not exist.
    pub(super) fn resolve(&mut self, path: &Arc<Path>) -> Arc<Path> {
        let Some(place) = self.real_place(path) else { return path.clone() };
        let Ok(end) = fs::read_link(&place) else {
            // Mostly it leads to itself: one path is kept, not two.
            return if place == **path { path.clone() } else { place.into() };
        };
        if let Ok(found) = place.canonicalize() {
            return found.into();
        }
        // A link into `staples/` whose file is still missing.
        let end = place.parent().unwrap_or(Path::new("/")).join(end);
        self.real_place(&end).unwrap_or(end).into()
    }

    /// The path with the links of its folder followed, not its own.
    fn real_place(&mut self, path: &Path) -> Option<PathBuf> {
        let (folder, name) = (path.parent()?, path.file_name()?);
        if !self.real.contains_key(folder) {
            self.real.insert(folder.to_owned(), folder.canonicalize().ok());
        }
        Some(self.real[folder].as_ref()?.join(name))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_are_followed_to_files_that_are_there_or_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().canonicalize().expect("it is there");
        let at = |name: &str| root.join(name);
        fs::create_dir(at("real")).expect("ours");
        fs::write(at("real/file"), "").expect("ours");
        symlink("real", at("folder")).expect("ours");
        symlink("folder/file", at("link")).expect("ours");
        symlink("folder/missing", at("dangling")).expect("ours");
        let mut folders = Folders::default();
        for (path, end) in [
            ("real/file", "real/file"),
            ("folder/file", "real/file"),
            ("folder/missing", "real/missing"),
            ("link", "real/file"),
            ("dangling", "real/missing"),
            ("nowhere/file", "nowhere/file"),
        ] {
            assert_eq!(*folders.resolve(&at(path).into()), *at(end), "{path}");
        }
    }
}
