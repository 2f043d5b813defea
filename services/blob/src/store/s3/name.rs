//! Names of segments in a bucket: short, since every message's item bears one, and random, so that none is given twice.

use std::fmt;

use crate::store::StoreError;

/// Octets of a name.
const LENGTH: usize = 23;
/// Five bits a digit, in the order of the octets.
const DIGITS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";
/// Says which form of name this is, after the two digits of the hash.
const FORM: u8 = b'0';

/// The key of a segment: two hexadecimal digits, by which S3 partitions, the form, and twenty digits of five bits. All
/// but the form is random, 108 bits: of 10¹² names, two are the same with a chance of one in a hundred million. A
/// counter would need a home, and would be repeated by two copies of one machine.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name([u8; LENGTH]);

impl Name {
    /// Draws a name.
    pub(super) fn draw() -> Result<Self, StoreError> {
        let mut random = [0; 21];
        getrandom::fill(&mut random)
            .map_err(|error| StoreError::Internal(format!("no random numbers: {error}")))?;
        Ok(Self::from_random(random))
    }

    fn from_random(random: [u8; 21]) -> Self {
        let digit = |bits: u8| DIGITS[usize::from(bits & 0x1f)];
        let [hash, rest @ ..] = random;
        let mut name = [FORM; LENGTH];
        name[0] = digit(hash >> 4);
        name[1] = digit(hash & 0xf);
        for (place, bits) in name[3..].iter_mut().zip(rest) {
            *place = digit(bits);
        }
        Self(name)
    }

    /// Reads a name: in the form that this store gives, and no other.
    pub(super) fn parse(text: &str) -> Result<Self, StoreError> {
        let name = <[u8; LENGTH]>::try_from(text.as_bytes()).ok().filter(|name| {
            name[..2].iter().all(|digit| DIGITS[..16].contains(digit))
                && name[2] == FORM
                && name[3..].iter().all(|digit| DIGITS.contains(digit))
        });
        // A hostile name may be of any length: only its beginning is told on.
        name.map(Self).ok_or_else(|| StoreError::InvalidName(text.chars().take(64).collect()))
    }

    /// The name as text.
    pub(super) fn as_str(&self) -> &str {
        // Digits are ASCII.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_name_is_read_as_it_is_written() {
        for name in [Name::from_random([0; 21]), Name::from_random([0xff; 21]), Name::draw().unwrap()] {
            assert_eq!(Name::parse(name.as_str()), Ok(name.clone()));
            assert_eq!(name.to_string().len(), LENGTH);
        }
        assert_eq!(Name::from_random([0xff; 21]).as_str(), "ff0vvvvvvvvvvvvvvvvvvvv");
    }

    #[test]
    fn names_differ_and_spread_over_the_partitions() {
        let names: BTreeSet<String> = (0..10_000).map(|_| Name::draw().unwrap().to_string()).collect();
        assert_eq!(names.len(), 10_000);
        let prefixes: BTreeSet<_> = names.iter().map(|name| name[..2].to_owned()).collect();
        assert_eq!(prefixes.len(), 256);
    }

    #[test]
    fn anything_else_is_no_name() {
        let name = Name::from_random([0xab; 21]).to_string();
        for text in [
            String::new(),
            name[1..].to_owned(),
            format!("{name}0"),
            format!(" {}", &name[1..]),
            name.to_uppercase(),
            name.replace("ab0", "ab1"),
            format!("g{}", &name[1..]),
            format!("{}w", &name[..LENGTH - 1]),
            format!("{}/", &name[..LENGTH - 1]),
            "é".repeat(LENGTH),
            "x".repeat(100_000),
        ] {
            let outcome = Name::parse(&text);
            assert!(
                matches!(&outcome, Err(StoreError::InvalidName(said)) if said.len() <= 128),
                "{outcome:?}"
            );
        }
    }
}
