//! Where a service is.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// The longest host name (RFC 1035 section 2.3.4).
const HOST_MAX: usize = 253;

/// The URL of a service: `http://host:port`, and nothing else in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServiceUrl {
    /// A name or an address, without the brackets of an IPv6 literal.
    host: String,
    port: u16,
}

/// A text that is not a service's URL. It is not shown: it may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ServiceUrlError {
    /// It has another form.
    #[error("not a URL of the form http://host:port, such as http://127.0.0.1:12501")]
    Form,
    /// It is one to log in with, and nothing logs in here.
    #[error("a URL with a user name or a password is refused")]
    Credentials,
}

impl ServiceUrl {
    /// The service at this port of this machine.
    #[must_use]
    pub fn loopback(port: u16) -> Self {
        Self { host: Ipv4Addr::LOCALHOST.to_string(), port }
    }

    /// Returns the name or the address, an IPv6 one without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port, which is not 0.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for ServiceUrl {
    type Err = ServiceUrlError;

    fn from_str(text: &str) -> Result<Self, ServiceUrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(ServiceUrlError::Form)?;
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains('@') {
            return Err(ServiceUrlError::Credentials);
        }
        // RFC 3986 section 3.1: a scheme is read in any case.
        if !scheme.eq_ignore_ascii_case("http") {
            return Err(ServiceUrlError::Form);
        }
        let (host, port) = authority.rsplit_once(':').ok_or(ServiceUrlError::Form)?;
        match (host_of(host), port_of(port)) {
            (Some(host), Some(port)) => Ok(Self { host, port }),
            _ => Err(ServiceUrlError::Form),
        }
    }
}

/// A name or an IPv4 address as it stands, an IPv6 address out of its brackets (RFC 3986 section 3.2.2).
fn host_of(text: &str) -> Option<String> {
    if let Some(literal) = text.strip_prefix('[') {
        let address: Ipv6Addr = literal.strip_suffix(']')?.parse().ok()?;
        return Some(address.to_string());
    }
    // An underscore stands in no host's name, but in names of containers, which DNS answers all the same.
    let is_name = text.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-._".contains(&octet));
    (!text.is_empty() && text.len() <= HOST_MAX && is_name).then(|| text.to_owned())
}

/// Digits alone: `u16` would read a sign, too.
fn port_of(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|octet| octet.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0)
}

impl fmt::Display for ServiceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        match host.parse() {
            Ok(IpAddr::V6(_)) => write!(f, "http://[{host}]:{port}"),
            _ => write!(f, "http://{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_and_how_it_is_written() {
        for (text, host, port, written) in [
            ("http://127.0.0.1:12501", "127.0.0.1", 12501, "http://127.0.0.1:12501"),
            ("http://metadata:1/", "metadata", 1, "http://metadata:1"),
            ("HTTP://a.b.c:65535", "a.b.c", 65535, "http://a.b.c:65535"),
            ("http://puro_blob:2", "puro_blob", 2, "http://puro_blob:2"),
            ("http://[::1]:12502", "::1", 12502, "http://[::1]:12502"),
            ("http://[2001:DB8:0::1]:3", "2001:db8::1", 3, "http://[2001:db8::1]:3"),
        ] {
            let url: ServiceUrl = text.parse().unwrap();
            assert_eq!((url.host(), url.port(), url.to_string().as_str()), (host, port, written), "{text}");
            assert_eq!(written.parse(), Ok(url), "{text}");
        }
        assert_eq!(ServiceUrl::loopback(5).to_string(), "http://127.0.0.1:5");
    }

    #[test]
    fn what_is_refused() {
        for text in [
            "",
            "metadata:12501",
            "http://",
            "http://metadata",
            "http://metadata:",
            "http://metadata:+1",
            "http://metadata:0",
            "http://metadata:99999",
            "https://metadata:12501",
            "http://metadata:12501/path",
            "http://metadata:12501//",
            "http://metadata:12501?x",
            "http://metadata:12501#x",
            "http://:12501",
            "http://::1:12501",
            "http://[::1]",
            "http://[metadata]:12501",
            "http://[fe80::1%eth0]:12501",
            "http://meta data:12501",
            "http://m%65tadata:12501",
            "http://metadata:12501 ",
        ] {
            assert_eq!(text.parse::<ServiceUrl>(), Err(ServiceUrlError::Form), "{text}");
        }
        let long = format!("http://{}:1", "a".repeat(HOST_MAX + 1));
        assert_eq!(long.parse::<ServiceUrl>(), Err(ServiceUrlError::Form));
        for text in ["http://me:pw@metadata:12501", "http://me@metadata:12501", "https://me:pw@metadata"] {
            assert_eq!(text.parse::<ServiceUrl>(), Err(ServiceUrlError::Credentials), "{text}");
        }
    }
}
