//! Messages under the ids that they have.
//!
//! The order is that of a delivery: the bytes were stored before, the items come, then one bump of the folder for all
//! of them. A crash between leaves messages that are there and unannounced; the import is run again, finds them, and
//! bumps.

use std::collections::BTreeSet;

use futures_util::{StreamExt as _, stream};
use puro_api::model::{MessageOutcome, StoredMessage};
use puro_types::{Location, MailboxId, MessageId};

use crate::{
    Metadata, MetadataError,
    delivery::check_location,
    retry::{Before, persist},
    schema::{
        Counts, Mail, MailState, Owner,
        folder::{announcement, uncertain, with_drift},
        folder_key,
        mail::is_deleted_by,
        mail_key,
    },
    store::{Check, Condition, Consistency, Query, StoreError, Table},
};

/// Messages of one page: what is given for 0, and at most.
const PAGE_USUAL: u32 = 500;
const PAGE_MAX: u32 = 1_000;
/// Messages put by one call at most.
const PUT_MAX: usize = 500;
/// Attempts at a tombstone that others change at the same time.
const RACES_MAX: usize = 4;

/// What became of one message.
struct Put {
    outcome: MessageOutcome,
    /// What it adds to the folder, where that is known.
    counts: Counts,
    /// It may or may not be in the folder's counters.
    doubtful: bool,
}

impl Metadata {
    /// Returns a page of a mailbox's messages, the deleted ones of the last day among them, and where the next begins:
    /// those with ids behind `after`, up to `until` if given.
    ///
    /// # Errors
    /// `Unavailable` where the store cannot answer.
    pub async fn list_stored(
        &self,
        mailbox: &MailboxId,
        after: &str,
        until: Option<&MessageId>,
        limit: u32,
    ) -> Result<(Vec<StoredMessage>, Option<String>), MetadataError> {
        let limit = if limit == 0 { PAGE_USUAL } else { limit.min(PAGE_MAX) };
        let query = Query {
            table: Table::MetaMail,
            partition: mailbox.as_str().to_owned(),
            after: after.to_owned(),
            // Exclusive: just behind the id, since no identifier has a `~`.
            before: until.map(|id| format!("{id}~")),
            limit: usize::try_from(limit).unwrap_or(1),
            consistency: Consistency::Strong,
        };
        let page = self.store.query(&query).await?;
        let mut messages = Vec::with_capacity(page.items.len());
        for (key, item) in page.items {
            let mail = Mail::from_item(&item)?;
            let damaged = |_| MetadataError::Internal(format!("{:?} is no message id", key.sort));
            let location = (mail.state == MailState::Live).then_some(mail.location);
            messages.push(StoredMessage { id: key.sort.parse().map_err(damaged)?, location });
        }
        Ok((messages, page.next.map(|key| key.sort)))
    }

    /// Puts messages whose bytes are stored, and tells of each what became of it. `undelete`: tombstones give way.
    ///
    /// # Errors
    /// `NotFound` where the mailbox was removed; `Invalid`; `Unavailable` or `OutcomeUnknown` where some may be
    /// missing.
    pub async fn put_messages(
        &self,
        mailbox: &MailboxId,
        messages: Vec<(MessageId, Location)>,
        undelete: bool,
    ) -> Result<Vec<MessageOutcome>, MetadataError> {
        let ids: BTreeSet<&MessageId> = messages.iter().map(|(id, _)| id).collect();
        if messages.len() > PUT_MAX || ids.len() < messages.len() {
            return Err(MetadataError::Invalid(format!("at most {PUT_MAX} messages, each once")));
        }
        messages.iter().try_for_each(|(_, location)| check_location(location))?;
        if self.folder(mailbox, Consistency::Strong).await?.removed {
            return Err(MetadataError::NotFound("the mailbox was removed".to_owned()));
        }
        let puts: Vec<Result<Put, StoreError>> = stream::iter(
            messages.into_iter().map(|(id, location)| self.put_one(mailbox, id, location, undelete)),
        )
        .buffered(self.config.writes_at_once)
        .collect()
        .await;
        self.announce_puts(mailbox, &puts).await?;
        puts.into_iter().map(|put| Ok(put?.outcome)).collect()
    }

    async fn put_one(
        &self,
        mailbox: &MailboxId,
        id: MessageId,
        location: Location,
        undelete: bool,
    ) -> Result<Put, StoreError> {
        let accepted_ms = id.accepted_ms();
        // Its bytes were stored for it alone, whoever else had the message where it comes from.
        let owner = Owner { ordinal: 0, count: 1 };
        let mail = Mail { location, accepted_ms, owner, state: MailState::Live };
        let counts = mail.counts(&id);
        let settled = |outcome| Ok(Put { outcome, counts: Counts::default(), doubtful: false });
        let mut condition = Condition(vec![Check::Absent]);
        for _ in 0..RACES_MAX {
            let put = persist(self.patience(), self.random.as_ref(), |_| {
                self.store.put(Table::MetaMail, mail_key(mailbox, &id), mail.to_item(), condition.clone())
            });
            let found = match put.await {
                Ok(()) => return Ok(Put { outcome: MessageOutcome::Added, counts, doubtful: false }),
                Err(StoreError::ConditionFailed(found)) => found,
                Err(error) => return Err(error),
            };
            let Some(found) = found else {
                // A tombstone that was just taken away.
                condition = Condition(vec![Check::Absent]);
                continue;
            };
            let known = Mail::from_item(&found)?;
            match known.state {
                // An earlier attempt, of this call or of one whose answer was lost: it may not be announced yet.
                MailState::Live if known.location == mail.location => {
                    return Ok(Put {
                        outcome: MessageOutcome::Added,
                        counts: Counts::default(),
                        doubtful: true,
                    });
                }
                MailState::Live if known.size_bytes() == mail.size_bytes() => {
                    return settled(MessageOutcome::Present);
                }
                MailState::Live => return settled(MessageOutcome::Different),
                MailState::Deleted { .. } if !undelete => return settled(MessageOutcome::Deleted),
                // The job that would have freed the old bytes does not find them any more: they are left to the audit.
                MailState::Deleted { removal, .. } => condition = is_deleted_by(&removal),
            }
        }
        Err(StoreError::Unavailable(format!("{id} is being changed by others")))
    }

    /// Bumps the folder once for all that was put.
    async fn announce_puts(
        &self,
        mailbox: &MailboxId,
        puts: &[Result<Put, StoreError>],
    ) -> Result<(), MetadataError> {
        let mut counts = Counts::default();
        let (mut added, mut doubtful) = (false, false);
        for put in puts {
            match put {
                Ok(put) => {
                    added |= put.counts.messages > 0;
                    doubtful |= put.doubtful;
                    counts.messages += put.counts.messages;
                    counts.bytes = counts.bytes.saturating_add(put.counts.bytes);
                    counts.digest += put.counts.digest;
                }
                Err(error) => doubtful |= matches!(error, StoreError::OutcomeUnknown(_)),
            }
        }
        if !added && !doubtful {
            return Ok(());
        }
        let now_ms = self.clock.now_ms();
        persist(self.patience(), self.random.as_ref(), |before| {
            let bump = match before {
                Before::Unknown => uncertain(now_ms),
                _ if !added => with_drift(announcement(now_ms)),
                _ if doubtful => with_drift(counts.bump(now_ms)),
                _ => counts.bump(now_ms),
            };
            self.store.update(Table::Folder, folder_key(mailbox), bump, Condition::default())
        })
        .await?;
        Ok(())
    }
}
