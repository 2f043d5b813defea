//! The mbox format (RFC 4155) in its `mboxrd` variant, whose quoting can be undone: a line of a message that is `From `
//! behind any number of `>` gets one more `>`. Lines end in LF, as on Unix.

mod read;

use std::io::{self, Write};

pub(crate) use read::{Quoting, Unquoter, is_separator, messages};

/// The sender of a `From_` line where the message names none.
const NOBODY: &str = "MAILER-DAEMON";
/// What separates messages when it begins a line.
const FROM: &[u8] = b"From ";

/// Writes messages, each in pieces of any size.
pub(crate) struct MboxWriter<W> {
    out: W,
    line: Line,
    /// A CR that may be half a line end.
    has_cr: bool,
}

/// Where in a line we are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Line {
    /// Behind this many `>` at its start.
    Quotes(usize),
    /// Behind the quotes and this many octets of `From `.
    From { quotes: usize, matched: usize },
    /// Behind something else.
    Text,
}

const START: Line = Line::Quotes(0);

impl<W: Write> MboxWriter<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out, line: START, has_cr: false }
    }

    /// Begins a message: `sender` is the reverse-path, empty for `<>`; `unix_ms` is when it was accepted.
    pub(crate) fn begin(&mut self, sender: &str, unix_ms: u64) -> io::Result<()> {
        let unspaced: String = sender.chars().filter(|c| !c.is_whitespace() && !c.is_control()).collect();
        let sender = if unspaced.is_empty() { NOBODY } else { &unspaced };
        writeln!(self.out, "From {sender} {}", asctime(unix_ms))
    }

    /// Writes the next octets of the message, as they are on the wire.
    pub(crate) fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        let mut run = 0;
        for (at, octet) in octets.iter().enumerate() {
            // A line end may be split between two calls.
            if self.has_cr && *octet != b'\n' {
                self.text(b"\r")?;
            }
            self.has_cr = false;
            match (self.line, *octet) {
                (_, b'\r') => {
                    self.out.write_all(&octets[run..at])?;
                    self.has_cr = true;
                    run = at + 1;
                }
                (_, b'\n') => {
                    self.out.write_all(&octets[run..at])?;
                    self.settle()?;
                    self.out.write_all(b"\n")?;
                    self.line = START;
                    run = at + 1;
                }
                (Line::Text, _) => {}
                (_, octet) => {
                    self.start_of_line(octet)?;
                    run = at + 1;
                }
            }
        }
        self.out.write_all(&octets[run..])
    }

    /// Ends the message: its last line is ended, and a blank line stands behind it.
    pub(crate) fn end(&mut self) -> io::Result<()> {
        if self.has_cr {
            self.has_cr = false;
            self.text(b"\r")?;
        }
        self.settle()?;
        if self.line != START {
            self.out.write_all(b"\n")?;
        }
        self.line = START;
        self.out.write_all(b"\n")
    }

    pub(crate) fn into_inner(self) -> W {
        self.out
    }

    /// Takes an octet while it is open whether the line needs quoting; nothing of the line is written until then.
    fn start_of_line(&mut self, octet: u8) -> io::Result<()> {
        self.line = match (self.line, octet) {
            (Line::Quotes(quotes), b'>') => Line::Quotes(quotes + 1),
            (Line::Quotes(quotes), b'F') => Line::From { quotes, matched: 1 },
            (Line::From { quotes, matched }, octet) if octet == FROM[matched] => {
                if matched + 1 < FROM.len() {
                    Line::From { quotes, matched: matched + 1 }
                } else {
                    self.quotes(quotes + 1)?;
                    self.out.write_all(FROM)?;
                    Line::Text
                }
            }
            (_, octet) => return self.text(&[octet]),
        };
        Ok(())
    }

    /// Writes what was held back, then these octets.
    fn text(&mut self, octets: &[u8]) -> io::Result<()> {
        self.settle()?;
        self.line = Line::Text;
        self.out.write_all(octets)
    }

    /// Writes the start of the line that was held back: it needs no quoting.
    fn settle(&mut self) -> io::Result<()> {
        match self.line {
            START | Line::Text => return Ok(()),
            Line::Quotes(quotes) => self.quotes(quotes)?,
            Line::From { quotes, matched } => {
                self.quotes(quotes)?;
                self.out.write_all(&FROM[..matched])?;
            }
        }
        self.line = Line::Text;
        Ok(())
    }

    fn quotes(&mut self, count: usize) -> io::Result<()> {
        (0..count).try_for_each(|_| self.out.write_all(b">"))
    }
}

/// Returns a time in the form of C's `asctime`, UTC.
fn asctime(unix_ms: u64) -> String {
    let ms = i64::try_from(unix_ms).unwrap_or(0);
    let time = jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    time.strftime("%a %b %e %H:%M:%S %Y").to_string()
}

/// Returns the address in a `Return-Path` field that begins the message, if there is one. Our final delivery writes it
/// first (RFC 5321 section 4.4).
pub(crate) fn return_path(message: &[u8]) -> Option<String> {
    const NAME: &[u8] = b"Return-Path:";
    let field = message.split(|octet| *octet == b'\n').next()?;
    let (name, value) = field.split_at_checked(NAME.len())?;
    if !name.eq_ignore_ascii_case(NAME) {
        return None;
    }
    let value = String::from_utf8_lossy(value);
    Some(value.trim().trim_start_matches('<').trim_end_matches('>').to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Writes messages in chunks of a size.
    fn written(messages: &[&[u8]], chunk: usize) -> Vec<u8> {
        let mut mbox = MboxWriter::new(Vec::new());
        for message in messages {
            mbox.begin("me@example.org", 1_700_000_000_000).unwrap();
            message.chunks(chunk).for_each(|octets| mbox.write(octets).unwrap());
            mbox.end().unwrap();
        }
        mbox.into_inner()
    }

    /// Reads an mboxrd file by its definition.
    fn read(mbox: &[u8]) -> Vec<Vec<u8>> {
        let mut messages: Vec<Vec<u8>> = Vec::new();
        for line in mbox.split_inclusive(|octet| *octet == b'\n') {
            if line.starts_with(FROM) {
                messages.push(Vec::new());
                continue;
            }
            let quotes = line.iter().take_while(|octet| **octet == b'>').count();
            let is_quoted = quotes > 0 && line[quotes..].starts_with(FROM);
            messages.last_mut().unwrap().extend_from_slice(&line[usize::from(is_quoted)..]);
        }
        // The blank line behind each message belongs to the format.
        messages.iter_mut().for_each(|message| assert_eq!(message.pop(), Some(b'\n')));
        messages
    }

    /// What a message becomes: CRLF is LF, and the last line is ended.
    fn expected(message: &[u8]) -> Vec<u8> {
        let mut text: Vec<u8> = Vec::new();
        for (at, octet) in message.iter().enumerate() {
            if *octet != b'\r' || message.get(at + 1) != Some(&b'\n') {
                text.push(*octet);
            }
        }
        if text.last().is_some_and(|octet| *octet != b'\n') {
            text.push(b'\n');
        }
        text
    }

    #[test]
    fn lines_that_look_like_a_separator_are_quoted() {
        let text = written(&[b"Subject: x\r\n\r\nFrom me\r\n>From you\r\nFrom\r\n >From\r\nFro"], 1000);
        let text = String::from_utf8(text).unwrap();
        let head = "From me@example.org Tue Nov 14 22:13:20 2023\n";
        assert_eq!(text, format!("{head}Subject: x\n\n>From me\n>>From you\nFrom\n >From\nFro\n\n"));
    }

    #[test]
    fn a_sender_is_one_word() {
        for (sender, line) in [("", "MAILER-DAEMON"), ("\"a b\"@x", "\"ab\"@x"), ("a\r\nFrom b", "aFromb")] {
            let mut mbox = MboxWriter::new(Vec::new());
            mbox.begin(sender, 0).unwrap();
            let text = String::from_utf8(mbox.into_inner()).unwrap();
            assert_eq!(text, format!("From {line} Thu Jan  1 00:00:00 1970\n"));
        }
    }

    #[test]
    fn a_return_path_is_taken_from_the_first_line_only() {
        for (message, path) in [
            (&b"Return-Path: <me@x>\r\nFrom: x\r\n"[..], Some("me@x")),
            (b"return-path:<>\r\n", Some("")),
            (b"From: x\r\nReturn-Path: <me@x>\r\n", None),
            (b"", None),
        ] {
            assert_eq!(return_path(message).as_deref(), path);
        }
    }

    proptest! {
        #[test]
        fn a_reader_gets_the_messages_back(
            messages in prop::collection::vec("(From |>|F|Fr|x|\r|\n|\r\n|\r\nFrom |\u{e9}){0,20}", 0..4),
            chunk in 1usize..9,
        ) {
            let messages: Vec<&[u8]> = messages.iter().map(String::as_bytes).collect();
            let mbox = written(&messages, chunk);
            prop_assert_eq!(&mbox, &written(&messages, 1000), "the size of the pieces does not matter");
            let expected: Vec<_> = messages.iter().map(|message| expected(message)).collect();
            prop_assert_eq!(read(&mbox), expected);
        }
    }
}
