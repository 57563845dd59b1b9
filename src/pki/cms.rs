//! Certificates inside a certs-only CMS message (`.p7c`, `.p7b`): what some CAs hand out at their
//! caIssuers URL (RFC 5280 §4.2.2.1, RFC 5652 §5.1).

use der::asn1::{AnyRef, ObjectIdentifier};
use der::{Decode, Reader, SliceReader, Tag, TagNumber, Tagged};

const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
/// `[0]`, constructed: the content of a ContentInfo, and the certificates of a SignedData.
const FIRST: Tag = Tag::ContextSpecific { constructed: true, number: TagNumber(0) };

/// The DER of each certificate in a DER SignedData; none if it is something else.
pub(super) fn certificates(der: &[u8]) -> Option<Vec<&[u8]>> {
    let mut reader = SliceReader::new(der).ok()?;
    let content: AnyRef<'_> = reader
        .sequence(|info| {
            let kind: ObjectIdentifier = info.decode()?;
            let content = info.decode()?;
            Ok::<_, der::Error>((kind == SIGNED_DATA).then_some(content))
        })
        .ok()??;
    let mut fields = SliceReader::new(content.value()).ok()?;
    fields.sequence(certificate_set).ok()
}

/// Steps over version, digest algorithms and content to the certificates.
fn certificate_set<'a>(fields: &mut SliceReader<'a>) -> der::Result<Vec<&'a [u8]>> {
    let mut found = Vec::new();
    while !fields.is_finished() {
        let field = fields.tlv_bytes()?;
        let field = AnyRef::from_der(field)?;
        if field.tag() != FIRST {
            continue;
        }
        let mut set = SliceReader::new(field.value())?;
        while !set.is_finished() {
            let element = set.tlv_bytes()?;
            // The other choices are tagged: attribute certificates and things of the past.
            if element.first() == Some(&0x30) {
                found.push(element);
            }
        }
    }
    Ok(found)
}
