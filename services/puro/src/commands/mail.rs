//! Mail in a mailbox.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use clap::Subcommand;
use puro_api::model::{Listing, Message, Part};
use puro_types::EmailAddress;
use serde::Serialize;

use super::{Session, export};
use crate::{exit::Fault, output::Row};

#[derive(Debug, Subcommand)]
pub(crate) enum Request {
    /// List the messages of a mailbox
    List { email: EmailAddress },
    /// Print one message
    Show {
        email: EmailAddress,
        /// Its number or its id, as `mail list` shows them
        message: String,
        /// Only the header
        #[arg(long)]
        headers: bool,
    },
    /// Write all messages as an mbox file
    Export {
        email: EmailAddress,
        /// The file to make, instead of standard output
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

#[derive(Serialize)]
struct Shown {
    number: usize,
    id: String,
    size_bytes: u64,
    accepted: String,
}

impl Row for Shown {
    const HEADINGS: &'static [&'static str] = &["NUMBER", "ID", "BYTES", "ACCEPTED"];

    fn cells(&self) -> Vec<String> {
        vec![self.number.to_string(), self.id.clone(), self.size_bytes.to_string(), self.accepted.clone()]
    }
}

pub(super) async fn run(session: &Session, request: Request) -> Result<(), Fault> {
    match request {
        Request::List { email } => {
            let messages = listing(session, &email).await?;
            session.output.rows(&messages.iter().zip(1..).map(shown).collect::<Vec<_>>())
        }
        Request::Show { email, message, headers } => {
            let messages = listing(session, &email).await?;
            let found = find(&messages, &message);
            let found = found.ok_or_else(|| {
                Fault::Refused(format!(
                    "{email} has no message {message}; `puro mail list {email}` shows them"
                ))
            })?;
            show(session, found, if headers { Part::Header } else { Part::Message }).await
        }
        Request::Export { email, output } => export::mailbox::run(session, &email, output.as_deref()).await,
    }
}

fn shown((message, number): (&Message, usize)) -> Shown {
    Shown {
        number,
        id: message.id.to_string(),
        size_bytes: message.size_bytes,
        accepted: time(message.id.accepted_ms()),
    }
}

/// Returns a time (milliseconds since the Unix epoch) as RFC 3339 has it, in whole seconds.
pub(super) fn time(unix_ms: u64) -> String {
    let seconds = i64::try_from(unix_ms / 1000).unwrap_or(0);
    jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
}

/// Lists a user's mailbox, whether or not the user may log in.
pub(super) async fn listing(session: &Session, email: &EmailAddress) -> Result<Vec<Message>, Fault> {
    let user = session.metadata(session.admin.user(email).await)?;
    match session.metadata(session.maildrop.list(&user.mailbox, 0).await)? {
        Listing::Current { messages, .. } => Ok(messages),
        // Nothing was known before, so that nothing can be unchanged.
        Listing::Unchanged => Ok(Vec::new()),
    }
}

/// Finds a message by number or id. A number is short, an id is not.
fn find<'a>(messages: &'a [Message], which: &str) -> Option<&'a Message> {
    let by_id = messages.iter().find(|message| message.id.as_str() == which);
    by_id.or_else(|| messages.get(which.parse::<usize>().ok()?.checked_sub(1)?))
}

/// Prints a message: to a pipe octet by octet, to a terminal without what would command it.
async fn show(session: &Session, message: &Message, part: Part) -> Result<(), Fault> {
    let fault = |error| Fault::Stream("output", error);
    let is_terminal = session.output.is_terminal();
    let mut stream = session.blob(session.blob.read(&message.location, part).await)?;
    let mut out = io::stdout().lock();
    while let Some(octets) = session.blob(stream.next().await)? {
        if is_terminal {
            out.write_all(&harmless(&octets)).map_err(fault)?;
        } else {
            out.write_all(&octets).map_err(fault)?;
        }
    }
    out.flush().map_err(fault)
}

/// Leaves out CR and shows other control characters (RFC 20) as `?`: an escape sequence in a message could rewrite the
/// screen. UTF-8 passes.
fn harmless(octets: &[u8]) -> Vec<u8> {
    let kept = octets.iter().filter(|octet| **octet != b'\r');
    kept.map(|octet| if octet.is_ascii_control() && !b"\n\t".contains(octet) { b'?' } else { *octet })
        .collect()
}

#[cfg(test)]
mod tests {
    use puro_types::{Codec, Frame, Location, MailboxId, MessageId, TransactionId};

    use super::*;

    fn messages() -> Vec<Message> {
        let frame = Frame { stored_length: 0, length: 0, codec: Codec::Plain, checksum: 0 };
        let location = Location {
            bucket: String::new(),
            object_name: "x".into(),
            offset: 0,
            header: frame,
            body: frame,
            slot: 0,
            slots: 1,
        };
        let transaction = TransactionId::new(1, [1; 11]);
        (0..3u8)
            .map(|count| {
                let id = MessageId::new(u64::from(count), &transaction, &MailboxId::new([count; 12]));
                Message { id, size_bytes: 0, location: location.clone() }
            })
            .collect()
    }

    #[test]
    fn messages_are_found_by_number_and_by_id() {
        let messages = messages();
        for (count, message) in messages.iter().enumerate() {
            assert_eq!(find(&messages, message.id.as_str()), Some(message));
            assert_eq!(find(&messages, &(count + 1).to_string()), Some(message));
        }
        for which in ["0", "4", "-1", "", "99999999999999999999999", "x"] {
            assert_eq!(find(&messages, which), None, "{which}");
        }
    }

    #[test]
    fn a_terminal_is_not_commanded() {
        assert_eq!(harmless(b"a\r\n\x1b[2J\tb\x07\xc3\xa9"), b"a\n?[2J\tb?\xc3\xa9");
    }

    #[test]
    fn times_are_rfc_3339() {
        assert_eq!(time(1_700_000_000_999), "2023-11-14T22:13:20Z");
    }
}
