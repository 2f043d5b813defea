//! Mail addresses (RFC 5321 section 4.1.2) as the directory knows them.

use std::{fmt, str::FromStr};

/// Octets of a local part at most (RFC 5321 section 4.5.3.1.1).
pub const LOCAL_PART_MAX: usize = 64;
/// Octets of a domain at most (RFC 5321 section 4.5.3.1.2).
pub const DOMAIN_MAX: usize = 255;

/// A text that is not an address, or not a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// No `@`, or nothing before or behind it.
    #[error("an address has the form local-part@domain")]
    Form,
    /// The local part is neither a dot-atom nor a quoted string.
    #[error("the part before @ is not valid")]
    LocalPart,
    /// The domain is neither a host name nor an address literal.
    #[error("the domain is not valid")]
    Domain,
    /// A part is longer than RFC 5321 section 4.5.3.1 allows.
    #[error("the address is too long")]
    TooLong,
}

/// A domain name, lower case, without a final dot; or an address literal such as `[127.0.0.1]` or `[IPv6:::1]`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainName(String);

impl DomainName {
    /// Returns the text form.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Says whether this is an address literal.
    pub fn is_literal(&self) -> bool {
        self.0.starts_with('[')
    }
}

impl FromStr for DomainName {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.len() > DOMAIN_MAX {
            return Err(AddressError::TooLong);
        }
        if let Some(literal) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let address = match literal.get(..5) {
                Some(tag) if tag.eq_ignore_ascii_case("ipv6:") => {
                    literal[5..].parse::<std::net::Ipv6Addr>().map(|ip| format!("[IPv6:{ip}]")).ok()
                }
                _ => literal.parse::<std::net::Ipv4Addr>().map(|ip| format!("[{ip}]")).ok(),
            };
            return address.map(Self).ok_or(AddressError::Domain);
        }
        // Checked in lower case, which may be longer (`Ⱥ`) or have other characters (`İ`): what is accepted once is read
        // back by the next service.
        let text = text.strip_suffix('.').unwrap_or(text).to_lowercase();
        if text.len() > DOMAIN_MAX {
            return Err(AddressError::TooLong);
        }
        if text.split('.').all(is_label) { Ok(Self(text)) } else { Err(AddressError::Domain) }
    }
}

/// Letters, digits and inner hyphens (RFC 5321 `sub-domain`); underscores, which the world uses; and any non-ASCII
/// letter (RFC 6531 `U-label`).
fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.chars().all(|c| {
            c.is_ascii_alphanumeric() || c == '-' || c == '_' || (!c.is_ascii() && c.is_alphanumeric())
        })
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An address with its local part as written; comparing and looking up go by [`EmailAddress::key`].
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct EmailAddress {
    local_part: String,
    domain: DomainName,
}

impl EmailAddress {
    /// Returns the part before the `@`, unquoted, its case kept.
    pub fn local_part(&self) -> &str {
        &self.local_part
    }

    /// Returns the domain.
    pub fn domain(&self) -> &DomainName {
        &self.domain
    }

    /// Returns the case-folded form under which the directory keeps the address. Quoting that is not needed is gone,
    /// so that `"a"@x` and `A@X` are one key.
    pub fn key(&self) -> String {
        let folded = self.local_part.to_lowercase();
        format!("{}@{}", quoted_where_needed(&folded), self.domain)
    }

    /// Puts an address together from an unquoted local part and a domain.
    ///
    /// # Errors
    /// A local part that is empty, longer than 64 octets, or holds control characters.
    pub fn from_parts(local_part: &str, domain: DomainName) -> Result<Self, AddressError> {
        if local_part.len() > LOCAL_PART_MAX {
            return Err(AddressError::TooLong);
        }
        if local_part.is_empty() || local_part.chars().any(char::is_control) {
            return Err(AddressError::LocalPart);
        }
        Ok(Self { local_part: local_part.to_owned(), domain })
    }
}

impl FromStr for EmailAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (local, domain) = if text.starts_with('"') {
            let end = closing_quote(text).ok_or(AddressError::LocalPart)?;
            (&text[..=end], text[end + 1..].strip_prefix('@').ok_or(AddressError::Form)?)
        } else {
            text.split_once('@').ok_or(AddressError::Form)?
        };
        if local.is_empty() || domain.is_empty() {
            return Err(AddressError::Form);
        }
        let domain = domain.parse()?;
        match local.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            Some(quoted) => Self::from_parts(&unquote(quoted), domain),
            None if is_dot_string(local) => Self::from_parts(local, domain),
            None => Err(AddressError::LocalPart),
        }
    }
}

/// Returns where the quote that opens `text` closes.
fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().skip(1).find_map(|(at, c)| {
        let closes = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        closes.then_some(at)
    })
}

fn unquote(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        out.push(if c == '\\' { chars.next().unwrap_or('\\') } else { c });
    }
    out
}

/// `Dot-string` of RFC 5321 section 4.1.2 with `atext` of RFC 5322 section 3.2.3 and RFC 6531 section 3.3.
fn is_dot_string(text: &str) -> bool {
    text.split('.').all(|atom| {
        !atom.is_empty()
            && atom.chars().all(|c| {
                c.is_ascii_alphanumeric()
                    || "!#$%&'*+-/=?^_`{|}~".contains(c)
                    || (!c.is_ascii() && !c.is_control())
            })
    })
}

fn quoted_where_needed(local: &str) -> String {
    if is_dot_string(local) {
        return local.to_owned();
    }
    let mut out = String::with_capacity(local.len() + 2);
    out.push('"');
    for c in local.chars() {
        if c == '"' || c == '\\' {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}

impl fmt::Display for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", quoted_where_needed(&self.local_part), self.domain)
    }
}

impl fmt::Debug for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_and_folds() {
        for (text, key) in [
            ("Me@Example.ORG", "me@example.org"),
            ("\"me\"@example.org", "me@example.org"),
            ("\"a b\"@example.org", "\"a b\"@example.org"),
            ("\"a\\\"b@c\"@example.org", "\"a\\\"b@c\"@example.org"),
            ("me@[127.0.0.1]", "me@[127.0.0.1]"),
            ("me@[ipv6:::1]", "me@[IPv6:::1]"),
            ("a+b=c@x.example.", "a+b=c@x.example"),
            ("δοκιμή@παράδειγμα.example", "δοκιμή@παράδειγμα.example"),
        ] {
            let address: EmailAddress = text.parse().unwrap();
            assert_eq!(address.key(), key, "{text}");
            assert_eq!(address.to_string().parse::<EmailAddress>().unwrap(), address);
        }
    }

    #[test]
    fn refuses() {
        for text in [
            "",
            "@",
            "a@",
            "@b",
            "a",
            "a b@c",
            "a..b@c",
            ".a@c",
            "a.@c",
            "a@-b",
            "a@b..c",
            "a@[300.1.1.1]",
            "\"a@b",
            "\"a\"b@c",
            "a@b c",
            "a@b@c",
            "a\0@b",
            "\"a\r\nb\"@c",
        ] {
            assert!(text.parse::<EmailAddress>().is_err(), "{text:?}");
        }
        // Small letters that could not be read back: not letters alone, or too many octets.
        for domain in ["İ.example".to_owned(), "Ⱥ".repeat(31)] {
            assert_eq!(domain.parse::<DomainName>(), Err(AddressError::Domain), "{domain}");
        }
        let long = vec!["Ⱥ".repeat(20); 6].join(".");
        assert_eq!(long.parse::<DomainName>(), Err(AddressError::TooLong));
        let long = format!("{}@example.org", "a".repeat(65));
        assert_eq!(long.parse::<EmailAddress>(), Err(AddressError::TooLong));
    }
}
