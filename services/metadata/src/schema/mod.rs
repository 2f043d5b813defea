//! Typed items and the attributes that hold them. The names are those of the data model; they are stored octets and
//! change only with a migration. An attribute at its usual value is left out, since every octet is paid for.

mod domain;
pub(crate) mod folder;
mod job;
pub(crate) mod mail;
pub(crate) mod segment;
pub(crate) mod user;

use std::collections::BTreeSet;

use bytes::Bytes;

pub(crate) use domain::{Domain, domain_key};
pub(crate) use folder::{Counts, Folder, folder_key};
pub(crate) use job::{
    CompactStep, CopiedTo, Emptying, FreeStep, Job, JobKind, Lease, SHARDS, Span, attribute as job_attribute,
    due_of, due_until, shard_name, without_lease,
};
pub(crate) use mail::{Mail, MailState, Owner, Place, mail_key};
pub(crate) use segment::{SegmentItem, segment_key, slot_key};
pub(crate) use user::{Account, AliasItem, Entry, Status, user_key};

use crate::store::{Item, Key, StoreError, Table, Value};

/// The attribute that says when an item was last changed, in milliseconds since the Unix epoch.
pub(crate) const LAST_UPDATE: &str = "last_update";

/// Returns the key of an item in a table without sort key.
fn single(partition: &str) -> Key {
    Key { partition: partition.to_owned(), sort: String::new() }
}

/// Returns a number as stored. Values beyond 63 bits are refused at the edge of the service.
pub(crate) fn number(value: u64) -> Value {
    Value::Number(i64::try_from(value).unwrap_or(i64::MAX))
}

pub(crate) fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

/// Reads attributes of one item.
#[derive(Debug, Clone, Copy)]
struct Attributes<'a> {
    table: Table,
    item: &'a Item,
}

impl<'a> Attributes<'a> {
    fn new(table: Table, item: &'a Item) -> Self {
        Self { table, item }
    }

    fn wrong(&self, name: &str) -> StoreError {
        StoreError::Internal(format!("table {}: `{name}` is missing or not valid", self.table.name()))
    }

    fn text_or_empty(&self, name: &str) -> Result<&'a str, StoreError> {
        match self.item.get(name) {
            None => Ok(""),
            Some(Value::Text(text)) => Ok(text),
            Some(_) => Err(self.wrong(name)),
        }
    }

    fn text(&self, name: &str) -> Result<&'a str, StoreError> {
        match self.text_or_empty(name)? {
            "" => Err(self.wrong(name)),
            text => Ok(text),
        }
    }

    fn parsed<T: std::str::FromStr>(&self, name: &str) -> Result<T, StoreError> {
        self.text(name)?.parse().map_err(|_| self.wrong(name))
    }

    fn signed(&self, name: &str) -> Result<Option<i64>, StoreError> {
        match self.item.get(name) {
            None => Ok(None),
            Some(Value::Number(number)) => Ok(Some(*number)),
            Some(_) => Err(self.wrong(name)),
        }
    }

    fn number_or(&self, name: &str, usual: u64) -> Result<u64, StoreError> {
        match self.signed(name)? {
            None => Ok(usual),
            Some(number) => u64::try_from(number).map_err(|_| self.wrong(name)),
        }
    }

    fn number(&self, name: &str) -> Result<u64, StoreError> {
        self.signed(name)?.and_then(|number| u64::try_from(number).ok()).ok_or_else(|| self.wrong(name))
    }

    fn small_or(&self, name: &str, usual: u32) -> Result<u32, StoreError> {
        u32::try_from(self.number_or(name, u64::from(usual))?).map_err(|_| self.wrong(name))
    }

    fn octets(&self, name: &str) -> Result<&'a Bytes, StoreError> {
        match self.item.get(name) {
            Some(Value::Octets(octets)) => Ok(octets),
            _ => Err(self.wrong(name)),
        }
    }

    fn set(&self, name: &str) -> Result<BTreeSet<String>, StoreError> {
        match self.item.get(name) {
            None => Ok(BTreeSet::new()),
            Some(Value::Set(members)) => Ok(members.clone()),
            Some(_) => Err(self.wrong(name)),
        }
    }
}

/// Builds an item, leaving out what is at its usual value.
#[derive(Debug, Default)]
struct Builder(Item);

impl Builder {
    fn with(mut self, name: &str, value: Value) -> Self {
        self.0.insert(name.to_owned(), value);
        self
    }

    fn text(self, name: &str, value: &str) -> Self {
        if value.is_empty() { self } else { self.with(name, text(value)) }
    }

    fn number(self, name: &str, value: u64, usual: u64) -> Self {
        if value == usual { self } else { self.with(name, number(value)) }
    }

    fn set(self, name: &str, members: &BTreeSet<String>) -> Self {
        if members.is_empty() { self } else { self.with(name, Value::Set(members.clone())) }
    }
}
