//! Which responder profile a certificate gets, and what that means for asking and judging.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use reqwest::Url;

use crate::config::settings::{CertIdHashChoice, IssuerMatch, IssuerProfile, Nonce};
use crate::fetch;
use crate::ocsp::Rules;
use crate::pki::{self, Certificate, Issued};

/// How the responders of some certificates are asked and how their answers are judged.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Profile {
    matches: IssuerMatch,
    responders: Option<Vec<String>>,
    pub(super) method: fetch::Method,
    pub(super) route: fetch::Route,
    pub(super) cert_id_hash: CertIdHashChoice,
    pub(super) nonce: Nonce,
    pub(super) rules: Rules,
}

/// All profiles, the first that matches wins; the last one matches everything.
#[derive(Clone, Debug)]
pub(super) struct Profiles(Vec<Arc<Profile>>);

/// A file that a profile names cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// It cannot be read.
    #[error("cannot read trusted_signer {}: {cause}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: std::io::Error,
    },
    /// It holds no certificate.
    #[error("trusted_signer {}: {cause}", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: pki::ReadError,
    },
}

impl Profiles {
    /// Reads the files that the profiles name.
    pub(super) fn read(profiles: &[IssuerProfile]) -> Result<Profiles, ProfileError> {
        let everything = IssuerProfile::default();
        let all = profiles.iter().chain([&everything]);
        all.map(|profile| read(profile).map(Arc::new)).collect::<Result<_, _>>().map(Profiles)
    }

    /// The profile for `issued`.
    pub(super) fn of(&self, issued: &Issued) -> &Arc<Profile> {
        let found = self.0.iter().find(|profile| profile.fits(issued));
        found.expect("the last profile fits everything")
    }
}

impl Profile {
    /// Where to ask about `issued`, in order.
    pub(super) fn responders(&self, issued: &Issued) -> Vec<String> {
        let own = || {
            let urls = issued.leaf.ocsp_urls();
            urls.into_iter().filter(|url| is_http(url)).collect()
        };
        self.responders.clone().unwrap_or_else(own)
    }

    fn fits(&self, issued: &Issued) -> bool {
        let IssuerMatch { ocsp_host, issuer, key_id } = &self.matches;
        let host_fits = |host: &String| {
            issued.leaf.ocsp_urls().iter().any(|url| {
                let url = Url::parse(url).ok();
                url.and_then(|url| Some(url.host_str()?.eq_ignore_ascii_case(host))) == Some(true)
            })
        };
        let issuer_fits = |name: &String| {
            let found = issued.leaf.issuer();
            found == *name || found.split(',').any(|part| part.trim() == name)
        };
        let key_fits = |wanted: &String| {
            let id = issued.issuer.subject_key_id().or_else(|| issued.leaf.authority_key_id());
            id.is_some_and(|id| hex(&id) == *wanted)
        };
        ocsp_host.as_ref().is_none_or(host_fits)
            && issuer.as_ref().is_none_or(issuer_fits)
            && key_id.as_ref().is_none_or(key_fits)
    }
}

fn is_http(url: &str) -> bool {
    let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
    scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read(profile: &IssuerProfile) -> Result<Profile, ProfileError> {
    let trusted_signers = match &profile.trusted_signer {
        Some(path) => certificates(path)?,
        None => Vec::new(),
    };
    Ok(Profile {
        matches: profile.matches.clone(),
        responders: profile.responders.clone(),
        method: profile.method,
        route: fetch::Route { proxy: profile.proxy.clone(), tls_ca: profile.tls_ca.clone() },
        cert_id_hash: profile.cert_id_hash,
        nonce: profile.nonce,
        rules: Rules {
            max_skew: profile.max_skew,
            missing_next_update: profile.missing_next_update,
            trusted_signers,
            allow_sha1_signatures: profile.allow_sha1_signatures,
            ..Rules::default()
        },
    })
}

fn certificates(path: &Path) -> Result<Vec<Arc<Certificate>>, ProfileError> {
    let path = path.to_owned();
    let bytes = std::fs::read(&path)
        .map_err(|cause| ProfileError::Unreadable { path: path.clone(), cause })?;
    let read = pki::read_certificates(&bytes)
        .map_err(|cause| ProfileError::NoCertificate { path, cause })?;
    Ok(read.into_iter().map(Arc::new).collect())
}
