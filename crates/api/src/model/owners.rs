//! Whose a message's bytes are: the label that they are stored with.

use std::collections::BTreeSet;

use bytes::Bytes;
use prost::Message as _;
use puro_types::{MailboxId, MessageId, TransactionId};

use super::{Malformed, parse};
use crate::pb::metadata::v1 as pb;

/// The items that may own one message's bytes, in the order of the mailbox ids, each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owners(Vec<(MailboxId, MessageId)>);

impl Owners {
    /// Returns the owners that a delivery of this transaction makes, accepted at `accepted_ms` (milliseconds since the
    /// Unix epoch). Mailboxes may come in any order and more than once.
    pub fn of_delivery<'a>(
        transaction: &TransactionId,
        accepted_ms: u64,
        mailboxes: impl IntoIterator<Item = &'a MailboxId>,
    ) -> Self {
        let mailboxes: BTreeSet<&MailboxId> = mailboxes.into_iter().collect();
        let owner =
            |mailbox: &MailboxId| (mailbox.clone(), MessageId::new(accepted_ms, transaction, mailbox));
        Self(mailboxes.into_iter().map(owner).collect())
    }

    /// Returns the only owner of a message.
    pub fn one(mailbox: MailboxId, message: MessageId) -> Self {
        Self(vec![(mailbox, message)])
    }

    /// Returns the owners by their ordinals.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&MailboxId, &MessageId)> {
        self.0.iter().map(|(mailbox, message)| (mailbox, message))
    }

    /// Returns the octets that the message is stored with.
    pub fn label(&self) -> Bytes {
        let owner = |(mailbox, message): (&MailboxId, &MessageId)| pb::Owner {
            mailbox: mailbox.to_string(),
            message: message.to_string(),
        };
        pb::Owners { owners: self.iter().map(owner).collect() }.encode_to_vec().into()
    }

    /// Reads a label.
    ///
    /// # Errors
    /// It is none, or names nobody.
    pub fn from_label(label: Bytes) -> Result<Self, Malformed> {
        let wire = pb::Owners::decode(label).map_err(|why| Malformed::new("label", why))?;
        let owner = |owner: pb::Owner| -> Result<_, Malformed> {
            Ok((parse("mailbox", &owner.mailbox)?, parse("message", &owner.message)?))
        };
        let owners: Vec<(MailboxId, MessageId)> =
            wire.owners.into_iter().map(owner).collect::<Result<_, _>>()?;
        let is_sorted = owners.is_sorted_by(|one, other| one.0 < other.0);
        if owners.is_empty() || !is_sorted {
            return Err(Malformed::new("label", "its owners are missing or out of order"));
        }
        Ok(Self(owners))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_names_the_owners_by_their_ordinals() {
        let transaction = TransactionId::new(7, [1; 11]);
        let boxes = [MailboxId::new([2; 12]), MailboxId::new([1; 12]), MailboxId::new([2; 12])];
        let owners = Owners::of_delivery(&transaction, 9, &boxes);
        let expected = [&boxes[1], &boxes[0]].map(|at| (at, MessageId::new(9, &transaction, at)));
        assert!(owners.iter().eq(expected.iter().map(|(mailbox, message)| (*mailbox, message))));
        assert_eq!(Owners::from_label(owners.label()), Ok(owners));
    }

    #[test]
    fn anything_else_is_no_label() {
        let mailbox = MailboxId::new([1; 12]);
        let owner = pb::Owner {
            mailbox: mailbox.to_string(),
            message: MessageId::new(1, &TransactionId::new(1, [1; 11]), &mailbox).to_string(),
        };
        let wrong = pb::Owner { mailbox: "x".to_owned(), ..owner.clone() };
        for owners in [vec![], vec![wrong], vec![owner.clone(), owner]] {
            let label = pb::Owners { owners }.encode_to_vec();
            assert!(Owners::from_label(label.into()).is_err());
        }
        assert!(Owners::from_label(Bytes::from_static(b"\xff\xff\xff")).is_err());
    }
}
