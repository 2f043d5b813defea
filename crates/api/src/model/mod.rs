//! What travels, as types that cannot hold a wrong value. Wire types are checked here once and do not go further.

mod admin;
mod audit;
mod blob;
mod directory;
mod mail;
mod owners;
mod transfer;

pub use admin::{Alias, ConfigEntry, Domain, NewUser, Page, StoreStatus, User, UserStatus};
pub use audit::{AuditEvent, AuditFinding, AuditKind, AuditPhase, AuditSummary};
pub use blob::{Labelled, Part, Segment, SegmentPage};
pub use directory::{Account, LeftOut, Refusal, Resolution, Target, Targets};
pub use mail::{Delivered, Delivery, Listing, MAILBOXES_MAX, Message, Removal};
pub use owners::Owners;
pub use transfer::{
    AccountPut, AccountRecord, FolderRecord, MailState, MessageOutcome, StoredMessage, Written, placed,
};

use crate::failure::Failure;

/// A wire value that is not what the contract says. In a request it is the caller's mistake
/// ([`Failure::Invalid`], by `?`); in an answer it is our own bug.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub String);

impl Malformed {
    pub(crate) fn new(field: &str, why: impl std::fmt::Display) -> Self {
        Self(format!("{field}: {why}"))
    }

    /// Returns the failure of a call that was answered with this.
    pub(crate) fn in_answer(self) -> Failure {
        Failure::Internal(format!("malformed answer: {}", self.0))
    }
}

impl From<Malformed> for Failure {
    fn from(malformed: Malformed) -> Self {
        Self::Invalid(malformed.0)
    }
}

impl From<Malformed> for tonic::Status {
    fn from(malformed: Malformed) -> Self {
        Failure::from(malformed).into()
    }
}

/// Parses a text field, naming it in the error.
pub(crate) fn parse<T>(field: &str, text: &str) -> Result<T, Malformed>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|why| Malformed::new(field, why))
}

/// Parses a text field whose empty form means none.
pub(crate) fn parse_optional<T>(field: &str, text: &str) -> Result<Option<T>, Malformed>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    if text.is_empty() { Ok(None) } else { parse(field, text).map(Some) }
}

/// Converts each member of a repeated field.
pub(crate) fn each<W, T>(wire: Vec<W>) -> Result<Vec<T>, Malformed>
where
    T: TryFrom<W, Error = Malformed>,
{
    wire.into_iter().map(T::try_from).collect()
}

/// A name for a test's message, and what spoils a good value.
#[cfg(test)]
type Fault<W> = (&'static str, fn(&mut W));
