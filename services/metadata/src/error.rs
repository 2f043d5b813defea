//! Why an operation on mail failed, split by what the caller does next.

use crate::store::StoreError;

/// Why an operation failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// What was named does not exist.
    #[error("not found: {0}")]
    NotFound(String),
    /// What was to be made exists already.
    #[error("already exists: {0}")]
    AlreadyExists(String),
    /// The request can never succeed as it is.
    #[error("invalid: {0}")]
    Invalid(String),
    /// The request cannot succeed while something else is as it is.
    #[error("refused: {0}")]
    Refused(String),
    /// The credentials are not good, for whatever reason.
    #[error("bad credentials")]
    BadCredentials,
    /// The store cannot answer now; nothing, or not everything, was done. Safe to repeat.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// Too much is asked at once; nothing was done. Safe to repeat. Logged where it is seen, now and then.
    #[error("busy: {0}")]
    Busy(String),
    /// It may or may not have been done. Safe to repeat.
    #[error("outcome unknown: {0}")]
    OutcomeUnknown(String),
    /// A stored item cannot be understood: our own bug, or damage.
    #[error("internal: {0}")]
    Internal(String),
}

impl From<StoreError> for MetadataError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(why) => Self::Unavailable(why),
            StoreError::OutcomeUnknown(why) => Self::OutcomeUnknown(why),
            StoreError::Internal(why) => Self::Internal(why),
            // Every caller that sets a condition handles its failure, or retries a race that it lost.
            StoreError::ConditionFailed(_) => {
                Self::Unavailable("another change to the same item got in between".to_owned())
            }
        }
    }
}
