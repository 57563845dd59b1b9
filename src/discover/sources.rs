//! The files and folders that a server's configuration was read from, with what they were like.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use super::files::Stamp;
use super::model::Origin;
use super::problem::{Problem, What};

/// A configuration file may have this many bytes.
const MAX_BYTES: u64 = 256 << 20;

/// A configuration file may lie this deep in others.
pub(super) const MAX_DEPTH: usize = 32;

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

/// The configuration files that include each other, outermost first.
#[derive(Debug, Default)]
pub(super) struct Open(Vec<Arc<Path>>);

impl Open {
    /// Reads a file and holds it open until [`Open::close`]; `named` is the include that asks for it.
    ///
    /// `None` where it cannot be read, or would be read within itself or too deep in others: `faults`
    /// says so then.
    pub(super) fn open(
        &mut self,
        path: &Path,
        named: Option<&Origin>,
        sources: &mut Vec<Source>,
        faults: &mut Vec<Problem>,
    ) -> Option<(Arc<Path>, Vec<u8>)> {
        let file: Arc<Path> = path.into();
        match self.read(&file, sources) {
            Ok((text, stamp)) => {
                sources.push(Source { path: file.clone(), stamp: Some(stamp) });
                self.0.push(file.clone());
                Some((file, text))
            }
            Err(why) => {
                faults.push(match named {
                    Some(origin) => Problem::at(origin, What::included(path, why)),
                    None => Problem::new(path, why),
                });
                None
            }
        }
    }

    /// The innermost file has been read to its end.
    pub(super) fn close(&mut self) {
        self.0.pop();
    }

    fn read(&self, file: &Arc<Path>, sources: &mut Vec<Source>) -> Result<(Vec<u8>, Stamp), What> {
        if self.0.contains(file) {
            return Err(What::IncludeCycle(file.to_path_buf()));
        }
        if self.0.len() >= MAX_DEPTH {
            return Err(What::IncludeDepth(MAX_DEPTH));
        }
        read_text(file).inspect_err(|_| sources.push(Source::look(file.clone())))
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
