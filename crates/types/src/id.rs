//! Identifiers, written in an alphabet of 64 characters whose ASCII order is the order of their values, so that
//! identifiers that begin with a time sort by time as text, in any store.

use std::{fmt, str::FromStr};

/// The digits, in ASCII order; all are in the UIDL alphabet 0x21–0x7E (RFC 1939 section 7).
const DIGITS: &[u8; 64] = b"-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz";
/// Digits of a time in milliseconds: 42 bits, enough until the year 2109.
const TIME_DIGITS: usize = 7;

/// A text that is not an identifier of the kind asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a valid identifier")]
pub struct IdError;

fn encode_time(out: &mut String, unix_ms: u64) {
    for digit in (0..TIME_DIGITS).rev() {
        out.push(digit_of(unix_ms >> (6 * digit)));
    }
}

fn decode_time(text: &str) -> u64 {
    text.bytes().take(TIME_DIGITS).fold(0, |time, octet| {
        let value = DIGITS.iter().position(|digit| *digit == octet).unwrap_or(0);
        (time << 6) | value as u64
    })
}

fn digit_of(bits: u64) -> char {
    char::from(DIGITS[(bits & 63) as usize])
}

/// Appends `digits` digits, six bits each, taken from `octets` in order.
fn encode_octets(out: &mut String, octets: &[u8], digits: usize) {
    let mut accumulator = 0u64;
    let mut held = 0u32;
    let mut input = octets.iter();
    for _ in 0..digits {
        while held < 6 {
            accumulator = (accumulator << 8) | u64::from(input.next().copied().unwrap_or(0));
            held += 8;
        }
        held -= 6;
        out.push(digit_of(accumulator >> held));
    }
}

fn check(text: &str, length: usize) -> Result<String, IdError> {
    if text.len() == length && text.bytes().all(|octet| DIGITS.contains(&octet)) {
        Ok(text.to_owned())
    } else {
        Err(IdError)
    }
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $length:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Characters in the text form.
            pub const LENGTH: usize = $length;

            /// Returns the text form.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                check(text, Self::LENGTH).map(Self)
            }
        }
    };
}

identifier! {
    /// One SMTP transaction: the time of acceptance, then 84 random bits. Its text form is the queue id that the
    /// reply to DATA carries and that logs and traces are found by.
    TransactionId, TIME_DIGITS + 14
}

identifier! {
    /// One account's mail, whatever the account's address becomes: 96 random bits. It is also the id of its INBOX.
    MailboxId, 16
}

identifier! {
    /// One message in one mailbox, and its POP3 UIDL: the time of acceptance, then 54 bits of a hash of transaction
    /// and mailbox, so that a retried delivery makes the same id.
    MessageId, TIME_DIGITS + 9
}

impl TransactionId {
    /// Makes an id from the time (milliseconds since the Unix epoch) and random octets.
    pub fn new(unix_ms: u64, random: [u8; 11]) -> Self {
        let mut text = String::with_capacity(Self::LENGTH);
        encode_time(&mut text, unix_ms);
        encode_octets(&mut text, &random, 14);
        Self(text)
    }
}

impl MailboxId {
    /// Makes an id from random octets.
    pub fn new(random: [u8; 12]) -> Self {
        let mut text = String::with_capacity(Self::LENGTH);
        encode_octets(&mut text, &random, 16);
        Self(text)
    }
}

impl MessageId {
    /// Returns the id that this transaction's message has in this mailbox, accepted at `accepted_ms` (milliseconds
    /// since the Unix epoch).
    pub fn new(accepted_ms: u64, transaction: &TransactionId, mailbox: &MailboxId) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(transaction.as_str().as_bytes());
        hasher.update(b"\0");
        hasher.update(mailbox.as_str().as_bytes());
        let mut text = String::with_capacity(Self::LENGTH);
        encode_time(&mut text, accepted_ms);
        encode_octets(&mut text, hasher.finalize().as_bytes(), 9);
        Self(text)
    }

    /// Returns the time of acceptance, milliseconds since the Unix epoch.
    pub fn accepted_ms(&self) -> u64 {
        decode_time(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_order_is_time_order() {
        let mut last = TransactionId::new(0, [255; 11]);
        for ms in [1, 63, 64, 1_700_000_000_000, 1_700_000_000_001, (1 << 42) - 1] {
            let next = TransactionId::new(ms, [0; 11]);
            assert!(next > last, "{next} > {last}");
            last = next;
        }
    }

    #[test]
    fn digits_are_sorted_and_unique() {
        assert!(DIGITS.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn same_transaction_and_mailbox_make_the_same_message() {
        let transaction = TransactionId::new(5, [7; 11]);
        let one = MailboxId::new([1; 12]);
        let two = MailboxId::new([2; 12]);
        assert_eq!(MessageId::new(5, &transaction, &one), MessageId::new(5, &transaction, &one));
        assert_ne!(MessageId::new(5, &transaction, &one), MessageId::new(5, &transaction, &two));
    }

    #[test]
    fn a_message_tells_when_it_was_accepted() {
        let (transaction, mailbox) = (TransactionId::new(5, [7; 11]), MailboxId::new([1; 12]));
        for ms in [0, 1, 63, 64, 1_700_000_000_123, (1 << 42) - 1] {
            assert_eq!(MessageId::new(ms, &transaction, &mailbox).accepted_ms(), ms);
        }
    }

    #[test]
    fn parse_is_the_inverse_of_display() {
        let id = MailboxId::new([0xA5; 12]);
        assert_eq!(id.to_string().parse::<MailboxId>(), Ok(id));
        assert_eq!("short".parse::<MailboxId>(), Err(IdError));
        assert_eq!("****************".parse::<MailboxId>(), Err(IdError));
    }
}
