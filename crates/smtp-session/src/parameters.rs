//! The parameters of MAIL (RFC 5321 section 4.1.1.11).

use crate::reply::{self, Reply};

/// What came with a reverse-path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct MailParameters {
    /// SIZE: octets of the message, as the client reckons them (RFC 1870 section 6).
    pub(crate) size_bytes: Option<u64>,
    /// BODY=8BITMIME (RFC 6152 section 3).
    pub(crate) eight_bit: bool,
}

impl MailParameters {
    /// Reads parameters separated by spaces. Each may stand there once.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, Reply> {
        let mut parameters = Self::default();
        let mut seen = [false; 3];
        for word in text.split(|octet| *octet == b' ').filter(|word| !word.is_empty()) {
            let (keyword, value) = split(word).ok_or(reply::SYNTAX_PARAMETERS)?;
            let which = ["SIZE", "BODY", "AUTH"]
                .iter()
                .position(|known| keyword.eq_ignore_ascii_case(known.as_bytes()))
                .ok_or(reply::UNKNOWN_PARAMETER)?;
            if std::mem::replace(&mut seen[which], true) {
                return Err(reply::SYNTAX_PARAMETERS);
            }
            match which {
                0 => parameters.size_bytes = Some(size(value).ok_or(reply::SYNTAX_PARAMETERS)?),
                1 => parameters.eight_bit = is_eight_bit(value)?,
                // RFC 4954 section 5 wants the parameter read; nobody here is trusted to name others, which means
                // that it counts as `<>`, and so says nothing.
                _ if value == b"<>" || is_xtext(value) => {}
                _ => return Err(reply::SYNTAX_PARAMETERS),
            }
        }
        Ok(parameters)
    }
}

/// `esmtp-keyword ["=" esmtp-value]`.
fn split(word: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut parts = word.splitn(2, |octet| *octet == b'=');
    let keyword = parts.next()?;
    let value = parts.next();
    let valid = keyword.first()?.is_ascii_alphanumeric()
        && keyword.iter().all(|octet| octet.is_ascii_alphanumeric() || *octet == b'-')
        && value.is_none_or(|value| {
            !value.is_empty() && value.iter().all(|octet| octet.is_ascii_graphic() && *octet != b'=')
        });
    valid.then_some((keyword, value.unwrap_or_default()))
}

/// `1*20DIGIT`; what does not fit 64 bits is too large for anybody.
fn size(value: &[u8]) -> Option<u64> {
    let valid = (1..=20).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    valid.then(|| {
        value.iter().fold(0u64, |sum, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')))
    })
}

/// RFC 6152 section 2; BINARYMIME is not offered.
fn is_eight_bit(value: &[u8]) -> Result<bool, Reply> {
    match value {
        b"" => Err(reply::SYNTAX_PARAMETERS),
        _ if value.eq_ignore_ascii_case(b"7BIT") => Ok(false),
        _ if value.eq_ignore_ascii_case(b"8BITMIME") => Ok(true),
        _ => Err(reply::UNKNOWN_PARAMETER),
    }
}

/// RFC 3461 section 4: `+` and two upper case hexadecimal digits stand for an octet.
fn is_xtext(value: &[u8]) -> bool {
    let is_hex = |octet: &u8| octet.is_ascii_digit() || (b'A'..=b'F').contains(octet);
    !value.is_empty()
        && value.iter().enumerate().all(|(at, octet)| {
            *octet != b'+' || value.get(at + 1..at + 3).is_some_and(|code| code.iter().all(is_hex))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_table() {
        let good = |size_bytes, eight_bit| Ok(MailParameters { size_bytes, eight_bit });
        for (text, expected) in [
            ("", good(None, false)),
            (" ", good(None, false)),
            (" SIZE=0", good(Some(0), false)),
            (" size=1000 body=8bitmime", good(Some(1000), true)),
            ("  BODY=7BIT  SIZE=5", good(Some(5), false)),
            (" SIZE=99999999999999999999", good(Some(u64::MAX), false)),
            (" SIZE=999999999999999999999", Err(reply::SYNTAX_PARAMETERS)),
            (" SIZE", Err(reply::SYNTAX_PARAMETERS)),
            (" SIZE=", Err(reply::SYNTAX_PARAMETERS)),
            (" SIZE=-1", Err(reply::SYNTAX_PARAMETERS)),
            (" SIZE=1=2", Err(reply::SYNTAX_PARAMETERS)),
            (" SIZE=1 SIZE=1", Err(reply::SYNTAX_PARAMETERS)),
            (" BODY", Err(reply::SYNTAX_PARAMETERS)),
            (" BODY=BINARYMIME", Err(reply::UNKNOWN_PARAMETER)),
            (" AUTH=<>", good(None, false)),
            (" AUTH=e+3Dmc2@example.org", good(None, false)),
            (" AUTH=e+3dmc2", Err(reply::SYNTAX_PARAMETERS)),
            (" AUTH=e+3", Err(reply::SYNTAX_PARAMETERS)),
            (" AUTH", Err(reply::SYNTAX_PARAMETERS)),
            (" SMTPUTF8", Err(reply::UNKNOWN_PARAMETER)),
            (" RET=HDRS", Err(reply::UNKNOWN_PARAMETER)),
            (" X-\u{e9}=1", Err(reply::SYNTAX_PARAMETERS)),
            (" =1", Err(reply::SYNTAX_PARAMETERS)),
            (" -a=1", Err(reply::SYNTAX_PARAMETERS)),
        ] {
            assert_eq!(MailParameters::parse(text.as_bytes()), expected, "{text:?}");
        }
    }
}
