//! Why a call failed, split by what the caller does next, and its one table to and from gRPC statuses.

use std::error::Error as _;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// The domain of our reasons in `google.rpc.ErrorInfo`.
pub const ERROR_DOMAIN: &str = "puro";
/// Characters of a message that travel; a status goes out as a header, and those are bounded.
const MESSAGE_MAX: usize = 512;

/// Makes [`Failure`] and its table from the same rows.
macro_rules! failures {
    ($( $(#[doc = $doc:literal])+ $name:ident = $code:ident, $reason:literal, $words:literal; )+) => {
        /// Why a call failed. The text is for people; it names no secret.
        #[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
        pub enum Failure {
            $( $(#[doc = $doc])+ #[error($words)] $name(String), )+
        }

        impl Failure {
            /// Returns the words for people.
            pub fn message(&self) -> &str {
                match self { $( Self::$name(text) )|+ => text }
            }

            /// Each variant's gRPC code and `ErrorInfo` reason.
            fn row(&self) -> (Code, &'static str) {
                match self { $( Self::$name(_) => (Code::$code, $reason), )+ }
            }

            /// The table backwards.
            fn from_reason(reason: &str, message: String) -> Option<Self> {
                match reason { $( $reason => Some(Self::$name(message)), )+ _ => None }
            }

            /// One of each.
            #[cfg(test)]
            fn all(message: &str) -> Vec<Self> {
                vec![$( Self::$name(message.to_owned()) ),+]
            }
        }
    };
}

failures! {
    /// What was named does not exist.
    NotFound = NotFound, "NOT_FOUND", "not found: {0}";
    /// What was to be made exists.
    AlreadyExists = AlreadyExists, "ALREADY_EXISTS", "already exists: {0}";
    /// Something else has to change first.
    FailedPrecondition = FailedPrecondition, "FAILED_PRECONDITION", "refused: {0}";
    /// The request makes no sense; a repeat cannot help.
    Invalid = InvalidArgument, "INVALID", "invalid: {0}";
    /// Bad credentials, for whatever reason.
    Unauthenticated = Unauthenticated, "UNAUTHENTICATED", "bad credentials: {0}";
    /// It is too large and will always be; a smaller one may do.
    TooLarge = OutOfRange, "TOO_LARGE", "too large: {0}";
    /// A limit is reached; less of it, or later.
    Exhausted = ResourceExhausted, "EXHAUSTED", "limit reached: {0}";
    /// Cannot be done now; nothing was changed. Try again later.
    Unavailable = Unavailable, "UNAVAILABLE", "not available: {0}";
    /// A write that was or was not applied. Read, or repeat where the call is idempotent.
    OutcomeUnknown = Unknown, "OUTCOME_UNKNOWN", "outcome unknown: {0}";
    /// What was stored is damaged or lost. A person should look.
    DataLoss = DataLoss, "DATA_LOSS", "data loss: {0}";
    /// Our own bug.
    Internal = Internal, "INTERNAL", "internal: {0}";
}

/// What a call does, which decides what a lost answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It changes nothing that anybody could see: a lost answer is [`Failure::Unavailable`].
    Read,
    /// It changes something: a lost answer is [`Failure::OutcomeUnknown`].
    Write,
}

impl Effect {
    /// Returns the failure of a call whose answer never came.
    pub(crate) fn lost(self, message: impl Into<String>) -> Failure {
        match self {
            Self::Read => Failure::Unavailable(message.into()),
            Self::Write => Failure::OutcomeUnknown(message.into()),
        }
    }
}

impl Failure {
    /// Says whether the same call may well succeed later: the peer is told to come back rather than refused.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::OutcomeUnknown(_) | Self::Exhausted(_))
    }

    /// Reads a status that a call ended with.
    ///
    /// Only a status that carries our `ErrorInfo` says what our services say: one made by the transport or by
    /// something in between never becomes "not found" or "bad credentials".
    pub fn from_status(status: &Status, effect: Effect) -> Self {
        let message = status.message().to_owned();
        if let Some(failure) = declared(status) {
            return failure;
        }
        if is_from_transport(status) {
            return effect.lost(message);
        }
        if status.code() == Code::ResourceExhausted {
            // The server's limit of requests, which refuses before a service sees the call.
            return Self::Exhausted(message);
        }
        Self::Internal(format!("{:?}: {message}", status.code()))
    }
}

/// Returns what one of our services said, if it was one of them that spoke.
pub(crate) fn declared(status: &Status) -> Option<Failure> {
    if status.details().is_empty() {
        return None;
    }
    let info = status.get_details_error_info().filter(|info| info.domain == ERROR_DOMAIN)?;
    Failure::from_reason(&info.reason, status.message().to_owned())
}

/// Says whether the answer got lost on its way. A status with a source was made on this side of the wire; codes that a
/// dying server, a time-out (a tonic client's is `Cancelled`) or a balancer gives count too. `Unknown` is what a
/// stream that ended without a status becomes.
pub(crate) fn is_from_transport(status: &Status) -> bool {
    let code =
        matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown);
    declared(status).is_none() && (code || status.source().is_some())
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        let (code, reason) = failure.row();
        let message: String = failure.message().chars().take(MESSAGE_MAX).collect();
        let details = ErrorDetails::with_error_info(reason, ERROR_DOMAIN, []);
        Self::with_error_details(code, message, details)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variant_comes_back_as_it_went() {
        for failure in Failure::all("a reason, ünicode") {
            for effect in [Effect::Read, Effect::Write] {
                let status = Status::from(failure.clone());
                assert_eq!(Failure::from_status(&status, effect), failure);
            }
        }
    }

    #[test]
    fn rows_differ() {
        let all = Failure::all("x");
        for (at, one) in all.iter().enumerate() {
            for other in &all[at + 1..] {
                assert_ne!(one.row().0, other.row().0, "{one:?} {other:?}");
                assert_ne!(one.row().1, other.row().1, "{one:?} {other:?}");
            }
        }
    }

    #[test]
    fn a_strange_status_is_a_lost_answer_a_limit_or_internal() {
        let lost = [Code::Unavailable, Code::DeadlineExceeded, Code::Cancelled, Code::Unknown];
        for code in (0..=16).map(Code::from_i32).filter(|code| *code != Code::Ok) {
            let status = Status::new(code, "x");
            let read = Failure::from_status(&status, Effect::Read);
            let write = Failure::from_status(&status, Effect::Write);
            if lost.contains(&code) {
                assert_eq!(read, Failure::Unavailable("x".into()), "{code:?}");
                assert_eq!(write, Failure::OutcomeUnknown("x".into()), "{code:?}");
            } else if code == Code::ResourceExhausted {
                assert_eq!(read, Failure::Exhausted("x".into()));
                assert_eq!(write, Failure::Exhausted("x".into()));
            } else {
                assert!(matches!(read, Failure::Internal(_)), "{code:?}");
                assert!(matches!(write, Failure::Internal(_)), "{code:?}");
            }
        }
    }

    #[test]
    fn another_domain_is_not_ours() {
        let details = ErrorDetails::with_error_info("NOT_FOUND", "example.org", []);
        let status = Status::with_error_details(Code::NotFound, "x", details);
        assert!(matches!(Failure::from_status(&status, Effect::Read), Failure::Internal(_)));
    }

    #[test]
    fn a_long_message_is_cut() {
        let status = Status::from(Failure::Internal("é".repeat(100_000)));
        assert_eq!(status.message().chars().count(), MESSAGE_MAX);
    }
}
