//! What certificates there are, where they are presented and how their staples get there: a value made of
//! a [`Scan`], for people ([`table()`]), programs (JSON) and spreadsheets ([`csv()`]).

mod csv;
mod table;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::Serialize;

use crate::digest::Fingerprint;
use crate::discover::{Deployment, Scan, ServerModel, Standing};
use crate::pki::{Certificate, Issued};
use crate::time::UnixTime;

pub use csv::csv;
pub use table::table;

/// The number of this document's shape; grows when a reader would be surprised.
pub const SCHEMA: u32 = 1;

/// Every certificate that was found. Times are RFC 3339, UTC.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Inventory {
    /// [`SCHEMA`].
    pub schema: u32,
    /// When this was true.
    pub at: UnixTime,
    /// What wants a look first: Must-Staple without stapling, then Must-Staple, then by their end.
    pub certificates: Vec<Entry>,
    /// What could not be read, in words.
    pub problems: Vec<String>,
}

/// One certificate.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Entry {
    /// What people call its lineage; the first of them by the alphabet where several hold it.
    pub name: String,
    /// Every lineage that holds it.
    pub lineages: Vec<String>,
    /// SHA-256 of its DER.
    pub fingerprint: Fingerprint,
    /// Hexadecimal.
    pub serial: String,
    /// RFC 4514 text, the most specific part first; empty where it has none.
    pub subject: String,
    /// Its alternative names.
    pub names: Vec<String>,
    /// Who issued it, as it says itself.
    pub issuer: String,
    /// The issuer was found and its key signed the leaf.
    pub issuer_proven: bool,
    /// The topmost CA that is known by name; absent where the issuer was not found.
    pub root: Option<String>,
    /// `P-256`, `RSA-2048`.
    pub key_type: String,
    /// RFC 7633.
    pub must_staple: bool,
    /// Not valid before.
    pub not_before: UnixTime,
    /// Not valid after.
    pub not_after: UnixTime,
    /// The OCSP responders that it names; empty is the normal state of many certificates.
    pub ocsp_urls: Vec<String>,
    /// Where it is asked about: the same, unless a profile says otherwise.
    pub responders: Vec<String>,
    /// The certificate files that were believed, one a lineage.
    pub files: Vec<String>,
    /// Where servers present it.
    pub deployments: Vec<Deployed>,
    /// Where its staple is published besides, for whoever reads it there.
    pub kept_at: Option<String>,
}

/// One place where a server presents a certificate.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Deployed {
    /// `nginx` and the like.
    pub server: String,
    /// Its configuration file.
    pub config: Option<String>,
    /// What it answers to there; empty: it has no name of its own.
    pub names: Vec<String>,
    /// Where it listens with TLS.
    pub listeners: Vec<String>,
    /// The file in which the block begins.
    pub file: String,
    /// The line on which it begins, from 1.
    pub line: u32,
    /// The certificate file that is named there, as the server sees it.
    pub certificate: String,
    /// Stapling is switched on there.
    pub stapling: bool,
    /// How the staple gets there.
    pub published: Published,
}

/// How a staple gets to a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "how", content = "where", rename_all = "kebab-case")]
pub enum Published {
    /// By a file that the server reads, as we see it.
    File(String),
    /// By mod_md's store: its folder.
    Store(String),
    /// The server asks the responder that its configuration names.
    Responder(String),
    /// The server asks the certificate's own responder, when it sees fit.
    Itself,
    /// Not at all.
    None,
}

impl Published {
    /// What a deployment says.
    pub fn of(deployment: &Deployment) -> Published {
        let store = deployment.apache.as_ref().and_then(|apache| apache.store.as_ref());
        if let Some(store) = store {
            return Published::Store(store.folder.ours.display().to_string());
        }
        let on = deployment.stapling.as_ref().is_some_and(|stapling| stapling.value);
        match (deployment.target(), deployment.responder_url()) {
            (Some(file), _) => Published::File(file.ours.display().to_string()),
            (None, Some(url)) => Published::Responder(url.to_owned()),
            (None, None) if on => Published::Itself,
            (None, None) => Published::None,
        }
    }

    /// In a word.
    pub fn word(&self) -> &'static str {
        match self {
            Published::File(_) => "file",
            Published::Store(_) => "store",
            Published::Responder(_) => "responder",
            Published::Itself => "itself",
            Published::None => "none",
        }
    }

    /// Its path or URL, where it has one.
    pub fn place(&self) -> Option<&str> {
        match self {
            Published::File(place) | Published::Store(place) | Published::Responder(place) => {
                Some(place)
            }
            Published::Itself | Published::None => None,
        }
    }
}

impl Inventory {
    /// Makes the inventory of what a scan found. `responders` says where a certificate is asked about.
    pub fn of(scan: &Scan, at: UnixTime, responders: impl Fn(&Issued) -> Vec<String>) -> Inventory {
        let mut deployed = deployed(scan);
        let authorities = authorities(scan);
        let mut certificates = Vec::new();
        for found in &scan.certificates {
            let Issued { leaf, issuer, .. } = &found.issued;
            let entry = Entry {
                issuer_proven: true,
                root: Some(root(issuer, &authorities)),
                responders: responders(&found.issued),
                ..entry(scan, leaf, &found.lineages, &mut deployed)
            };
            certificates.push(entry);
        }
        for missing in &scan.missing_issuers {
            certificates.push(entry(scan, &missing.leaf, &missing.lineages, &mut deployed));
        }
        let mut own: BTreeMap<Fingerprint, Vec<usize>> = BTreeMap::new();
        for (number, lineage) in scan.lineages.iter().enumerate() {
            if lineage.standing == Standing::SelfSigned {
                own.entry(lineage.leaf.fingerprint()).or_default().push(number);
            }
        }
        for lineages in own.into_values() {
            let leaf = scan.lineages[lineages[0]].leaf.clone();
            let root = Some(leaf.subject());
            let entry = entry(scan, &leaf, &lineages, &mut deployed);
            certificates.push(Entry { issuer_proven: true, root, ..entry });
        }
        certificates.sort_by(|one, other| {
            let key = |entry: &Entry| (!entry.lacks_staple(), !entry.must_staple, entry.not_after);
            key(one).cmp(&key(other)).then_with(|| one.name.cmp(&other.name))
        });
        let problems =
            scan.problems.iter().chain(scan.servers.iter().flat_map(|one| &one.problems));
        let problems = problems.map(ToString::to_string).collect();
        Inventory { schema: SCHEMA, at, certificates, problems }
    }
}

impl Entry {
    /// It demands a staple, and a server presents it without.
    pub fn lacks_staple(&self) -> bool {
        self.must_staple && self.deployments.iter().any(|one| one.published == Published::None)
    }
}

fn entry(
    scan: &Scan,
    leaf: &Arc<Certificate>,
    lineages: &[usize],
    deployed: &mut HashMap<Fingerprint, Vec<Deployed>>,
) -> Entry {
    let held: Vec<_> = lineages.iter().map(|at| &scan.lineages[*at]).collect();
    let mut names: Vec<String> = held.iter().map(|one| one.name.to_string()).collect();
    names.sort();
    let deployments = deployed.remove(&leaf.fingerprint()).unwrap_or_default();
    let watched = held.iter().find(|one| one.watched || deployments.is_empty());
    let ocsp_urls = leaf.ocsp_urls();
    Entry {
        name: names.first().cloned().unwrap_or_default(),
        lineages: names,
        fingerprint: leaf.fingerprint(),
        serial: leaf.serial().to_string(),
        subject: leaf.subject(),
        names: leaf.names(),
        issuer: leaf.issuer(),
        issuer_proven: false,
        root: None,
        key_type: leaf.key_type().to_string(),
        must_staple: leaf.must_staple(),
        not_before: leaf.not_before(),
        not_after: leaf.not_after(),
        responders: ocsp_urls.clone(),
        kept_at: watched.map(|one| one.staple.display().to_string()),
        ocsp_urls,
        files: held.iter().map(|one| one.path.display().to_string()).collect(),
        deployments,
    }
}

/// Where each leaf is presented, in the order of the servers.
fn deployed(scan: &Scan) -> HashMap<Fingerprint, Vec<Deployed>> {
    let mut found: HashMap<Fingerprint, Vec<Deployed>> = HashMap::new();
    for (server, deployment) in scan.deployments() {
        for presented in &deployment.certificates {
            let Some(place) = scan.place(&presented.file.ours) else { continue };
            let certificate = presented.file.theirs.display().to_string();
            let one = presents(&scan.servers[server], deployment, certificate);
            found.entry(place.leaf).or_default().push(one);
        }
    }
    found
}

fn presents(server: &ServerModel, deployment: &Deployment, certificate: String) -> Deployed {
    let published = Published::of(deployment);
    Deployed {
        server: server.kind.to_string(),
        config: server.config.as_ref().map(|path| path.display().to_string()),
        names: deployment.names.iter().map(ToString::to_string).collect(),
        listeners: deployment.listeners.iter().map(|one| one.address.to_string()).collect(),
        file: deployment.origin.file.display().to_string(),
        line: deployment.origin.line,
        certificate,
        stapling: published != Published::None,
        published,
    }
}

/// The issuers that were found, by their names.
fn authorities(scan: &Scan) -> HashMap<&[u8], &Certificate> {
    let issuers = scan.certificates.iter().map(|found| &*found.issued.issuer);
    issuers.map(|issuer| (issuer.subject_der(), issuer)).collect()
}

/// The topmost CA above `issuer` that somebody here names. It is not proven: the root lies with clients.
fn root(issuer: &Certificate, authorities: &HashMap<&[u8], &Certificate>) -> String {
    let mut top = issuer;
    // A chain that is longer leads round in a circle.
    for _ in 0..8 {
        match authorities.get(top.issuer_der()) {
            Some(above) if !top.is_self_issued() => top = above,
            _ => break,
        }
    }
    top.issuer()
}
