//! The files and folders that a server's configuration was read from, with what they were like.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use super::files::Stamp;
use super::problem::What;

/// A configuration file may have this many bytes.
const MAX_BYTES: u64 = 256 << 20;

/// Something a configuration was made from.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) path: Arc<Path>,
    /// `None`: it was not there.
    pub(super) stamp: Option<Stamp>,
}

impl Source {
    /// A file or folder as it is now.
    pub(super) fn look(path: impl Into<Arc<Path>>) -> Self {
        let path = path.into();
        let stamp = Stamp::of(&path).ok();
        Source { path, stamp }
    }

    /// It has not changed since.
    pub(super) fn is_current(&self) -> bool {
        match (&self.stamp, Stamp::of(&self.path)) {
            (Some(before), Ok(now)) => before.still(&now),
            (None, Err(_)) => true,
            _ => false,
        }
    }
}

/// Reads a configuration file. The server's administrator is trusted to name no device.
pub(super) fn read_text(path: &Path) -> Result<(Vec<u8>, Stamp), What> {
    let of = |error: io::Error| What::of(&error);
    let metadata = path.metadata().map_err(of)?;
    if !metadata.is_file() {
        return Err(What::NotAFile);
    }
    let stamp = Stamp::new(&metadata);
    let mut text = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0).min(16 << 20));
    File::open(path).map_err(of)?.take(MAX_BYTES + 1).read_to_end(&mut text).map_err(of)?;
    let size = text.len() as u64;
    if size > MAX_BYTES {
        return Err(What::TooLarge { size, limit: MAX_BYTES });
    }
    Ok((text, stamp))
}
