//! Reading of files that others write: bounded, never blocking, and not again while unchanged.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::fcntl::OFlag;

use super::problem::What;
use super::work::in_parallel;
use crate::digest::Fingerprint;
use crate::pki::{Certificate, ReadError, read_certificates};

/// A certificate file may have this many bytes.
pub(super) const MAX_BYTES: u64 = 1 << 20;

/// What a certificate file holds.
#[derive(Clone, Debug)]
pub(super) enum Content {
    /// Certificates, in their order; at least one.
    Chain(Arc<[Arc<Certificate>]>),
    /// None, and nothing is wrong with that: a private key, say.
    Nothing,
    /// It cannot be used.
    Bad(Arc<What>),
}

/// A certificate file, by its number in [`Certificates`]; good until the end of the next scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileId(u32);

/// The certificate files read so far, by their real path.
#[derive(Debug, Default)]
pub(super) struct Certificates {
    ids: HashMap<Box<OsStr>, FileId>,
    files: Vec<Cached>,
    free: Vec<FileId>,
    /// Files that have changed and are to be read.
    changed: Vec<(FileId, PathBuf)>,
    /// A leaf lies in several files, an issuer in thousands: each is kept once.
    known: HashMap<Fingerprint, Weak<Certificate>>,
    /// Counts the scans.
    pass: u32,
}

#[derive(Debug)]
struct Cached {
    stamp: Stamp,
    pass: u32,
    content: Content,
}

impl Certificates {
    /// Begins a scan.
    pub(super) fn begin(&mut self) {
        self.pass = self.pass.wrapping_add(1);
    }

    /// Wants a file, by its real path, that is as `stamp` says.
    pub(super) fn want(&mut self, path: PathBuf, stamp: Stamp) -> FileId {
        let pass = self.pass;
        let cached = Cached { stamp, pass, content: Content::Nothing };
        let id = match self.ids.get(path.as_os_str()) {
            Some(id) => {
                let known = &mut self.files[id.0 as usize];
                if std::mem::replace(&mut known.pass, pass) == pass || known.stamp.still(&stamp) {
                    return *id;
                }
                *known = cached;
                *id
            }
            None => {
                let id = self.free.pop().unwrap_or_else(|| {
                    FileId(u32::try_from(self.files.len()).expect("fewer files than that"))
                });
                match self.files.get_mut(id.0 as usize) {
                    Some(slot) => *slot = cached,
                    None => self.files.push(cached),
                }
                self.ids.insert(path.as_os_str().into(), id);
                id
            }
        };
        self.changed.push((id, path));
        id
    }

    /// Reads what was wanted and has changed.
    pub(super) fn load(&mut self) {
        let changed = std::mem::take(&mut self.changed);
        let read = in_parallel(&changed, Vec::new, |bytes, (_, path)| {
            let content = read_bounded(path, bytes).and_then(|()| certificates(bytes));
            // There may have been a private key among it.
            bytes.fill(0);
            std::hint::black_box(&mut *bytes);
            content
        });
        for ((id, _), read) in changed.into_iter().zip(read) {
            self.files[id.0 as usize].content = match read {
                Ok(chain) if chain.is_empty() => Content::Nothing,
                Ok(chain) => Content::Chain(chain.into_iter().map(|one| self.once(one)).collect()),
                Err(what) => Content::Bad(what.into()),
            };
        }
    }

    /// Ends a scan: forgets the files that nobody wanted in it.
    pub(super) fn end(&mut self) {
        let Certificates { ids, files, free, known, pass, .. } = self;
        ids.retain(|_, id| {
            let wanted = files[id.0 as usize].pass == *pass;
            if !wanted {
                files[id.0 as usize].content = Content::Nothing;
                free.push(*id);
            }
            wanted
        });
        known.retain(|_, certificate| certificate.strong_count() > 0);
    }

    /// What is in a file, as of the last `load`.
    pub(super) fn get(&self, file: FileId) -> &Content {
        &self.files[file.0 as usize].content
    }

    fn once(&mut self, certificate: Certificate) -> Arc<Certificate> {
        let slot = self.known.entry(certificate.fingerprint()).or_default();
        slot.upgrade().unwrap_or_else(|| {
            let certificate = Arc::new(certificate);
            *slot = Arc::downgrade(&certificate);
            certificate
        })
    }
}

fn certificates(bytes: &[u8]) -> Result<Vec<Certificate>, What> {
    match read_certificates(bytes) {
        Ok(chain) => Ok(chain),
        Err(ReadError::NoBlock(_)) => Ok(Vec::new()),
        Err(error) => Err(What::BadCertificate(error.to_string())),
    }
}

/// A file that changed this recently may change again without its times showing it.
const UNSETTLED: Duration = Duration::from_secs(2);

/// What a file or folder was like when it was looked at; an equal stamp means an unchanged file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp {
    /// Of device, inode, size, mtime and ctime.
    digest: u64,
    /// The last change was long enough ago for the next to have another time.
    settled: bool,
}

impl Stamp {
    /// Looks at `path`, links followed.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        fs::metadata(path).map(|metadata| Stamp::new(&metadata))
    }

    pub(super) fn new(metadata: &Metadata) -> Self {
        let mut hasher = DefaultHasher::new();
        (metadata.dev(), metadata.ino(), metadata.size()).hash(&mut hasher);
        (metadata.mtime(), metadata.mtime_nsec()).hash(&mut hasher);
        (metadata.ctime(), metadata.ctime_nsec()).hash(&mut hasher);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let changed = Duration::from_secs(u64::try_from(metadata.ctime()).unwrap_or(0));
        Stamp { digest: hasher.finish(), settled: changed + UNSETTLED < now }
    }

    /// Whether what was read under `self` is what would be read under `now`.
    pub(super) fn still(&self, now: &Stamp) -> bool {
        self.settled && self.digest == now.digest
    }
}

/// Reads a regular file of at most [`MAX_BYTES`] into `bytes` (emptied first).
///
/// # Errors
/// It is something else, larger, or cannot be read. A FIFO or device is never waited for.
pub(super) fn read_bounded(path: &Path, bytes: &mut Vec<u8>) -> Result<(), What> {
    bytes.clear();
    let of = |error: io::Error| What::of(&error);
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    // Opening a device can act on it already; the flags only help where one is put there in between.
    if !fs::metadata(path).map_err(of)?.is_file() {
        return Err(What::NotAFile);
    }
    let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path).map_err(of)?;
    let metadata = file.metadata().map_err(of)?;
    if !metadata.is_file() {
        return Err(What::NotAFile);
    }
    read_limited(file, metadata.len(), bytes)
}

fn read_limited(file: File, size: u64, bytes: &mut Vec<u8>) -> Result<(), What> {
    let limit = MAX_BYTES;
    if size > limit {
        return Err(What::TooLarge { size, limit });
    }
    file.take(limit + 1).read_to_end(bytes).map_err(|error| What::of(&error))?;
    let size = bytes.len() as u64;
    if size > limit { Err(What::TooLarge { size, limit }) } else { Ok(()) }
}
