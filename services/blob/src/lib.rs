//! The blob service: message bytes in immutable segments.
//!
//! What it is: the core ([`Blobs`]), which splits messages into two compressed, checksummed frames and gathers messages
//! that arrive together into one segment; the stores of segments ([`store`]); and the gRPC service in front
//! ([`routes`]). What it is not: it does not know who owns a message (labels that say so it keeps and does not read),
//! parses none, and deletes only what it is told to. Only the all-in-one binary may depend on it as a library;
//! everything else talks gRPC.

mod blobs;
mod commit;
mod config;
mod copy;
mod error;
mod frames;
mod index;
mod metrics;
mod process;
mod server;
mod setup;
pub mod store;
mod stream;
mod upload;

pub use crate::{
    blobs::Blobs,
    config::BlobConfig,
    index::Labelled,
    process::{build, open},
    server::routes,
    setup::{SetupError, Step, StepOutcome, StoreStatus, init_store, store_status},
    upload::Piece,
};
