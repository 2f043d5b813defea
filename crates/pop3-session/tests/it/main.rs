//! The machine driven as a driver drives it, without sockets and with a clock of our own.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by panicking")]

mod bounds;
mod client;
mod properties;
mod script;
mod transcripts;
mod world;
