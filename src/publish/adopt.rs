//! Makes targets in root's folders links into the folder of staples, so that the agent need not be root.
//!
//! [`plan`] looks and says what is to be done, step by step; [`carry_out`], as root, does it. A server that
//! starts in between never meets a missing file: the link comes when there is something behind it.
//!
//! Root follows nobody else's hand: a folder counts only if root alone can change it, and every folder
//! above it. What is put into the folder of staples, which belongs to the agent's user, goes through
//! an open folder and over no link.

mod act;
mod folder;

use std::collections::HashSet;
use std::fmt;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use nix::unistd::{Gid, Uid, User, getgrouplist};

pub use act::{ActError, carry_out, leave};
pub use folder::make_staples;
use folder::roots_alone;

use super::{MAX_BYTES, TRY_LATER};
use crate::files;
use crate::ocsp::Response;

/// A target that the agent is to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The path that the server's configuration names.
    pub path: PathBuf,
    /// The name of its lineage: its staple is `staples/<name>.der`.
    pub name: String,
    /// `tryLater` may stand there until a staple comes (nginx).
    pub placeholder: bool,
    /// What should lie there instead of what does: verified, or `tryLater`. `None`: that is not
    /// known, or nothing else should.
    pub instead: Option<Vec<u8>>,
}

/// One thing to do, or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdoptStep {
    /// Nothing is to be done about this target.
    Leave {
        /// The target.
        path: PathBuf,
        /// Why not.
        why: Reason,
    },
    /// This target stays as it is, and the agent cannot write it.
    Refuse {
        /// The target.
        path: PathBuf,
        /// Why.
        why: Refusal,
    },
    /// Make a folder of root's for a target.
    MakeFolder(PathBuf),
    /// Put something into the folder of staples.
    Fill {
        /// The file there.
        staple: PathBuf,
        /// What.
        with: Filling,
    },
    /// Make the target a link, in place of what is there.
    Link {
        /// The target.
        path: PathBuf,
        /// The file in the folder of staples.
        staple: PathBuf,
    },
}

/// Why there is nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It leads into the folder of staples already.
    Leads,
    /// The agent's user may write there.
    Writable,
}

/// What is put into the folder of staples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filling {
    /// `tryLater`.
    Placeholder,
    /// The response that lies in the target: decodable, not verified.
    From {
        /// The target.
        path: PathBuf,
        /// Its content.
        bytes: Vec<u8>,
    },
    /// The last response that was kept: verified.
    Held(Vec<u8>),
}

impl Filling {
    fn of(bytes: Vec<u8>) -> Filling {
        if bytes == TRY_LATER { Filling::Placeholder } else { Filling::Held(bytes) }
    }
}

/// Why a target cannot be adopted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Root would follow somebody else's hand.
    #[error("{} belongs to uid {uid}, who could put something else there", folder.display())]
    OtherOwner {
        /// The target's folder, or one above it.
        folder: PathBuf,
        /// Its owner.
        uid: u32,
    },
    /// Likewise.
    #[error("{} can be written to by others (mode {mode:04o})", folder.display())]
    OthersWrite {
        /// The target's folder, or one above it.
        folder: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Likewise.
    #[error(
        "{} is a link that others than root could lead elsewhere: put a folder there, or name its end",
        .0.display()
    )]
    OthersLink(PathBuf),
    /// Something that is neither a file nor a link lies there.
    #[error("something else than a file lies there")]
    NotAFile,
    /// A path that starts nowhere, or a name that is no name.
    #[error("{0:?} is no absolute path, or its name is unfit for a file")]
    Unfit(String),
    /// Servers take the variable as it is written, or work it out for each connection.
    #[error(
        "its name has a variable in it, which stands for no file: name one file for each certificate; \
         `staplekeeper lint` says which"
    )]
    Variable,
    /// It cannot be looked at.
    #[error("cannot look at it: {0}")]
    Unseen(String),
}

/// Says what is to be done so that the owner of the folder `staples` can write every target. Nothing is
/// changed. Steps that need each other stand in order; a target that needs nothing has a
/// [`AdoptStep::Leave`].
///
/// # Errors
/// The folder of staples is missing, or a link that root cannot trust.
pub fn plan(wanted: &[Wanted], staples: &Path) -> io::Result<Vec<AdoptStep>> {
    let staples = folder::of_staples(staples).map_err(io::Error::other)?;
    let user = Account::of(&fs::symlink_metadata(&staples)?);
    let (mut steps, mut made) = (Vec::new(), HashSet::new());
    for target in wanted {
        let more = steps_for(target, &staples, &user)
            .unwrap_or_else(|why| vec![AdoptStep::Refuse { path: target.path.clone(), why }]);
        // Two targets may share a folder that is missing, or the staple.
        steps.extend(more.into_iter().filter(|step| match step {
            AdoptStep::MakeFolder(path) | AdoptStep::Fill { staple: path, .. } => {
                made.insert(path.clone())
            }
            _ => true,
        }));
    }
    Ok(steps)
}

fn steps_for(target: &Wanted, staples: &Path, user: &Account) -> Result<Vec<AdoptStep>, Refusal> {
    let Wanted { path, name, placeholder, instead } = target;
    let instead = instead.clone().map(Filling::of);
    let unfit = name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']);
    let (Some(folder), Some(_), false) = (path.parent(), path.file_name(), unfit) else {
        return Err(Refusal::Unfit(format!("{} ({name})", path.display())));
    };
    if !path.is_absolute() || path.components().any(|part| part == Component::ParentDir) {
        return Err(Refusal::Unfit(path.display().to_string()));
    }
    if has_variable(path) {
        return Err(Refusal::Variable);
    }
    let unseen = |error: io::Error| Refusal::Unseen(error.to_string());
    let mut steps = Vec::new();
    let (end, found) = files::follow(path).map_err(unseen)?;
    if found.as_ref().is_some_and(|found| !found.is_file()) {
        return Err(Refusal::NotAFile);
    }
    let lies_in = files::folder_of(&end).canonicalize().ok();
    if lies_in.as_deref() == Some(staples) {
        let staple = staples.join(end.file_name().unwrap_or_default());
        let missing = found.is_none() && *placeholder;
        let with = instead.or(missing.then_some(Filling::Placeholder));
        steps.extend(with.map(|with| AdoptStep::Fill { staple, with }));
        steps.push(AdoptStep::Leave { path: path.clone(), why: Reason::Leads });
        return Ok(steps);
    }
    let there = lies_in.and_then(|folder| fs::metadata(folder).ok());
    if there.is_some_and(|there| user.may_write(&there)) {
        // The folder is the agent's, and may be changed under root's hand; those above it may not.
        let folder = files::folder_of(&end);
        let above = folder.parent().map(roots_alone);
        let place = folder::follow(folder).ok().filter(|_| above == Some(Ok(())));
        let place = place.zip(end.file_name()).map(|(way, name)| way.end.join(name));
        let with = instead.zip(place);
        steps.extend(with.map(|(with, staple)| AdoptStep::Fill { staple, with }));
        steps.push(AdoptStep::Leave { path: path.clone(), why: Reason::Writable });
        return Ok(steps);
    }
    steps.extend(folders_to_make(folder).into_iter().rev().map(AdoptStep::MakeFolder));
    roots_alone(folder)?;
    let staple = staples.join(format!("{name}.der"));
    let with = instead.or_else(|| filling(&end, &staple, *placeholder));
    steps.extend(with.map(|with| AdoptStep::Fill { staple: staple.clone(), with }));
    steps.push(AdoptStep::Link { path: path.clone(), staple });
    Ok(steps)
}

/// `$name` or `${name}`, as servers write them.
fn has_variable(path: &Path) -> bool {
    let bytes = path.as_os_str().as_encoded_bytes();
    let begins = |byte: u8| byte == b'{' || byte == b'_' || byte.is_ascii_alphabetic();
    bytes.windows(2).any(|two| two[0] == b'$' && begins(two[1]))
}

/// The folders that are missing on the way to `folder`, the innermost first.
fn folders_to_make(folder: &Path) -> Vec<PathBuf> {
    folder.ancestors().take_while(|folder| !folder.exists()).map(Path::to_owned).collect()
}

/// What is to be put behind the link first; nothing if there is something already.
fn filling(target: &Path, staple: &Path, placeholder: bool) -> Option<Filling> {
    let staple = files::read(staple, MAX_BYTES).ok().flatten();
    let old = files::read(target, MAX_BYTES).ok().flatten();
    let old = old.filter(|bytes| *bytes != TRY_LATER && Response::decode(bytes).is_ok());
    let moved = old.map(|bytes| Filling::From { path: target.to_owned(), bytes });
    match staple {
        None => moved.or(placeholder.then_some(Filling::Placeholder)),
        Some(bytes) if bytes == TRY_LATER => moved,
        Some(_) => None,
    }
}

/// A user and the groups he is in.
struct Account {
    uid: u32,
    groups: Vec<u32>,
}

impl Account {
    /// The owner of what was found.
    fn of(found: &Metadata) -> Self {
        let (uid, gid) = (found.uid(), found.gid());
        let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
        let name = user.as_ref().and_then(|user| std::ffi::CString::new(&*user.name).ok());
        let groups = name.zip(user).and_then(|(name, user)| getgrouplist(&name, user.gid).ok());
        let groups = groups.unwrap_or_else(|| vec![Gid::from_raw(gid)]);
        Account { uid, groups: groups.into_iter().map(Gid::as_raw).collect() }
    }

    /// Whether he may make entries in the folder that was found, going by its mode.
    fn may_write(&self, found: &Metadata) -> bool {
        let wanted = match () {
            () if self.uid == 0 => return true,
            () if found.uid() == self.uid => 0o300,
            () if self.groups.contains(&found.gid()) => 0o030,
            () => 0o003,
        };
        found.mode() & wanted == wanted
    }
}

impl fmt::Display for AdoptStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AdoptStep::Leave { path, why: Reason::Leads } => {
                write!(f, "leave {}: it leads into the folder of staples", path.display())
            }
            AdoptStep::Leave { path, why: Reason::Writable } => {
                write!(f, "leave {}: the agent may write there", path.display())
            }
            AdoptStep::Refuse { path, why } => write!(f, "refuse {}: {why}", path.display()),
            AdoptStep::MakeFolder(folder) => write!(f, "make the folder {}", folder.display()),
            AdoptStep::Fill { staple, with: Filling::Placeholder } => {
                write!(f, "put a placeholder into {}", staple.display())
            }
            AdoptStep::Fill { staple, with: Filling::Held(_) } => {
                write!(f, "put the staple that was kept into {}", staple.display())
            }
            AdoptStep::Fill { staple, with: Filling::From { path, .. } } => {
                write!(f, "copy {} to {}", path.display(), staple.display())
            }
            AdoptStep::Link { path, staple } => {
                write!(f, "make {} a link to {}", path.display(), staple.display())
            }
        }
    }
}
