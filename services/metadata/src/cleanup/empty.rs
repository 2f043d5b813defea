//! Empties the mailbox of an account that was removed.
//!
//! The job is put before the account's item goes. It looks whether the account is really gone: where the removal failed
//! half-way, the account lives and the job is dropped.

use puro_types::{MailboxId, MessageId};

use super::Next;
use crate::{
    Metadata, MetadataError,
    queue::Leased,
    retry::persist,
    schema::{
        Emptying, Entry, Job, JobKind, Mail, MailState,
        folder::{is_given_up, is_of_version, removal_of_mailbox},
        folder_key,
    },
    store::{Consistency, Query, StoreError, Table},
};

/// A delivery that was under way when the account went is over by then.
const SWEEP_MS: u64 = 24 * 60 * 60 * 1000;
/// A folder marked as removed stays this long, to turn away deliveries that waited in the queue.
const FOLDER_MS: u64 = 30 * 24 * 60 * 60 * 1000;
/// How long a mark is fresh. No call that removes messages takes longer.
const FRESH_MS: u64 = 5 * 60 * 1000;
/// Attempts to mark a folder that others change at the same time.
const RACES_MAX: usize = 8;
/// Messages removed at once.
const BATCH: usize = 500;

impl Metadata {
    pub(super) async fn empty(
        &self,
        leased: &Leased,
        email: &str,
        step: Emptying,
    ) -> Result<Next, MetadataError> {
        let job = &leased.job;
        let mut found = false;
        loop {
            if !self.give_up(email, &job.mailbox).await? {
                tracing::warn!(job = job.id, "the account is there: its mailbox stays");
                return Ok(Next::Finished);
            }
            let live = self.live_messages(&job.mailbox).await?;
            if live.is_empty() {
                break;
            }
            found = true;
            self.remove(&job.mailbox, &live).await?;
            if !self.renew(leased).await? {
                return Ok(Next::Lost);
            }
        }
        let now_ms = self.clock.now_ms();
        let again = |step, due_ms| {
            let kind = JobKind::Empty { email: email.to_owned(), step };
            Ok(Next::Again(Job { kind, attempts: 0, ..job.clone() }, due_ms))
        };
        match step {
            Emptying::Messages => again(Emptying::Sweep, now_ms + SWEEP_MS),
            _ if found => again(Emptying::Sweep, now_ms + SWEEP_MS),
            Emptying::Sweep => again(Emptying::Folder, now_ms + FOLDER_MS),
            Emptying::Folder => {
                let gone = persist(self.patience(), self.random.as_ref(), |_| {
                    self.store.delete(Table::Folder, folder_key(&job.mailbox), is_given_up())
                });
                match gone.await {
                    // An import has given it back, or it is gone.
                    Ok(()) | Err(StoreError::ConditionFailed(_)) => Ok(Next::Finished),
                    Err(error) => Err(error.into()),
                }
            }
        }
    }

    async fn is_in_use(&self, email: &str, mailbox: &MailboxId) -> Result<bool, MetadataError> {
        Ok(match self.entry(email, Consistency::Strong).await? {
            Some(Entry::User(account)) => account.mailbox == *mailbox,
            _ => false,
        })
    }

    /// Marks the folder, so that it is listed no more and queued deliveries are dropped, unless the account is there.
    ///
    /// An import may give the mailbox back at any time: it makes the account and then changes the folder, so either it
    /// is seen here or the folder is not what was read before. While the mark is fresh imports keep away
    /// ([`crate::transfer`]): nothing of theirs is among the messages that are removed under it.
    async fn give_up(&self, email: &str, mailbox: &MailboxId) -> Result<bool, MetadataError> {
        for _ in 0..RACES_MAX {
            let folder = self.folder(mailbox, Consistency::Strong).await?;
            if self.is_in_use(email, mailbox).await? {
                return Ok(false);
            }
            let now_ms = self.clock.now_ms();
            let mark = removal_of_mailbox(now_ms, now_ms + FRESH_MS);
            let marked = persist(self.patience(), self.random.as_ref(), |_| {
                let condition = is_of_version(folder.version);
                self.store.update(Table::Folder, folder_key(mailbox), mark.clone(), condition)
            });
            match marked.await {
                Ok(_) => return Ok(true),
                // Changed since it was read, perhaps by an attempt whose answer was lost.
                Err(StoreError::ConditionFailed(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(MetadataError::Unavailable("the folder is being changed by others".to_owned()))
    }

    /// Returns some live messages; none only where there is none.
    async fn live_messages(&self, mailbox: &MailboxId) -> Result<Vec<MessageId>, MetadataError> {
        let mut live = Vec::new();
        let mut after = String::new();
        loop {
            let query = Query {
                table: Table::MetaMail,
                partition: mailbox.as_str().to_owned(),
                after,
                before: None,
                limit: BATCH,
                consistency: Consistency::Strong,
            };
            let page = self.store.query(&query).await?;
            for (key, item) in page.items {
                if Mail::from_item(&item)?.state == MailState::Live {
                    let damaged = |_| MetadataError::Internal(format!("{:?} is no message id", key.sort));
                    live.push(key.sort.parse().map_err(damaged)?);
                }
            }
            match page.next {
                Some(next) if live.is_empty() => after = next.sort,
                _ => return Ok(live),
            }
        }
    }
}
