//! What the machine asks of its service, and what it is told.

use bytes::Bytes;
use puro_session::{Tls, sasl::Credentials};
use puro_types::EmailAddress;

/// A question of the SMTP server machine.
#[derive(Debug)]
pub enum Question {
    /// Are these credentials good? → [`Answer::Authenticated`], [`Answer::BadCredentials`] or [`Answer::Unavailable`].
    Authenticate(Credentials),
    /// May this account send as this address? Asked at MAIL in an authenticated session, never for `<>`.
    /// → [`Answer::Sender`] or [`Answer::Unavailable`].
    Sender {
        /// The account's address.
        account: String,
        /// The reverse-path.
        sender: EmailAddress,
        /// Which transaction of the session it is about, counted from 1.
        transaction: u32,
    },
    /// Where does mail for this recipient go? → [`Answer::Recipient`] or [`Answer::Unavailable`].
    Recipient {
        /// The address as it stood in RCPT, or `postmaster` alone.
        address: String,
        /// Octets announced by SIZE; 0 if not announced.
        size_bytes: u64,
        /// No recipient of this transaction was accepted before: whatever is remembered of earlier ones is past.
        first: bool,
        /// Which transaction of the session it is about, counted from 1.
        transaction: u32,
    },
    /// DATA was accepted: get ready to take the message. → [`Answer::Ready`] or [`Answer::Unavailable`].
    Begin(Box<Envelope>),
    /// The next octets of the message, unstuffed. → [`Answer::Taken`], or [`Answer::Unavailable`] /
    /// [`Answer::Rejected`] to have the rest read and dropped.
    Chunk(Bytes),
    /// The message is complete. → [`Answer::Accepted`], [`Answer::Unavailable`] or [`Answer::Rejected`].
    Finish,
    /// The message will not be completed: forget it. → [`Answer::Taken`].
    Abort(GivenUp),
}

/// Why a message that was begun will not be completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GivenUp {
    /// It is larger than is allowed.
    TooLarge,
    /// It holds a CR or an LF by itself.
    BareLineEnd,
    /// The client was silent for too long, or the whole took too long.
    TimedOut,
    /// The client left.
    Disconnected,
}

/// The answer to a [`Question`].
#[derive(Debug)]
pub enum Answer {
    /// The credentials are good.
    Authenticated {
        /// The account's address.
        account: String,
    },
    /// The credentials are not good, for whatever reason.
    BadCredentials,
    /// Whether the sender may be used.
    Sender(SenderVerdict),
    /// What becomes of the recipient.
    Recipient(RecipientVerdict),
    /// The message can come.
    Ready,
    /// The octets were taken; go on.
    Taken,
    /// The message is kept, durably, for every recipient.
    Accepted {
        /// For the reply, the logs and the traces.
        queue_id: String,
    },
    /// A service or store cannot answer now: 451 4.3.0, or 454 4.7.0 for a login.
    Unavailable,
    /// The message is refused for good (a mail loop, say).
    Rejected {
        /// The reply code, 5xx or 4xx.
        code: u16,
        /// The enhanced status code, such as `5.4.6`.
        status: &'static str,
        /// Words for a person.
        text: &'static str,
    },
}

/// Whether an account may use an envelope sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SenderVerdict {
    /// It may.
    Allowed,
    /// The address is not the account's: 553 5.7.1.
    NotOwned,
}

/// What becomes of a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecipientVerdict {
    /// Mail for it is taken.
    Accepted,
    /// 550 5.1.1.
    UnknownUser,
    /// Not ours, and nothing is relayed for this client: 550 5.7.1.
    NotLocal,
    /// 452 4.2.2.
    OverQuota,
    /// 450 4.2.1.
    Disabled,
    /// 550 5.4.6.
    AliasLoop,
    /// Not an address: 553 5.1.3.
    Invalid,
}

/// A transaction's envelope at the moment of DATA.
#[derive(Debug, Clone)]
pub struct Envelope {
    /// What the client called itself in EHLO or HELO.
    pub helo: String,
    /// `SMTP`, `ESMTP`, `ESMTPS`, `ESMTPA` or `ESMTPSA` (RFC 3848), for the Received field.
    pub protocol: &'static str,
    /// The account, in an authenticated session.
    pub account: Option<String>,
    /// The TLS session, if any.
    pub tls: Option<Tls>,
    /// The reverse-path; `None` for `<>`.
    pub sender: Option<EmailAddress>,
    /// The accepted recipients, as they stood in RCPT, in order.
    pub recipients: Vec<String>,
    /// Octets announced by SIZE.
    pub size_bytes: Option<u64>,
    /// BODY=8BITMIME was given.
    pub eight_bit: bool,
}
