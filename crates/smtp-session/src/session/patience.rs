//! A client that errs again and again is slowed down and then sent away.

use super::{Next, Session};
use crate::reply::{self, Reply};

/// What a client has got wrong.
#[derive(Debug, Default)]
pub(super) struct Patience {
    errors: Row,
    refused_recipients: Row,
    in_all: u32,
    auth_failures: u32,
    /// Transactions begun.
    pub(super) transactions: u32,
}

/// Faults of one kind in a row.
#[derive(Debug, Default)]
struct Row(u32);

/// What a fault leads to.
enum Verdict {
    Reply,
    ReplyAndPause,
    Close,
}

impl Row {
    fn add(&mut self, before_pause: u32, max: u32) -> Verdict {
        self.0 = self.0.saturating_add(1);
        if self.0 >= max {
            Verdict::Close
        } else if self.0 > before_pause {
            Verdict::ReplyAndPause
        } else {
            Verdict::Reply
        }
    }
}

impl Patience {
    pub(super) fn errors_in_all(&self) -> u32 {
        self.in_all
    }

    pub(super) fn auth_failures(&self) -> u32 {
        self.auth_failures
    }

    /// A recipient or a login was accepted: this is no attack.
    pub(super) fn forgive(&mut self) {
        self.errors = Row::default();
        self.refused_recipients = Row::default();
    }
}

impl Session {
    /// Refuses a command and counts the error.
    pub(super) fn refuse(&mut self, reply: Reply) {
        let limits = &self.config.limits;
        let verdict = self.patience.errors.add(limits.errors_before_pause, limits.errors);
        self.carry_out(verdict, reply);
    }

    /// Refuses a recipient for good. One of them is no error of the client's; many in a row are a harvest of
    /// addresses (RFC 5321 section 7.3).
    pub(super) fn refuse_recipient(&mut self, reply: Reply) {
        let limits = &self.config.limits;
        let row = &mut self.patience.refused_recipients;
        let verdict = row.add(limits.refused_recipients_before_pause, limits.refused_recipients);
        self.carry_out(verdict, reply);
    }

    fn carry_out(&mut self, verdict: Verdict, reply: Reply) {
        self.patience.in_all = self.patience.in_all.saturating_add(1);
        match verdict {
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
