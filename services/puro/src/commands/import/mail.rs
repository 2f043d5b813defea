//! The import of an export: records, then mailbox by mailbox the messages, then the mailbox is opened.

use std::{
    collections::HashMap,
    fs::File,
    io::Read,
    path::{Component, Path, PathBuf},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use indicatif::ProgressBar;
use puro_api::{
    Failure,
    model::{MailState, MessageOutcome, Owners, StoredMessage},
};
use puro_types::{Location, MailboxId, MessageId, TransactionId};

use super::{
    accounts::{self, parse, refused},
    read::Export,
    tally::Tally,
};
use crate::{
    commands::{
        Session,
        export::{
            layout::{FILES, MAIL, MESSAGES, MessageLine, Records, USERS, UserLine},
            progress,
        },
    },
    exit::Fault,
    output::say,
};

/// Messages stored at once: each takes a few pieces of some 64 KiB.
const AT_ONCE: usize = 8;
/// Messages that are looked up, stored and put together.
const BATCH: usize = 64;
/// Octets read at once.
const CHUNK: usize = 64 * 1024;

/// Between the first octet stored and the messages put.
const FRESH: Duration = Duration::from_secs(6 * 60 * 60);

/// What the operator asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish {
    pub(super) overwrite: bool,
    pub(super) skip_damaged: bool,
}

pub(super) async fn run(session: &Session, folder: &Path, wish: Wish) -> Result<(), Fault> {
    let export = Export::open(folder)?;
    let mut tally = Tally::default();
    accounts::put(session, &export, wish.overwrite, &mut tally).await?;
    let bar = progress(export.manifest.totals.bytes);
    if let Some(users) = export.file(USERS)? {
        for user in Records::<UserLine>::open(&users)? {
            fill(session, &export, user?, wish, &bar, &mut tally).await?;
        }
    }
    bar.finish_and_clear();
    tally.tell();
    session.output.changed(&tally)?;
    match tally.failed() {
        0 => Ok(()),
        failed => Err(Fault::Refused(format!("{failed} things could not be imported; they are named above"))),
    }
}

/// Brings in the mail of one user, and opens the account when all of it is there.
async fn fill(
    session: &Session,
    export: &Export,
    user: UserLine,
    wish: Wish,
    bar: &ProgressBar,
    tally: &mut Tally,
) -> Result<(), Fault> {
    let users = export.folder.join(USERS);
    let (email, status) = (user.email.clone(), accounts::status(&user));
    let address = parse(&users, &email)?;
    let mailbox: MailboxId = parse(&users, &user.mailbox)?;
    let list = format!("{MAIL}/{mailbox}/{MESSAGES}");
    let Some(list) = export.file(&list)? else {
        return Err(Fault::Refused(format!(
            "{}: damaged, {list} is not named",
            export.folder.join(FILES).display()
        )));
    };
    // Found as it was left a moment ago; where it was refused it is refused again, and was counted.
    let put = match accounts::account(session, export, user, wish.overwrite).await {
        Ok(put) => put,
        Err(Fault::Call(
            _,
            Failure::AlreadyExists(_) | Failure::FailedPrecondition(_) | Failure::Invalid(_),
        )) => return Ok(()),
        Err(fault) => return Err(fault),
    };
    let folder = export.folder.join(MAIL).join(mailbox.as_str());
    let undelete = wish.overwrite || put.mail == MailState::Filling;
    let mut import = Mailbox { session, folder, mailbox: &mailbox, undelete, bar, tally, failed: 0 };
    if put.mail == MailState::Done && !wish.overwrite {
        import.pass(&list)?;
    } else {
        import.run(&list).await?;
    }
    if import.failed > 0 && !wish.skip_damaged {
        let closed = put.mail == MailState::Filling;
        let until =
            if closed { " The user stays closed until they are in, or --skip-damaged is given." } else { "" };
        bar.suspend(|| say(format_args!("puro: {email}: {} messages failed.{until}", import.failed)));
        return Ok(());
    }
    let opened = session.transfer.open_account(&address, &mailbox, &export.manifest.id, status).await;
    if let Err(fault) = session.metadata(opened) {
        refused(&email, fault)?;
        tally.users.failed += 1;
    }
    Ok(())
}

/// A mailbox that is being filled.
struct Mailbox<'a> {
    session: &'a Session,
    folder: PathBuf,
    mailbox: &'a MailboxId,
    undelete: bool,
    bar: &'a ProgressBar,
    tally: &'a mut Tally,
    failed: u64,
}

/// Why a message could not be stored.
enum Unstored {
    /// It is not as it was written; the text says what is wrong with it.
    Damaged(String),
    /// The import cannot go on.
    Fault(Fault),
}

impl From<Fault> for Unstored {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Call(_, Failure::TooLarge(why) | Failure::Invalid(why)) => Self::Damaged(why),
            fault => Self::Fault(fault),
        }
    }
}

impl Mailbox<'_> {
    /// Counts a mailbox whose mail this import has put before.
    fn pass(&mut self, list: &Path) -> Result<(), Fault> {
        for line in Records::<MessageLine>::open(list)? {
            let line = line?;
            match line.lost {
                None => self.tally.messages.already_there += 1,
                Some(_) => self.tally.lost_before += 1,
            }
            self.bar.inc(line.size_bytes);
        }
        Ok(())
    }

    async fn run(&mut self, list: &Path) -> Result<(), Fault> {
        let mut batch = Vec::with_capacity(BATCH);
        for line in Records::<MessageLine>::open(list)? {
            let line = line?;
            if line.lost.is_some() {
                self.tally.lost_before += 1;
                continue;
            }
            let id: MessageId = parse(list, &line.id)?;
            batch.push((id, line));
            if batch.len() == BATCH {
                self.put(&mut batch).await?;
            }
        }
        self.put(&mut batch).await
    }

    /// Stores and puts the messages of a batch that are missing, and empties it.
    async fn put(&mut self, batch: &mut Vec<(MessageId, MessageLine)>) -> Result<(), Fault> {
        let known = self.known(batch).await?;
        let mut missing = Vec::new();
        for (id, line) in batch.drain(..) {
            match known.get(&id) {
                Some(Some(there)) if there.size_bytes() == line.size_bytes => {
                    self.tally.messages.already_there += 1;
                    self.bar.inc(line.size_bytes);
                }
                Some(Some(there)) => {
                    self.fail(&id, &format!("another of {} octets is there", there.size_bytes()));
                }
                Some(None) if !self.undelete => {
                    self.tally.messages.deleted += 1;
                    self.bar.inc(line.size_bytes);
                }
                Some(None) | None => missing.push((id, line)),
            }
        }
        let begun = SystemTime::now();
        let mut stored = Vec::new();
        let mut failures = Vec::new();
        {
            let this = &*self;
            let mut storing = stream::iter(missing)
                .map(|(id, line)| async move { (this.store(&id, &line).await, id) })
                .buffer_unordered(AT_ONCE);
            while let Some((outcome, id)) = storing.next().await {
                match outcome {
                    Ok(location) => stored.push((id, location)),
                    Err(Unstored::Damaged(why)) => failures.push((id, why)),
                    Err(Unstored::Fault(fault)) => return Err(fault),
                }
            }
        }
        failures.iter().for_each(|(id, why)| self.fail(id, why));
        still_fresh(begun)?;
        self.place(stored).await
    }

    /// Puts messages whose bytes are stored.
    async fn place(&mut self, stored: Vec<(MessageId, Location)>) -> Result<(), Fault> {
        if stored.is_empty() {
            return Ok(());
        }
        let sizes: Vec<(MessageId, u64)> =
            stored.iter().map(|(id, location)| (id.clone(), location.size_bytes())).collect();
        let put = self.session.transfer.put_messages(self.mailbox, stored, self.undelete).await;
        for ((id, size), outcome) in sizes.iter().zip(self.session.metadata(put)?) {
            let messages = &mut self.tally.messages;
            match outcome {
                MessageOutcome::Added => {
                    messages.added += 1;
                    messages.bytes_added += size;
                }
                MessageOutcome::Present => messages.already_there += 1,
                MessageOutcome::Deleted => messages.deleted += 1,
                MessageOutcome::Different => self.fail(id, "another message with this id is there"),
            }
        }
        Ok(())
    }

    fn fail(&mut self, id: &MessageId, why: &str) {
        self.failed += 1;
        self.tally.messages.failed += 1;
        self.bar.suspend(|| say(format_args!("puro: message {id} of mailbox {}: {why}", self.mailbox)));
    }

    /// Returns which ids of a batch the mailbox has, and where; `None` for a deleted one.
    async fn known(
        &self,
        batch: &[(MessageId, MessageLine)],
    ) -> Result<HashMap<MessageId, Option<Location>>, Fault> {
        let mut known = HashMap::new();
        let ids = || batch.iter().map(|(id, _)| id);
        let (Some(first), Some(last)) = (ids().min(), ids().max()) else { return Ok(known) };
        // The text that is just before the first id, and some others.
        let mut after = first.as_str()[..MessageId::LENGTH - 1].to_owned();
        loop {
            let page = self.session.transfer.stored(self.mailbox, &after, Some(last), 0).await;
            let page = self.session.metadata(page)?;
            known.extend(page.items.into_iter().map(|StoredMessage { id, location }| (id, location)));
            match page.next {
                Some(next) => after = next,
                None => return Ok(known),
            }
        }
    }

    /// Stores the octets of a message, if they are those that were exported.
    async fn store(&self, id: &MessageId, line: &MessageLine) -> Result<Location, Unstored> {
        let (Some(name), Some(blake3)) = (&line.file, &line.blake3) else {
            return Err(Unstored::Damaged("no file is named".to_owned()));
        };
        let path = self.folder.join(name);
        let unread = |error| Unstored::Damaged(format!("{}: {error}", path.display()));
        if !Path::new(name).components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(Unstored::Damaged(format!("{name:?} is no file of this export")));
        }
        let mut file = File::open(&path).map_err(unread)?;
        let mut hasher = blake3::Hasher::new();
        let mut size = 0;
        let blob = |outcome| self.session.blob(outcome).map_err(Unstored::from);
        let mut upload = self.session.blob.store(&transaction(id, blake3));
        let mut chunk = vec![0; CHUNK];
        loop {
            let count = file.read(&mut chunk).map_err(unread)?;
            if count == 0 {
                break;
            }
            hasher.update(&chunk[..count]);
            size += count as u64;
            blob(upload.send(Bytes::copy_from_slice(&chunk[..count])).await)?;
            self.bar.inc(count as u64);
        }
        // Before it is finished nothing is stored: a damaged one leaves nothing behind.
        if size != line.size_bytes || hasher.finalize().to_hex().as_str() != blake3 {
            let text = format!("{}: damaged, its checksum is not the one noted", path.display());
            return Err(Unstored::Damaged(text));
        }
        let owners = Owners::one(self.mailbox.clone(), id.clone());
        self.session.blob(upload.finish_for(&owners, size).await).map_err(Unstored::from)
    }
}

/// Refuses to put messages whose bytes were stored long ago, by a machine that slept since: what has no owner for a day
/// is taken for an orphan and reclaimed.
pub(super) fn still_fresh(begun: SystemTime) -> Result<(), Fault> {
    match begun.elapsed() {
        Ok(elapsed) if elapsed < FRESH => Ok(()),
        _ => Err(Fault::Refused(
            "the import stood still for hours: run it again, it goes on where it was".to_owned(),
        )),
    }
}

/// Names the upload, for logs: the same for the same message.
pub(super) fn transaction(id: &MessageId, blake3: &str) -> TransactionId {
    let mut random = [0; 11];
    random.iter_mut().zip(blake3.bytes()).for_each(|(octet, digit)| *octet = digit);
    TransactionId::new(id.accepted_ms(), random)
}
