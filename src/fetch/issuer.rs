//! Issuer certificates from where a leaf's AIA says they lie (RFC 5280 §4.2.2.1).

use der::asn1::{AnyRef, ObjectIdentifier};
use der::{Decode, Encode, Reader, SliceReader, TagNumber, Tagged};

use super::{AskError, Exchange, Fetcher, Route, address};

const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");

impl Fetcher {
    /// Reads a caIssuers URL: certificates, each DER or a PEM text, unproven and in no order.
    ///
    /// RFC 5280 has one DER certificate or a "certs-only" PKCS#7 there; the field also has PEM of
    /// either. What is none of these comes back as it is, for `pki` to refuse.
    ///
    /// # Errors
    /// [`AskError`], with the same bounds on time, size, redirects and addresses as a question has.
    /// An HTTP status other than 200 is [`AskError::NotAResponse`].
    pub async fn fetch_issuer(&self, url: &str, route: &Route) -> Result<Vec<Vec<u8>>, AskError> {
        let exchange = async {
            let parsed = address::check(url, url)?;
            self.exchange(Exchange::new(url, parsed, None, route)).await
        };
        let after = self.settings.timeout;
        let answered = tokio::time::timeout(after, exchange)
            .await
            .unwrap_or_else(|_| Err(AskError::TimedOut { url: url.to_owned(), after }))?;
        if answered.http_status != 200 {
            return Err(AskError::not_a_response(url, &answered));
        }
        Ok(unpack(answered.body))
    }
}

/// Takes a PKCS#7 apart; anything else is one entry.
fn unpack(body: Vec<u8>) -> Vec<Vec<u8>> {
    let unarmoured = match der::pem::decode_vec(&body) {
        Ok(("PKCS7" | "CMS", der)) => Some(der),
        _ => None,
    };
    match certificates(unarmoured.as_deref().unwrap_or(&body)) {
        Ok(Some(certificates)) => certificates,
        _ => vec![body],
    }
}

/// The certificates of a SignedData (RFC 5652 §5.1): SEQUENCE { signedData, `[0]` SEQUENCE { …, `[0]`
/// certificates, … } }. Walked by hand, since their SET is seldom in DER's order.
fn certificates(der: &[u8]) -> der::Result<Option<Vec<Vec<u8>>>> {
    let content_info = AnyRef::from_der(der)?;
    let mut fields = SliceReader::new(content_info.value())?;
    if !matches!(ObjectIdentifier::decode(&mut fields), Ok(SIGNED_DATA)) {
        return Ok(None);
    }
    let signed_data = AnyRef::from_der(AnyRef::decode(&mut fields)?.value())?;
    for field in children(signed_data.value())? {
        let tag = field.tag();
        if tag.is_context_specific() && tag.number() == TagNumber(0) {
            let certificates = children(field.value())?;
            return certificates.iter().map(Encode::to_der).collect::<Result<_, _>>().map(Some);
        }
    }
    Ok(Some(Vec::new()))
}

fn children(value: &[u8]) -> der::Result<Vec<AnyRef<'_>>> {
    let mut reader = SliceReader::new(value)?;
    let mut children = Vec::new();
    while !reader.is_finished() {
        children.push(AnyRef::decode(&mut reader)?);
    }
    Ok(children)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SignedData with two certificates, the longer one first: BER order, as the field has it.
    fn pkcs7() -> Vec<u8> {
        let wrap = |tag: u8, parts: &[&[u8]]| {
            let value = parts.concat();
            [&[tag, u8::try_from(value.len()).expect("a short one")], value.as_slice()].concat()
        };
        let certificates = wrap(0xa0, &[&[0x30, 3, 2, 1, 7], &[0x30, 0]]);
        let oid = SIGNED_DATA.to_der().expect("an OID encodes");
        let data = wrap(0x30, &[&[2, 1, 1], &[0x31, 0], &[0x30, 0], &certificates, &[0x31, 0]]);
        wrap(0x30, &[&oid, &wrap(0xa0, &[&data])])
    }

    #[test]
    fn a_bundle_comes_apart() {
        let expected = vec![vec![0x30, 3, 2, 1, 7], vec![0x30, 0]];
        assert_eq!(unpack(pkcs7()), expected);
        let armoured = der::pem::encode_string("PKCS7", der::pem::LineEnding::LF, &pkcs7());
        assert_eq!(unpack(armoured.expect("it encodes").into_bytes()), expected);
    }

    #[test]
    fn anything_else_stays_whole() {
        for body in [&b"-----BEGIN CERTIFICATE-----\n"[..], &[0x30, 3, 2, 1, 7], b"<html>", b""] {
            assert_eq!(unpack(body.to_vec()), [body]);
        }
        let mut cut = pkcs7();
        cut.truncate(20);
        assert_eq!(unpack(cut.clone()), [cut]);
    }
}
