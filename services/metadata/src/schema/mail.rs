//! The `meta_mail` table: one item per message and mailbox, at most 1 KB (one write unit).

use bytes::Bytes;
use puro_types::{Codec, Frame, Location, MailboxId, MessageId};

use super::{Attributes, Builder, LAST_UPDATE, folder::Counts, number, text};
use crate::store::{Check, Condition, Item, Key, StoreError, TTL, Table, Update, Value};

/// Attribute names, for conditions and updates.
pub(crate) mod attribute {
    pub(crate) const OBJECT_NAME: &str = "object_name";
    pub(crate) const STATE: &str = "state";
    pub(crate) const EXPIRES: &str = "expires";
    pub(crate) const REMOVAL: &str = "removal";
}
use attribute::{EXPIRES, OBJECT_NAME, REMOVAL, STATE};

const BUCKET: &str = "bucket";
const OFFSET: &str = "offset";
/// Octets of both frames in the segment.
const STORED_LENGTH: &str = "stored_length";
/// Octets of the header frame in the segment: the length of the ranged read for TOP.
const HEADER_LENGTH: &str = "header_length";
/// Octets of the message that the header frame holds; the body's are `size` less this.
const HEADER_SIZE: &str = "header_size";
/// Two letters, header then body: `p` plain, `z` zstd.
const CODEC: &str = "codec";
/// CRC-32C of header then body, big-endian, eight octets.
const CHECKSUM: &str = "checksum";
const SIZE: &str = "size";
const TIMESTAMP: &str = "timestamp";
/// Left out for the only message of a segment.
const SLOT: &str = "slot";
const SLOTS: &str = "slots";
/// Mailboxes that share the slot; left out where there is one.
const OWNERS: &str = "owners";
/// This mailbox's place among the owners, from 0.
const OWNER: &str = "owner";

const LIVE: &str = "live";
const DELETED: &str = "deleted";

/// A message in a mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mail {
    pub(crate) location: Location,
    /// Time of acceptance, milliseconds since the Unix epoch.
    pub(crate) accepted_ms: u64,
    pub(crate) owner: Owner,
    pub(crate) state: MailState,
}

/// One mailbox's share in a slot: a transaction with several recipients stores its bytes once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    /// Place among the transaction's mailboxes in the order of their ids, from 0.
    pub(crate) ordinal: u32,
    /// How many mailboxes the transaction has, those that wait in the queue among them.
    pub(crate) count: u32,
}

/// Where in which segment a message is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) bucket: String,
    pub(crate) object_name: String,
    pub(crate) offset: u64,
    pub(crate) slot: u32,
    pub(crate) slots: u32,
}

/// Whether a message is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MailState {
    Live,
    /// A tombstone, which keeps a late retry of the delivery from bringing the message back.
    Deleted {
        /// When the tombstone may go, milliseconds since the Unix epoch.
        expires_ms: u64,
        /// The id of the job that frees the bytes and takes the tombstone away.
        removal: String,
    },
}

pub(crate) fn mail_key(mailbox: &MailboxId, message: &MessageId) -> Key {
    Key { partition: mailbox.as_str().to_owned(), sort: message.as_str().to_owned() }
}

impl Mail {
    pub(crate) fn size_bytes(&self) -> u64 {
        self.location.size_bytes()
    }

    /// Returns what this message adds to its folder's counters.
    pub(crate) fn counts(&self, message: &MessageId) -> Counts {
        Counts::of(message, &self.location)
    }

    pub(crate) fn to_item(&self) -> Item {
        let Location { bucket, object_name, offset, header, body, slot, slots } = &self.location;
        let mut checksum = [0; 8];
        checksum[..4].copy_from_slice(&header.checksum.to_be_bytes());
        checksum[4..].copy_from_slice(&body.checksum.to_be_bytes());
        let built = Builder::default()
            .text(BUCKET, bucket)
            .text(OBJECT_NAME, object_name)
            .number(OFFSET, *offset, 0)
            .with(STORED_LENGTH, number(self.location.stored_length()))
            .with(HEADER_LENGTH, number(header.stored_length))
            .with(HEADER_SIZE, number(header.length))
            .with(CODEC, Value::Text([letter(header.codec), letter(body.codec)].iter().collect()))
            .with(CHECKSUM, Value::Octets(Bytes::copy_from_slice(&checksum)))
            .with(SIZE, number(self.size_bytes()))
            .with(TIMESTAMP, number(self.accepted_ms))
            .number(SLOT, u64::from(*slot), 0)
            .number(SLOTS, u64::from(*slots), 1)
            .number(OWNERS, u64::from(self.owner.count), 1)
            .number(OWNER, u64::from(self.owner.ordinal), 0);
        match &self.state {
            MailState::Live => built.with(STATE, live()).0,
            MailState::Deleted { expires_ms, removal } => {
                built
                    .with(STATE, text(DELETED))
                    .with(EXPIRES, number(*expires_ms))
                    .with(TTL, ttl(*expires_ms))
                    .with(REMOVAL, text(removal))
                    .0
            }
        }
    }

    pub(crate) fn from_item(item: &Item) -> Result<Self, StoreError> {
        let attributes = Attributes::new(Table::MetaMail, item);
        let wrong = |name| move || attributes.wrong(name);
        let size = attributes.number(SIZE)?;
        let header_size = attributes.number(HEADER_SIZE)?;
        let header_length = attributes.number(HEADER_LENGTH)?;
        let stored_length = attributes.number(STORED_LENGTH)?;
        let checksums: [u8; 8] =
            attributes.octets(CHECKSUM)?.as_ref().try_into().map_err(|_| attributes.wrong(CHECKSUM))?;
        let [h0, h1, h2, h3, b0, b1, b2, b3] = checksums;
        let mut codecs = attributes.text(CODEC)?.chars();
        let mut codec = || codecs.next().and_then(codec_of).ok_or_else(wrong(CODEC));
        let header = Frame {
            stored_length: header_length,
            length: header_size,
            codec: codec()?,
            checksum: u32::from_be_bytes([h0, h1, h2, h3]),
        };
        let body = Frame {
            stored_length: stored_length.checked_sub(header_length).ok_or_else(wrong(STORED_LENGTH))?,
            length: size.checked_sub(header_size).ok_or_else(wrong(SIZE))?,
            codec: codec()?,
            checksum: u32::from_be_bytes([b0, b1, b2, b3]),
        };
        let state = match attributes.text(STATE)? {
            LIVE => MailState::Live,
            DELETED => MailState::Deleted {
                expires_ms: attributes.number(EXPIRES)?,
                removal: attributes.text(REMOVAL)?.to_owned(),
            },
            _ => return Err(attributes.wrong(STATE)),
        };
        let location = Location {
            bucket: attributes.text_or_empty(BUCKET)?.to_owned(),
            object_name: attributes.text(OBJECT_NAME)?.to_owned(),
            offset: attributes.number_or(OFFSET, 0)?,
            header,
            body,
            slot: attributes.small_or(SLOT, 0)?,
            slots: attributes.small_or(SLOTS, 1)?,
        };
        let owner = Owner { ordinal: attributes.small_or(OWNER, 0)?, count: attributes.small_or(OWNERS, 1)? };
        Ok(Self { location, accepted_ms: attributes.number(TIMESTAMP)?, owner, state })
    }
}

/// Returns the value of `state` for a message that is there.
pub(crate) fn live() -> Value {
    text(LIVE)
}

/// Returns the update that turns a message into a tombstone.
pub(crate) fn tombstone(now_ms: u64, expires_ms: u64, removal: &str) -> Update {
    let set = [
        (STATE, text(DELETED)),
        (EXPIRES, number(expires_ms)),
        (TTL, ttl(expires_ms)),
        (REMOVAL, text(removal)),
        (LAST_UPDATE, number(now_ms)),
    ];
    Update { set: set.map(|(name, value)| (name.to_owned(), value)).into(), ..Update::default() }
}

/// Holds while the message is the tombstone that this removal made.
pub(crate) fn is_deleted_by(removal: &str) -> Condition {
    let checks = [(STATE, text(DELETED)), (REMOVAL, text(removal))];
    Condition(checks.map(|(name, value)| Check::Equals(name.to_owned(), value)).into())
}

/// Returns the update that says that a message's bytes, as they are stored, are in another place now.
pub(crate) fn moved(to: &Place) -> Update {
    let mut update = Update::default();
    update.set.push((OBJECT_NAME.to_owned(), text(&to.object_name)));
    let mut put = |name: &str, value: Option<Value>| match value {
        Some(value) => update.set.push((name.to_owned(), value)),
        None => update.remove.push(name.to_owned()),
    };
    put(BUCKET, (!to.bucket.is_empty()).then(|| text(&to.bucket)));
    put(OFFSET, (to.offset != 0).then(|| number(to.offset)));
    put(SLOT, (to.slot != 0).then(|| number(u64::from(to.slot))));
    put(SLOTS, (to.slots != 1).then(|| number(u64::from(to.slots))));
    update
}

/// Returns when the store may take a tombstone away by itself: a month after the worker should have, so that a worker
/// that was away still finds what it has to free, and a delivery that waits in the queue finds that it was deleted.
fn ttl(expires_ms: u64) -> Value {
    number(expires_ms / 1000 + 30 * 24 * 60 * 60)
}

fn letter(codec: Codec) -> char {
    match codec {
        Codec::Plain => 'p',
        Codec::Zstd => 'z',
    }
}

fn codec_of(letter: char) -> Option<Codec> {
    match letter {
        'p' => Some(Codec::Plain),
        'z' => Some(Codec::Zstd),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::size::item_bytes;

    fn mail(location: Location, owner: Owner) -> Mail {
        Mail { location, accepted_ms: 1_800_000_000_123, owner, state: MailState::Live }
    }

    fn typical() -> Mail {
        let frame =
            |stored_length, length, checksum| Frame { stored_length, length, codec: Codec::Zstd, checksum };
        let location = Location {
            bucket: String::new(),
            object_name: "7f/0ABCDEFGHIJKLMNOPQRSTUV".to_owned(),
            offset: 1_234_567,
            header: frame(431, 1_207, 0xDEAD_BEEF),
            body: frame(2_345, 6_789, 0xFEED_F00D),
            slot: 17,
            slots: 31,
        };
        mail(location, Owner { ordinal: 0, count: 1 })
    }

    fn bytes(mail: &Mail) -> usize {
        let mailbox = MailboxId::new([9; 12]);
        let transaction = puro_types::TransactionId::new(1, [1; 11]);
        let message = MessageId::new(1, &transaction, &mailbox);
        item_bytes(Table::MetaMail, &mail_key(&mailbox, &message), &mail.to_item())
    }

    #[test]
    fn every_state_reads_back() {
        let mut mail = typical();
        assert_eq!(Mail::from_item(&mail.to_item()).unwrap(), mail);
        mail.location.body.codec = Codec::Plain;
        mail.owner = Owner { ordinal: 2, count: 3 };
        mail.state = MailState::Deleted { expires_ms: 99, removal: "job".to_owned() };
        assert_eq!(Mail::from_item(&mail.to_item()).unwrap(), mail);
    }

    #[test]
    fn a_tombstone_may_go_by_itself_in_seconds_and_after_the_worker() {
        let update = tombstone(1_800_000_000_000, 1_800_086_400_000, "job");
        let mut item = typical().to_item();
        item.extend(update.set);
        assert_eq!(item[TTL], Value::Number(1_802_678_400));
        assert!(!typical().to_item().contains_key(TTL), "what lives never goes by itself");
    }

    #[test]
    fn a_message_that_moved_is_as_one_put_there() {
        let mail = typical();
        for (offset, slot, slots) in [(0, 0, 1), (9, 3, 4)] {
            let mut there = mail.clone();
            let place = Place { bucket: String::new(), object_name: "new".to_owned(), offset, slot, slots };
            there.location.object_name.clone_from(&place.object_name);
            (there.location.offset, there.location.slot, there.location.slots) = (offset, slot, slots);
            let mut item = mail.to_item();
            let Update { set, remove, .. } = moved(&place);
            item.extend(set);
            item.retain(|name, _| !remove.contains(name));
            assert_eq!(item, there.to_item());
        }
    }

    #[test]
    fn a_typical_item_is_listed_sixteen_to_half_a_read_unit() {
        assert!(bytes(&typical()) <= 256, "{} octets", bytes(&typical()));
    }

    #[test]
    fn the_longest_item_is_one_write_unit() {
        let longest = 1 << 40;
        let frame =
            Frame { stored_length: longest - 1, length: longest - 1, codec: Codec::Zstd, checksum: u32::MAX };
        let location = Location {
            // The longest names that S3 allows for a bucket, and that this service takes for an object.
            bucket: "b".repeat(63),
            object_name: "o".repeat(crate::delivery::OBJECT_NAME_MAX),
            offset: longest - 1,
            header: frame,
            body: frame,
            slot: u32::MAX - 1,
            slots: u32::MAX,
        };
        let mut mail = mail(location, Owner { ordinal: 9_999, count: 9_999 });
        mail.state = MailState::Deleted { expires_ms: (1 << 42) - 1, removal: "r".repeat(32) };
        let item_size = bytes(&mail) + LAST_UPDATE.len() + 11 + "uid".len() + 11;
        assert!(item_size <= 1024, "{item_size} octets");
    }

    #[test]
    fn damage_is_an_error() {
        for name in [OBJECT_NAME, CODEC, CHECKSUM, SIZE, STATE, TIMESTAMP] {
            let mut item = typical().to_item();
            item.remove(name);
            assert!(Mail::from_item(&item).is_err(), "{name}");
        }
        let mut item = typical().to_item();
        item.insert(SIZE.to_owned(), Value::Number(3));
        assert!(Mail::from_item(&item).is_err(), "a size less than the header's");
    }
}
