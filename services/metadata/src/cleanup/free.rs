//! The jobs that a removal and a delayed delivery leave behind.

use std::collections::BTreeSet;

use futures_util::{StreamExt as _, stream};
use puro_types::{MailboxId, MessageId};

use super::{Next, segments::GONE_MS};
use crate::{
    Metadata, MetadataError,
    maildrop::TOMBSTONE_MS,
    queue::Leased,
    retry::persist,
    schema::{
        FreeStep, Job, JobKind, Mail, MailState, Span, folder::announcement, folder::with_removal,
        folder_key, mail::attribute, mail_key, text,
    },
    store::{Check, Condition, Consistency, Item, Key, Query, StoreError, Table},
};

/// No call that removes messages takes longer; a bump that came this long after its begin came after all its writes.
const REMOVAL_MS: u64 = 5 * 60 * 1000;

/// How long tombstones stay at a time that a delivery older than them waits in the queue.
const WAITING_MS: u64 = 60 * 60 * 1000;

impl Metadata {
    /// Frees the bytes of a removal, and a day later takes its tombstones away.
    pub(super) async fn free(
        &self,
        leased: &Leased,
        span: &Span,
        step: FreeStep,
    ) -> Result<Next, MetadataError> {
        let job = &leased.job;
        let buried = self.buried(&job.mailbox, span, &job.id).await?;
        if buried.is_empty() {
            return Ok(Next::Finished);
        }
        let now_ms = self.clock.now_ms();
        let again = |step, due_ms| {
            let kind = JobKind::Free { span: span.clone(), step };
            Ok(Next::Again(Job { kind, attempts: 0, ..job.clone() }, due_ms))
        };
        let (ids, mails): (Vec<MessageId>, Vec<Mail>) = buried.into_iter().unzip();
        match step {
            FreeStep::Bytes if !self.was_announced(job).await? => {
                self.announce_late(job).await?;
                again(FreeStep::Announced, now_ms + self.config.grace_ms())
            }
            FreeStep::Bytes | FreeStep::Announced => {
                self.free_bytes(&mails).await?;
                // The last tombstone was made soon after the job.
                let expired_ms = job.created_ms + REMOVAL_MS + TOMBSTONE_MS;
                again(FreeStep::Tombstones, expired_ms.max(now_ms + GONE_MS))
            }
            FreeStep::Tombstones if self.waiting().await?.has_before(job.created_ms + 2 * REMOVAL_MS) => {
                // It may be a delivery of one of these, which must find that the user has deleted it.
                again(step, now_ms + WAITING_MS)
            }
            FreeStep::Tombstones => {
                self.forget_segments(&mails).await?;
                self.unbury(job, ids).await?;
                Ok(Next::Finished)
            }
        }
    }

    /// Returns the messages that carry this removal's id.
    async fn buried(
        &self,
        mailbox: &MailboxId,
        span: &Span,
        removal: &str,
    ) -> Result<Vec<(MessageId, Mail)>, MetadataError> {
        let mut found = Vec::new();
        let mut take = |key: &Key, item: &Item| -> Result<(), MetadataError> {
            let mail = Mail::from_item(item)?;
            if matches!(&mail.state, MailState::Deleted { removal: by, .. } if by == removal) {
                let damaged = |_| MetadataError::Internal(format!("{:?} is no message id", key.sort));
                found.push((key.sort.parse().map_err(damaged)?, mail));
            }
            Ok(())
        };
        let (first, last, mut missing) = match span {
            Span::Range { first, last } => (first, last, BTreeSet::new()),
            Span::Named(ids) => match (ids.first(), ids.last()) {
                (Some(first), Some(last)) => (first, last, ids.clone()),
                _ => return Ok(Vec::new()),
            },
        };
        let is_range = missing.is_empty();
        // Exclusive: just before the first, and behind the last.
        let mut after = first[..first.len().saturating_sub(1)].to_owned();
        loop {
            let query = Query {
                table: Table::MetaMail,
                partition: mailbox.as_str().to_owned(),
                after,
                before: Some(format!("{last}~")),
                // Named ones mostly lie side by side: one page has them, or the rest is fetched one by one.
                limit: if is_range { 0 } else { missing.len() + 8 },
                consistency: Consistency::Strong,
            };
            let page = self.store.query(&query).await?;
            for (key, item) in &page.items {
                if is_range || missing.remove(&key.sort) {
                    take(key, item)?;
                }
            }
            match page.next {
                Some(next) if is_range => after = next.sort,
                Some(next) => {
                    missing.retain(|id| *id > next.sort);
                    break;
                }
                None => {
                    missing.clear();
                    break;
                }
            }
        }
        for id in missing {
            let key = Key { partition: mailbox.as_str().to_owned(), sort: id };
            if let Some(item) = self.store.get(Table::MetaMail, &key, Consistency::Strong).await? {
                take(&key, &item)?;
            }
        }
        Ok(found)
    }

    /// Says whether the folder was bumped after the removal's last tombstone, so that no listing made since then, or
    /// still held as current, has the messages.
    async fn was_announced(&self, job: &Job) -> Result<bool, MetadataError> {
        let folder = self.folder(&job.mailbox, Consistency::Strong).await?;
        Ok(folder.version == 0
            || folder.last_removal == job.id
            || folder.updated_ms > job.created_ms.saturating_add(REMOVAL_MS))
    }

    async fn announce_late(&self, job: &Job) -> Result<(), MetadataError> {
        let now_ms = self.clock.now_ms();
        let bumped = persist(self.patience(), self.random.as_ref(), |_| {
            let bump = with_removal(announcement(now_ms), &job.id);
            let exists = Condition(vec![Check::Exists]);
            self.store.update(Table::Folder, folder_key(&job.mailbox), bump, exists)
        });
        match bumped.await {
            // A folder that is gone is listed by nobody.
            Ok(_) | Err(StoreError::ConditionFailed(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes tombstones away.
    async fn unbury(&self, job: &Job, ids: Vec<MessageId>) -> Result<(), MetadataError> {
        let mut gone = stream::iter(ids.into_iter().map(|id| self.unbury_one(job, id)))
            .buffer_unordered(self.config.writes_at_once);
        while let Some(gone) = gone.next().await {
            gone?;
        }
        Ok(())
    }

    async fn unbury_one(&self, job: &Job, id: MessageId) -> Result<(), StoreError> {
        let deleted = persist(self.patience(), self.random.as_ref(), |_| {
            let ours = Check::Equals(attribute::REMOVAL.to_owned(), text(&job.id));
            self.store.delete(Table::MetaMail, mail_key(&job.mailbox, &id), Condition(vec![ours]))
        });
        match deleted.await {
            Ok(()) | Err(StoreError::ConditionFailed(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Tries a delivery again that could not be finished when the message was accepted.
    pub(super) async fn deliver_again(
        &self,
        leased: &Leased,
        message: &MessageId,
        mail: &Mail,
    ) -> Result<Next, MetadataError> {
        let mailbox = &leased.job.mailbox;
        let folder = self.folder(mailbox, Consistency::Strong).await?;
        if self.clock.now_ms() >= leased.until_ms {
            // This worker stood still, perhaps for days: another may have delivered the message since, its reader deleted
            // it, and the tombstone gone.
            return Ok(Next::Lost);
        }
        let placed = self.place(mailbox, message, mail).await?;
        if folder.removed {
            // The account went while the message waited. Its share in the bytes goes the way of all others.
            tracing::info!(%message, "a queued delivery is dropped: the account was removed");
            self.remove(mailbox, std::slice::from_ref(message)).await?;
        } else {
            self.announce(mailbox, message, mail, placed).await?;
        }
        Ok(Next::Finished)
    }
}
