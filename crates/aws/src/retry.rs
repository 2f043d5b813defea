//! Keeps the SDK from repeating a write that may have been applied.

use aws_smithy_runtime_api::client::{
    interceptors::context::InterceptorContext,
    retries::classifiers::{ClassifyRetry, RetryAction, RetryClassifierPriority},
};

use crate::fault::was_not_sent;

/// A retry classifier for clients that write: it forbids every repeat but those after which [`crate::Fault`] would say
/// that nothing was changed. What it does not forbid, the SDK's own classifiers decide.
#[derive(Debug, Clone, Copy, Default)]
pub struct UntouchedOnly;

impl ClassifyRetry for UntouchedOnly {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let Some(Err(error)) = context.output_or_error() else { return RetryAction::NoActionIndicated };
        let is_harmless = match error.as_connector_error() {
            Some(cause) => was_not_sent(cause),
            None if error.is_timeout_error() || error.is_response_error() => false,
            // The code is not at hand here: a 5xx that says "slow down" is not repeated either.
            None => context.response().is_none_or(|response| response.status().as_u16() < 500),
        };
        if is_harmless { RetryAction::NoActionIndicated } else { RetryAction::RetryForbidden }
    }

    fn name(&self) -> &'static str {
        "only where nothing was changed"
    }

    fn priority(&self) -> RetryClassifierPriority {
        RetryClassifierPriority::run_after(RetryClassifierPriority::transient_error_classifier())
    }
}
