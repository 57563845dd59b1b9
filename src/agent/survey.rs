//! One look for a command: what is on disk and in the servers' configurations, beside a running agent or
//! without one. Reads files only: nothing is asked, written or locked.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::model::scan_settings;
use super::prepare::{self, on_every_core};
use super::profiles::{ProfileError, Profiles};
use crate::clock::{Clock, SystemClock};
use crate::config::Settings;
use crate::digest::Fingerprint;
use crate::discover::{Names, Scan, Scanner, Standing, former};
use crate::lint::{Leaf, Lying};
use crate::ocsp::{Response, verify_again};
use crate::pki::signature::Checked;
use crate::pki::{Certificate, Issued};
use crate::publish::{self, Target, What};
use crate::store::StateDir;
use crate::time::UnixTime;

/// What a look showed.
#[derive(Debug)]
pub struct Survey {
    /// Certificates and servers.
    pub scan: Scan,
    /// When.
    pub at: UnixTime,
    /// What of the agent's own state this user could not read, and what follows from that.
    pub unread: Vec<String>,
    profiles: Profiles,
    state: StateDir,
    checked: Checked,
}

impl Survey {
    /// Looks.
    ///
    /// # Errors
    /// A file that an `[[issuer]]` names cannot be used.
    pub fn take(settings: &Settings) -> Result<Survey, ProfileError> {
        let profiles = Profiles::read(&settings.issuers)?;
        let state = StateDir::new(&settings.state_dir);
        let mut unread = Vec::new();
        let names = state.names().map_err(|error| error.to_string());
        let names = names.and_then(|names| Names::try_from(names).map_err(|e| e.to_string()));
        let mut names = names.unwrap_or_else(|error| {
            unread.push(format!("{error}: names may differ from the agent's"));
            Names::default()
        });
        let (issuers, lost) = state.issuers();
        unread.extend(lost.iter().map(ToString::to_string));
        let issuers: Vec<_> = issuers.into_iter().map(Arc::new).collect();
        let checked = state.checked();
        let mut scanner = Scanner::new(scan_settings(settings));
        scanner.set_checked(checked.clone());
        let scan = scanner.scan(&issuers, &mut names);
        let at = SystemClock.now().wall;
        Ok(Survey { scan, at, unread, profiles, state, checked })
    }

    /// Where a certificate is asked about, in order.
    pub fn responders(&self, issued: &Issued) -> Vec<String> {
        self.profiles.of(issued).responders(issued)
    }

    /// Every leaf, with the last good response that the agent keeps about those which servers present,
    /// or about `only` one of them.
    pub fn leaves(&self, only: Option<Fingerprint>) -> HashMap<Fingerprint, Leaf> {
        let places = self.scan.deployments().flat_map(|(_, one)| one.certificates.iter());
        let places = places.filter_map(|one| self.scan.place(&one.file.ours));
        let shown = places.map(|place| place.leaf);
        let shown: HashSet<_> =
            shown.filter(|leaf| only.is_none_or(|only| only == *leaf)).collect();
        let jobs = self.scan.certificates.iter().map(|found| &found.issued);
        let jobs = jobs.filter(|issued| shown.contains(&issued.fingerprint()));
        let jobs: Vec<_> =
            jobs.map(|issued| (issued.clone(), self.profiles.of(issued).clone())).collect();
        let mut kept = prepare::load(&self.state, &jobs, self.at, &self.checked);
        let mut leaves = HashMap::with_capacity(self.scan.certificates.len());
        for found in &self.scan.certificates {
            let leaf = self.leaf(&found.issued.leaf, &found.lineages, Some(&found.issued));
            let kept = kept.remove(&found.issued.fingerprint());
            leaves.insert(found.issued.fingerprint(), Leaf { kept, ..leaf });
        }
        for missing in &self.scan.missing_issuers {
            let leaf = self.leaf(&missing.leaf, &missing.lineages, None);
            leaves.insert(missing.leaf.fingerprint(), leaf);
        }
        for (at, lineage) in self.scan.lineages.iter().enumerate() {
            if lineage.standing == Standing::SelfSigned {
                let leaf = self.leaf(&lineage.leaf, &[at], None);
                leaves.entry(lineage.leaf.fingerprint()).or_insert(leaf);
            }
        }
        leaves
    }

    fn leaf(
        &self,
        certificate: &Arc<Certificate>,
        lineages: &[usize],
        issued: Option<&Issued>,
    ) -> Leaf {
        let names = lineages.iter().map(|at| self.scan.lineages[*at].name.clone());
        Leaf {
            name: names.min().unwrap_or_default(),
            certificate: certificate.clone(),
            issued: issued.cloned(),
            responders: match issued {
                Some(issued) => self.responders(issued),
                None => certificate.ocsp_urls(),
            },
            kept: None,
            lost: None,
        }
    }

    /// Puts down what leaves have lost: the responder that the certificate before named. They are looked at
    /// where something hangs on it: a server is told to staple, or clients demand it.
    pub fn look_back(&self, leaves: &mut HashMap<Fingerprint, Leaf>, unread: &mut Vec<String>) {
        let mut hanging = HashSet::new();
        for (_, deployment) in self.scan.deployments() {
            let staples = deployment.target().is_some()
                || deployment.stapling.as_ref().is_some_and(|stapling| stapling.value);
            for presented in &deployment.certificates {
                let place = self.scan.place(&presented.file.ours);
                let leaf = place.and_then(|place| leaves.get(&place.leaf));
                let leaf = leaf.filter(|leaf| !leaf.is_answered() && !leaf.is_self_signed());
                let leaf = leaf.filter(|leaf| staples || leaf.must());
                hanging.extend(leaf.map(|leaf| leaf.certificate.fingerprint()));
            }
        }
        if hanging.is_empty() {
            return;
        }
        let remembered = self.state.lost().unwrap_or_else(|error| {
            unread.push(format!("{error}: which certificates lost their OCSP URL is not known"));
            BTreeMap::new()
        });
        let lineages = self.scan.lineages.iter();
        let lineages: Vec<_> =
            lineages.filter(|one| hanging.contains(&one.leaf.fingerprint())).collect();
        let lost = on_every_core(&lineages, |lineage| {
            let former = || former(&lineage.path, lineage.leaf.fingerprint());
            let known = remembered.get(&*lineage.name).cloned();
            known.or_else(|| former()?.ocsp_urls().into_iter().next())
        });
        for (lineage, url) in lineages.into_iter().zip(lost) {
            let (Some(leaf), Some(url)) = (leaves.get_mut(&lineage.leaf.fingerprint()), url) else {
                continue;
            };
            leaf.lost.get_or_insert_with(|| url.into());
        }
    }

    /// What lies in each staple file that a server names, judged for every certificate that is presented
    /// with it; or in those of `only` one certificate.
    pub fn staples(
        &self,
        leaves: &HashMap<Fingerprint, Leaf>,
        only: Option<Fingerprint>,
    ) -> BTreeMap<Arc<Path>, Lying> {
        let mut named: BTreeMap<Arc<Path>, Vec<&Leaf>> = BTreeMap::new();
        for (_, deployment) in self.scan.deployments() {
            let Some(target) = deployment.target() else { continue };
            let entry = named.entry(target.ours.clone()).or_default();
            for presented in &deployment.certificates {
                let place = self.scan.place(&presented.file.ours);
                let leaf = place.and_then(|place| leaves.get(&place.leaf));
                let new = |leaf: &&Leaf| {
                    let own = leaf.certificate.fingerprint();
                    entry.iter().all(|known| known.certificate.fingerprint() != own)
                };
                entry.extend(leaf.filter(new));
            }
        }
        let wanted = |leaf: &&Leaf| only.is_none_or(|only| only == leaf.certificate.fingerprint());
        let named: Vec<_> =
            named.into_iter().filter(|(_, leaves)| leaves.iter().any(wanted)).collect();
        let lying = on_every_core(&named, |(path, leaves)| self.lying(path, leaves));
        named.into_iter().map(|(path, _)| path).zip(lying).collect()
    }

    fn lying(&self, path: &Path, leaves: &[&Leaf]) -> Lying {
        let bytes = match publish::inspect(&Target::File(path.into())) {
            Ok(What::Missing) => return Lying::Missing,
            Ok(What::Placeholder) => return Lying::Placeholder(age(path)),
            Ok(What::Bytes(bytes)) => bytes,
            Ok(What::Entry(entry)) => entry.response,
            Err(error) if is_closed(path) => return Lying::Hidden(error.to_string()),
            Err(_) => return Lying::Unusable("is no file, or too long for a staple".to_owned()),
        };
        let response = match Response::decode(&bytes) {
            Ok(response) => response,
            Err(error) => return Lying::Unusable(format!("is no OCSP response ({error})")),
        };
        let judge = |leaf: &&Leaf| {
            let issued = leaf.issued.as_ref()?;
            let rules = &self.profiles.of(issued).rules;
            let outcome = verify_again(response.clone(), issued, rules, self.at, &self.checked);
            Some((issued.fingerprint(), outcome))
        };
        Lying::Response(leaves.iter().filter_map(judge).collect())
    }
}

/// For how long a file has been as it is.
fn age(path: &Path) -> Duration {
    let written = std::fs::metadata(path).and_then(|found| found.modified()).ok();
    written.and_then(|at| SystemTime::now().duration_since(at).ok()).unwrap_or_default()
}

/// It is there, and this user may not read it.
fn is_closed(path: &Path) -> bool {
    let opened = std::fs::metadata(path).and_then(|found| match found.is_file() {
        true => std::fs::File::open(path).map(drop),
        false => Ok(()),
    });
    opened.is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
}
