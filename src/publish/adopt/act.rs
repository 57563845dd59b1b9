//! Carrying the steps out, as root.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, symlinkat, unlinkat};

use super::folder::{follow, of_staples, open_folder};
use super::{AdoptStep, Filling, Refusal, TRY_LATER};
use crate::files;

/// Why a step was not done.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// The system refuses; the cause is its source.
    #[error("cannot change {}", path.display())]
    System {
        /// What was to be changed.
        path: PathBuf,
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// Since the plan was made, somebody else got a hand in.
    #[error("{}: {why}", path.display())]
    Refused {
        /// What was to be changed.
        path: PathBuf,
        /// Why it is not.
        why: Refusal,
    },
    /// A step that this one needs was not done.
    #[error("{} is left as it is, since {} could not be filled", path.display(), needs.display())]
    Skipped {
        /// What was to be changed.
        path: PathBuf,
        /// What should have been there.
        needs: PathBuf,
    },
}

impl ActError {
    /// What the operator can do.
    pub fn hint(&self) -> Option<&'static str> {
        let ActError::System { source, .. } = self else { return None };
        (source.kind() == io::ErrorKind::PermissionDenied).then_some("run this as root")
    }
}

/// Does the steps in their order and tells of each: a failure costs only its target. Doing them twice
/// changes nothing.
pub fn carry_out(steps: &[AdoptStep]) -> Vec<Result<(), ActError>> {
    let mut unfilled = Vec::new();
    let outcomes = steps.iter().map(|step| match step {
        AdoptStep::Leave { .. } | AdoptStep::Refuse { .. } => Ok(()),
        AdoptStep::MakeFolder(folder) => make(folder),
        AdoptStep::Fill { staple, with } => fill(staple, with).inspect_err(|_| {
            unfilled.push(staple.clone());
        }),
        AdoptStep::Link { path, staple } if unfilled.contains(staple) => {
            Err(ActError::Skipped { path: path.clone(), needs: staple.clone() })
        }
        AdoptStep::Link { path, staple } => link(path, staple),
    });
    outcomes.collect()
}

fn make(folder: &Path) -> Result<(), ActError> {
    let fail = failing(folder);
    still_roots(folder)?;
    match DirBuilder::new().mode(0o755).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        outcome => outcome.map_err(&fail)?,
    }
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).map_err(fail)
}

/// Puts a file into the folder of staples, for its owner. That one could put a link in our way, so
/// the folder is opened once and no name in it is followed.
fn fill(staple: &Path, with: &Filling) -> Result<(), ActError> {
    let bytes = match with {
        Filling::Placeholder => &TRY_LATER[..],
        Filling::From { bytes, .. } | Filling::Held(bytes) => bytes,
    };
    // The plan named it without links: one on the way was put there since.
    place(staple, files::folder_of(staple), |folder, temporary| {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW;
        let mode = Mode::from_bits_truncate(0o644);
        let mut file = File::from(openat(folder, temporary, flags | OFlag::O_CLOEXEC, mode)?);
        let owner = File::from(folder.try_clone()?).metadata()?;
        file.write_all(bytes)?;
        fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
        file.set_permissions(fs::Permissions::from_mode(0o644))?;
        file.sync_all()
    })
}

/// Puts a file called `name` into a folder of the agent's, as one of his, with the care that a staple is put
/// there with.
///
/// # Errors
/// The folder is missing, may not be written, or somebody else than root led it elsewhere.
pub fn leave(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), ActError> {
    let refused = |why| ActError::Refused { path: folder.to_owned(), why };
    let place = of_staples(folder).map_err(refused)?.join(name);
    fill(&place, &Filling::Held(bytes.to_owned()))
}

fn link(path: &Path, staple: &Path) -> Result<(), ActError> {
    let folder = still_roots(path)?;
    place(path, &folder, |folder, temporary| Ok(symlinkat(staple, folder, temporary)?))
}

/// Makes something under a temporary name in `folder`, a path without links, then gives it the name of
/// `path`, durably.
fn place(
    path: &Path,
    folder: &Path,
    make: impl FnOnce(&OwnedFd, &Path) -> io::Result<()>,
) -> Result<(), ActError> {
    let attempt = || {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let temporary = files::temporary_name();
        let folder = open_folder(folder)?;
        let made = make(&folder, &temporary)
            .and_then(|()| Ok(renameat(&folder, &temporary, &folder, Path::new(name))?));
        if made.is_err() {
            let _ = unlinkat(&folder, &temporary, UnlinkatFlags::NoRemoveDir);
        }
        made?;
        File::from(folder).sync_all()
    };
    attempt().map_err(failing(path))
}

/// Looks again, right before root acts: the folder without links.
fn still_roots(path: &Path) -> Result<PathBuf, ActError> {
    let refused = |why| ActError::Refused { path: path.to_owned(), why };
    let way = follow(files::folder_of(path)).map_err(refused)?;
    way.verdict.map(|()| way.end).map_err(refused)
}

fn failing(path: &Path) -> impl Fn(io::Error) -> ActError {
    let path = path.to_owned();
    move |source| ActError::System { path: path.clone(), source }
}
