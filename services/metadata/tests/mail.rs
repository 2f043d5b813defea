//! The mail logic on the memory store, with its faults injected, its units counted and its time moved by hand.

#![allow(clippy::unwrap_used, reason = "the helpers of a test are part of the test")]

#[path = "mail/admin.rs"]
mod admin;
#[path = "mail/audit.rs"]
mod audit;
#[path = "mail/budgets.rs"]
mod budgets;
#[path = "mail/cleanup.rs"]
mod cleanup;
#[path = "mail/cleanup_compact.rs"]
mod cleanup_compact;
#[path = "mail/cleanup_faults.rs"]
mod cleanup_faults;
#[path = "mail/cleanup_mixtures.rs"]
mod cleanup_mixtures;
#[path = "mail/delivery.rs"]
mod delivery;
#[path = "mail/directory.rs"]
mod directory;
#[path = "mail/draw.rs"]
mod draw;
#[path = "mail/faults.rs"]
mod faults;
#[path = "mail/grpc.rs"]
mod grpc;
#[path = "mail/lagging.rs"]
mod lagging;
#[path = "mail/ledger.rs"]
mod ledger;
#[path = "mail/maildrop.rs"]
mod maildrop;
#[path = "mail/random.rs"]
mod random;
#[path = "store_dynamodb/rig.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod rig;
#[path = "mail/segments.rs"]
mod segments;
#[path = "mail/transfer.rs"]
mod transfer;
#[path = "mail/world.rs"]
mod world;
