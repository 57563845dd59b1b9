//! The OCSP request in the path of a GET (RFC 6960 appendix A.1), however it has been mangled on its way.
//!
//! It is base64 behind a prefix of any length, percent-encoded or not. Base64 has slashes of its own,
//! and clients and proxies that tidy up paths make one slash of two: the length that the DER gives
//! says how many are missing, and there are few places where they can have been.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use percent_encoding::percent_decode;

use crate::ocsp::MAX_REQUEST_BYTES;

/// Paddings are cut off before; the bits that are left over are nobody's concern.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

/// Slashes that may be missing; a hash with more pairs of them is rarer than a lottery prize.
const MAX_MISSING: usize = 3;
/// Readings of one path that are tried.
const MAX_READINGS: usize = 32;

/// What the path may stand for: DER of the length that its first bytes say, the likeliest first. Most
/// paths have one reading, and those without a request have none.
pub fn readings(path: &str) -> Vec<Vec<u8>> {
    let text: Vec<u8> = percent_decode(path.as_bytes()).filter_map(letter).collect();
    let mut readings = Vec::new();
    let starts = text.iter().enumerate().filter(|(at, byte)| {
        // 0x30 in front makes the first letter an M, which a slash or nothing precedes.
        **byte == b'M' && at.checked_sub(1).is_none_or(|before| text[before] == b'/')
    });
    for (at, _) in starts {
        read(&text[at..], &mut readings);
        if readings.len() >= MAX_READINGS {
            break;
        }
    }
    readings
}

/// A letter of base64, whichever alphabet it is from; `None` for line breaks and padding.
fn letter(byte: u8) -> Option<u8> {
    match byte {
        b' ' | b'-' => Some(b'+'),
        b'_' => Some(b'/'),
        b'\r' | b'\n' | b'=' => None,
        other => Some(other),
    }
}

/// Adds what `text` may stand for, if it is a request.
fn read(text: &[u8], readings: &mut Vec<Vec<u8>>) {
    let Some(wanted) = announced(text).map(|bytes| (bytes * 4).div_ceil(3)) else { return };
    // A slash too many at the end is the client's own.
    let end = match text.get(wanted..) {
        Some(rest) if rest.iter().all(|byte| *byte == b'/') => wanted,
        Some(_) => return,
        None => text.len(),
    };
    let text = &text[..end];
    // Else no way of doubling slashes would decode, and all of them would be tried.
    if !text.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/')) {
        return;
    }
    let missing = wanted - text.len();
    if missing > MAX_MISSING {
        return;
    }
    let slashes: Vec<usize> =
        text.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at).collect();
    double(text.to_vec(), &slashes, missing, readings);
}

/// Doubles `missing` of the slashes in every possible way, the later ones first.
fn double(text: Vec<u8>, slashes: &[usize], missing: usize, readings: &mut Vec<Vec<u8>>) {
    if readings.len() >= MAX_READINGS {
        return;
    }
    if missing == 0 {
        readings.extend(BASE64.decode(text));
        return;
    }
    for (number, at) in slashes.iter().enumerate().rev() {
        let mut longer = text.clone();
        longer.insert(*at, b'/');
        // Later ones would move: only this one and those before it are left to choose from.
        double(longer, &slashes[..=number], missing - 1, readings);
    }
}

/// The length of the DER that begins here, by its first bytes.
fn announced(text: &[u8]) -> Option<usize> {
    let head = BASE64.decode(text.get(..8)?).ok()?;
    let length = match head[..] {
        [0x30, 0x81, length, ..] => usize::from(length) + 3,
        [0x30, 0x82, high, low, ..] => usize::from(u16::from_be_bytes([high, low])) + 4,
        [0x30, short @ ..=0x7f, ..] => usize::from(short) + 2,
        _ => return None,
    };
    (length <= MAX_REQUEST_BYTES).then_some(length)
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    /// DER by its header, with as many slashes in its base64 as there can be.
    fn slashes(length: u8) -> Vec<u8> {
        let mut der = vec![0x30, length];
        der.extend((0..length).map(|at| if at % 16 < 5 { 0xff } else { 0xf8 + at % 8 }));
        der
    }

    fn check(path: &str, wanted: &[u8]) {
        let found = readings(path);
        assert!(found.iter().any(|one| one == wanted), "{path} is read as {found:x?}");
    }

    #[test]
    fn reads_it_raw_and_encoded_behind_any_prefix() {
        let der = slashes(87);
        let raw = STANDARD.encode(&der);
        assert!(raw.contains("//") && raw.contains('+'), "{raw}");
        let encoded: String = raw
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() { c.to_string() } else { format!("%{:02X}", c as u32) }
            })
            .collect();
        let url_safe = raw.replace('+', "-").replace('/', "_");
        for text in [&raw, &encoded, &url_safe, &raw.trim_end_matches('=').to_owned()] {
            for prefix in ["/", "//", "", "/ocsp/", "/a/MFE/b//", "/MAAA/"] {
                check(&format!("{prefix}{text}"), &der);
            }
        }
        check(&format!("/{}", raw.replace('+', " ")), &der);
        check(&format!("/{}%0A{}", &raw[..64], &raw[64..]), &der);
        check(&format!("/{raw}/"), &der);
    }

    #[test]
    fn finds_the_slashes_that_were_merged() {
        let pair = [0xff, 0xff, 0x07];
        let der =
            [&[0x30, 22][..], &[1; 4], &pair, &[2; 6], &pair, &[3, 0xff, 4, 5, 6, 7]].concat();
        let raw = STANDARD.encode(&der);
        let mut merged = raw.clone();
        while merged.contains("//") {
            merged = merged.replace("//", "/");
        }
        assert_eq!(raw.len() - merged.len(), 2, "{raw}");
        check(&format!("/{merged}"), &der);
    }

    #[test]
    fn anything_else_has_no_reading() {
        for path in ["", "/", "/index.html", "/M", "/MFEwTzBN", "/%4d%46", "*", "/MIIBAAAA"] {
            assert_eq!(readings(path), Vec::<Vec<u8>>::new(), "{path}");
        }
        // Many beginnings cost no more than a few.
        assert!(readings(&"/MA".repeat(5000)).len() <= MAX_READINGS);
    }

    /// There are 10^10 ways to double three of so many slashes, and none of them is base64.
    #[test]
    fn what_cannot_be_base64_is_not_puzzled_over() {
        let head = &STANDARD.encode([0x30, 0x82, 0x10, 0x00])[..4];
        let length = (0x1004_usize * 4).div_ceil(3);
        for missing in 0..=MAX_MISSING {
            let filler = "/".repeat(length - missing - head.len() - 5);
            assert!(readings(&format!("/{head}AAAA!{filler}")).is_empty());
        }
    }
}
