//! The gRPC services: requests become domain types here, once, and errors become statuses.

mod admin;
mod audit;
mod directory;
mod mail;
mod transfer;

use std::sync::Arc;

use puro_api::{
    Failure,
    pb::metadata::v1::{
        admin_service_server::AdminServiceServer, audit_service_server::AuditServiceServer,
        delivery_service_server::DeliveryServiceServer, directory_service_server::DirectoryServiceServer,
        maildrop_service_server::MaildropServiceServer, transfer_service_server::TransferServiceServer,
    },
};
use tonic::{Status, service::Routes};

use crate::{Metadata, MetadataError};

/// Octets of a request at most: a removal of a hundred thousand messages with their locations.
const REQUEST_MAX: usize = 32 * 1024 * 1024;

/// One service in front of the mail logic.
#[derive(Debug, Clone)]
struct Server(Arc<Metadata>);

/// Returns the gRPC services.
pub fn routes(metadata: Arc<Metadata>) -> Routes {
    let server = Server(metadata);
    Routes::new(DirectoryServiceServer::new(server.clone()))
        .add_service(DeliveryServiceServer::new(server.clone()))
        .add_service(MaildropServiceServer::new(server.clone()).max_decoding_message_size(REQUEST_MAX))
        .add_service(AdminServiceServer::new(server.clone()))
        .add_service(AuditServiceServer::new(server.clone()))
        .add_service(TransferServiceServer::new(server))
}

impl From<MetadataError> for Failure {
    fn from(error: MetadataError) -> Self {
        match error {
            MetadataError::NotFound(what) => Self::NotFound(what),
            MetadataError::AlreadyExists(what) => Self::AlreadyExists(what),
            MetadataError::Invalid(why) => Self::Invalid(why),
            MetadataError::Refused(why) => Self::FailedPrecondition(why),
            MetadataError::BadCredentials => Self::Unauthenticated(String::new()),
            MetadataError::Unavailable(why) => Self::Unavailable(why),
            MetadataError::Busy(why) => Self::Exhausted(why),
            MetadataError::OutcomeUnknown(why) => Self::OutcomeUnknown(why),
            MetadataError::Internal(why) => Self::Internal(why),
        }
    }
}

/// Makes a status of an error, and logs the ones that a person should see.
fn refuse(error: MetadataError) -> Status {
    match &error {
        MetadataError::Internal(_) => tracing::error!(%error, "a request failed"),
        MetadataError::Unavailable(_) | MetadataError::OutcomeUnknown(_) => {
            tracing::warn!(%error, "a request failed");
        }
        _ => tracing::debug!(%error, "a request was refused"),
    }
    Failure::from(error).into()
}

/// Parses a field of a request.
fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(field: &str, value: &str) -> Result<T, Status> {
    value.parse().map_err(|error| Failure::Invalid(format!("{field}: {error}")).into())
}
