//! Certificates out of files: PEM blocks by label, or plain DER.
//!
//! Blocks of other labels are stepped over without being decoded, so a private key that shares a
//! file with its certificate is never held in any form but the caller's bytes.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use der::{Reader, SliceReader};

use super::certificate::{Certificate, CertificateError};
use super::cms;

/// Labels that certificates go by; the second is from old Netscape days, the third is openssl's
/// with trust settings behind the certificate, the last two hold several at once.
const CERTIFICATE_LABELS: &[&str] =
    &["CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE", "PKCS7", "CMS"];

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why a file gave no certificates. Lines count from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// PEM without any block of the label looked for.
    #[error("holds no {0} block")]
    NoBlock(&'static str),
    /// Neither PEM nor DER.
    #[error("is neither PEM nor DER")]
    NeitherPemNorDer,
    /// A block begins and never ends: the file was cut or is being written.
    #[error("the block that begins at line {line} has no END line; is the file cut short?")]
    Unfinished {
        /// Of the BEGIN line.
        line: usize,
    },
    /// A block's text is not base64.
    #[error("the block that begins at line {line} is not base64")]
    NotBase64 {
        /// Of the BEGIN line.
        line: usize,
    },
    /// A block is well-formed but no certificate.
    #[error("the certificate that begins at line {line}: {cause}")]
    Block {
        /// Of the BEGIN line.
        line: usize,
        /// What is wrong with it.
        cause: CertificateError,
    },
    /// The DER is no certificate.
    #[error(transparent)]
    Der(#[from] CertificateError),
}

/// Reads the certificates of a PEM bundle in the order they stand, or those of a DER file: one
/// certificate, or a certs-only CMS message.
///
/// Text between blocks, keys and other blocks are stepped over. CRLF, long lines and missing
/// padding are fine.
///
/// # Errors
/// No certificate at all, or a damaged one: a bundle is believed as a whole or not at all.
pub fn read_certificates(bytes: &[u8]) -> Result<Vec<Certificate>, ReadError> {
    if is_der(bytes) {
        return Ok(certificates(bytes)?);
    }
    let mut found = Vec::new();
    for block in blocks(bytes, CERTIFICATE_LABELS) {
        let Block { label, line, contents } = block?;
        let der = match label {
            "TRUSTED CERTIFICATE" => first_element(&contents),
            _ => &contents,
        };
        found.extend(certificates(der).map_err(|cause| ReadError::Block { line, cause })?);
    }
    match found.is_empty() {
        false => Ok(found),
        true if looks_like_pem(bytes) => Err(ReadError::NoBlock("CERTIFICATE")),
        true => Err(ReadError::NeitherPemNorDer),
    }
}

fn certificates(der: &[u8]) -> Result<Vec<Certificate>, CertificateError> {
    match cms::certificates(der) {
        Some(several) => several.into_iter().map(Certificate::from_der).collect(),
        None => Ok(vec![Certificate::from_der(der)?]),
    }
}

/// Reads what a file holds as DER, or as the first PEM block labelled `label`.
///
/// # Errors
/// PEM without such a block, a damaged block, or bytes that are neither PEM nor DER.
pub fn read_one(bytes: &[u8], label: &'static str) -> Result<Vec<u8>, ReadError> {
    if is_der(bytes) {
        return Ok(bytes.to_vec());
    }
    match blocks(bytes, &[label]).next() {
        Some(block) => Ok(block?.contents),
        None if looks_like_pem(bytes) => Err(ReadError::NoBlock(label)),
        None => Err(ReadError::NeitherPemNorDer),
    }
}

/// A decoded PEM block.
struct Block<'a> {
    label: &'a str,
    /// Of its BEGIN line, from 1.
    line: usize,
    contents: Vec<u8>,
}

/// The blocks with one of `labels`; all others are stepped over undecoded.
fn blocks<'a>(
    bytes: &'a [u8],
    labels: &'a [&'a str],
) -> impl Iterator<Item = Result<Block<'a>, ReadError>> {
    let mut lines = bytes.split(|byte| *byte == b'\n').enumerate();
    std::iter::from_fn(move || {
        for (number, line) in lines.by_ref() {
            let Some(found) = label(line, "-----BEGIN ") else { continue };
            let Some(label) = labels.iter().find(|label| label.as_bytes() == found) else {
                continue;
            };
            let line = number + 1;
            let mut text = Vec::new();
            for (_, inside) in lines.by_ref() {
                if inside.trim_ascii_start().starts_with(b"-----END ") {
                    let decoded = BASE64.decode(&text).map_err(|_| ReadError::NotBase64 { line });
                    return Some(decoded.map(|contents| Block { label, line, contents }));
                }
                text.extend(inside.iter().filter(|byte| !byte.is_ascii_whitespace()));
            }
            return Some(Err(ReadError::Unfinished { line }));
        }
        None
    })
}

fn label<'a>(line: &'a [u8], begins: &str) -> Option<&'a [u8]> {
    // Some editors put a byte order mark in front of the first line.
    let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line).trim_ascii();
    line.strip_prefix(begins.as_bytes())?.strip_suffix(b"-----")
}

/// Whether the file begins as a SEQUENCE does; the text "0" begins with the same byte, so the length
/// must be no letter or else the right one.
fn is_der(bytes: &[u8]) -> bool {
    matches!(bytes, [0x30, length, ..] if *length < 0x20 || *length >= 0x7f)
        || matches!(bytes, [0x30, length, ..] if usize::from(*length) + 2 == bytes.len())
}

fn looks_like_pem(bytes: &[u8]) -> bool {
    bytes.split(|byte| *byte == b'\n').any(|line| label(line, "-----BEGIN ").is_some())
}

fn first_element(bytes: &[u8]) -> &[u8] {
    let element = SliceReader::new(bytes).and_then(|mut reader| reader.tlv_bytes());
    element.unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    /// A certificate and its key, as PEM.
    fn pair(name: &str) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new([name.to_owned()]).expect("a name");
        (params.self_signed(&key).expect("a certificate").pem(), key.serialize_pem())
    }

    /// What is read: the names in order, or the complaint.
    fn read(bytes: &[u8]) -> String {
        match read_certificates(bytes) {
            Ok(found) => found.iter().flat_map(Certificate::names).collect::<Vec<_>>().join(" "),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn files_as_people_have_them() {
        let (one, key) = pair("one.example.org");
        let (two, _) = pair("two.example.org");
        let der = read_certificates(one.as_bytes()).expect("one")[0].der().to_vec();
        let base64: String = one.lines().filter(|line| !line.starts_with('-')).collect();
        let trusted = [der.as_slice(), &[0x30, 0x00]].concat();
        let trusted = base64::prelude::BASE64_STANDARD.encode(trusted);
        let both = "one.example.org two.example.org";
        let cases: &[(&str, Vec<u8>, &str)] = &[
            ("one", one.clone().into_bytes(), "one.example.org"),
            ("DER", der.clone(), "one.example.org"),
            ("a bundle", format!("{one}{two}").into_bytes(), both),
            ("key first", format!("{key}{one}{two}").into_bytes(), both),
            ("CRLF", format!("{one}{two}").replace('\n', "\r\n").into_bytes(), both),
            ("words between", format!("subject=x\n{one}\n# two\n{two}bye").into_bytes(), both),
            ("words in Latin-1", [b"M\xfcller\n", one.as_bytes()].concat(), "one.example.org"),
            ("a byte order mark", format!("\u{feff}{one}").into_bytes(), "one.example.org"),
            ("indented", one.replace('\n', "\n    ").into_bytes(), "one.example.org"),
            (
                "one long line without padding",
                format!(
                    "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----",
                    base64.trim_end_matches('=')
                )
                .into_bytes(),
                "one.example.org",
            ),
            (
                "trust settings behind it",
                format!(
                    "-----BEGIN TRUSTED CERTIFICATE-----\n{trusted}\n\
                     -----END TRUSTED CERTIFICATE-----"
                )
                .into_bytes(),
                "one.example.org",
            ),
            ("nothing", Vec::new(), "is neither PEM nor DER"),
            ("a shopping list", b"0 eggs\n1 bread".to_vec(), "is neither PEM nor DER"),
            ("a key", key.clone().into_bytes(), "holds no CERTIFICATE block"),
            (
                "cut short",
                one.as_bytes()[..200].to_vec(),
                "the block that begins at line 1 has no END line; is the file cut short?",
            ),
            (
                "not base64",
                one.replace(&base64[..8], "!!!!!!!!").into_bytes(),
                "the block that begins at line 1 is not base64",
            ),
            (
                "the second is damaged",
                format!("{one}-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----")
                    .into_bytes(),
                "the certificate that begins at line …",
            ),
            ("DER and more", [der.as_slice(), &[0]].concat(), "1 bytes follow the certificate"),
        ];
        for (name, bytes, wanted) in cases {
            let said = read(bytes);
            let matches = match wanted.strip_suffix('…') {
                Some(beginning) => said.starts_with(beginning),
                None => said == *wanted,
            };
            assert!(matches, "{name}: {said}");
        }
    }
}
