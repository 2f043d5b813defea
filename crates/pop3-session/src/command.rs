//! Commands as they stand on a line (RFC 1939 section 3): a keyword in any case, then arguments.

/// A command, its arguments told apart but not judged.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command<'a> {
    /// The rest of the line, since the local part of an address may hold spaces.
    User(&'a [u8]),
    /// The rest of the line as it stands: "the server may treat spaces in the argument as part of the password"
    /// (RFC 1939 section 7).
    Pass(&'a [u8]),
    /// Mechanism and initial response (RFC 5034 section 4).
    Auth(Option<(&'a [u8], Option<&'a [u8]>)>),
    Stls,
    Capa,
    Stat,
    List(Option<u64>),
    Uidl(Option<u64>),
    Retr(u64),
    Dele(u64),
    Top {
        number: u64,
        lines: u64,
    },
    Noop,
    Rset,
    Quit,
}

/// Why a line is no command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The keyword is not one of ours.
    Unknown,
    /// An argument is missing.
    Missing,
    /// There are more arguments than the command has.
    Surplus,
    /// A number is not one.
    NotANumber,
}

impl Fault {
    /// Returns words for the reply.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Unknown => "unknown command",
            Self::Missing => "argument missing",
            Self::Surplus => "too many arguments",
            Self::NotANumber => "argument is not a number",
        }
    }
}

impl<'a> Command<'a> {
    /// Parses a line without its CRLF.
    pub(crate) fn parse(line: &'a [u8]) -> Result<Self, Fault> {
        let (keyword, rest) = match line.iter().position(|octet| *octet == b' ') {
            Some(at) => (&line[..at], Some(&line[at + 1..])),
            None => (line, None),
        };
        let mut upper = [0; 4];
        let Some(upper) = upper.get_mut(..keyword.len()) else { return Err(Fault::Unknown) };
        upper.copy_from_slice(keyword);
        upper.make_ascii_uppercase();
        let mut arguments = Arguments(rest.unwrap_or_default());
        let command = match &*upper {
            b"USER" => return text(rest.map(<[u8]>::trim_ascii)).map(Self::User),
            b"PASS" => return rest.ok_or(Fault::Missing).map(Self::Pass),
            b"AUTH" => {
                let mechanism = arguments.next();
                Self::Auth(mechanism.map(|name| (name, arguments.next())))
            }
            b"STLS" => Self::Stls,
            b"CAPA" => Self::Capa,
            b"STAT" => Self::Stat,
            b"LIST" => Self::List(arguments.number()?),
            b"UIDL" => Self::Uidl(arguments.number()?),
            b"RETR" => Self::Retr(arguments.number()?.ok_or(Fault::Missing)?),
            b"DELE" => Self::Dele(arguments.number()?.ok_or(Fault::Missing)?),
            b"TOP" => Self::Top {
                number: arguments.number()?.ok_or(Fault::Missing)?,
                lines: arguments.number()?.ok_or(Fault::Missing)?,
            },
            b"NOOP" => Self::Noop,
            b"RSET" => Self::Rset,
            b"QUIT" => Self::Quit,
            _ => return Err(Fault::Unknown),
        };
        match arguments.next() {
            Some(_) => Err(Fault::Surplus),
            None => Ok(command),
        }
    }
}

fn text(argument: Option<&[u8]>) -> Result<&[u8], Fault> {
    argument.filter(|text| !text.is_empty()).ok_or(Fault::Missing)
}

/// Arguments between spaces. More than one space, and a space at the end, are taken: old clients send them.
struct Arguments<'a>(&'a [u8]);

impl<'a> Arguments<'a> {
    fn next(&mut self) -> Option<&'a [u8]> {
        let start = self.0.iter().position(|octet| *octet != b' ')?;
        let rest = &self.0[start..];
        let length = rest.iter().position(|octet| *octet == b' ').unwrap_or(rest.len());
        let (argument, behind) = rest.split_at(length);
        self.0 = behind;
        Some(argument)
    }

    /// Digits only: a sign is none. A number too large for any maildrop or message saturates.
    fn number(&mut self) -> Result<Option<u64>, Fault> {
        let Some(argument) = self.next() else { return Ok(None) };
        let mut number = 0u64;
        for octet in argument {
            if !octet.is_ascii_digit() {
                return Err(Fault::NotANumber);
            }
            number = number.saturating_mul(10).saturating_add(u64::from(octet - b'0'));
        }
        Ok(Some(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_by_table() {
        use Command::{Auth, Capa, Dele, List, Noop, Pass, Retr, Stat, Top, Uidl, User};
        use Fault::{Missing, NotANumber, Surplus, Unknown};
        for (line, expected) in [
            ("STAT", Ok(Stat)),
            ("stat", Ok(Stat)),
            ("StAt ", Ok(Stat)),
            ("STAT 1", Err(Surplus)),
            ("STATS", Err(Unknown)),
            (" STAT", Err(Unknown)),
            ("STAT\t", Err(Unknown)),
            ("", Err(Unknown)),
            (" ", Err(Unknown)),
            ("APOP mrose c4c9334bac560ecc979e58001b3e22fb", Err(Unknown)),
            ("USER me@example.org", Ok(User(b"me@example.org"))),
            ("user \"a b\"@example.org ", Ok(User(b"\"a b\"@example.org"))),
            ("USER", Err(Missing)),
            ("USER  ", Err(Missing)),
            ("PASS a b", Ok(Pass(b"a b"))),
            ("PASS  a b ", Ok(Pass(b" a b "))),
            ("PASS ", Ok(Pass(b""))),
            ("PASS", Err(Missing)),
            ("AUTH", Ok(Auth(None))),
            ("auth plain", Ok(Auth(Some((b"plain", None))))),
            ("AUTH PLAIN =", Ok(Auth(Some((b"PLAIN", Some(b"=")))))),
            ("AUTH PLAIN a b", Err(Surplus)),
            ("CAPA", Ok(Capa)),
            ("CAPA x", Err(Surplus)),
            ("LIST", Ok(List(None))),
            ("LIST ", Ok(List(None))),
            ("LIST 1", Ok(List(Some(1)))),
            ("LIST 1 2", Err(Surplus)),
            ("LIST x", Err(NotANumber)),
            ("UIDL 007", Ok(Uidl(Some(7)))),
            ("RETR", Err(Missing)),
            ("RETR -1", Err(NotANumber)),
            ("RETR +1", Err(NotANumber)),
            ("RETR 1.0", Err(NotANumber)),
            ("RETR 0x1", Err(NotANumber)),
            ("RETR 18446744073709551616", Ok(Retr(u64::MAX))),
            ("RETR 999999999999999999999", Ok(Retr(u64::MAX))),
            ("DELE 0", Ok(Dele(0))),
            ("DELE 1 1", Err(Surplus)),
            ("TOP 1", Err(Missing)),
            ("TOP", Err(Missing)),
            ("TOP 1 -1", Err(NotANumber)),
            ("TOP 1 1 1", Err(Surplus)),
            ("TOP 1 0", Ok(Top { number: 1, lines: 0 })),
            ("top 1  99999999", Ok(Top { number: 1, lines: 99_999_999 })),
            ("TOP 1 999999999999999999999", Ok(Top { number: 1, lines: u64::MAX })),
            ("NOOP", Ok(Noop)),
            ("NOOP x", Err(Surplus)),
        ] {
            assert_eq!(Command::parse(line.as_bytes()), expected, "{line:?}");
        }
    }
}
