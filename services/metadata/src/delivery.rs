//! Puts accepted messages into mailboxes: steps 2 to 4 of a delivery.
//!
//! The windows between the writes, for one recipient:
//! * before the `meta_mail` item: nothing is there; the sender has no 250 and comes again.
//! * between the item and the folder's bump: the message is there, unannounced. The sender has no 250 and comes again;
//!   any later bump of the folder shows the message. Where this process lives on but the bump fails, a queue item
//!   makes it, and only then is the message acknowledged.
//! * after the bump: done; a repeat finds the item and bumps the version once more, which costs a listing, no more.
//!
//! A bump after "already there" changes the version alone and marks the counters as doubtful: whether an earlier attempt
//! counted the message cannot be known. A full listing repairs them.

use std::{collections::BTreeSet, time::Duration};

use futures_util::{StreamExt as _, stream};
use puro_api::model::{Delivered, Delivery};
use puro_types::{Location, MailboxId, MessageId, TransactionId};

use crate::{
    Metadata, MetadataError,
    retry::{Before, Patience, persist},
    schema::{Job, JobKind, Mail, MailState, Owner, folder::uncertain, folder_key, mail_key},
    store::{Check, Condition, Item, PutCall, StoreError, Table, UpdateCall},
};

/// Octets of a segment's name at most; it keeps a `meta_mail` item within one write unit.
pub const OBJECT_NAME_MAX: usize = 400;
/// Mailboxes of one transaction at most.
pub const RECIPIENTS_MAX: usize = puro_api::model::MAILBOXES_MAX;
/// The first attempt of a queued delivery comes after this.
const FIRST_RETRY_MS: u64 = 2_000;

/// One recipient's copy.
#[derive(Debug, Clone)]
struct Copy {
    mailbox: MailboxId,
    message: MessageId,
    mail: Mail,
}

/// What became of a copy's item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placed {
    /// It was put now.
    New,
    /// It was there before, announced or not.
    Found,
    /// It was there before and the user has deleted it since.
    Deleted,
}

impl Metadata {
    /// Delivers a message to its mailboxes. Safe to call again with the same time, mailboxes and location.
    ///
    /// # Errors
    /// `Invalid` for a request that can never succeed. `Unavailable` or `OutcomeUnknown` where some recipient has
    /// neither the message nor a place in the queue: the sender must be told to come again.
    pub async fn deliver(&self, delivery: &Delivery) -> Result<Delivered, MetadataError> {
        let copies = copies(delivery)?;
        let outcomes: Vec<Result<bool, StoreError>> =
            stream::iter(copies.into_iter().map(|copy| self.deliver_copy(&delivery.transaction, copy)))
                .buffer_unordered(self.config.writes_at_once)
                .collect()
                .await;
        let mut delivered = Delivered { delivered: 0, queued: 0 };
        let mut failure = None;
        for outcome in outcomes {
            match outcome {
                Ok(true) => delivered.delivered += 1,
                Ok(false) => delivered.queued += 1,
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            Some(error) => Err(error.into()),
            None => Ok(delivered),
        }
    }

    /// Delivers one copy, or queues it. Returns whether the message is in the mailbox.
    async fn deliver_copy(&self, transaction: &TransactionId, copy: Copy) -> Result<bool, StoreError> {
        let placed = self.place_and_announce(&copy).await;
        let failure = match &placed {
            Ok(Ok(())) => return Ok(true),
            Ok(Err(error)) | Err(error) => error.clone(),
        };
        if matches!(failure, StoreError::Internal(_)) {
            return Err(failure);
        }
        // The transaction's id is what the sender was told as the queue id.
        tracing::warn!(
            queue_id = %transaction,
            message = %copy.message,
            error = %failure,
            "a delivery goes to the queue"
        );
        let now_ms = self.clock.now_ms();
        let job = Job {
            // The id is unique in the mailbox only, which the hash in it makes unique enough everywhere.
            id: format!("{}{}", copy.message, copy.mailbox),
            created_ms: now_ms,
            attempts: 0,
            mailbox: copy.mailbox,
            kind: JobKind::Deliver { message: copy.message, mail: Box::new(copy.mail) },
        };
        self.enqueue(&job, now_ms + FIRST_RETRY_MS, self.patience()).await?;
        Ok(placed.is_ok())
    }

    /// Puts the item of a copy and bumps the folder, at best with one wait for both. The outer result tells of the item,
    /// the inner of the bump.
    async fn place_and_announce(&self, copy: &Copy) -> Result<Result<(), StoreError>, StoreError> {
        let Copy { mailbox, message, mail } = copy;
        let patience = self.patience();
        let put = put_of(mailbox, message, mail);
        let bump = UpdateCall {
            table: Table::Folder,
            key: folder_key(mailbox),
            update: mail.counts(message).bump(self.clock.now_ms()),
            condition: Condition::default(),
        };
        let both = persist(patience, self.random.as_ref(), |_| {
            self.store.put_then_update(put.clone(), bump.clone())
        });
        let (placed, bumps) = match both.await {
            Ok(Ok(_)) => return Ok(Ok(())),
            Ok(Err(StoreError::OutcomeUnknown(_))) => (Placed::New, Bumps::after_one(Before::Unknown)),
            Ok(Err(StoreError::Unavailable(_))) => (Placed::New, Bumps::after_one(Before::Unavailable)),
            Ok(Err(error)) => return Ok(Err(error)),
            Err(StoreError::ConditionFailed(found)) => (found_as(found.as_ref())?, Bumps::NONE),
            Err(error) => return Err(error),
        };
        Ok(self.bump(copy, placed, bumps).await)
    }

    /// Puts the item of a copy unless it is there.
    pub(crate) async fn place(
        &self,
        mailbox: &MailboxId,
        message: &MessageId,
        mail: &Mail,
    ) -> Result<Placed, StoreError> {
        let put = put_of(mailbox, message, mail);
        let put = persist(self.patience(), self.random.as_ref(), |_| {
            let PutCall { table, key, item, condition } = put.clone();
            self.store.put(table, key, item, condition)
        });
        match put.await {
            Ok(()) => Ok(Placed::New),
            Err(StoreError::ConditionFailed(found)) => found_as(found.as_ref()),
            Err(error) => Err(error),
        }
    }

    /// Bumps the folder for a copy that is in place.
    pub(crate) async fn announce(
        &self,
        mailbox: &MailboxId,
        message: &MessageId,
        mail: &Mail,
        placed: Placed,
    ) -> Result<(), StoreError> {
        let copy = Copy { mailbox: mailbox.clone(), message: message.clone(), mail: mail.clone() };
        self.bump(&copy, placed, Bumps::NONE).await
    }

    async fn bump(&self, copy: &Copy, placed: Placed, made: Bumps) -> Result<(), StoreError> {
        let Copy { mailbox, message, mail } = copy;
        if placed == Placed::Deleted {
            return Ok(());
        }
        let now_ms = self.clock.now_ms();
        let patience = Patience::new(WRITE_ATTEMPTS - made.count, self.config.write_patience);
        persist(patience, self.random.as_ref(), |before| {
            // A repeat of a bump that was perhaps applied must not count the message twice.
            let unknown = before == Before::Unknown || made.outcome == Before::Unknown;
            let counted = placed == Placed::New && !unknown;
            let update = if counted { mail.counts(message).bump(now_ms) } else { uncertain(now_ms) };
            self.store.update(Table::Folder, folder_key(mailbox), update, Condition::default())
        })
        .await?;
        Ok(())
    }

    /// Returns the patience of one write.
    pub(crate) fn patience(&self) -> Patience {
        Patience::new(WRITE_ATTEMPTS, self.config.write_patience)
    }
}

/// Attempts at a bump that were made already.
#[derive(Debug, Clone, Copy)]
struct Bumps {
    count: u32,
    outcome: Before,
}

impl Bumps {
    const NONE: Self = Self { count: 0, outcome: Before::Nothing };

    const fn after_one(outcome: Before) -> Self {
        Self { count: 1, outcome }
    }
}

/// Attempts of one write, from 20 ms apart: enough for a lost connection, not for an outage.
const WRITE_ATTEMPTS: u32 = 4;
/// How long one write may take, its repeats included.
pub(crate) const WRITE_PATIENCE: Duration = Duration::from_secs(5);

fn put_of(mailbox: &MailboxId, message: &MessageId, mail: &Mail) -> PutCall {
    PutCall {
        table: Table::MetaMail,
        key: mail_key(mailbox, message),
        item: mail.to_item(),
        condition: Condition(vec![Check::Absent]),
    }
}

fn found_as(found: Option<&Item>) -> Result<Placed, StoreError> {
    let Some(item) = found else { return Ok(Placed::Found) };
    Ok(match Mail::from_item(item)?.state {
        MailState::Live => Placed::Found,
        MailState::Deleted { .. } => Placed::Deleted,
    })
}

/// Returns the copies that a delivery makes, in the order of the mailboxes' ids, which numbers the owners.
fn copies(delivery: &Delivery) -> Result<Vec<Copy>, MetadataError> {
    check_location(&delivery.location)?;
    if delivery.accepted_ms >= 1 << 42 {
        return Err(MetadataError::Invalid("accepted_ms is beyond 42 bits".to_owned()));
    }
    let mailboxes: BTreeSet<&MailboxId> = delivery.mailboxes.iter().collect();
    let count = match u32::try_from(mailboxes.len()) {
        Ok(count @ 1..) if mailboxes.len() <= RECIPIENTS_MAX => count,
        _ => return Err(MetadataError::Invalid(format!("between 1 and {RECIPIENTS_MAX} mailboxes"))),
    };
    let copy = |(ordinal, mailbox): (u32, &MailboxId)| Copy {
        mailbox: mailbox.clone(),
        message: MessageId::new(delivery.accepted_ms, &delivery.transaction, mailbox),
        mail: Mail {
            location: delivery.location.clone(),
            accepted_ms: delivery.accepted_ms,
            owner: Owner { ordinal, count },
            state: MailState::Live,
        },
    };
    Ok((0..count).zip(mailboxes).map(copy).collect())
}

/// Refuses a location that could not be stored, or would not be understood when read.
pub(crate) fn check_location(location: &Location) -> Result<(), MetadataError> {
    let sizes = [
        location.offset,
        location.header.length,
        location.header.stored_length,
        location.body.length,
        location.body.stored_length,
    ];
    // 2^60 leaves room for every sum.
    let sane = sizes.iter().all(|size| *size < 1 << 60)
        && (1..=OBJECT_NAME_MAX).contains(&location.object_name.len())
        && location.bucket.len() <= 63
        && location.slot < location.slots;
    if sane { Ok(()) } else { Err(MetadataError::Invalid("the location is not valid".to_owned())) }
}
