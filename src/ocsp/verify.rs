//! Judging a response: RFC 6960 §3.2, in its order.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{self, SHA1_FOR_LEGACY_USE_ONLY};

use super::request::{hash_by_oid, key_hash, name_hash};
use super::response::{Answer, Basic, Responder};
use super::staple::{Signer, Staple};
use super::{Place, Rejection, Response};
use crate::digest::Digest;
use crate::pki::signature::{self, Checked, SignatureError};
use crate::pki::{Certificate, Issued, same_name, signature_of, signed_by};
use crate::time::{DAY, MINUTE, UnixTime};

/// How to judge. The default is what an agent without configuration does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// How far the responder's clock may be off: widens both ends of a response's window, and
    /// nothing else.
    pub max_skew: Duration,
    /// What a response without nextUpdate is worth.
    pub missing_next_update: MissingNextUpdate,
    /// Signers that configuration names (RFC 6960 §4.2.2.2, case 1).
    pub trusted_signers: Vec<Arc<Certificate>>,
    /// SHA-1 signatures count, on responses and on delegates' certificates.
    pub allow_sha1_signatures: bool,
    /// The nonce that was sent and must come back; none: nonces are not looked at.
    pub nonce: Option<Vec<u8>>,
}

/// What a response without nextUpdate is worth: RFC 9919 §5 refuses it, real responders send it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingNextUpdate {
    /// Nothing.
    Reject,
    /// Good for this long from thisUpdate.
    Assume(Duration),
}

impl Default for Rules {
    fn default() -> Self {
        Rules {
            max_skew: 5 * MINUTE,
            missing_next_update: MissingNextUpdate::Assume(DAY),
            trusted_signers: Vec::new(),
            allow_sha1_signatures: false,
            nonce: None,
        }
    }
}

/// Certificates in a response that are tried as signers; more than a few are an attack or a mistake.
const MAX_CANDIDATES: usize = 16;

/// Judges `response` as the answer about `issued`, at the instant `now` (UTC, whole seconds).
///
/// A direct signature costs little beyond its check, a delegate's costs a second check and the
/// reading of its certificate. Nothing is remembered between calls.
///
/// # Errors
/// The first condition of RFC 6960 §3.2 that fails, in the order of that list; an unsuccessful
/// status before them all.
pub fn verify(
    response: Response,
    issued: &Issued,
    rules: &Rules,
    now: UnixTime,
) -> Result<Staple, Rejection> {
    verify_again(response, issued, rules, now, &Checked::default())
}

/// As [`verify`], without the arithmetic of signatures that were checked before: for responses that
/// are read back from disk. Everything else is judged anew.
///
/// # Errors
/// As [`verify`].
pub fn verify_again(
    response: Response,
    issued: &Issued,
    rules: &Rules,
    now: UnixTime,
    checked: &Checked,
) -> Result<Staple, Rejection> {
    let status = response.status();
    let basic = response.basic().ok_or(Rejection::Unsuccessful { status })?;
    let answers = answers_about(basic, issued)?;
    let signed = Signed { der: response.der(), basic, issued, rules, now, checked };
    let (signer, signer_not_after) = signed.signer()?;
    check_extensions(basic, &answers, rules)?;
    let (answer, end) = current(basic, &answers, rules, now)?;
    Ok(Staple {
        digest: Digest::of(response.der()),
        certificate: issued.fingerprint(),
        status: answer.status,
        revocation: answer.revocation,
        this_update: answer.this_update,
        next_update: answer.next_update,
        produced_at: basic.produced_at,
        expires: end.min(signer_not_after).min(issued.leaf.not_after()),
        signer,
        der: response.shared_der(),
    })
}

/// What the signatures that prove `staple` are known by in [`Checked`]; none where that is not clear.
pub fn signatures(staple: &Staple, issued: &Issued) -> Vec<Digest> {
    let Ok(response) = Response::decode(staple.der()) else { return Vec::new() };
    let Some(basic) = response.basic() else { return Vec::new() };
    let part = |range: &Range<usize>| &response.der()[range.clone()];
    let by = |signer: &Certificate| {
        let (algorithm, signature) = (part(&basic.algorithm), part(&basic.signature));
        signature::identity(algorithm, signer.spki_der(), part(&basic.signed), signature)
    };
    match (&staple.signer, basic.certificates.as_slice()) {
        (Signer::Known(signer), _) => vec![by(signer)],
        (Signer::Delegate(_), [only]) => Certificate::from_der(part(only))
            .map(|delegate| vec![by(&delegate), signature_of(&delegate, &issued.issuer)])
            .unwrap_or_default(),
        (Signer::Delegate(_), _) => Vec::new(),
    }
}

/// The answers whose CertID is ours, recomputed with the hash they use; never empty.
fn answers_about<'a>(basic: &'a Basic, issued: &Issued) -> Result<Vec<&'a Answer>, Rejection> {
    let wanted = issued.leaf.serial();
    let mut ours: Vec<&Answer> = Vec::with_capacity(1);
    let mut near_miss = None;
    for answer in basic.answers.iter().filter(|answer| answer.serial == wanted) {
        match check_issuer(answer, issued) {
            Ok(()) => ours.push(answer),
            Err(rejection) => near_miss = near_miss.or(Some(rejection)),
        }
    }
    let Some((first, rest)) = ours.split_first() else {
        return Err(near_miss.unwrap_or_else(|| match basic.answers.as_slice() {
            [] => Rejection::Empty { wanted },
            [only] => Rejection::OtherSerial { wanted, found: only.serial.clone() },
            answers => Rejection::NotAnswered { wanted, answers: answers.len() },
        }));
    };
    match rest.iter().find(|other| other.status != first.status) {
        None => Ok(ours),
        Some(other) => {
            Err(Rejection::Contradiction { serial: wanted, one: first.status, other: other.status })
        }
    }
}

fn check_issuer(answer: &Answer, issued: &Issued) -> Result<(), Rejection> {
    let serial = answer.serial.clone();
    let Some(algorithm) = hash_by_oid(&answer.hash) else {
        return Err(Rejection::UnknownHash { serial, oid: answer.hash.to_string() });
    };
    let name = name_hash(algorithm, &issued.leaf);
    if name.as_ref() != &*answer.issuer_name_hash {
        // The issuer may spell its own name otherwise than the leaf does (see `same_name`).
        let own = digest::digest(algorithm, issued.issuer.subject_der());
        if own.as_ref() != &*answer.issuer_name_hash {
            let (wanted, found) = (name.as_ref().to_vec(), answer.issuer_name_hash.to_vec());
            return Err(Rejection::OtherIssuerName { serial, wanted, found });
        }
    }
    let key = key_hash(algorithm, &issued.issuer);
    if key.as_ref() != &*answer.issuer_key_hash {
        let (wanted, found) = (key.as_ref().to_vec(), answer.issuer_key_hash.to_vec());
        return Err(Rejection::OtherIssuerKey { serial, wanted, found });
    }
    Ok(())
}

/// A response, with all that the question "who signed it?" needs.
struct Signed<'a> {
    der: &'a [u8],
    basic: &'a Basic,
    issued: &'a Issued,
    rules: &'a Rules,
    now: UnixTime,
    checked: &'a Checked,
}

impl Signed<'_> {
    /// Whose key signed the response, by right; with the end of that certificate's validity.
    fn signer(&self) -> Result<(Signer, UnixTime), Rejection> {
        let known = std::iter::once(&self.issued.issuer).chain(&self.rules.trusted_signers);
        let mut failure = None;
        for certificate in known.clone().filter(|known| self.names(known)) {
            match self.signed_with(certificate) {
                Ok(()) => {
                    self.valid_now(certificate)?;
                    return Ok((Signer::Known(certificate.clone()), certificate.not_after()));
                }
                Err(rejection) => failure = failure.or(Some(rejection)),
            }
        }
        // Only now are the certificates read that came with it: most come from the issuer itself.
        let embedded = self.embedded();
        for delegate in embedded.iter().flatten() {
            let known = known.clone().any(|known| known.spki_der() == delegate.spki_der());
            if known || !self.names(delegate) {
                continue;
            }
            match self.signed_with(delegate) {
                Ok(()) => {
                    self.authorised(delegate)?;
                    let subject = delegate.subject().into();
                    return Ok((Signer::Delegate(subject), delegate.not_after()));
                }
                Err(rejection) => failure = failure.or(Some(rejection)),
            }
        }
        Err(failure.unwrap_or_else(|| self.nobody(&embedded)))
    }

    /// Whether the ResponderID is `certificate`'s.
    fn names(&self, certificate: &Certificate) -> bool {
        match &self.basic.responder {
            Responder::Name(name) => same_name(name, certificate.subject_der()),
            Responder::Key(hash) => {
                key_hash(&SHA1_FOR_LEGACY_USE_ONLY, certificate).as_ref() == &**hash
            }
        }
    }

    fn check(&self, certificate: &Certificate) -> Result<(), SignatureError> {
        self.checked.verify(
            &self.der[self.basic.algorithm.clone()],
            certificate.spki_der(),
            &self.der[self.basic.signed.clone()],
            &self.der[self.basic.signature.clone()],
            self.rules.allow_sha1_signatures,
        )
    }

    fn signed_with(&self, certificate: &Certificate) -> Result<(), Rejection> {
        self.check(certificate)
            .map_err(|cause| Rejection::Signature { signer: certificate.subject(), cause })
    }

    fn embedded(&self) -> Vec<Result<Certificate, String>> {
        let ranges = self.basic.certificates.iter().take(MAX_CANDIDATES);
        let read = |der: &[u8]| Certificate::from_der(der).map_err(|cause| cause.to_string());
        ranges.map(|range| read(&self.der[range.clone()])).collect()
    }

    /// RFC 6960 §4.2.2.2: signed by the issuer itself, made for this purpose, and valid now.
    fn authorised(&self, delegate: &Certificate) -> Result<(), Rejection> {
        let issuer = &self.issued.issuer;
        if !same_name(delegate.issuer_der(), issuer.subject_der()) {
            let (wanted, found) = (issuer.subject(), delegate.issuer());
            let delegate = delegate.subject();
            return Err(Rejection::DelegateOfOtherIssuer { delegate, wanted, found });
        }
        if let Err(cause) =
            signed_by(delegate, issuer, self.rules.allow_sha1_signatures, self.checked)
        {
            let (delegate, issuer) = (delegate.subject(), issuer.subject());
            return Err(Rejection::DelegateNotSigned { delegate, issuer, cause });
        }
        let rights = delegate.signing_rights();
        if !rights.ocsp_signing {
            let (delegate, found) = (delegate.subject(), rights.extended_key_usages);
            return Err(Rejection::DelegateWithoutOcspSigning { delegate, found });
        }
        if !rights.signatures {
            return Err(Rejection::DelegateMayNotSign { delegate: delegate.subject() });
        }
        if let Some(oid) = rights.unknown_critical {
            return Err(Rejection::DelegateUnknownCritical { delegate: delegate.subject(), oid });
        }
        self.valid_now(delegate)
    }

    /// Strictly: RFC 6960's tolerance is for responses, not for certificates.
    fn valid_now(&self, signer: &Certificate) -> Result<(), Rejection> {
        let now = self.now;
        let (not_before, not_after) = (signer.not_before(), signer.not_after());
        if now < not_before {
            return Err(Rejection::SignerNotYetValid { signer: signer.subject(), not_before, now });
        }
        if now > not_after {
            return Err(Rejection::SignerExpired { signer: signer.subject(), not_after, now });
        }
        Ok(())
    }

    /// Nobody at hand goes by the ResponderID: finds out what that is.
    fn nobody(&self, embedded: &[Result<Certificate, String>]) -> Rejection {
        let responder = self.basic.responder.to_string();
        let known = std::iter::once(&self.issued.issuer).chain(&self.rules.trusted_signers);
        let readable = known.map(AsRef::as_ref).chain(embedded.iter().flatten());
        for certificate in readable {
            if self.check(certificate).is_ok() {
                return Rejection::OtherResponder { responder, signer: certificate.subject() };
            }
        }
        let unreadable = embedded.iter().enumerate().find_map(|(place, read)| match read {
            Ok(_) => None,
            Err(cause) => Some((place + 1, cause.clone())),
        });
        match unreadable {
            Some((number, cause)) => Rejection::UnreadableCertificate { number, cause, responder },
            None => Rejection::UnknownSigner {
                responder,
                issuer: self.issued.issuer.subject(),
                certificates: self.basic.certificates.len(),
            },
        }
    }
}

fn check_extensions(basic: &Basic, answers: &[&Answer], rules: &Rules) -> Result<(), Rejection> {
    let in_response = basic.unknown_critical.map(|oid| (oid, Place::Response));
    let mut in_answers = answers.iter().filter_map(|answer| answer.unknown_critical);
    let unknown = in_response.or_else(|| in_answers.next().map(|oid| (oid, Place::Answer)));
    if let Some((oid, place)) = unknown {
        return Err(Rejection::UnknownCritical { oid: oid.to_string(), place });
    }
    match (&rules.nonce, &basic.nonce) {
        (None, _) => Ok(()),
        (Some(wanted), None) => Err(Rejection::NoNonce { wanted: wanted.clone() }),
        (Some(wanted), Some(found)) if wanted == found => Ok(()),
        (Some(wanted), Some(found)) => {
            Err(Rejection::OtherNonce { wanted: wanted.clone(), found: found.clone() })
        }
    }
}

/// Checks that every answer is current; gives the one that ends first, with its end.
fn current<'a>(
    basic: &Basic,
    answers: &[&'a Answer],
    rules: &Rules,
    now: UnixTime,
) -> Result<(&'a Answer, UnixTime), Rejection> {
    let mut first: Option<(&Answer, UnixTime)> = None;
    for answer in answers {
        let end = end_of(answer, rules, now)?;
        if first.is_none_or(|(_, earliest)| end < earliest) {
            first = Some((answer, end));
        }
    }
    let (produced_at, max_skew) = (basic.produced_at, rules.max_skew);
    if produced_at > now + max_skew {
        return Err(Rejection::ProducedInFuture { produced_at, now, max_skew });
    }
    Ok(first.expect("answers_about gives at least one"))
}

/// Checks one answer's window; gives its end, without tolerance.
fn end_of(answer: &Answer, rules: &Rules, now: UnixTime) -> Result<UnixTime, Rejection> {
    let (this_update, max_skew) = (answer.this_update, rules.max_skew);
    if let Some(next_update) = answer.next_update.filter(|end| *end < this_update) {
        return Err(Rejection::Backwards { this_update, next_update });
    }
    if this_update > now + max_skew {
        return Err(Rejection::NotYetValid { this_update, now, max_skew });
    }
    match (answer.next_update, rules.missing_next_update) {
        (Some(next_update), _) if next_update + max_skew < now => {
            Err(Rejection::Expired { next_update, now, max_skew })
        }
        (Some(next_update), _) => Ok(next_update),
        (None, MissingNextUpdate::Reject) => Err(Rejection::NoNextUpdate { this_update }),
        (None, MissingNextUpdate::Assume(assumed)) => {
            if this_update + assumed + max_skew < now {
                return Err(Rejection::AssumedExpired { this_update, assumed, now });
            }
            Ok(this_update + assumed)
        }
    }
}
