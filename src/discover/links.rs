//! Symbolic links, followed one at a time: a change of any of them changes what a path means.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, Metadata};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;

/// As many links as the kernel would follow.
const MAX_LINKS: usize = 40;

/// Follows paths for one scan and remembers the folders on the way.
#[derive(Debug, Default)]
pub(super) struct Links {
    folders: HashMap<PathBuf, Result<Arc<Path>, Errno>>,
    /// Every link that stands for a folder in some path, by its real place.
    pub(super) folder_links: BTreeSet<PathBuf>,
}

/// Where a path leads.
#[derive(Debug)]
pub(super) struct Followed {
    /// The path, then each link's target: real folder and name. The last is no link.
    pub(super) steps: Vec<PathBuf>,
    /// Of the last.
    pub(super) metadata: Metadata,
}

impl Followed {
    /// The file itself.
    pub(super) fn real(&self) -> &Path {
        self.steps.last().expect("there is the path itself")
    }
}

/// A path that leads nowhere.
#[derive(Debug)]
pub(super) struct Lost {
    /// As far as it could be followed.
    pub(super) steps: Vec<PathBuf>,
    /// Why no further.
    pub(super) error: io::Error,
}

impl Links {
    /// Follows `path`, which is absolute, to a file or folder that is no link.
    ///
    /// # Errors
    /// With the steps up to the one that cannot be taken.
    pub(super) fn follow(&mut self, path: &Path) -> Result<Followed, Lost> {
        let mut steps = Vec::with_capacity(2);
        match self.step(path, &mut steps) {
            Ok(metadata) => Ok(Followed { steps, metadata }),
            Err(error) => Err(Lost { steps, error }),
        }
    }

    fn step(&mut self, path: &Path, steps: &mut Vec<PathBuf>) -> io::Result<Metadata> {
        let mut path = path.to_owned();
        for _ in 0..MAX_LINKS {
            let Some(Component::Normal(name)) = path.components().next_back() else {
                let folder = self.folder(&path)?;
                steps.push(folder.to_path_buf());
                return fs::symlink_metadata(&folder);
            };
            let folder = self.folder(path.parent().unwrap_or(Path::new("/")))?;
            let place = folder.join(name);
            steps.push(place.clone());
            let metadata = fs::symlink_metadata(&place)?;
            if !metadata.is_symlink() {
                return Ok(metadata);
            }
            path = folder.join(fs::read_link(&place)?);
        }
        Err(Errno::ELOOP.into())
    }

    /// The real path of a folder.
    ///
    /// # Errors
    /// It is missing, may not be passed through, or its links lead round in a circle.
    pub(super) fn folder(&mut self, path: &Path) -> io::Result<Arc<Path>> {
        self.real(path, 0).map_err(io::Error::from)
    }

    fn real(&mut self, path: &Path, links: usize) -> Result<Arc<Path>, Errno> {
        if let Some(known) = self.folders.get(path) {
            return known.clone();
        }
        let found = self.look(path, links);
        if found != Err(Errno::ELOOP) {
            self.folders.insert(path.to_owned(), found.clone());
        }
        found
    }

    fn look(&mut self, path: &Path, links: usize) -> Result<Arc<Path>, Errno> {
        if links > MAX_LINKS {
            return Err(Errno::ELOOP);
        }
        let parent = |links: &mut Links, depth| match path.parent() {
            Some(parent) => links.real(parent, depth),
            None => Ok(Path::new("/").into()),
        };
        match path.components().next_back() {
            None | Some(Component::RootDir | Component::Prefix(_) | Component::CurDir) => {
                Ok(Path::new("/").into())
            }
            Some(Component::ParentDir) => {
                let inside = parent(self, links)?;
                Ok(inside.parent().unwrap_or(Path::new("/")).into())
            }
            Some(Component::Normal(name)) => {
                let folder = parent(self, links)?;
                let place = folder.join(name);
                let errno = |error: io::Error| Errno::from_raw(error.raw_os_error().unwrap_or(0));
                if !fs::symlink_metadata(&place).map_err(errno)?.is_symlink() {
                    return Ok(place.into());
                }
                let target = folder.join(fs::read_link(&place).map_err(errno)?);
                self.folder_links.insert(place);
                self.real(&target, links + 1)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn each_step_is_told() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        fs::create_dir_all(at("archive/www")).unwrap();
        fs::create_dir_all(at("live/www")).unwrap();
        fs::write(at("archive/www/cert1.pem"), "x").unwrap();
        symlink("../../archive/www/cert1.pem", at("live/www/cert.pem")).unwrap();
        symlink("live", at("current")).unwrap();
        symlink(at("current/www/cert.pem"), at("nginx.pem")).unwrap();
        symlink("b", at("a")).unwrap();
        symlink("a", at("b")).unwrap();

        let mut links = Links::default();
        let followed = links.follow(&at("nginx.pem")).unwrap();
        let steps = ["nginx.pem", "live/www/cert.pem", "archive/www/cert1.pem"];
        assert_eq!(followed.steps, steps.map(at));
        assert_eq!(links.folder_links, BTreeSet::from([at("current")]));

        fs::remove_file(at("archive/www/cert1.pem")).unwrap();
        let lost = links.follow(&at("live/www/cert.pem")).unwrap_err();
        assert_eq!(lost.steps.len(), 2);
        assert_eq!(lost.error.kind(), io::ErrorKind::NotFound);

        for circle in ["a", "a/x"] {
            let lost = links.follow(&at(circle)).unwrap_err();
            assert_eq!(lost.error.raw_os_error(), Some(Errno::ELOOP as i32), "{circle}");
        }
        assert_eq!(&*links.folder(&at("live/www/../..")).unwrap(), root.path());
    }
}
