//! The AUTHORIZATION state: USER and PASS (RFC 1939 section 7), AUTH (RFC 5034), STLS (RFC 2595); and CAPA (RFC 2449).

use puro_session::sasl::{Credentials, Exchange, Failure, Mechanism, Next};

use crate::{
    Answer, Question, Session,
    command::Command,
    reply::{self, Code},
    session::{Activity, Ending, State},
    transaction::Transaction,
};

const MECHANISMS: [Mechanism; 2] = [Mechanism::Plain, Mechanism::Login];
/// No failed login is followed by a longer silence: the peer would be gone, the connection not.
const PAUSE_MAX_SECONDS: u64 = 30;

impl Session {
    /// Answers a command that is not CAPA or QUIT before login.
    pub(crate) fn authorization(&mut self, command: Command<'_>) {
        match command {
            Command::User(name) => self.user(name),
            Command::Pass(password) => self.pass(password),
            Command::Auth(None) => self.list_mechanisms(),
            Command::Auth(Some((name, initial))) => self.auth(name, initial),
            Command::Stls => self.stls(),
            _ => reply::err(&mut self.out, "log in first"),
        }
    }

    /// Says whether the peer may send a password now.
    fn password_allowed(&self) -> bool {
        self.config.plaintext_auth.allows(self.peer.ip, self.peer.tls.is_some())
    }

    fn stls_offered(&self) -> bool {
        self.config.tls_available && self.peer.tls.is_none()
    }

    /// RFC 2449 section 5. The list is the same in both states, as each capability's definition asks; it changes with TLS.
    pub(crate) fn capa(&mut self) {
        let out = &mut self.out;
        reply::ok(out, format_args!("capability list follows"));
        let always = ["TOP", "UIDL", "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING", "EXPIRE NEVER"];
        for capability in always {
            reply::line(out, format_args!("{capability}"));
        }
        if self.password_allowed() {
            reply::line(&mut self.out, format_args!("USER"));
            let [plain, login] = MECHANISMS.map(Mechanism::name);
            reply::line(&mut self.out, format_args!("SASL {plain} {login}"));
        }
        if self.stls_offered() {
            reply::line(&mut self.out, format_args!("STLS"));
        }
        reply::line(&mut self.out, format_args!("IMPLEMENTATION {}", self.config.implementation));
        reply::end(&mut self.out);
    }

    fn refuse_clear_password(&mut self) {
        // Not [AUTH]: that would make a client ask its user for another password.
        reply::err(&mut self.out, "no passwords in clear here, start TLS first");
    }

    /// The answer is the same whoever exists (RFC 1939 section 13).
    fn user(&mut self, name: &[u8]) {
        if !self.password_allowed() {
            return self.refuse_clear_password();
        }
        self.state = State::Authorization { user: Some(name.to_vec()) };
        reply::ok(&mut self.out, format_args!("send PASS"));
    }

    fn pass(&mut self, password: &[u8]) {
        let State::Authorization { user } = &mut self.state else { return };
        let Some(user) = user.take() else {
            return reply::err(&mut self.out, "send USER first");
        };
        match (String::from_utf8(user), std::str::from_utf8(password)) {
            (Ok(login), Ok(password)) if !password.is_empty() => {
                self.open(Credentials { login, password: password.into() });
            }
            _ => self.login_failed(),
        }
    }

    /// What clients did before CAPA: the mechanisms, one a line.
    fn list_mechanisms(&mut self) {
        reply::ok(&mut self.out, format_args!("mechanisms follow"));
        if self.password_allowed() {
            for mechanism in MECHANISMS {
                reply::line(&mut self.out, format_args!("{}", mechanism.name()));
            }
        }
        reply::end(&mut self.out);
    }

    fn auth(&mut self, name: &[u8], initial: Option<&[u8]>) {
        let Some(mechanism) = Mechanism::from_name(name) else {
            return reply::err(&mut self.out, "mechanism not supported");
        };
        if !self.password_allowed() {
            return self.refuse_clear_password();
        }
        let (exchange, next) = Exchange::start(mechanism, initial);
        self.exchange(exchange, next);
    }

    /// Takes a line inside an exchange.
    pub(crate) fn auth_response(&mut self, line: &[u8]) {
        let before = std::mem::replace(&mut self.state, State::Authorization { user: None });
        if let State::Exchange(mut exchange) = before {
            let next = exchange.response(line);
            self.exchange(exchange, next);
        }
    }

    fn exchange(&mut self, exchange: Exchange, next: Next) {
        self.state = State::Authorization { user: None };
        match next {
            Next::Challenge(text) => {
                self.state = State::Exchange(exchange);
                reply::line(&mut self.out, format_args!("+ {text}"));
            }
            Next::Check(credentials) => self.open(credentials),
            Next::Failed(Failure::Cancelled) => reply::err(&mut self.out, "authentication cancelled"),
            Next::Failed(Failure::Encoding) => self.bad_line("not base64"),
            Next::Failed(Failure::Malformed) => self.login_failed(),
        }
    }

    fn open(&mut self, credentials: Credentials) {
        self.ask = Some(Question::Open(credentials));
        self.activity = Activity::Opening;
    }

    /// Takes the answer to [`Question::Open`].
    pub(crate) fn opened(&mut self, answer: Answer) {
        match answer {
            Answer::Opened(maildrop) => {
                let transaction = Transaction::new(maildrop);
                transaction.summary(&mut self.out);
                self.state = State::Transaction(Box::new(transaction));
            }
            Answer::BadCredentials => self.login_failed(),
            Answer::Broken => {
                reply::err_code(&mut self.out, Code::SysPerm, "the maildrop cannot be opened");
            }
            // A service that answers nonsense cannot answer.
            _ => reply::err_code(&mut self.out, Code::SysTemp, "cannot log in now, try again later"),
        }
    }

    /// One answer for every fault of the credentials; each one costs more time.
    fn login_failed(&mut self) {
        self.tally.failed_logins += 1;
        let limits = self.config.limits;
        reply::err_code(&mut self.out, Code::Auth, "login failed");
        if self.tally.failed_logins >= limits.failed_logins {
            return self.end(Ending::FailedLogins);
        }
        let doublings = (self.tally.failed_logins - 1).min(16);
        let pause = limits.failed_login_pause.saturating_mul(1 << doublings);
        self.pause = Some(pause.min(std::time::Duration::from_secs(PAUSE_MAX_SECONDS)));
    }

    /// RFC 2595 section 4. What the peer sent behind the command stays unread: the driver takes it for an injection.
    fn stls(&mut self) {
        if self.peer.tls.is_some() {
            reply::err(&mut self.out, "TLS is up already");
        } else if !self.config.tls_available {
            reply::err(&mut self.out, "TLS is not available");
        } else {
            reply::ok(&mut self.out, format_args!("begin TLS"));
            self.activity = Activity::StartingTls;
        }
    }
}
