//! Scripted back ends for the tests of the front ends, and what a session leaves behind: log lines and traces.
//!
//! What it is: [`Services`], a metadata and a blob service in memory behind the real clients, which note what they are
//! asked and fail as a test wants; [`Log`] and [`Traces`], which keep what is told on one thread. What it is not: it has
//! none of the services' logic, and knows no mail protocol. Only tests of front ends depend on it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops by panicking")]

mod blob;
mod log;
mod metadata;
mod services;
mod trace;

pub use blob::Stored;
pub use log::Log;
pub use metadata::mailbox;
pub use services::{Services, State};
pub use trace::Traces;
