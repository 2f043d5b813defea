//! The `folder` table: a mailbox's folders with their version and counters.
//!
//! What exists is what `meta_mail` holds; the counters are a hint that a full listing repairs. `digest` is the sum of
//! [`Counts::of`] over the messages that were counted: where a listing's own sum, count and octets agree with
//! the folder's, the listing is complete however stale the replica that it was read from. `drift` says that some change
//! is not, or not surely, in the counters, so that they prove nothing until they are repaired.

use puro_api::model::FolderRecord;
use puro_types::{Location, MailboxId, MessageId};

use super::{Attributes, Builder, LAST_UPDATE, mail::Place, number, text};
use crate::store::{Check, Condition, Item, Key, StoreError, Table, Update, Value};

/// The name of the folder that POP3 serves.
pub(crate) const INBOX: &str = "INBOX";

/// Attribute names, for conditions and updates.
pub(crate) mod attribute {
    pub(crate) const VERSION: &str = "version";
    pub(crate) const MESSAGES: &str = "messages";
    pub(crate) const BYTES: &str = "bytes";
    pub(crate) const DIGEST: &str = "digest";
    pub(crate) const DRIFT: &str = "drift";
    pub(crate) const STATE: &str = "state";
    pub(crate) const LAST_REMOVAL: &str = "last_removal";
}
use attribute::{BYTES, DIGEST, DRIFT, LAST_REMOVAL, MESSAGES, STATE, VERSION};

const NEXT_UID: &str = "next_uid";
const UID_VALIDITY: &str = "uid_validity";
const SELECTABLE: &str = "selectable";
const REMOVED: &str = "removed";
/// Until when somebody may be removing the messages of a mailbox that is given up.
const EMPTYING: &str = "emptying";

/// A folder as POP3 needs it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Folder {
    /// Bumped by every change, never lower; 0 only where there is no item.
    pub(crate) version: u64,
    pub(crate) messages: i64,
    pub(crate) bytes: i64,
    pub(crate) digest: i64,
    pub(crate) drift: bool,
    /// The account is gone and the mailbox is being emptied.
    pub(crate) removed: bool,
    /// Until when a worker may be at that, milliseconds since the Unix epoch.
    pub(crate) emptying_until_ms: u64,
    /// The id of the last removal that was announced here.
    pub(crate) last_removal: String,
    /// Milliseconds since the Unix epoch.
    pub(crate) updated_ms: u64,
}

pub(crate) fn folder_key(mailbox: &MailboxId) -> Key {
    Key { partition: mailbox.as_str().to_owned(), sort: INBOX.to_owned() }
}

/// What a change adds to the counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) messages: i64,
    pub(crate) bytes: i64,
    pub(crate) digest: i64,
}

impl Folder {
    /// Returns the item of a new, empty INBOX.
    pub(crate) fn new_item(now_ms: u64) -> Item {
        Builder::default()
            .with(VERSION, Value::Number(1))
            .with(NEXT_UID, Value::Number(1))
            // RFC 3501 section 2.3.1.1: a non-zero 32-bit value that grows when a folder is made again.
            .with(UID_VALIDITY, number((now_ms / 1000).clamp(1, u64::from(u32::MAX))))
            .with(SELECTABLE, Value::Number(1))
            .with(LAST_UPDATE, number(now_ms))
            .0
    }

    pub(crate) fn from_item(item: &Item) -> Result<Self, StoreError> {
        let attributes = Attributes::new(Table::Folder, item);
        Ok(Self {
            version: attributes.number(VERSION)?,
            messages: attributes.signed(MESSAGES)?.unwrap_or(0),
            bytes: attributes.signed(BYTES)?.unwrap_or(0),
            digest: attributes.signed(DIGEST)?.unwrap_or(0),
            drift: attributes.signed(DRIFT)?.is_some(),
            removed: attributes.text_or_empty(STATE)? == REMOVED,
            emptying_until_ms: attributes.number_or(EMPTYING, 0)?,
            last_removal: attributes.text_or_empty(LAST_REMOVAL)?.to_owned(),
            updated_ms: attributes.number_or(LAST_UPDATE, 0)?,
        })
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts { messages: self.messages, bytes: self.bytes, digest: self.digest }
    }
}

impl Counts {
    /// Returns the counts of one message at its place. Its digest has 40 bits; sums of millions of them fit 63.
    pub(crate) fn of(message: &MessageId, location: &Location) -> Self {
        Self {
            messages: 1,
            bytes: i64::try_from(location.size_bytes()).unwrap_or(i64::MAX),
            digest: digest(message, &location.object_name, location.offset),
        }
    }

    /// Returns what changes when a message's bytes move, the message itself being the same.
    pub(crate) fn of_move(message: &MessageId, from: &Location, to: &Place) -> Self {
        let before = digest(message, &from.object_name, from.offset);
        Self { messages: 0, bytes: 0, digest: digest(message, &to.object_name, to.offset) - before }
    }

    /// Returns the bump for a change that these counts describe in full.
    pub(crate) fn bump(self, now_ms: u64) -> Update {
        let mut update = announcement(now_ms);
        let counts = [(MESSAGES, self.messages), (BYTES, self.bytes), (DIGEST, self.digest)];
        update.add.extend(counts.map(|(name, amount)| (name.to_owned(), amount)));
        update
    }

    /// Returns the update that sets the counters right. It is no bump: the messages are what they were.
    pub(crate) fn repair(self) -> Update {
        let counts = [(MESSAGES, self.messages), (BYTES, self.bytes), (DIGEST, self.digest)];
        Update {
            set: counts.map(|(name, amount)| (name.to_owned(), Value::Number(amount))).into(),
            remove: vec![DRIFT.to_owned()],
            ..Update::default()
        }
    }
}

fn digest(message: &MessageId, object_name: &str, offset: u64) -> i64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(message.as_str().as_bytes());
    hasher.update(object_name.as_bytes());
    hasher.update(&offset.to_be_bytes());
    let hash = hasher.finalize();
    hash.as_bytes()[..5].iter().fold(0, |sum, octet| (sum << 8) | i64::from(*octet))
}

/// Returns a bump of the version alone.
pub(crate) fn announcement(now_ms: u64) -> Update {
    Update {
        set: vec![(LAST_UPDATE.to_owned(), number(now_ms))],
        add: vec![(VERSION.to_owned(), 1)],
        ..Update::default()
    }
}

/// Returns a bump for a change that the counters may or may not have seen.
pub(crate) fn uncertain(now_ms: u64) -> Update {
    with_drift(announcement(now_ms))
}

/// Adds the mark that the counters prove nothing.
pub(crate) fn with_drift(mut update: Update) -> Update {
    update.set.push((DRIFT.to_owned(), Value::Number(1)));
    update
}

/// Adds the id of the removal that a bump announces.
pub(crate) fn with_removal(mut update: Update, removal: &str) -> Update {
    update.set.push((LAST_REMOVAL.to_owned(), text(removal)));
    update
}

/// Returns what clients may remember of a folder.
pub(crate) fn identity(item: &Item) -> Result<FolderRecord, StoreError> {
    let attributes = Attributes::new(Table::Folder, item);
    let folder = Folder::from_item(item)?;
    Ok(FolderRecord {
        version: folder.version,
        uid_validity: attributes.small_or(UID_VALIDITY, 0)?,
        next_uid: attributes.small_or(NEXT_UID, 0)?,
        messages: u64::try_from(folder.messages).unwrap_or(0),
        bytes: u64::try_from(folder.bytes).unwrap_or(0),
    })
}

/// Returns the item of an INBOX that comes from elsewhere, still empty.
///
/// Its version is one that no folder of this mailbox has had, where it was or here before its account was removed: a
/// listing may be cached under any of those. They are counts of changes, which the time is far beyond.
pub(crate) fn moved_item(record: &FolderRecord, now_ms: u64) -> Item {
    let mut item = Folder::new_item(now_ms);
    item.insert(VERSION.to_owned(), number(record.version.saturating_add(1).max(now_ms)));
    for (name, value) in [(NEXT_UID, record.next_uid), (UID_VALIDITY, record.uid_validity)] {
        if value != 0 {
            item.insert(name.to_owned(), number(u64::from(value)));
        }
    }
    item
}

/// Returns the bump, by `ahead`, that takes the mark of being given up off a mailbox.
pub(crate) fn given_back(ahead: i64, now_ms: u64) -> Update {
    Update {
        set: vec![(LAST_UPDATE.to_owned(), number(now_ms))],
        add: vec![(VERSION.to_owned(), ahead)],
        remove: vec![STATE.to_owned(), EMPTYING.to_owned()],
        ..Update::default()
    }
}

/// Holds while a mailbox is given up.
pub(crate) fn is_given_up() -> Condition {
    Condition(vec![Check::Equals(STATE.to_owned(), text(REMOVED))])
}

/// Returns the bump that marks a mailbox as given up, and as being emptied until then.
pub(crate) fn removal_of_mailbox(now_ms: u64, until_ms: u64) -> Update {
    let mut update = announcement(now_ms);
    update.set.push((STATE.to_owned(), text(REMOVED)));
    update.set.push((EMPTYING.to_owned(), number(until_ms)));
    update
}

/// Holds while the folder is of this version; 0 is that of a folder that is not there.
pub(crate) fn is_of_version(version: u64) -> Condition {
    let name = VERSION.to_owned();
    Condition(vec![match version {
        0 => Check::Lacks(name),
        version => Check::Equals(name, number(version)),
    }])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_folder_is_empty_and_has_a_version() {
        let folder = Folder::from_item(&Folder::new_item(5)).unwrap();
        assert_eq!(folder, Folder { version: 1, updated_ms: 5, ..Folder::default() });
    }

    #[test]
    fn an_item_without_version_is_damage() {
        assert!(Folder::from_item(&Item::new()).is_err());
    }
}
