//! Names of segments: fixed width, so that their text order is the store's order.

use std::fmt;

use crate::store::StoreError;

/// The largest number that a name can hold: ten hexadecimal digits.
pub(super) const NUMBER_MAX: u64 = 0xff_ffff_ffff;

/// What a name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Name {
    /// A file of its own: `l` and its number.
    Large(u64),
    /// A record in a volume: `v`, the volume's number, and the offset of its record.
    Record { volume: u64, offset: u32 },
}

impl Name {
    pub(super) fn parse(text: &str) -> Result<Self, StoreError> {
        let parsed = match text.as_bytes().first() {
            Some(b'l') if text.len() == 11 => text.get(1..).and_then(hexadecimal).map(Self::Large),
            Some(b'v') if text.len() == 20 && text.as_bytes()[11] == b'-' => {
                let volume = text.get(1..11).and_then(hexadecimal);
                let offset = text.get(12..).and_then(hexadecimal).and_then(|number| number.try_into().ok());
                volume.zip(offset).map(|(volume, offset)| Self::Record { volume, offset })
            }
            _ => None,
        };
        // A hostile name may be of any length: only its beginning is told on.
        parsed.ok_or_else(|| StoreError::InvalidName(text.chars().take(64).collect()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Large(number) => write!(f, "l{number:010x}"),
            Self::Record { volume, offset } => write!(f, "v{volume:010x}-{offset:08x}"),
        }
    }
}

/// Returns the number that a file's name, without its extension, stands for.
pub(super) fn file_number(stem: &str) -> Option<u64> {
    if stem.len() == 10 { hexadecimal(stem) } else { None }
}

/// Reads digits as they are written: lower case, nothing else, so that one segment has one name.
fn hexadecimal(digits: &str) -> Option<u64> {
    let plain = digits.bytes().all(|digit| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit));
    if plain { u64::from_str_radix(digits, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_is_written() {
        for name in [Name::Large(0x1f), Name::Record { volume: NUMBER_MAX, offset: u32::MAX }] {
            assert_eq!(Name::parse(&name.to_string()), Ok(name));
        }
    }

    #[test]
    fn text_order_is_the_order_of_names() {
        let names = [
            Name::Large(9),
            Name::Large(10),
            Name::Record { volume: 2, offset: 64 },
            Name::Record { volume: 16, offset: 0 },
            Name::Record { volume: 16, offset: 0x100 },
        ];
        assert!(names.is_sorted());
        assert!(names.map(|name| name.to_string()).is_sorted());
    }

    #[test]
    fn anything_else_is_no_name() {
        for text in [
            "",
            "l",
            "l00000000A1",
            "l+000000001",
            "v0000000001-0000000",
            "v0000000001x00000000",
            "é000000000",
        ] {
            assert!(matches!(Name::parse(text), Err(StoreError::InvalidName(_))), "{text:?}");
        }
    }
}
