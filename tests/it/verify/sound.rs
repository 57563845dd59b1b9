//! Responses that are odd and right: what real responders send must get through.
//!
//! `doc/relaxed-validation.md` names the lines here that depart from an RFC.

use std::time::Duration;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use staplekeeper::ocsp::{MissingNextUpdate, Rules};

use super::openssl::{self, Openssl};
use super::world::{World, issued, judge, read};
use crate::support::ca::{
    CertHash, Claim, DAY, Draft, Forge, Identity, Kind, Named, Said, Scheme, Single, der,
    nonce_extension,
};
use Openssl::{CannotSay, IsStricter, Takes};

/// One response that must be accepted.
struct Case {
    name: &'static str,
    response: fn(&World) -> Vec<u8>,
    /// Status and signer.
    verdict: &'static str,
    openssl: Openssl,
    rules: fn(&World, &mut Rules),
    leaf: fn(&World) -> Identity,
}

fn case(
    name: &'static str,
    response: fn(&World) -> Vec<u8>,
    verdict: &'static str,
    openssl: Openssl,
) -> Case {
    Case { name, response, verdict, openssl, rules: |_, _| {}, leaf: |world| world.leaf.clone() }
}

impl Case {
    fn rules(self, rules: fn(&World, &mut Rules)) -> Case {
        Case { rules, ..self }
    }

    fn about(self, leaf: fn(&World) -> Identity) -> Case {
        Case { leaf, ..self }
    }
}

fn check(cases: &[Case]) {
    let world = World::new();
    let folder = tempfile::tempdir().expect("a folder");
    let mut surprises = Vec::new();
    for case in cases {
        let (response, leaf) = ((case.response)(&world), (case.leaf)(&world));
        let mut rules = Rules::default();
        (case.rules)(&world, &mut rules);
        let said = judge(&response, &leaf, &rules, world.now).unwrap_or_else(|reason| reason);
        if said != case.verdict {
            surprises.push(format!("{}: {said}", case.name));
        }
        let trusted = rules.trusted_signers.first().map(|_| &world.authority);
        let second = || openssl::judge(folder.path(), &response, &leaf, trusted);
        if let Err(surprise) = case.openssl.compare(second) {
            surprises.push(format!("{}: {surprise}", case.name));
        }
    }
    assert!(surprises.is_empty(), "{} surprises:\n{}", surprises.len(), surprises.join("\n"));
}

fn sound(world: &World) -> Forge<'_> {
    Forge::new(&world.leaf, world.now)
}

fn single(world: &World, change: impl FnOnce(&mut Single)) -> Vec<u8> {
    let mut forge = sound(world);
    change(&mut forge.singles[0]);
    forge.der()
}

const BY_CA: &str = "good, signed by CN=Toy CA";
const BY_DELEGATE: &str = "good, signed by CN=Responder";

#[test]
fn every_status() {
    check(&[
        case("good", |world| sound(world).der(), BY_CA, Takes("good")),
        case(
            "revoked without reason",
            |world| {
                sound(world).status(Said::Revoked { time: world.now - DAY, reason: None }).der()
            },
            "revoked, signed by CN=Toy CA",
            Takes("revoked"),
        ),
        case(
            "revoked for a compromised key",
            |world| {
                sound(world).status(Said::Revoked { time: world.now - DAY, reason: Some(1) }).der()
            },
            "revoked, signed by CN=Toy CA",
            Takes("revoked"),
        ),
        case(
            "revoked in the future, as EJBCA can",
            |world| {
                sound(world).status(Said::Revoked { time: world.now + DAY, reason: Some(4) }).der()
            },
            "revoked, signed by CN=Toy CA",
            Takes("revoked"),
        ),
        case(
            "unknown",
            |world| sound(world).status(Said::Unknown).der(),
            "unknown, signed by CN=Toy CA",
            Takes("unknown"),
        ),
    ]);
}

#[test]
fn odd_encodings() {
    check(&[
        case(
            "version 1 written out",
            |world| Forge { version: Some(0), ..sound(world) }.der(),
            BY_CA,
            Takes("good"),
        ),
        case(
            "hash without NULL",
            |world| {
                single(world, |single| {
                    single.claim.algorithm = der::sequence(&[&der::oid("1.3.14.3.2.26")]);
                })
            },
            BY_CA,
            Takes("good"),
        ),
        case(
            "ECDSA with NULL",
            |world| {
                let algorithm = Some(der::algorithm("1.2.840.10045.4.3.2"));
                Forge { algorithm, ..sound(world) }.der()
            },
            BY_CA,
            Takes("good"),
        ),
        case(
            "RSA without NULL",
            |world| {
                let algorithm = Some(der::sequence(&[&der::oid("1.2.840.113549.1.1.11")]));
                Forge { algorithm, ..Forge::new(&world.rsa_leaf, world.now) }.der()
            },
            "good, signed by CN=RSA CA",
            Takes("good"),
        )
        .about(|world| world.rsa_leaf.clone()),
        case(
            "a needless zero before the serial",
            |world| single(world, |single| single.claim.serial = vec![0, 0x10, 0x01]),
            BY_CA,
            IsStricter("it refuses such an INTEGER"),
        ),
        case(
            "a serial of 25 bytes",
            |world| Forge::new(&long_serial(world), world.now).der(),
            BY_CA,
            Takes("good"),
        )
        .about(long_serial),
        case(
            "a negative serial",
            |world| Forge::new(&negative_serial(world), world.now).der(),
            BY_CA,
            Takes("good"),
        )
        .about(negative_serial),
        case(
            "critical FALSE written out",
            |world| {
                let mut forge = sound(world);
                let parts = [der::oid("1.2.3.4"), der::boolean(false), der::octets(b"x")];
                forge.extensions.push(der::sequence(&[&parts[0], &parts[1], &parts[2]]));
                forge.der()
            },
            BY_CA,
            Takes("good"),
        ),
        case(
            "the issuer's name in another kind of string",
            |world| Forge::new(&printable(world), world.now).der(),
            BY_CA,
            IsStricter("it hashes the name as the leaf spells it, the CA here as it does itself"),
        )
        .about(printable),
        case(
            "the issuer's name in another kind of string, hashed as the leaf spells it",
            |world| {
                let leaf = printable(world);
                let mut forge = Forge::new(&leaf, world.now);
                let issued = issued(&leaf);
                let name = digest(&SHA1_FOR_LEGACY_USE_ONLY, issued.leaf.issuer_der());
                forge.singles[0].claim.issuer_name_hash = name.as_ref().to_vec();
                forge.der()
            },
            BY_CA,
            CannotSay("3.0.19 takes it, 3.0.22 does not find its way to a trusted root"),
        )
        .about(printable),
        case(
            "the responder's name in another kind of string and case",
            |world| {
                let name = der::element(0x13, &[b"TOY  CA"]);
                let name =
                    der::sequence(&[&der::set(&[&der::sequence(&[&der::oid("2.5.4.3"), &name])])]);
                let responder = Named::As(der::context(1, &[&name]));
                Forge { responder, ..sound(world) }.der()
            },
            BY_CA,
            Takes("good"),
        ),
    ]);
}

fn with_serial(world: &World, serial: Vec<u8>) -> Identity {
    world.ca.issue(Draft { serial, ..Draft::leaf("www.example.org") })
}

fn long_serial(world: &World) -> Identity {
    with_serial(world, vec![0x55; 25])
}

fn negative_serial(world: &World) -> Identity {
    with_serial(world, vec![0x80, 0x01])
}

/// A leaf that spells its issuer's name as a PrintableString.
fn printable(world: &World) -> Identity {
    let name = der::element(0x13, &[b"Toy CA"]);
    let name = der::sequence(&[&der::set(&[&der::sequence(&[&der::oid("2.5.4.3"), &name])])]);
    let serial = vec![0x10, 0x01];
    world.ca.issue(Draft { issuer: Some(name), serial, ..Draft::leaf("www.example.org") })
}

#[test]
fn more_than_was_asked_for() {
    check(&[
        case(
            "the issuer's own certificate comes along",
            |world| Forge { certificates: vec![world.ca.der.clone()], ..sound(world) }.der(),
            BY_CA,
            Takes("good"),
        ),
        case(
            "named by name, with the issuer's certificate",
            |world| {
                let certificates = vec![world.ca.der.clone()];
                Forge { certificates, responder: Named::ByName, ..sound(world) }.der()
            },
            BY_CA,
            Takes("good"),
        ),
        case(
            "strangers' certificates come along",
            |world| {
                let certificates = vec![world.other.der.clone(), world.sibling.der.clone()];
                Forge { certificates, ..sound(world) }.der()
            },
            BY_CA,
            Takes("good"),
        ),
        case(
            "rubbish comes along with a direct signature",
            |world| {
                let certificates = vec![der::sequence(&[&der::null()])];
                Forge { certificates, ..sound(world) }.der()
            },
            BY_CA,
            IsStricter("it parses every certificate at once"),
        ),
        case(
            "answers about others",
            |world| {
                let mut forge = sound(world);
                let revoked = Said::Revoked { time: world.now - DAY, reason: None };
                let other = Single { said: revoked, ..Single::new(&world.sibling, world.now) };
                forge.singles.insert(0, other);
                forge.der()
            },
            BY_CA,
            Takes("good"),
        ),
        case(
            "an answer about another is long over",
            |world| {
                let mut forge = sound(world);
                let old = der::generalized_time(world.now - 90 * DAY);
                let next_update = Some(old.clone());
                let sibling = Single::new(&world.sibling, world.now);
                forge.singles.push(Single { this_update: old, next_update, ..sibling });
                forge.der()
            },
            BY_CA,
            Takes("good"),
        ),
        case(
            "the same by SHA-1 and SHA-256",
            |world| {
                let mut forge = sound(world);
                let claim = Claim::of(&world.leaf, CertHash::Sha256);
                forge.singles.push(Single { claim, ..Single::new(&world.leaf, world.now) });
                forge.der()
            },
            BY_CA,
            Takes("good"),
        ),
        case(
            "SHA-256 alone",
            |world| sound(world).by_hash(&world.leaf, CertHash::Sha256).der(),
            BY_CA,
            CannotSay("it compares with the hash that it asks by"),
        ),
        case(
            "SHA-384",
            |world| sound(world).by_hash(&world.leaf, CertHash::Sha384).der(),
            BY_CA,
            CannotSay("it compares with the hash that it asks by"),
        ),
        case(
            "SHA-512",
            |world| sound(world).by_hash(&world.leaf, CertHash::Sha512).der(),
            BY_CA,
            CannotSay("it compares with the hash that it asks by"),
        ),
        case(
            "a nonce that nobody sent",
            |world| {
                let mut forge = sound(world);
                forge.extensions.push(nonce_extension(&[9; 16]));
                forge.der()
            },
            BY_CA,
            Takes("good"),
        ),
        case(
            "the nonce that was sent",
            |world| {
                let mut forge = sound(world);
                forge.extensions.push(nonce_extension(&[9; 16]));
                forge.der()
            },
            BY_CA,
            Takes("good"),
        )
        .rules(|_, rules| rules.nonce = Some(vec![9; 16])),
        case(
            "the nonce that was sent, bare as RFC 2560 allowed",
            |world| {
                let mut forge = sound(world);
                forge.extensions.push(der::extension("1.3.6.1.5.5.7.48.1.2", false, &[9; 16]));
                forge.der()
            },
            BY_CA,
            Takes("good"),
        )
        .rules(|_, rules| rules.nonce = Some(vec![9; 16])),
        case(
            "extensions that nobody knows, none critical",
            |world| {
                let mut forge = sound(world);
                let unknown = der::extension("1.2.3.4", false, b"not even DER");
                forge.extensions.push(unknown.clone());
                forge.singles[0].extensions.push(unknown);
                forge.der()
            },
            BY_CA,
            Takes("good"),
        ),
        case(
            "a critical archive cutoff",
            |world| {
                single(world, |single| {
                    let cutoff = der::generalized_time(world.now - 3650 * DAY);
                    let cutoff = der::extension("1.3.6.1.5.5.7.48.1.6", true, &cutoff);
                    single.extensions.push(cutoff);
                })
            },
            BY_CA,
            Takes("good"),
        ),
    ]);
}

#[test]
fn signers_with_the_right() {
    check(&[
        case(
            "a delegate, by key",
            |world| sound(world).delegated(&world.delegate).der(),
            BY_DELEGATE,
            Takes("good"),
        ),
        case(
            "a delegate, by name",
            |world| {
                Forge { responder: Named::ByName, ..sound(world).delegated(&world.delegate) }.der()
            },
            BY_DELEGATE,
            Takes("good"),
        ),
        case(
            "a delegate behind the issuer's and strangers' certificates",
            |world| {
                let certificates = [&world.ca, &world.other, &world.delegate];
                let certificates = certificates.iter().map(|one| one.der.clone()).collect();
                Forge { certificates, ..sound(world).delegated(&world.delegate) }.der()
            },
            BY_DELEGATE,
            Takes("good"),
        ),
        case(
            "a delegate behind rubbish",
            |world| {
                let certificates = vec![der::sequence(&[&der::null()]), world.delegate.der.clone()];
                Forge { certificates, ..sound(world).delegated(&world.delegate) }.der()
            },
            BY_DELEGATE,
            IsStricter("it parses every certificate at once"),
        ),
        case(
            "a delegate behind his expired namesake",
            |world| {
                let old = Draft { not_after: world.now - DAY, ..Draft::delegate("Responder") };
                let certificates = vec![world.ca.issue(old).der, world.delegate.der.clone()];
                let responder = Named::ByName;
                Forge { certificates, responder, ..sound(world).delegated(&world.delegate) }.der()
            },
            BY_DELEGATE,
            IsStricter("it takes the first certificate of that name"),
        ),
        case(
            "a delegate of the issuer's own name",
            |world| {
                let delegate = world.ca.issue(Draft::delegate("Toy CA"));
                let certificates = vec![world.ca.der.clone(), delegate.der.clone()];
                let responder = Named::ByName;
                Forge { certificates, responder, ..sound(world).delegated(&delegate) }.der()
            },
            BY_CA,
            IsStricter("it takes the issuer for the signer"),
        ),
        case(
            "a delegate without id-pkix-ocsp-nocheck",
            |world| {
                let delegate = Draft { no_check: false, ..Draft::delegate("Responder") };
                sound(world).delegated(&world.ca.issue(delegate)).der()
            },
            BY_DELEGATE,
            Takes("good"),
        ),
        case(
            "a delegate without keyUsage",
            |world| {
                let delegate = Draft { key_usage: None, ..Draft::delegate("Responder") };
                sound(world).delegated(&world.ca.issue(delegate)).der()
            },
            BY_DELEGATE,
            Takes("good"),
        ),
        case(
            "a delegate with nonRepudiation only",
            |world| {
                let delegate = Draft { key_usage: Some(0x40), ..Draft::delegate("Responder") };
                sound(world).delegated(&world.ca.issue(delegate)).der()
            },
            BY_DELEGATE,
            Takes("good"),
        ),
        case(
            "a delegate that is a CA too",
            |world| {
                let delegate = Draft { authority: Some(true), ..Draft::delegate("Responder") };
                sound(world).delegated(&world.ca.issue(delegate)).der()
            },
            BY_DELEGATE,
            Takes("good"),
        ),
        case(
            "an issuer whose keyUsage has certificates and lists only",
            |world| Forge::new(&plain_issuer(world), world.now).der(),
            "good, signed by CN=Plain CA",
            Takes("good"),
        )
        .about(plain_issuer),
        case(
            "a cross-signed issuer: the same name and key under another root",
            |world| {
                let issuer = cross_signed(world);
                Forge {
                    certificates: vec![issuer.issuer().der.clone()],
                    ..Forge::new(&issuer, world.now)
                }
                .der()
            },
            "good, signed by CN=Crossed CA",
            Takes("good"),
        )
        .about(cross_signed),
        case(
            "a configured signer, with his certificate",
            |world| sound(world).delegated(&world.authority).der(),
            "good, signed by CN=VA",
            Takes("good"),
        )
        .rules(|world, rules| rules.trusted_signers.push(read(&world.authority))),
        case(
            "a configured signer, without his certificate, by name",
            |world| {
                Forge { signer: &world.authority, responder: Named::ByName, ..sound(world) }.der()
            },
            "good, signed by CN=VA",
            Takes("good"),
        )
        .rules(|world, rules| rules.trusted_signers.push(read(&world.authority))),
        case(
            "a lattice signature",
            |world| {
                let draft = Draft::delegate("Responder").keyed(Kind::MlDsa44, 1);
                sound(world).delegated(&world.ca.issue(draft)).der()
            },
            BY_DELEGATE,
            CannotSay("version 3.0 does not know ML-DSA"),
        ),
        case(
            "lattices all the way",
            |_| {
                let leaf = lattice();
                let delegate = Draft::delegate("Responder").keyed(Kind::MlDsa65, 1);
                let delegate = leaf.issuer().issue(delegate);
                let now = jiff::Timestamp::now().as_second();
                Forge::new(&leaf, now).delegated(&delegate).der()
            },
            BY_DELEGATE,
            CannotSay("version 3.0 does not know ML-DSA"),
        )
        .about(|_| lattice()),
        case(
            "SHA-1 where it is allowed",
            |world| {
                let scheme = Some(Scheme::RSA_SHA1);
                Forge { scheme, ..Forge::new(&world.rsa_leaf, world.now) }.der()
            },
            "good, signed by CN=RSA CA",
            Takes("good"),
        )
        .about(|world| world.rsa_leaf.clone())
        .rules(|_, rules| rules.allow_sha1_signatures = true),
        case(
            "ECDSA with SHA-1 where it is allowed",
            |world| Forge { scheme: Some(Scheme::ECDSA_SHA1), ..sound(world) }.der(),
            BY_CA,
            Takes("good"),
        )
        .rules(|_, rules| rules.allow_sha1_signatures = true),
    ]);
}

/// Our leaf under a CA like `openssl ca` makes them: keyUsage does not allow other signatures.
fn plain_issuer(_: &World) -> Identity {
    let draft = Draft::authority("Plain CA").keyed(Kind::P256, 3);
    let ca = Draft { key_usage: Some(0x06), ..draft }.self_signed();
    ca.issue(Draft { serial: vec![0x10, 0x01], ..Draft::leaf("www.example.org") })
}

/// Our leaf under a CA with an ML-DSA-87 key.
fn lattice() -> Identity {
    let ca = Draft::authority("Lattice CA").keyed(Kind::MlDsa87, 1).self_signed();
    ca.issue(Draft { serial: vec![0x10, 0x01], ..Draft::leaf("www.example.org") })
}

/// Our leaf under a CA that another root vouches for.
fn cross_signed(world: &World) -> Identity {
    let ca = world.other.issue(Draft::authority("Crossed CA").keyed(Kind::P256, 4));
    ca.issue(Draft { serial: vec![0x10, 0x01], ..Draft::leaf("www.example.org") })
}

#[test]
fn times_within_tolerance() {
    check(&[
        case(
            "begins in four minutes",
            |world| sound(world).from(world.now + 240).der(),
            BY_CA,
            Takes("good"),
        ),
        case(
            "ended four minutes ago",
            |world| sound(world).until(Some(world.now - 240)).der(),
            BY_CA,
            Takes("good"),
        ),
        case(
            "ends this second, without tolerance",
            |world| sound(world).until(Some(world.now)).der(),
            BY_CA,
            CannotSay("its tolerance is five minutes"),
        )
        .rules(|_, rules| rules.max_skew = Duration::ZERO),
        case(
            "ends the second it begins",
            |world| sound(world).from(world.now).until(Some(world.now)).der(),
            BY_CA,
            Takes("good"),
        ),
        case("has no end", |world| sound(world).until(None).der(), BY_CA, Takes("good")),
        case(
            "has no end, and a week is assumed",
            |world| sound(world).from(world.now - 6 * DAY).until(None).der(),
            BY_CA,
            Takes("good"),
        )
        .rules(|_, rules| {
            rules.missing_next_update = MissingNextUpdate::Assume(Duration::from_secs(7 * 86_400));
        }),
        case(
            "ends in eight years",
            |world| sound(world).until(Some(world.now + 3000 * DAY)).der(),
            BY_CA,
            Takes("good"),
        ),
        case(
            "was signed long before it begins",
            |world| {
                let produced_at = der::generalized_time(world.now - 30 * DAY);
                Forge { produced_at, ..sound(world) }.der()
            },
            BY_CA,
            Takes("good"),
        ),
    ]);
}

#[test]
fn the_page_about_relaxed_validation_names_cases_that_exist() {
    let page = include_str!("../../../doc/relaxed-validation.md");
    let rows = page.lines().filter(|line| line.starts_with("| ") && !line.contains("| --- |"));
    let cases: Vec<&str> =
        rows.filter_map(|row| row.trim_end_matches(" |").rsplit(" | ").next()).collect();
    assert!(cases.len() > 20, "the page has a table");
    for case in cases.into_iter().filter(|case| *case != "case") {
        let quoted = format!("\"{case}\",");
        assert!(include_str!("sound.rs").contains(&quoted), "no case is called {case:?}");
    }
}
