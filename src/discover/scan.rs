//! What one look at everything gives: a [`Scan`], a value.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::model::{Deployment, ServerModel};
use super::names::LineageKey;
use super::problem::Problem;
use super::settings::{Kind, MappedPath};
use crate::digest::Fingerprint;
use crate::pki::{Certificate, Issued};

/// All that was found.
#[derive(Clone, Debug, Default)]
pub struct Scan {
    /// Every leaf with its proven issuer, each once.
    pub certificates: Vec<Found>,
    /// Every lineage, by its name.
    pub lineages: Arc<[Lineage]>,
    /// The configured servers, in the order of the settings.
    pub servers: Vec<ServerModel>,
    /// The leaves without a proven issuer, each once; a self-signed one needs none.
    pub missing_issuers: Vec<NeedsIssuer>,
    /// What could not be read or understood, besides what [`ServerModel::problems`] tells.
    pub problems: Vec<Problem>,
    /// Files and folders to watch: a change of one of them, or directly in one of them, matters.
    pub watch: Watched,
    /// Something was on the move, and is to be looked at again in this time.
    pub again_in: Option<Duration>,
    pub(super) places: Arc<HashMap<Arc<Path>, Place>>,
}

impl Scan {
    /// What lies at `path`, a certificate file that a deployment presents (`Presented::file.ours`):
    /// what its server loads at the next reload.
    pub fn place(&self, path: &Path) -> Option<&Place> {
        self.places.get(path)
    }

    /// What is left of it where only this leaf is of interest, with all that shares a staple file with it:
    /// for a look at one certificate among ten thousand.
    pub fn about(&self, leaf: Fingerprint) -> Scan {
        let leaves = |deployment: &Deployment| -> Vec<Fingerprint> {
            let presented = deployment.certificates.iter();
            presented.filter_map(|one| Some(self.place(&one.file.ours)?.leaf)).collect()
        };
        let its_own = self.lineages.iter().filter(|one| one.leaf.fingerprint() == leaf);
        let mut files: HashSet<&Path> = its_own.map(|one| &*one.staple).collect();
        let all = || self.deployments().map(|(_, one)| one);
        let its_own = all().filter(|deployment| leaves(deployment).contains(&leaf));
        files.extend(its_own.filter_map(|one| Some(&*one.target()?.ours)));
        let shares =
            |one: &Deployment| one.target().is_some_and(|file| files.contains(&*file.ours));
        let mut kept: HashSet<Fingerprint> =
            all().filter(|one| shares(one)).flat_map(leaves).collect();
        let sharing = self.lineages.iter().filter(|one| files.contains(&*one.staple));
        kept.extend(sharing.map(|one| one.leaf.fingerprint()));
        kept.insert(leaf);

        let is_kept = |at: &usize| kept.contains(&self.lineages[*at].leaf.fingerprint());
        let order: Vec<usize> = (0..self.lineages.len()).filter(is_kept).collect();
        let now_at = |before: usize| order.binary_search(&before).ok();
        let moved = |lineages: &[usize]| lineages.iter().filter_map(|at| now_at(*at)).collect();
        let server = |server: &ServerModel| ServerModel {
            deployments: server
                .deployments
                .iter()
                .filter(|one| leaves(one).iter().any(|leaf| kept.contains(leaf)))
                .cloned()
                .collect(),
            ..server.clone()
        };
        let place = |(path, place): (&Arc<Path>, &Place)| {
            Some((path.clone(), Place { lineage: now_at(place.lineage)?, ..*place }))
        };
        Scan {
            certificates: self
                .certificates
                .iter()
                .filter(|found| kept.contains(&found.issued.fingerprint()))
                .map(|found| Found {
                    issued: found.issued.clone(),
                    lineages: moved(&found.lineages),
                })
                .collect(),
            missing_issuers: self
                .missing_issuers
                .iter()
                .filter(|missing| kept.contains(&missing.leaf.fingerprint()))
                .map(|missing| NeedsIssuer {
                    lineages: moved(&missing.lineages),
                    ..missing.clone()
                })
                .collect(),
            lineages: order.iter().map(|at| self.lineages[*at].clone()).collect(),
            servers: self.servers.iter().map(server).collect(),
            problems: self.problems.clone(),
            watch: self.watch.clone(),
            again_in: self.again_in,
            places: Arc::new(self.places.iter().filter_map(place).collect()),
        }
    }

    /// Whether a staple file for this deployment would keep its server from starting: HAProxy refuses one
    /// beside a certificate file whose issuer it cannot find (facts/servers.md 50).
    pub fn bars_staples(&self, server: Kind, deployment: &Deployment) -> bool {
        let lacks_issuer = |file: &MappedPath| {
            let with_issuer = self.place(&file.ours).is_some_and(|place| place.with_issuer);
            let beside = || {
                let mut name = file.ours.as_os_str().to_owned();
                name.push(".issuer");
                Path::new(&name).is_file()
            };
            !with_issuer && !beside()
        };
        let files = || deployment.certificates.iter().map(|one| &one.file);
        server == Kind::Haproxy && files().any(lacks_issuer)
    }

    /// The deployments of all servers, with their server's place in `servers`.
    pub fn deployments(&self) -> impl Iterator<Item = (usize, &Deployment)> {
        let servers = self.servers.iter().enumerate();
        servers.flat_map(|(at, server)| server.deployments.iter().map(move |one| (at, one)))
    }
}

/// Paths to watch, absolute; cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watched(Arc<[Arc<Path>]>);

impl Watched {
    /// The paths, in the order of their bytes, each once.
    pub fn iter(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().map(|path| &**path)
    }

    /// Whether both hold the same paths.
    pub(super) fn is_same(&self, other: &Watched) -> bool {
        let pairs = self.0.iter().zip(other.0.iter());
        let same = |(a, b): (&Arc<Path>, &Arc<Path>)| a.as_os_str() == b.as_os_str();
        self.0.len() == other.0.len() && pairs.into_iter().all(same)
    }

    /// Whether `path` is one of them.
    pub fn contains(&self, path: &Path) -> bool {
        self.0.binary_search_by(|one| one.as_os_str().cmp(path.as_os_str())).is_ok()
    }
}

impl<P: Into<Arc<Path>>> FromIterator<P> for Watched {
    fn from_iter<I: IntoIterator<Item = P>>(paths: I) -> Self {
        let mut paths: Vec<Arc<Path>> = paths.into_iter().map(Into::into).collect();
        paths.sort_unstable_by(|a, b| a.as_os_str().cmp(b.as_os_str()));
        paths.dedup_by(|a, b| a.as_os_str() == b.as_os_str());
        Watched(paths.into())
    }
}

/// A certificate that was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// The leaf and its issuer.
    pub issued: Issued,
    /// The lineages that hold it, as places in [`Scan::lineages`].
    pub lineages: Box<[usize]>,
}

/// A leaf whose issuer is nowhere on disk.
#[derive(Clone, Debug)]
pub struct NeedsIssuer {
    /// The leaf.
    pub leaf: Arc<Certificate>,
    /// Where its issuer can be fetched, as the leaf itself says: untrusted.
    pub ca_issuers_urls: Vec<String>,
    /// The lineages that hold it, as places in [`Scan::lineages`].
    pub lineages: Box<[usize]>,
}

/// A place that holds one certificate after another.
#[derive(Clone, Debug)]
pub struct Lineage {
    /// Which it is, also over renewals and restarts.
    pub key: LineageKey,
    /// What people call it.
    pub name: Arc<str>,
    /// The file that was believed, as the watch or the server spells it.
    pub path: Arc<Path>,
    /// The certificate in it now.
    pub leaf: Arc<Certificate>,
    /// What is known of its issuer.
    pub standing: Standing,
    /// Where its staple is published, besides the files that servers name.
    pub staple: Arc<Path>,
    /// It lies in a watched folder; otherwise a server names it.
    pub watched: bool,
    /// Its files are gone or cannot be read now: this is what they held before.
    pub stale: bool,
}

/// What is known of a leaf's issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It was found, and its key signed the leaf.
    Proven(Issued),
    /// The leaf signed itself: nobody can be asked about it.
    SelfSigned,
    /// It was not found; see [`Scan::missing_issuers`].
    NeedsIssuer,
}

/// What a certificate file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The lineage that it belongs to, as a place in [`Scan::lineages`].
    pub lineage: usize,
    /// The leaf in the file. While a client replaces files one by one, it may differ from the
    /// lineage's.
    pub leaf: Fingerprint,
    /// The leaf's issuer is in the file, too, by its name.
    pub with_issuer: bool,
}
