//! Symbolic links, followed one at a time: a change of any of them changes what a path means.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
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
    folders: HashMap<Box<OsStr>, Result<Arc<Path>, Errno>>,
    /// Every link that stands for a folder in some path, by its real place.
    pub(super) folder_links: Vec<Arc<Path>>,
}

/// An entry of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// The real path of the folder.
    pub(super) folder: Arc<Path>,
    pub(super) name: OsString,
}

impl Step {
    pub(super) fn path(&self) -> PathBuf {
        self.folder.join(&self.name)
    }
}

/// Where a path leads.
#[derive(Debug)]
pub(super) struct Followed {
    /// The path, then each link's target. The last is no link.
    pub(super) steps: Vec<Step>,
    /// Of the last.
    pub(super) metadata: Metadata,
}

impl Followed {
    /// The file itself.
    pub(super) fn real(&self) -> PathBuf {
        self.steps.last().expect("there is the path itself").path()
    }
}

/// A path that leads nowhere.
#[derive(Debug)]
pub(super) struct Lost {
    /// As far as it could be followed.
    pub(super) steps: Vec<Step>,
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
        let begun = self.place(path).and_then(|step| self.walk(step, &mut steps));
        Links::told(begun, steps)
    }

    /// Follows the entry `name` of the folder whose real path is `folder`.
    ///
    /// # Errors
    /// With the steps up to the one that cannot be taken.
    pub(super) fn follow_in(&mut self, folder: &Arc<Path>, name: &OsStr) -> Result<Followed, Lost> {
        let mut steps = Vec::with_capacity(2);
        let step = Step { folder: folder.clone(), name: name.to_owned() };
        let walked = self.walk(step, &mut steps);
        Links::told(walked, steps)
    }

    fn told(walked: io::Result<Metadata>, steps: Vec<Step>) -> Result<Followed, Lost> {
        match walked {
            Ok(metadata) => Ok(Followed { steps, metadata }),
            Err(error) => Err(Lost { steps, error }),
        }
    }

    fn walk(&mut self, mut step: Step, steps: &mut Vec<Step>) -> io::Result<Metadata> {
        for _ in 0..MAX_LINKS {
            let place = step.path();
            let folder = step.folder.clone();
            steps.push(step);
            let metadata = fs::symlink_metadata(&place)?;
            if !metadata.is_symlink() {
                return Ok(metadata);
            }
            step = self.place(&target(&folder, &fs::read_link(&place)?))?;
        }
        Err(Errno::ELOOP.into())
    }

    /// Splits a path into its real folder and what is in it.
    fn place(&mut self, path: &Path) -> io::Result<Step> {
        match path.components().next_back() {
            Some(Component::Normal(name)) => {
                let folder = self.folder(path.parent().unwrap_or(Path::new("/")))?;
                Ok(Step { folder, name: name.to_owned() })
            }
            _ => {
                let folder = self.folder(path)?;
                Ok(Step { folder, name: OsString::from(".") })
            }
        }
    }

    /// The real path of a folder.
    ///
    /// # Errors
    /// It is missing, may not be passed through, or its links lead round in a circle.
    pub(super) fn folder(&mut self, path: &Path) -> io::Result<Arc<Path>> {
        self.real(path, 0).map_err(io::Error::from)
    }

    fn real(&mut self, path: &Path, links: usize) -> Result<Arc<Path>, Errno> {
        if let Some(known) = self.folders.get(path.as_os_str()) {
            return known.clone();
        }
        let found = self.look(path, links);
        if found != Err(Errno::ELOOP) {
            self.folders.insert(path.as_os_str().into(), found.clone());
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
                let target = target(&folder, &fs::read_link(&place).map_err(errno)?);
                self.folder_links.push(place.into());
                self.real(&target, links + 1)
            }
        }
    }
}

/// Where a link in `folder` leads. `folder` is real, so `..` at the beginning goes straight up.
fn target(folder: &Path, link: &Path) -> PathBuf {
    let (mut folder, mut link) = (folder, link);
    while let (Ok(rest), Some(above)) = (link.strip_prefix(".."), folder.parent()) {
        (folder, link) = (above, rest);
    }
    folder.join(link)
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
        let places: Vec<_> = followed.steps.iter().map(Step::path).collect();
        assert_eq!(places, steps.map(at));
        assert_eq!(links.folder_links, [at("current").into()]);

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
