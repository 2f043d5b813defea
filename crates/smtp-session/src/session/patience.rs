//! A client that errs again and again is slowed down and then sent away.

use super::{Next, Session};
use crate::{
    Limits,
    reply::{self, Reply},
};

/// What a client has got wrong.
#[derive(Debug, Default)]
pub(super) struct Patience {
    in_a_row: u32,
    in_all: u32,
    auth_failures: u32,
    /// Transactions begun.
    pub(super) transactions: u32,
}

/// What an error leads to.
enum Verdict {
    Reply,
    ReplyAndPause,
    Close,
}

impl Patience {
    pub(super) fn errors_in_all(&self) -> u32 {
        self.in_all
    }

    pub(super) fn auth_failures(&self) -> u32 {
        self.auth_failures
    }

    /// A recipient or a message was accepted, or a login: this is no attack.
    pub(super) fn forgive(&mut self) {
        self.in_a_row = 0;
    }

    fn error(&mut self, limits: &Limits) -> Verdict {
        self.in_all = self.in_all.saturating_add(1);
        self.in_a_row = self.in_a_row.saturating_add(1);
        if self.in_a_row >= limits.errors {
            Verdict::Close
        } else if self.in_a_row > limits.errors_before_pause {
            Verdict::ReplyAndPause
        } else {
            Verdict::Reply
        }
    }
}

impl Session {
    /// Refuses a command and counts the error.
    pub(super) fn refuse(&mut self, reply: Reply) {
        match self.patience.error(&self.config.limits) {
            Verdict::Reply => self.reply(reply),
            Verdict::ReplyAndPause => {
                self.reply(reply);
                self.next = Next::Pause(self.config.limits.pause);
            }
            Verdict::Close => self.close_with(reply::TOO_MANY_ERRORS),
        }
    }

    /// Refuses a login: each failure costs a pause, so that guessing is slow, and a few of them the connection.
    pub(super) fn refuse_login(&mut self) {
        self.patience.auth_failures = self.patience.auth_failures.saturating_add(1);
        if self.patience.auth_failures >= self.config.limits.auth_failures {
            return self.close_with(reply::TOO_MANY_LOGINS);
        }
        self.refuse(reply::BAD_CREDENTIALS);
        if matches!(self.next, Next::Read) {
            self.next = Next::Pause(self.config.limits.pause);
        }
    }
}
