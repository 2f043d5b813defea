//! The service behind the machine: one account, one maildrop, answers that a script may replace.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use puro_pop3_session::{Answer, Entry, Maildrop, Part, Question};
use puro_types::{Codec, Frame, Location, MailboxId, MessageId, TransactionId};
use secrecy::ExposeSecret;

/// An answer that a script wants for a question of this kind, instead of the true one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scripted {
    Truth,
    Unavailable,
    Broken,
    Done,
}

#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) login: String,
    pub(crate) password: String,
    pub(crate) messages: Vec<Vec<u8>>,
    /// Octets of a piece of a message.
    pub(crate) chunk: usize,
    pub(crate) open: VecDeque<Scripted>,
    pub(crate) fetch: VecDeque<Scripted>,
    pub(crate) more: VecDeque<Scripted>,
    pub(crate) remove: VecDeque<Scripted>,
    /// What was asked, for assertions: `open me`, `fetch 0 header`, `more`, `stop`, `remove 0 2`.
    pub(crate) asked: Vec<String>,
    pub(crate) reading: Option<(Bytes, usize)>,
}

impl Default for World {
    fn default() -> Self {
        Self {
            login: "me@example.org".to_owned(),
            password: "secret".to_owned(),
            messages: Vec::new(),
            chunk: 65_536,
            open: VecDeque::new(),
            fetch: VecDeque::new(),
            more: VecDeque::new(),
            remove: VecDeque::new(),
            asked: Vec::new(),
            reading: None,
        }
    }
}

/// Returns the octets up to and including the first blank line.
pub(crate) fn header_length(message: &[u8]) -> usize {
    if message.starts_with(b"\r\n") {
        return 2;
    }
    message.windows(4).position(|four| four == b"\r\n\r\n").map_or(message.len(), |at| at + 4)
}

fn frame(length: usize) -> Frame {
    Frame { stored_length: length as u64, length: length as u64, codec: Codec::Plain, checksum: 0 }
}

/// Returns an entry for a message with these lengths.
pub(crate) fn entry(index: usize, header: usize, body: usize) -> Entry {
    let transaction = TransactionId::new(index as u64, [0; 11]);
    Entry {
        id: MessageId::new(index as u64, &transaction, &MailboxId::new([0; 12])),
        size_bytes: (header + body) as u64,
        location: Location {
            bucket: String::new(),
            object_name: "segment".to_owned(),
            offset: 0,
            header: frame(header),
            body: frame(body),
            slot: 0,
            slots: 1,
        },
    }
}

impl World {
    pub(crate) fn maildrop(&self) -> Maildrop {
        let entries: Vec<Entry> = self
            .messages
            .iter()
            .enumerate()
            .map(|(index, message)| {
                let header = header_length(message);
                entry(index, header, message.len() - header)
            })
            .collect();
        let bytes = entries.iter().map(|entry| entry.size_bytes).sum();
        Maildrop { entries, bytes }
    }

    pub(crate) fn answer(&mut self, question: Question) -> Answer {
        let (words, script) = match &question {
            Question::Open(credentials) => (format!("open {}", credentials.login), Some(&mut self.open)),
            Question::Fetch { index, part: Part::Message } => {
                (format!("fetch {index}"), Some(&mut self.fetch))
            }
            Question::Fetch { index, part: Part::Header } => {
                (format!("fetch {index} header"), Some(&mut self.fetch))
            }
            Question::More => ("more".to_owned(), Some(&mut self.more)),
            Question::Stop => ("stop".to_owned(), None),
            Question::Remove(marked) => {
                let marked: Vec<String> = marked.iter().map(usize::to_string).collect();
                (format!("remove {}", marked.join(" ")), Some(&mut self.remove))
            }
        };
        self.asked.push(words);
        match script.and_then(VecDeque::pop_front) {
            None | Some(Scripted::Truth) => self.truth(question),
            Some(Scripted::Unavailable) => Answer::Unavailable,
            Some(Scripted::Broken) => Answer::Broken,
            Some(Scripted::Done) => Answer::Done,
        }
    }

    fn truth(&mut self, question: Question) -> Answer {
        match question {
            Question::Open(credentials) => {
                let right = credentials.login == self.login
                    && credentials.password.expose_secret() == self.password.as_str();
                if right { Answer::Opened(Arc::new(self.maildrop())) } else { Answer::BadCredentials }
            }
            Question::Fetch { index, part } => {
                let message = &self.messages[index];
                let length = match part {
                    Part::Message => message.len(),
                    Part::Header => header_length(message),
                };
                self.reading = Some((Bytes::copy_from_slice(&message[..length]), 0));
                self.next_piece()
            }
            Question::More => self.next_piece(),
            Question::Stop => {
                assert!(self.reading.take().is_some(), "only what is being read is stopped");
                Answer::Done
            }
            Question::Remove(_) => Answer::Done,
        }
    }

    fn next_piece(&mut self) -> Answer {
        let (message, at) = self.reading.as_mut().expect("More follows a Fetch that is not at its end");
        if *at == message.len() {
            self.reading = None;
            return Answer::End;
        }
        let end = (*at + self.chunk).min(message.len());
        let piece = message.slice(*at..end);
        *at = end;
        Answer::Chunk(piece)
    }
}
