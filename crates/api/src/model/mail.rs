//! Deliveries, listings, removals.

use puro_types::{Location, MailboxId, MessageId, TransactionId};

use super::{Malformed, blob::location, each, parse};
use crate::pb::metadata::v1 as pb;

/// One listed message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its id: the UIDL.
    pub id: MessageId,
    /// Exact octets on the wire, dot-stuffing not counted.
    pub size_bytes: u64,
    /// Where its bytes are.
    pub location: Location,
}

/// A mailbox's INBOX.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listing {
    /// The listing of the version that the caller has is the current one.
    Unchanged,
    /// The current listing.
    Current {
        /// The folder's version, read before its messages.
        version: u64,
        /// The live messages, oldest first.
        messages: Vec<Message>,
    },
}

/// Messages to remove from one mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// The mailbox.
    pub mailbox: MailboxId,
    /// The messages, as they were listed.
    pub messages: Vec<Message>,
}

/// Mailboxes of one delivery at most.
pub const MAILBOXES_MAX: usize = 10_000;

/// One accepted message and the mailboxes that it goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The transaction; a repeat with the same one makes no second copy.
    pub transaction: TransactionId,
    /// Time of acceptance, milliseconds since the Unix epoch.
    pub accepted_ms: u64,
    /// The mailboxes, [`MAILBOXES_MAX`] at most; doubles count once.
    pub mailboxes: Vec<MailboxId>,
    /// Where the bytes are.
    pub location: Location,
}

/// How a delivery went; each recipient is counted in one or the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivered {
    /// Recipients that have the message.
    pub delivered: u32,
    /// Recipients whose copy waits in the queue for a retry.
    pub queued: u32,
}

impl TryFrom<pb::Message> for Message {
    type Error = Malformed;

    fn try_from(wire: pb::Message) -> Result<Self, Malformed> {
        Ok(Self {
            id: parse("id", &wire.id)?,
            size_bytes: wire.size_bytes,
            location: location(wire.location)?,
        })
    }
}

impl From<Message> for pb::Message {
    fn from(message: Message) -> Self {
        Self {
            id: message.id.to_string(),
            size_bytes: message.size_bytes,
            location: Some(message.location.into()),
        }
    }
}

impl TryFrom<pb::RemoveMessage> for Message {
    type Error = Malformed;

    fn try_from(wire: pb::RemoveMessage) -> Result<Self, Malformed> {
        pb::Message { id: wire.id, size_bytes: wire.size_bytes, location: wire.location }.try_into()
    }
}

impl From<Message> for pb::RemoveMessage {
    fn from(message: Message) -> Self {
        let pb::Message { id, size_bytes, location } = message.into();
        Self { id, size_bytes, location }
    }
}

impl TryFrom<pb::RemoveRequest> for Removal {
    type Error = Malformed;

    fn try_from(wire: pb::RemoveRequest) -> Result<Self, Malformed> {
        Ok(Self { mailbox: parse("mailbox", &wire.mailbox)?, messages: each(wire.messages)? })
    }
}

impl From<Removal> for pb::RemoveRequest {
    fn from(removal: Removal) -> Self {
        Self {
            mailbox: removal.mailbox.to_string(),
            messages: removal.messages.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<pb::DeliverRequest> for Delivery {
    type Error = Malformed;

    fn try_from(wire: pb::DeliverRequest) -> Result<Self, Malformed> {
        if wire.mailboxes.is_empty() {
            return Err(Malformed::new("mailboxes", "there is no recipient"));
        }
        Ok(Self {
            transaction: parse("transaction_id", &wire.transaction_id)?,
            accepted_ms: wire.accepted_ms,
            mailboxes: wire.mailboxes.iter().map(|id| parse("mailboxes", id)).collect::<Result<_, _>>()?,
            location: location(wire.location)?,
        })
    }
}

impl From<Delivery> for pb::DeliverRequest {
    fn from(delivery: Delivery) -> Self {
        Self {
            transaction_id: delivery.transaction.to_string(),
            accepted_ms: delivery.accepted_ms,
            mailboxes: delivery.mailboxes.iter().map(ToString::to_string).collect(),
            location: Some(delivery.location.into()),
        }
    }
}

impl From<pb::DeliverResponse> for Delivered {
    fn from(wire: pb::DeliverResponse) -> Self {
        Self { delivered: wire.delivered, queued: wire.queued }
    }
}

impl From<Delivered> for pb::DeliverResponse {
    fn from(delivered: Delivered) -> Self {
        Self { delivered: delivered.delivered, queued: delivered.queued }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::model::{Fault, blob::tests::sample};

    pub(crate) fn transaction() -> TransactionId {
        TransactionId::new(1_700_000_000_000, [7; 11])
    }

    pub(crate) fn message() -> Message {
        let id = MessageId::new(1_700_000_000_000, &transaction(), &MailboxId::new([1; 12]));
        Message { id, size_bytes: 200, location: sample() }
    }

    pub(crate) fn delivery() -> Delivery {
        Delivery {
            transaction: transaction(),
            accepted_ms: 1_700_000_000_000,
            mailboxes: vec![MailboxId::new([1; 12]), MailboxId::new([2; 12])],
            location: sample(),
        }
    }

    #[test]
    fn messages_removals_and_deliveries_come_back_as_they_went() {
        let message = message();
        assert_eq!(Message::try_from(pb::Message::from(message.clone())), Ok(message.clone()));
        let removal = Removal { mailbox: MailboxId::new([1; 12]), messages: vec![message] };
        assert_eq!(Removal::try_from(pb::RemoveRequest::from(removal.clone())), Ok(removal));
        assert_eq!(Delivery::try_from(pb::DeliverRequest::from(delivery())), Ok(delivery()));
    }

    #[test]
    fn wrong_ids_and_missing_parts_are_refused() {
        let faults: [Fault<pb::DeliverRequest>; 4] = [
            ("transaction", |d| d.transaction_id.push('x')),
            ("no mailbox", |d| d.mailboxes.clear()),
            ("mailbox", |d| d.mailboxes[1] = "../../etc/passwd".into()),
            ("location", |d| d.location = None),
        ];
        for (name, spoil) in faults {
            let mut wire = pb::DeliverRequest::from(delivery());
            spoil(&mut wire);
            assert!(Delivery::try_from(wire).is_err(), "{name}");
        }
    }
}
