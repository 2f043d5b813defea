//! Clients of the services: typed calls with deadlines, repeats of what may be repeated, and traces.
//!
//! Every future here may be dropped at any time: the call is then cancelled, and a write was or was not applied.

mod admin;
mod audit;
mod blob;
mod directory;
mod mail;
mod transfer;

pub use admin::AdminClient;
pub use audit::{AuditClient, AuditStream};
pub use blob::{BlobClient, ReadStream, StoreStream};
pub use directory::DirectoryClient;
pub use mail::{DeliveryClient, MaildropClient};
pub use transfer::TransferClient;

/// Implements what all clients have in common.
macro_rules! client {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub struct $name {
            backend: crate::channel::Backend,
        }

        impl $name {
            /// Makes a client; clones and other clients may share the way to the service.
            pub fn new(backend: crate::channel::Backend) -> Self {
                Self { backend }
            }

            /// Returns the way to the service.
            pub fn backend(&self) -> &crate::channel::Backend {
                &self.backend
            }
        }
    };
}
use client;
