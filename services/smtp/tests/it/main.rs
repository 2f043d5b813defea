//! Sessions over the driver, with back ends over gRPC inside the process: the real clients, scripted services behind them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by panicking")]

mod client;
mod deliveries;
mod faults;
mod logs;
mod submissions;
mod tls;
mod traces;
