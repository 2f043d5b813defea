//! Items and keys as DynamoDB has them: text is `S`, a number `N`, octets `B`, a set of texts `SS`.

use std::collections::HashMap;

use aws_sdk_dynamodb::{primitives::Blob, types::AttributeValue};
use bytes::Bytes;

use super::super::{Item, Key, StoreError, Table, Value};

/// Attributes by name, as the SDK takes and gives them.
pub(super) type Attributes = HashMap<String, AttributeValue>;

/// Returns a key as attributes.
pub(super) fn key_attributes(table: Table, key: &Key) -> Attributes {
    let mut attributes = Attributes::from([(
        table.partition_attribute().to_owned(),
        AttributeValue::S(key.partition.clone()),
    )]);
    if let Some(name) = table.sort_attribute() {
        attributes.insert(name.to_owned(), AttributeValue::S(key.sort.clone()));
    }
    attributes
}

/// Returns a whole item as attributes.
pub(super) fn item_attributes(table: Table, key: &Key, item: Item) -> Attributes {
    let mut attributes = key_attributes(table, key);
    attributes.extend(item.into_iter().map(|(name, value)| (name, attribute(value))));
    attributes
}

/// Returns a value as DynamoDB has it.
pub(super) fn attribute(value: Value) -> AttributeValue {
    match value {
        Value::Text(text) => AttributeValue::S(text),
        Value::Number(number) => number_attribute(number),
        Value::Octets(octets) => AttributeValue::B(Blob::new(octets)),
        Value::Set(members) => AttributeValue::Ss(members.into_iter().collect()),
    }
}

pub(super) fn number_attribute(number: i64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

/// Reads a key out of attributes.
pub(super) fn read_key(table: Table, attributes: &Attributes) -> Result<Key, StoreError> {
    let text = |name: &str| match attributes.get(name) {
        Some(AttributeValue::S(text)) => Ok(text.clone()),
        _ => Err(damaged(table, name)),
    };
    Ok(Key {
        partition: text(table.partition_attribute())?,
        sort: table.sort_attribute().map_or(Ok(String::new()), text)?,
    })
}

/// Reads an item out of attributes, the key's left out.
pub(super) fn read_item(table: Table, attributes: Attributes) -> Result<Item, StoreError> {
    let is_key = |name: &str| name == table.partition_attribute() || Some(name) == table.sort_attribute();
    attributes
        .into_iter()
        .filter(|(name, _)| !is_key(name))
        .map(|(name, value)| {
            let value = read_value(value).ok_or_else(|| damaged(table, &name))?;
            Ok((name, value))
        })
        .collect()
}

fn read_value(value: AttributeValue) -> Option<Value> {
    Some(match value {
        AttributeValue::S(text) => Value::Text(text),
        AttributeValue::N(digits) => Value::Number(digits.parse().ok()?),
        AttributeValue::B(octets) => Value::Octets(Bytes::from(octets.into_inner())),
        AttributeValue::Ss(members) => Value::Set(members.into_iter().collect()),
        _ => return None,
    })
}

fn damaged(table: Table, name: &str) -> StoreError {
    StoreError::Internal(format!("table {}: `{name}` is missing or of a kind that is not ours", table.name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_reads_back() {
        let key = Key { partition: "p".into(), sort: "s".into() };
        let item = Item::from([
            ("t".to_owned(), Value::Text(String::new())),
            ("n".to_owned(), Value::Number(i64::MIN)),
            ("o".to_owned(), Value::Octets(Bytes::from_static(&[0, 255]))),
            ("s".to_owned(), Value::Set(["a".to_owned(), "b".to_owned()].into())),
        ]);
        let attributes = item_attributes(Table::MetaMail, &key, item.clone());
        assert_eq!(attributes.len(), 6);
        assert_eq!(read_key(Table::MetaMail, &attributes), Ok(key));
        assert_eq!(read_item(Table::MetaMail, attributes), Ok(item));
    }

    #[test]
    fn what_others_wrote_is_not_taken_for_ours() {
        for odd in [
            AttributeValue::N("1.5".into()),
            AttributeValue::N("9223372036854775808".into()),
            AttributeValue::Bool(true),
        ] {
            let attributes = Attributes::from([("x".to_owned(), odd)]);
            assert!(matches!(read_item(Table::User, attributes), Err(StoreError::Internal(_))));
        }
        assert!(matches!(read_key(Table::User, &Attributes::new()), Err(StoreError::Internal(_))));
    }
}
