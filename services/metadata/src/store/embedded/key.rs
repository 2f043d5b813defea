//! Keys as octets: two octets of partition length (big endian), the partition, the sort key.
//!
//! All keys of a partition share a prefix that no other partition's keys begin with, and within it they are ordered
//! as their sort keys are. These octets are on users' disks: they never change.

use std::ops::Bound;

use super::super::{Key, Query, StoreError};

/// A range of stored keys.
pub(super) type KeyRange = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// Sorts after every UTF-8 text, in which this octet does not occur.
const PAST_ANY_TEXT: u8 = 0xff;

/// Returns the stored form of a key.
pub(super) fn encode(key: &Key) -> Result<Vec<u8>, StoreError> {
    join(&key.partition, key.sort.as_bytes())
}

/// Reads a stored key.
pub(super) fn decode(stored: &[u8]) -> Result<Key, StoreError> {
    parse(stored).ok_or_else(|| StoreError::Internal("a stored key cannot be read".into()))
}

/// Returns the range of stored keys that a query asks for, or `None` if no key can lie in it.
pub(super) fn range(query: &Query) -> Result<Option<KeyRange>, StoreError> {
    if query.before.as_deref().is_some_and(|before| before <= query.after.as_str()) {
        return Ok(None);
    }
    let start = join(&query.partition, query.after.as_bytes())?;
    let start = if query.after.is_empty() { Bound::Included(start) } else { Bound::Excluded(start) };
    let end = match &query.before {
        Some(before) => join(&query.partition, before.as_bytes())?,
        None => join(&query.partition, &[PAST_ANY_TEXT])?,
    };
    Ok(Some((start, Bound::Excluded(end))))
}

fn join(partition: &str, sort: &[u8]) -> Result<Vec<u8>, StoreError> {
    let length = u16::try_from(partition.len())
        .map_err(|_| StoreError::Internal("the partition key is too long".into()))?;
    let mut stored = Vec::with_capacity(2 + partition.len() + sort.len());
    stored.extend_from_slice(&length.to_be_bytes());
    stored.extend_from_slice(partition.as_bytes());
    stored.extend_from_slice(sort);
    Ok(stored)
}

fn parse(stored: &[u8]) -> Option<Key> {
    let (length, rest) = stored.split_first_chunk::<2>()?;
    let (partition, sort) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    let text = |octets: &[u8]| std::str::from_utf8(octets).ok().map(str::to_owned);
    Some(Key { partition: text(partition)?, sort: text(sort)? })
}

#[cfg(test)]
mod tests {
    use std::ops::RangeBounds;

    use proptest::prelude::*;

    use super::*;
    use crate::store::{Consistency, Table};

    fn key(partition: &str, sort: &str) -> Key {
        Key { partition: partition.into(), sort: sort.into() }
    }

    fn query(partition: &str, after: &str, before: Option<&str>) -> Query {
        Query {
            table: Table::MetaMail,
            partition: partition.into(),
            after: after.into(),
            before: before.map(str::to_owned),
            limit: 0,
            consistency: Consistency::Strong,
        }
    }

    #[test]
    fn the_stored_octets_are_as_they_were() {
        assert_eq!(encode(&key("a@b", "m1")).unwrap(), b"\x00\x03a@bm1");
        assert_eq!(encode(&key("é", "")).unwrap(), b"\x00\x02\xc3\xa9");
        let long = "p".repeat(258);
        assert_eq!(encode(&key(&long, "\0")).unwrap()[..3], *b"\x01\x02p");
    }

    #[test]
    fn octets_that_are_no_key_are_refused() {
        for stored in [&b""[..], b"\x00", b"\x00\x03ab", b"\x00\x01\xff", b"\x00\x01a\xff"] {
            assert!(matches!(decode(stored), Err(StoreError::Internal(_))), "{stored:?}");
        }
    }

    /// Short texts of the characters most likely to confuse an encoding.
    fn nasty() -> impl Strategy<Value = String> {
        proptest::collection::vec(
            prop::sample::select(vec!['\0', '\u{1}', 'a', 'b', '\u{7f}', 'é', '\u{ffff}', '\u{10ffff}']),
            0..4,
        )
        .prop_map(String::from_iter)
    }

    proptest! {
        #[test]
        fn what_is_stored_is_read_back(partition in nasty(), sort in nasty()) {
            let key = key(&partition, &sort);
            prop_assert_eq!(decode(&encode(&key).unwrap()).unwrap(), key);
        }

        #[test]
        fn a_range_holds_exactly_what_the_query_asks_for(
            partition in nasty(), after in nasty(), before in proptest::option::of(nasty()),
            other in nasty(), sort in nasty(),
        ) {
            let stored = encode(&key(&other, &sort)).unwrap();
            let range = range(&query(&partition, &after, before.as_deref())).unwrap();
            let asked = other == partition
                && (after.is_empty() || sort > after)
                && before.as_ref().is_none_or(|before| sort < *before);
            prop_assert_eq!(range.is_some_and(|range| range.contains(&stored)), asked);
        }

        #[test]
        fn order_within_a_partition_is_the_sort_keys(partition in nasty(), a in nasty(), b in nasty()) {
            let stored = |sort: &str| encode(&key(&partition, sort)).unwrap();
            prop_assert_eq!(stored(&a).cmp(&stored(&b)), a.cmp(&b));
        }
    }
}
