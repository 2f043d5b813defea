//! Reply lines: `+OK` or `-ERR`, a response code where there is one, words for a person.

use std::fmt::{self, Write};

use bytes::BytesMut;

/// Octets of a reply line at most, CRLF included (RFC 2449 section 4).
const LINE_MAX: usize = 512;

/// A response code, for programs (RFC 2449 section 8, RFC 3206).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// The credentials are the fault.
    Auth,
    /// It may work later.
    SysTemp,
    /// It will not, until a person acts.
    SysPerm,
}

impl Code {
    fn text(self) -> &'static str {
        match self {
            Self::Auth => "[AUTH]",
            Self::SysTemp => "[SYS/TEMP]",
            Self::SysPerm => "[SYS/PERM]",
        }
    }
}

/// Appends `+OK` and these words. As RESP-CODES is offered, no words may begin with `[` (RFC 2449 section 6.4).
pub(crate) fn ok(out: &mut BytesMut, words: fmt::Arguments<'_>) {
    line(out, format_args!("+OK {words}"));
}

/// Appends `-ERR` and these words, which have no code.
pub(crate) fn err(out: &mut BytesMut, words: &str) {
    line(out, format_args!("-ERR {words}"));
}

/// Appends `-ERR`, a code and these words.
pub(crate) fn err_code(out: &mut BytesMut, code: Code, words: &str) {
    line(out, format_args!("-ERR {} {words}", code.text()));
}

/// Appends one line. What an operator wrote may stand in it: an octet that is not printable ASCII becomes `?`, and a
/// line that would be too long is cut.
pub(crate) fn line(out: &mut BytesMut, words: fmt::Arguments<'_>) {
    let start = out.len();
    // Writing to a buffer that grows does not fail.
    let _ = out.write_fmt(words);
    out.truncate(start + LINE_MAX - 2);
    for octet in &mut out[start..] {
        if !matches!(octet, b' '..=b'~') {
            *octet = b'?';
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// Ends a reply of several lines.
pub(crate) fn end(out: &mut BytesMut) {
    out.extend_from_slice(b".\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_at_512_octets_and_stays_one_line() {
        let mut out = BytesMut::from(&b"+OK before\r\n"[..]);
        line(&mut out, format_args!("+OK a\r\nb\u{e9}{}", "x".repeat(1000)));
        assert_eq!(out.len(), 12 + 512);
        assert!(out[12..].starts_with(b"+OK a??b??xxx") && out.ends_with(b"x\r\n"));
    }
}
