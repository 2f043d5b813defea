//! SMTP (RFC 5321) as a state machine without I/O: the server's side of a connection.
//!
//! [`Session`] is a [`puro_session::Machine`]: octets and time go in, replies and [`Question`]s come out. It offers
//! PIPELINING (RFC 2920), SIZE (RFC 1870), 8BITMIME (RFC 6152), ENHANCEDSTATUSCODES (RFC 2034), STARTTLS (RFC 3207) and
//! AUTH PLAIN and LOGIN (RFC 4954).
//!
//! What it is not: it opens no socket, reads no clock, checks no password and knows no mailbox; it decides nothing that
//! a service has to know, and it adds no trace fields to a message. The SMTP service and tests depend on it.

mod command;
mod config;
mod normalise;
mod parameters;
mod path;
mod question;
mod reply;
mod session;

pub use config::{BareLineEnds, Config, Limits, Listener, Timeouts};
pub use puro_session::PlaintextAuth;
pub use question::{Answer, Envelope, GivenUp, Question, RecipientVerdict, SenderVerdict};
pub use session::{Session, Summary};
