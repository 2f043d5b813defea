//! What a store's error means to a caller of the service.

use puro_api::Failure;

use crate::{frames::FrameFault, store::StoreError};

/// The table from the store's errors.
pub(crate) fn failure(error: StoreError) -> Failure {
    match error {
        StoreError::NotFound(what) => Failure::NotFound(format!("segment {what}")),
        StoreError::InvalidName(name) => Failure::Invalid(format!("{name:?} is no segment's name")),
        StoreError::Unavailable(why) => Failure::Unavailable(why),
        StoreError::OutcomeUnknown(why) => Failure::OutcomeUnknown(why),
        StoreError::Internal(why) => Failure::Internal(why),
    }
}

impl From<FrameFault> for Failure {
    fn from(fault: FrameFault) -> Self {
        match fault {
            FrameFault::Store(error) => failure(error),
            FrameFault::Damaged(why) => Self::DataLoss(why),
        }
    }
}

/// The failure of compression, which fails only for lack of memory or by our own fault.
pub(crate) fn compression(error: std::io::Error) -> Failure {
    Failure::Internal(format!("compression: {error}"))
}

/// The failure of work in the blocking pool that did not end.
pub(crate) fn interrupted(error: tokio::task::JoinError) -> Failure {
    Failure::Internal(format!("work did not end: {error}"))
}
