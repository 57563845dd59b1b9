//! Everything that can be wrong with a response: each fault a line, each line its own reason.

use staplekeeper::ocsp::{MissingNextUpdate, Rules};

use super::openssl::{self, Openssl};
use super::world::{SIX_MINUTES, World, judge, read};
use crate::support::ca::{
    CertHash, Claim, DAY, Draft, Forge, HOUR, Identity, Key, Kind, Named, Said, Scheme, Single,
    der, nonce_extension, refusal,
};
use Openssl::{CannotSay, IsLaxer, Refuses};

/// One fault.
struct Fault {
    name: &'static str,
    response: fn(&World) -> Vec<u8>,
    /// What we say; in words of [`World::fill`]. A `…` at its end stands for anything.
    reason: &'static str,
    openssl: Openssl,
    /// Changes the default rules.
    rules: fn(&World, &mut Rules),
    /// The certificate asked about.
    leaf: fn(&World) -> Identity,
}

fn fault(
    name: &'static str,
    response: fn(&World) -> Vec<u8>,
    reason: &'static str,
    openssl: Openssl,
) -> Fault {
    Fault { name, response, reason, openssl, rules: |_, _| {}, leaf: |world| world.leaf.clone() }
}

impl Fault {
    fn rules(self, rules: fn(&World, &mut Rules)) -> Fault {
        Fault { rules, ..self }
    }

    fn about(self, leaf: fn(&World) -> Identity) -> Fault {
        Fault { leaf, ..self }
    }
}

/// Judges every fault, by us and by openssl, and reports all surprises at once.
fn check(faults: &[Fault]) {
    let world = World::new();
    let folder = tempfile::tempdir().expect("a folder");
    let mut surprises = Vec::new();
    for fault in faults {
        let response = (fault.response)(&world);
        let leaf = (fault.leaf)(&world);
        let mut rules = Rules::default();
        (fault.rules)(&world, &mut rules);
        let said = match judge(&response, &leaf, &rules, world.now) {
            Ok(accepted) => format!("accepted: {accepted}"),
            Err(reason) => reason,
        };
        let wanted = world.fill(fault.reason);
        let matches = match wanted.strip_suffix('…') {
            Some(beginning) => said.starts_with(beginning),
            None => said == wanted,
        };
        if !matches {
            surprises.push(format!("{}\n  wanted: {wanted}\n  found:  {said}", fault.name));
        }
        let second = || openssl::judge(folder.path(), &response, &leaf, None);
        if let Err(surprise) = fault.openssl.compare(second) {
            surprises.push(format!("{}\n  {surprise}", fault.name));
        }
    }
    assert!(surprises.is_empty(), "{} surprises:\n{}", surprises.len(), surprises.join("\n"));
}

fn sound(world: &World) -> Forge<'_> {
    Forge::new(&world.leaf, world.now)
}

/// `der` with the first occurrence of `old` replaced; lengths stay as they were.
fn replaced(der: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let place = der.windows(old.len()).position(|window| window == old).expect("it is in there");
    [&der[..place], new, &der[place + old.len()..]].concat()
}

/// A sound response with one field of the answer's SingleResponse changed.
fn single(world: &World, change: impl FnOnce(&mut Single)) -> Vec<u8> {
    let mut forge = sound(world);
    change(&mut forge.singles[0]);
    forge.der()
}

/// With its thisUpdate written as this text under this tag.
fn this_update(world: &World, tag: u8, text: &str) -> Vec<u8> {
    single(world, |single| single.this_update = der::element(tag, &[text.as_bytes()]))
}

#[test]
fn refusals_of_the_responder() {
    let unsigned = "a refusal is no response that could be verified";
    check(&[
        fault(
            "malformedRequest",
            |_| refusal(1),
            "the responder answered malformedRequest: it did not understand the request \
             (try method or cert_id_hash)",
            Refuses,
        ),
        fault("internalError", |_| refusal(2), "the responder answered internalError", Refuses),
        fault("tryLater", |_| refusal(3), "the responder answered tryLater", Refuses),
        fault(
            "sigRequired",
            |_| refusal(5),
            "the responder answered sigRequired: it wants signed requests, which are not supported",
            Refuses,
        ),
        fault(
            "unauthorized",
            |_| refusal(6),
            "the responder answered unauthorized: it does not speak for this certificate \
             (not published yet, expired, or another CertID hash is wanted: see cert_id_hash)",
            Refuses,
        ),
        fault(
            "tryLater with a body that says good",
            |world| {
                let sound = sound(world).der();
                let body = der::elements(der::first(&sound).contents)[1].whole;
                der::sequence(&[&der::enumerated(3), body])
            },
            "the responder answered tryLater",
            Refuses,
        ),
        fault(
            "a status that does not exist",
            |_| refusal(4),
            "has the response status 4, which RFC 6960 does not define",
            Refuses,
        ),
        fault(
            "a status of two bytes",
            |_| der::sequence(&[&der::element(0x0a, &[&[1, 0]])]),
            "has the response status 256, which RFC 6960 does not define",
            CannotSay(unsigned),
        ),
        fault(
            "a status that is an INTEGER",
            |_| der::sequence(&[&der::integer(&[0])]),
            "is not an OCSP response: unexpected ASN.1 DER tag: expected ENUMERATED, got INTEGER",
            Refuses,
        ),
        fault(
            "successful, and nothing more",
            |_| refusal(0),
            "says successful and holds no answer",
            Refuses,
        ),
    ]);
}

#[test]
fn bytes_that_are_no_response() {
    check(&[
        fault("nothing", |_| Vec::new(), "is empty", Refuses),
        fault(
            "a page of HTML",
            |_| b"<!DOCTYPE html><title>Sign in</title>".to_vec(),
            "is a web page; does something stand between us and the responder?",
            Refuses,
        ),
        fault(
            "PEM",
            |world| der::pem("OCSP RESPONSE", &sound(world).der()).into_bytes(),
            "is not DER: it begins with 2d 2d 2d 2d 2d 42 45 47",
            Refuses,
        ),
        fault(
            "the last byte is missing",
            |world| {
                let mut der = sound(world).der();
                der.pop();
                der
            },
            "is cut short…",
            Refuses,
        ),
        fault("half of it", |world| sound(world).der()[..100].to_vec(), "is cut short…", Refuses),
        fault("two bytes", |world| sound(world).der()[..2].to_vec(), "is cut short…", Refuses),
        fault(
            "an inner length reaches beyond the end",
            |world| {
                let mut der = sound(world).der();
                let inner = der::elements(der::first(&der).contents)[1].whole.len();
                let place = der.len() - inner + 2;
                der[place] += 1;
                der
            },
            "is cut short…",
            Refuses,
        ),
        fault(
            "a byte behind it",
            |world| [sound(world).der(), vec![0]].concat(),
            "has bytes behind its end, or behind that of one of its parts…",
            IsLaxer("it reads the first element of a file"),
        ),
        fault(
            "a second response behind it",
            |world| [sound(world).der(), sound(world).der()].concat(),
            "has bytes behind its end, or behind that of one of its parts…",
            IsLaxer("it reads the first element of a file"),
        ),
        fault(
            "bytes behind the BasicOCSPResponse",
            |world| {
                let body = [sound(world).basic(), vec![0x05, 0x00]].concat();
                let bytes =
                    der::sequence(&[&der::oid("1.3.6.1.5.5.7.48.1.1"), &der::octets(&body)]);
                der::sequence(&[&der::enumerated(0), &der::context(0, &[&bytes])])
            },
            "has bytes behind its end, or behind that of one of its parts…",
            IsLaxer("it stops reading the OCTET STRING at the end of the first element"),
        ),
        fault(
            "a third field in ResponseBytes",
            |world| {
                let body = sound(world).basic();
                let oid = der::oid("1.3.6.1.5.5.7.48.1.1");
                let bytes = der::sequence(&[&oid, &der::octets(&body), &der::null()]);
                der::sequence(&[&der::enumerated(0), &der::context(0, &[&bytes])])
            },
            "has bytes behind its end, or behind that of one of its parts…",
            Refuses,
        ),
        fault(
            "BER: an indefinite length",
            |world| {
                let der = sound(world).der();
                [&[0x30, 0x80], der::first(&der).contents, &[0, 0]].concat()
            },
            "is BER, not DER: a length is indefinite",
            IsLaxer("it reads BER"),
        ),
        fault(
            "BER: a length that is longer than needed",
            |world| {
                let der = sound(world).der();
                let contents = der::first(&der).contents;
                let length = u32::try_from(contents.len()).expect("short").to_be_bytes();
                [&[0x30, 0x84], &length[..], contents].concat()
            },
            "is BER, not DER: a length is longer than needed",
            IsLaxer("it reads BER"),
        ),
        fault(
            "BER: an OCTET STRING in pieces",
            |world| {
                let body = sound(world).basic();
                let (one, two) = body.split_at(50);
                let pieces = der::element(0x24, &[&der::octets(one), &der::octets(two)]);
                let bytes = der::sequence(&[&der::oid("1.3.6.1.5.5.7.48.1.1"), &pieces]);
                der::sequence(&[&der::enumerated(0), &der::context(0, &[&bytes])])
            },
            "is not an OCSP response: unknown/unsupported ASN.1 DER tag: 0x24…",
            IsLaxer("it reads BER"),
        ),
        fault(
            "BER: TRUE as 01",
            |world| {
                let mut forge = sound(world);
                let truth = der::extension("1.2.3.4", true, &der::null());
                forge.extensions.push(replaced(&truth, &[1, 1, 0xff], &[1, 1, 1]));
                forge.der()
            },
            "is BER, not DER: a value is written in another way than the one DER allows",
            IsLaxer("it reads BER, and never looks at critical"),
        ),
        fault(
            "another type of response",
            |world| Forge { response_type: "1.3.6.1.5.5.7.48.1.2", ..sound(world) }.der(),
            "is of type 1.3.6.1.5.5.7.48.1.2, not id-pkix-ocsp-basic",
            Refuses,
        ),
        fault(
            "1 MiB of zeros",
            |_| vec![0; 1 << 20],
            "is 1048576 bytes long, 65536 are the limit",
            Refuses,
        ),
        fault(
            "1 MiB of open brackets",
            |_| [0x30, 0x80].repeat(1 << 19),
            "is 1048576 bytes long, 65536 are the limit",
            Refuses,
        ),
        fault(
            "64 KiB of open brackets",
            |_| [0x30, 0x80].repeat(1 << 15),
            "is BER, not DER: a length is indefinite",
            Refuses,
        ),
        fault(
            "1 MiB of certificates",
            |world| {
                let certificates =
                    vec![world.sibling.der.clone(); (1 << 20) / world.sibling.der.len()];
                Forge { certificates, ..sound(world) }.der()
            },
            "is 10…",
            IsLaxer("it has no limit"),
        ),
    ]);
}

#[test]
fn fields_that_are_malformed() {
    check(&[
        fault(
            "version 2",
            |world| Forge { version: Some(1), ..sound(world) }.der(),
            "is of version 2, only version 1 is defined",
            IsLaxer("it does not look at the version"),
        ),
        fault(
            "a responder that is neither name nor key",
            |world| {
                Forge { responder: Named::As(der::context(3, &[&der::null()])), ..sound(world) }
                    .der()
            },
            "is not an OCSP response: unexpected ASN.1 DER tag: expected CONTEXT-SPECIFIC [2] \
             (constructed), got CONTEXT-SPECIFIC [3] (constructed)",
            Refuses,
        ),
        fault(
            "a time without seconds",
            |world| this_update(world, 0x18, "202603010000Z"),
            "is not an OCSP response: malformed ASN.1 DER value for GeneralizedTime…",
            IsLaxer("it reads times without seconds"),
        ),
        fault(
            "a time with a fraction",
            |world| this_update(world, 0x18, "20260301000000.5Z"),
            "is not an OCSP response: malformed ASN.1 DER value for GeneralizedTime…",
            Refuses,
        ),
        fault(
            "a time with an offset",
            |world| this_update(world, 0x18, "20260301000000+0100"),
            "is not an OCSP response: malformed ASN.1 DER value for GeneralizedTime…",
            Refuses,
        ),
        fault(
            "a time that is none",
            |world| this_update(world, 0x18, "20261301000000Z"),
            "is not an OCSP response: malformed ASN.1 DER value for GeneralizedTime…",
            Refuses,
        ),
        fault(
            "UTCTime",
            |world| this_update(world, 0x17, "260301000000Z"),
            "is not an OCSP response: unexpected ASN.1 DER tag: expected GeneralizedTime, got UTCTime",
            Refuses,
        ),
        fault(
            "a status of a fourth kind",
            |world| sound(world).status(Said::As(der::element(0x83, &[]))).der(),
            "is not an OCSP response: unexpected ASN.1 DER tag: got CONTEXT-SPECIFIC [3] (primitive)…",
            Refuses,
        ),
        fault(
            "a reason that does not exist",
            |world| {
                sound(world).status(Said::Revoked { time: world.now - DAY, reason: Some(7) }).der()
            },
            "is not an OCSP response: malformed ASN.1 DER value for ENUMERATED",
            IsLaxer("it prints (UNKNOWN)"),
        ),
        fault(
            "a serial number without digits",
            |world| single(world, |single| single.claim.serial = Vec::new()),
            "is not an OCSP response: a serial number is no INTEGER",
            Refuses,
        ),
        fault(
            "a signature with unused bits",
            |world| {
                let mut der = sound(world).der();
                let bytes = der::first(der::elements(der::first(&der).contents)[1].contents);
                let basic = der::first(der::elements(bytes.contents)[1].contents);
                let bits = der::elements(basic.contents)[2].contents.len();
                // The BIT STRING ends the response; its first byte counts the unused bits.
                let place = der.len() - bits;
                der[place] = 1;
                der
            },
            "is not an OCSP response: malformed ASN.1 DER value for BIT STRING",
            Refuses,
        ),
    ]);
}

#[test]
fn answers_to_other_questions() {
    check(&[
        fault(
            "no answer",
            |world| Forge { singles: Vec::new(), ..sound(world) }.der(),
            "holds no answer at all, asked about serial 1001",
            Refuses,
        ),
        fault(
            "another serial",
            |world| Forge::new(&world.sibling, world.now).der(),
            "answers for serial 1002, asked about 1001",
            Refuses,
        ),
        fault(
            "two other serials",
            |world| {
                let mut forge = Forge::new(&world.sibling, world.now);
                forge.singles.push(Single::new(&world.delegate, world.now));
                forge.der()
            },
            "answers for 2 certificates, none of which has the serial 1001",
            Refuses,
        ),
        fault(
            "the serial with its sign turned",
            |world| single(world, |single| single.claim.serial = vec![0xef, 0xff]),
            "answers for serial -1001, asked about 1001",
            Refuses,
        ),
        fault(
            "our serial of another CA",
            |world| single(world, |single| single.claim = claim(world, "Other CA", &world.other)),
            "answers for serial 1001 of an issuer whose name has the hash {sha1 name Other CA}, \
             ours has {sha1 name Toy CA}",
            Refuses,
        ),
        fault(
            "our serial of the CA's other key",
            |world| single(world, |single| single.claim = claim(world, "Toy CA", &world.rekeyed)),
            "answers for serial 1001 of an issuer whose key has the hash {sha1 key rekeyed}, \
             ours has {sha1 key Toy CA}; was the CA re-keyed?",
            Refuses,
        ),
        fault(
            "name and key hash exchanged",
            |world| {
                single(world, |single| {
                    let claim = &mut single.claim;
                    std::mem::swap(&mut claim.issuer_name_hash, &mut claim.issuer_key_hash);
                })
            },
            "answers for serial 1001 of an issuer whose name has the hash {sha1 key Toy CA}, \
             ours has {sha1 name Toy CA}",
            Refuses,
        ),
        fault(
            "SHA-256 hashes under the name of SHA-1",
            |world| {
                single(world, |single| {
                    let algorithm = single.claim.algorithm.clone();
                    single.claim = Claim { algorithm, ..Claim::of(&world.leaf, CertHash::Sha256) };
                    single.claim.issuer_name_hash = vec![0xab; 32];
                })
            },
            "answers for serial 1001 of an issuer whose name has the hash \
             abababababababababababababababababababababababababababababababab, \
             ours has {sha1 name Toy CA}",
            Refuses,
        ),
        fault(
            "empty hashes",
            |world| single(world, |single| single.claim.issuer_name_hash = Vec::new()),
            "answers for serial 1001 of an issuer whose name has the hash , \
             ours has {sha1 name Toy CA}",
            Refuses,
        ),
        fault(
            "hashes by MD5",
            |world| {
                single(world, |single| {
                    single.claim.algorithm = der::algorithm("1.2.840.113549.2.5")
                })
            },
            "names the issuer of serial 1001 by the unknown hash 1.2.840.113549.2.5",
            Refuses,
        ),
        fault(
            "good and revoked at once",
            |world| {
                twice(world, Said::Revoked { time: world.now - DAY, reason: None }, CertHash::Sha1)
            },
            "says both good and revoked about serial 1001",
            IsLaxer("it takes the first"),
        ),
        fault(
            "good by SHA-1, revoked by SHA-256",
            |world| {
                twice(
                    world,
                    Said::Revoked { time: world.now - DAY, reason: None },
                    CertHash::Sha256,
                )
            },
            "says both good and revoked about serial 1001",
            IsLaxer("it looks for the hash it asked with"),
        ),
        fault(
            "good and unknown at once",
            |world| twice(world, Said::Unknown, CertHash::Sha1),
            "says both good and unknown about serial 1001",
            IsLaxer("it takes the first"),
        ),
    ]);
}

/// The CertID of our serial under an issuer of this name and with this one's key.
fn claim(world: &World, name: &str, keyed_as: &Identity) -> Claim {
    let issuer = Draft { key: keyed_as.key.clone(), ..Draft::authority(name) }.self_signed();
    let leaf = issuer.issue(Draft { serial: world.leaf.serial.clone(), ..Draft::leaf("x") });
    Claim::of(&leaf, CertHash::Sha1)
}

/// A sound answer and another one about the same certificate.
fn twice(world: &World, said: Said, hash: CertHash) -> Vec<u8> {
    let mut forge = sound(world);
    let claim = Claim::of(&world.leaf, hash);
    forge.singles.push(Single { claim, said, ..Single::new(&world.leaf, world.now) });
    forge.der()
}

#[test]
fn signatures_that_do_not_hold() {
    const NOT_OURS: &str = "names CN=Toy CA as the responder: \
                            the ecdsa-with-SHA256 signature does not verify with the P-256 key";
    check(&[
        fault(
            "a bit of the signature is turned",
            |world| {
                let mut der = sound(world).der();
                *der.last_mut().expect("not empty") ^= 1;
                der
            },
            NOT_OURS,
            Refuses,
        ),
        fault(
            "revoked is turned into good",
            |world| {
                let revoked = Said::Revoked { time: world.now - DAY, reason: None };
                let honest = sound(world).status(revoked);
                let signature = world.ca.key.sign(Scheme::Ecdsa, &honest.signed_part());
                Forge { signature: Some(signature), ..sound(world) }.der()
            },
            NOT_OURS,
            Refuses,
        ),
        fault(
            "no signature",
            |world| Forge { signature: Some(Vec::new()), ..sound(world) }.der(),
            NOT_OURS,
            Refuses,
        ),
        fault(
            "signed by a stranger in the CA's name",
            |world| {
                Forge { signer: &world.rekeyed, responder: Named::ByName, ..sound(world) }.der()
            },
            NOT_OURS,
            Refuses,
        ),
        fault(
            "signed by a stranger who sends the CA's certificate along",
            |world| {
                let certificates = vec![world.ca.der.clone()];
                let responder = Named::As(der::context(2, &[&der::octets(&world.ca.key.id())]));
                Forge { signer: &world.other, responder, certificates, ..sound(world) }.der()
            },
            NOT_OURS,
            Refuses,
        ),
        fault(
            "signed with SHA-256 under the name of SHA-384",
            |world| {
                let algorithm = Some(der::sequence(&[&der::oid("1.2.840.10045.4.3.3")]));
                Forge { algorithm, ..sound(world) }.der()
            },
            "names CN=Toy CA as the responder: \
             the ecdsa-with-SHA384 signature does not verify with the P-256 key",
            Refuses,
        ),
        fault(
            "an RSA algorithm with an elliptic key",
            |world| {
                Forge { algorithm: Some(der::algorithm("1.2.840.113549.1.1.11")), ..sound(world) }
                    .der()
            },
            "names CN=Toy CA as the responder: \
             the signature algorithm sha256WithRSAEncryption is not supported with the P-256 key",
            Refuses,
        ),
        fault(
            "an algorithm that nobody knows",
            |world| Forge { algorithm: Some(der::algorithm("1.2.3.4")), ..sound(world) }.der(),
            "names CN=Toy CA as the responder: the signature algorithm 1.2.3.4 is not supported",
            Refuses,
        ),
        fault(
            "an algorithm with parameters that it does not have",
            |world| {
                let algorithm = der::sequence(&[&der::oid("1.2.840.10045.4.3.2"), &der::utf8("x")]);
                Forge { algorithm: Some(algorithm), ..sound(world) }.der()
            },
            "names CN=Toy CA as the responder: the signature's AlgorithmIdentifier is malformed",
            IsLaxer("it does not look at ECDSA's parameters"),
        ),
        fault(
            "ECDSA with SHA-1",
            |world| Forge { scheme: Some(Scheme::ECDSA_SHA1), ..sound(world) }.der(),
            "names CN=Toy CA as the responder: \
             ecdsa-with-SHA1 signatures are refused unless allow_sha1_signatures is set",
            IsLaxer("it still takes SHA-1 at its default security level"),
        ),
        fault(
            "RSA with SHA-1",
            |world| {
                let scheme = Some(Scheme::RSA_SHA1);
                Forge { scheme, ..Forge::new(&world.rsa_leaf, world.now) }.der()
            },
            "names CN=RSA CA as the responder: \
             sha1WithRSAEncryption signatures are refused unless allow_sha1_signatures is set",
            IsLaxer("it still takes SHA-1 at its default security level"),
        )
        .about(|world| world.rsa_leaf.clone()),
        fault(
            "RSA with MD5",
            |world| {
                let scheme = Some(Scheme::RSA_MD5);
                Forge { scheme, ..Forge::new(&world.rsa_leaf, world.now) }.der()
            },
            "names CN=RSA CA as the responder: \
             the signature algorithm md5WithRSAEncryption (1.2.840.113549.1.1.4) is not supported",
            IsLaxer("it still takes MD5"),
        )
        .about(|world| world.rsa_leaf.clone()),
        fault(
            "PSS with a mask by another hash",
            |world| pss(world, "2.16.840.1.101.3.4.2.1", "2.16.840.1.101.3.4.2.3", 32),
            "names CN=RSA CA as the responder: \
             the signature algorithm 2.16.840.1.101.3.4.2.3 is not supported",
            Refuses,
        )
        .about(|world| world.rsa_leaf.clone()),
        fault(
            "PSS with SHA-1",
            |world| pss(world, "1.3.14.3.2.26", "1.3.14.3.2.26", 20),
            "names CN=RSA CA as the responder: \
             the signature algorithm RSASSA-PSS with SHA-1 (1.3.14.3.2.26) is not supported",
            Refuses,
        )
        .about(|world| world.rsa_leaf.clone()),
        fault(
            "PSS with another salt than announced",
            |world| pss(world, "2.16.840.1.101.3.4.2.1", "2.16.840.1.101.3.4.2.1", 31),
            "names CN=RSA CA as the responder: \
             the RSASSA-PSS signature does not verify with the RSA-2048 key",
            Refuses,
        )
        .about(|world| world.rsa_leaf.clone()),
        fault(
            "RSA of 1024 bits",
            |world| signed_by_kind(world, Kind::Rsa1024),
            "names CN=Old Responder as the responder: \
             the RSA key has 1024 bits, at least 2048 are needed",
            IsLaxer("it takes any length at its default security level"),
        ),
        fault(
            "Ed448",
            |world| signed_by_kind(world, Kind::Ed448),
            "names CN=Old Responder as the responder: \
             the signature algorithm Ed448 (1.3.101.113) is not supported",
            IsLaxer("it knows Ed448, aws-lc does not"),
        ),
        fault(
            "a curve of another world",
            |world| signed_by_kind(world, Kind::Secp256k1),
            "names CN=Old Responder as the responder: the signature algorithm ecdsa-with-SHA256 \
             is not supported with the 1.3.132.0.10 key",
            IsLaxer("it takes any curve"),
        ),
    ]);
}

/// About the RSA leaf: signed by PSS with SHA-256 and a salt of 32, announced as something else.
fn pss(world: &World, hash: &str, mask_hash: &str, salt: u8) -> Vec<u8> {
    let mask = der::sequence(&[&der::oid("1.2.840.113549.1.1.8"), &der::algorithm(mask_hash)]);
    let parameters = der::sequence(&[
        &der::context(0, &[&der::algorithm(hash)]),
        &der::context(1, &[&mask]),
        &der::context(2, &[&der::integer(&[salt])]),
    ]);
    let algorithm = Some(der::sequence(&[&der::oid("1.2.840.113549.1.1.10"), &parameters]));
    let scheme = Some(Scheme::Pss { hash: 256, salt: 32 });
    Forge { scheme, algorithm, ..Forge::new(&world.rsa_leaf, world.now) }.der()
}

/// Signed by a delegate with a key of this kind.
fn signed_by_kind(world: &World, kind: Kind) -> Vec<u8> {
    let delegate =
        world.ca.issue(Draft { key: Key::new(kind), ..Draft::delegate("Old Responder") });
    sound(world).delegated(&delegate).der()
}

#[test]
fn signers_who_are_somebody_else() {
    check(&[
        fault(
            "another CA",
            |world| Forge { signer: &world.other, responder: Named::ByName, ..sound(world) }.der(),
            "is signed by CN=Other CA, which is neither the issuer CN=Toy CA \
             nor among the 0 certificates in the response",
            Refuses,
        ),
        fault(
            "the CA's other key, named by key",
            |world| Forge { signer: &world.rekeyed, ..sound(world) }.der(),
            "is signed by key {sha1 key rekeyed}, which is neither the issuer CN=Toy CA \
             nor among the 0 certificates in the response",
            Refuses,
        ),
        fault(
            "the CA's other key, with its certificate",
            |world| sound(world).delegated(&world.rekeyed).der(),
            "is signed by CN=Toy CA, whose certificate CN=Toy CA did not sign: \
             the ecdsa-with-SHA256 signature does not verify with the P-256 key",
            Refuses,
        ),
        fault(
            "a delegate whose certificate is not there",
            |world| {
                Forge { certificates: Vec::new(), ..sound(world).delegated(&world.delegate) }.der()
            },
            "is signed by key {sha1 key Responder}, which is neither the issuer CN=Toy CA \
             nor among the 0 certificates in the response",
            Refuses,
        ),
        fault(
            "a delegate, and another's certificate",
            |world| {
                let certificates = vec![world.sibling.der.clone()];
                let responder = Named::ByName;
                Forge { certificates, responder, ..sound(world).delegated(&world.delegate) }.der()
            },
            "is signed by CN=Responder, which is neither the issuer CN=Toy CA \
             nor among the 1 certificates in the response",
            Refuses,
        ),
        fault(
            "a delegate whose certificate is rubbish",
            |world| {
                let certificates = vec![world.sibling.der.clone(), der::sequence(&[&der::null()])];
                let responder = Named::ByName;
                Forge { certificates, responder, ..sound(world).delegated(&world.delegate) }.der()
            },
            "certificate 2 in the response…",
            Refuses,
        ),
        fault(
            "the CA signs in another's name",
            |world| {
                let responder = Named::As(der::context(1, &[&world.other.subject]));
                Forge { responder, ..sound(world) }.der()
            },
            "names CN=Other CA as the responder, but CN=Toy CA signed it",
            Refuses,
        ),
        fault(
            "the CA signs by another's key",
            |world| {
                let responder = Named::As(der::context(2, &[&der::octets(&world.other.key.id())]));
                Forge { responder, ..sound(world) }.der()
            },
            "names key {sha1 key Other CA} as the responder, but CN=Toy CA signed it",
            Refuses,
        ),
        fault(
            "a delegate signs in the CA's name",
            |world| {
                let responder = Named::As(der::context(1, &[&world.ca.subject]));
                Forge { responder, ..sound(world).delegated(&world.delegate) }.der()
            },
            "names CN=Toy CA as the responder: \
             the ecdsa-with-SHA256 signature does not verify with the P-256 key",
            Refuses,
        ),
        fault(
            "a delegate signs in a stranger's name",
            |world| {
                let responder = Named::As(der::context(1, &[&world.other.subject]));
                Forge { responder, ..sound(world).delegated(&world.delegate) }.der()
            },
            "names CN=Other CA as the responder, but CN=Responder signed it",
            Refuses,
        ),
    ]);
}

/// A response by a delegate that `issuer` made from this draft.
fn delegated(world: &World, issuer: &Identity, draft: Draft) -> Vec<u8> {
    sound(world).delegated(&issuer.issue(draft)).der()
}

#[test]
fn delegates_without_the_right() {
    check(&[
        fault(
            "without extended key usage",
            |world| {
                let extended_key_usage = Vec::new();
                delegated(
                    world,
                    &world.ca,
                    Draft { extended_key_usage, ..Draft::delegate("Responder") },
                )
            },
            "is signed by CN=Responder, whose certificate does not have the extended key usage \
             OCSPSigning but none",
            Refuses,
        ),
        fault(
            "with the extended key usage of a server",
            |world| {
                let extended_key_usage = vec!["1.3.6.1.5.5.7.3.1"];
                delegated(
                    world,
                    &world.ca,
                    Draft { extended_key_usage, ..Draft::delegate("Responder") },
                )
            },
            "is signed by CN=Responder, whose certificate does not have the extended key usage \
             OCSPSigning but 1.3.6.1.5.5.7.3.1",
            Refuses,
        ),
        fault(
            "with any extended key usage, which is not this one",
            |world| {
                let extended_key_usage = vec!["2.5.29.37.0"];
                delegated(
                    world,
                    &world.ca,
                    Draft { extended_key_usage, ..Draft::delegate("Responder") },
                )
            },
            "is signed by CN=Responder, whose certificate does not have the extended key usage \
             OCSPSigning but 2.5.29.37.0",
            Refuses,
        ),
        fault(
            "the leaf itself",
            |world| sound(world).delegated(&world.leaf).der(),
            "is signed by CN=www.example.org, whose certificate does not have the extended key usage \
             OCSPSigning but 1.3.6.1.5.5.7.3.1",
            Refuses,
        ),
        fault(
            "whose key may only encipher",
            |world| {
                let key_usage = Some(0x20);
                delegated(world, &world.ca, Draft { key_usage, ..Draft::delegate("Responder") })
            },
            "is signed by CN=Responder, whose certificate's keyUsage lacks digitalSignature",
            IsLaxer("it does not look at a delegate's keyUsage"),
        ),
        fault(
            "expired",
            |world| {
                let not_after = world.now - DAY;
                delegated(world, &world.ca, Draft { not_after, ..Draft::delegate("Responder") })
            },
            "is signed by CN=Responder, whose certificate expired at {now-1d}, before {now}",
            Refuses,
        ),
        fault(
            "not valid yet",
            |world| {
                let not_before = world.now + DAY;
                delegated(world, &world.ca, Draft { not_before, ..Draft::delegate("Responder") })
            },
            "is signed by CN=Responder, whose certificate is valid from {now+1d}, after {now}",
            Refuses,
        ),
        fault(
            "of another CA",
            |world| delegated(world, &world.other, Draft::delegate("Responder")),
            "is signed by CN=Responder, whose certificate is issued by CN=Other CA, not by CN=Toy CA",
            Refuses,
        ),
        fault(
            "of a CA below ours",
            |world| {
                let below = world.ca.issue(Draft::authority("Sub CA"));
                let delegate = below.issue(Draft::delegate("Responder"));
                let certificates = vec![delegate.der.clone(), below.der.clone()];
                Forge { certificates, ..sound(world).delegated(&delegate) }.der()
            },
            "is signed by CN=Responder, whose certificate is issued by CN=Sub CA, not by CN=Toy CA",
            Refuses,
        ),
        fault(
            "of the CA's other key",
            |world| delegated(world, &world.rekeyed, Draft::delegate("Responder")),
            "is signed by CN=Responder, whose certificate CN=Toy CA did not sign: \
             the ecdsa-with-SHA256 signature does not verify with the P-256 key",
            Refuses,
        ),
        fault(
            "who signed his certificate himself, in the CA's name",
            |world| {
                let issuer = Some(world.ca.subject.clone());
                let draft = Draft { issuer, ..Draft::delegate("Responder") };
                sound(world).delegated(&draft.self_signed()).der()
            },
            "is signed by CN=Responder, whose certificate CN=Toy CA did not sign: \
             the ecdsa-with-SHA256 signature does not verify with the P-256 key",
            Refuses,
        ),
        fault(
            "with a certificate signed by SHA-1",
            |world| {
                let scheme = Some(Scheme::ECDSA_SHA1);
                delegated(world, &world.ca, Draft { scheme, ..Draft::delegate("Responder") })
            },
            "is signed by CN=Responder, whose certificate CN=Toy CA did not sign: \
             ecdsa-with-SHA1 signatures are refused unless allow_sha1_signatures is set",
            IsLaxer("it still takes SHA-1 at its default security level"),
        ),
        fault(
            "with a critical extension that nobody knows",
            |world| {
                let extensions = vec![der::extension("1.2.3.4", true, &der::null())];
                delegated(world, &world.ca, Draft { extensions, ..Draft::delegate("Responder") })
            },
            "is signed by CN=Responder, whose certificate has the unknown critical extension 1.2.3.4",
            Refuses,
        ),
        fault(
            "whose certificate names two signature algorithms",
            |world| {
                let delegate = &world.delegate;
                let parts = der::first(&delegate.der).contents;
                let parts = der::elements(parts);
                let other = der::sequence(&[&der::oid("1.2.840.10045.4.3.3")]);
                let der = der::sequence(&[parts[0].whole, &other, parts[2].whole]);
                Forge { certificates: vec![der], ..sound(world).delegated(delegate) }.der()
            },
            "certificate 1 in the response…",
            Refuses,
        ),
    ]);
}

#[test]
fn issuers_and_configured_signers_past_their_time() {
    check(&[
        fault(
            "an issuer that expired",
            |world| Forge::new(&aged(world, -10 * DAY, -DAY), world.now).der(),
            "is signed by CN=Toy CA, whose certificate expired at {now-1d}, before {now}",
            CannotSay("3.0.19 trusts what -issuer names whatever its validity, 3.0.22 does not"),
        )
        .about(|world| aged(world, -10 * DAY, -DAY)),
        fault(
            "an issuer that is not valid yet",
            |world| Forge::new(&aged(world, DAY, 10 * DAY), world.now).der(),
            "is signed by CN=Toy CA, whose certificate is valid from {now+1d}, after {now}",
            CannotSay("3.0.19 trusts what -issuer names whatever its validity, 3.0.22 does not"),
        )
        .about(|world| aged(world, DAY, 10 * DAY)),
        fault(
            "a signer that nobody configured",
            |world| sound(world).delegated(&world.authority).der(),
            "is signed by CN=VA, whose certificate is issued by CN=VA, not by CN=Toy CA",
            Refuses,
        ),
        fault(
            "in the name of a configured signer",
            |world| {
                let responder = Named::As(der::context(1, &[&world.authority.subject]));
                Forge { signer: &world.other, responder, ..sound(world) }.der()
            },
            "names CN=VA as the responder: \
             the ecdsa-with-SHA256 signature does not verify with the P-256 key",
            Refuses,
        )
        .rules(|world, rules| rules.trusted_signers.push(read(&world.authority))),
        fault(
            "a configured signer that expired",
            |world| sound(world).delegated(&expired_authority(world)).der(),
            "is signed by CN=VA, whose certificate expired at {now-1d}, before {now}",
            CannotSay("it takes an expired -VAfile, but each call makes another certificate"),
        )
        .rules(|world, rules| rules.trusted_signers.push(read(&expired_authority(world)))),
    ]);
}

/// Our leaf under a CA that was valid then; always the same CA key.
fn aged(world: &World, from: i64, to: i64) -> Identity {
    let (not_before, not_after) = (world.now + from, world.now + to);
    let draft = Draft::authority("Toy CA").keyed(Kind::P256, 1);
    let ca = Draft { not_before, not_after, ..draft }.self_signed();
    ca.issue(Draft { serial: vec![0x10, 0x01], ..Draft::leaf("www.example.org") })
}

fn expired_authority(world: &World) -> Identity {
    let draft = Draft::authority("VA").keyed(Kind::P256, 2);
    Draft { authority: None, not_after: world.now - DAY, ..draft }.self_signed()
}

#[test]
fn extensions_and_nonces() {
    check(&[
        fault(
            "an unknown critical extension",
            |world| {
                let mut forge = sound(world);
                forge.extensions.push(der::extension("1.2.3.4", true, &der::null()));
                forge.der()
            },
            "has the unknown critical extension 1.2.3.4 in responseExtensions",
            IsLaxer("it never looks at critical"),
        ),
        fault(
            "an unknown critical extension of the answer",
            |world| {
                single(world, |single| {
                    single.extensions.push(der::extension("1.2.3.5", true, &der::null()));
                })
            },
            "has the unknown critical extension 1.2.3.5 in singleExtensions",
            IsLaxer("it never looks at critical"),
        ),
        fault(
            "no nonce where one is demanded",
            |world| sound(world).der(),
            "echoes no nonce, 01020304 was sent",
            CannotSay("a stored response is judged without a request"),
        )
        .rules(|_, rules| rules.nonce = Some(vec![1, 2, 3, 4])),
        fault(
            "another nonce than the one sent",
            |world| {
                let mut forge = sound(world);
                forge.extensions.push(nonce_extension(&[5, 6, 7, 8]));
                forge.der()
            },
            "echoes the nonce 05060708, 01020304 was sent",
            CannotSay("a stored response is judged without a request"),
        )
        .rules(|_, rules| rules.nonce = Some(vec![1, 2, 3, 4])),
    ]);
}

#[test]
fn responses_out_of_their_time() {
    check(&[
        fault(
            "begins in six minutes",
            |world| sound(world).from(world.now + SIX_MINUTES).der(),
            "thisUpdate {now+6m} is 6m ahead of {now}, more than the 5m allowed; are the clocks right?",
            Refuses,
        ),
        fault(
            "was signed in six minutes",
            |world| {
                let produced_at = der::generalized_time(world.now + SIX_MINUTES);
                Forge { produced_at, ..sound(world) }.der()
            },
            "producedAt {now+6m} is 6m ahead of {now}, more than the 5m allowed; are the clocks right?",
            IsLaxer("it does not look at producedAt"),
        ),
        fault(
            "ended six minutes ago",
            |world| sound(world).until(Some(world.now - SIX_MINUTES)).der(),
            "nextUpdate {now-6m} is 6m behind {now}, more than the 5m allowed",
            Refuses,
        ),
        fault(
            "ended a week ago",
            |world| sound(world).from(world.now - 8 * DAY).until(Some(world.now - 7 * DAY)).der(),
            "nextUpdate {now-7d} is 7d behind {now}, more than the 5m allowed",
            Refuses,
        ),
        fault(
            "ended a second ago, without tolerance",
            |world| sound(world).until(Some(world.now - 1)).der(),
            "nextUpdate {now-1s} is 1s behind {now}, more than the 0s allowed",
            CannotSay("its tolerance is five minutes"),
        )
        .rules(|_, rules| rules.max_skew = std::time::Duration::ZERO),
        fault(
            "ends before it begins",
            |world| sound(world).until(Some(world.now - 2 * HOUR)).der(),
            "nextUpdate {now-2h} is before thisUpdate {now-1h}",
            Refuses,
        ),
        fault(
            "has no end, and that is demanded",
            |world| sound(world).until(None).der(),
            "has no nextUpdate (thisUpdate {now-1h}); missing_next_update says what to assume",
            IsLaxer("it takes nextUpdate for optional, as plain RFC 6960 does"),
        )
        .rules(|_, rules| rules.missing_next_update = MissingNextUpdate::Reject),
        fault(
            "has no end, and the day assumed is over",
            |world| sound(world).from(world.now - 2 * DAY).until(None).der(),
            "has no nextUpdate, and thisUpdate {now-2d} is 2d behind {now}, more than the 1d assumed",
            IsLaxer("it takes nextUpdate for optional, and believes such a response for ever"),
        ),
        fault(
            "one of two answers is over",
            |world| {
                let mut forge = sound(world);
                let next_update = Some(der::generalized_time(world.now - HOUR / 2));
                let claim = Claim::of(&world.leaf, CertHash::Sha256);
                let single = Single { claim, next_update, ..Single::new(&world.leaf, world.now) };
                forge.singles.push(single);
                forge.der()
            },
            "nextUpdate {now-30m} is 30m behind {now}, more than the 5m allowed",
            IsLaxer("it looks for the hash it asked with"),
        ),
    ]);
}
