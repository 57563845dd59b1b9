//! The TLS directives of the main server or a virtual host, and what a virtual host inherits.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::stapling::{Sayings, renew_window};
use super::variables::path;
use crate::discover::model::{Origin, Presented, Stated};
use crate::discover::problem::{Problem, What};
use crate::discover::settings::{MappedPath, PathMap};

/// So many certificates of a virtual host take the place of the main server's with the same number, as in
/// `modssl_ctx_cfg_merge_certkeys_array`.
const REPLACED: usize = 3;

/// The words of a directive.
pub(super) type Words<'w> = [Cow<'w, [u8]>];

/// How Apache makes a path absolute, and how we find it.
#[derive(Clone, Debug)]
pub(super) struct Paths<'a> {
    /// `ServerRoot`, as Apache sees it: what relative paths start from.
    pub(super) root: PathBuf,
    /// From there to here.
    pub(super) map: &'a PathMap,
}

impl Paths<'_> {
    /// The file that `word` names.
    pub(super) fn resolve(&self, word: &[u8]) -> MappedPath {
        self.map.ours(&self.root.join(path(word)))
    }
}

/// One `SSLCertificateFile`.
#[derive(Clone, Debug)]
pub(super) enum Certificate {
    File(Presented),
    /// On a token: `pkcs11:…`.
    Elsewhere(Arc<Origin>),
}

/// What one server says by itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Level {
    pub(super) certificates: Vec<Certificate>,
    pub(super) engine: Option<bool>,
    pub(super) stapling: Option<Arc<Stated<bool>>>,
    pub(super) force_url: Option<Arc<Stated<String>>>,
    pub(super) sayings: Sayings,
    /// Files of CA certificates.
    pub(super) issuers: Option<Arc<[MappedPath]>>,
    /// Folders of them: `SSLCACertificatePath`.
    pub(super) issuer_folders: Vec<MappedPath>,
    pub(super) proxy_protocol: Option<bool>,
}

impl Level {
    /// Takes in a directive (its name in lower case) if it is one of TLS's.
    ///
    /// # Errors
    /// Apache would refuse its value.
    pub(super) fn take(
        &mut self,
        name: &str,
        words: &Words<'_>,
        origin: &Origin,
        paths: &Paths<'_>,
    ) -> Result<(), Box<Problem>> {
        let wrong = || bad_value(name, words, origin);
        let one = || only(words).ok_or_else(wrong);
        let flag = || on_or_off(words).ok_or_else(wrong);
        let seconds = || seconds(words).ok_or_else(wrong);
        let stated = |value| Some(Arc::new(Stated { value, origin: origin.clone() }));
        match name {
            "sslcertificatefile" => {
                let word = one()?;
                self.certificates.push(if word.starts_with(b"pkcs11:") {
                    Certificate::Elsewhere(Arc::new(origin.clone()))
                } else {
                    let file = paths.resolve(word);
                    Certificate::File(Presented { file, origin: origin.clone() })
                });
            }
            "sslcertificatechainfile" | "sslcacertificatefile" => {
                let file = paths.resolve(one()?);
                let known = self.issuers.iter().flat_map(|files| files.iter().cloned());
                self.issuers = Some(known.chain([file]).collect());
            }
            "sslcacertificatepath" => self.issuer_folders.push(paths.resolve(one()?)),
            "sslengine" => {
                // `optional` waits for clients that ask for TLS in HTTP (RFC 2817).
                let optional = one()?.eq_ignore_ascii_case(b"optional");
                self.engine = Some(if optional { false } else { flag()? });
            }
            "sslusestapling" => self.stapling = stated(flag()?),
            "sslstaplingforceurl" => {
                let value = text(one()?);
                self.force_url = Some(Arc::new(Stated { value, origin: origin.clone() }));
            }
            "sslstaplingstandardcachetimeout" => self.sayings.keeps_answers = Some(seconds()?),
            "sslstaplingerrorcachetimeout" => self.sayings.keeps_errors = Some(seconds()?),
            "sslstaplingrespondertimeout" => self.sayings.waits = Some(seconds()?),
            "sslstaplingreturnrespondererrors" => self.sayings.returns_errors = stated(flag()?),
            "sslstaplingfaketrylater" => self.sayings.fakes_try_later = stated(flag()?),
            "mdstapling" => self.sayings.by_md = stated(flag()?),
            "mdstapleothers" => self.sayings.others = Some(flag()?),
            "mdstaplingrenewwindow" => {
                let window = renew_window(&text(one()?)).ok_or_else(wrong)?;
                self.sayings.renew_window = Some(window);
            }
            "remoteipproxyprotocol" => self.proxy_protocol = Some(flag()?),
            _ => {}
        }
        Ok(())
    }

    /// What is in effect where `self` is said inside of `outer`.
    pub(super) fn within(self, outer: &Level) -> Level {
        let own = self.certificates.len();
        let mut certificates = self.certificates;
        // What the virtual host has no certificate for by its number, it has from the main server.
        certificates.extend(outer.certificates.iter().take(REPLACED).skip(own).cloned());
        let issuers = match (self.issuers, &outer.issuers) {
            (Some(own), Some(outer)) => Some(own.iter().chain(outer.iter()).cloned().collect()),
            (own, outer) => own.or_else(|| outer.clone()),
        };
        let mut issuer_folders = self.issuer_folders;
        issuer_folders.extend(outer.issuer_folders.iter().cloned());
        Level {
            certificates,
            engine: self.engine.or(outer.engine),
            stapling: self.stapling.or_else(|| outer.stapling.clone()),
            force_url: self.force_url.or_else(|| outer.force_url.clone()),
            sayings: self.sayings.within(&outer.sayings),
            issuers,
            issuer_folders,
            proxy_protocol: self.proxy_protocol.or(outer.proxy_protocol),
        }
    }
}

/// The only argument of a directive.
pub(super) fn only<'w>(words: &'w Words<'_>) -> Option<&'w [u8]> {
    match words {
        [word] if !word.is_empty() => Some(word),
        _ => None,
    }
}

fn on_or_off(words: &Words<'_>) -> Option<bool> {
    match only(words)? {
        word if word.eq_ignore_ascii_case(b"on") => Some(true),
        word if word.eq_ignore_ascii_case(b"off") => Some(false),
        _ => None,
    }
}

fn seconds(words: &Words<'_>) -> Option<Duration> {
    let word = std::str::from_utf8(only(words)?).ok()?;
    word.parse().ok().map(Duration::from_secs)
}

pub(super) fn bad_value(name: &str, words: &Words<'_>, origin: &Origin) -> Box<Problem> {
    let value: Vec<_> = words.iter().map(|word| text(word)).collect();
    let what = What::BadValue { directive: name.to_owned(), value: value.join(" ") };
    Box::new(Problem::at(origin, what))
}

pub(super) fn text(word: &[u8]) -> String {
    String::from_utf8_lossy(word).into_owned()
}
