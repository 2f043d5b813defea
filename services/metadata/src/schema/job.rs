//! The `queue` table: work that is due at a time, in 16 shards.
//!
//! A job's id stays the same when it is put off; the sort key changes with the time that it is due. Every kind may be
//! done twice, by two workers or after a crash, with the result of once.

use std::collections::BTreeSet;

use puro_types::{MailboxId, MessageId};

use super::{Attributes, Builder, Mail, number, text};
use crate::store::{Item, Key, StoreError, Table};

/// Attribute names, for conditions and updates.
pub(crate) mod attribute {
    pub(crate) const LEASE_WORKER: &str = "lease_worker";
    pub(crate) const LEASE_FENCE: &str = "lease_fence";
    pub(crate) const LEASE_EXPIRES: &str = "lease_expires";
}
use attribute::{LEASE_EXPIRES, LEASE_FENCE, LEASE_WORKER};

const KIND: &str = "kind";
const CREATED: &str = "created";
const ATTEMPTS: &str = "attempts";
const FOLDER: &str = "folder";
const MESSAGE: &str = "message";
const MESSAGES: &str = "messages";
const FIRST: &str = "first";
const LAST: &str = "last";
const STEP: &str = "step";
const RECIPIENT: &str = "recipient";
const OBJECT_NAME: &str = "object_name";
const COPY: &str = "copy";
const COPY_BUCKET: &str = "copy_bucket";
const COPY_OFFSET: &str = "copy_offset";
const COPY_SLOTS: &str = "copy_slots";
const COPIED: &str = "copied";

/// Shards of the queue; stored keys depend on it.
pub(crate) const SHARDS: u8 = 16;
/// Digits of the time in the sort key: milliseconds until the year 33658.
const DUE_DIGITS: usize = 15;

/// A piece of work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Job {
    /// Letters and digits of the identifier alphabet.
    pub(crate) id: String,
    /// When it was first put, milliseconds since the Unix epoch.
    pub(crate) created_ms: u64,
    /// Attempts that failed.
    pub(crate) attempts: u32,
    pub(crate) mailbox: MailboxId,
    pub(crate) kind: JobKind,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum JobKind {
    /// Put an accepted message into the mailbox, or make known that it is there.
    Deliver { message: MessageId, mail: Box<Mail> },
    /// Free the bytes of the messages that carry this job's id as their removal, then take their tombstones away.
    Free { span: Span, step: FreeStep },
    /// Empty the mailbox of a removed account.
    Empty { email: String, step: Emptying },
    /// Copy what still lives of a mostly dead segment, move its owners there, and delete it. Of no mailbox.
    Compact { object_name: String, step: CompactStep },
}

/// Which messages a removal touched: a few by name, many by the range that they lie in, so that the item stays within
/// one write unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Span {
    Named(BTreeSet<String>),
    Range { first: String, last: String },
}

/// Messages of one removal that are named; 40 ids are 640 octets.
pub(crate) const NAMED_MAX: usize = 40;

/// How far a removal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FreeStep {
    /// Nobody's snapshot reaches back any more: free the bytes.
    Bytes,
    /// As `Bytes`, and the folder's version is known to have been bumped after the removal.
    Announced,
    /// No retry of a delivery reaches back any more: take the tombstones away.
    Tombstones,
}

/// How far the emptying of a mailbox is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Emptying {
    /// Remove what is there.
    Messages,
    /// Look again for what a late delivery brought.
    Sweep,
    /// Take the folder away.
    Folder,
}

/// How far a compaction is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CompactStep {
    /// See what lives, and copy it.
    Copy,
    /// Move the owners to the copy.
    Move(CopiedTo),
    /// Nobody's snapshot has the old places any more: delete the segment.
    Delete,
    /// Take the items about it away.
    Forget,
}

/// A segment of copies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CopiedTo {
    pub(crate) bucket: String,
    pub(crate) object_name: String,
    /// Where its first message is; the others follow, each as long as its label says.
    pub(crate) first_offset: u64,
    pub(crate) slots: u32,
    /// When the copy was begun, milliseconds since the Unix epoch.
    pub(crate) copied_ms: u64,
}

/// Who works on a job.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Lease {
    /// Grows with every lease that was taken; 0 for none yet.
    pub(crate) fence: u64,
    /// Milliseconds since the Unix epoch.
    pub(crate) expires_ms: u64,
}

impl Span {
    /// Returns the span of these ids, of which there is at least one.
    pub(crate) fn of(ids: &BTreeSet<MessageId>) -> Option<Self> {
        let name = |id: &MessageId| id.as_str().to_owned();
        let (first, last) = (ids.first()?, ids.last()?);
        Some(if ids.len() <= NAMED_MAX {
            Self::Named(ids.iter().map(name).collect())
        } else {
            Self::Range { first: name(first), last: name(last) }
        })
    }
}

impl Job {
    /// Returns the key of this job when it is due at `due_ms`.
    pub(crate) fn key(&self, due_ms: u64) -> Key {
        let hash = blake3::hash(self.id.as_bytes());
        let shard = hash.as_bytes()[0] % SHARDS;
        Key { partition: shard_name(shard), sort: format!("{due_ms:0DUE_DIGITS$}#{}", self.id) }
    }

    pub(crate) fn to_item(&self) -> Item {
        let (kind, mut item) = match &self.kind {
            JobKind::Deliver { message, mail } => {
                let mut item = mail.to_item();
                item.insert(MESSAGE.to_owned(), text(message.as_str()));
                ("deliver", item)
            }
            JobKind::Free { span, step } => {
                let built = Builder::default().with(STEP, text(step.as_str()));
                let built = match span {
                    Span::Named(ids) => built.set(MESSAGES, ids),
                    Span::Range { first, last } => built.text(FIRST, first).text(LAST, last),
                };
                ("free", built.0)
            }
            JobKind::Empty { email, step } => {
                ("empty", Builder::default().text(RECIPIENT, email).with(STEP, text(step.as_str())).0)
            }
            JobKind::Compact { object_name, step } => ("compact", step.put(object_name)),
        };
        item.insert(KIND.to_owned(), text(kind));
        item.insert(FOLDER.to_owned(), text(self.mailbox.as_str()));
        item.insert(CREATED.to_owned(), number(self.created_ms));
        if self.attempts > 0 {
            item.insert(ATTEMPTS.to_owned(), number(u64::from(self.attempts)));
        }
        item
    }

    pub(crate) fn from_item(key: &Key, item: &Item) -> Result<Self, StoreError> {
        let attributes = Attributes::new(Table::Queue, item);
        let (_, id) = key.sort.split_once('#').ok_or_else(|| attributes.wrong("due"))?;
        let kind = match attributes.text(KIND)? {
            "deliver" => JobKind::Deliver {
                message: attributes.parsed(MESSAGE)?,
                mail: Box::new(Mail::from_item(item)?),
            },
            "free" => JobKind::Free {
                span: read_span(attributes)?,
                step: FreeStep::parse(attributes.text(STEP)?).ok_or_else(|| attributes.wrong(STEP))?,
            },
            "empty" => JobKind::Empty {
                email: attributes.text(RECIPIENT)?.to_owned(),
                step: Emptying::parse(attributes.text(STEP)?).ok_or_else(|| attributes.wrong(STEP))?,
            },
            "compact" => JobKind::Compact {
                object_name: attributes.text(OBJECT_NAME)?.to_owned(),
                step: CompactStep::read(attributes)?,
            },
            _ => return Err(attributes.wrong(KIND)),
        };
        Ok(Self {
            id: id.to_owned(),
            created_ms: attributes.number(CREATED)?,
            attempts: attributes.small_or(ATTEMPTS, 0)?,
            mailbox: attributes.parsed(FOLDER)?,
            kind,
        })
    }
}

fn read_span(attributes: Attributes<'_>) -> Result<Span, StoreError> {
    let named = attributes.set(MESSAGES)?;
    Ok(if named.is_empty() {
        Span::Range { first: attributes.text(FIRST)?.to_owned(), last: attributes.text(LAST)?.to_owned() }
    } else {
        Span::Named(named)
    })
}

impl Lease {
    pub(crate) fn from_item(item: &Item) -> Result<Self, StoreError> {
        let attributes = Attributes::new(Table::Queue, item);
        Ok(Self {
            fence: attributes.number_or(LEASE_FENCE, 0)?,
            expires_ms: attributes.number_or(LEASE_EXPIRES, 0)?,
        })
    }
}

/// Takes the lease off an item that is put under another key.
pub(crate) fn without_lease(mut item: Item) -> Item {
    for name in [LEASE_WORKER, LEASE_FENCE, LEASE_EXPIRES] {
        item.remove(name);
    }
    item
}

/// Returns the partition key of a shard.
pub(crate) fn shard_name(shard: u8) -> String {
    format!("{shard:02}")
}

/// Returns a sort key behind all that is due at `now_ms` and before all that is due later.
pub(crate) fn due_until(now_ms: u64) -> String {
    format!("{:0DUE_DIGITS$}", now_ms.saturating_add(1))
}

/// Returns when the job under this key is due.
pub(crate) fn due_of(key: &Key) -> Option<u64> {
    key.sort.split_once('#')?.0.parse().ok()
}

impl FreeStep {
    fn as_str(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Announced => "announced",
            Self::Tombstones => "tombstones",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Self::Bytes, Self::Announced, Self::Tombstones].into_iter().find(|step| step.as_str() == name)
    }
}

impl Emptying {
    fn as_str(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Sweep => "sweep",
            Self::Folder => "folder",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Self::Messages, Self::Sweep, Self::Folder].into_iter().find(|step| step.as_str() == name)
    }
}

impl CompactStep {
    fn put(&self, object_name: &str) -> Item {
        let built = Builder::default().text(OBJECT_NAME, object_name);
        match self {
            Self::Copy => built.text(STEP, "copy").0,
            Self::Delete => built.text(STEP, "delete").0,
            Self::Forget => built.text(STEP, "forget").0,
            Self::Move(to) => {
                built
                    .text(STEP, "move")
                    .text(COPY_BUCKET, &to.bucket)
                    .text(COPY, &to.object_name)
                    .with(COPY_OFFSET, number(to.first_offset))
                    .with(COPY_SLOTS, number(u64::from(to.slots)))
                    .with(COPIED, number(to.copied_ms))
                    .0
            }
        }
    }

    fn read(attributes: Attributes<'_>) -> Result<Self, StoreError> {
        Ok(match attributes.text(STEP)? {
            "copy" => Self::Copy,
            "delete" => Self::Delete,
            "forget" => Self::Forget,
            "move" => Self::Move(CopiedTo {
                bucket: attributes.text_or_empty(COPY_BUCKET)?.to_owned(),
                object_name: attributes.text(COPY)?.to_owned(),
                first_offset: attributes.number(COPY_OFFSET)?,
                slots: attributes.small_or(COPY_SLOTS, 1)?,
                copied_ms: attributes.number(COPIED)?,
            }),
            _ => return Err(attributes.wrong(STEP)),
        })
    }
}

#[cfg(test)]
mod tests {
    use puro_types::{Codec, Frame, Location, TransactionId};

    use super::{super::*, *};
    use crate::store::size::item_bytes;

    fn ids(count: u64) -> BTreeSet<MessageId> {
        let mailbox = MailboxId::new([1; 12]);
        (0..count).map(|at| MessageId::new(at, &TransactionId::new(at, [2; 11]), &mailbox)).collect()
    }

    fn job(kind: JobKind) -> Job {
        let id = TransactionId::new(1_800_000_000_000, [7; 11]).to_string();
        Job { id, created_ms: 1_800_000_000_000, attempts: 3, mailbox: MailboxId::new([1; 12]), kind }
    }

    fn kinds() -> Vec<JobKind> {
        let frame = Frame { stored_length: 10, length: 20, codec: Codec::Plain, checksum: 5 };
        let location = Location {
            bucket: "b".to_owned(),
            object_name: "o".to_owned(),
            offset: 4,
            header: frame,
            body: frame,
            slot: 1,
            slots: 2,
        };
        let mail =
            Mail { location, accepted_ms: 8, owner: Owner { ordinal: 1, count: 2 }, state: MailState::Live };
        let few = Span::of(&ids(40)).unwrap();
        let many = Span::of(&ids(41)).unwrap();
        let copied = CopiedTo {
            bucket: "b".repeat(63),
            // The stores name segments in some thirty octets.
            object_name: "n".repeat(300),
            first_offset: 7,
            slots: 2,
            copied_ms: 1_800_000_000_000,
        };
        vec![
            JobKind::Deliver { message: ids(1).pop_first().unwrap(), mail: Box::new(mail) },
            JobKind::Free { span: few, step: FreeStep::Bytes },
            JobKind::Free { span: many, step: FreeStep::Tombstones },
            JobKind::Empty { email: "a@b".to_owned(), step: Emptying::Sweep },
            JobKind::Compact { object_name: "o".repeat(300), step: CompactStep::Move(copied) },
            JobKind::Compact { object_name: "o".to_owned(), step: CompactStep::Delete },
        ]
    }

    #[test]
    fn every_kind_reads_back_and_is_one_write_unit() {
        for kind in kinds() {
            let job = job(kind);
            let key = job.key(1_800_000_900_000);
            assert_eq!(Job::from_item(&key, &job.to_item()).unwrap(), job);
            let octets = item_bytes(Table::Queue, &key, &job.to_item());
            assert!(octets <= 1024, "{octets} octets: {job:?}");
        }
    }

    #[test]
    fn sort_keys_are_in_the_order_of_the_due_times() {
        let job = job(kinds().remove(3));
        let keys = [5, 1_000, 1_800_000_000_000].map(|due| job.key(due));
        assert!(keys.is_sorted_by(|a, b| a.sort < b.sort && a.partition == b.partition));
        assert!(keys[1].sort < due_until(1_000), "due now");
        assert!(keys[1].sort > due_until(999), "due later");
        assert_eq!(due_of(&keys[2]), Some(1_800_000_000_000));
    }
}
