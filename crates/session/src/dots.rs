//! Dot-stuffing (RFC 5321 section 4.5.2, RFC 1939 section 3), strictly: the data ends with CRLF.CRLF and with nothing
//! else, and a dot is stuffed wherever a line begins, the very first octet included.

use bytes::{BufMut, BytesMut};
use memchr::{memchr2, memmem};

/// Removes dot-stuffing from a stream and finds its end.
#[derive(Debug, Default)]
pub struct Unstuffer {
    state: State,
    bare: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// At the start of a line (the data begins at one).
    #[default]
    LineStart,
    /// Inside a line.
    Text,
    /// After a CR.
    Cr,
    /// After a dot at the start of a line.
    Dot,
    /// After a dot at the start of a line and a CR.
    DotCr,
}

/// What came of a piece.
#[derive(Debug, PartialEq, Eq)]
pub struct Unstuffed {
    /// Octets of the input that belong to the data, its end included.
    pub consumed: usize,
    /// CRLF.CRLF was found.
    pub end: bool,
}

impl Unstuffer {
    /// Decodes `input` into `out` up to the end of the data or of the input. At most one octet more than was consumed
    /// is written.
    pub fn decode(&mut self, input: &[u8], out: &mut BytesMut) -> Unstuffed {
        out.reserve(input.len() + 2);
        let mut at = 0;
        while at < input.len() {
            if self.state == State::Text {
                let run = self.run(&input[at..]);
                out.put_slice(&input[at..at + run]);
                at += run;
                if at == input.len() {
                    break;
                }
            }
            let octet = input[at];
            at += 1;
            match (self.state, octet) {
                (State::LineStart, b'.') => self.state = State::Dot,
                (State::Dot, b'\r') => self.state = State::DotCr,
                (State::DotCr, b'\n') => {
                    self.state = State::LineStart;
                    return Unstuffed { consumed: at, end: true };
                }
                (State::DotCr, _) => {
                    // The dot was a stuffed one, and the CR behind it is bare.
                    self.bare = true;
                    out.put_u8(b'\r');
                    self.text(octet, out);
                }
                (State::Cr, b'\n') => {
                    out.put_u8(b'\n');
                    self.state = State::LineStart;
                }
                (State::Cr, _) => {
                    self.bare = true;
                    self.text(octet, out);
                }
                // A dot was taken off; the rest of the line follows as it is.
                (State::Dot | State::LineStart | State::Text, _) => self.text(octet, out),
            }
        }
        Unstuffed { consumed: at, end: false }
    }

    /// Returns how many octets from inside a line are to be copied as they are, whole lines at a time: the bulk of a
    /// message. Stops inside a line, before a CR behind which anything but the text of a next line stands.
    fn run(&mut self, octets: &[u8]) -> usize {
        let mut at = 0;
        while let Some(found) = memchr2(b'\r', b'\n', &octets[at..]) {
            at += found;
            match &octets[at..] {
                [b'\n', ..] => {
                    self.bare = true;
                    at += 1;
                }
                [_, b'\n', next, ..] if !matches!(next, b'.' | b'\r' | b'\n') => at += 3,
                _ => return at,
            }
        }
        octets.len()
    }

    fn text(&mut self, octet: u8, out: &mut BytesMut) {
        out.put_u8(octet);
        self.bare |= octet == b'\n';
        self.state = if octet == b'\r' { State::Cr } else { State::Text };
    }

    /// Says whether a bare CR or a bare LF was seen (RFC 5321 section 2.3.8 forbids both).
    pub fn bare_line_end(&self) -> bool {
        self.bare
    }
}

/// Adds dot-stuffing to a stream and ends it.
#[derive(Debug, Default)]
pub struct Stuffer {
    position: Position,
}

/// What was sent last.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Position {
    /// A CRLF, or nothing yet.
    #[default]
    LineStart,
    /// A bare LF.
    AfterLf,
    /// A CR.
    AfterCr,
    /// Anything else.
    Inside,
}

impl Stuffer {
    /// Encodes a piece of the data. A dot after a bare LF is stuffed too: clients that take LF for a line end (most
    /// libraries do) then find no false end of data there.
    pub fn encode(&mut self, input: &[u8], out: &mut BytesMut) {
        let Some(first) = input.first() else { return };
        out.reserve(input.len() + 64);
        if matches!(self.position, Position::LineStart | Position::AfterLf) && *first == b'.' {
            out.put_u8(b'.');
        }
        let mut rest = input;
        while let Some(line_end) = memmem::find(rest, b"\n.") {
            let (lines, behind) = rest.split_at(line_end + 1);
            out.put_slice(lines);
            out.put_u8(b'.');
            rest = behind;
        }
        out.put_slice(rest);
        self.position = match input {
            [.., b'\r', b'\n'] => Position::LineStart,
            [b'\n'] if self.position == Position::AfterCr => Position::LineStart,
            [.., b'\n'] => Position::AfterLf,
            [.., b'\r'] => Position::AfterCr,
            _ => Position::Inside,
        };
    }

    /// Ends the data: the last line gets its CRLF if it has none, then comes the dot.
    pub fn finish(&mut self, out: &mut BytesMut) {
        if self.position != Position::LineStart {
            out.put_slice(b"\r\n");
        }
        out.put_slice(b".\r\n");
        self.position = Position::LineStart;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unstuff(input: &[u8], chunk: usize) -> (Vec<u8>, usize, bool, bool) {
        let mut decoder = Unstuffer::default();
        let mut out = BytesMut::new();
        let mut consumed = 0;
        for piece in input.chunks(chunk) {
            let step = decoder.decode(piece, &mut out);
            consumed += step.consumed;
            if step.end {
                return (out.to_vec(), consumed, true, decoder.bare_line_end());
            }
        }
        (out.to_vec(), consumed, false, decoder.bare_line_end())
    }

    #[test]
    fn finds_the_one_true_end() {
        for (wire, message, bare) in [
            (&b".\r\n"[..], &b""[..], false),
            (b"\r\n.\r\n", b"\r\n", false),
            (b"a\r\n.\r\n", b"a\r\n", false),
            (b"..\r\n.\r\n", b".\r\n", false),
            (b".a\r\n..b\r\n.\r\n", b"a\r\n.b\r\n", false),
            (b"a\n.\n\r\n.\r\n", b"a\n.\n\r\n", true),
            (b"a\r\n.\n\r\n.\r\n", b"a\r\n\n\r\n", true),
            (b"a\r.\r\r\n.\r\n", b"a\r.\r\r\n", true),
            (b"a\n.\r\nb\r\n.\r\n", b"a\n.\r\nb\r\n", true),
            (b"a\r\n.\rb\r\n.\r\n", b"a\r\n\rb\r\n", true),
            (b"a\r\nb\r\n\r\n.\r\n", b"a\r\nb\r\n\r\n", false),
            (b"a\r\nb\r\n..c\r\nd\r\n.\r\n", b"a\r\nb\r\n.c\r\nd\r\n", false),
            (b"a\r\n\nb\r\n.\r\n", b"a\r\n\nb\r\n", true),
            (b"a\r\nb\rc\r\n.\r\n", b"a\r\nb\rc\r\n", true),
            (b"a\r\nb\nc\r\n.\r\n", b"a\r\nb\nc\r\n", true),
            (b"a\r\n.\nb\r\n.\r\n", b"a\r\n\nb\r\n", true),
        ] {
            for chunk in 1..=wire.len() {
                let (out, consumed, end, seen_bare) = unstuff(wire, chunk);
                assert!(end, "{wire:?}");
                assert_eq!(
                    (out.as_slice(), consumed, seen_bare),
                    (message, wire.len(), bare),
                    "{wire:?} by {chunk}"
                );
            }
        }
    }

    #[test]
    fn what_follows_the_end_is_left() {
        assert_eq!(unstuff(b"a\r\n.\r\nQUIT\r\n", 100).1, 6);
    }

    #[test]
    fn stuffing_is_undone_by_unstuffing() {
        for message in [
            &b""[..],
            b".\r\n",
            b"..\r\n.\r\n",
            b".a\r\n\r\n.\r\n",
            b"a\r\n.b\r\n..\r\n",
            b"a.\r\nb\r\n.\r\n.c.\r\n",
        ] {
            for chunk in 1..=message.len().max(1) {
                let mut wire = BytesMut::new();
                let mut encoder = Stuffer::default();
                message.chunks(chunk).for_each(|piece| encoder.encode(piece, &mut wire));
                encoder.finish(&mut wire);
                let (out, consumed, end, _) = unstuff(&wire, wire.len());
                assert!(end);
                assert_eq!((out.as_slice(), consumed), (message, wire.len()), "{message:?} by {chunk}");
            }
        }
    }

    #[test]
    fn the_last_line_is_always_ended() {
        for (message, wire) in [
            (&b"a"[..], &b"a\r\n.\r\n"[..]),
            (b"a\n", b"a\n\r\n.\r\n"),
            (b"a\r", b"a\r\r\n.\r\n"),
            (b"a\n.\r\nb", b"a\n..\r\nb\r\n.\r\n"),
        ] {
            let mut out = BytesMut::new();
            let mut encoder = Stuffer::default();
            encoder.encode(message, &mut out);
            encoder.finish(&mut out);
            assert_eq!(out, wire);
        }
    }
}
