//! Serial numbers: what tells the certificates of one issuer apart.

use std::fmt;
use std::hash::{Hash, Hasher};

/// A certificate's serial number: the contents of its INTEGER, as encoded.
///
/// Two serials are equal when their numbers are, so a needless leading zero makes no difference.
/// Prints as lower-case hex without sign octet (`04c5`), negative ones with a minus sign.
#[derive(Clone)]
pub struct Serial(Box<[u8]>);

impl Serial {
    /// A serial from the contents of an INTEGER: two's complement, most significant byte first.
    pub fn from_integer(contents: &[u8]) -> Self {
        Serial(contents.into())
    }

    /// The contents of the INTEGER as they were encoded.
    pub fn as_integer(&self) -> &[u8] {
        &self.0
    }

    /// The shortest encoding of the same number.
    fn shortest(&self) -> &[u8] {
        let mut bytes = &*self.0;
        while let [first, rest @ ..] = bytes {
            let Some(second) = rest.first() else { break };
            let needless = matches!((first, second >> 7), (0x00, 0) | (0xff, 1));
            if !needless {
                break;
            }
            bytes = rest;
        }
        bytes
    }
}

impl PartialEq for Serial {
    fn eq(&self, other: &Self) -> bool {
        self.shortest() == other.shortest()
    }
}

impl Eq for Serial {}

impl Hash for Serial {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.shortest().hash(state);
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.shortest();
        match bytes {
            [] => f.write_str("00"),
            [0, rest @ ..] if !rest.is_empty() => write_hex(f, rest),
            [first, ..] if first >> 7 == 1 => {
                f.write_str("-")?;
                write_hex(f, &negated(bytes))
            }
            _ => write_hex(f, bytes),
        }
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Serial({self})")
    }
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

/// The magnitude of a negative number in two's complement.
fn negated(bytes: &[u8]) -> Vec<u8> {
    let mut carry = true;
    let mut magnitude: Vec<u8> = bytes
        .iter()
        .rev()
        .map(|byte| {
            let (sum, overflow) = (!byte).overflowing_add(u8::from(carry));
            carry = overflow;
            sum
        })
        .collect();
    magnitude.reverse();
    magnitude
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_the_number_and_compares_it() {
        let cases: &[(&[u8], &str)] = &[
            (&[0x04, 0xc5], "04c5"),
            (&[0x00, 0xff], "ff"),
            (&[0x00, 0x00, 0x7f], "7f"),
            (&[0x00], "00"),
            (&[], "00"),
            (&[0xff], "-01"),
            (&[0x80], "-80"),
            (&[0xff, 0x7f], "-0081"),
        ];
        for (contents, printed) in cases {
            assert_eq!(Serial::from_integer(contents).to_string(), *printed);
        }
        let plain = Serial::from_integer(&[0x04, 0xc5]);
        assert_eq!(plain, Serial::from_integer(&[0x00, 0x04, 0xc5]));
        assert_ne!(Serial::from_integer(&[0xff]), Serial::from_integer(&[0x00, 0xff]));
    }
}
