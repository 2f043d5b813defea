//! What every PuRo Mail binary needs around its own work: settings, telemetry, listeners with the PROXY protocol, TLS,
//! the driver that runs a protocol machine over a stream, health, drain, and serving gRPC.
//!
//! What it is not: it knows neither SMTP nor POP3 nor any store. Only the services may depend on it.

pub mod config;
pub mod driver;
pub mod grpc;
pub mod health;
pub mod limit;
pub mod listener;
pub mod process;
pub mod telemetry;
pub mod tls;
