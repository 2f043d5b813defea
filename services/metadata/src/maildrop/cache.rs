//! Listings that this replica has made, to be given again while the folder's version stands.

use std::{collections::BTreeSet, sync::Arc};

use puro_api::model::Message;
use puro_types::{MailboxId, MessageId};
use quick_cache::{Weighter, sync::Cache};

use crate::schema::{Counts, Folder, Mail};

/// The live messages of a folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// The folder's version, read before its messages; 0 for none that the folder ever had.
    pub version: u64,
    /// The messages, oldest first.
    pub messages: Vec<Message>,
    /// The latest time of acceptance seen, deleted messages included; milliseconds since the Unix epoch.
    pub(crate) newest_ms: u64,
    pub(crate) counts: Counts,
}

impl Listing {
    /// Appends a live message; they come in the order of their ids.
    pub(crate) fn push(&mut self, id: MessageId, mail: Mail) {
        self.counts = sum(self.counts, Counts::of(&id, &mail.location));
        self.messages.push(Message { id, size_bytes: mail.size_bytes(), location: mail.location });
    }

    /// Keeps the messages that `keep` names.
    pub(crate) fn filtered(&self, keep: impl Fn(&Message) -> bool) -> Self {
        let mut kept = Self { newest_ms: self.newest_ms, ..Self::default() };
        for message in self.messages.iter().filter(|message| keep(message)) {
            kept.counts = sum(kept.counts, Counts::of(&message.id, &message.location));
            kept.messages.push(message.clone());
        }
        kept
    }

    /// Says whether the folder's counters prove that nothing is missing here and nothing too much.
    pub(crate) fn is_proved_by(&self, folder: &Folder) -> bool {
        !folder.drift && self.counts == folder.counts()
    }
}

fn sum(one: Counts, other: Counts) -> Counts {
    Counts {
        messages: one.messages.saturating_add(other.messages),
        bytes: one.bytes.saturating_add(other.bytes),
        digest: one.digest.saturating_add(other.digest),
    }
}

/// A listing weighs as much as it has messages.
#[derive(Debug, Clone)]
struct ByMessages;

impl Weighter<MailboxId, Arc<Listing>> for ByMessages {
    fn weight(&self, _: &MailboxId, listing: &Arc<Listing>) -> u64 {
        1 + listing.messages.len() as u64
    }
}

/// The cached listings, bounded by the messages in them.
#[derive(Debug)]
pub(crate) struct Listings(Cache<MailboxId, Arc<Listing>, ByMessages>);

impl Listings {
    /// Holds listings of `messages` messages together.
    pub(crate) fn new(messages: usize) -> Self {
        // Most maildrops hold a few messages.
        Self(Cache::with_weighter((messages / 8).max(16), messages.max(16) as u64, ByMessages))
    }

    pub(crate) fn find(&self, mailbox: &MailboxId) -> Option<Arc<Listing>> {
        self.0.get(mailbox)
    }

    pub(crate) fn keep(&self, mailbox: &MailboxId, listing: &Arc<Listing>) {
        self.0.insert(mailbox.clone(), Arc::clone(listing));
    }

    /// Brings a cached listing forward over a removal made here, after which the folder was `folder`. Where something
    /// else happened meanwhile the listing gets no version, and serves as a base for the next one only.
    pub(crate) fn apply_removal(&self, mailbox: &MailboxId, removed: &BTreeSet<MessageId>, folder: &Folder) {
        let Some(listing) = self.find(mailbox) else { return };
        let mut rest = listing.filtered(|message| !removed.contains(&message.id));
        if rest.is_proved_by(folder) {
            rest.version = folder.version;
        }
        self.keep(mailbox, &Arc::new(rest));
    }
}
