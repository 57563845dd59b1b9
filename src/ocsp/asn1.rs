//! RFC 6960's ASN.1 on `der`, borrowed from the bytes that came.
//!
//! `der` reads DER and nothing else: indefinite and needlessly long lengths, constructed strings and
//! trailing bytes are errors. Two fields are `AnyRef` on purpose, where real responders are odd and
//! no harm is done: serial numbers (too long, needless zeros) and hash parameters (absent or NULL).
//! The response status is read as it comes, so that an unknown one can be named.

use der::asn1::{AnyRef, GeneralizedTime, Null, ObjectIdentifier, OctetStringRef};
use der::{
    Choice, DecodeValue, EncodeValue, FixedTag, Header, Length, Reader, Sequence, SliceReader, Tag,
    TagNumber, Tagged, Writer,
};

/// `id-pkix-ocsp-basic`, the only type of response there is.
pub(super) const BASIC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.1");
/// `id-pkix-ocsp-nonce` (RFC 9654).
pub(super) const NONCE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.2");

/// RFC 6960 §4.2.1 OCSPResponse.
#[derive(Sequence)]
pub(super) struct OcspResponse<'a> {
    pub(super) status: Enumerated<'a>,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    pub(super) body: Option<ResponseBytes<'a>>,
}

/// The contents of any ENUMERATED.
pub(super) struct Enumerated<'a>(pub(super) &'a [u8]);

impl FixedTag for Enumerated<'_> {
    const TAG: Tag = Tag::Enumerated;
}

impl<'a> DecodeValue<'a> for Enumerated<'a> {
    type Error = der::Error;

    fn decode_value<R: Reader<'a>>(reader: &mut R, header: Header) -> der::Result<Self> {
        reader.read_slice(header.length()).map(Enumerated)
    }
}

impl EncodeValue for Enumerated<'_> {
    fn value_len(&self) -> der::Result<Length> {
        self.0.len().try_into()
    }

    fn encode_value(&self, writer: &mut impl Writer) -> der::Result<()> {
        writer.write(self.0)
    }
}

/// RFC 6960 §4.1.1 OCSPRequest. A signature is not looked at: answers are the same for everybody.
#[derive(Sequence)]
pub(super) struct OcspRequest<'a> {
    pub(super) asked: TbsRequest<'a>,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    pub(super) signature: Option<AnyRef<'a>>,
}

/// TBSRequest.
#[derive(Sequence)]
pub(super) struct TbsRequest<'a> {
    // DEFAULT v1: DER leaves it out, some clients write it.
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    pub(super) version: Option<u8>,
    #[asn1(context_specific = "1", tag_mode = "EXPLICIT", optional = "true")]
    pub(super) requestor: Option<AnyRef<'a>>,
    pub(super) list: Vec<SingleRequest<'a>>,
    #[asn1(context_specific = "2", tag_mode = "EXPLICIT", optional = "true")]
    pub(super) extensions: Option<Vec<Extension<'a>>>,
}

/// Request: one certificate.
#[derive(Sequence)]
pub(super) struct SingleRequest<'a> {
    pub(super) cert_id: CertId<'a>,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    pub(super) extensions: Option<Vec<Extension<'a>>>,
}

/// ResponseBytes.
#[derive(Sequence)]
pub(super) struct ResponseBytes<'a> {
    pub(super) response_type: ObjectIdentifier,
    #[asn1(type = "OCTET STRING")]
    pub(super) response: &'a [u8],
}

/// BasicOCSPResponse, its parts as the bytes that came: re-encoding them could change what was
/// signed.
pub(super) struct BasicResponse<'a> {
    pub(super) signed: &'a [u8],
    pub(super) algorithm: &'a [u8],
    pub(super) signature: &'a [u8],
    pub(super) certificates: Vec<&'a [u8]>,
}

impl<'a> BasicResponse<'a> {
    pub(super) fn from_der(bytes: &'a [u8]) -> der::Result<Self> {
        let mut reader = SliceReader::new(bytes)?;
        let basic = reader.sequence(|fields| {
            let signed = fields.tlv_bytes()?;
            let algorithm = fields.tlv_bytes()?;
            let signature: der::asn1::BitStringRef<'_> = fields.decode()?;
            let signature = signature.as_bytes().ok_or(Tag::BitString.value_error())?;
            let mut certificates = Vec::new();
            let certs: Option<AnyRef<'_>> = fields.decode()?;
            if let Some(certs) = certs {
                constructed(certs.tag(), 0)?;
                let mut certs = SliceReader::new(certs.value())?;
                certs.sequence(|list| {
                    while !list.is_finished() {
                        certificates.push(list.tlv_bytes()?);
                    }
                    Ok::<_, der::Error>(())
                })?;
                certs.finish()?;
            }
            Ok::<_, der::Error>(BasicResponse { signed, algorithm, signature, certificates })
        })?;
        reader.finish()?;
        Ok(basic)
    }
}

/// ResponseData: the part that is signed.
#[derive(Sequence)]
pub(super) struct ResponseData<'a> {
    // DEFAULT v1: DER leaves it out, some responders write it.
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    pub(super) version: Option<u8>,
    pub(super) responder: AnyRef<'a>,
    pub(super) produced_at: GeneralizedTime,
    pub(super) answers: Vec<SingleResponse<'a>>,
    #[asn1(context_specific = "1", tag_mode = "EXPLICIT", optional = "true")]
    pub(super) extensions: Option<Vec<Extension<'a>>>,
}

/// ResponderID as it is found in [`ResponseData::responder`].
pub(super) enum ResponderRef<'a> {
    /// A DER Name.
    Name(&'a [u8]),
    /// The SHA-1 of the key's bits.
    Key(&'a [u8]),
}

impl<'a> TryFrom<AnyRef<'a>> for ResponderRef<'a> {
    type Error = der::Error;

    fn try_from(choice: AnyRef<'a>) -> der::Result<Self> {
        let mut reader = SliceReader::new(choice.value())?;
        let found = if constructed(choice.tag(), 1).is_ok() {
            let name = reader.tlv_bytes()?;
            let _: AnyRef<'_> = SliceReader::new(name)?.decode()?;
            if name.first() != Some(&0x30) {
                return Err(Tag::Sequence.value_error().into());
            }
            ResponderRef::Name(name)
        } else {
            constructed(choice.tag(), 2)?;
            let key: &OctetStringRef = reader.decode()?;
            ResponderRef::Key(key.as_bytes())
        };
        reader.finish()?;
        Ok(found)
    }
}

/// SingleResponse.
#[derive(Sequence)]
pub(super) struct SingleResponse<'a> {
    pub(super) cert_id: CertId<'a>,
    pub(super) status: CertStatus,
    pub(super) this_update: GeneralizedTime,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    pub(super) next_update: Option<GeneralizedTime>,
    #[asn1(context_specific = "1", tag_mode = "EXPLICIT", optional = "true")]
    pub(super) extensions: Option<Vec<Extension<'a>>>,
}

/// RFC 6960 §4.1.1 CertID.
#[derive(Sequence)]
pub(super) struct CertId<'a> {
    pub(super) hash: HashIdentifier<'a>,
    #[asn1(type = "OCTET STRING")]
    pub(super) issuer_name_hash: &'a [u8],
    #[asn1(type = "OCTET STRING")]
    pub(super) issuer_key_hash: &'a [u8],
    pub(super) serial: AnyRef<'a>,
}

/// The AlgorithmIdentifier of a hash.
#[derive(Sequence)]
pub(super) struct HashIdentifier<'a> {
    pub(super) oid: ObjectIdentifier,
    pub(super) parameters: Option<AnyRef<'a>>,
}

/// CertStatus.
#[derive(Choice)]
pub(super) enum CertStatus {
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT")]
    Good(Null),
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", constructed = "true")]
    Revoked(RevokedInfo),
    #[asn1(context_specific = "2", tag_mode = "IMPLICIT")]
    Unknown(Null),
}

/// RevokedInfo; the reason is a CRLReason, an ENUMERATED.
#[derive(Sequence)]
pub(super) struct RevokedInfo {
    pub(super) time: GeneralizedTime,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    pub(super) reason: Option<CrlReason>,
}

/// CRLReason (RFC 5280 §5.3.1).
#[derive(Clone, Copy, PartialEq, Eq, der::Enumerated)]
#[repr(u8)]
pub(super) enum CrlReason {
    Unspecified = 0,
    KeyCompromise = 1,
    CaCompromise = 2,
    AffiliationChanged = 3,
    Superseded = 4,
    CessationOfOperation = 5,
    CertificateHold = 6,
    RemoveFromCrl = 8,
    PrivilegeWithdrawn = 9,
    AaCompromise = 10,
}

/// Extension (RFC 5280 §4.1); a written-out `critical FALSE` is taken.
#[derive(Sequence)]
pub(super) struct Extension<'a> {
    pub(super) oid: ObjectIdentifier,
    pub(super) critical: Option<bool>,
    #[asn1(type = "OCTET STRING")]
    pub(super) value: &'a [u8],
}

fn constructed(tag: Tag, number: u32) -> der::Result<()> {
    let wanted = Tag::ContextSpecific { constructed: true, number: TagNumber(number) };
    tag.assert_eq(wanted).map(|_| ())
}
