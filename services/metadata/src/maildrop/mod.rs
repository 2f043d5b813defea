//! Serves POP3: a snapshot of INBOX at login, removal at QUIT.

mod cache;
mod list;
mod remove;

pub use cache::Listing;
pub(crate) use cache::Listings;
pub use list::Snapshot;
pub(crate) use remove::TOMBSTONE_MS;
