//! Any bytes as the answer about one certificate: only what its CA signed is believed.
//!
//! The CA's responses never leave this program, so nothing that a fuzzer makes up may be accepted.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use staplekeeper::ocsp::{self, Response, Rules};
use staplekeeper::pki::{Certificate, Issued};
use staplekeeper::time::UnixTime;

#[path = "../../tests/it/support/ca/mod.rs"]
mod ca;

static PAIR: LazyLock<Issued> = LazyLock::new(|| {
    let authority = ca::Identity::root("Toy CA");
    let leaf = authority.issue(ca::Draft::leaf("www.example.org"));
    let read = |der: &[u8]| Arc::new(Certificate::from_der(der).expect("a certificate"));
    Issued::prove(read(&leaf.der), read(&authority.der)).expect("it signed the leaf")
});

fuzz_target!(|bytes: &[u8]| {
    if let Ok(response) = Response::decode(bytes) {
        let now = UnixTime::from_secs(ca::at("2026-03-01T12:00:00Z"));
        let verdict = ocsp::verify(response, &PAIR, &Rules::default(), now);
        assert!(verdict.is_err(), "{verdict:?}");
    }
});
