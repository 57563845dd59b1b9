//! Certificates out of files: PEM blocks by label, or plain DER.
//!
//! Blocks of other labels are stepped over without being decoded, so a private key that shares a
//! file with its certificate is never held in any form but the caller's bytes.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use der::{Reader, SliceReader};

use super::certificate::{Certificate, CertificateError};

/// Labels that certificates go by; the second is from old Netscape days, the third is openssl's
/// with trust settings behind the certificate.
const CERTIFICATE_LABELS: &[&str] = &["CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE"];

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

/// Reads the certificates of a PEM bundle in the order they stand, or the one of a DER file.
///
/// Text between blocks, keys and other blocks are stepped over. CRLF, long lines and missing
/// padding are fine.
///
/// # Errors
/// No certificate at all, or a damaged one: a bundle is believed as a whole or not at all.
pub fn read_certificates(bytes: &[u8]) -> Result<Vec<Certificate>, ReadError> {
    if is_der(bytes) {
        return Ok(vec![Certificate::from_der(bytes)?]);
    }
    let mut certificates = Vec::new();
    for block in blocks(bytes, CERTIFICATE_LABELS) {
        let block = block?;
        let wrong = |cause| ReadError::Block { line: block.line, cause };
        let der = if block.label == "TRUSTED CERTIFICATE" {
            first_element(&block.contents)
        } else {
            &block.contents
        };
        certificates.push(Certificate::from_der(der).map_err(wrong)?);
    }
    match certificates.is_empty() {
        false => Ok(certificates),
        true if looks_like_pem(bytes) => Err(ReadError::NoBlock("CERTIFICATE")),
        true => Err(ReadError::NeitherPemNorDer),
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

/// Whether the first element is a SEQUENCE of the file's length, near enough to be meant as DER.
fn is_der(bytes: &[u8]) -> bool {
    // "0" (0x30) begins no PEM block, yet a text may begin with it: look at the length byte too.
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
