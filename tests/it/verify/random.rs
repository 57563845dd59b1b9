//! Bytes at random, and sound ones with a bit turned: nothing panics, and nothing that was changed is
//! believed.

use proptest::collection::vec;
use proptest::prelude::*;
use staplekeeper::ocsp::{self, Response, Rules};
use staplekeeper::pki::{Certificate, read_certificates, same_name};
use staplekeeper::time::UnixTime;

use super::world::{World, issued, judge};
use crate::support::ca::{CertHash, Claim, Forge, Said, Single, der, nonce_extension};

/// A response with everything in it that a decoder can meet.
fn rich(world: &World) -> Vec<u8> {
    let mut forge = Forge::new(&world.leaf, world.now).delegated(&world.delegate);
    let revoked = Said::Revoked { time: world.now, reason: Some(1) };
    let sibling = Single::new(&world.sibling, world.now);
    forge.singles.push(Single { said: revoked, next_update: None, ..sibling });
    let claim = Claim::of(&world.leaf, CertHash::Sha256);
    forge.singles.push(Single { claim, ..Single::new(&world.leaf, world.now) });
    forge.singles[0].extensions.push(der::extension("1.2.3.4", false, &der::null()));
    forge.extensions.push(nonce_extension(&[1; 32]));
    forge.version = Some(0);
    forge.der()
}

#[test]
fn every_bit_matters() {
    let world = World::new();
    let direct = Forge::new(&world.leaf, world.now).der();
    let delegated = Forge::new(&world.leaf, world.now).delegated(&world.delegate).der();
    for sound in [direct, delegated, rich(&world)] {
        judge(&sound, &world.leaf, &Rules::default(), world.now).expect("it is sound");
        // Three bits of each byte: enough to meet every field, few enough to wait for.
        for (place, mask) in
            (0..sound.len()).flat_map(|place| [(place, 0x01), (place, 0x20), (place, 0x80)])
        {
            let mut changed = sound.clone();
            changed[place] ^= mask;
            let said = judge(&changed, &world.leaf, &Rules::default(), world.now);
            assert!(said.is_err(), "bit {mask:#x} of byte {place}: {said:?}");
        }
    }
}

#[test]
fn every_length_but_the_right_one_is_refused() {
    let world = World::new();
    let sound = rich(&world);
    for end in 0..sound.len() {
        assert!(Response::decode(&sound[..end]).is_err(), "the first {end} bytes");
    }
}

/// Changes to some bytes: places are taken modulo the length.
type Changes = Vec<(usize, Change)>;

#[derive(Clone, Debug)]
enum Change {
    Set(u8),
    Insert(Vec<u8>),
    Remove(usize),
}

fn changes() -> impl Strategy<Value = Changes> {
    let change = prop_oneof![
        4 => any::<u8>().prop_map(Change::Set),
        1 => vec(any::<u8>(), 1..8).prop_map(Change::Insert),
        1 => (1usize..40).prop_map(Change::Remove),
    ];
    vec((any::<usize>(), change), 1..6)
}

fn changed(sound: &[u8], changes: &Changes) -> Vec<u8> {
    let mut bytes = sound.to_vec();
    for (place, change) in changes {
        let place = place % bytes.len().max(1);
        match change {
            Change::Set(byte) => bytes[place] = *byte,
            Change::Insert(more) => drop(bytes.splice(place..place, more.iter().copied())),
            Change::Remove(count) => drop(bytes.drain(place..(place + count).min(bytes.len()))),
        }
        if bytes.is_empty() {
            bytes.push(0);
        }
    }
    bytes
}

/// Asks a certificate everything it can be asked.
fn interrogate(certificate: &Certificate) {
    let _ = (certificate.names(), certificate.subject(), certificate.issuer());
    let _ = (certificate.ocsp_urls(), certificate.ca_issuers_urls(), certificate.key_type());
    let _ = (certificate.subject_key_id(), certificate.authority_key_id());
    let _ = (certificate.signing_rights(), certificate.serial().to_string());
    let _ = (certificate.not_before().to_string(), certificate.not_after().to_string());
    let _ = same_name(certificate.issuer_der(), certificate.subject_der());
}

thread_local! {
    static WORLD: World = World::new();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bytes_at_random(bytes in vec(any::<u8>(), 0..300)) {
        let _ = Response::decode(&bytes);
        let _ = read_certificates(&bytes);
        let _ = Response::decode(&[&[0x30, 0x82], bytes.as_slice()].concat());
        let _ = Certificate::from_der(&[&[0x30, 0x82], bytes.as_slice()].concat());
    }

    #[test]
    fn changed_responses(changes in changes()) {
        WORLD.with(|world| {
            let sound = rich(world);
            let bytes = changed(&sound, &changes);
            if let Ok(response) = Response::decode(&bytes) {
                let now = UnixTime::from_secs(world.now);
                let said = ocsp::verify(response, &issued(&world.leaf), &Rules::default(), now);
                assert!(said.is_err() || bytes == sound, "{said:?}");
            }
        });
    }

    #[test]
    fn changed_certificates(changes in changes()) {
        WORLD.with(|world| {
            for identity in [&world.leaf, &world.delegate, &world.rsa_leaf] {
                let bytes = changed(&identity.der, &changes);
                if let Ok(certificate) = Certificate::from_der(&bytes) {
                    interrogate(&certificate);
                }
                let _ = read_certificates(&changed(identity.pem().as_bytes(), &changes));
            }
        });
    }
}
