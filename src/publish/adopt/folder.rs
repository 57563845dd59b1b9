//! Folders that root may act in: no link is followed but root's own, where root alone could have put it.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{Gid, Uid, geteuid};

use super::Refusal;

/// As many links as Linux follows.
const MAX_LINKS: usize = 40;

/// Where a path leads.
pub(super) struct Way {
    /// The path without links, as far as there is anything.
    pub(super) end: PathBuf,
    /// Whether there is everything.
    pub(super) whole: bool,
    /// Whether root alone can change what lies there.
    pub(super) verdict: Result<(), Refusal>,
}

/// Follows a path folder by folder. A link counts only if it is root's, in a folder that root alone can
/// change, like all those before it: whoever else could put it there leads root where he likes. Who is
/// not root follows any link, since he has nothing to lend.
pub(super) fn follow(path: &Path) -> Result<Way, Refusal> {
    let unseen = |error: io::Error| Refusal::Unseen(error.to_string());
    let mut way = Way { end: PathBuf::from("/"), whole: true, verdict: Ok(()) };
    way.look()?;
    let mut rest: VecDeque<OsString> = names(path);
    let mut links = 0;
    while let Some(name) = rest.pop_front() {
        if name == ".." {
            way.end.pop();
            continue;
        }
        let next = way.end.join(&name);
        let found = match fs::symlink_metadata(&next) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                way.whole = false;
                break;
            }
            found => found.map_err(unseen)?,
        };
        if !found.is_symlink() {
            way.end = next;
            way.look()?;
            continue;
        }
        links += 1;
        if links > MAX_LINKS {
            return Err(unseen(Errno::ELOOP.into()));
        }
        if geteuid().is_root() && (way.verdict.is_err() || found.uid() != 0) {
            return Err(Refusal::OthersLink(next));
        }
        let to = fs::read_link(&next).map_err(unseen)?;
        if to.is_absolute() {
            way.end = PathBuf::from("/");
        }
        names(&to).into_iter().rev().for_each(|name| rest.push_front(name));
    }
    Ok(way)
}

impl Way {
    fn look(&mut self) -> Result<(), Refusal> {
        let found = fs::symlink_metadata(&self.end);
        let found = found.map_err(|error| Refusal::Unseen(error.to_string()))?;
        if self.verdict.is_ok() {
            self.verdict = judge(&self.end, &found);
        }
        Ok(())
    }
}

fn names(path: &Path) -> VecDeque<OsString> {
    let named = path.components().filter(|part| {
        matches!(part, Component::Normal(_) | Component::ParentDir) // "/" and "." lead nowhere else
    });
    named.map(|part| part.as_os_str().to_owned()).collect()
}

/// Whether root alone can change what lies at `folder`; where it is missing, at what there is of it.
pub(super) fn roots_alone(folder: &Path) -> Result<(), Refusal> {
    follow(folder)?.verdict
}

/// Root's own, and written to by root alone; a sticky folder lets nobody touch root's entries.
fn judge(folder: &Path, found: &Metadata) -> Result<(), Refusal> {
    let (uid, mode, folder) = (found.uid(), found.mode() & 0o7777, folder.to_owned());
    let groups = if found.gid() == 0 { 0 } else { 0o020 };
    match (uid, mode & 0o1000 == 0 && mode & (0o002 | groups) != 0) {
        (0, false) => Ok(()),
        (0, true) => Err(Refusal::OthersWrite { folder, mode }),
        _ => Err(Refusal::OtherOwner { folder, uid }),
    }
}

/// The folder of staples by its path without links. In a folder of the agent's user it may not be one.
pub(super) fn of_staples(staples: &Path) -> Result<PathBuf, Refusal> {
    let way = follow(staples)?;
    let missing = || Refusal::Unseen(format!("{} does not exist", staples.display()));
    way.whole.then_some(way.end).ok_or_else(missing)
}

/// Opens a folder by a path that has no link in it (any more).
pub(super) fn open_folder(folder: &Path) -> io::Result<OwnedFd> {
    let mut opened = open("/", flags() | OFlag::O_PATH, Mode::empty())?;
    for name in names(folder) {
        opened = openat(&opened, name.as_os_str(), flags() | OFlag::O_PATH, Mode::empty())?;
    }
    Ok(openat(&opened, ".", flags(), Mode::empty())?)
}

fn flags() -> OFlag {
    OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC
}

/// Makes the folder of staples, and the folder of state that it lies in, for the user who is to own them.
/// What is there already, be it a link, is left as it is, but for the folder of state, which becomes his.
///
/// # Errors
/// The system refuses, or somebody else than root put a link on the way.
pub fn make_staples(staples: &Path, owner: Option<(Uid, Gid)>) -> io::Result<()> {
    if fs::symlink_metadata(staples).is_ok() {
        return Ok(());
    }
    let state = staples.parent().ok_or(io::ErrorKind::InvalidInput)?;
    if !state.exists() {
        fs::create_dir_all(state)?;
    }
    let state = open_folder(&follow(state).map_err(io::Error::other)?.end)?;
    let name = staples.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    match mkdirat(&state, name, Mode::from_bits_truncate(0o755)) {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(error) => return Err(error.into()),
    }
    // Whoever put another folder there meanwhile could give it away himself.
    let made = openat(&state, name, flags(), Mode::empty())?;
    if let Some((uid, gid)) = owner {
        for folder in [state, made] {
            fchown(File::from(folder), Some(uid.as_raw()), Some(gid.as_raw()))?;
        }
    }
    Ok(())
}
