//! Compaction: what still lives of a mostly dead segment is copied to a new one, and the old one deleted.
//!
//! A job does it, put when more than half of a segment's slots are dead and due a day later. Its steps, each of which may
//! be done twice and by two workers, and what a crash behind each write leaves:
//! 1. *Copy.* The segment's labels name its owners, who are read strongly; what lives is copied. Until the job is put
//!    for the next step the copy is an orphan: the step is done again with another copy, and the audit takes the first.
//! 2. *Move.* Each owner's item gets the new place, on the condition that it is live and in the old one. Then each
//!    mailbox's folder is bumped, so that no listing with old places is given any more. A crash between leaves some
//!    moved; the step goes on with the same copy, and marks the counters of folders that were perhaps bumped before as
//!    doubtful. Owners that died meanwhile, or never came, are noted as dead in the copy, so that it dies with the rest.
//! 3. *Delete*, a day later, since sessions may hold old places: only when strong reads show that no owner lives in the
//!    segment, and no delivery into it waits. Nobody can come to live there any more: places are given by deliveries,
//!    all over by then, and by this job, to copies only.
//! 4. *Forget*, two days later: the segment's item goes.
//!
//! An audit reclaims what is a day old and has no owner: so a copy is used for half a day at most, then made anew.
//!
//! What it costs, for *n* owners of which *l* live, in *m* mailboxes: *l* + *m* + 16 write units (2 for the mark, 3 or 4 a
//! step for the job, and a little for slots with several owners), *n* + 3·*l* + 4 read units at most, one PUT and nine
//! GETs. What that is worth is in `docs/decisions`.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, stream};
use puro_types::{Location, MailboxId, MessageId};

use super::{
    Labelled, Next,
    segments::Dying,
    survey::{Numbered, Slot, Survey, numbered, owners},
};
use crate::{
    Metadata, MetadataError,
    queue::Leased,
    retry::{Before, persist},
    schema::{
        CompactStep, CopiedTo, Job, JobKind, Mail, MailState, Place, SegmentItem,
        folder::{Counts, uncertain},
        folder_key,
        mail::{attribute, live, moved},
        mail_key,
        segment::{not_thin, thin},
        segment_key, slot_key,
    },
    store::{Check, Condition, Consistency, Item, StoreError, Table},
};

/// A copy that is older is not used: the audit may have taken it for an orphan. Half of the audit's age limit.
const COPY_LASTS_MS: u64 = 12 * 60 * 60 * 1000;
/// How long a step waits that cannot go on because a delivery is in the way.
const IN_THE_WAY_MS: u64 = 60 * 60 * 1000;
/// How long a finished segment's item stays.
const FORGOTTEN_MS: u64 = 2 * 24 * 60 * 60 * 1000;
/// What a tombstone's time may be off by: clocks differ, and a removal takes its time.
const DIED_MARGIN_MS: u64 = 5 * 60 * 1000;

/// What became of one owner.
enum Moved {
    /// It lives in the copy since now.
    Now(Counts),
    /// It came to the copy before, or perhaps now: its folder may or may not know.
    Perhaps,
    /// It is not there and never will be.
    Not,
}

/// What a move did, mailbox by mailbox.
#[derive(Default)]
struct Moves {
    /// What to add to the folder's counters; `None` where that is not known.
    folders: BTreeMap<MailboxId, Option<Counts>>,
}

impl Metadata {
    /// Puts a segment into the queue whose dead slots have become the greater part.
    pub(super) async fn note_thin(&self, object_name: &str) -> Result<(), StoreError> {
        let now_ms = self.clock.now_ms();
        let job = Job {
            id: job_id(object_name),
            created_ms: now_ms,
            attempts: 0,
            mailbox: nobody(),
            kind: JobKind::Compact { object_name: object_name.to_owned(), step: CompactStep::Copy },
        };
        // The job first: a crash between leaves a job more, and two do no harm.
        self.enqueue(&job, now_ms + self.config.compact_after_ms(), self.patience()).await?;
        persist(self.patience(), self.random.as_ref(), |_| {
            let exists = Condition(vec![Check::Exists]);
            self.store.update(Table::Segment, segment_key(object_name), thin(now_ms), exists)
        })
        .await?;
        Ok(())
    }

    /// Does a step of a compaction.
    pub(super) async fn compact(
        &self,
        leased: &Leased,
        object_name: &str,
        step: &CompactStep,
    ) -> Result<Next, MetadataError> {
        let now_ms = self.clock.now_ms();
        let again = |step, due_ms| {
            let kind = JobKind::Compact { object_name: object_name.to_owned(), step };
            Ok(Next::Again(Job { kind, attempts: 0, ..leased.job.clone() }, due_ms))
        };
        let spared_ms = now_ms + self.config.spared_ms();
        match step {
            CompactStep::Copy | CompactStep::Delete if self.waiting().await?.has(object_name) => {
                again(step.clone(), now_ms + IN_THE_WAY_MS)
            }
            CompactStep::Copy => match self.copy_live(object_name, now_ms).await? {
                Copied::To(to) => again(CompactStep::Move(to), now_ms),
                Copied::NothingLives => again(CompactStep::Delete, spared_ms),
                Copied::NotNow => Ok(Next::Finished),
            },
            CompactStep::Move(to) => {
                // Not at once: whatever made the copy useless must not have it made again and again.
                let anew = || again(CompactStep::Copy, now_ms + IN_THE_WAY_MS);
                if now_ms.saturating_sub(to.copied_ms) > COPY_LASTS_MS {
                    return anew();
                }
                if !self.renew(leased).await? {
                    return Ok(Next::Lost);
                }
                match self.move_owners(object_name, to).await? {
                    true => again(CompactStep::Delete, self.clock.now_ms() + self.config.spared_ms()),
                    false => anew(),
                }
            }
            CompactStep::Delete => match self.delete_copied(object_name).await? {
                Deleted::Yes => again(CompactStep::Forget, now_ms + FORGOTTEN_MS),
                Deleted::NotYet => again(CompactStep::Delete, now_ms + self.config.grace_ms()),
                Deleted::OwnersLive => again(CompactStep::Copy, now_ms + self.config.compact_after_ms()),
                Deleted::Never => Ok(Next::Finished),
            },
            CompactStep::Forget => {
                if let Some(item) = self.segment_item(object_name).await? {
                    for slot in item.shared_slots() {
                        self.forget(slot_key(object_name, slot)).await?;
                    }
                    self.forget(segment_key(object_name)).await?;
                }
                Ok(Next::Finished)
            }
        }
    }

    pub(crate) async fn segment_item(&self, object_name: &str) -> Result<Option<SegmentItem>, MetadataError> {
        let item = self.store.get(Table::Segment, &segment_key(object_name), Consistency::Strong).await?;
        Ok(item.as_ref().map(SegmentItem::from_item).transpose()?)
    }

    async fn copy_live(&self, object_name: &str, now_ms: u64) -> Result<Copied, MetadataError> {
        let Some(item) = self.segment_item(object_name).await? else { return Ok(Copied::NotNow) };
        if item.gone_ms != 0 {
            return Ok(Copied::NotNow);
        }
        let slots = match self.survey(object_name, 0, &item).await? {
            Survey::Known(slots) => slots,
            Survey::Unknown(why) => {
                tracing::info!(object_name, why, "a segment cannot be compacted");
                return Ok(Copied::NotNow);
            }
        };
        let all: u64 = slots.iter().map(|slot| slot.stored_length).sum();
        let lives = |slot: &&Slot| slot.live.is_some();
        let live_octets: u64 = slots.iter().filter(lives).map(|slot| slot.stored_length).sum();
        let places: Vec<Location> = slots.into_iter().filter_map(|slot| slot.live).collect();
        if places.is_empty() {
            return Ok(Copied::NothingLives);
        }
        if live_octets.saturating_mul(2) >= all {
            // Few messages live, but large ones. The next that dies has it looked at again.
            self.unmark_thin(object_name).await?;
            return Ok(Copied::NotNow);
        }
        let copies = self.segments.copy(&places).await;
        let copies = copies.map_err(|error| MetadataError::Unavailable(error.to_string()))?;
        let Some(copies) = copies.filter(|copies| copies.len() == places.len()) else {
            tracing::error!(object_name, "a segment with live messages is damaged or lost: see the audit");
            return Ok(Copied::NotNow);
        };
        let Some(first) = copies.first() else { return Ok(Copied::NotNow) };
        tracing::info!(object_name, copy = first.object_name, live = copies.len(), "copied what lives");
        Ok(Copied::To(CopiedTo {
            bucket: first.bucket.clone(),
            object_name: first.object_name.clone(),
            first_offset: first.offset,
            slots: first.slots,
            copied_ms: now_ms,
        }))
    }

    async fn unmark_thin(&self, object_name: &str) -> Result<(), StoreError> {
        let unmarked = persist(self.patience(), self.random.as_ref(), |_| {
            let exists = Condition(vec![Check::Exists]);
            self.store.update(Table::Segment, segment_key(object_name), not_thin(), exists)
        });
        match unmarked.await {
            Ok(_) | Err(StoreError::ConditionFailed(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Moves all that live in the segment to the copy. False where the copy is not there.
    async fn move_owners(&self, object_name: &str, to: &CopiedTo) -> Result<bool, MetadataError> {
        let labels = self.labels(&to.object_name, 0).await?;
        if u32::try_from(labels.len()) != Ok(to.slots) {
            return Ok(false);
        }
        let mut moves = Moves::default();
        let mut dying = Dying { slots: to.slots, ..Dying::default() };
        let mut offset = to.first_offset;
        for (slot, Labelled { stored_length, label }) in (0..).zip(labels) {
            let Some(owners) = owners(label) else { return Ok(false) };
            let CopiedTo { bucket, object_name: copy, slots, .. } = to;
            let place =
                Place { bucket: bucket.clone(), object_name: copy.clone(), offset, slot, slots: *slots };
            offset += stored_length;
            let count = u32::try_from(owners.iter().len()).unwrap_or(u32::MAX);
            let owners = numbered(&owners).into_iter();
            let moves_of_slot = owners.map(|owner| self.move_owner(owner, object_name, &place, to.copied_ms));
            let mut moved = stream::iter(moves_of_slot).buffer_unordered(self.config.writes_at_once);
            while let Some(moved) = moved.next().await {
                let (ordinal, mailbox, moved) = moved?;
                match moved {
                    Moved::Not => dying.owner(slot, ordinal, count),
                    Moved::Now(counts) => moves.add(mailbox, Some(counts)),
                    Moved::Perhaps => moves.add(mailbox, None),
                }
            }
        }
        self.bury_in_copy(&to.object_name, &dying).await?;
        for (mailbox, counts) in moves.folders {
            self.bump_moved(&mailbox, counts).await?;
        }
        Ok(true)
    }

    async fn move_owner(
        &self,
        (ordinal, mailbox, message): Numbered,
        from: &str,
        to: &Place,
        copied_ms: u64,
    ) -> Result<(u32, MailboxId, Moved), MetadataError> {
        let moved = self.move_message(&mailbox, &message, from, to, copied_ms).await?;
        Ok((ordinal, mailbox, moved))
    }

    async fn move_message(
        &self,
        mailbox: &MailboxId,
        message: &MessageId,
        from: &str,
        to: &Place,
        copied_ms: u64,
    ) -> Result<Moved, MetadataError> {
        let Some(mail) = self.mail(mailbox, message).await? else { return Ok(Moved::Not) };
        let before = mail.location.object_name.as_str();
        if before == to.object_name {
            return Ok(Moved::Perhaps);
        }
        if before != from || mail.state != MailState::Live {
            return Ok(Moved::Not);
        }
        if self.clock.now_ms().saturating_sub(copied_ms) > COPY_LASTS_MS {
            // This worker stood still for half a day.
            return Err(MetadataError::Unavailable("the copy is too old".to_owned()));
        }
        let counts = Counts::of_move(message, &mail.location, to);
        let updated = persist(self.patience(), self.random.as_ref(), |_| {
            let in_place = Check::Equals(attribute::OBJECT_NAME.to_owned(), crate::schema::text(from));
            let condition = Condition(vec![Check::Equals(attribute::STATE.to_owned(), live()), in_place]);
            self.store.update(Table::MetaMail, mail_key(mailbox, message), moved(to), condition)
        });
        match updated.await {
            Ok(_) => Ok(Moved::Now(counts)),
            Err(StoreError::ConditionFailed(found)) => Ok(found_at(found.as_ref(), to)?),
            Err(error) => Err(error.into()),
        }
    }

    /// Notes who is dead in the copy, and deletes it if that is everybody.
    async fn bury_in_copy(&self, copy: &str, dying: &Dying) -> Result<(), MetadataError> {
        if dying.is_empty() || !self.is_dead(copy, dying).await? {
            return Ok(());
        }
        self.delete_segments(&[copy.to_owned()]).await?;
        match dying.marked_item(copy) {
            Some(key) => Ok(self.mark_gone(key).await?),
            None => Ok(()),
        }
    }

    async fn bump_moved(&self, mailbox: &MailboxId, counts: Option<Counts>) -> Result<(), MetadataError> {
        let now_ms = self.clock.now_ms();
        let bumped = persist(self.patience(), self.random.as_ref(), |before| {
            let bump = match counts {
                Some(counts) if before != Before::Unknown => counts.bump(now_ms),
                _ => uncertain(now_ms),
            };
            let exists = Condition(vec![Check::Exists]);
            self.store.update(Table::Folder, folder_key(mailbox), bump, exists)
        });
        match bumped.await {
            // A folder that is gone is listed by nobody.
            Ok(_) | Err(StoreError::ConditionFailed(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Deletes the segment if nobody lives there.
    async fn delete_copied(&self, object_name: &str) -> Result<Deleted, MetadataError> {
        if self.segment_item(object_name).await?.is_none() {
            return Ok(Deleted::Never);
        }
        // All owners are asked, whatever the segment's item says of them.
        let slots = match self.survey(object_name, 0, &SegmentItem::default()).await? {
            Survey::Known(slots) => slots,
            // Deleted before, by an attempt that was not finished or by a removal.
            Survey::Unknown(_) if self.labels(object_name, 0).await?.is_empty() => {
                self.mark_gone(segment_key(object_name)).await?;
                return Ok(Deleted::Yes);
            }
            Survey::Unknown(why) => {
                tracing::error!(object_name, why, "a segment that was compacted cannot be judged: it stays");
                return Ok(Deleted::Never);
            }
        };
        if slots.iter().any(|slot| slot.live.is_some()) {
            return Ok(Deleted::OwnersLive);
        }
        let recently_ms = self.clock.now_ms().saturating_sub(self.config.grace_ms() + DIED_MARGIN_MS);
        if slots.iter().any(|slot| slot.died_ms.is_some_and(|died_ms| died_ms > recently_ms)) {
            return Ok(Deleted::NotYet);
        }
        self.delete_segments(&[object_name.to_owned()]).await?;
        self.mark_gone(segment_key(object_name)).await?;
        for (slot, _) in (0..).zip(&slots).filter(|(_, slot)| slot.owners > 1) {
            self.forget(slot_key(object_name, slot)).await?;
        }
        Ok(Deleted::Yes)
    }
}

/// What copying came to.
enum Copied {
    To(CopiedTo),
    /// All owners are dead, or never came.
    NothingLives,
    /// There is nothing to gain, or it cannot be done.
    NotNow,
}

/// What deleting came to.
enum Deleted {
    Yes,
    /// Somebody may still read what was deleted just now.
    NotYet,
    /// It is not over.
    OwnersLive,
    /// It cannot be done.
    Never,
}

impl Moves {
    fn add(&mut self, mailbox: MailboxId, counts: Option<Counts>) {
        let folder = self.folders.entry(mailbox).or_insert(Some(Counts::default()));
        *folder = folder.zip(counts).map(|(sum, more)| Counts { digest: sum.digest + more.digest, ..sum });
    }
}

/// Reads why an item was not live in the old place when it was to be moved.
fn found_at(found: Option<&Item>, to: &Place) -> Result<Moved, StoreError> {
    let Some(item) = found else { return Ok(Moved::Not) };
    let is_there = Mail::from_item(item)?.location.object_name == to.object_name;
    Ok(if is_there { Moved::Perhaps } else { Moved::Not })
}

/// Returns the id of a segment's job: always the same, and of letters and digits whatever the segment is called.
fn job_id(object_name: &str) -> String {
    format!("c{}", &blake3::hash(object_name.as_bytes()).to_hex()[..24])
}

/// Compactions belong to no mailbox.
fn nobody() -> MailboxId {
    MailboxId::new([0; 12])
}

impl Dying {
    /// Adds an owner that goes.
    fn owner(&mut self, slot: u32, ordinal: u32, count: u32) {
        if count == 1 {
            self.dead.insert(slot, false);
        } else {
            let (owners, ordinals) = self.owners.entry(slot).or_insert((count, BTreeSet::new()));
            *owners = count;
            ordinals.insert(ordinal);
        }
    }

    fn is_empty(&self) -> bool {
        self.dead.is_empty() && self.owners.is_empty()
    }
}
