//! SMTP as a state machine without I/O.

mod question;

pub use question::{Answer, Envelope, Question, RecipientVerdict, SenderVerdict};
