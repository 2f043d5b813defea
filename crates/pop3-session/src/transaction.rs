//! The TRANSACTION state (RFC 1939 section 5): a snapshot, and what is marked as deleted in it.

use std::sync::Arc;

use bytes::BytesMut;

use crate::{
    Entry, Maildrop, Question, Session,
    command::Command,
    listing::{Kind, Listing},
    marks::Marks,
    reply,
    session::{Activity, State},
    transfer::Transfer,
};

/// The maildrop as this session sees it.
#[derive(Debug)]
pub(crate) struct Transaction {
    maildrop: Arc<Maildrop>,
    deleted: Marks,
    /// Messages not marked.
    messages: usize,
    /// Octets of them.
    bytes: u64,
}

impl Transaction {
    pub(crate) fn new(maildrop: Arc<Maildrop>) -> Self {
        let (messages, bytes) = (maildrop.entries.len(), maildrop.bytes);
        Self { maildrop, deleted: Marks::default(), messages, bytes }
    }

    /// Answers with the number of messages and their octets, as login, LIST and RSET do.
    pub(crate) fn summary(&self, out: &mut BytesMut) {
        reply::ok(out, format_args!("{} messages ({} octets)", self.messages, self.bytes));
    }

    /// Returns the message of this number, with its index, unless it is marked.
    pub(crate) fn message(&self, number: u64) -> Option<(usize, &Entry)> {
        let index = usize::try_from(number.checked_sub(1)?).ok()?;
        self.at(index).map(|entry| (index, entry))
    }

    /// Returns the message at this index, unless it is marked.
    pub(crate) fn at(&self, index: usize) -> Option<&Entry> {
        self.maildrop.entries.get(index).filter(|_| !self.deleted.contains(index))
    }

    /// Returns the number of messages of the snapshot, marked ones too.
    pub(crate) fn len(&self) -> usize {
        self.maildrop.entries.len()
    }

    fn delete(&mut self, number: u64) -> bool {
        let Some((index, entry)) = self.message(number) else { return false };
        let size_bytes = entry.size_bytes;
        self.deleted.insert(index);
        self.messages -= 1;
        self.bytes = self.bytes.saturating_sub(size_bytes);
        true
    }

    fn reset(&mut self) {
        self.deleted.clear();
        (self.messages, self.bytes) = (self.maildrop.entries.len(), self.maildrop.bytes);
    }
}

impl Session {
    /// Answers a command that is not CAPA or QUIT after login.
    pub(crate) fn transaction(&mut self, command: Command<'_>) {
        let State::Transaction(transaction) = &mut self.state else { return };
        let out = &mut self.out;
        match command {
            Command::Stat => reply::ok(out, format_args!("{} {}", transaction.messages, transaction.bytes)),
            Command::List(number) => self.list(Kind::Sizes, number),
            Command::Uidl(number) => self.list(Kind::Ids, number),
            Command::Retr(number) => self.retrieve(number, None),
            Command::Top { number, lines } => self.retrieve(number, Some(lines)),
            Command::Dele(number) => {
                if transaction.delete(number) {
                    reply::ok(out, format_args!("message {number} deleted"));
                } else {
                    no_such_message(out);
                }
            }
            Command::Rset => {
                transaction.reset();
                transaction.summary(out);
            }
            Command::Noop => reply::ok(out, format_args!("nothing done")),
            _ => reply::err(out, "you are logged in already"),
        }
    }

    /// LIST and UIDL, of one message or of all.
    fn list(&mut self, kind: Kind, number: Option<u64>) {
        let State::Transaction(transaction) = &self.state else { return };
        let Some(number) = number else {
            match kind {
                Kind::Sizes => transaction.summary(&mut self.out),
                Kind::Ids => reply::ok(&mut self.out, format_args!("unique ids follow")),
            }
            self.activity = Activity::Listing(Listing::new(kind));
            return;
        };
        match transaction.message(number) {
            Some((_, entry)) => match kind {
                Kind::Sizes => reply::ok(&mut self.out, format_args!("{number} {}", entry.size_bytes)),
                Kind::Ids => reply::ok(&mut self.out, format_args!("{number} {}", entry.id)),
            },
            None => no_such_message(&mut self.out),
        }
    }

    /// RETR, or TOP with this many lines of the body.
    fn retrieve(&mut self, number: u64, lines: Option<u64>) {
        let State::Transaction(transaction) = &self.state else { return };
        let Some((index, entry)) = transaction.message(number) else {
            return no_such_message(&mut self.out);
        };
        let transfer = match lines {
            None => Transfer::whole(entry.size_bytes),
            Some(lines) => Transfer::top(&entry.location, lines),
        };
        self.ask = Some(Question::Fetch { index, part: transfer.part() });
        self.activity = Activity::Transferring(Box::new(transfer));
    }

    /// QUIT enters the UPDATE state (RFC 1939 section 6): only here is anything removed.
    pub(crate) fn quit(&mut self) {
        let State::Transaction(transaction) = &self.state else { return };
        let marked: Vec<usize> = transaction.deleted.iter().collect();
        if marked.is_empty() {
            return self.signed_off();
        }
        self.activity = Activity::Removing(marked.len());
        self.ask = Some(Question::Remove(marked));
    }
}

fn no_such_message(out: &mut BytesMut) {
    reply::err(out, "no such message");
}
