//! What a fault of the file system means for a verb.

use std::io::{self, ErrorKind};

use crate::store::StoreError;

/// Returns the error of a verb that left nothing behind: whatever ails the disk may pass, so all but a missing file is
/// `Unavailable`.
pub(super) fn unavailable(doing: &str, error: &io::Error) -> StoreError {
    match error.kind() {
        // Shorter than its record says: no waiting brings it back.
        ErrorKind::UnexpectedEof => StoreError::Internal(format!("{doing}: {error}")),
        _ => StoreError::Unavailable(format!("{doing}: {error}")),
    }
}

/// Returns the error of a write of which a reader may yet see something.
pub(super) fn unknown(doing: &str, error: &io::Error) -> StoreError {
    StoreError::OutcomeUnknown(format!("{doing}: {error}"))
}
