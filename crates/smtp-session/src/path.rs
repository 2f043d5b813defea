//! Paths: what stands in the angle brackets of MAIL and RCPT (RFC 5321 section 4.1.2).

use puro_types::{AddressError, DomainName, EmailAddress};

/// Octets of a path at most, brackets and source route included (RFC 5321 section 4.5.3.1.3).
pub(crate) const PATH_MAX: usize = 256;

/// Why a text is not a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PathError {
    /// No brackets, or something behind them that is not a space.
    Brackets,
    /// Longer than a path, a local part or a domain may be.
    TooLong,
    /// Octets outside ASCII, which need SMTPUTF8.
    NonAscii,
    /// What is inside is not a mailbox.
    Mailbox,
}

impl From<AddressError> for PathError {
    fn from(error: AddressError) -> Self {
        match error {
            AddressError::TooLong => Self::TooLong,
            AddressError::Form | AddressError::LocalPart | AddressError::Domain => Self::Mailbox,
        }
    }
}

/// Takes a reverse-path from the front of `text`: `None` for `<>`. Returns what follows it, too.
pub(crate) fn reverse_path(text: &[u8]) -> Result<(Option<EmailAddress>, &[u8]), PathError> {
    let (mailbox, rest) = path(text)?;
    if mailbox.is_empty() {
        return Ok((None, rest));
    }
    Ok((Some(without_route(mailbox)?.parse()?), rest))
}

/// Takes a forward-path from the front of `text`: the mailbox as it stands there, its source route dropped. The one
/// mailbox that needs no domain is `postmaster`, in any case (RFC 5321 section 4.5.1).
pub(crate) fn forward_path(text: &[u8]) -> Result<(&str, &[u8]), PathError> {
    let (mailbox, rest) = path(text)?;
    if mailbox.eq_ignore_ascii_case("postmaster") {
        return Ok((mailbox, rest));
    }
    let mailbox = without_route(mailbox)?;
    mailbox.parse::<EmailAddress>()?;
    Ok((mailbox, rest))
}

/// Splits what is inside the brackets from what is behind them.
fn path(text: &[u8]) -> Result<(&str, &[u8]), PathError> {
    let inside = text.strip_prefix(b"<").ok_or(PathError::Brackets)?;
    let end = closing_bracket(inside).ok_or(PathError::Brackets)?;
    let (inside, rest) = (&inside[..end], &inside[end + 1..]);
    if !matches!(rest.first(), None | Some(b' ')) {
        return Err(PathError::Brackets);
    }
    if inside.len() + 2 > PATH_MAX {
        return Err(PathError::TooLong);
    }
    if !inside.is_ascii() {
        return Err(PathError::NonAscii);
    }
    if inside.iter().any(u8::is_ascii_control) {
        return Err(PathError::Mailbox);
    }
    let inside = std::str::from_utf8(inside).map_err(|_| PathError::NonAscii)?;
    Ok((inside, rest))
}

/// Returns where the `>` is that is not inside a quoted string.
fn closing_bracket(text: &[u8]) -> Option<usize> {
    let mut quoted = false;
    let mut escaped = false;
    text.iter().position(|octet| {
        let plain = !escaped;
        escaped = quoted && plain && *octet == b'\\';
        quoted ^= plain && *octet == b'"';
        *octet == b'>' && !quoted
    })
}

/// Drops a source route: it must be accepted and should be ignored (RFC 5321 sections 3.6.1, 4.1.1.3 and appendix C).
fn without_route(path: &str) -> Result<&str, PathError> {
    if !path.starts_with('@') {
        return Ok(path);
    }
    let (route, mailbox) = path.split_once(':').ok_or(PathError::Mailbox)?;
    for hop in route.split(',') {
        let domain: DomainName = hop.strip_prefix('@').ok_or(PathError::Mailbox)?.parse()?;
        if domain.is_literal() {
            return Err(PathError::Mailbox);
        }
    }
    Ok(mailbox)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn forward_paths_by_table() {
        for (text, mailbox, rest) in [
            ("<me@example.org>", "me@example.org", ""),
            ("<Me@Example.Org> X=1", "Me@Example.Org", " X=1"),
            ("<postmaster>", "postmaster", ""),
            ("<PostMaster>", "PostMaster", ""),
            ("<@a.example,@b.example:me@c.example>", "me@c.example", ""),
            ("<\"a b\"@example.org>", "\"a b\"@example.org", ""),
            ("<\"a>b\\\">\"@example.org>", "\"a>b\\\">\"@example.org", ""),
            ("<me@[127.0.0.1]>", "me@[127.0.0.1]", ""),
            ("<me@[IPv6:2001:db8::1]>", "me@[IPv6:2001:db8::1]", ""),
            ("<a%b@example.org>", "a%b@example.org", ""),
            ("<a!b@example.org>", "a!b@example.org", ""),
        ] {
            assert_eq!(forward_path(text.as_bytes()), Ok((mailbox, rest.as_bytes())), "{text}");
        }
    }

    #[test]
    fn refused_paths_by_table() {
        for (text, error) in [
            ("", PathError::Brackets),
            ("me@example.org", PathError::Brackets),
            ("<me@example.org", PathError::Brackets),
            ("<\"me@example.org>", PathError::Brackets),
            ("<me@example.org>x", PathError::Brackets),
            ("<>", PathError::Mailbox),
            ("<me>", PathError::Mailbox),
            ("<postmaster@>", PathError::Mailbox),
            ("<me@>", PathError::Mailbox),
            ("<@example.org>", PathError::Mailbox),
            ("<@a.example:>", PathError::Mailbox),
            ("<a.example:me@c.example>", PathError::Mailbox),
            ("<@a.example,b.example:me@c.example>", PathError::Mailbox),
            ("<@[127.0.0.1]:me@c.example>", PathError::Mailbox),
            ("<a b@example.org>", PathError::Mailbox),
            ("<a@b@example.org>", PathError::Mailbox),
            ("<a\0@example.org>", PathError::Mailbox),
            ("<\"a\x01\"@example.org>", PathError::Mailbox),
            ("<me@exa mple.org>", PathError::Mailbox),
            ("<<me@example.org>>", PathError::Brackets),
            ("<dömäne@example.org>", PathError::NonAscii),
        ] {
            assert_eq!(forward_path(text.as_bytes()), Err(error), "{text:?}");
        }
        assert_eq!(forward_path(b"<\xff@example.org>"), Err(PathError::NonAscii));
    }

    #[test]
    fn limits_are_where_the_standard_has_them() {
        let local = |length| format!("<{}@example.org>", "l".repeat(length));
        assert!(forward_path(local(64).as_bytes()).is_ok());
        assert_eq!(forward_path(local(65).as_bytes()), Err(PathError::TooLong));
        let routed = |length: usize| {
            let tail = "me@c.example>";
            let mut path = String::from("<@a.example");
            while path.len() + 1 + tail.len() < length {
                let label = (length - path.len() - tail.len() - 1).min(60);
                path.push_str(if label < 3 { "" } else { ",@" });
                path.push_str(&"x".repeat(label.saturating_sub(2).max(1)));
            }
            format!("{path}:{tail}")
        };
        assert_eq!(routed(256).len(), 256);
        assert!(forward_path(routed(256).as_bytes()).is_ok());
        assert_eq!(forward_path(routed(257).as_bytes()), Err(PathError::TooLong));
        let domain = format!("<a@{}>", vec!["d".repeat(50); 6].join("."));
        assert_eq!(forward_path(domain.as_bytes()), Err(PathError::TooLong));
    }

    #[test]
    fn the_null_reverse_path_is_no_sender() {
        assert_eq!(reverse_path(b"<> SIZE=1"), Ok((None, b" SIZE=1".as_slice())));
        let (sender, rest) = reverse_path(b"<@relay.example:Me@Example.org>").unwrap();
        assert_eq!((sender.unwrap().to_string(), rest), ("Me@example.org".to_owned(), b"".as_slice()));
        assert_eq!(reverse_path(b"<postmaster>"), Err(PathError::Mailbox));
    }

    proptest! {
        #[test]
        fn a_written_path_reads_back(local in "[ -~]{1,64}", domain in "[a-z][a-z0-9]{0,20}(\\.[a-z]{1,9}){0,3}") {
            let address = EmailAddress::from_parts(&local, domain.parse().unwrap()).unwrap();
            let text = format!("<{address}>");
            prop_assert_eq!(reverse_path(text.as_bytes()), Ok((Some(address.clone()), b"".as_slice())));
            let (mailbox, _) = forward_path(text.as_bytes()).unwrap();
            prop_assert_eq!(mailbox.parse::<EmailAddress>(), Ok(address));
        }

        #[test]
        fn no_octets_upset_it(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = reverse_path(&text);
            let _ = forward_path(&text);
        }
    }
}
