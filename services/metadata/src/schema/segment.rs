//! The `segment` table: what is dead in segments that have more than one owner.
//!
//! Two kinds of items. `object_name`: the dead slots of a segment, a slot with several owners marked by a `+`.
//! `object_name#slot`: the ordinals of the dead owners of one slot that has several. Both only ever grow, so that
//! doing a removal twice changes nothing, and neither can be complete while an owner lives.

use std::collections::BTreeSet;

use super::{Attributes, number, single};
use crate::store::{Item, Key, StoreError, Table, Update};

const DEAD: &str = "dead";
/// When the segment's bytes were deleted, milliseconds since the Unix epoch.
const GONE: &str = "gone";
/// Marks a slot that had several owners, and so an item of its own.
const SHARED: char = '+';

/// A segment's item, or a slot's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SegmentItem {
    dead: BTreeSet<String>,
    /// When the bytes were deleted; 0 while they are there.
    pub(crate) gone_ms: u64,
}

pub(crate) fn segment_key(object_name: &str) -> Key {
    single(object_name)
}

pub(crate) fn slot_key(object_name: &str, slot: u32) -> Key {
    single(&format!("{object_name}#{slot}"))
}

impl SegmentItem {
    pub(crate) fn from_item(item: &Item) -> Result<Self, StoreError> {
        let attributes = Attributes::new(Table::Segment, item);
        Ok(Self { dead: attributes.set(DEAD)?, gone_ms: attributes.number_or(GONE, 0)? })
    }

    /// Says whether all of `count` slots or owners are dead.
    pub(crate) fn is_complete(&self, count: u32) -> bool {
        u32::try_from(self.dead.len()).is_ok_and(|dead| dead >= count)
    }

    /// Returns the slots that have items of their own.
    pub(crate) fn shared_slots(&self) -> impl Iterator<Item = u32> {
        self.dead.iter().filter_map(|member| member.strip_suffix(SHARED)?.parse().ok())
    }
}

/// Returns the update that adds dead slots to a segment's item; each with whether it had several owners.
pub(crate) fn dead_slots(slots: impl IntoIterator<Item = (u32, bool)>) -> Update {
    let name =
        |(slot, shared): (u32, bool)| if shared { format!("{slot}{SHARED}") } else { slot.to_string() };
    insert(slots.into_iter().map(name).collect())
}

/// Returns the update that adds dead owners, by their ordinals, to a slot's item.
pub(crate) fn dead_owners(ordinals: &BTreeSet<u32>) -> Update {
    insert(ordinals.iter().map(u32::to_string).collect())
}

/// Returns the update that says that the bytes are gone.
pub(crate) fn gone(now_ms: u64) -> Update {
    Update { set: vec![(GONE.to_owned(), number(now_ms))], ..Update::default() }
}

fn insert(members: BTreeSet<String>) -> Update {
    Update { insert: vec![(DEAD.to_owned(), members)], ..Update::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Value;

    #[test]
    fn complete_means_every_one() {
        let Update { insert, .. } = dead_slots([(0, false), (1, true)]);
        let item: Item = insert.into_iter().map(|(name, members)| (name, Value::Set(members))).collect();
        let read = SegmentItem::from_item(&item).unwrap();
        assert!(read.is_complete(2) && !read.is_complete(3));
        assert_eq!(read.shared_slots().collect::<Vec<_>>(), [1]);
        assert_ne!(segment_key("a"), slot_key("a", 0));
    }
}
