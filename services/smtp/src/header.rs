//! A message's header on its way through: what is taken off, counted and added, in bounded memory and in any pieces.
//!
//! Lines end with CRLF here, since the session lets nothing else through. What is not touched passes octet by octet as
//! it came, fields that are no fields included; the body passes without being looked at or copied.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Octets of a field name at most; a line without a colon until then is no field (RFC 5322 section 2.1.1 ends lines at
/// 998, and no name in use is longer than a few dozen).
const NAME_MAX: usize = 256;

/// Received fields of a message at most (RFC 5321 section 6.3 asks for at least 100).
pub(crate) const RECEIVED_MAX: u32 = 100;

/// The message went round too often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more than {RECEIVED_MAX} Received fields")]
pub(crate) struct Loop;

/// What becomes of a header.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    /// Fields that go before all others, whole, with CRLF.
    pub(crate) prepend: String,
    /// For mail that is submitted here, and so enters the world's mail here (RFC 6409 section 8).
    pub(crate) submission: Option<Submission>,
}

/// What a submitted message gets where it has none; Bcc is taken off.
#[derive(Debug)]
pub(crate) struct Submission {
    /// A Date field, whole, with CRLF.
    pub(crate) date: String,
    /// A Message-ID field, whole, with CRLF.
    pub(crate) message_id: String,
}

/// Applies [`Rules`] to a stream.
#[derive(Debug)]
pub(crate) struct HeaderFilter {
    rules: Rules,
    at: At,
    /// The start of a line, until it shows what it is.
    start: BytesMut,
    /// Any line has been read.
    begun: bool,
    /// The last field was taken off, and so are its continuation lines.
    dropping: bool,
    received: u32,
    has_date: bool,
    has_message_id: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// At the start of a line; `start` holds what is there of it.
    Start,
    /// Inside a line whose fate is known.
    Line,
    /// Behind the header.
    Body,
}

/// What a line's start shows.
#[derive(Debug, PartialEq, Eq)]
enum Sort {
    /// More of it is needed.
    Unknown,
    /// It goes on with the field before.
    Continuation,
    /// The blank line.
    Blank,
    /// A field.
    Field,
    /// Neither.
    Strange,
}

impl HeaderFilter {
    /// Begins a message.
    pub(crate) fn new(rules: Rules) -> Self {
        Self {
            rules,
            at: At::Start,
            start: BytesMut::new(),
            begun: false,
            dropping: false,
            received: 0,
            has_date: false,
            has_message_id: false,
        }
    }

    /// Takes the next octets of the message and appends what they become, in order.
    pub(crate) fn pass(&mut self, mut octets: Bytes, out: &mut Vec<Bytes>) -> Result<(), Loop> {
        let mut header = self.prepended();
        while !octets.is_empty() && self.at != At::Body {
            match self.at {
                At::Line => self.rest_of_line(&mut octets, &mut header),
                _ => self.start_of_line(&mut octets, &mut header)?,
            }
        }
        push(out, header.freeze());
        push(out, octets);
        Ok(())
    }

    /// Ends the message: appends what was held back, and what is still to be added to a header that no body followed.
    pub(crate) fn finish(&mut self, out: &mut Vec<Bytes>) {
        let mut header = self.prepended();
        if self.at != At::Body {
            header.put_slice(&self.start.split());
            self.add_missing(&mut header);
        }
        self.at = At::Body;
        push(out, header.freeze());
    }

    /// What goes before the first octet.
    fn prepended(&mut self) -> BytesMut {
        BytesMut::from(std::mem::take(&mut self.rules.prepend).as_bytes())
    }

    fn rest_of_line(&mut self, octets: &mut Bytes, out: &mut BytesMut) {
        let end = octets.iter().position(|octet| *octet == b'\n');
        let line = octets.split_to(end.map_or(octets.len(), |at| at + 1));
        if !self.dropping {
            out.put_slice(&line);
        }
        if end.is_some() {
            self.at = At::Start;
        }
    }

    fn start_of_line(&mut self, octets: &mut Bytes, out: &mut BytesMut) -> Result<(), Loop> {
        let mut sort = Sort::Unknown;
        while sort == Sort::Unknown && !octets.is_empty() {
            self.start.put_u8(octets[0]);
            octets.advance(1);
            sort = sort_of(&self.start);
        }
        // A line that nothing can be said of without a header before it: there is no header.
        let headless = !self.begun && matches!(sort, Sort::Continuation | Sort::Strange);
        match sort {
            Sort::Unknown => return Ok(()),
            Sort::Blank => self.end_header(out),
            _ if headless => {
                self.end_header(out);
                out.put_slice(b"\r\n");
            }
            Sort::Field => {
                self.dropping = self.field()?;
                self.at = At::Line;
            }
            Sort::Continuation => self.at = At::Line,
            Sort::Strange => {
                self.dropping = false;
                self.at = At::Line;
            }
        }
        self.begun = true;
        let start = self.start.split();
        if self.at == At::Body || !self.dropping {
            out.put_slice(&start);
        }
        if self.at == At::Line && start.ends_with(b"\n") {
            self.at = At::Start;
        }
        Ok(())
    }

    fn end_header(&mut self, out: &mut BytesMut) {
        self.add_missing(out);
        self.at = At::Body;
    }

    fn add_missing(&mut self, out: &mut BytesMut) {
        if let Some(submission) = self.rules.submission.take() {
            if !self.has_date {
                out.put_slice(submission.date.as_bytes());
            }
            if !self.has_message_id {
                out.put_slice(submission.message_id.as_bytes());
            }
        }
    }

    /// Takes note of a field; says whether it is to go.
    fn field(&mut self) -> Result<bool, Loop> {
        let name = self.start.strip_suffix(b":").unwrap_or(&self.start).trim_ascii_end();
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if is("Received") {
            self.received += 1;
            if self.received > RECEIVED_MAX {
                return Err(Loop);
            }
        }
        self.has_date |= is("Date");
        self.has_message_id |= is("Message-ID");
        // RFC 5321 section 4.4: the delivering server's is the only Return-Path. RFC 5322 section 3.6.3: nobody but
        // the sender is to see a Bcc.
        let submitted = self.rules.submission.is_some();
        Ok(is("Return-Path") || submitted && (is("Bcc") || is("Resent-Bcc")))
    }
}

fn push(out: &mut Vec<Bytes>, octets: Bytes) {
    if !octets.is_empty() {
        out.push(octets);
    }
}

/// RFC 5322 sections 2.2 and 4.5: printable ASCII, then a colon, in old messages after white space.
fn sort_of(start: &[u8]) -> Sort {
    let (Some(first), Some(last)) = (start.first(), start.last()) else { return Sort::Unknown };
    match (first, last) {
        (b' ' | b'\t', _) => Sort::Continuation,
        (b'\r', _) if start.len() == 1 => Sort::Unknown,
        (b'\r', b'\n') if start.len() == 2 => Sort::Blank,
        (_, b':') if start.len() > 1 => Sort::Field,
        (_, b' ' | b'\t') if start.len() < NAME_MAX => Sort::Unknown,
        (_, octet) if octet.is_ascii_graphic() && *octet != b':' && start.len() < NAME_MAX => {
            let spaced = start.iter().any(|octet| matches!(octet, b' ' | b'\t'));
            if spaced { Sort::Strange } else { Sort::Unknown }
        }
        _ => Sort::Strange,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(rules: Rules, message: &[u8], piece: usize) -> Result<Vec<u8>, Loop> {
        let mut filter = HeaderFilter::new(rules);
        let mut out = Vec::new();
        for piece in message.chunks(piece) {
            filter.pass(Bytes::copy_from_slice(piece), &mut out)?;
            assert!(filter.start.len() <= NAME_MAX, "a line's start is bounded");
        }
        filter.finish(&mut out);
        Ok(out.concat())
    }

    fn relayed() -> Rules {
        Rules { prepend: "Trace: 1\r\n".to_owned(), submission: None }
    }

    fn submitted() -> Rules {
        let submission =
            Submission { date: "Date: now\r\n".to_owned(), message_id: "Message-ID: <1@x>\r\n".to_owned() };
        Rules { prepend: "Trace: 1\r\n".to_owned(), submission: Some(submission) }
    }

    fn check(rules: fn() -> Rules, message: &str, expected: &str) {
        for piece in 1..=message.len().max(1) {
            let out = filter(rules(), message.as_bytes(), piece).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{message:?} by {piece}");
        }
    }

    #[test]
    fn relayed_mail_keeps_all_but_return_path() {
        for (message, expected) in [
            ("A: 1\r\n\r\nbody\r\n", "A: 1\r\n\r\nbody\r\n"),
            ("A: 1\r\nReturn-Path: <a@b>\r\nB: 2\r\n\r\nx\r\n", "A: 1\r\nB: 2\r\n\r\nx\r\n"),
            ("RETURN-path : <a@b>\r\n\tfolded\r\n more\r\nB: 2\r\n\r\n", "B: 2\r\n\r\n"),
            ("A: 1\r\n Return-Path: <a@b>\r\n\r\n", "A: 1\r\n Return-Path: <a@b>\r\n\r\n"),
            ("A: 1\r\n\r\nReturn-Path: <a@b>\r\n", "A: 1\r\n\r\nReturn-Path: <a@b>\r\n"),
            ("Return-Paths: 1\r\nX-Return-Path: 2\r\n\r\n", "Return-Paths: 1\r\nX-Return-Path: 2\r\n\r\n"),
            ("Bcc: you@b\r\n\r\n", "Bcc: you@b\r\n\r\n"),
            (
                "A: 1\r\nno field\r\n continued\r\nB: 2\r\n\r\nx\r\n",
                "A: 1\r\nno field\r\n continued\r\nB: 2\r\n\r\nx\r\n",
            ),
            ("A: 1\r\n", "A: 1\r\n"),
            ("\r\n", "\r\n"),
            ("\r\nReturn-Path: <a@b>\r\n", "\r\nReturn-Path: <a@b>\r\n"),
            ("", ""),
        ] {
            check(relayed, message, &format!("Trace: 1\r\n{expected}"));
        }
    }

    #[test]
    fn a_message_without_header_becomes_a_body() {
        for message in
            ["Hello\r\n", "Hello there: you\r\n", " A: 1\r\n", ": x\r\n", "\u{e4}: 1\r\n", "a b: c\r\n\r\n"]
        {
            check(relayed, message, &format!("Trace: 1\r\n\r\n{message}"));
        }
    }

    #[test]
    fn submitted_mail_gets_what_it_lacks_and_loses_its_bcc() {
        for (message, expected) in [
            ("A: 1\r\n\r\nbody\r\n", "A: 1\r\nDate: now\r\nMessage-ID: <1@x>\r\n\r\nbody\r\n"),
            ("date: then\r\n\r\nx\r\n", "date: then\r\nMessage-ID: <1@x>\r\n\r\nx\r\n"),
            ("Message-Id: <2@y>\r\nDate: then\r\n\r\n", "Message-Id: <2@y>\r\nDate: then\r\n\r\n"),
            (
                "Bcc: a@b,\r\n c@d\r\nDate: then\r\nMessage-ID: 2\r\n\r\n",
                "Date: then\r\nMessage-ID: 2\r\n\r\n",
            ),
            ("bcc:\r\nResent-Bcc: a@b\r\nA: 1\r\n\r\n", "A: 1\r\nDate: now\r\nMessage-ID: <1@x>\r\n\r\n"),
            ("A: 1\r\n", "A: 1\r\nDate: now\r\nMessage-ID: <1@x>\r\n"),
            ("Hello\r\n", "Date: now\r\nMessage-ID: <1@x>\r\n\r\nHello\r\n"),
            ("", "Date: now\r\nMessage-ID: <1@x>\r\n"),
        ] {
            check(submitted, message, &format!("Trace: 1\r\n{expected}"));
        }
    }

    #[test]
    fn a_loop_is_seen() {
        let message = |count| format!("{}\r\nbody\r\n", "Received: x\r\n y\r\n".repeat(count));
        assert!(filter(relayed(), message(100).as_bytes(), 7).is_ok());
        for piece in [1, 7, 100_000] {
            assert_eq!(filter(relayed(), message(101).as_bytes(), piece), Err(Loop));
        }
        let in_body = format!("A: 1\r\n\r\n{}", "Received: x\r\n".repeat(200));
        assert!(filter(relayed(), in_body.as_bytes(), 7).is_ok());
    }

    #[test]
    fn huge_lines_pass_in_bounded_memory() {
        for line in
            [format!("A: {}\r\n", "x".repeat(100_000)), format!("A: 1\r\n{}\r\n", "y".repeat(100_000))]
        {
            let message = format!("{line}\r\nbody\r\n");
            let expected = format!("Trace: 1\r\n{message}");
            assert_eq!(filter(relayed(), message.as_bytes(), 1_000), Ok(expected.into_bytes()));
        }
    }

    #[test]
    fn the_body_is_not_copied() {
        let mut filter = HeaderFilter::new(relayed());
        let mut out = Vec::new();
        filter.pass(Bytes::from_static(b"A: 1\r\n\r\n"), &mut out).unwrap();
        let body = Bytes::from(vec![b'x'; 1000]);
        out.clear();
        filter.pass(body.clone(), &mut out).unwrap();
        assert_eq!(out.len(), 1);
        assert_eq!(out[0].as_ptr(), body.as_ptr());
    }
}
