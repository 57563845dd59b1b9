//! The certificates that the tables are about, and the words in which they say what they expect.

use std::sync::Arc;

use staplekeeper::ocsp::{self, Response, Rules};
use staplekeeper::pki::{Certificate, Issued};
use staplekeeper::time::{UnixTime, parse_duration};

use crate::support::ca::{Draft, Identity, Kind, der};

/// A CA `CN=Toy CA` with a leaf of serial 1001, and everybody who might speak in its name.
pub(super) struct World {
    /// The real time, since openssl judges by it.
    pub(super) now: i64,
    pub(super) ca: Identity,
    pub(super) leaf: Identity,
    /// Another leaf of the CA, serial 1002.
    pub(super) sibling: Identity,
    /// `CN=RSA CA`, its leaf of serial 1001, and delegates are made as needed.
    pub(super) rsa_leaf: Identity,
    /// The CA's name with another key.
    pub(super) rekeyed: Identity,
    /// `CN=Other CA`.
    pub(super) other: Identity,
    /// `CN=Responder`, as it should be.
    pub(super) delegate: Identity,
    /// `CN=VA`, a signer that configuration may name.
    pub(super) authority: Identity,
}

impl World {
    pub(super) fn new() -> World {
        let now = jiff::Timestamp::now().as_second();
        let ca = Identity::root("Toy CA");
        let rsa_ca = Draft::authority("RSA CA").keyed(Kind::Rsa2048, 1).self_signed();
        let leaf =
            |serial: u8| Draft { serial: vec![0x10, serial], ..Draft::leaf("www.example.org") };
        World {
            now,
            leaf: ca.issue(leaf(1)),
            sibling: ca.issue(leaf(2)),
            rsa_leaf: rsa_ca.issue(leaf(1)),
            rekeyed: Identity::root("Toy CA"),
            other: Identity::root("Other CA"),
            delegate: ca.issue(Draft::delegate("Responder")),
            authority: Draft { authority: None, ..Draft::authority("VA") }.self_signed(),
            ca,
        }
    }

    /// The expected line with its words filled in: `{now}`, `{now-8d}`, `{now+6m}`, and the hashes
    /// `{sha1 name CA}`, `{sha1 key CA}` of the issuers.
    pub(super) fn fill(&self, line: &str) -> String {
        let mut filled = String::new();
        let mut rest = line;
        while let Some((before, word)) = rest.split_once('{') {
            let (word, after) = word.split_once('}').expect("a word ends with a brace");
            filled.push_str(before);
            filled.push_str(&self.word(word));
            rest = after;
        }
        filled + rest
    }

    fn word(&self, word: &str) -> String {
        if let Some(offset) = word.strip_prefix("now") {
            let length = |text: &str| {
                i64::try_from(parse_duration(text).expect("a duration").as_secs()).expect("short")
            };
            let seconds = match offset.split_at_checked(1) {
                Some(("+", later)) => length(later),
                Some(("-", before)) => -length(before),
                _ => 0,
            };
            return UnixTime::from_secs(self.now + seconds).to_string();
        }
        let sha1 = |bytes: &[u8]| {
            let algorithm = &aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY;
            hex(aws_lc_rs::digest::digest(algorithm, bytes).as_ref())
        };
        match word {
            "sha1 name Toy CA" => sha1(&der::name("Toy CA")),
            "sha1 name Other CA" => sha1(&der::name("Other CA")),
            "sha1 key Toy CA" => hex(&self.ca.key.id()),
            "sha1 key rekeyed" => hex(&self.rekeyed.key.id()),
            "sha1 key Responder" => hex(&self.delegate.key.id()),
            "sha1 key Other CA" => hex(&self.other.key.id()),
            other => panic!("{{{other}}} is not a word"),
        }
    }
}

/// A leaf and its issuer as the crate sees them.
pub(super) fn issued(leaf: &Identity) -> Issued {
    Issued::prove(read(leaf), read(leaf.issuer())).expect("the issuer signed the leaf")
}

/// A certificate as the crate sees it.
pub(super) fn read(identity: &Identity) -> Arc<Certificate> {
    Arc::new(Certificate::from_der(&identity.der).expect("a certificate"))
}

/// What we say about `der` as the answer about `leaf`: its status and who signed it, or the reason
/// against it.
pub(super) fn judge(
    der: &[u8],
    leaf: &Identity,
    rules: &Rules,
    now: i64,
) -> Result<String, String> {
    let response = Response::decode(der).map_err(|error| error.to_string())?;
    let staple = ocsp::verify(response, &issued(leaf), rules, UnixTime::from_secs(now))
        .map_err(|reason| reason.to_string())?;
    assert_eq!(staple.der(), der, "the bytes are kept as they came");
    Ok(format!("{}, signed by {}", staple.status(), staple.signer()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Six minutes: just beyond the tolerance for clocks.
pub(super) const SIX_MINUTES: i64 = 360;
