//! The store on DynamoDB, against DynamoDB Local: the contract, random operations, units, faults, tables.

#![allow(clippy::unwrap_used, reason = "the helpers of a test are part of the test")]

#[path = "store_dynamodb/budgets.rs"]
mod budgets;
#[path = "store_dynamodb/contract.rs"]
mod contract;
#[path = "store_dynamodb/faults.rs"]
mod faults;
#[path = "store_dynamodb/rig.rs"]
mod rig;
#[path = "mail/segments.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod segments;
#[path = "store_dynamodb/setup.rs"]
mod setup;
#[path = "model/steps.rs"]
mod steps;
#[path = "store_dynamodb/units.rs"]
mod units;
#[path = "mail/world.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod world;
