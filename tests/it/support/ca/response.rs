//! OCSP responses with every field open, and the right answer to a request.

use aws_lc_rs::digest::{self, Algorithm};

use super::certificate::Identity;
use super::der;
use super::key::Scheme;
use super::{DAY, HOUR};

/// A response to be made. [`Forge::new`] is a sound one; every field is a knob.
#[derive(Clone, Debug)]
pub struct Forge<'a> {
    /// OCSPResponseStatus; anything but 0 leaves the body out.
    pub response_status: u8,
    /// Of the body.
    pub response_type: &'static str,
    /// What is written for it; none: left out, as DER wants it for version 1 (0).
    pub version: Option<u8>,
    /// ResponderID.
    pub responder: Named,
    /// producedAt, as DER.
    pub produced_at: Vec<u8>,
    pub singles: Vec<Single>,
    /// responseExtensions, each as DER.
    pub extensions: Vec<Vec<u8>>,
    pub signer: &'a Identity,
    /// None: the key's default.
    pub scheme: Option<Scheme>,
    /// The AlgorithmIdentifier to write, where it shall not be the scheme's.
    pub algorithm: Option<Vec<u8>>,
    /// The signature to write, where it shall not be the signer's.
    pub signature: Option<Vec<u8>>,
    /// `certs`, each as DER.
    pub certificates: Vec<Vec<u8>>,
}

/// ResponderID.
#[derive(Clone, Debug)]
pub enum Named {
    /// By the signer's key.
    ByKey,
    /// By the signer's subject.
    ByName,
    /// As DER.
    As(Vec<u8>),
}

/// One SingleResponse.
#[derive(Clone, Debug)]
pub struct Single {
    pub claim: Claim,
    pub said: Said,
    /// As DER.
    pub this_update: Vec<u8>,
    /// As DER.
    pub next_update: Option<Vec<u8>>,
    /// singleExtensions, each as DER.
    pub extensions: Vec<Vec<u8>>,
}

/// CertID.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The AlgorithmIdentifier, as DER.
    pub algorithm: Vec<u8>,
    pub issuer_name_hash: Vec<u8>,
    pub issuer_key_hash: Vec<u8>,
    /// Contents of the INTEGER.
    pub serial: Vec<u8>,
}

/// CertStatus.
#[derive(Clone, Debug)]
pub enum Said {
    Good,
    Revoked {
        time: i64,
        reason: Option<u8>,
    },
    Unknown,
    /// As DER.
    As(Vec<u8>),
}

/// Hashes for CertIDs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertHash {
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

impl CertHash {
    fn algorithm(self) -> (&'static Algorithm, &'static str) {
        match self {
            CertHash::Sha1 => (&digest::SHA1_FOR_LEGACY_USE_ONLY, "1.3.14.3.2.26"),
            CertHash::Sha256 => (&digest::SHA256, "2.16.840.1.101.3.4.2.1"),
            CertHash::Sha384 => (&digest::SHA384, "2.16.840.1.101.3.4.2.2"),
            CertHash::Sha512 => (&digest::SHA512, "2.16.840.1.101.3.4.2.3"),
        }
    }
}

impl Claim {
    /// The CertID of `leaf`.
    pub fn of(leaf: &Identity, hash: CertHash) -> Claim {
        let (algorithm, oid) = hash.algorithm();
        let digest = |bytes: &[u8]| digest::digest(algorithm, bytes).as_ref().to_vec();
        Claim {
            algorithm: der::algorithm(oid),
            issuer_name_hash: digest(&leaf.issuer().subject),
            issuer_key_hash: digest(leaf.issuer().key.public_bits()),
            serial: leaf.serial.clone(),
        }
    }

    fn der(&self) -> Vec<u8> {
        der::sequence(&[
            &self.algorithm,
            &der::octets(&self.issuer_name_hash),
            &der::octets(&self.issuer_key_hash),
            &der::integer(&self.serial),
        ])
    }
}

impl Said {
    fn der(&self) -> Vec<u8> {
        match self {
            Said::Good => der::element(0x80, &[]),
            Said::Unknown => der::element(0x82, &[]),
            Said::Revoked { time, reason } => {
                let reason = reason.map(|reason| der::context(0, &[&der::enumerated(reason)]));
                let reason = reason.unwrap_or_default();
                der::context(1, &[&der::generalized_time(*time), &reason])
            }
            Said::As(der) => der.clone(),
        }
    }
}

impl Single {
    /// Good from an hour before `now` for seven days, CertID by SHA-1.
    pub fn new(leaf: &Identity, now: i64) -> Single {
        Single {
            claim: Claim::of(leaf, CertHash::Sha1),
            said: Said::Good,
            this_update: der::generalized_time(now - HOUR),
            next_update: Some(der::generalized_time(now - HOUR + 7 * DAY)),
            extensions: Vec::new(),
        }
    }

    fn der(&self) -> Vec<u8> {
        let next = self.next_update.as_ref().map(|time| der::context(0, &[time]));
        der::sequence(&[
            &self.claim.der(),
            &self.said.der(),
            &self.this_update,
            &next.unwrap_or_default(),
            &extensions(&self.extensions),
        ])
    }
}

impl<'a> Forge<'a> {
    /// A good response about `leaf`, signed by its issuer, from an hour before `now` for 7 days.
    pub fn new(leaf: &'a Identity, now: i64) -> Forge<'a> {
        Forge {
            response_status: 0,
            response_type: "1.3.6.1.5.5.7.48.1.1",
            version: None,
            responder: Named::ByKey,
            produced_at: der::generalized_time(now - HOUR),
            singles: vec![Single::new(leaf, now)],
            extensions: Vec::new(),
            signer: leaf.issuer(),
            scheme: None,
            algorithm: None,
            signature: None,
            certificates: Vec::new(),
        }
    }

    /// With another status in its first answer.
    pub fn status(mut self, said: Said) -> Forge<'a> {
        self.singles[0].said = said;
        self
    }

    /// The first answer and producedAt from `this_update` on.
    pub fn from(mut self, this_update: i64) -> Forge<'a> {
        self.singles[0].this_update = der::generalized_time(this_update);
        self.produced_at = der::generalized_time(this_update);
        self
    }

    /// The first answer until `next_update`; none: without it.
    pub fn until(mut self, next_update: Option<i64>) -> Forge<'a> {
        self.singles[0].next_update = next_update.map(der::generalized_time);
        self
    }

    /// The first answer's CertID by another hash.
    pub fn by_hash(mut self, leaf: &Identity, hash: CertHash) -> Forge<'a> {
        self.singles[0].claim = Claim::of(leaf, hash);
        self
    }

    /// Signed by a delegate, whose certificate comes with it.
    pub fn delegated(self, delegate: &'a Identity) -> Forge<'a> {
        Forge { signer: delegate, certificates: vec![delegate.der.clone()], ..self }
    }

    /// The DER OCSPResponse.
    pub fn der(&self) -> Vec<u8> {
        if self.response_status != 0 {
            return refusal(self.response_status);
        }
        let body = self.basic();
        let bytes = der::sequence(&[&der::oid(self.response_type), &der::octets(&body)]);
        der::sequence(&[&der::enumerated(0), &der::context(0, &[&bytes])])
    }

    /// The DER BasicOCSPResponse.
    pub fn basic(&self) -> Vec<u8> {
        let signed = self.signed_part();
        let scheme = self.scheme.unwrap_or_else(|| self.signer.key.scheme());
        let algorithm = match &self.algorithm {
            Some(algorithm) => algorithm.clone(),
            None => scheme.identifier(self.signer.key.kind()),
        };
        let signature = match &self.signature {
            Some(signature) => signature.clone(),
            None => self.signer.key.sign(scheme, &signed),
        };
        let certificates = match self.certificates.is_empty() {
            true => Vec::new(),
            false => der::context(0, &[&der::sequence(&[&self.certificates.concat()])]),
        };
        der::sequence(&[&signed, &algorithm, &der::bits(&signature), &certificates])
    }

    /// The DER ResponseData.
    pub fn signed_part(&self) -> Vec<u8> {
        let version = self.version.map(|version| der::context(0, &[&der::integer(&[version])]));
        let responder = match &self.responder {
            Named::ByName => der::context(1, &[&self.signer.subject]),
            Named::ByKey => der::context(2, &[&der::octets(&self.signer.key.id())]),
            Named::As(der) => der.clone(),
        };
        let singles: Vec<u8> = self.singles.iter().flat_map(Single::der).collect();
        der::sequence(&[
            &version.unwrap_or_default(),
            &responder,
            &self.produced_at,
            &der::sequence(&[&singles]),
            &extensions(&self.extensions),
        ])
    }
}

/// `[1] EXPLICIT Extensions`, or nothing.
fn extensions(extensions: &[Vec<u8>]) -> Vec<u8> {
    match extensions {
        [] => Vec::new(),
        some => der::context(1, &[&der::sequence(&[&some.concat()])]),
    }
}

/// The nonce extension, as requests and responses carry it.
pub fn nonce_extension(nonce: &[u8]) -> Vec<u8> {
    der::extension("1.3.6.1.5.5.7.48.1.2", false, &der::octets(nonce))
}

/// An unsigned refusal: 1 malformedRequest, 2 internalError, 3 tryLater, 5 sigRequired, 6 unauthorized.
pub fn refusal(status: u8) -> Vec<u8> {
    der::sequence(&[&der::enumerated(status)])
}

/// What a request asks.
pub struct Question {
    /// The first CertID.
    pub claim: Claim,
    pub nonce: Option<Vec<u8>>,
}

impl Question {
    /// Reads a sound DER OCSPRequest, such as our own.
    pub fn of(request: &[u8]) -> Question {
        let request = der::first(der::first(request).contents);
        let fields = der::elements(request.contents);
        let list = fields.iter().find(|field| field.tag == 0x30).expect("a requestList");
        let cert_id = der::first(der::first(list.contents).contents);
        let parts = der::elements(cert_id.contents);
        let claim = Claim {
            algorithm: parts[0].whole.to_vec(),
            issuer_name_hash: parts[1].contents.to_vec(),
            issuer_key_hash: parts[2].contents.to_vec(),
            serial: parts[3].contents.to_vec(),
        };
        let extensions = fields.iter().find(|field| field.tag == 0xa2);
        let nonce = extensions.and_then(|extensions| {
            let list = der::elements(der::first(extensions.contents).contents);
            let wanted = der::oid("1.3.6.1.5.5.7.48.1.2");
            let nonce = list.iter().find(|one| one.contents.starts_with(&wanted))?;
            let value = der::elements(nonce.contents).pop()?;
            Some(der::first(value.contents).contents.to_vec())
        });
        Question { claim, nonce }
    }
}

/// What a sound responder answers: good for the one of `leaves` that `request` asks about, its
/// CertID and nonce mirrored, signed by that leaf's issuer; `unauthorized` for others.
pub fn answer(request: &[u8], leaves: &[&Identity], now: i64) -> Vec<u8> {
    let question = Question::of(request);
    let Some(leaf) = leaves.iter().find(|leaf| leaf.serial == question.claim.serial) else {
        return refusal(6);
    };
    let mut forge = Forge::new(leaf, now);
    forge.singles[0].claim = question.claim;
    forge.extensions.extend(question.nonce.as_deref().map(nonce_extension));
    forge.der()
}
