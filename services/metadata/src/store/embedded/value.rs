//! Items as octets: one octet of format, then the attributes in postcard's encoding.
//!
//! These octets are on users' disks. A format, once written by a release, is read for ever; a change of the types
//! below is a new format with a number of its own.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::super::{Item, StoreError, Value};

/// The first format: a map from attribute name to [`Stored`].
const FORMAT_1: u8 = 1;

/// A value as stored. The order of the variants is part of the format.
#[derive(Debug, Serialize, Deserialize)]
enum Stored<T, O, S> {
    Text(T),
    Number(i64),
    Octets(O),
    Set(S),
}

type Written<'a> = Stored<&'a str, &'a [u8], &'a BTreeSet<String>>;
type Read = Stored<String, Vec<u8>, BTreeSet<String>>;

/// Returns the stored form of an item.
pub(super) fn encode(item: &Item) -> Result<Vec<u8>, StoreError> {
    let attributes: BTreeMap<&str, Written<'_>> =
        item.iter().map(|(name, value)| (name.as_str(), written(value))).collect();
    postcard::to_extend(&attributes, vec![FORMAT_1])
        .map_err(|error| StoreError::Internal(format!("an item cannot be encoded: {error}")))
}

/// Reads a stored item.
pub(super) fn decode(stored: &[u8]) -> Result<Item, StoreError> {
    let damaged = |why: String| StoreError::Internal(format!("a stored item cannot be read: {why}"));
    match stored.split_first() {
        None => Err(damaged("it is empty".into())),
        Some((&FORMAT_1, rest)) => match postcard::take_from_bytes::<BTreeMap<String, Read>>(rest) {
            Ok((attributes, [])) => {
                Ok(attributes.into_iter().map(|(name, value)| (name, read(value))).collect())
            }
            Ok((_, more)) => Err(damaged(format!("{} octets too many", more.len()))),
            Err(error) => Err(damaged(error.to_string())),
        },
        Some((format, _)) => Err(damaged(format!("format {format} is not known to this version"))),
    }
}

fn written(value: &Value) -> Written<'_> {
    match value {
        Value::Text(text) => Stored::Text(text),
        Value::Number(number) => Stored::Number(*number),
        Value::Octets(octets) => Stored::Octets(octets),
        Value::Set(members) => Stored::Set(members),
    }
}

fn read(value: Read) -> Value {
    match value {
        Stored::Text(text) => Value::Text(text),
        Stored::Number(number) => Value::Number(number),
        Stored::Octets(octets) => Value::Octets(Bytes::from(octets)),
        Stored::Set(members) => Value::Set(members),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Item {
        Item::from([
            ("a".to_owned(), Value::Text("é".into())),
            ("b".to_owned(), Value::Number(-65)),
            ("c".to_owned(), Value::Octets(Bytes::from_static(&[0, 255]))),
            ("d".to_owned(), Value::Set(["x".to_owned(), "yz".to_owned()].into())),
            ("e".to_owned(), Value::Number(i64::MIN)),
        ])
    }

    /// Written by the first version; every later one must read it, and write it until a format 2 exists.
    const GOLDEN: &[u8] = b"\x01\x05\
        \x01a\x00\x02\xc3\xa9\
        \x01b\x01\x81\x01\
        \x01c\x02\x02\x00\xff\
        \x01d\x03\x02\x01x\x02yz\
        \x01e\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";

    #[test]
    fn the_stored_octets_are_as_they_were() {
        assert_eq!(encode(&sample()).unwrap(), GOLDEN);
        assert_eq!(decode(GOLDEN).unwrap(), sample());
        assert_eq!(encode(&Item::new()).unwrap(), [1, 0]);
    }

    #[test]
    fn damage_is_an_error_and_never_an_empty_item() {
        for end in 0..GOLDEN.len() {
            assert!(matches!(decode(&GOLDEN[..end]), Err(StoreError::Internal(_))), "cut at {end}");
        }
        let longer = [GOLDEN, b"\0"].concat();
        assert!(matches!(decode(&longer), Err(StoreError::Internal(_))));
        let newer = [&[2], &GOLDEN[1..]].concat();
        assert!(matches!(decode(&newer), Err(StoreError::Internal(_))));
    }
}
