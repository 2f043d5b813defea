//! Maildrops listed earlier. A poll that finds nothing new costs one read of the folder's version, and sessions on an
//! unchanged maildrop share one listing.

use std::sync::Arc;

use puro_api::model::Message;
use puro_pop3_session::{Entry, Maildrop};
use puro_types::MailboxId;
use quick_cache::{Weighter, sync::Cache};

/// What a maildrop weighs besides its messages, as if it had so many more.
const BASE_WEIGHT: u64 = 4;
/// Mailboxes that the cache makes room for at first; it grows.
const MAILBOXES_EXPECTED: usize = 1024;

/// A listing and the version of the folder that it shows.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    /// Never 0, which stands for "none" in a question.
    version: u64,
    maildrop: Arc<Maildrop>,
}

/// Listings by mailbox, bounded by the number of messages in them.
#[derive(Debug)]
pub(crate) struct Snapshots(Cache<MailboxId, Snapshot, ByMessages>);

#[derive(Debug, Clone)]
struct ByMessages;

impl Weighter<MailboxId, Snapshot> for ByMessages {
    fn weight(&self, _: &MailboxId, snapshot: &Snapshot) -> u64 {
        BASE_WEIGHT + snapshot.maildrop.entries.len() as u64
    }
}

impl Snapshots {
    /// Makes a cache that holds this many messages.
    pub(crate) fn new(messages: u64) -> Self {
        Self(Cache::with_weighter(MAILBOXES_EXPECTED, messages, ByMessages))
    }

    /// Returns the version of the listing that is here; 0: there is none.
    pub(crate) fn version(&self, mailbox: &MailboxId) -> u64 {
        self.0.get(mailbox).map_or(0, |snapshot| snapshot.version)
    }

    /// Returns the listing, if it is still here and of this version.
    pub(crate) fn of_version(&self, mailbox: &MailboxId, version: u64) -> Option<Arc<Maildrop>> {
        self.0.get(mailbox).filter(|snapshot| snapshot.version == version).map(|snapshot| snapshot.maildrop)
    }

    /// Keeps a listing, unless a newer one is here.
    pub(crate) fn keep(&self, mailbox: MailboxId, version: u64, messages: Vec<Message>) -> Arc<Maildrop> {
        let maildrop = Arc::new(maildrop(messages));
        if version > self.version(&mailbox) {
            self.0.insert(mailbox, Snapshot { version, maildrop: maildrop.clone() });
        }
        maildrop
    }
}

fn maildrop(messages: Vec<Message>) -> Maildrop {
    let bytes = messages.iter().map(|message| message.size_bytes).sum();
    let entries = messages
        .into_iter()
        .map(|Message { id, size_bytes, location }| Entry { id, size_bytes, location })
        .collect();
    Maildrop { entries, bytes }
}

#[cfg(test)]
mod tests {
    use puro_types::{Codec, Frame, Location, MessageId, TransactionId};

    use super::*;

    fn mailbox(number: u8) -> MailboxId {
        MailboxId::new([number; 12])
    }

    fn messages(count: u64) -> Vec<Message> {
        let frame = Frame { stored_length: 5, length: 5, codec: Codec::Plain, checksum: 0 };
        (0..count)
            .map(|number| Message {
                id: MessageId::new(number, &TransactionId::new(number, [0; 11]), &mailbox(0)),
                size_bytes: 10,
                location: Location {
                    bucket: String::new(),
                    object_name: "segment".to_owned(),
                    offset: 0,
                    header: frame,
                    body: frame,
                    slot: 0,
                    slots: 1,
                },
            })
            .collect()
    }

    #[test]
    fn a_listing_is_found_by_its_version_only_and_shared() {
        let snapshots = Snapshots::new(1000);
        assert_eq!(snapshots.version(&mailbox(1)), 0);
        let kept = snapshots.keep(mailbox(1), 7, messages(3));
        assert_eq!((kept.entries.len(), kept.bytes), (3, 30));
        assert_eq!(snapshots.version(&mailbox(1)), 7);
        assert!(Arc::ptr_eq(&kept, &snapshots.of_version(&mailbox(1), 7).unwrap()));
        assert!(snapshots.of_version(&mailbox(1), 6).is_none());
        assert!(snapshots.of_version(&mailbox(2), 7).is_none());
    }

    #[test]
    fn an_older_listing_does_not_replace_a_newer_one() {
        let snapshots = Snapshots::new(1000);
        snapshots.keep(mailbox(1), 7, messages(3));
        let late = snapshots.keep(mailbox(1), 6, messages(2));
        assert_eq!(late.entries.len(), 2, "the session that listed works on what it was told");
        assert_eq!(snapshots.of_version(&mailbox(1), 7).unwrap().entries.len(), 3);
    }

    #[test]
    fn messages_in_the_cache_are_bounded() {
        let snapshots = Snapshots::new(1000);
        for number in 0..100 {
            snapshots.keep(mailbox(number), 1, messages(100));
        }
        let held = (0..100).filter(|number| snapshots.version(&mailbox(*number)) == 1).count();
        assert!((1..=10).contains(&held), "{held} listings of 100 messages each");
        snapshots.keep(mailbox(200), 1, messages(5000));
        assert_eq!(snapshots.version(&mailbox(200)), 0, "too large to be kept");
    }
}
