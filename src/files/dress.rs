//! What a new file takes over from the one it replaces: mode, owner, SELinux label.

use std::fs::{self, File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::Path;

use nix::unistd::geteuid;
use rustix::fs::{XattrFlags, fsetxattr, getxattr};

/// Where SELinux keeps a file's context.
const LABEL: &str = "security.selinux";

/// A user and a group, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    uid: u32,
    gid: u32,
}

impl Owner {
    /// Who owns what was found.
    pub(super) fn of(found: &Metadata) -> Self {
        Owner { uid: found.uid(), gid: found.gid() }
    }

    /// Makes the file theirs; says whether it is now.
    fn take(self, file: &File) -> bool {
        let Ok(new) = file.metadata() else { return false };
        Owner::of(&new) == self
            || fchown(file, Some(self.uid), Some(self.gid)).is_ok()
            || (new.uid() == self.uid && fchown(file, None, Some(self.gid)).is_ok())
    }
}

/// Gives the new file what the old one had.
pub(super) fn dress(
    file: &File,
    mode: u32,
    place: &Path,
    old: Option<&Metadata>,
    folder: Owner,
) -> io::Result<()> {
    let mut mode = old.map_or(mode, |old| old.mode() & 0o777);
    let owner = match old {
        Some(old) => Some(Owner::of(old)),
        None if geteuid().is_root() => Some(folder),
        None => None,
    };
    if owner.is_some_and(|owner| !owner.take(file)) {
        mode |= 0o444;
    }
    file.set_permissions(Permissions::from_mode(mode))?;
    if old.is_some() {
        keep_label(file, place);
    }
    Ok(())
}

/// Hands the old file's SELinux context on. Without SELinux there is none; where it may not be set,
/// the folder's default, which the temporary file got, is what `restorecon` would give.
fn keep_label(file: &File, place: &Path) {
    let mut label = [0_u8; 512];
    if let Ok(length) = getxattr(place, LABEL, &mut label[..]) {
        let _ = fsetxattr(file, LABEL, &label[..length], XattrFlags::empty());
    }
}

/// Links the temporary file under its second name.
pub(super) fn second_name(temporary: &Path, also: &Path) -> io::Result<()> {
    use io::ErrorKind as Kind;
    match fs::hard_link(temporary, also) {
        Ok(()) => Ok(()),
        Err(error) => match error.kind() {
            Kind::AlreadyExists | Kind::Unsupported | Kind::TooManyLinks => Ok(()),
            Kind::PermissionDenied | Kind::CrossesDevices => Ok(()),
            _ => Err(error),
        },
    }
}
