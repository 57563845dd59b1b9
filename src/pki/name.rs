//! Distinguished names: printing them and telling whether two are the same.

use std::fmt::Write;

use x509_parser::asn1_rs::Tag;
use x509_parser::prelude::FromDer;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// Writes a DER Name as RFC 4514 text, most specific part first: `CN=www.example.org,O=Example`.
///
/// Attributes without a short name are written by OID, values that are no text as `#` and hex. An
/// empty Name gives an empty string; bytes that are no Name give `(unreadable name)`.
pub fn name_text(name_der: &[u8]) -> String {
    let Ok((_, name)) = X509Name::from_der(name_der) else {
        return "(unreadable name)".to_owned();
    };
    let parts: Vec<&_> = name.iter_rdn().collect();
    let texts = parts.iter().rev().map(|part| {
        let attributes: Vec<_> = part.iter().map(attribute_text).collect();
        attributes.join("+")
    });
    texts.collect::<Vec<_>>().join(",")
}

/// Whether two DER Names are the same: byte for byte, or by RFC 5280 §7.1, where letter case,
/// white space and the kind of string do not count.
///
/// Real CAs re-encode the issuer's name (PrintableString against UTF8String) in what they issue.
pub fn same_name(one_der: &[u8], other_der: &[u8]) -> bool {
    one_der == other_der
        || match (canonical(one_der), canonical(other_der)) {
            (Some(one), Some(other)) => one == other,
            _ => false,
        }
}

/// The last common name, which is the most specific one.
pub(super) fn common_name(name: &X509Name<'_>) -> Option<String> {
    name.iter_common_name().last().and_then(value_text)
}

fn attribute_text(attribute: &AttributeTypeAndValue<'_>) -> String {
    let oid = attribute.attr_type().to_id_string();
    let label = short_name(&oid).unwrap_or(&oid);
    match value_text(attribute) {
        Some(text) => format!("{label}={}", escaped(&text)),
        None => {
            let mut text = format!("{label}=#");
            for byte in attribute.as_slice() {
                // Writing to a String cannot fail.
                let _ = write!(text, "{byte:02x}");
            }
            text
        }
    }
}

fn short_name(oid: &str) -> Option<&'static str> {
    Some(match oid {
        "2.5.4.3" => "CN",
        "2.5.4.4" => "SN",
        "2.5.4.5" => "serialNumber",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "STREET",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "2.5.4.12" => "title",
        "2.5.4.15" => "businessCategory",
        "2.5.4.17" => "postalCode",
        "2.5.4.42" => "GN",
        "2.5.4.97" => "organizationIdentifier",
        "0.9.2342.19200300.100.1.1" => "UID",
        "0.9.2342.19200300.100.1.25" => "DC",
        "1.2.840.113549.1.9.1" => "emailAddress",
        _ => return None,
    })
}

/// The text of an attribute's value, for the string types that certificates use.
fn value_text(attribute: &AttributeTypeAndValue<'_>) -> Option<String> {
    let value = attribute.attr_value();
    let bytes = value.data;
    match value.tag() {
        Tag::Utf8String
        | Tag::PrintableString
        | Tag::Ia5String
        | Tag::NumericString
        | Tag::VisibleString => String::from_utf8(bytes.to_vec()).ok(),
        // Read as Latin-1, as everybody who still writes TeletexString means it.
        Tag::T61String => Some(bytes.iter().map(|byte| char::from(*byte)).collect()),
        Tag::BmpString => {
            let pairs = bytes.chunks_exact(2);
            let units = pairs.map(|pair| u16::from(pair[0]) << 8 | u16::from(pair[1]));
            String::from_utf16(&units.collect::<Vec<_>>()).ok()
        }
        _ => None,
    }
}

/// RFC 4514 §2.4, and control and invisible characters as hex pairs: names come from strangers and go to logs.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let last = text.chars().count().saturating_sub(1);
    for (place, character) in text.chars().enumerate() {
        let at_edge =
            (place == 0 && matches!(character, ' ' | '#')) || (place == last && character == ' ');
        if at_edge || matches!(character, '"' | '+' | ',' | ';' | '<' | '>' | '\\') {
            escaped.push('\\');
            escaped.push(character);
        } else if character.is_control() || is_invisible(character) {
            let mut bytes = [0; 4];
            for byte in character.encode_utf8(&mut bytes).bytes() {
                let _ = write!(escaped, "\\{byte:02x}");
            }
        } else {
            escaped.push(character);
        }
    }
    escaped
}

/// Text from a certificate as it can be shown: control and invisible characters as hex pairs, as in
/// [`name_text`]. A terminal would obey them. Names and URLs that anybody can be reached by have none.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() || is_invisible(character) {
            let mut bytes = [0; 4];
            for byte in character.encode_utf8(&mut bytes).bytes() {
                let _ = write!(shown, "\\{byte:02x}");
            }
        } else {
            shown.push(character);
        }
    }
    shown
}

/// The sorted attributes of one part: OID and folded value.
type CanonicalPart = Vec<(String, Vec<u8>)>;

/// Marks that turn or hide the text around them on a screen.
fn is_invisible(character: char) -> bool {
    matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// A name as what counts in it.
fn canonical(name_der: &[u8]) -> Option<Vec<CanonicalPart>> {
    let (rest, name) = X509Name::from_der(name_der).ok()?;
    let parts = name.iter_rdn().map(|part| {
        let mut attributes: Vec<_> = part
            .iter()
            .map(|attribute| {
                let value = match value_text(attribute) {
                    Some(text) => folded(&text).into_bytes(),
                    None => attribute.as_slice().to_vec(),
                };
                (attribute.attr_type().to_id_string(), value)
            })
            .collect();
        attributes.sort();
        attributes
    });
    rest.is_empty().then(|| parts.collect())
}

fn folded(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A Name of one common name: `tag` is the string type.
    fn name(tag: u8, text: &[u8]) -> Vec<u8> {
        let length = |bytes: &[u8]| u8::try_from(bytes.len()).expect("a short name");
        let wrap = |tag: u8, contents: &[u8]| [&[tag, length(contents)], contents].concat();
        let attribute = [&[0x06, 3, 0x55, 0x04, 0x03][..], &wrap(tag, text)].concat();
        wrap(0x30, &wrap(0x31, &wrap(0x30, &attribute)))
    }

    #[test]
    fn what_a_terminal_would_obey_is_written_out() {
        for (text, shown) in [
            ("*.example.org", "*.example.org"),
            ("b\u{fc}cher.example", "b\u{fc}cher.example"),
            ("a\u{1b}[2J", "a\\1b[2J"),
            ("a\u{9b}2J", "a\\c2\\9b2J"),
            ("a\r\nb", "a\\0d\\0ab"),
            ("exe\u{202e}gpj", "exe\\e2\\80\\aegpj"),
        ] {
            assert_eq!(printable(text), shown);
        }
    }

    #[test]
    fn prints_text_safely() {
        let cases: &[(u8, &[u8], &str)] = &[
            (0x0c, b"www.example.org", "CN=www.example.org"),
            (0x13, b"Example, Inc.", "CN=Example\\, Inc."),
            (0x0c, b" a\nb ", "CN=\\ a\\0ab\\ "),
            (0x14, b"M\xfcller", "CN=M\u{fc}ller"),
            (0x1e, b"\x00M\x00\xfc", "CN=M\u{fc}"),
            (0x04, b"\x01\x02", "CN=#0102"),
        ];
        for (tag, text, printed) in cases {
            assert_eq!(name_text(&name(*tag, text)), *printed);
        }
        assert_eq!(name_text(b"\x30\x00"), "");
        assert_eq!(name_text(b"nonsense"), "(unreadable name)");
    }

    #[test]
    fn the_kind_of_string_does_not_make_another_name() {
        let printable = name(0x13, b"Example CA");
        assert!(same_name(&printable, &name(0x0c, b"example  ca")));
        assert!(!same_name(&printable, &name(0x0c, b"Example CA 2")));
        assert!(!same_name(b"nonsense", &printable));
    }
}
