//! The operator's command line, run as a program against real services on TCP with stores in memory.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod accounts;
mod compaction;
mod cost;
mod ends;
mod mail;
mod store;
mod system;
mod transfer;
