//! Reading mbox files, whoever wrote them.

use std::{
    io::{self, BufRead, Read},
    ops::Range,
};

use super::FROM;

/// How lines of messages that begin with `From ` are quoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Quoting {
    /// With one more `>`, also behind others (mboxrd: `puro mail export`, getmail, qmail)
    Rd,
    /// With one `>`, only where there was none (mboxo: Python, most old programs)
    O,
    /// Not at all: `>From ` is the message's own
    None,
}

/// Octets of a separator line at most; a longer line is text.
const LINE_MAX: u64 = 64 * 1024;

/// Finds the messages of an mbox file: the octets from behind the separator to before the blank line that ends each.
///
/// A separator is a line that begins with `From ` and tells a time, at the start of the file or behind a blank line:
/// body text that was left unquoted passes for text nearly always.
pub(crate) fn messages(mut file: impl BufRead) -> io::Result<Vec<Range<u64>>> {
    let mut found: Vec<Range<u64>> = Vec::new();
    let mut line = Vec::new();
    let mut at = 0;
    // Where the blank line begins that the next line is behind.
    let mut blank = Some(0);
    let mut is_start = true;
    loop {
        line.clear();
        let count = file.by_ref().take(LINE_MAX).read_until(b'\n', &mut line)? as u64;
        if count == 0 {
            break;
        }
        if is_start
            && let Some(end) = blank
            && is_separator(&line)
        {
            if let Some(message) = found.last_mut() {
                message.end = end;
            }
            found.push(at + count..at + count);
        }
        let is_blank = is_start && (line == b"\n" || line == b"\r\n");
        blank = is_blank.then_some(at);
        is_start = line.ends_with(b"\n");
        at += count;
    }
    if let Some(message) = found.last_mut() {
        message.end = blank.unwrap_or(at).max(message.start);
    }
    Ok(found)
}

/// Says whether a line separates messages: `From `, some word, and a date of C's `asctime` as most write it.
pub(crate) fn is_separator(line: &[u8]) -> bool {
    let digits = |octets: &[u8]| octets.iter().all(u8::is_ascii_digit);
    line.starts_with(FROM)
        && line.windows(5).any(|five| five[2] == b':' && digits(&five[..2]) && digits(&five[3..]))
        && line.split(|octet| !octet.is_ascii_digit()).any(|number| number.len() == 4)
}

/// Takes the quoting off a message, in pieces of any size.
#[derive(Debug)]
pub(crate) struct Unquoter {
    quoting: Quoting,
    /// `>` held back at the start of a line; `None` behind something else.
    quotes: Option<usize>,
    /// Octets of `From ` seen behind them.
    matched: usize,
}

impl Unquoter {
    pub(crate) fn new(quoting: Quoting) -> Self {
        Self { quoting, quotes: Some(0), matched: 0 }
    }

    /// Takes the next octets and appends what is known of the message to `out`.
    pub(crate) fn pass(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        if self.quoting == Quoting::None {
            out.extend_from_slice(octets);
            return;
        }
        for octet in octets {
            if let Some(quotes) = self.quotes {
                if self.matched == 0 && *octet == b'>' {
                    self.quotes = Some(quotes + 1);
                    continue;
                }
                if *octet == FROM[self.matched] {
                    self.matched += 1;
                    if self.matched == FROM.len() {
                        let is_quoted = match self.quoting {
                            Quoting::Rd => quotes > 0,
                            Quoting::O => quotes == 1,
                            Quoting::None => false,
                        };
                        self.settle(quotes - usize::from(is_quoted), out);
                    }
                    continue;
                }
                self.settle(quotes, out);
            }
            out.push(*octet);
            if *octet == b'\n' {
                (self.quotes, self.matched) = (Some(0), 0);
            }
        }
    }

    /// Appends what was held back when the message ended.
    pub(crate) fn end(&mut self, out: &mut Vec<u8>) {
        if let Some(quotes) = self.quotes {
            self.settle(quotes, out);
        }
    }

    fn settle(&mut self, quotes: usize, out: &mut Vec<u8>) {
        out.extend(std::iter::repeat_n(b'>', quotes));
        out.extend_from_slice(&FROM[..self.matched]);
        (self.quotes, self.matched) = (None, 0);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::MboxWriter, *};

    fn split(mbox: &[u8]) -> Vec<&[u8]> {
        let place = |at: u64| usize::try_from(at).unwrap();
        messages(mbox).unwrap().iter().map(|range| &mbox[place(range.start)..place(range.end)]).collect()
    }

    fn unquoted(quoting: Quoting, text: &[u8], chunk: usize) -> Vec<u8> {
        let (mut unquoter, mut out) = (Unquoter::new(quoting), Vec::new());
        text.chunks(chunk).for_each(|octets| unquoter.pass(octets, &mut out));
        unquoter.end(&mut out);
        out
    }

    const LINE: &[u8] = b"From me@example.org Tue Nov 14 22:13:20 2023\n";

    #[test]
    fn messages_lie_between_separators() {
        for (mbox, expected) in [
            (&b""[..], &[][..]),
            (b"Subject: x\n\nno mbox\n", &[]),
            (&[LINE, b"A: b\n\nbody\n\n"].concat(), &[&b"A: b\n\nbody\n"[..]]),
            (&[LINE, b"A: b\n\nbody\n\n", LINE, b"C: d\n\n\n"].concat(), &[b"A: b\n\nbody\n", b"C: d\n\n"]),
            (&[LINE, b"A: b\r\n\r\nbody\r\n\r\n", LINE].concat(), &[b"A: b\r\n\r\nbody\r\n", b""]),
            (&[LINE, b"A: b\n\nno end"].concat(), &[b"A: b\n\nno end"]),
            // Text that was not quoted: no blank line before it, or no time in it.
            (&[LINE, b"A: b\n\nx\n", LINE, b"y\n\n"].concat(), &[&[b"A: b\n\nx\n", LINE, b"y\n"].concat()]),
            (&[LINE, b"A: b\n\nFrom here on\n\n"].concat(), &[b"A: b\n\nFrom here on\n"]),
        ] {
            assert_eq!(split(mbox), expected, "{}", mbox.escape_ascii());
        }
    }

    #[test]
    fn a_line_of_any_length_is_read_in_pieces() {
        let long = vec![b'x'; 200_000];
        let inner = [&b"A: b\n\n"[..], &long, b"From \n"].concat();
        let mbox = [LINE, &inner, b"\n", LINE, b"C: d\n\n\n"].concat();
        assert_eq!(split(&mbox), [&inner[..], b"C: d\n\n"]);
    }

    #[test]
    fn quoting_is_taken_off_as_it_was_put_on() {
        let text = b"From a\n>From b\n>>From c\n> From d\nx >From e\n>Fro\n>";
        for (quoting, expected) in [
            (Quoting::Rd, &b"From a\nFrom b\n>From c\n> From d\nx >From e\n>Fro\n>"[..]),
            (Quoting::O, b"From a\nFrom b\n>>From c\n> From d\nx >From e\n>Fro\n>"),
            (Quoting::None, text),
        ] {
            for chunk in 1..=text.len() {
                let out = unquoted(quoting, text, chunk);
                assert_eq!(out, expected, "{quoting:?} by {chunk}: {}", out.escape_ascii());
            }
        }
    }

    proptest! {
        #[test]
        fn what_we_write_we_read(
            messages in prop::collection::vec("A: b\n\n(From |>|F|x|\r|\n|\nFrom |From x 10:00 2020|\u{e9}){0,20}", 0..4),
            chunk in 1usize..9,
        ) {
            let mut mbox = MboxWriter::new(Vec::new());
            for message in &messages {
                mbox.begin("me@example.org", 0).unwrap();
                mbox.write(message.as_bytes()).unwrap();
                mbox.end().unwrap();
            }
            let mbox = mbox.into_inner();
            let read: Vec<Vec<u8>> =
                split(&mbox).into_iter().map(|message| unquoted(Quoting::Rd, message, chunk)).collect();
            let ended = |text: &String| {
                let text = text.replace("\r\n", "\n");
                if text.ends_with('\n') { text } else { text + "\n" }
            };
            let expected: Vec<Vec<u8>> = messages.iter().map(|text| ended(text).into_bytes()).collect();
            prop_assert_eq!(read, expected);
        }
    }
}
