//! What a failed call means: whether the store changed anything, and whether the store is at fault.

use std::{error::Error, fmt};

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::{
    client::{orchestrator::HttpResponse, result::SdkError},
    http::StatusCode,
};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

/// Why a call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// The store asks to be asked less, or another change is under way. It did nothing.
    Busy,
    /// There was no connection to send the request on, or no credentials to sign it with.
    Unreachable,
    /// The time was up or the connection broke after the request, or some of it, was sent.
    Interrupted,
    /// The store answered that it is broken (5xx), or something that is no answer.
    Broken,
    /// The store knows us not, or does not let us. It did nothing.
    Denied,
    /// The store refuses the request as it is (4xx). It did nothing.
    Refused,
    /// The request could not be made: our own bug. Nothing was sent.
    Unsent,
}

/// A failed call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Why it failed.
    pub kind: FaultKind,
    /// The store's own name of the error, such as `ResourceNotFoundException`.
    pub code: Option<String>,
    /// For people: code and message, or what the connection met with.
    pub text: String,
}

/// Codes that ask for patience, whatever their status. Sources: "Error handling with DynamoDB" (Amazon DynamoDB
/// Developer Guide), "List of error codes" (Amazon S3 API Reference), "Retry behavior" (AWS SDKs and Tools Reference).
/// With each of them nothing was done.
const BUSY: [&str; 13] = [
    "BandwidthLimitExceeded",
    "OperationAborted",
    "PriorRequestNotComplete",
    "ProvisionedThroughputExceededException",
    "ReplicatedWriteConflictException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
    "TransactionConflictException",
];

/// Codes about who asks, besides every answer 401 and 403.
const DENIED: [&str; 9] = [
    "AccessDeniedException",
    "ExpiredTokenException",
    "ExpiredToken",
    "IncompleteSignatureException",
    "InvalidSignatureException",
    "MissingAuthenticationTokenException",
    "NotAuthorized",
    "RequestExpired",
    "UnrecognizedClientException",
];

impl Fault {
    /// Says what became of a call that the SDK gives up.
    pub fn of<E>(error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        match error {
            SdkError::ServiceError(failure) => Self::answered(failure.err(), failure.raw().status()),
            SdkError::DispatchFailure(failure) => match failure.as_connector_error() {
                Some(cause) if failure.is_user() => Self::plain(FaultKind::Unsent, chain(cause)),
                Some(cause) if was_not_sent(cause) => Self::plain(FaultKind::Unreachable, chain(cause)),
                Some(cause) => Self::plain(FaultKind::Interrupted, chain(cause)),
                None => Self::plain(FaultKind::Interrupted, "the connection failed".to_owned()),
            },
            SdkError::TimeoutError(_) => Self::plain(FaultKind::Interrupted, "no answer in time".to_owned()),
            SdkError::ConstructionFailure(_) => Self::plain(FaultKind::Unsent, chain(error)),
            // A response that cannot be read: perhaps cut off.
            _ => Self::plain(FaultKind::Broken, chain(error)),
        }
    }

    /// Says whether the store may have done what it was asked to.
    #[must_use]
    pub const fn may_have_changed(&self) -> bool {
        matches!(self.kind, FaultKind::Interrupted | FaultKind::Broken)
    }

    /// Says whether the store is down or ill, as opposed to busy or in disagreement with the request.
    #[must_use]
    pub const fn is_outage(&self) -> bool {
        matches!(self.kind, FaultKind::Unreachable | FaultKind::Interrupted | FaultKind::Broken)
    }

    /// Says whether the same request may succeed later without anybody changing this program.
    #[must_use]
    pub const fn is_temporary(&self) -> bool {
        !matches!(self.kind, FaultKind::Refused | FaultKind::Unsent)
    }

    fn answered(error: &impl ProvideErrorMetadata, status: StatusCode) -> Self {
        let code = error.code().unwrap_or_default();
        let kind = match status.as_u16() {
            _ if BUSY.contains(&code) => FaultKind::Busy,
            500.. => FaultKind::Broken,
            429 => FaultKind::Busy,
            401 | 403 => FaultKind::Denied,
            _ if DENIED.contains(&code) => FaultKind::Denied,
            _ => FaultKind::Refused,
        };
        let text = match (code, error.message()) {
            ("", None) => format!("status {}", status.as_u16()),
            ("", Some(message)) => format!("status {}: {message}", status.as_u16()),
            (code, None) => code.to_owned(),
            (code, Some(message)) => format!("{code}: {message}"),
        };
        Self { kind, code: (!code.is_empty()).then(|| code.to_owned()), text }
    }

    fn plain(kind: FaultKind, text: String) -> Self {
        Self { kind, code: None, text }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Says whether a request that failed below HTTP was surely not sent.
pub(crate) fn was_not_sent(cause: &(dyn Error + 'static)) -> bool {
    std::iter::successors(Some(cause), |&error| error.source()).any(|error| {
        let is_connect = error.downcast_ref().is_some_and(hyper_util::client::legacy::Error::is_connect);
        is_connect || error.is::<CredentialsError>()
    })
}

/// An error with all that is behind it, each said once.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    for cause in std::iter::successors(error.source(), |&cause| cause.source()) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use aws_smithy_runtime_api::client::result::ConnectorError;
    use aws_smithy_types::{body::SdkBody, error::ErrorMetadata};

    use super::*;

    fn answer(status: u16, code: &str) -> Fault {
        let error = ErrorMetadata::builder().code(code).message("why").build();
        let raw = HttpResponse::new(StatusCode::try_from(status).unwrap(), SdkBody::empty());
        Fault::of(&SdkError::service_error(error, raw))
    }

    #[test]
    fn answers_are_told_apart_by_code_and_status() {
        let cases = [
            (400, "ProvisionedThroughputExceededException", FaultKind::Busy),
            (400, "ThrottlingException", FaultKind::Busy),
            (503, "SlowDown", FaultKind::Busy),
            (429, "Odd", FaultKind::Busy),
            (500, "InternalServerError", FaultKind::Broken),
            (503, "ServiceUnavailable", FaultKind::Broken),
            (400, "ExpiredTokenException", FaultKind::Denied),
            (400, "UnrecognizedClientException", FaultKind::Denied),
            (403, "AccessDenied", FaultKind::Denied),
            (400, "ValidationException", FaultKind::Refused),
            (400, "ResourceNotFoundException", FaultKind::Refused),
            (412, "PreconditionFailed", FaultKind::Refused),
        ];
        for (status, code, kind) in cases {
            let fault = answer(status, code);
            assert_eq!((fault.kind, fault.code.as_deref()), (kind, Some(code)));
            assert_eq!(fault.text, format!("{code}: why"));
            assert_eq!(fault.may_have_changed(), kind == FaultKind::Broken, "{code}");
        }
    }

    #[test]
    fn what_was_perhaps_sent_may_have_changed_something() {
        let error = || std::io::Error::other("broken pipe").into();
        let faults: [(SdkError<ErrorMetadata, HttpResponse>, FaultKind); 5] = [
            (SdkError::timeout_error("slow"), FaultKind::Interrupted),
            (SdkError::dispatch_failure(ConnectorError::io(error())), FaultKind::Interrupted),
            (SdkError::dispatch_failure(ConnectorError::timeout(error())), FaultKind::Interrupted),
            (SdkError::dispatch_failure(ConnectorError::user(error())), FaultKind::Unsent),
            (SdkError::construction_failure("no table"), FaultKind::Unsent),
        ];
        for (error, kind) in faults {
            let fault = Fault::of(&error);
            assert_eq!(fault.kind, kind, "{fault}");
            assert_eq!(fault.may_have_changed(), kind == FaultKind::Interrupted);
        }
        let missing = ConnectorError::other(CredentialsError::not_loaded("none").into(), None);
        let fault = Fault::of(&SdkError::<ErrorMetadata, HttpResponse>::dispatch_failure(missing));
        assert_eq!(fault.kind, FaultKind::Unreachable, "{fault}");
    }
}
