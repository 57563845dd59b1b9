//! DER by hand: one function an element, parts in, bytes out.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// One element around its parts.
pub fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let contents = parts.concat();
    let length = contents.len();
    let mut der = vec![tag];
    if length < 0x80 {
        der.push(length as u8);
    } else {
        let bytes = length.to_be_bytes();
        let significant = &bytes[length.leading_zeros() as usize / 8..];
        der.push(0x80 | significant.len() as u8);
        der.extend_from_slice(significant);
    }
    der.extend_from_slice(&contents);
    der
}

pub fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    element(0x30, parts)
}

pub fn set(parts: &[&[u8]]) -> Vec<u8> {
    element(0x31, parts)
}

/// `[number] EXPLICIT`, or any constructed context-specific element.
pub fn context(number: u8, parts: &[&[u8]]) -> Vec<u8> {
    element(0xa0 | number, parts)
}

/// INTEGER from its contents, as they are.
pub fn integer(contents: &[u8]) -> Vec<u8> {
    element(0x02, &[contents])
}

pub fn octets(contents: &[u8]) -> Vec<u8> {
    element(0x04, &[contents])
}

pub fn null() -> Vec<u8> {
    element(0x05, &[])
}

pub fn boolean(value: bool) -> Vec<u8> {
    element(0x01, &[&[if value { 0xff } else { 0x00 }]])
}

pub fn enumerated(value: u8) -> Vec<u8> {
    element(0x0a, &[&[value]])
}

pub fn utf8(text: &str) -> Vec<u8> {
    element(0x0c, &[text.as_bytes()])
}

pub fn bits(contents: &[u8]) -> Vec<u8> {
    element(0x03, &[&[0], contents])
}

pub fn oid(dotted: &str) -> Vec<u8> {
    let arcs: Vec<u64> = dotted.split('.').map(|arc| arc.parse().expect("a number")).collect();
    let mut contents = Vec::new();
    for arc in std::iter::once(arcs[0] * 40 + arcs[1]).chain(arcs[2..].iter().copied()) {
        let groups = (64 - arc.leading_zeros()).div_ceil(7).max(1);
        for group in (0..groups).rev() {
            let more = if group == 0 { 0 } else { 0x80 };
            contents.push((arc >> (7 * group)) as u8 & 0x7f | more);
        }
    }
    element(0x06, &[&contents])
}

/// AlgorithmIdentifier with NULL parameters.
pub fn algorithm(dotted: &str) -> Vec<u8> {
    sequence(&[&oid(dotted), &null()])
}

/// Extension; `critical` is left out where false, as DER wants it.
pub fn extension(dotted: &str, critical: bool, value: &[u8]) -> Vec<u8> {
    let flag = if critical { boolean(true) } else { Vec::new() };
    sequence(&[&oid(dotted), &flag, &octets(value)])
}

/// A Name of one common name.
pub fn name(common_name: &str) -> Vec<u8> {
    sequence(&[&set(&[&sequence(&[&oid("2.5.4.3"), &utf8(common_name)])])])
}

/// GeneralizedTime, to the second, Zulu.
pub fn generalized_time(seconds: i64) -> Vec<u8> {
    element(0x18, &[format(seconds, "%Y%m%d%H%M%SZ").as_bytes()])
}

/// Validity's Time: UTCTime until 2049.
pub fn time(seconds: i64) -> Vec<u8> {
    if seconds < crate_epoch(2050) {
        element(0x17, &[format(seconds, "%y%m%d%H%M%SZ").as_bytes()])
    } else {
        generalized_time(seconds)
    }
}

fn crate_epoch(year: i16) -> i64 {
    jiff::civil::date(year, 1, 1).to_zoned(TimeZone::UTC).expect("a year").timestamp().as_second()
}

fn format(seconds: i64, pattern: &str) -> String {
    let timestamp = Timestamp::from_second(seconds).expect("an instant that can be written");
    timestamp.to_zoned(TimeZone::UTC).strftime(pattern).to_string()
}

/// Splits off the first element: its tag, its contents, the whole of it, and what follows.
pub struct Element<'a> {
    pub tag: u8,
    pub contents: &'a [u8],
    pub whole: &'a [u8],
    pub rest: &'a [u8],
}

/// The first element of DER that is known to be sound.
pub fn first(bytes: &[u8]) -> Element<'_> {
    let (header, length) = match bytes[1] {
        short @ ..0x80 => (2, usize::from(short)),
        long => {
            let count = usize::from(long & 0x7f);
            let length = bytes[2..2 + count].iter().fold(0, |sum, byte| sum << 8 | *byte as usize);
            (2 + count, length)
        }
    };
    let (whole, rest) = bytes.split_at(header + length);
    Element { tag: bytes[0], contents: &whole[header..], whole, rest }
}

/// The elements that stand one behind the other.
pub fn elements(mut bytes: &[u8]) -> Vec<Element<'_>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let element = first(bytes);
        bytes = element.rest;
        found.push(element);
    }
    found
}

/// PEM of one block.
pub fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).expect("base64 is ASCII"))
        .collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
