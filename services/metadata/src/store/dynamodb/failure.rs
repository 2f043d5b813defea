//! One call through the gate, and what its failure means to the store's callers.

use std::{error::Error, sync::Arc};

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use puro_aws::{Closed, Fault, FaultKind, Gate};

use super::super::StoreError;

/// A call that failed.
#[derive(Debug)]
pub(super) enum Failed<E> {
    /// The gate was closed: nothing was sent.
    Closed(Closed),
    /// The SDK gave up.
    Call(Fault, Box<SdkError<E>>),
}

/// Makes a call when the gate lets it.
pub(super) async fn call<T, E>(
    gate: &Arc<Gate>,
    send: impl Future<Output = Result<T, SdkError<E>>> + Send,
) -> Result<T, Failed<E>>
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let pass = gate.enter().await.map_err(Failed::Closed)?;
    // The SDK's futures are large.
    match Box::pin(send).await {
        Ok(answer) => {
            pass.answered();
            Ok(answer)
        }
        Err(error) => {
            let fault = Fault::of(&error);
            if fault.is_outage() {
                pass.failed();
            } else {
                pass.answered();
            }
            Err(Failed::Call(fault, Box::new(error)))
        }
    }
}

impl<E> Failed<E> {
    /// Returns DynamoDB's own error, if it answered with one.
    pub(super) fn service_error(&self) -> Option<&E> {
        match self {
            Self::Closed(_) => None,
            Self::Call(_, error) => error.as_service_error(),
        }
    }

    /// Returns the error of a read, which changes nothing.
    pub(super) fn of_read(self) -> StoreError {
        match self {
            Self::Closed(closed) => unavailable(closed),
            Self::Call(fault, _) => untouched(&fault),
        }
    }

    /// Returns the error of a write.
    pub(super) fn of_write(self) -> StoreError {
        match self {
            Self::Closed(closed) => unavailable(closed),
            Self::Call(fault, _) if fault.may_have_changed() => {
                StoreError::OutcomeUnknown(format!("DynamoDB: {fault}"))
            }
            Self::Call(fault, _) => untouched(&fault),
        }
    }
}

/// Returns the error of a call that changed nothing.
fn untouched(fault: &Fault) -> StoreError {
    // Somebody may be making the tables, or letting us in, right now: the mail can wait for them.
    if fault.code.as_deref() == Some(NO_TABLE) {
        return unavailable("a table is missing: run `puro store init`");
    }
    match fault.kind {
        FaultKind::Refused | FaultKind::Unsent => StoreError::Internal(format!("DynamoDB: {fault}")),
        _ => unavailable(fault),
    }
}

/// DynamoDB's name for a table that is not there.
pub(super) const NO_TABLE: &str = "ResourceNotFoundException";

fn unavailable(why: impl std::fmt::Display) -> StoreError {
    StoreError::Unavailable(format!("DynamoDB: {why}"))
}
