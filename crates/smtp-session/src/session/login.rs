//! AUTH (RFC 4954).

use puro_session::sasl::{Exchange, Failure, Mechanism, Next as Sasl};

use super::{Asked, Session, Stage};
use crate::{
    Answer, Question,
    reply::{self, Reply},
};

impl Session {
    /// Section 4: after EHLO, once, and not inside a transaction.
    pub(super) fn login(&mut self, mechanism: &[u8], initial: Option<&[u8]>) {
        if !self.hello.as_ref().is_some_and(|hello| hello.extended) {
            return self.refuse(reply::SAY_HELLO_FIRST);
        }
        if self.account.is_some() {
            return self.refuse(reply::ALREADY_LOGGED_IN);
        }
        if self.transaction.is_some() {
            return self.refuse(reply::LOGIN_INSIDE_TRANSACTION);
        }
        let Some(mechanism) = Mechanism::from_name(mechanism) else {
            return self.refuse(reply::UNKNOWN_MECHANISM);
        };
        if !self.may_log_in_here() {
            let offered = self.config.tls_available;
            return self.refuse(if offered { reply::ENCRYPTION_REQUIRED } else { reply::NOT_IMPLEMENTED });
        }
        let (exchange, next) = Exchange::start(mechanism, initial);
        self.go_on(exchange, next);
    }

    /// Takes a line of the exchange, or the reason why it is none. Whatever goes wrong ends the exchange.
    pub(super) fn login_line(&mut self, mut exchange: Exchange, line: Result<&[u8], Reply>) {
        match line {
            Ok(line) => {
                let next = exchange.response(line);
                self.go_on(exchange, next);
            }
            Err(reply::LINE_TOO_LONG) => self.refuse(reply::LOGIN_LINE_TOO_LONG),
            Err(_) => self.refuse(reply::NOT_BASE64),
        }
    }

    fn go_on(&mut self, exchange: Exchange, next: Sasl) {
        match next {
            Sasl::Challenge(base64) => {
                reply::challenge(&mut self.output, base64);
                self.stage = Stage::Login(exchange);
            }
            Sasl::Check(credentials) => self.ask(Question::Authenticate(credentials), Asked::Login),
            Sasl::Failed(Failure::Cancelled) => self.refuse(reply::LOGIN_CANCELLED),
            Sasl::Failed(Failure::Encoding) => self.refuse(reply::NOT_BASE64),
            // Well encoded, but no credentials that anybody could have.
            Sasl::Failed(Failure::Malformed) => self.refuse_login(),
        }
    }

    pub(super) fn login_answered(&mut self, answer: Answer) {
        match answer {
            Answer::Authenticated { account } => {
                self.account = Some(account);
                self.patience.forgive();
                self.reply(reply::LOGGED_IN);
            }
            Answer::BadCredentials => self.refuse_login(),
            // Nothing is known about the credentials, so this is no failed login.
            _ => self.reply(reply::LOGIN_UNAVAILABLE),
        }
    }
}
