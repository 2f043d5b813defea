//! What both AWS stores share: configuration, a gate in front of every call, and what a failed call means.
//!
//! What it is: [`load`] reads region, endpoint and credentials by the SDK's own chain and gives every store the same
//! HTTP client and deadlines; [`Gate`] bounds what runs and what waits, and stops asking a store that is down; [`Fault`]
//! says of a failed call whether the store changed nothing or perhaps something; [`UntouchedOnly`] keeps the SDK from
//! repeating a write of which that is not known. What it is not: it knows no table, no bucket and no verb of either
//! store, and names no service's SDK. Only `metadata` and `blob` may depend on it.
//!
//! # Repeats
//!
//! The SDK repeats what failed, three attempts in all, within the deadline of the operation. For reads that is all there
//! is to say. A write that timed out, or whose connection broke, or that was answered with 5xx may have been applied:
//! were it repeated here, an addition would count twice, and a put "if absent" would find its own item and be told that
//! its condition does not hold. So a write is repeated only where it is sure that nothing was changed (no connection, or
//! throttled); anything else ends as [`Fault::may_have_changed`], and the logic above decides, which knows what it wrote.

mod breaker;
mod config;
mod fault;
mod gate;
mod retry;

pub use aws_config::SdkConfig;

pub use crate::{
    breaker::BreakerLimits,
    config::{Deadlines, NoRegion, Source, load},
    fault::{Fault, FaultKind},
    gate::{Closed, Gate, GateCounts, GateLimits, Pass},
    retry::UntouchedOnly,
};
