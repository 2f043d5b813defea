//! QUIT: removes the marked messages.
//!
//! The order of the writes, and what a crash after each leaves:
//! 1. one `queue` item that names the span of the messages and is due when no snapshot reaches back any more: it finds
//!    no message that carries its id, and goes.
//! 2. each message becomes a tombstone that carries the id of that job, on the condition that it is live: the client got
//!    no +OK; the ones done are freed by the job, the others are there still.
//! 3. one bump of the folder with the id of the job: all is done. Where it is missing the job sees that the folder was
//!    not bumped since, bumps it, and waits once more before it frees anything.
//!
//! So nothing that is live is ever freed, since the job believes the items only, and no window leaks bytes.

use std::collections::BTreeSet;

use futures_util::{StreamExt as _, stream};
use puro_types::{MailboxId, MessageId};

use crate::{
    Metadata, MetadataError,
    retry::{Before, persist},
    schema::{
        Folder, FreeStep, Job, JobKind, Mail, MailState, Span,
        folder::{Counts, announcement, uncertain, with_drift, with_removal},
        folder_key,
        mail::{attribute, live, tombstone},
        mail_key,
    },
    store::{Check, Condition, Item, StoreError, Table},
};

/// How long a tombstone stays: no retry of a delivery comes later.
pub(crate) const TOMBSTONE_MS: u64 = 24 * 60 * 60 * 1000;
/// Messages of one removal at most.
const MESSAGES_MAX: usize = 1_000_000;

/// What became of one message.
enum Removed {
    /// Live until now.
    Now(Counts),
    /// Removed before, by another call.
    Before,
}

/// What became of all of them.
#[derive(Default)]
struct Tally {
    removed: u32,
    counts: Counts,
    /// Some were removed before, or perhaps now: the counters may not know.
    doubtful: bool,
    failure: Option<StoreError>,
}

impl Metadata {
    /// Removes messages and returns how many were live until now. Safe to call again.
    ///
    /// # Errors
    /// `Unavailable` or `OutcomeUnknown` where some message may still be there: the client must not be told +OK.
    pub async fn remove(&self, mailbox: &MailboxId, ids: &[MessageId]) -> Result<u32, MetadataError> {
        let ids: BTreeSet<MessageId> = ids.iter().cloned().collect();
        if ids.len() > MESSAGES_MAX {
            return Err(MetadataError::Invalid(format!("more than {MESSAGES_MAX} messages")));
        }
        let Some(span) = Span::of(&ids) else { return Ok(0) };
        let now_ms = self.clock.now_ms();
        let job = Job {
            id: self.job_id()?,
            created_ms: now_ms,
            attempts: 0,
            mailbox: mailbox.clone(),
            kind: JobKind::Free { span, step: FreeStep::Bytes },
        };
        self.enqueue(&job, now_ms + self.config.grace_ms(), self.patience()).await?;
        let tally = self.bury_all(mailbox, &ids, &job.id).await;
        if tally.removed > 0 || tally.doubtful {
            let folder = self.announce_removal(mailbox, &tally, &job.id).await?;
            if tally.failure.is_none() {
                self.listings.apply_removal(mailbox, &ids, &folder);
            }
        }
        match tally.failure {
            None => Ok(tally.removed),
            Some(error) => Err(error.into()),
        }
    }

    async fn bury_all(&self, mailbox: &MailboxId, ids: &BTreeSet<MessageId>, removal: &str) -> Tally {
        let mut outcomes = stream::iter(ids.iter().cloned().map(|id| self.bury(mailbox, id, removal)))
            .buffer_unordered(self.config.writes_at_once);
        let mut tally = Tally::default();
        while let Some(outcome) = outcomes.next().await {
            match outcome {
                Ok(Removed::Now(counts)) => {
                    tally.removed += 1;
                    tally.counts.messages -= counts.messages;
                    tally.counts.bytes -= counts.bytes;
                    tally.counts.digest -= counts.digest;
                }
                Ok(Removed::Before) => tally.doubtful = true,
                Err(error) => {
                    tally.doubtful |= matches!(error, StoreError::OutcomeUnknown(_));
                    tally.failure = Some(error);
                }
            }
        }
        tally
    }

    /// Turns a live message into a tombstone.
    async fn bury(&self, mailbox: &MailboxId, id: MessageId, removal: &str) -> Result<Removed, StoreError> {
        let now_ms = self.clock.now_ms();
        let buried = persist(self.patience(), self.random.as_ref(), |_| {
            let update = tombstone(now_ms, now_ms + TOMBSTONE_MS, removal);
            let condition = Condition(vec![Check::Equals(attribute::STATE.to_owned(), live())]);
            self.store.update(Table::MetaMail, mail_key(mailbox, &id), update, condition)
        });
        match buried.await {
            Ok(item) => Ok(Removed::Now(Mail::from_item(&item)?.counts(&id))),
            Err(StoreError::ConditionFailed(found)) => buried_before(&id, found, removal),
            Err(error) => Err(error),
        }
    }

    /// Bumps the folder and returns it.
    async fn announce_removal(
        &self,
        mailbox: &MailboxId,
        tally: &Tally,
        removal: &str,
    ) -> Result<Folder, MetadataError> {
        let now_ms = self.clock.now_ms();
        let item = persist(self.patience(), self.random.as_ref(), |before| {
            let bump = match before {
                Before::Unknown => uncertain(now_ms),
                _ if tally.removed == 0 => with_drift(announcement(now_ms)),
                _ if tally.doubtful => with_drift(tally.counts.bump(now_ms)),
                _ => tally.counts.bump(now_ms),
            };
            let bump = with_removal(bump, removal);
            self.store.update(Table::Folder, folder_key(mailbox), bump, Condition::default())
        })
        .await?;
        Ok(Folder::from_item(&item)?)
    }
}

/// Reads why a message was not live.
fn buried_before(id: &MessageId, found: Option<Item>, removal: &str) -> Result<Removed, StoreError> {
    let Some(item) = found else { return Ok(Removed::Before) };
    let mail = Mail::from_item(&item)?;
    Ok(match &mail.state {
        // An attempt of this very call whose answer was lost.
        MailState::Deleted { removal: by, .. } if by == removal => Removed::Now(mail.counts(id)),
        _ => Removed::Before,
    })
}
