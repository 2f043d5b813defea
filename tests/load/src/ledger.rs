//! What was sent and what the server acknowledged, on disk as it happens.
//!
//! One line an event: `try ID RECIPIENT DIGEST OCTETS` before anything is sent, then one of `ack ID`,
//! `no ID CODE` and `lost ID` (sent, and the reply never came). Each line is handed to the system before the
//! run goes on, so the ledger survives the death of this process as well as that of the server.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, bail};

use crate::message::Tag;

/// A ledger that is being written.
#[derive(Debug)]
pub struct Ledger {
    file: Mutex<File>,
}

/// How a delivery ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The server said 250: it must be there exactly once.
    Acknowledged,
    /// The server said no.
    Refused,
    /// Sent, without a reply: it may be there or not.
    ReplyLost,
    /// Begun, and nothing more is known: as [`Fate::ReplyLost`].
    Open,
}

/// One message of a ledger.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Whose maildrop it is for.
    pub recipient: String,
    /// What it was.
    pub tag: Tag,
    /// How it ended.
    pub fate: Fate,
}

impl Ledger {
    /// Opens a ledger for appending.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn append(path: &Path) -> anyhow::Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .with_context(|| format!("cannot open the ledger {}", path.display()))?;
        Ok(Self { file: Mutex::new(file) })
    }

    /// Notes that a message is about to be sent.
    ///
    /// # Errors
    /// The ledger cannot be written.
    pub fn attempt(&self, tag: &Tag, recipient: &str) -> std::io::Result<()> {
        self.line(&format!("try {} {recipient} {} {}\n", tag.id, tag.digest, tag.body_octets))
    }

    /// Notes how it ended.
    ///
    /// # Errors
    /// The ledger cannot be written.
    pub fn fate(&self, tag: &Tag, fate: Fate, code: &str) -> std::io::Result<()> {
        match fate {
            Fate::Acknowledged => self.line(&format!("ack {}\n", tag.id)),
            Fate::Refused => self.line(&format!("no {} {}\n", tag.id, code.replace(' ', "_"))),
            Fate::ReplyLost => self.line(&format!("lost {}\n", tag.id)),
            Fate::Open => Ok(()),
        }
    }

    fn line(&self, line: &str) -> std::io::Result<()> {
        // One write a line: lines of several connections do not mix, and none stays in this process.
        self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(line.as_bytes())
    }
}

/// Reads a ledger. A last line that was cut off is left out.
///
/// # Errors
/// The file cannot be read, or a line makes no sense.
pub fn read(path: &Path) -> anyhow::Result<BTreeMap<String, Entry>> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the ledger {}", path.display()))?;
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut entries = BTreeMap::new();
    for (number, line) in whole.lines().enumerate() {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["try", id, recipient, digest, octets] => {
                let tag = Tag {
                    id: (*id).to_owned(),
                    digest: (*digest).to_owned(),
                    body_octets: octets.parse().with_context(|| format!("line {}", number + 1))?,
                };
                let entry = Entry { recipient: (*recipient).to_owned(), tag, fate: Fate::Open };
                entries.insert((*id).to_owned(), entry);
            }
            [event @ ("ack" | "no" | "lost"), id, ..] => {
                let Some(entry) = entries.get_mut(*id) else {
                    bail!("line {}: {id} was never sent", number + 1)
                };
                entry.fate = match *event {
                    "ack" => Fate::Acknowledged,
                    "no" => Fate::Refused,
                    _ => Fate::ReplyLost,
                };
            }
            _ => bail!("{}:{}: not a line of a ledger", path.display(), number + 1),
        }
    }
    Ok(entries)
}
