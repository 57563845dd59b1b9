//! A toy CA and a forge for OCSP responses: every certificate and answer that tests can think of.
//!
//! ```ignore
//! let ca = Identity::root("Toy CA");                                   // P-256, self-signed
//! let ca = Draft { key: Key::new(Kind::Rsa2048), ..Draft::authority("RSA CA") }.self_signed();
//! let sub = ca.issue(Draft::authority("Sub CA"));
//! let leaf = ca.issue(Draft { must_staple: true, ocsp_urls: vec![url], ..Draft::leaf("www.example.org") });
//! fs::write("chain.pem", leaf.chain_pem());
//! fs::write("key.pem", leaf.key_pem());
//!
//! let der = Forge::new(&leaf, now).der();                              // good, signed by its issuer, 7 days
//! let der = Forge::new(&leaf, now).status(Said::Revoked { time: now, reason: Some(1) }).der();
//! let delegate = ca.issue(Draft::delegate("Responder"));
//! let der = Forge::new(&leaf, now).until(Some(now + 12 * HOUR)).delegated(&delegate).der();
//! let der = Forge { version: Some(1), ..Forge::new(&leaf, now) }.der();  // every field is a knob
//! let der = answer(request_der, &[&leaf, &other], now);                // for a scripted responder
//! ```
//!
//! Times are seconds since 1970 (`i64`); [`at`] reads RFC 3339. Certificates are valid from 2020 to
//! 2049 unless told otherwise, so that tests at a fixed instant and tests against real servers can
//! share them. `ca` knows nothing of the crate under test: it writes DER with its own hands
//! ([`der`]) and signs with aws-lc-rs, or with the openssl program where aws-lc-rs would not
//! ([`Scheme::Openssl`]). Examples, benches and unit tests can take it in by
//! `#[path = "../tests/it/support/ca/mod.rs"] mod ca;`.

#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    missing_docs,
    reason = "each user needs another part of it"
)]

mod certificate;
pub mod der;
mod key;
mod response;

pub use certificate::{Draft, Identity, OCSP_SIGNING, SERVER_AUTH};
pub use key::{Key, Kind, Scheme, openssl};
pub use response::{
    CertHash, Claim, Forge, Named, Question, Said, Single, answer, nonce_extension, refusal,
};

/// One hour in seconds.
pub const HOUR: i64 = 3_600;
/// One day in seconds.
pub const DAY: i64 = 24 * HOUR;

/// Seconds since 1970 of an RFC 3339 instant.
pub fn at(text: &str) -> i64 {
    text.parse::<jiff::Timestamp>().expect("an RFC 3339 instant").as_second()
}
