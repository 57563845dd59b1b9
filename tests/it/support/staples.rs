//! Verified staples, ready to be kept and published.

use std::sync::Arc;

use staplekeeper::ocsp::{self, Response, Rules, Staple};
use staplekeeper::pki::{Certificate, Issued};
use staplekeeper::time::UnixTime;

use super::ca::{Draft, Forge, Identity, at};

/// When the staples made here were fetched.
pub const NOW: &str = "2026-03-01T12:00:00Z";

/// `count` leaves of one CA.
pub fn leaves(count: usize) -> Vec<Identity> {
    let root = Identity::root("Toy CA");
    (0..count).map(|n| root.issue(Draft::leaf(&format!("www{n}.example.org")))).collect()
}

/// A sound staple for a leaf, made `age` seconds before [`NOW`].
pub fn staple(leaf: &Identity, age: i64) -> Staple {
    let read = |der: &[u8]| Arc::new(Certificate::from_der(der).expect("a certificate"));
    let issued = Issued::prove(read(&leaf.der), read(&leaf.issuer().der)).expect("it issued it");
    let response = Response::decode(&Forge::new(leaf, at(NOW) - age).der()).expect("a response");
    let now = UnixTime::from_secs(at(NOW));
    ocsp::verify(response, &issued, &Rules::default(), now).expect("a sound response")
}
