//! POP3 as a state machine without I/O: RFC 1939 (all but APOP), CAPA, RESP-CODES and PIPELINING (RFC 2449), STLS
//! (RFC 2595), AUTH-RESP-CODE (RFC 3206) and AUTH (RFC 5034).
//!
//! What it is: [`Session`], a [`puro_session::Machine`] that turns octets and time into replies and [`Question`]s. What
//! it is not: it opens no socket, reads no clock, knows no store; a driver and a service do that for it. The POP3
//! service depends on it, tests may, and no other library.

mod authorization;
mod command;
mod config;
mod listing;
mod marks;
mod question;
mod reply;
mod session;
mod transaction;
mod transfer;

pub use config::{Config, Limits, Timeouts};
pub use puro_session::PlaintextAuth;
pub use question::{Answer, Entry, Maildrop, Part, Question};
pub use session::{Ending, Session, Tally};
