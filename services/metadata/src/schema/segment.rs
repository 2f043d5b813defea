//! The `segment` table: what is dead in segments that have more than one owner.
//!
//! Two kinds of items. `object_name`: the dead slots of a segment, a slot with several owners marked by a `+`.
//! `object_name#slot`: the ordinals of the dead owners of one slot that has several. Both only ever grow, so that
//! doing a removal twice changes nothing, and neither can be complete while an owner lives. A segment's item also says
//! since when it is being compacted, and when its bytes went.

use std::collections::BTreeSet;

use super::{Attributes, LAST_UPDATE, number, single};
use crate::store::{Item, Key, StoreError, Table, Update};

const DEAD: &str = "dead";
/// When the segment's bytes were deleted, milliseconds since the Unix epoch.
const GONE: &str = "gone";
/// When a job was put that is to copy what still lives, milliseconds since the Unix epoch.
const THIN: &str = "thin";
/// Marks a slot that had several owners, and so an item of its own.
const SHARED: char = '+';

/// A segment's item, or a slot's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SegmentItem {
    dead: BTreeSet<String>,
    /// When the bytes were deleted; 0 while they are there.
    pub(crate) gone_ms: u64,
    /// When its compaction was put into the queue; 0 for none.
    pub(crate) thin_ms: u64,
    /// When it was last changed; 0 for not known.
    pub(crate) updated_ms: u64,
}

pub(crate) fn segment_key(object_name: &str) -> Key {
    single(object_name)
}

pub(crate) fn slot_key(object_name: &str, slot: u32) -> Key {
    single(&format!("{object_name}#{slot}"))
}

/// Returns the segment that an item of either kind is about.
pub(crate) fn object_of(partition: &str) -> &str {
    match partition.rsplit_once('#') {
        Some((object, slot)) if !slot.is_empty() && slot.bytes().all(|octet| octet.is_ascii_digit()) => {
            object
        }
        _ => partition,
    }
}

impl SegmentItem {
    pub(crate) fn from_item(item: &Item) -> Result<Self, StoreError> {
        let attributes = Attributes::new(Table::Segment, item);
        Ok(Self {
            dead: attributes.set(DEAD)?,
            gone_ms: attributes.number_or(GONE, 0)?,
            thin_ms: attributes.number_or(THIN, 0)?,
            updated_ms: attributes.number_or(LAST_UPDATE, 0)?,
        })
    }

    /// Says whether more than half of a segment's slots are dead, and nothing was done about it yet.
    pub(crate) fn is_newly_thin(&self, slots: u32) -> bool {
        let dead = u64::try_from(self.dead.len()).unwrap_or(u64::MAX);
        self.thin_ms == 0 && self.gone_ms == 0 && dead.saturating_mul(2) > u64::from(slots)
    }

    /// Says whether a slot is dead.
    pub(crate) fn has(&self, slot: u32) -> bool {
        self.dead.contains(&name(slot, false)) || self.dead.contains(&name(slot, true))
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
pub(crate) fn dead_slots(slots: impl IntoIterator<Item = (u32, bool)>, now_ms: u64) -> Update {
    insert(slots.into_iter().map(|(slot, shared)| name(slot, shared)).collect(), now_ms)
}

fn name(slot: u32, shared: bool) -> String {
    if shared { format!("{slot}{SHARED}") } else { slot.to_string() }
}

/// Returns the update that adds dead owners, by their ordinals, to a slot's item.
pub(crate) fn dead_owners(ordinals: &BTreeSet<u32>, now_ms: u64) -> Update {
    insert(ordinals.iter().map(u32::to_string).collect(), now_ms)
}

/// Returns the update that says that the bytes are gone.
pub(crate) fn gone(now_ms: u64) -> Update {
    let set = [GONE, LAST_UPDATE].map(|name| (name.to_owned(), number(now_ms)));
    Update { set: set.into(), ..Update::default() }
}

/// Returns the update that says that a compaction is in the queue.
pub(crate) fn thin(now_ms: u64) -> Update {
    Update { set: vec![(THIN.to_owned(), number(now_ms))], ..Update::default() }
}

/// Returns the update that says that there is none any more.
pub(crate) fn not_thin() -> Update {
    Update { remove: vec![THIN.to_owned()], ..Update::default() }
}

fn insert(members: BTreeSet<String>, now_ms: u64) -> Update {
    Update {
        set: vec![(LAST_UPDATE.to_owned(), number(now_ms))],
        insert: vec![(DEAD.to_owned(), members)],
        ..Update::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Value;

    #[test]
    fn complete_means_every_one() {
        let Update { insert, .. } = dead_slots([(0, false), (1, true)], 7);
        let item: Item = insert.into_iter().map(|(name, members)| (name, Value::Set(members))).collect();
        let read = SegmentItem::from_item(&item).unwrap();
        assert!(read.is_complete(2) && !read.is_complete(3));
        assert!(read.has(0) && read.has(1) && !read.has(2));
        assert!(read.is_newly_thin(3) && !read.is_newly_thin(4), "more than half");
        assert_eq!(read.shared_slots().collect::<Vec<_>>(), [1]);
        assert_ne!(segment_key("a"), slot_key("a", 0));
        for key in [segment_key("7f/a"), slot_key("7f/a", 12)] {
            assert_eq!(object_of(&key.partition), "7f/a");
        }
    }
}
