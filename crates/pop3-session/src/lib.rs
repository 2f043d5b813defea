//! POP3 as a state machine without I/O.

mod question;

pub use question::{Answer, Entry, Maildrop, Part, Question};
