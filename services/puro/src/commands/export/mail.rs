//! The messages, mailbox by mailbox.
//!
//! A message is written to `tmp/`, made durable, and gets its name in `new/`, as Maildir wants it; then its line is
//! appended to the list. After a crash the list is believed as far as its lines are whole and name files of the right
//! size; what is behind that is copied again.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, BufWriter, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

use futures_util::{StreamExt as _, stream};
use indicatif::ProgressBar;
use puro_api::{
    Failure,
    model::{Part, StoredMessage},
};
use puro_types::{Location, MailboxId, MessageId};

use super::{
    Session,
    layout::{
        FileLine, MAIL, MESSAGES, MESSAGES_PARTIAL, MessageLine, RecordWriter, Records, Totals, USERS,
        UserLine, at, create_private, line, make_private, summed, sync_folder,
    },
};
use crate::{commands::mail::time, exit::Fault, output::say};

/// Messages copied at once: each takes a piece of some 64 KiB and waits for the disk by itself.
const AT_ONCE: usize = 8;
/// Messages listed at once.
const PAGE: u32 = 500;

/// Writes the mail of all users in the list, and forgets mailboxes that are not there any more.
pub(super) async fn write(
    session: &Session,
    folder: &Path,
    bar: &ProgressBar,
    totals: &mut Totals,
    files: &mut RecordWriter,
) -> Result<(), Fault> {
    let mut known = BTreeSet::new();
    for user in Records::<UserLine>::open(&folder.join(USERS))? {
        let user = user?;
        let mailbox: MailboxId = user.mailbox.parse().map_err(|why| {
            Fault::Refused(format!("{}: {}: {why}", folder.join(USERS).display(), user.mailbox))
        })?;
        let path = format!("{MAIL}/{mailbox}");
        let copy = Copy { session, folder: folder.join(&path), mailbox: &mailbox, bar };
        let counts = copy.run().await?;
        totals.messages += counts.messages;
        totals.bytes += counts.bytes;
        totals.lost += counts.lost;
        let path = format!("{path}/{MESSAGES}");
        let (bytes, blake3) = summed(&folder.join(&path))?;
        files.write(&FileLine { path, bytes, blake3 })?;
        known.insert(mailbox);
    }
    let mail = folder.join(MAIL);
    for entry in fs::read_dir(&mail).map_err(at(&mail))? {
        let entry = entry.map_err(at(&mail))?;
        // Only what looks as if it were made here.
        let old = entry.file_name().to_str().and_then(|name| name.parse::<MailboxId>().ok());
        if old.is_some_and(|old| !known.contains(&old)) {
            fs::remove_dir_all(entry.path()).map_err(at(&entry.path()))?;
        }
    }
    sync_folder(&mail)
}

/// One mailbox being copied.
struct Copy<'a> {
    session: &'a Session,
    folder: PathBuf,
    mailbox: &'a MailboxId,
    bar: &'a ProgressBar,
}

impl Copy<'_> {
    /// Copies what is not copied yet.
    async fn run(&self) -> Result<Totals, Fault> {
        let list = self.folder.join(MESSAGES);
        if list.exists() {
            let mut totals = Totals::default();
            for message in Records::<MessageLine>::open(&list)? {
                count(&mut totals, &message?);
            }
            self.bar.inc(totals.bytes);
            return Ok(totals);
        }
        for name in ["", "new", "cur", "tmp"] {
            make_private(&self.folder.join(name))?;
        }
        self.clear_tmp()?;
        let mut list = List::resume(&self.folder)?;
        self.bar.inc(list.totals.bytes);
        let mut after = list.last.clone();
        loop {
            let stored = self.session.transfer.stored(self.mailbox, &after, None, PAGE).await;
            let page = self.session.metadata(stored)?;
            let live = page.items.into_iter().filter_map(|message| Some((message.id, message.location?)));
            let mut copied =
                stream::iter(live.map(|(id, location)| self.message(id, location))).buffered(AT_ONCE);
            while let Some(message) = copied.next().await {
                if let Some(message) = message? {
                    list.append(&message)?;
                }
            }
            match page.next {
                Some(next) => after = next,
                None => break,
            }
        }
        sync_folder(&self.folder.join("new"))?;
        list.keep(&self.folder)
    }

    /// Removes what a run that was interrupted has left half written.
    fn clear_tmp(&self) -> Result<(), Fault> {
        let tmp = self.folder.join("tmp");
        for entry in fs::read_dir(&tmp).map_err(at(&tmp))? {
            let path = entry.map_err(at(&tmp))?.path();
            fs::remove_file(&path).map_err(at(&path))?;
        }
        Ok(())
    }

    /// Copies a message; `None` where it was deleted meanwhile.
    async fn message(&self, id: MessageId, location: Location) -> Result<Option<MessageLine>, Fault> {
        let failed = match self.fetch(&id, &location).await {
            Err(Fault::Call(_, Failure::DataLoss(why) | Failure::NotFound(why))) => why,
            fetched => return fetched.map(Some),
        };
        // It may be gone by now, or its bytes are elsewhere.
        let why = match self.look_again(&id).await? {
            None => return Ok(None),
            Some(now) if now == location => failed,
            Some(now) => match self.fetch(&id, &now).await {
                Err(Fault::Call(_, Failure::DataLoss(why) | Failure::NotFound(why))) => why,
                fetched => return fetched.map(Some),
            },
        };
        self.bar
            .suspend(|| say(format_args!("puro: message {id} of mailbox {} is lost: {why}", self.mailbox)));
        let (accepted, size_bytes) = (time(id.accepted_ms()), location.size_bytes());
        let id = id.to_string();
        Ok(Some(MessageLine { id, accepted, size_bytes, file: None, blake3: None, lost: Some(why) }))
    }

    async fn look_again(&self, id: &MessageId) -> Result<Option<Location>, Fault> {
        // The text that is just before the id, and some others.
        let after = &id.as_str()[..MessageId::LENGTH - 1];
        let page = self.session.transfer.stored(self.mailbox, after, Some(id), 0).await;
        let mut found = self.session.metadata(page)?.items.into_iter();
        Ok(found.find(|message: &StoredMessage| message.id == *id).and_then(|message| message.location))
    }

    async fn fetch(&self, id: &MessageId, location: &Location) -> Result<MessageLine, Fault> {
        let accepted_ms = id.accepted_ms();
        let name = format!("{}.{id}.puro", accepted_ms / 1000);
        let tmp = self.folder.join("tmp").join(&name);
        let fault = at(&tmp);
        let mut stream = self.session.blob(self.session.blob.read(location, Part::Message).await)?;
        let mut file = create_private(&tmp).map_err(&fault)?;
        let mut hasher = blake3::Hasher::new();
        let mut size_bytes = 0;
        while let Some(octets) = self.session.blob(stream.next().await)? {
            file.write_all(&octets).map_err(&fault)?;
            hasher.update(&octets);
            size_bytes += octets.len() as u64;
            self.bar.inc(octets.len() as u64);
        }
        if size_bytes != location.size_bytes() {
            let why = format!("{size_bytes} octets came, not {}", location.size_bytes());
            return Err(Fault::Call(self.session.blob_place.clone(), Failure::DataLoss(why)));
        }
        file.set_modified(UNIX_EPOCH + Duration::from_millis(accepted_ms)).map_err(&fault)?;
        // The disk takes its time: off this thread, others are copied meanwhile.
        let synced = tokio::task::spawn_blocking(move || file.sync_all()).await;
        synced.map_err(|error| Fault::System(error.into()))?.map_err(&fault)?;
        let path = self.folder.join("new").join(&name);
        fs::rename(&tmp, &path).map_err(at(&path))?;
        Ok(MessageLine {
            id: id.to_string(),
            accepted: time(accepted_ms),
            size_bytes,
            file: Some(format!("new/{name}")),
            blake3: Some(hasher.finalize().to_hex().to_string()),
            lost: None,
        })
    }
}

fn count(totals: &mut Totals, message: &MessageLine) {
    match message.lost {
        None => {
            totals.messages += 1;
            totals.bytes += message.size_bytes;
        }
        Some(_) => totals.lost += 1,
    }
}

/// The list of a mailbox that is being copied.
struct List {
    out: BufWriter<File>,
    path: PathBuf,
    /// The id that it goes on behind; empty at the beginning.
    last: String,
    totals: Totals,
}

impl List {
    /// Opens the list and cuts off what is not to be believed.
    fn resume(folder: &Path) -> Result<Self, Fault> {
        let path = folder.join(MESSAGES_PARTIAL);
        let opened = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&path);
        let list = opened.map_err(at(&path))?;
        let (whole, last, totals) = believed(folder, &list).map_err(at(&path))?;
        list.set_len(whole).map_err(at(&path))?;
        Ok(Self { out: BufWriter::new(list), path, last, totals })
    }

    fn append(&mut self, message: &MessageLine) -> Result<(), Fault> {
        count(&mut self.totals, message);
        // At once in the system's hands: a killed process has written all it counted.
        self.out.write_all(&line(message)?).and_then(|()| self.out.flush()).map_err(at(&self.path))
    }

    /// Gives the list its name.
    fn keep(self, folder: &Path) -> Result<Totals, Fault> {
        let out =
            self.out.into_inner().map_err(|error| Fault::File(self.path.clone(), error.into_error()))?;
        let kept = out.sync_all().and_then(|()| fs::rename(&self.path, folder.join(MESSAGES)));
        kept.map_err(at(&self.path))?;
        sync_folder(folder)?;
        Ok(self.totals)
    }
}

/// Reads a list as far as it is to be believed: how many octets that is, the last id, and what there is until then.
fn believed(folder: &Path, list: &File) -> io::Result<(u64, String, Totals)> {
    let (mut whole, mut last, mut totals) = (0, String::new(), Totals::default());
    let mut reader = BufReader::new(list);
    let mut record = Vec::new();
    loop {
        record.clear();
        reader.read_until(b'\n', &mut record)?;
        match serde_json::from_slice::<MessageLine>(&record) {
            Ok(message) if record.ends_with(b"\n") && is_there(folder, &message) => {
                count(&mut totals, &message);
                last = message.id;
                whole += record.len() as u64;
            }
            _ => return Ok((whole, last, totals)),
        }
    }
}

/// Says whether the file that a line names is on the disk as it should be: names may be durable before octets are.
fn is_there(folder: &Path, message: &MessageLine) -> bool {
    message.file.as_ref().is_none_or(|file| {
        fs::metadata(folder.join(file)).is_ok_and(|found| found.len() == message.size_bytes)
    })
}
