//! Why a response was turned away: one variant a reason, with both sides of the comparison.
//!
//! The messages reach whoever is woken by a missing staple, so each says what was found, what was
//! wanted and, where it is not plain, what to do.

use std::fmt;
use std::time::Duration;

use super::{ResponseStatus, Status};
use crate::pki::Serial;
use crate::pki::signature::SignatureError;
use crate::time::{UnixTime, format_duration};

/// Why a response was turned away, in the order in which [`verify`](super::verify()) looks.
///
/// Times are UTC, names RFC 4514 text, hashes and serials lower-case hex.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The responder refused to answer. Unsigned: it proves nothing and is never stapled.
    #[error("the responder answered {status}{}", advice(*status))]
    Unsuccessful {
        /// Its refusal.
        status: ResponseStatus,
    },

    // RFC 6960 §3.2 item 1: the certificate identified is the one that was asked about.
    /// It is about no certificate at all.
    #[error("holds no answer at all, asked about serial {wanted}")]
    Empty {
        /// The leaf's.
        wanted: Serial,
    },
    /// It is about one other certificate.
    #[error("answers for serial {found}, asked about {wanted}")]
    OtherSerial {
        /// The leaf's.
        wanted: Serial,
        /// The answer's.
        found: Serial,
    },
    /// It is about several other certificates.
    #[error("answers for {answers} certificates, none of which has the serial {wanted}")]
    NotAnswered {
        /// The leaf's.
        wanted: Serial,
        /// How many it answers for.
        answers: usize,
    },
    /// Our serial number, under an issuer of another name.
    #[error(
        "answers for serial {serial} of an issuer whose name has the hash {}, \
         ours has {}",
        Hex(found),
        Hex(wanted)
    )]
    OtherIssuerName {
        /// The leaf's.
        serial: Serial,
        /// Of the leaf's issuer.
        wanted: Vec<u8>,
        /// In the answer.
        found: Vec<u8>,
    },
    /// Our serial number and issuer name, under another key of the issuer.
    #[error(
        "answers for serial {serial} of an issuer whose key has the hash {}, \
         ours has {}; was the CA re-keyed?",
        Hex(found),
        Hex(wanted)
    )]
    OtherIssuerKey {
        /// The leaf's.
        serial: Serial,
        /// Of the leaf's issuer.
        wanted: Vec<u8>,
        /// In the answer.
        found: Vec<u8>,
    },
    /// Our serial number, with the issuer named by a hash that we do not know.
    #[error("names the issuer of serial {serial} by the unknown hash {oid}")]
    UnknownHash {
        /// The leaf's.
        serial: Serial,
        /// Of the hash.
        oid: String,
    },
    /// It answers twice about our certificate, and differently.
    #[error("says both {one} and {other} about serial {serial}")]
    Contradiction {
        /// The leaf's.
        serial: Serial,
        /// In one answer.
        one: Status,
        /// In another.
        other: Status,
    },

    // Items 2 and 3: the signature is valid, and its maker the one that is named.
    /// No certificate at hand belongs to the named responder.
    #[error(
        "is signed by {responder}, which is neither the issuer {issuer} \
         nor among the {certificates} certificates in the response"
    )]
    UnknownSigner {
        /// The ResponderID.
        responder: String,
        /// The leaf's issuer.
        issuer: String,
        /// How many came with the response.
        certificates: usize,
    },
    /// A certificate in the response cannot be read, and the signer's is not among the others.
    #[error(
        "certificate {number} in the response {cause}, and {responder} is not among the others"
    )]
    UnreadableCertificate {
        /// Counted from 1.
        number: usize,
        /// What is wrong with it.
        cause: String,
        /// The ResponderID.
        responder: String,
    },
    /// The signature is right and the ResponderID names somebody else.
    #[error("names {responder} as the responder, but {signer} signed it")]
    OtherResponder {
        /// The ResponderID.
        responder: String,
        /// Whose key verifies the signature.
        signer: String,
    },
    /// The signature is not the named signer's, or it cannot be checked.
    #[error("names {signer} as the responder: {cause}")]
    Signature {
        /// Whose key was tried.
        signer: String,
        /// What the check said.
        cause: SignatureError,
    },

    // Item 4: the signer is authorised, now.
    /// The delegate's certificate is of another CA.
    #[error("is signed by {delegate}, whose certificate is issued by {found}, not by {wanted}")]
    DelegateOfOtherIssuer {
        /// Its subject.
        delegate: String,
        /// The leaf's issuer.
        wanted: String,
        /// The delegate's issuer.
        found: String,
    },
    /// The delegate's certificate names our issuer, whose key did not sign it.
    #[error("is signed by {delegate}, whose certificate {issuer} did not sign: {cause}")]
    DelegateNotSigned {
        /// Its subject.
        delegate: String,
        /// The leaf's issuer.
        issuer: String,
        /// What the check said.
        cause: SignatureError,
    },
    /// RFC 6960 §4.2.2.2: the issuer did not make it a responder.
    #[error(
        "is signed by {delegate}, whose certificate does not have the extended key usage \
         OCSPSigning but {}",
        usages(found)
    )]
    DelegateWithoutOcspSigning {
        /// Its subject.
        delegate: String,
        /// The OIDs it has instead.
        found: Vec<String>,
    },
    /// RFC 5280 §4.2.1.3: its key may not make signatures.
    #[error("is signed by {delegate}, whose certificate's keyUsage lacks digitalSignature")]
    DelegateMayNotSign {
        /// Its subject.
        delegate: String,
    },
    /// RFC 5280 §4.2: its certificate restricts something that we know nothing about.
    #[error("is signed by {delegate}, whose certificate has the unknown critical extension {oid}")]
    DelegateUnknownCritical {
        /// Its subject.
        delegate: String,
        /// Of the extension.
        oid: String,
    },
    /// The signer's certificate is not valid yet.
    #[error("is signed by {signer}, whose certificate is valid from {not_before}, after {now}")]
    SignerNotYetValid {
        /// Its subject.
        signer: String,
        /// Start of its validity.
        not_before: UnixTime,
        /// The instant judged at.
        now: UnixTime,
    },
    /// The signer's certificate is not valid any more.
    #[error("is signed by {signer}, whose certificate expired at {not_after}, before {now}")]
    SignerExpired {
        /// Its subject.
        signer: String,
        /// End of its validity.
        not_after: UnixTime,
        /// The instant judged at.
        now: UnixTime,
    },

    /// RFC 6960 §4.4: an extension must be understood and is not.
    #[error("has the unknown critical extension {oid} in {place}")]
    UnknownCritical {
        /// Of the extension.
        oid: String,
        /// Where it stands.
        place: Place,
    },
    /// A nonce was sent and demanded back.
    #[error("echoes no nonce, {} was sent", Hex(wanted))]
    NoNonce {
        /// That was sent.
        wanted: Vec<u8>,
    },
    /// A nonce was sent and another came back: a replay, or an answer to somebody else.
    #[error("echoes the nonce {}, {} was sent", Hex(found), Hex(wanted))]
    OtherNonce {
        /// That was sent.
        wanted: Vec<u8>,
        /// That came.
        found: Vec<u8>,
    },

    // Items 5 and 6: it is current.
    /// It ends before it begins.
    #[error("nextUpdate {next_update} is before thisUpdate {this_update}")]
    Backwards {
        /// Its beginning.
        this_update: UnixTime,
        /// Its end.
        next_update: UnixTime,
    },
    /// It begins in the future.
    #[error(
        "thisUpdate {this_update} is {} ahead of {now}, more than the {} allowed; are the clocks right?",
        format_duration(this_update.since(*now)), format_duration(*max_skew)
    )]
    NotYetValid {
        /// Its beginning.
        this_update: UnixTime,
        /// The instant judged at.
        now: UnixTime,
        /// How much is allowed.
        max_skew: Duration,
    },
    /// It says to have been signed in the future.
    #[error(
        "producedAt {produced_at} is {} ahead of {now}, more than the {} allowed; are the clocks right?",
        format_duration(produced_at.since(*now)), format_duration(*max_skew)
    )]
    ProducedInFuture {
        /// When it says to have been signed.
        produced_at: UnixTime,
        /// The instant judged at.
        now: UnixTime,
        /// How much is allowed.
        max_skew: Duration,
    },
    /// It does not say when it ends, and that is demanded.
    #[error(
        "has no nextUpdate (thisUpdate {this_update}); missing_next_update says what to assume"
    )]
    NoNextUpdate {
        /// Its beginning.
        this_update: UnixTime,
    },
    /// Newer information was due before now.
    #[error(
        "nextUpdate {next_update} is {} behind {now}, more than the {} allowed",
        format_duration(now.since(*next_update)), format_duration(*max_skew)
    )]
    Expired {
        /// Its end.
        next_update: UnixTime,
        /// The instant judged at.
        now: UnixTime,
        /// How much is allowed.
        max_skew: Duration,
    },
    /// It does not say when it ends, and the life assumed for it is over.
    #[error(
        "has no nextUpdate, and thisUpdate {this_update} is {} behind {now}, more than the {} assumed",
        format_duration(now.since(*this_update)), format_duration(*assumed)
    )]
    AssumedExpired {
        /// Its beginning.
        this_update: UnixTime,
        /// The life assumed.
        assumed: Duration,
        /// The instant judged at.
        now: UnixTime,
    },
}

/// Where in a response an extension stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// responseExtensions.
    Response,
    /// The singleExtensions of the answer about our certificate.
    Answer,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Place::Response => "responseExtensions",
            Place::Answer => "singleExtensions",
        })
    }
}

/// Bytes as lower-case hex.
pub(super) struct Hex<'a>(pub(super) &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

fn usages(oids: &[String]) -> String {
    if oids.is_empty() { "none".to_owned() } else { oids.join(", ") }
}

fn advice(status: ResponseStatus) -> &'static str {
    match status {
        ResponseStatus::Unauthorized => {
            ": it does not speak for this certificate (not published yet, expired, or another \
             CertID hash is wanted: see cert_id_hash)"
        }
        ResponseStatus::SigRequired => ": it wants signed requests, which are not supported",
        ResponseStatus::MalformedRequest => {
            ": it did not understand the request (try method or cert_id_hash)"
        }
        _ => "",
    }
}
