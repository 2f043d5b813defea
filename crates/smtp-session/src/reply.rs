//! Every reply the server gives, by name: code (RFC 5321 section 4.2.3), enhanced status code (from the registry that RFC
//! 5248 began with those of RFC 3463, but for one that says so) and text, in one table.
//!
//! Replies to EHLO and HELO, the greeting and 3xx carry no enhanced code (RFC 2034 section 4); all others do, and its
//! class is the class of the reply code.

use std::fmt::Write;

use bytes::{BufMut, BytesMut};

/// Octets of the free text of a reply at most, so that the line with code and CRLF stays within 512 (RFC 5321 section
/// 4.5.3.1.5).
const TEXT_MAX: usize = 480;

/// One reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reply {
    /// Three digits.
    pub(crate) code: u16,
    /// The enhanced status code.
    pub(crate) status: &'static str,
    /// Words for a person.
    pub(crate) text: &'static str,
}

macro_rules! replies {
    ($($(#[$doc:meta])* $name:ident $code:literal $status:literal $text:literal;)*) => {
        $($(#[$doc])* pub(crate) const $name: Reply = Reply { code: $code, status: $status, text: $text };)*

        #[cfg(test)]
        const ALL: &[(&str, Reply)] = &[$((stringify!($name), $name)),*];
    };
}

replies! {
    OK 250 "2.0.0" "Ok";
    SENDER_OK 250 "2.1.0" "Ok";
    RECIPIENT_OK 250 "2.1.5" "Ok";
    BYE 221 "2.0.0" "Bye";
    /// RFC 3207 section 4.
    READY_FOR_TLS 220 "2.0.0" "Ready to start TLS";
    /// RFC 4954 section 4.
    LOGGED_IN 235 "2.7.0" "Authentication successful";
    HELP 214 "2.0.0" "EHLO HELO MAIL RCPT DATA RSET NOOP VRFY HELP STARTTLS AUTH QUIT (RFC 5321)";
    /// RFC 5321 section 3.5.3: the address is not verified, but mail for it will be tried.
    CANNOT_VERIFY 252 "2.0.0" "Cannot verify the address; send to it and see";

    SHUTTING_DOWN 421 "4.3.2" "Service shutting down, closing connection";
    TIMED_OUT 421 "4.4.2" "Timeout, closing connection";
    TOO_MANY_ERRORS 421 "4.7.0" "Too many errors, closing connection";
    TOO_MANY_LOGINS 421 "4.7.0" "Too many failed logins, closing connection";
    TOO_MANY_TRANSACTIONS 421 "4.7.0" "Too many messages over one connection, closing it";
    /// RFC 3207 section 6.
    OCTETS_BEHIND_STARTTLS 421 "4.7.0" "Commands behind STARTTLS, closing connection";
    NOT_SMTP 421 "4.7.0" "This is an SMTP server, closing connection";
    UNAVAILABLE 451 "4.3.0" "Temporarily unavailable, try again later";
    /// RFC 4954 section 6.
    LOGIN_UNAVAILABLE 454 "4.7.0" "Temporary authentication failure";
    /// RFC 5321 section 4.5.3.1.10: never 5xx, so that the client sends the rest in another transaction.
    TOO_MANY_RECIPIENTS 452 "4.5.3" "Too many recipients";
    MAILBOX_FULL 452 "4.2.2" "Mailbox full";
    MAILBOX_DISABLED 450 "4.2.1" "Mailbox temporarily disabled";

    UNKNOWN_COMMAND 500 "5.5.1" "Command unrecognized";
    LINE_TOO_LONG 500 "5.5.2" "Line too long";
    BARE_LINE_END 500 "5.5.2" "Bare CR or LF in command line";
    EMPTY_LINE 500 "5.5.2" "Empty command line";
    /// RFC 4954 section 6.
    LOGIN_LINE_TOO_LONG 500 "5.5.6" "Authentication exchange line is too long";
    NO_ARGUMENTS 501 "5.5.4" "No arguments allowed";
    SYNTAX_HELLO 501 "5.5.4" "Syntax: EHLO hostname";
    SYNTAX_MAIL 501 "5.5.4" "Syntax: MAIL FROM:<address> [parameters]";
    SYNTAX_RCPT 501 "5.5.4" "Syntax: RCPT TO:<address>";
    SYNTAX_VRFY 501 "5.5.4" "Syntax: VRFY address";
    SYNTAX_AUTH 501 "5.5.4" "Syntax: AUTH mechanism [initial-response]";
    SYNTAX_PARAMETERS 501 "5.5.4" "Syntax error in parameters";
    SENDER_TOO_LONG 501 "5.1.7" "Path too long";
    RECIPIENT_TOO_LONG 501 "5.1.3" "Path too long";
    /// RFC 4954 section 4.
    NOT_BASE64 501 "5.5.2" "Cannot decode the response";
    LOGIN_CANCELLED 501 "5.7.0" "Authentication cancelled";
    NOT_IMPLEMENTED 502 "5.5.1" "Command not implemented";
    SAY_HELLO_FIRST 503 "5.5.1" "Send EHLO first";
    NESTED_MAIL 503 "5.5.1" "A transaction is under way; RSET ends it";
    MAIL_FIRST 503 "5.5.1" "Need MAIL before RCPT";
    RCPT_FIRST 503 "5.5.1" "Need MAIL and RCPT before DATA";
    TLS_ACTIVE 503 "5.5.1" "TLS is already active";
    ALREADY_LOGGED_IN 503 "5.5.1" "Already authenticated";
    LOGIN_INSIDE_TRANSACTION 503 "5.5.1" "AUTH is not allowed inside a transaction";
    UNKNOWN_MECHANISM 504 "5.5.4" "Authentication mechanism not supported";
    /// RFC 4954 section 6.
    LOGIN_REQUIRED 530 "5.7.0" "Authentication required";
    /// RFC 3207 section 4.
    TLS_REQUIRED 530 "5.7.0" "Must issue a STARTTLS command first";
    /// One text for whatever is wrong with the credentials.
    BAD_CREDENTIALS 535 "5.7.8" "Authentication credentials invalid";
    /// RFC 4954 section 6.
    ENCRYPTION_REQUIRED 538 "5.7.11" "Encryption required for the authentication mechanism";
    UNKNOWN_USER 550 "5.1.1" "No such user here";
    RELAY_DENIED 550 "5.7.1" "Relaying denied";
    ALIAS_LOOP 550 "5.4.6" "The address is an alias that leads to itself";
    /// Our choice: 5.6.x is about content (RFC 3463 section 3.7), and no code of the registry tells of line ends. Other
    /// servers use this one for it.
    BARE_LINE_END_IN_MESSAGE 550 "5.6.11" "Message holds a bare CR or LF";
    TOO_LARGE 552 "5.3.4" "Message size exceeds the limit";
    BAD_SENDER 553 "5.1.7" "Sender address not valid";
    BAD_RECIPIENT 553 "5.1.3" "Recipient address not valid";
    /// RFC 6531 section 3.5: SMTPUTF8 is not offered.
    NON_ASCII_ADDRESS 553 "5.6.7" "Non-ASCII addresses are not supported";
    NOT_YOUR_ADDRESS 553 "5.7.1" "Sender address not owned by the authenticated user";
    NO_VALID_RECIPIENTS 554 "5.5.1" "No valid recipients";
    /// RFC 5321 section 4.1.1.11.
    UNKNOWN_PARAMETER 555 "5.5.4" "Parameter not recognized or not implemented";
}

impl Reply {
    /// Makes a reply of a service's own words. A code that refuses nothing would tell the client that its message is
    /// kept, so it becomes 451; the enhanced code is made to have the class of the code (RFC 2034 section 4).
    pub(crate) fn refusal(code: u16, status: &'static str, text: &'static str) -> Self {
        let (class, none) = match code {
            400..=499 => ("4.", "4.0.0"),
            500..=599 => ("5.", "5.0.0"),
            _ => return UNAVAILABLE,
        };
        Self { code, status: if status.starts_with(class) { status } else { none }, text }
    }

    /// Says whether the client may try again.
    pub(crate) fn is_temporary(&self) -> bool {
        (400..500).contains(&self.code)
    }

    /// Appends the reply's line.
    pub(crate) fn write(self, out: &mut BytesMut) {
        line(out, self.code, b' ', &[self.status, " ", self.text]);
    }
}

/// Appends the greeting (RFC 5321 section 4.2).
pub(crate) fn greeting(out: &mut BytesMut, hostname: &str) {
    line(out, 220, b' ', &[hostname, " ESMTP PuRo"]);
}

/// Appends `354`, which has no enhanced code.
pub(crate) fn start_message(out: &mut BytesMut) {
    line(out, 354, b' ', &["End data with <CR><LF>.<CR><LF>"]);
}

/// Appends a challenge: `334` and base64, perhaps none (RFC 4954 section 4).
pub(crate) fn challenge(out: &mut BytesMut, base64: &str) {
    line(out, 334, b' ', &[base64]);
}

/// Appends the reply that takes responsibility for a message.
pub(crate) fn queued(out: &mut BytesMut, queue_id: &str) {
    line(out, 250, b' ', &["2.0.0 Ok: queued as ", queue_id]);
}

/// Appends a `250` of one or more lines without enhanced codes (RFC 5321 section 4.1.1.1).
pub(crate) fn hello(out: &mut BytesMut, hostname: &str, keywords: &[String]) {
    let mut text = hostname;
    for next in keywords {
        line(out, 250, b'-', &[text]);
        text = next;
    }
    line(out, 250, b' ', &[text]);
}

/// Appends one line, whatever the parts hold: no control character, nothing but ASCII, at most 512 octets.
fn line(out: &mut BytesMut, code: u16, separator: u8, parts: &[&str]) {
    // Writing to a BytesMut cannot fail.
    let _ = write!(out, "{code:03}");
    out.put_u8(separator);
    let text = parts.iter().flat_map(|part| part.bytes());
    out.extend(
        text.take(TEXT_MAX).map(|octet| if octet == b' ' || octet.is_ascii_graphic() { octet } else { b'?' }),
    );
    out.put_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_agree_and_lines_fit() {
        for (name, reply) in ALL {
            let class = (reply.code / 100).to_string();
            assert_eq!(reply.status.split('.').next(), Some(class.as_str()), "{name}");
            assert_eq!(reply.status.split('.').count(), 3, "{name}");
            let mut out = BytesMut::new();
            reply.write(&mut out);
            assert_eq!(out, format!("{} {} {}\r\n", reply.code, reply.status, reply.text), "{name}");
            assert!(out.len() <= 512, "{name}");
        }
    }

    #[test]
    fn a_line_holds_what_it_may_hold_only() {
        let mut out = BytesMut::new();
        queued(&mut out, "a\r\n250 ü\0");
        assert_eq!(out, "250 2.0.0 Ok: queued as a??250 ???\r\n");
        out.clear();
        queued(&mut out, &"x".repeat(2000));
        assert!(out.len() <= 512);
    }

    #[test]
    fn a_service_cannot_refuse_with_a_yes() {
        assert_eq!(Reply::refusal(554, "5.4.6", "Loop"), Reply { code: 554, status: "5.4.6", text: "Loop" });
        assert_eq!(Reply::refusal(450, "5.4.6", "Loop").status, "4.0.0");
        assert_eq!(Reply::refusal(550, "", "No").status, "5.0.0");
        for code in [0, 250, 354, 399, 600] {
            assert_eq!(Reply::refusal(code, "2.0.0", "Ok"), UNAVAILABLE);
        }
    }
}
