//! What a request that failed means to a verb.

use aws_sdk_s3::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};
use puro_aws::{Closed, Fault, FaultKind};

use crate::{setup::SetupError, store::StoreError};

/// Why a request failed, as far as the verbs differ by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// Nothing was done, and may be later: busy, unreachable, or not even asked.
    Busy,
    /// It may have been done.
    Unknown,
    /// The key, or the upload, is not there.
    NotFound,
    /// The bucket is not there.
    NoBucket,
    /// The range lies beyond the object's end.
    BadRange,
    /// An object has this key already.
    Exists,
    /// Another write of this key is under way.
    Conflict,
    /// We may not do this.
    Denied,
    /// The store does not take the request.
    Refused,
}

/// A request that failed.
#[derive(Debug, Clone)]
pub(super) struct Failed {
    reason: Reason,
    status: Option<u16>,
    code: Option<String>,
    text: String,
}

impl Failed {
    pub(super) fn of<E>(error: &SdkError<E, HttpResponse>) -> (Self, Fault)
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let fault = Fault::of(error);
        let status = error.raw_response().map(|response| response.status().as_u16());
        let reason = reason(&fault, status);
        (Self { reason, status, code: fault.code.clone(), text: fault.text.clone() }, fault)
    }

    /// The gate is closed: nothing was sent.
    pub(super) fn closed(closed: Closed) -> Self {
        Self { reason: Reason::Busy, status: None, code: None, text: closed.to_string() }
    }

    pub(super) fn reason(&self) -> Reason {
        self.reason
    }

    pub(super) fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }

    pub(super) fn status(&self) -> Option<u16> {
        self.status
    }

    /// Whether the store says that it has no such call; or does not know that it has not, took it for another one, and
    /// gave that one's answer.
    pub(super) fn is_unsupported(&self) -> bool {
        matches!(self.status, Some(200..=299 | 405 | 501))
            || matches!(self.code(), Some("NotImplemented" | "MethodNotAllowed" | "XNotImplemented"))
    }

    /// What the request was for, and why it failed.
    pub(super) fn to_text(&self, doing: &str) -> String {
        format!("{doing}: {}", self.text)
    }

    /// The error of a verb that changes nothing, or nothing that a reader or a listing could see.
    pub(super) fn of_read(&self, doing: &str) -> StoreError {
        match self.reason {
            Reason::Unknown => StoreError::Unavailable(self.to_text(doing)),
            _ => self.of_write(doing),
        }
    }

    /// The error of a write.
    pub(super) fn of_write(&self, doing: &str) -> StoreError {
        let text = self.to_text(doing);
        match self.reason {
            Reason::Unknown => StoreError::OutcomeUnknown(text),
            // Whoever looks after the bucket can change these.
            Reason::Busy | Reason::Conflict | Reason::NoBucket | Reason::Denied => {
                StoreError::Unavailable(text)
            }
            Reason::NotFound | Reason::BadRange | Reason::Exists | Reason::Refused => {
                StoreError::Internal(text)
            }
        }
    }

    /// The error of an operator's call.
    pub(super) fn of_setup(&self, doing: &str) -> SetupError {
        let text = self.to_text(doing);
        match self.reason {
            Reason::Busy | Reason::Unknown => SetupError::Unavailable(text),
            _ => SetupError::Refused(text),
        }
    }
}

fn reason(fault: &Fault, status: Option<u16>) -> Reason {
    // An answer to HEAD has no body, and so no code but the status.
    match (fault.kind, status, fault.code.as_deref()) {
        (_, Some(404), Some("NoSuchBucket")) => Reason::NoBucket,
        (_, Some(404), _) => Reason::NotFound,
        (_, Some(416), _) => Reason::BadRange,
        (_, Some(412), _) => Reason::Exists,
        (_, Some(409), _) => Reason::Conflict,
        (FaultKind::Busy | FaultKind::Unreachable, ..) => Reason::Busy,
        (FaultKind::Interrupted | FaultKind::Broken, ..) => Reason::Unknown,
        (FaultKind::Denied, ..) => Reason::Denied,
        (FaultKind::Refused | FaultKind::Unsent, ..) => Reason::Refused,
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_s3::{
        config::http::HttpResponse,
        error::{ErrorMetadata, SdkError},
        primitives::SdkBody,
    };

    use super::*;

    fn answer(status: u16, code: &str) -> Failed {
        let error = ErrorMetadata::builder().code(code).message("why").build();
        let raw = HttpResponse::new(status.try_into().unwrap(), SdkBody::empty());
        Failed::of(&SdkError::service_error(error, raw)).0
    }

    #[test]
    fn every_answer_has_one_meaning() {
        use StoreError::{Internal, OutcomeUnknown, Unavailable};
        let text = |code: &str| format!("doing: {code}: why");
        type Make = fn(String) -> StoreError;
        let table: [(u16, &str, Reason, Make, Make); 13] = [
            (503, "SlowDown", Reason::Busy, Unavailable, Unavailable),
            (503, "ServiceUnavailable", Reason::Unknown, Unavailable, OutcomeUnknown),
            (500, "InternalError", Reason::Unknown, Unavailable, OutcomeUnknown),
            (404, "NoSuchKey", Reason::NotFound, Internal, Internal),
            (404, "NoSuchUpload", Reason::NotFound, Internal, Internal),
            (404, "NoSuchBucket", Reason::NoBucket, Unavailable, Unavailable),
            (416, "InvalidRange", Reason::BadRange, Internal, Internal),
            (412, "PreconditionFailed", Reason::Exists, Internal, Internal),
            (409, "ConditionalRequestConflict", Reason::Conflict, Unavailable, Unavailable),
            (409, "OperationAborted", Reason::Conflict, Unavailable, Unavailable),
            (403, "AccessDenied", Reason::Denied, Unavailable, Unavailable),
            (400, "InvalidArgument", Reason::Refused, Internal, Internal),
            (400, "BadDigest", Reason::Refused, Internal, Internal),
        ];
        for (status, code, reason, read, write) in table {
            let failed = answer(status, code);
            assert_eq!(failed.reason(), reason, "{code}");
            assert_eq!(failed.of_read("doing"), read(text(code)), "{code}");
            assert_eq!(failed.of_write("doing"), write(text(code)), "{code}");
        }
    }

    #[test]
    fn a_time_out_leaves_the_outcome_open_and_a_closed_gate_does_not() {
        let late: SdkError<ErrorMetadata, HttpResponse> = SdkError::timeout_error("late");
        let (failed, _) = Failed::of(&late);
        assert!(matches!(failed.of_write("doing"), StoreError::OutcomeUnknown(_)));
        assert!(matches!(failed.of_read("doing"), StoreError::Unavailable(_)));
        for closed in [Closed::Full, Closed::TooLong, Closed::Down] {
            assert!(matches!(Failed::closed(closed).of_write("doing"), StoreError::Unavailable(_)));
        }
    }

    #[test]
    fn a_call_that_a_store_lacks_is_told_from_one_that_it_refuses() {
        assert!(answer(501, "NotImplemented").is_unsupported());
        assert!(answer(405, "MethodNotAllowed").is_unsupported());
        assert!(answer(200, "").is_unsupported());
        assert!(!answer(403, "AccessDenied").is_unsupported());
    }
}
