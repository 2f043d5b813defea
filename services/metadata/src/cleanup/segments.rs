//! Which bytes are dead: the last owner of the last slot frees a segment.
//!
//! A message that went to k mailboxes is one slot with k owners; each `meta_mail` item knows k and which of them it is.
//! An owner's removal adds its ordinal to the slot's item, a set; when k are in it the slot is dead, and is added to the
//! segment's item; when all slots are in that, the segment is dead. A slot with one owner, and a segment with one slot,
//! go without the item. Sets only grow and each write is one item's, so doing it again after a crash changes nothing,
//! and what is not yet delivered but waits in the queue counts as an owner from the start.
//!
//! A finished segment's items stay for half a day, marked: a job that is repeated finds them complete rather than begins
//! them anew. The last step of the removals takes them away. (A job that is repeated later still, having counted before
//! it failed, would leave an item of a few octets behind, which the audit finds.)
//!
//! When more than half of a segment's slots are dead, `compact` is told.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use puro_api::model::{Labelled, SegmentPage};
use puro_types::Location;

use crate::{
    Metadata, MetadataError,
    retry::persist,
    schema::{
        Mail, SegmentItem,
        segment::{dead_owners, dead_slots, gone},
        segment_key, slot_key,
    },
    store::{Check, Condition, Consistency, Key, StoreError, Table, Update},
};

/// What the worker and the audit ask of the blob service. Where nothing but deletion is offered, segments go when all in
/// them is dead and not before, and there is no audit.
#[async_trait]
pub trait Segments: Send + Sync + std::fmt::Debug + 'static {
    /// Deletes whole segments, at most 1,000; ones that are not there count as deleted.
    async fn delete(&self, object_names: &[String]) -> Result<(), SegmentsError>;

    /// Returns what a segment says of its messages, slot by slot; none where it says nothing or is not there. Its size is
    /// needed for a message that has a segment of its own; 0 where it is not known.
    async fn labels(&self, _object_name: &str, _size_bytes: u64) -> Result<Vec<Labelled>, SegmentsError> {
        Ok(Vec::new())
    }

    /// Copies messages of one segment into a new one, durably; `None` where they are gone or damaged. Whatever the
    /// outcome, an orphan may be left.
    async fn copy(&self, _locations: &[Location]) -> Result<Option<Vec<Location>>, SegmentsError> {
        Ok(None)
    }

    /// Lists segments, a page at a time.
    async fn list(&self, _after: Option<&str>) -> Result<SegmentPage, SegmentsError> {
        Err(not_offered())
    }

    /// Reads a message and says whether its octets are those that were stored.
    async fn inspect(&self, _location: &Location) -> Result<Presence, SegmentsError> {
        Err(not_offered())
    }
}

fn not_offered() -> SegmentsError {
    SegmentsError("it is not offered here".to_owned())
}

/// Whether a message's bytes are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// All of them, as they were stored.
    Whole,
    /// Not these.
    Damaged,
    /// The segment, or the place in it, does not exist.
    Gone,
}

/// The blob service could not do it, or perhaps not all of it. It is always right to try again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the blob service cannot do it now: {0}")]
pub struct SegmentsError(pub String);

/// Segments in one call.
const DELETED_AT_ONCE: usize = 1_000;
/// How long the items of a segment stay after its bytes.
pub(super) const GONE_MS: u64 = 12 * 60 * 60 * 1000;

/// What of a segment dies in one job.
#[derive(Default)]
pub(super) struct Dying {
    pub(super) slots: u32,
    /// Slots with one owner, and shared ones whose last owner is gone.
    pub(super) dead: BTreeMap<u32, bool>,
    /// Owners that go, with how many the slot has: by slot.
    pub(super) owners: BTreeMap<u32, (u32, BTreeSet<u32>)>,
}

impl Metadata {
    /// Frees what these messages, all removed and past the grace period, owned.
    pub(super) async fn free_bytes(&self, mails: &[Mail]) -> Result<(), MetadataError> {
        let mut dead = Vec::new();
        let mut marked = Vec::new();
        for (object, dying) in by_segment(mails) {
            if self.is_dead(&object, &dying).await? {
                marked.extend(dying.marked_item(&object));
                dead.push(object);
            }
        }
        for names in dead.chunks(DELETED_AT_ONCE) {
            self.delete_segments(names).await?;
        }
        for key in marked {
            self.mark_gone(key).await?;
        }
        Ok(())
    }

    pub(crate) async fn delete_segments(&self, names: &[String]) -> Result<(), MetadataError> {
        let failed = |error: SegmentsError| MetadataError::Unavailable(error.to_string());
        self.segments.delete(names).await.map_err(failed)
    }

    /// Takes the items of segments that these messages were in away, if their bytes are gone for long enough.
    pub(super) async fn forget_segments(&self, mails: &[Mail]) -> Result<(), MetadataError> {
        let long_ago_ms = self.clock.now_ms().saturating_sub(GONE_MS);
        for (object, dying) in by_segment(mails) {
            let Some(key) = dying.marked_item(&object) else { continue };
            let Some(item) = self.store.get(Table::Segment, &key, Consistency::Strong).await? else {
                continue;
            };
            let item = SegmentItem::from_item(&item)?;
            if item.gone_ms == 0 || item.gone_ms > long_ago_ms {
                continue;
            }
            if dying.slots > 1 {
                for slot in item.shared_slots() {
                    self.forget(slot_key(&object, slot)).await?;
                }
            }
            // Last, since it names the others.
            self.forget(key).await?;
        }
        Ok(())
    }

    /// Adds what dies to the items of a segment and says whether all of it is dead now.
    pub(super) async fn is_dead(&self, object: &str, dying: &Dying) -> Result<bool, StoreError> {
        let now_ms = self.clock.now_ms();
        let mut dead = dying.dead.clone();
        for (slot, (count, ordinals)) in &dying.owners {
            let owners = dead_owners(ordinals, now_ms);
            if self.add_dead(slot_key(object, *slot), owners).await?.is_complete(*count) {
                dead.insert(*slot, true);
            }
        }
        if dead.is_empty() || dying.slots == 1 {
            return Ok(!dead.is_empty());
        }
        let item = self.add_dead(segment_key(object), dead_slots(dead, now_ms)).await?;
        if item.is_complete(dying.slots) {
            return Ok(true);
        }
        if item.is_newly_thin(dying.slots) {
            self.note_thin(object).await?;
        }
        Ok(false)
    }

    /// Inserting into a set may be repeated at will.
    async fn add_dead(&self, key: Key, update: Update) -> Result<SegmentItem, StoreError> {
        let item = persist(self.patience(), self.random.as_ref(), |_| {
            self.store.update(Table::Segment, key.clone(), update.clone(), Condition::default())
        })
        .await?;
        SegmentItem::from_item(&item)
    }

    pub(super) async fn mark_gone(&self, key: Key) -> Result<(), StoreError> {
        let now_ms = self.clock.now_ms();
        let marked = persist(self.patience(), self.random.as_ref(), |_| {
            let exists = Condition(vec![Check::Exists]);
            self.store.update(Table::Segment, key.clone(), gone(now_ms), exists)
        });
        match marked.await {
            Ok(_) | Err(StoreError::ConditionFailed(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn forget(&self, key: Key) -> Result<(), StoreError> {
        persist(self.patience(), self.random.as_ref(), |_| {
            self.store.delete(Table::Segment, key.clone(), Condition::default())
        })
        .await
    }
}

impl Dying {
    /// Returns the key of the item that says when the segment's bytes went; none for a segment with one owner.
    pub(super) fn marked_item(&self, object: &str) -> Option<Key> {
        match self.owners.keys().next() {
            _ if self.slots > 1 => Some(segment_key(object)),
            Some(slot) => Some(slot_key(object, *slot)),
            None => None,
        }
    }
}

fn by_segment(mails: &[Mail]) -> BTreeMap<String, Dying> {
    let mut segments: BTreeMap<String, Dying> = BTreeMap::new();
    for Mail { location, owner, .. } in mails {
        let dying = segments.entry(location.object_name.clone()).or_default();
        dying.slots = location.slots;
        if owner.count == 1 {
            dying.dead.insert(location.slot, false);
        } else {
            let (count, ordinals) = dying.owners.entry(location.slot).or_default();
            *count = owner.count;
            ordinals.insert(owner.ordinal);
        }
    }
    segments
}
