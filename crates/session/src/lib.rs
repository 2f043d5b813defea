//! What every text session shares: the contract between a protocol machine and its driver, strict lines, dot-stuffing,
//! and the server side of SASL.
//!
//! What it is not: it does no I/O, reads no clock and knows neither SMTP nor POP3. The session crates and `serve`
//! depend on it.

pub mod dots;
pub mod lines;
mod machine;
mod plaintext;
pub mod sasl;

pub use machine::{Input, Machine, Peer, Step, Tls};
pub use plaintext::PlaintextAuth;
