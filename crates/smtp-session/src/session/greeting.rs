//! EHLO, HELO and STARTTLS.

use puro_session::{Tls, lines::LineReader, sasl::Mechanism};

use super::{Next, Session, Stage};
use crate::reply;

/// How the client introduced itself.
#[derive(Debug)]
pub(super) struct Hello {
    /// The argument of EHLO or HELO.
    pub(super) name: String,
    /// It was EHLO.
    pub(super) extended: bool,
}

impl Session {
    /// EHLO and HELO, at any time; in mid-session they act as RSET does (RFC 5321 section 4.1.4).
    pub(super) fn say_hello(&mut self, name: &str, extended: bool) {
        self.transaction = None;
        self.hello = Some(Hello { name: name.to_owned(), extended });
        let keywords = if extended { self.keywords() } else { Vec::new() };
        reply::hello(&mut self.output, &self.config.hostname, &keywords);
    }

    fn keywords(&self) -> Vec<String> {
        let mut keywords = vec![
            "PIPELINING".to_owned(),
            // RFC 1870 section 4: 0 says that there is no fixed limit.
            format!("SIZE {}", self.config.max_message_bytes),
            "8BITMIME".to_owned(),
            "ENHANCEDSTATUSCODES".to_owned(),
        ];
        // RFC 3207 section 4.2: not offered again inside TLS.
        if self.config.tls_available && self.tls.is_none() {
            keywords.push("STARTTLS".to_owned());
        }
        if self.may_log_in_here() && self.account.is_none() {
            let names = [Mechanism::Plain, Mechanism::Login].map(Mechanism::name).join(" ");
            keywords.push(format!("AUTH {names}"));
        }
        keywords
    }

    /// Says whether a password may be sent over this connection as it is now (RFC 4954 section 4: what is not
    /// permitted is not advertised).
    pub(super) fn may_log_in_here(&self) -> bool {
        self.config.plaintext_auth.allows(self.ip, self.tls.is_some())
    }

    /// RFC 3207 section 4. What arrived in clear behind the command may have been slipped in by somebody in the
    /// middle, to be taken for the client's words inside TLS (section 6): that ends the connection.
    pub(super) fn start_tls(&mut self, last: bool) {
        if self.tls.is_some() {
            return self.refuse(reply::TLS_ACTIVE);
        }
        if !self.config.tls_available {
            return self.refuse(reply::NOT_IMPLEMENTED);
        }
        if !last {
            return self.close_with(reply::OCTETS_BEHIND_STARTTLS);
        }
        self.reply(reply::READY_FOR_TLS);
        self.next = Next::StartTls;
    }

    /// RFC 3207 section 4.2: back to the state after the greeting, which is not said again. Errors stay counted: they
    /// are no knowledge that came from the client.
    pub(super) fn forget_client(&mut self, tls: Tls) {
        self.tls = Some(tls);
        self.lines = LineReader::default();
        self.stage = Stage::Commands;
        self.next = Next::Read;
        self.since = None;
        self.opened = None;
        self.hello = None;
        self.account = None;
        self.transaction = None;
    }
}
