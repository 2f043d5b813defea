//! What was acknowledged, and the invariants that follow from it.

use std::collections::{BTreeMap, BTreeSet};

use puro_api::model::Delivery;
use puro_metadata::{
    MetadataError, Snapshot,
    store::{Table, Value},
};
use puro_types::{MailboxId, MessageId};

use crate::world::{World, message};

/// What became of one message, as its sender and its reader were told.
#[derive(Debug, Clone, Default)]
struct Fate {
    segment: String,
    delivered: bool,
    removal_tried: bool,
    removed: bool,
}

/// Remembers what was asked for and what was answered.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger {
    fates: BTreeMap<(MailboxId, MessageId), Fate>,
    mailboxes: BTreeSet<MailboxId>,
}

impl Ledger {
    /// Delivers and takes down the answer.
    pub(crate) async fn deliver(&mut self, world: &World, delivery: &Delivery) -> Result<(), MetadataError> {
        let answer = world.deliver(delivery).await;
        for mailbox in &delivery.mailboxes {
            let fate = self.fates.entry((mailbox.clone(), message(delivery, mailbox))).or_default();
            fate.segment.clone_from(&delivery.location.object_name);
            fate.delivered |= answer.is_ok();
            self.mailboxes.insert(mailbox.clone());
        }
        answer.map(drop)
    }

    /// Removes and takes down the answer.
    pub(crate) async fn remove(
        &mut self,
        world: &World,
        mailbox: &MailboxId,
        ids: &[MessageId],
    ) -> Result<(), MetadataError> {
        let answer = world.metadata.remove(mailbox, ids).await;
        for id in ids {
            let fate = self.fates.entry((mailbox.clone(), id.clone())).or_default();
            fate.removal_tried = true;
            fate.removed |= answer.is_ok();
        }
        answer.map(drop)
    }

    /// Asserts what must hold at every moment at which the store answers, retries that wait in the queue aside.
    pub(crate) async fn check_safety(&self, world: &World, context: &str) {
        for mailbox in &self.mailboxes {
            let cached = world.list(mailbox).await.unwrap();
            let order = cached.messages.is_sorted_by(|one, other| one.id < other.id);
            assert!(order, "{context}: listed out of order, or twice");
            for listed in &cached.messages {
                let key = (mailbox.clone(), listed.id.clone());
                let fate = self.fates.get(&key);
                let fate = fate.unwrap_or_else(|| panic!("{context}: {key:?} was never sent"));
                assert!(!fate.removed, "{context}: {key:?} came back");
                let segment = &listed.location.object_name;
                if segment.starts_with("stored-") {
                    // It may have been compacted since.
                    assert!(world.segments.holds(&listed.location), "{context}: {key:?} has lost its bytes");
                } else {
                    assert_eq!(*segment, fate.segment, "{context}: {key:?} is elsewhere");
                    assert!(!world.segments.is_deleted(segment), "{context}: {key:?} has lost its bytes");
                }
            }
        }
    }

    /// Asserts what must hold once the queue has done what was put off.
    pub(crate) async fn check(&self, world: &World, context: &str) {
        self.check_safety(world, context).await;
        let fresh = world.replica();
        for mailbox in &self.mailboxes {
            // Whatever one replica has cached: it is what another reads from the store.
            let Ok(Snapshot::Current(sure)) = fresh.list(mailbox, 0).await else {
                panic!("{context}: no listing")
            };
            assert_eq!(world.list(mailbox).await.unwrap().messages, sure.messages, "{context}");
        }
        for ((mailbox, id), fate) in &self.fates {
            let listed = world.ids(mailbox).await.contains(id);
            if fate.delivered && !fate.removal_tried {
                assert!(listed, "{context}: {id} was acknowledged and is not there: {fate:?}");
            }
            if fate.removed {
                assert!(!listed, "{context}: {id} was removed and is there: {fate:?}");
            }
        }
    }

    /// Asserts that nothing is left of what is gone, once all time has passed. Only after runs in which every delivery
    /// was acknowledged: the bytes of others are the audit's.
    pub(crate) async fn check_space(&self, world: &World, context: &str) {
        let mut live = BTreeSet::new();
        for mailbox in &self.mailboxes {
            let listing = world.list(mailbox).await.unwrap();
            live.extend(listing.messages.iter().map(|message| message.location.object_name.clone()));
        }
        for fate in self.fates.values() {
            let deleted = world.segments.is_deleted(&fate.segment);
            assert_eq!(deleted, !live.contains(&fate.segment), "{context}: {}", fate.segment);
        }
        for name in world.segments.names() {
            assert!(live.contains(&name), "{context}: {name} is left");
        }
        for (key, item) in world.items(Table::MetaMail).await {
            let is_live = item.get("state") == Some(&Value::Text("live".to_owned()));
            assert!(is_live, "{context}: a tombstone is left: {key:?}");
        }
        for (key, _) in world.items(Table::Segment).await {
            let object = key.partition.split('#').next().unwrap();
            assert!(live.contains(object), "{context}: a segment's item is left: {key:?}");
        }
        let queue = world.queue().await;
        assert!(queue.is_empty(), "{context}: left in the queue: {queue:?}");
    }

    pub(crate) fn mailboxes(&self) -> impl Iterator<Item = &MailboxId> {
        self.mailboxes.iter()
    }
}
