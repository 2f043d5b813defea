//! How large DynamoDB thinks an item is, in octets.
//!
//! Source: Amazon DynamoDB Developer Guide, "DynamoDB item sizes and formats". The embedded stores use the same rule
//! for the item limit and the page limit, so that what works on one store works on the other.

use super::{Consistency, Item, Key, Table, Value};

/// The largest item, names and key included: 400 KB.
pub const MAX_ITEM_BYTES: usize = 400 * 1024;

/// The largest page of a query or scan: 1 MB.
pub const MAX_PAGE_BYTES: usize = 1024 * 1024;

const WRITE_UNIT_BYTES: usize = 1024;
const READ_UNIT_BYTES: usize = 4096;

/// Returns the units that a write is billed: one for each KB of the larger of the item before and after it, at least one.
pub(super) fn write_units(bytes: usize) -> u64 {
    bytes.div_ceil(WRITE_UNIT_BYTES).max(1) as u64
}

/// Returns the halves of units that a read of so many octets is billed: of each 4 KB, at least one, an eventual read
/// takes half a unit.
pub(super) fn read_halves(bytes: usize, consistency: Consistency) -> u64 {
    let halves = bytes.div_ceil(READ_UNIT_BYTES).max(1) as u64;
    match consistency {
        Consistency::Strong => halves * 2,
        Consistency::Eventual => halves,
    }
}

/// Returns an item's size in octets: the names and values of all attributes, the key's included.
#[must_use]
pub fn item_bytes(table: Table, key: &Key, item: &Item) -> usize {
    key_bytes(table, key) + item.iter().map(|(name, value)| name.len() + value_bytes(value)).sum::<usize>()
}

fn key_bytes(table: Table, key: &Key) -> usize {
    let sort = table.sort_attribute().map_or(0, |name| name.len() + key.sort.len());
    table.partition_attribute().len() + key.partition.len() + sort
}

fn value_bytes(value: &Value) -> usize {
    match value {
        Value::Text(text) => text.len(),
        Value::Number(number) => number_bytes(*number),
        Value::Octets(octets) => octets.len(),
        Value::Set(members) => members.iter().map(String::len).sum(),
    }
}

/// One octet for each pair of digits, counted from the decimal point (pairs of zeroes at the end do not count), one more,
/// and one for a minus sign; zero is one octet. The guide says "approximately"; this is what DynamoDB Local counts.
fn number_bytes(number: i64) -> usize {
    let mut magnitude = number.unsigned_abs();
    if magnitude == 0 {
        return 1;
    }
    while magnitude.is_multiple_of(100) {
        magnitude /= 100;
    }
    let digits = magnitude.checked_ilog10().map_or(1, |log| log as usize + 1);
    digits.div_ceil(2) + 1 + usize::from(number < 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_take_an_octet_for_two_digits() {
        let cases = [(0, 1), (7, 2), (42, 2), (100, 2), (110, 3), (123, 3), (-1, 3), (1_700_000_000_123, 8)];
        for (number, expected) in cases {
            assert_eq!(number_bytes(number), expected, "{number}");
        }
        assert_eq!(number_bytes(i64::MAX), 11);
        assert_eq!(number_bytes(i64::MIN), 12);
    }

    #[test]
    fn names_and_the_key_count() {
        let key = Key { partition: "abc".into(), sort: "de".into() };
        let item = Item::from([
            ("t".to_owned(), Value::Text("é".into())),
            ("o".to_owned(), Value::Octets(vec![0; 5].into())),
            ("s".to_owned(), Value::Set(["x".to_owned(), "yz".to_owned()].into())),
        ]);
        // folder + abc, message + de; then each name and value.
        assert_eq!(item_bytes(Table::MetaMail, &key, &item), 9 + 9 + 3 + 6 + 4);
        let user = Key { partition: "abc".into(), sort: String::new() };
        assert_eq!(item_bytes(Table::User, &user, &Item::new()), 8);
    }
}
