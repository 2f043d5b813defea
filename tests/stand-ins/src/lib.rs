//! What tests use in the place of AWS: where the real servers are that stand in for DynamoDB and S3, and a proxy that
//! does to their clients what a bad day on a network does.
//!
//! The servers themselves (DynamoDB Local and Ceph's RGW) are installed, started and stopped by `cargo xtask test`, or by
//! `cargo xtask stand-ins` for a developer who runs single tests. They are shared by all tests; a test keeps to itself by
//! a fresh table prefix and a fresh bucket ([`fresh_name`]). A server that is not there fails the test.
//!
//! It knows neither the AWS SDKs nor anything of PuRo Mail. Only tests may depend on it.
#![allow(clippy::expect_used, clippy::panic, reason = "what tests rest on stops the test by panicking")]

#[cfg(feature = "proxy")]
mod proxy;
mod servers;

#[cfg(feature = "proxy")]
pub use proxy::{Fault, FaultProxy, Plan, Rule, Service};
pub use servers::{
    ACCESS_KEY_ID, DYNAMODB_VARIABLE, REGION, S3_VARIABLE, SECRET_ACCESS_KEY, StandIn, dynamodb, fresh_name,
    s3,
};
