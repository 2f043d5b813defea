//! Who owns a segment: its labels name the items, and strong reads of these say what they hold.

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use puro_api::model::Owners;
use puro_types::{Location, MailboxId, MessageId};

use super::Labelled;
use crate::{
    Metadata, MetadataError,
    maildrop::TOMBSTONE_MS,
    schema::{Mail, MailState, SegmentItem, mail_key},
    store::{Consistency, Table},
};

/// What is known of a segment's owners.
#[derive(Debug)]
pub(crate) enum Survey {
    /// Some message's owners are not known: nothing follows.
    Unknown(&'static str),
    /// All of them are known.
    Known(Vec<Slot>),
}

/// A message in a segment.
#[derive(Debug)]
pub(crate) struct Slot {
    /// Octets of both frames.
    pub(crate) stored_length: u64,
    /// How many owners it was stored for; 0 where it is known to be dead.
    pub(crate) owners: usize,
    /// Where it is, if an owner lives here.
    pub(crate) live: Option<Location>,
    /// When it was accepted, milliseconds since the Unix epoch, by the ids of its owners.
    pub(crate) accepted_ms: Option<u64>,
    /// When the last of its owners that died here died, milliseconds since the Unix epoch, if any is remembered.
    pub(crate) died_ms: Option<u64>,
}

impl Survey {
    /// Says whether any item, live or deleted, names a place in this segment; `None` where that is not known.
    pub(crate) fn is_owned(&self) -> Option<bool> {
        match self {
            Self::Unknown(_) => None,
            Self::Known(slots) => {
                Some(slots.iter().any(|slot| slot.live.is_some() || slot.died_ms.is_some()))
            }
        }
    }
}

impl Metadata {
    /// Reads what a segment says of its owners, and each of them; the slots that its item says are dead are passed over.
    /// Costs two ranged reads of the segment, and a read unit an owner.
    pub(crate) async fn survey(
        &self,
        object_name: &str,
        size_bytes: u64,
        item: &SegmentItem,
    ) -> Result<Survey, MetadataError> {
        let labels = self.labels(object_name, size_bytes).await?;
        if labels.is_empty() {
            return Ok(Survey::Unknown("it has no labels"));
        }
        let mut slots = Vec::with_capacity(labels.len());
        for (slot, Labelled { stored_length, label }) in (0..).zip(labels) {
            if item.has(slot) {
                slots.push(Slot { stored_length, owners: 0, live: None, accepted_ms: None, died_ms: None });
                continue;
            }
            let Some(owners) = owners(label) else {
                return Ok(Survey::Unknown("the label of a message is missing or not valid"));
            };
            match self.survey_slot(object_name, slot, &owners).await? {
                Some(found) => slots.push(Slot { stored_length, ..found }),
                None => return Ok(Survey::Unknown("an item does not agree with its label")),
            }
        }
        Ok(Survey::Known(slots))
    }

    /// Returns the labels of a segment; none where it is not there.
    pub(crate) async fn labels(
        &self,
        object_name: &str,
        size_bytes: u64,
    ) -> Result<Vec<Labelled>, MetadataError> {
        let labels = self.segments.labels(object_name, size_bytes).await;
        labels.map_err(|error| MetadataError::Unavailable(error.to_string()))
    }

    /// Returns what a slot's owners hold; `None` where they are not those that the label says.
    async fn survey_slot(
        &self,
        object_name: &str,
        slot: u32,
        owners: &Owners,
    ) -> Result<Option<Slot>, MetadataError> {
        let count = owners.iter().len();
        let accepted_ms = owners.iter().map(|(_, message)| message.accepted_ms()).max();
        let mut found = Slot { stored_length: 0, owners: count, live: None, accepted_ms, died_ms: None };
        let mut items = stream::iter(numbered(owners).into_iter().map(|owner| self.mail_of(owner)))
            .buffer_unordered(self.config.writes_at_once);
        while let Some(owner) = items.next().await {
            let (ordinal, Some(mail)) = owner? else { continue };
            if mail.location.object_name != object_name {
                continue;
            }
            let is_same = mail.location.slot == slot
                && mail.owner.ordinal == ordinal
                && usize::try_from(mail.owner.count) == Ok(count);
            if !is_same {
                return Ok(None);
            }
            match mail.state {
                MailState::Live => found.live = Some(mail.location),
                MailState::Deleted { expires_ms, .. } => {
                    found.died_ms = found.died_ms.max(Some(expires_ms.saturating_sub(TOMBSTONE_MS)));
                }
            }
        }
        Ok(Some(found))
    }

    async fn mail_of(
        &self,
        (ordinal, mailbox, message): Numbered,
    ) -> Result<(u32, Option<Mail>), MetadataError> {
        Ok((ordinal, self.mail(&mailbox, &message).await?))
    }

    /// Reads a message's item strongly.
    pub(crate) async fn mail(
        &self,
        mailbox: &MailboxId,
        message: &MessageId,
    ) -> Result<Option<Mail>, MetadataError> {
        let key = mail_key(mailbox, message);
        let item = self.store.get(Table::MetaMail, &key, Consistency::Strong).await?;
        Ok(item.as_ref().map(Mail::from_item).transpose()?)
    }
}

/// An owner with its ordinal.
pub(super) type Numbered = (u32, MailboxId, MessageId);

/// Returns owners with their ordinals.
pub(super) fn numbered(owners: &Owners) -> Vec<Numbered> {
    let owners = (0..).zip(owners.iter());
    owners.map(|(ordinal, (mailbox, message))| (ordinal, mailbox.clone(), message.clone())).collect()
}

/// Reads a label.
pub(crate) fn owners(label: Bytes) -> Option<Owners> {
    Owners::from_label(label).ok()
}
