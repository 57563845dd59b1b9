//! A server's configuration as it was read, whatever the kind of server.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::model::{Address, Deployment};
use super::problem::Problem;
use super::sources::Source;

/// What a configuration says; read again only when one of its files or folders has changed.
#[derive(Debug, Default)]
pub(super) struct Configuration {
    pub(super) deployments: Arc<[Deployment]>,
    /// As we see it.
    pub(super) pid_file: Option<PathBuf>,
    /// Sockets that take commands, as we see them.
    pub(super) admin: Vec<Address>,
    /// Why the server would refuse it, or what of it could not be read; empty if it is complete.
    pub(super) faults: Vec<Problem>,
    /// What the server takes, and what gets in the way of stapling all the same.
    pub(super) remarks: Vec<Problem>,
    pub(super) sources: Vec<Source>,
}

impl Configuration {
    /// Nothing it was made from has changed.
    pub(super) fn is_current(&self) -> bool {
        self.sources.iter().all(Source::is_current)
    }

    /// The files and folders to watch for changes.
    pub(super) fn watch(&self) -> impl Iterator<Item = &Arc<Path>> {
        self.sources.iter().map(|source| &source.path)
    }
}
