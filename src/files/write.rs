//! Temporary name, write, mode and owner, sync, rename, sync of the folder: for one file or many.
//!
//! A batch costs the disk the same few waits whether it holds five files or five thousand: up to
//! [`FEW`] files are brought to disk one by one (`fsync`), more of them by one `syncfs` a file
//! system; folders likewise. `syncfs` also flushes what other programs wrote, which is why a few
//! files do not use it.
//!
//! Temporary names are `.staplekeeper-PID-RANDOM.tmp`. They start with a dot since HAProxy loads
//! whatever else lies in its folders, and carry the pid so that [`clean`](super::clean()) can tell
//! what a crash left behind from what another process is writing.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File, Metadata};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{geteuid, syncfs};
use tempfile::TempPath;

use super::dress::{Owner, dress, second_name};
use super::{FileError, PREFIX, SUFFIX, Step, folder_of, follow};

/// Up to so many files or folders are synced one by one.
const FEW: usize = 8;
/// What is made while it is written goes to the file in such pieces.
const BUFFER: usize = 64 * 1024;

/// A file to write.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    /// Where. A symbolic link stays: the file it leads to is replaced.
    pub path: PathBuf,
    /// The whole content.
    pub bytes: &'a [u8],
    /// Permission bits of a file that is new; one that is replaced hands its own on.
    pub mode: u32,
    /// A second name (hard link) for the same bytes, durable with the first. One that exists
    /// stays; where links cannot be made there is none.
    pub also: Option<PathBuf>,
}

impl<'a> Entry<'a> {
    /// A file that everybody may read (0644).
    pub fn public(path: impl Into<PathBuf>, bytes: &'a [u8]) -> Self {
        Entry { path: path.into(), bytes, mode: 0o644, also: None }
    }
}

/// Makes `bytes` the content of the file at `path`; see [`write_many`].
///
/// # Errors
/// The step that failed. Up to [`Step::Rename`] the old file is untouched.
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let entry = Entry { path: path.to_owned(), bytes, mode, also: None };
    write_many(&[entry]).pop().expect("an outcome for each entry")
}

/// The same for a file that nobody needs after a power cut: whole for whoever reads it, not brought
/// to disk, which costs next to nothing.
///
/// # Errors
/// The step that failed; the old file is untouched.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    replace_by(path, mode, &|file| file.write_all(bytes))
}

/// The same for what is made while it is written: megabytes that need not be held.
///
/// # Errors
/// The step that failed, or what `body` says; the old file is untouched.
pub fn replace_by(path: &Path, mode: u32, body: &Body<'_>) -> Result<(), FileError> {
    let entry = Entry { path: path.to_owned(), bytes: &[], mode, also: None };
    let batch = Batch::new(std::slice::from_ref(&entry), &|_, _| Ok(()));
    let batch = Batch { durable: false, body: Some(body), ..batch };
    batch.run().pop().expect("an outcome for each entry")
}

/// Makes each entry's bytes the content of its file; nothing is renamed before it is on disk.
///
/// A replaced file hands on its mode, owner and SELinux label. Where the owner cannot be handed on
/// (only root can), the file becomes readable by all, since whoever read it must go on reading it.
/// New files made by root belong to the owner of their folder.
///
/// The outcomes stand in the order of the entries: a failure costs only its own entry, except that
/// a file system that cannot sync costs all its entries. The old file is untouched by any failure
/// before [`Step::SyncFolder`]; after that one the new file is there but may not survive a power cut.
pub fn write_many(entries: &[Entry<'_>]) -> Vec<Result<(), FileError>> {
    Batch::new(entries, &|_, _| Ok(())).run()
}

/// Writes what a file is to hold.
pub(super) type Body<'a> = dyn Fn(&mut dyn Write) -> io::Result<()> + 'a;

/// May fail a step, or end the process there; only tests do.
type Watch<'a> = dyn Fn(Step, &Path) -> io::Result<()> + 'a;

struct Batch<'a> {
    entries: &'a [Entry<'a>],
    watch: &'a Watch<'a>,
    durable: bool,
    /// Written in place of each entry's bytes.
    body: Option<&'a Body<'a>>,
    prefix: String,
    folders: HashMap<PathBuf, Folder>,
}

/// What is known of a folder that is written to.
#[derive(Clone, Copy)]
struct Folder {
    device: u64,
    owner: Owner,
}

/// A temporary file on its way.
struct Ready {
    temporary: TempPath,
    /// Still open where it will be synced by itself.
    file: Option<File>,
    /// Where it goes, links followed.
    place: PathBuf,
    device: u64,
}

type Outcome<T> = Result<T, FileError>;

impl<'a> Batch<'a> {
    fn new(entries: &'a [Entry<'a>], watch: &'a Watch<'a>) -> Self {
        let prefix = format!("{PREFIX}{}-", std::process::id());
        Batch { entries, watch, durable: true, body: None, prefix, folders: HashMap::new() }
    }

    fn run(mut self) -> Vec<Outcome<()>> {
        let entries = self.entries;
        let ready = entries.iter().map(|entry| self.prepare(entry)).collect();
        let safe = if self.durable { self.sync(ready) } else { ready };
        let renamed = entries.iter().zip(safe).map(|(entry, ready)| {
            let Ready { temporary, place, device, .. } = ready?;
            self.step(entry, Step::Rename, || temporary.persist(&place).map_err(|e| e.error))?;
            Ok((folder_of(&place).to_owned(), device))
        });
        let renamed: Vec<_> = renamed.collect();
        if self.durable {
            return self.sync_folders(renamed);
        }
        renamed.into_iter().map(|renamed| renamed.map(drop)).collect()
    }

    /// Takes one step for an entry.
    fn step<T>(
        &self,
        entry: &Entry<'_>,
        step: Step,
        act: impl FnOnce() -> io::Result<T>,
    ) -> Outcome<T> {
        let outcome = (self.watch)(step, &entry.path).and_then(|()| act());
        outcome.map_err(|source| FileError { path: entry.path.clone(), step, source })
    }

    /// Writes the temporary file beside the place it is meant for.
    fn prepare(&mut self, entry: &Entry<'_>) -> Outcome<Ready> {
        let (place, old) = self.step(entry, Step::Follow, || writable_place(&entry.path))?;
        let at = folder_of(&place);
        let known = self.folders.get(at).copied();
        let folder = match known {
            Some(folder) => folder,
            None => self.step(entry, Step::Create, || Folder::look(at))?,
        };
        if known.is_none() {
            self.folders.insert(at.to_owned(), folder);
        }
        let mut temporary = self.step(entry, Step::Create, || {
            tempfile::Builder::new().prefix(&self.prefix).suffix(SUFFIX).tempfile_in(at)
        })?;
        self.step(entry, Step::Write, || match self.body {
            None => temporary.write_all(entry.bytes),
            Some(body) => {
                let mut buffered = BufWriter::with_capacity(BUFFER, &mut temporary);
                body(&mut buffered)?;
                buffered.flush()
            }
        })?;
        self.step(entry, Step::Dress, || {
            dress(temporary.as_file(), entry.mode, &place, old.as_ref(), folder.owner)?;
            entry.also.as_deref().map_or(Ok(()), |also| second_name(temporary.path(), also))
        })?;
        // A thousand open files would meet the usual limit of descriptors.
        let (file, temporary) = temporary.into_parts();
        let file = (self.entries.len() <= FEW).then_some(file);
        Ok(Ready { temporary, file, place, device: folder.device })
    }

    /// Brings the temporary files to disk.
    fn sync(&self, ready: Vec<Outcome<Ready>>) -> Vec<Outcome<Ready>> {
        let mut devices = BTreeMap::new();
        let synced = self.entries.iter().zip(ready).map(|(entry, ready)| {
            let ready = ready?;
            self.step(entry, Step::Sync, || match &ready.file {
                Some(file) => file.sync_data(),
                None => sync_device(&mut devices, ready.device, folder_of(&ready.place)),
            })?;
            Ok(ready)
        });
        synced.collect()
    }

    /// Brings the new names to disk.
    fn sync_folders(&self, renamed: Vec<Outcome<(PathBuf, u64)>>) -> Vec<Outcome<()>> {
        let distinct: HashSet<_> = renamed.iter().flatten().map(|(folder, _)| folder).collect();
        let few = distinct.len() <= FEW;
        let (mut folders, mut devices) = (HashMap::new(), BTreeMap::new());
        let synced = self.entries.iter().zip(&renamed).map(|(entry, renamed)| {
            let Ok((folder, device)) = renamed else { return Ok(()) };
            self.step(entry, Step::SyncFolder, || match few {
                true => once(&mut folders, folder, || File::open(folder)?.sync_all()),
                false => sync_device(&mut devices, *device, folder),
            })
        });
        let synced: Vec<_> = synced.collect();
        renamed.into_iter().zip(synced).map(|(renamed, synced)| renamed.and(synced)).collect()
    }
}

impl Folder {
    /// Opened once before anything is written, since a folder that cannot be opened cannot be synced.
    fn look(folder: &Path) -> io::Result<Folder> {
        let found = File::open(folder)?.metadata()?;
        if !found.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Folder { device: found.dev(), owner: Owner::of(&found) })
    }
}

/// Where a write to `path` goes, and the regular file that lies there.
fn writable_place(path: &Path) -> io::Result<(PathBuf, Option<Metadata>)> {
    let (place, old) = follow(path)?;
    if old.as_ref().is_some_and(|old| !old.is_file()) {
        let words = "something else than a regular file lies there";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, words));
    }
    let link = fs::symlink_metadata(path).ok().filter(Metadata::is_symlink);
    if let Some(link) = link {
        // Whoever owns a link must not have us overwrite files that are not his.
        let trusted = [0, geteuid().as_raw(), fs::metadata(folder_of(&place))?.uid()];
        if !trusted.contains(&link.uid()) {
            let uid = link.uid();
            let words = format!("the link belongs to uid {uid}, the folder it leads to does not");
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, words));
        }
    }
    Ok((place, old))
}

/// Syncs the file system that holds `folder`, unless this was done for the batch already.
fn sync_device(
    done: &mut BTreeMap<u64, Option<i32>>,
    device: u64,
    folder: &Path,
) -> io::Result<()> {
    let outcome = done.entry(device).or_insert_with(|| error_code(sync_all_of(folder)));
    as_result(*outcome)
}

fn sync_all_of(folder: &Path) -> io::Result<()> {
    Ok(syncfs(File::open(folder)?)?)
}

/// Does something once for each key; later callers get the first one's outcome.
fn once<'a>(
    done: &mut HashMap<&'a Path, Option<i32>>,
    key: &'a Path,
    act: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    as_result(*done.entry(key).or_insert_with(|| error_code(act())))
}

/// An outcome that several entries share: errors of the system calls here always have a number.
fn error_code(outcome: io::Result<()>) -> Option<i32> {
    outcome.err().map(|error| error.raw_os_error().unwrap_or(Errno::EIO as i32))
}

fn as_result(code: Option<i32>) -> io::Result<()> {
    code.map_or(Ok(()), |code| Err(io::Error::from_raw_os_error(code)))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;

    const OLD: &[u8] = b"old";
    const NEW: &[u8] = b"new, and longer";

    /// A folder with `count` files of old content, and entries that renew them.
    fn folder(count: usize) -> (tempfile::TempDir, Vec<Entry<'static>>) {
        let folder = tempfile::tempdir().expect("a temp folder");
        let paths = (0..count).map(|n| folder.path().join(format!("{n}.der")));
        let entries: Vec<_> = paths.map(|path| Entry::public(path, NEW)).collect();
        for entry in &entries {
            fs::write(&entry.path, OLD).expect("the folder is ours");
        }
        (folder, entries)
    }

    fn names(folder: &Path) -> usize {
        fs::read_dir(folder).expect("the folder is there").count()
    }

    /// Fails `step` for the second of `count` files.
    fn check(step: Step, count: usize, second: &[u8]) {
        let (folder, entries) = folder(count);
        let fails = |at: Step, path: &Path| match at == step && path.ends_with("1.der") {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        };
        let outcomes = Batch::new(&entries, &fails).run();
        for (n, (entry, outcome)) in entries.iter().zip(outcomes).enumerate() {
            let content = fs::read(&entry.path).expect("never missing");
            match n {
                1 => {
                    let error = outcome.expect_err("its step failed");
                    assert!(error.step == step && error.is_full() && !error.is_refusal());
                    assert_eq!(content, second, "{step:?}");
                }
                _ => assert!(outcome.is_ok() && content == NEW, "{step:?} cost file {n}"),
            }
        }
        assert_eq!(names(folder.path()), count, "{step:?} leaves nothing behind");
    }

    #[test]
    fn a_failed_step_costs_only_its_own_file() {
        let before =
            [Step::Follow, Step::Create, Step::Write, Step::Dress, Step::Sync, Step::Rename];
        for step in before {
            check(step, 3, OLD);
            check(step, 30, OLD);
        }
        check(Step::SyncFolder, 3, NEW);
        check(Step::SyncFolder, 30, NEW);
    }

    #[test]
    fn nothing_is_renamed_before_all_is_written() {
        for count in [3, 30] {
            let (_folder, entries) = folder(count);
            let steps = RefCell::new(Vec::new());
            let note = |step, _: &Path| {
                steps.borrow_mut().push(step);
                Ok(())
            };
            Batch::new(&entries, &note).run();
            let steps = steps.into_inner();
            let first = steps.iter().position(|step| *step == Step::Rename);
            let last = steps.iter().rposition(|step| *step == Step::Sync);
            assert!(last < first, "{steps:?}");
        }
    }

    #[test]
    fn the_link_stays_and_its_end_is_written() {
        let (folder, entries) = folder(1);
        let place = folder.path().join("real.der");
        let path = &entries[0].path;
        fs::remove_file(path).expect("ours");
        symlink("real.der", path).expect("ours");
        for content in [NEW, OLD] {
            write(path, content, 0o644).expect("dangling or not, the link is followed");
            assert_eq!(fs::read(&place).expect("written"), content);
            assert!(fs::symlink_metadata(path).expect("there").is_symlink());
        }
        super::super::remove(path).expect("removed at its end");
        assert!(!place.exists() && path.is_symlink());
        super::super::remove(path).expect("nothing there is fine");
    }

    #[test]
    fn links_of_strangers_are_not_followed_into_our_folders() {
        if !geteuid().is_root() {
            return eprintln!("skipped: only root can make a stranger's link");
        }
        let (folder, entries) = folder(1);
        let link = folder.path().join("link.der");
        symlink("0.der", &link).expect("ours");
        std::os::unix::fs::lchown(&link, Some(12_345), Some(12_345)).expect("root may");
        let error = write(&link, NEW, 0o644).expect_err("the link's owner does not own the folder");
        assert!(error.is_refusal() && error.source.to_string().contains("12345"), "{error:?}");
        chown(folder.path(), Some(12_345), None).expect("root may");
        write(&link, NEW, 0o644).expect("now the folder is the link owner's own");
        assert_eq!(fs::read(&entries[0].path).expect("there"), NEW);
    }

    #[test]
    fn mode_and_owner_are_handed_on() {
        let (folder, entries) = folder(1);
        let path = &entries[0].path;
        fs::set_permissions(path, fs::Permissions::from_mode(0o640)).expect("ours");
        let root = geteuid().is_root();
        if root {
            chown(path, Some(12_345), Some(54_321)).expect("root may");
            chown(folder.path(), Some(777), Some(778)).expect("root may");
        }
        write(path, NEW, 0o600).expect("written");
        let found = fs::metadata(path).expect("there");
        assert_eq!(found.mode() & 0o7777, 0o640);
        let fresh = folder.path().join("fresh");
        write(&fresh, NEW, 0o644).expect("written");
        let made = fs::metadata(&fresh).expect("there");
        assert_eq!(made.mode() & 0o7777, 0o644, "whatever the umask");
        if root {
            assert_eq!((found.uid(), found.gid()), (12_345, 54_321));
            assert_eq!((made.uid(), made.gid()), (777, 778), "root's new files are the folder's");
        }
    }

    #[test]
    fn what_cannot_be_written_is_refused() {
        let (folder, entries) = folder(1);
        let missing = folder.path().join("missing/x.der");
        let cases = [
            (missing, Step::Create),
            (entries[0].path.join("x.der"), Step::Follow),
            (folder.path().to_owned(), Step::Follow),
            (PathBuf::from("/proc/self/nothing.der"), Step::Create),
        ];
        for (path, step) in cases {
            let error = write(&path, NEW, 0o644).expect_err("it cannot be");
            assert!(error.step == step && error.is_refusal(), "{error:?}");
        }
        symlink("loop", folder.path().join("loop")).expect("ours");
        let error = write(&folder.path().join("loop"), NEW, 0o644).expect_err("a loop");
        assert!(error.is_refusal(), "{error:?}");
    }

    #[test]
    fn a_second_name_holds_the_same_bytes() {
        let (folder, mut entries) = folder(1);
        let also = folder.path().join("history");
        entries[0].also = Some(also.clone());
        let note = |_: Step, _: &Path| Ok(());
        assert!(Batch::new(&entries, &note).run().iter().all(Result::is_ok));
        entries[0].bytes = OLD;
        assert!(Batch::new(&entries, &note).run().iter().all(Result::is_ok));
        assert_eq!(fs::read(&entries[0].path).expect("there"), OLD);
        assert_eq!(fs::read(&also).expect("there"), NEW, "the first one's bytes stay");
    }
}
