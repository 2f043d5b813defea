//! The server side of SASL (RFC 4422) as both protocols use it: PLAIN (RFC 4616) and LOGIN.
//!
//! A mechanism sees decoded octets, never a line; it ends with credentials for the service to check. The base64 layer
//! and the `*` that cancels are here too, since both protocols do them alike.

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use secrecy::SecretString;

/// Strict base64: padding required, since a lax reader takes many texts for one (RFC 4648 section 3).
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

/// Octets of one credential at most; longer ones are refused before anything is hashed.
pub const CREDENTIAL_MAX: usize = 1024;

/// A mechanism offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// RFC 4616: one message, `authzid NUL authcid NUL password`.
    Plain,
    /// The obsolete but universal one: user name, then password, each on request.
    Login,
}

impl Mechanism {
    /// Returns the mechanism of this name, in any case.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        [Self::Plain, Self::Login]
            .into_iter()
            .find(|known| known.name().as_bytes().eq_ignore_ascii_case(name))
    }

    /// Returns the registered name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
        }
    }
}

/// What the client proved to know.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// Who logs in.
    pub login: String,
    /// The password, never logged.
    pub password: SecretString,
}

/// Why an exchange ended without credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The client sent `*`.
    Cancelled,
    /// Not base64.
    Encoding,
    /// Base64, but not what the mechanism expects.
    Malformed,
}

/// What to do next in an exchange.
#[derive(Debug)]
#[must_use]
pub enum Next {
    /// Send a challenge with this base64 text (perhaps empty) and bring the client's line.
    Challenge(&'static str),
    /// Have these checked.
    Check(Credentials),
    /// It is over.
    Failed(Failure),
}

/// One exchange under way.
#[derive(Debug)]
pub struct Exchange {
    mechanism: Mechanism,
    login: Option<String>,
}

impl Exchange {
    /// Begins an exchange. `initial` is the initial response as it stood on the line: `=` stands for an empty one
    /// (RFC 4954 section 4, RFC 5034 section 4).
    pub fn start(mechanism: Mechanism, initial: Option<&[u8]>) -> (Self, Next) {
        let mut exchange = Self { mechanism, login: None };
        let next = match (initial, mechanism) {
            (None, Mechanism::Plain) => Next::Challenge(""),
            (None, Mechanism::Login) => Next::Challenge("VXNlcm5hbWU6"),
            (Some(b"="), _) => exchange.decoded(Vec::new()),
            (Some(text), _) => exchange.response(text),
        };
        (exchange, next)
    }

    /// Takes the client's line, without its CRLF.
    pub fn response(&mut self, line: &[u8]) -> Next {
        if line == b"*" {
            return Next::Failed(Failure::Cancelled);
        }
        match BASE64.decode(line) {
            Ok(octets) => self.decoded(octets),
            Err(_) => Next::Failed(Failure::Encoding),
        }
    }

    fn decoded(&mut self, octets: Vec<u8>) -> Next {
        let Ok(text) = String::from_utf8(octets) else { return Next::Failed(Failure::Malformed) };
        match self.mechanism {
            Mechanism::Plain => plain(&text),
            Mechanism::Login => self.login(text),
        }
    }

    fn login(&mut self, text: String) -> Next {
        if text.is_empty() || text.len() > CREDENTIAL_MAX || text.contains('\0') {
            return Next::Failed(Failure::Malformed);
        }
        match self.login.take() {
            None => {
                self.login = Some(text);
                Next::Challenge("UGFzc3dvcmQ6")
            }
            Some(login) => Next::Check(Credentials { login, password: text.into() }),
        }
    }
}

/// RFC 4616 section 2. An authorization identity is taken only where it is the one that logs in: nobody acts for others.
fn plain(text: &str) -> Next {
    let mut parts = text.split('\0');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(authzid), Some(login), Some(password), None)
            if !login.is_empty()
                && !password.is_empty()
                && login.len() <= CREDENTIAL_MAX
                && password.len() <= CREDENTIAL_MAX
                && (authzid.is_empty() || authzid == login) =>
        {
            Next::Check(Credentials { login: login.to_owned(), password: password.into() })
        }
        _ => Next::Failed(Failure::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn outcome(next: &Next) -> String {
        match next {
            Next::Challenge(text) => format!("challenge {text}"),
            Next::Check(credentials) => {
                format!("{} / {}", credentials.login, credentials.password.expose_secret())
            }
            Next::Failed(failure) => format!("{failure:?}"),
        }
    }

    #[test]
    fn plain_by_table() {
        for (initial, expected) in [
            (Some(&b"AG1lAHB3"[..]), "me / pw"),
            (Some(b"bWUAbWUAcHc="), "me / pw"),
            (Some(b"eW91AG1lAHB3"), "Malformed"),
            (Some(b"="), "Malformed"),
            (Some(b"AG1lAHB3="), "Encoding"),
            (Some(b"*"), "Cancelled"),
            (Some(b"AG1lAA=="), "Malformed"),
            (Some(b"AG1lAHB3AHg="), "Malformed"),
            (Some(b"/w=="), "Malformed"),
            (None, "challenge "),
        ] {
            assert_eq!(outcome(&Exchange::start(Mechanism::Plain, initial).1), expected, "{initial:?}");
        }
    }

    #[test]
    fn login_in_two_steps_and_in_three() {
        let (mut exchange, next) = Exchange::start(Mechanism::Login, None);
        assert_eq!(outcome(&next), "challenge VXNlcm5hbWU6");
        assert_eq!(outcome(&exchange.response(b"bWU=")), "challenge UGFzc3dvcmQ6");
        assert_eq!(outcome(&exchange.response(b"cHc=")), "me / pw");
        let (mut exchange, next) = Exchange::start(Mechanism::Login, Some(b"bWU="));
        assert_eq!(outcome(&next), "challenge UGFzc3dvcmQ6");
        assert_eq!(outcome(&exchange.response(b"*")), "Cancelled");
    }
}
