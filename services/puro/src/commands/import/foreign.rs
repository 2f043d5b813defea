//! Mail of other programs, as new messages of one user.
//!
//! A message's id is made of the time at which it came and a hash of its octets and the mailbox, as a delivery's is of
//! transaction and mailbox. The mailbox is asked for the hashes that it has, live or deleted within the last day: what
//! is there is not stored again, whatever time it was given then.

use std::{collections::HashMap, path::PathBuf, time::SystemTime};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use indicatif::ProgressBar;
use puro_api::{
    Failure,
    model::{MessageOutcome, Owners, User},
};
use puro_types::{ByteSize, EmailAddress, Location, MailboxId, MessageId, TransactionId};
use serde::Serialize;

use super::{
    mail::{still_fresh, transaction},
    source::{Draft, Learned, find},
    tally::Messages,
};
use crate::{
    commands::{Session, export::progress},
    exit::Fault,
    mbox::Quoting,
    output::say,
};

/// Messages stored at once.
const AT_ONCE: usize = 8;
/// Messages that are looked at, stored and put together.
const BATCH: usize = 64;
/// Messages listed at once.
const PAGE: u32 = 1_000;
/// A message of a time further ahead has it from a wrong clock.
const AHEAD_MS: u64 = 24 * 60 * 60 * 1000;

/// What the operator asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish {
    pub(super) quoting: Quoting,
    pub(super) ignore_quota: bool,
}

/// What was done.
#[derive(Debug, Default, Serialize)]
struct Summary {
    #[serde(flatten)]
    messages: Messages,
    /// Messages whose bare line ends were made CRLF.
    line_ends_mended: u64,
    over_quota: u64,
}

pub(super) async fn run(
    session: &Session,
    email: &EmailAddress,
    files: Vec<PathBuf>,
    wish: Wish,
) -> Result<(), Fault> {
    let user = session.metadata(session.admin.user(email).await)?;
    // All are looked at before the first is put: a name that was mistyped changes nothing.
    let mut found: Vec<Draft> = Vec::new();
    for file in files {
        found.extend(aside(move || find(&file, wish.quoting)).await??);
    }
    let bar = progress(found.iter().map(|draft| draft.length).sum());
    let known = known(session, &user).await?;
    let room =
        user.quota.filter(|_| !wish.ignore_quota).map(|ByteSize(quota)| quota.saturating_sub(user.bytes));
    let mut import = Import { session, user: &user, known, room, bar: &bar, summary: Summary::default() };
    for drafts in found.chunks(BATCH) {
        import.batch(drafts).await?;
    }
    bar.finish_and_clear();
    let Summary { messages, line_ends_mended, over_quota } = &import.summary;
    messages.tell();
    if *line_ends_mended > 0 {
        say(format_args!("{line_ends_mended} messages had bare line ends, which were made CRLF."));
    }
    session.output.changed(&import.summary)?;
    if *over_quota > 0 {
        return Err(Fault::Refused(format!(
            "{over_quota} messages would not fit into the quota of {email}; --ignore-quota lets them in"
        )));
    }
    match messages.failed {
        0 => Ok(()),
        failed => {
            Err(Fault::Refused(format!("{failed} messages could not be imported; they are named above")))
        }
    }
}

/// Reads files off this thread, which has connections to look after.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Fault> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Fault::System(error.into()))
}

/// Returns the hashes of the messages that a mailbox has, each with whether it is deleted.
async fn known(session: &Session, user: &User) -> Result<HashMap<String, bool>, Fault> {
    let mut known = HashMap::new();
    let mut after = String::new();
    loop {
        let page = session.metadata(session.transfer.stored(&user.mailbox, &after, None, PAGE).await)?;
        for message in page.items {
            known.insert(hash_of(&message.id).to_owned(), message.location.is_none());
        }
        match page.next {
            Some(next) => after = next,
            None => return Ok(known),
        }
    }
}

/// Returns the part of an id that does not depend on the time.
fn hash_of(id: &MessageId) -> &str {
    &id.as_str()[MessageId::LENGTH - 9..]
}

struct Import<'a> {
    session: &'a Session,
    user: &'a User,
    known: HashMap<String, bool>,
    /// Octets until the quota is reached.
    room: Option<u64>,
    bar: &'a ProgressBar,
    summary: Summary,
}

impl Import<'_> {
    async fn batch(&mut self, drafts: &[Draft]) -> Result<(), Fault> {
        let mut wanted = Vec::new();
        for draft in drafts {
            let reading = draft.clone();
            match aside(move || reading.learn()).await? {
                Ok(learned) => wanted.extend(self.consider(draft, learned)),
                Err(error) => self.fail(draft, &error.to_string()),
            }
        }
        let begun = SystemTime::now();
        let mut stored = Vec::new();
        let mut failures = Vec::new();
        {
            let (session, mailbox) = (self.session, &self.user.mailbox);
            let mut storing = stream::iter(wanted)
                .map(|(draft, id, learned)| async move {
                    (store(session, draft, mailbox, &id, &learned).await, draft, id)
                })
                .buffered(AT_ONCE);
            while let Some((outcome, draft, id)) = storing.next().await {
                match outcome {
                    Ok(location) => stored.push((id, location)),
                    Err(Fault::Call(_, Failure::TooLarge(why) | Failure::Invalid(why))) => {
                        failures.push((draft, why));
                    }
                    Err(Fault::File(_, error)) => failures.push((draft, error.to_string())),
                    Err(fault) => return Err(fault),
                }
            }
        }
        failures.iter().for_each(|(draft, why)| self.fail(draft, why));
        self.bar.inc(drafts.iter().map(|draft| draft.length).sum());
        still_fresh(begun)?;
        self.place(stored).await
    }

    /// Returns a message with its id, unless it is there or does not fit.
    fn consider<'d>(
        &mut self,
        draft: &'d Draft,
        learned: Learned,
    ) -> Option<(&'d Draft, MessageId, Learned)> {
        let id = self.id(draft, &learned);
        match self.known.get(hash_of(&id)) {
            Some(true) => {
                self.summary.messages.deleted += 1;
                return None;
            }
            Some(false) => {
                self.summary.messages.already_there += 1;
                return None;
            }
            None => {}
        }
        if let Some(room) = &mut self.room {
            let Some(rest) = room.checked_sub(learned.size) else {
                self.summary.over_quota += 1;
                return None;
            };
            *room = rest;
        }
        self.summary.line_ends_mended += u64::from(learned.was_bare);
        self.known.insert(hash_of(&id).to_owned(), false);
        Some((draft, id, learned))
    }

    fn id(&self, draft: &Draft, learned: &Learned) -> MessageId {
        let now_ms = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0);
        let dated = learned.dated_ms.filter(|dated_ms| *dated_ms < now_ms + AHEAD_MS);
        let accepted_ms = dated.or_else(|| draft.changed_ms()).unwrap_or(now_ms).min(now_ms + AHEAD_MS);
        let mut digest = [0; 11];
        digest.copy_from_slice(&learned.blake3.as_bytes()[..11]);
        // Not of the time: the hash in the id must be that of the octets alone.
        MessageId::new(accepted_ms, &TransactionId::new(0, digest), &self.user.mailbox)
    }

    async fn place(&mut self, stored: Vec<(MessageId, Location)>) -> Result<(), Fault> {
        if stored.is_empty() {
            return Ok(());
        }
        let sizes: Vec<u64> = stored.iter().map(|(_, location)| location.size_bytes()).collect();
        let put = self.session.transfer.put_messages(&self.user.mailbox, stored, false).await;
        for (size, outcome) in sizes.into_iter().zip(self.session.metadata(put)?) {
            let messages = &mut self.summary.messages;
            match outcome {
                MessageOutcome::Added => {
                    messages.added += 1;
                    messages.bytes_added += size;
                }
                MessageOutcome::Present => messages.already_there += 1,
                MessageOutcome::Deleted => messages.deleted += 1,
                MessageOutcome::Different => messages.failed += 1,
            }
        }
        Ok(())
    }

    fn fail(&mut self, draft: &Draft, why: &str) {
        self.summary.messages.failed += 1;
        self.bar.suspend(|| say(format_args!("puro: {}: {why}", draft.path.display())));
    }
}

/// Stores the octets of a message.
async fn store(
    session: &Session,
    draft: &Draft,
    mailbox: &MailboxId,
    id: &MessageId,
    learned: &Learned,
) -> Result<Location, Fault> {
    let fault = |error| Fault::File(draft.path.clone(), error);
    let mut reader = draft.open().map_err(fault)?;
    let mut upload = session.blob.store(&transaction(id, &learned.blake3.to_hex()));
    let mut hasher = blake3::Hasher::new();
    let mut out = Vec::new();
    while reader.next(&mut out).map_err(fault)? {
        hasher.update(&out);
        session.blob(upload.send(Bytes::copy_from_slice(&out)).await)?;
    }
    if hasher.finalize() != learned.blake3 {
        return Err(fault(std::io::Error::other("it was changed while it was read")));
    }
    let owners = Owners::one(mailbox.clone(), id.clone());
    session.blob(upload.finish_for(&owners, learned.size).await)
}
