//! Command lines, read into types (RFC 5321 section 4.1.1). Nothing here depends on the state of a session.

use puro_types::EmailAddress;

use crate::{
    parameters::MailParameters,
    path::{PathError, forward_path, reverse_path},
    reply::{self, Reply},
};

/// One command, its arguments checked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command<'a> {
    /// The client's name for itself.
    Ehlo(&'a str),
    /// Likewise, from a client that knows no extensions.
    Helo(&'a str),
    /// The reverse-path, `None` for `<>`, and what came with it.
    Mail(Option<EmailAddress>, MailParameters),
    /// The mailbox as it stood there, or `postmaster` alone.
    Rcpt(&'a str),
    /// The message follows.
    Data,
    /// Forget the transaction.
    Rset,
    /// Nothing.
    Noop,
    /// Is this a user?
    Vrfy,
    /// What can you do?
    Help,
    /// Goodbye.
    Quit,
    /// RFC 3207.
    StartTls,
    /// RFC 4954.
    Auth {
        /// The mechanism's name as it stood there.
        mechanism: &'a [u8],
        /// The initial response, still in base64.
        initial: Option<&'a [u8]>,
    },
    /// Another protocol's request: a web browser, say, that was made to talk to us.
    Foreign,
}

/// Verbs that the standard knows and this server does not do: 502 rather than 500 (RFC 5321 section 4.2.4).
const NOT_IMPLEMENTED: [&str; 9] =
    ["EXPN", "SEND", "SOML", "SAML", "TURN", "ETRN", "ATRN", "BDAT", "XCLIENT"];

/// Request lines of HTTP. A page can make a browser send such to any port, with SMTP commands in what follows.
const FOREIGN: [&str; 7] = ["GET", "POST", "PUT", "HEAD", "DELETE", "CONNECT", "OPTIONS"];

/// Says whether the line has the verb AUTH, whose lines may be longer than others.
pub(crate) fn is_auth(line: &[u8]) -> bool {
    split_verb(line).0.eq_ignore_ascii_case(b"AUTH")
}

/// Reads a line without its CRLF. White space at its end is tolerated (RFC 5321 section 4.1.1).
pub(crate) fn parse(line: &[u8]) -> Result<Command<'_>, Reply> {
    let (verb, arguments) = split_verb(line);
    let is = |name: &str| verb.eq_ignore_ascii_case(name.as_bytes());
    let bare = |command| if arguments.is_empty() { Ok(command) } else { Err(reply::NO_ARGUMENTS) };
    match verb {
        b"" => Err(reply::EMPTY_LINE),
        _ if is("EHLO") => client_name(arguments).map(Command::Ehlo),
        _ if is("HELO") => client_name(arguments).map(Command::Helo),
        _ if is("MAIL") => mail(arguments),
        _ if is("RCPT") => rcpt(arguments),
        _ if is("DATA") => bare(Command::Data),
        _ if is("RSET") => bare(Command::Rset),
        // NOOP's argument is ignored (RFC 5321 section 4.1.1.9), and so is HELP's.
        _ if is("NOOP") => Ok(Command::Noop),
        _ if is("HELP") => Ok(Command::Help),
        _ if is("VRFY") && arguments.is_empty() => Err(reply::SYNTAX_VRFY),
        _ if is("VRFY") => Ok(Command::Vrfy),
        _ if is("QUIT") => bare(Command::Quit),
        // RFC 3207 section 4: 501 when there is a parameter.
        _ if is("STARTTLS") => bare(Command::StartTls),
        _ if is("AUTH") => auth(arguments),
        _ if NOT_IMPLEMENTED.into_iter().any(is) => Err(reply::NOT_IMPLEMENTED),
        _ if FOREIGN.into_iter().any(is) => Ok(Command::Foreign),
        _ => Err(reply::UNKNOWN_COMMAND),
    }
}

fn split_verb(line: &[u8]) -> (&[u8], &[u8]) {
    let line = trim_end(line);
    let end = line.iter().position(|octet| *octet == b' ').unwrap_or(line.len());
    (&line[..end], trim_start(&line[end..]))
}

fn trim_start(text: &[u8]) -> &[u8] {
    let at = text.iter().position(|octet| *octet != b' ').unwrap_or(text.len());
    &text[at..]
}

fn trim_end(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|octet| !matches!(octet, b' ' | b'\t')).map_or(0, |at| at + 1);
    &text[..end]
}

/// The argument of EHLO and HELO. Clients call themselves many things that are no domain (`my_pc`, `localhost.`); a
/// server may not refuse mail for that (RFC 5321 section 4.1.4), so all that is asked is one word that fits the
/// Received field.
fn client_name(text: &[u8]) -> Result<&str, Reply> {
    let valid = (1..=255).contains(&text.len()) && text.iter().all(u8::is_ascii_graphic);
    std::str::from_utf8(text).ok().filter(|_| valid).ok_or(reply::SYNTAX_HELLO)
}

/// Takes `FROM:` or `TO:` off, and spaces behind it, which old clients send against RFC 5321 section 3.3.
fn after_keyword<'a>(text: &'a [u8], keyword: &str) -> Option<&'a [u8]> {
    let (front, rest) = text.split_at_checked(keyword.len())?;
    front.eq_ignore_ascii_case(keyword.as_bytes()).then(|| trim_start(rest))
}

/// `"MAIL FROM:" Reverse-path [SP Mail-parameters]` (RFC 5321 section 4.1.1.2).
fn mail(arguments: &[u8]) -> Result<Command<'_>, Reply> {
    let text = after_keyword(arguments, "FROM:").ok_or(reply::SYNTAX_MAIL)?;
    let (sender, rest) = reverse_path(text).map_err(|error| match error {
        PathError::Brackets => reply::SYNTAX_MAIL,
        PathError::TooLong => reply::SENDER_TOO_LONG,
        PathError::NonAscii => reply::NON_ASCII_ADDRESS,
        PathError::Mailbox => reply::BAD_SENDER,
    })?;
    Ok(Command::Mail(sender, MailParameters::parse(rest)?))
}

/// `"RCPT TO:" Forward-path [SP Rcpt-parameters]` (RFC 5321 section 4.1.1.3); no parameter is known.
fn rcpt(arguments: &[u8]) -> Result<Command<'_>, Reply> {
    let text = after_keyword(arguments, "TO:").ok_or(reply::SYNTAX_RCPT)?;
    let (mailbox, rest) = forward_path(text).map_err(|error| match error {
        PathError::Brackets => reply::SYNTAX_RCPT,
        PathError::TooLong => reply::RECIPIENT_TOO_LONG,
        PathError::NonAscii => reply::NON_ASCII_ADDRESS,
        PathError::Mailbox => reply::BAD_RECIPIENT,
    })?;
    if trim_start(rest).is_empty() { Ok(Command::Rcpt(mailbox)) } else { Err(reply::UNKNOWN_PARAMETER) }
}

/// `AUTH mechanism [initial-response]` (RFC 4954 section 4).
fn auth(arguments: &[u8]) -> Result<Command<'_>, Reply> {
    let mut words = arguments.split(|octet| *octet == b' ').filter(|word| !word.is_empty());
    match (words.next(), words.next(), words.next()) {
        (Some(mechanism), initial, None) => Ok(Command::Auth { mechanism, initial }),
        _ => Err(reply::SYNTAX_AUTH),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn commands_by_table() {
        let none = MailParameters::default;
        let me = || Some("me@example.org".parse().unwrap());
        for (line, command) in [
            ("EHLO client.example", Command::Ehlo("client.example")),
            ("ehlo [127.0.0.1]", Command::Ehlo("[127.0.0.1]")),
            ("HELO my_pc", Command::Helo("my_pc")),
            ("MAIL FROM:<me@example.org>", Command::Mail(me(), none())),
            ("mail from:<me@example.org> ", Command::Mail(me(), none())),
            ("MAIL FROM: <me@example.org>", Command::Mail(me(), none())),
            ("Mail  From:   <me@example.org>  ", Command::Mail(me(), none())),
            ("MAIL FROM:<>", Command::Mail(None, none())),
            ("RCPT TO:<me@example.org>", Command::Rcpt("me@example.org")),
            ("rcpt to: <POSTMASTER>", Command::Rcpt("POSTMASTER")),
            ("DATA", Command::Data),
            ("data \t", Command::Data),
            ("RSET", Command::Rset),
            ("NOOP", Command::Noop),
            ("NOOP whatever this is", Command::Noop),
            ("HELP", Command::Help),
            ("HELP MAIL", Command::Help),
            ("VRFY me", Command::Vrfy),
            ("QUIT", Command::Quit),
            ("starttls", Command::StartTls),
            ("AUTH PLAIN", Command::Auth { mechanism: b"PLAIN", initial: None }),
            ("auth plain =", Command::Auth { mechanism: b"plain", initial: Some(b"=") }),
            ("GET / HTTP/1.1", Command::Foreign),
        ] {
            assert_eq!(parse(line.as_bytes()), Ok(command), "{line}");
        }
    }

    #[test]
    fn refusals_by_table() {
        for (line, refusal) in [
            ("", reply::EMPTY_LINE),
            ("   ", reply::EMPTY_LINE),
            (" NOOP", reply::EMPTY_LINE),
            ("XYZZY", reply::UNKNOWN_COMMAND),
            ("NOOP\tx", reply::UNKNOWN_COMMAND),
            ("MAILFROM:<a@b>", reply::UNKNOWN_COMMAND),
            ("EXPN list", reply::NOT_IMPLEMENTED),
            ("TURN", reply::NOT_IMPLEMENTED),
            ("BDAT 5 LAST", reply::NOT_IMPLEMENTED),
            ("EHLO", reply::SYNTAX_HELLO),
            ("EHLO a b", reply::SYNTAX_HELLO),
            ("HELO", reply::SYNTAX_HELLO),
            ("EHLO a\0b", reply::SYNTAX_HELLO),
            ("EHLO dömäne", reply::SYNTAX_HELLO),
            ("MAIL", reply::SYNTAX_MAIL),
            ("MAIL <a@b>", reply::SYNTAX_MAIL),
            ("MAIL FROM <a@b>", reply::SYNTAX_MAIL),
            ("MAIL FROM :<a@b>", reply::SYNTAX_MAIL),
            ("MAIL FROM:a@b", reply::SYNTAX_MAIL),
            ("MAIL FROM:<a@b>SIZE=1", reply::SYNTAX_MAIL),
            ("MAIL FROM:<a>", reply::BAD_SENDER),
            ("MAIL FROM:<é@b>", reply::NON_ASCII_ADDRESS),
            ("RCPT", reply::SYNTAX_RCPT),
            ("RCPT TO:", reply::SYNTAX_RCPT),
            ("RCPT FROM:<a@b>", reply::SYNTAX_RCPT),
            ("RCPT TO:<>", reply::BAD_RECIPIENT),
            ("RCPT TO:<a@b> NOTIFY=NEVER", reply::UNKNOWN_PARAMETER),
            ("DATA now", reply::NO_ARGUMENTS),
            ("RSET now", reply::NO_ARGUMENTS),
            ("QUIT now", reply::NO_ARGUMENTS),
            ("STARTTLS now", reply::NO_ARGUMENTS),
            ("VRFY", reply::SYNTAX_VRFY),
            ("AUTH", reply::SYNTAX_AUTH),
            ("AUTH PLAIN a b", reply::SYNTAX_AUTH),
        ] {
            assert_eq!(parse(line.as_bytes()), Err(refusal), "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn no_octets_upset_it(line in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&line);
        }
    }
}
