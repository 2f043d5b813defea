//! Load on a mail server, with every message accounted for.
//!
//! Drives many SMTP and POP3 sessions at once, in a closed loop or at a given rate, against any server.
//! Each message carries an id and a checksum of its body, so that the reader can tell a lost, a
//! duplicated and a corrupted one apart; a ledger on disk keeps what the server acknowledged, for tests
//! which kill it.
//!
//! It is not a mail client: it knows just enough of the two protocols to load a server and to notice a
//! wrong answer. It trusts any certificate. Only tests and benchmarks may depend on it.

pub mod deliver;
pub mod fetch;
pub mod idle;
pub mod ledger;
pub mod message;
pub mod pace;
pub mod pop3;
pub mod process;
pub mod report;
pub mod smtp;
pub mod target;
pub mod verify;
pub mod wait;
pub mod wire;
