//! Bare line ends made whole: each CR or LF that stands alone becomes CRLF.

use bytes::{BufMut, BytesMut};

/// Makes line ends whole in a stream.
#[derive(Debug, Default)]
pub(crate) struct Normaliser {
    /// The last octet was a CR, already passed on.
    after_cr: bool,
}

impl Normaliser {
    /// Takes note of octets that are known to need no change.
    pub(crate) fn skip(&mut self, clean: &[u8]) {
        if let Some(last) = clean.last() {
            self.after_cr = *last == b'\r';
        }
    }

    /// Passes octets on. A CR at the end of the stream stays bare; data that ended with CRLF.CRLF has none there.
    pub(crate) fn pass(&mut self, input: &[u8], out: &mut BytesMut) {
        out.reserve(input.len() + input.len() / 32 + 2);
        for octet in input {
            match (self.after_cr, *octet) {
                (true, b'\n') => {}
                (true, _) => out.put_u8(b'\n'),
                (false, b'\n') => out.put_u8(b'\r'),
                (false, _) => {}
            }
            out.put_u8(*octet);
            self.after_cr = *octet == b'\r';
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_end_becomes_crlf_in_any_pieces() {
        for (message, expected) in [
            (&b"a\r\nb\r\n"[..], &b"a\r\nb\r\n"[..]),
            (b"a\nb\r\n", b"a\r\nb\r\n"),
            (b"a\rb\r\n", b"a\r\nb\r\n"),
            (b"a\r\r\n", b"a\r\n\r\n"),
            (b"\n\n\r\n", b"\r\n\r\n\r\n"),
            (b"\n\r\r\n", b"\r\n\r\n\r\n"),
        ] {
            for size in 1..=message.len() {
                let mut normaliser = Normaliser::default();
                let mut out = BytesMut::new();
                message.chunks(size).for_each(|piece| normaliser.pass(piece, &mut out));
                assert_eq!(out, expected, "{message:?} by {size}");
            }
        }
    }
}
