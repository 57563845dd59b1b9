//! What judging costs beyond the signature check that nobody can do without.
//!
//! `cargo bench --bench judge`: processor time of one call, the best of several rounds, since other
//! programs run on this machine too.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use staplekeeper::ocsp::{self, CertIdHash, Response, Rules};
use staplekeeper::pki::{Certificate, Issued, signature};
use staplekeeper::time::UnixTime;

#[path = "../tests/it/support/ca/mod.rs"]
mod ca;

use ca::{Draft, Forge, Identity, Kind};

const ROUNDS: u32 = 7;
const CALLS: u32 = 500;

fn main() {
    for (name, kind) in [("P-256", Kind::P256), ("RSA-2048", Kind::Rsa2048)] {
        println!("\n{name}, microseconds of processor time");
        rows(&Draft::authority("Toy CA").keyed(kind, 1).self_signed(), kind);
    }
}

fn rows(authority: &Identity, kind: Kind) {
    let now = ca::at("2026-03-01T12:00:00Z");
    let leaf = authority.issue(Draft::leaf("www.example.org"));
    let delegate = authority.issue(Draft::delegate("Responder").keyed(kind, 2));
    let direct = Forge::new(&leaf, now).der();
    let delegated = Forge::new(&leaf, now).delegated(&delegate).der();
    let (rules, now) = (Rules::default(), UnixTime::from_secs(now));
    let certificate = read(&leaf);
    let pair = Issued::prove(certificate.clone(), read(authority)).expect("it signed the leaf");
    let judge = |der: &[u8]| {
        let response = Response::decode(der).expect("a response");
        ocsp::verify(response, &pair, &rules, now).expect("it is sound")
    };
    let check = || {
        let (algorithm, key) = (certificate.signature_algorithm_der(), pair.issuer.spki_der());
        let (message, bytes) = (certificate.signed_part(), certificate.signature());
        signature::verify(algorithm, key, message, bytes, false).expect("it signed the leaf")
    };
    row("one signature check", check);
    row("judge, signed by the issuer", || judge(&direct));
    row("judge, signed by a delegate", || judge(&delegated));
    row("decode a response", || Response::decode(&direct));
    row("read a certificate", || Certificate::from_der(&leaf.der));
    row("prove an issuer", || Issued::prove(certificate.clone(), pair.issuer.clone()));
    row("make a request", || ocsp::request(&pair, CertIdHash::Sha1, None));
}

fn read(identity: &Identity) -> Arc<Certificate> {
    Arc::new(Certificate::from_der(&identity.der).expect("a certificate"))
}

fn row<T>(name: &str, mut call: impl FnMut() -> T) {
    let rounds = (0..ROUNDS).map(|_| {
        let before = processor_time();
        for _ in 0..CALLS {
            black_box(call());
        }
        processor_time().saturating_sub(before) / CALLS
    });
    let best = rounds.min().unwrap_or_default();
    println!("{name:<30} {:>8.1}", best.as_secs_f64() * 1e6);
}

fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("the clock is there").into()
}
