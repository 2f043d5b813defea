//! What the machine asks of its service, and what it is told.

use std::sync::Arc;

use bytes::Bytes;
use puro_session::sasl::Credentials;
use puro_types::{Location, MessageId};

/// A question of the POP3 server machine.
#[derive(Debug)]
pub enum Question {
    /// Are these credentials good, and what is in the maildrop? → [`Answer::Opened`], [`Answer::BadCredentials`],
    /// [`Answer::Unavailable`] or [`Answer::Broken`].
    Open(Credentials),
    /// Begin to read a message. → [`Answer::Chunk`], [`Answer::End`] (an empty part), [`Answer::Unavailable`] or
    /// [`Answer::Broken`].
    Fetch {
        /// Index into the snapshot.
        index: usize,
        /// What to read.
        part: Part,
    },
    /// The next octets of what is being read. → as for `Fetch`.
    More,
    /// No more of it is wanted. → [`Answer::Done`].
    Stop,
    /// QUIT: remove these messages, each an index into the snapshot. → [`Answer::Done`], [`Answer::Unavailable`] (some
    /// may be removed, not all are) or [`Answer::Broken`].
    Remove(Vec<usize>),
}

/// The answer to a [`Question`].
#[derive(Debug)]
pub enum Answer {
    /// Logged in; the snapshot that the session works on.
    Opened(Arc<Maildrop>),
    /// The credentials are not good, for whatever reason.
    BadCredentials,
    /// Octets of the message, not stuffed; at most 64 KiB.
    Chunk(Bytes),
    /// There are no more octets: the part is complete and its checksum is right.
    End,
    /// Done.
    Done,
    /// A service or store cannot answer now: [SYS/TEMP].
    Unavailable,
    /// What was asked for is damaged or lost: [SYS/PERM].
    Broken,
}

/// What to read of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Message,
    /// The header and the blank line.
    Header,
}

/// A snapshot of a maildrop. Sessions on an unchanged maildrop share one.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Maildrop {
    /// The messages, oldest first; a message's number is its index plus one.
    pub entries: Vec<Entry>,
    /// Octets of all messages together.
    pub bytes: u64,
}

/// One message of the snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its id: the UIDL.
    pub id: MessageId,
    /// Exact octets on the wire, dot-stuffing not counted.
    pub size_bytes: u64,
    /// Where its bytes are.
    pub location: Location,
}
