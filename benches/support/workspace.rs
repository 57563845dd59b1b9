//! Folders on a real disk, all taken away at the end and none before.
//!
//! On ext4 a file costs a hundredfold where many others have just been deleted: the inode allocator steps
//! over each that was freed in the last minutes. So nothing is deleted between runs, and folders are
//! spread over the disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

static ROOT: OnceLock<PathBuf> = OnceLock::new();

/// Where everything lies for as long as the value that comes back lives.
pub fn open() -> TempDir {
    let parent = Path::new(env!("CARGO_TARGET_TMPDIR"));
    fs::create_dir_all(parent).expect("target/ is ours");
    let root = tempfile::Builder::new().prefix("bench-").tempdir_in(parent);
    let root = root.expect("target/ is ours");
    // ext4 looks for a quiet part of the disk for each subfolder of such a folder; others do as they like.
    let mut chattr = Command::new("chattr");
    let _ = chattr.arg("+T").arg(root.path()).stderr(Stdio::null()).status();
    ROOT.set(root.path().to_owned()).expect("a program has one workspace");
    root
}

/// A new folder.
///
/// # Panics
/// Before [`open`].
pub fn folder(name: &str) -> PathBuf {
    let root = ROOT.get().expect("the workspace is open");
    // The place on disk goes by the name's hash: the same name again would lie where it lay before.
    let folder = tempfile::Builder::new().prefix(&format!("{name}-")).tempdir_in(root);
    folder.expect("the workspace is ours").keep()
}
