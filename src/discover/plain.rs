//! What the readers of HAProxy's, lighttpd's, hitch's and exim's configurations have in common: each
//! certificate file is a deployment with a staple file of its own.

use std::path::Path;
use std::sync::Arc;

use super::model::{Context, Deployment, Listener, Origin, Presented, ServerName, Stated};
use super::settings::{MappedPath, PathMap};

/// A certificate file with its staple.
#[derive(Clone, Debug)]
pub(super) struct Served {
    pub(super) certificate: MappedPath,
    pub(super) staple: Option<MappedPath>,
    /// A file that may hold the issuer.
    pub(super) issuer: Option<MappedPath>,
}

impl Served {
    /// A deployment that presents it.
    pub(super) fn deployment(
        self,
        origin: &Origin,
        names: &[ServerName],
        listeners: Arc<[Listener]>,
    ) -> Deployment {
        let stated = |file| Arc::new(Stated { value: file, origin: origin.clone() });
        let stapling = Stated { value: self.staple.is_some(), origin: origin.clone() };
        Deployment {
            context: Context::Http,
            origin: origin.clone(),
            names: names.into(),
            listeners,
            certificates: [Presented { file: self.certificate, origin: origin.clone() }].into(),
            dynamic: None,
            stapling: Some(stapling.into()),
            stapling_file: self.staple.map(stated),
            stapling_responder: None,
            stapling_verify: None,
            trusted_certificate: self.issuer.map(stated),
            resolver: None,
            certificate_compression: None,
            issuer_files: None,
            apache: None,
            needs_staple: false,
            called: None,
        }
    }
}

/// A path that we know by our own name for it.
pub(super) fn mapped(map: &PathMap, ours: &Path) -> MappedPath {
    MappedPath { theirs: map.theirs(ours).into(), ours: ours.into() }
}
