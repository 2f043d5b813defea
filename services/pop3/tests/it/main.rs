//! Sessions over the driver, with back ends over gRPC inside the process: the real clients, stand-ins for the services.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by panicking")]

mod backends;
mod client;
mod logs;
mod sessions;
mod traces;
