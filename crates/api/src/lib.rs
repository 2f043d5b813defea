//! How the services talk to one another: the generated gRPC code, the model behind it, and clients.
//!
//! What it is: [`pb`], compiled from `proto/`, for servers to implement; [`model`], the same as checked domain types,
//! which is all that travels inward; [`Failure`], the one table between errors and gRPC statuses; [`Backend`], the way
//! to a service over TCP or inside the process; and a client for each service with deadlines, repeats and traces.
//! What it is not: it serves nothing, keeps nothing and knows no mail protocol. Services and tools depend on it; the
//! session crates do not.

mod channel;
mod client;
mod failure;
pub mod model;
mod trace;

pub use channel::{
    Backend, Connector, Deadlines, Endpoint, InProcess, Incoming, Pipe, Settings, in_process, server_builder,
};
pub use client::{
    AdminClient, AuditClient, AuditStream, BlobClient, DeliveryClient, DirectoryClient, MaildropClient,
    ReadStream, StoreStream, TransferClient,
};
pub use failure::{ERROR_DOMAIN, Effect, Failure};

/// Generated code, one module a package.
pub mod pb {
    #![allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)]
    /// `puro.blob`.
    pub mod blob {
        /// `puro.blob.v1`.
        pub mod v1 {
            tonic::include_proto!("puro.blob.v1");
        }
    }
    /// `puro.metadata`.
    pub mod metadata {
        /// `puro.metadata.v1`.
        pub mod v1 {
            tonic::include_proto!("puro.metadata.v1");
        }
    }
}
