//! The clients against servers that do as a script says, over TCP and inside the process.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod age;
mod blob;
mod calls;
mod listing;
mod replicas;
mod scripted;
