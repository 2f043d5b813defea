//! The server's side of one connection.
//!
//! `mod` is the engine: what to do next, and where octets, answers and time-outs go. `greeting` has EHLO, HELO and
//! STARTTLS; `login` AUTH; `transaction` MAIL, RCPT and RSET; `message` DATA; `patience` the counting of errors.

mod greeting;
mod login;
mod message;
mod patience;
mod transaction;

use std::{
    mem,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use puro_session::{
    Input, Machine, Peer, Step, Tls,
    lines::{Line, LineReader},
    sasl::Exchange,
};

use crate::{
    Answer, Config, GivenUp, Question,
    command::{self, Command},
    reply::{self, Reply},
};
use greeting::Hello;
use message::Message;
use patience::Patience;
use transaction::Transaction;

/// Octets of a command line at most, CRLF included. RFC 5321 section 4.5.3.1.4 asks for 512, and extensions for more.
const COMMAND_MAX: usize = 2_048;

/// Octets of a line of AUTH or of its exchange at most (the figure of RFC 4954 section 4).
const AUTH_LINE_MAX: usize = 12_288;

/// One SMTP connection, seen by the server.
#[derive(Debug)]
pub struct Session {
    config: Arc<Config>,
    ip: IpAddr,
    tls: Option<Tls>,
    output: BytesMut,
    lines: LineReader,
    stage: Stage,
    next: Next,
    asked: Asked,
    /// When the wait for the next line began; unset while there is none.
    since: Option<Instant>,
    /// When the wait for the first EHLO or HELO began.
    opened: Option<Instant>,
    /// When the wait for a message began; unset while there is one.
    unused: Option<Instant>,
    hello: Option<Hello>,
    account: Option<String>,
    transaction: Option<Transaction>,
    /// Transactions that were begun, or asked about.
    transactions: u32,
    patience: Patience,
    draining: bool,
    messages: u32,
    recipients: u32,
    put_off: u32,
    timed_out: bool,
}

/// What a session came to, for one line in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// What the client called itself.
    pub helo: Option<String>,
    /// The account, in an authenticated session.
    pub account: Option<String>,
    /// TLS was up.
    pub tls: bool,
    /// Messages accepted.
    pub messages: u32,
    /// Recipients of those messages.
    pub recipients: u32,
    /// Errors of the client's.
    pub errors: u32,
    /// Failed logins.
    pub auth_failures: u32,
    /// Refusals that may be tried again (4xx), whoever is to blame. Neither a time-out nor a shutdown is one.
    pub put_off: u32,
    /// The client was sent away because it was silent for too long, or took too long.
    pub timed_out: bool,
}

/// What arriving octets are.
#[derive(Debug)]
enum Stage {
    /// The greeting has not been said.
    Silent,
    /// Command lines.
    Commands,
    /// Lines of an AUTH exchange.
    Login(Exchange),
    /// A message.
    Message(Box<Message>),
}

/// What `step` will say.
#[derive(Debug)]
enum Next {
    Read,
    Ask(Question),
    /// A question is out.
    Wait,
    Pause(Duration),
    StartTls,
    Close,
}

/// What the question that is out was about.
#[derive(Debug, Default)]
enum Asked {
    #[default]
    Nothing,
    Login,
    Sender(Transaction),
    Recipient(String),
    Begin,
    Chunk,
    Finish,
    /// The message was given up; then the connection is closed, or not.
    Abort {
        close: bool,
    },
}

impl Session {
    /// Begins a session with a client that has just connected.
    pub fn new(config: Arc<Config>, peer: Peer) -> Self {
        Self {
            config,
            ip: peer.ip,
            tls: peer.tls,
            output: BytesMut::new(),
            lines: LineReader::default(),
            stage: Stage::Silent,
            next: Next::Read,
            asked: Asked::Nothing,
            since: None,
            opened: None,
            unused: None,
            hello: None,
            account: None,
            transaction: None,
            transactions: 0,
            patience: Patience::default(),
            draining: false,
            messages: 0,
            recipients: 0,
            put_off: 0,
            timed_out: false,
        }
    }

    /// Returns what the session has come to so far.
    pub fn summary(&self) -> Summary {
        Summary {
            helo: self.hello.as_ref().map(|hello| hello.name.clone()),
            account: self.account.clone(),
            tls: self.tls.is_some(),
            messages: self.messages,
            recipients: self.recipients,
            errors: self.patience.errors_in_all(),
            auth_failures: self.patience.auth_failures(),
            put_off: self.put_off,
            timed_out: self.timed_out,
        }
    }

    /// Says whether a transaction has begun and not ended: MAIL was accepted, and no message, RSET or the like has come.
    pub fn in_transaction(&self) -> bool {
        self.transaction.is_some()
    }

    /// Returns how many octets of the client's the session holds at the moment; never more than about 100,000.
    pub fn buffered_bytes(&self) -> usize {
        match &self.stage {
            Stage::Message(message) => message.buffered_bytes(),
            _ => 0,
        }
    }

    fn reply(&mut self, reply: Reply) {
        let puts_off = reply.is_temporary() && ![reply::TIMED_OUT, reply::SHUTTING_DOWN].contains(&reply);
        self.put_off = self.put_off.saturating_add(puts_off.into());
        reply.write(&mut self.output);
    }

    /// Says one last thing.
    fn close_with(&mut self, reply: Reply) {
        self.reply(reply);
        self.next = Next::Close;
    }

    fn ask(&mut self, question: Question, asked: Asked) {
        self.next = Next::Ask(question);
        self.asked = asked;
    }

    /// Says whether the connection can be ended without breaking a transaction.
    fn at_rest(&self) -> bool {
        self.transaction.is_none() && !matches!(self.stage, Stage::Message(_))
    }

    /// What `step` says when the peer is to speak.
    fn read(&mut self, now: Instant) -> Step<Question> {
        if self.draining && self.at_rest() {
            self.close_with(reply::SHUTTING_DOWN);
            return Step::Close;
        }
        if matches!(self.stage, Stage::Silent) {
            reply::greeting(&mut self.output, &self.config.hostname);
            self.stage = Stage::Commands;
        }
        if self.output.len() >= Self::OUTPUT_HIGH_WATER {
            return Step::Flush;
        }
        let timeouts = &self.config.timeouts;
        if let Stage::Message(message) = &self.stage {
            return Step::Read { until: message.deadline(timeouts), bulk: true };
        }
        let mut until = later(*self.since.get_or_insert(now), timeouts.command);
        until = until.min(later(*self.unused.get_or_insert(now), timeouts.without_message));
        if self.hello.is_none() {
            until = until.min(later(*self.opened.get_or_insert(now), timeouts.greeting));
        }
        Step::Read { until, bulk: false }
    }

    /// Takes one line from the front of the input. Returns false when there is none.
    fn take_line(&mut self, octets: &mut BytesMut) -> bool {
        let line = match self.lines.next(octets, AUTH_LINE_MAX) {
            Line::Incomplete => return false,
            Line::Complete(line) => Ok(line),
            Line::TooLong => Err(reply::LINE_TOO_LONG),
            Line::BareLineEnd => Err(reply::BARE_LINE_END),
        };
        self.since = None;
        match mem::replace(&mut self.stage, Stage::Commands) {
            Stage::Login(exchange) => self.login_line(exchange, line.as_deref().map_err(|reply| *reply)),
            stage => {
                self.stage = stage;
                match line {
                    Ok(line) => self.command_line(&line, octets.is_empty()),
                    Err(reply) => self.refuse(reply),
                }
            }
        }
        true
    }

    fn command_line(&mut self, line: &[u8], last: bool) {
        if line.len() + 2 > COMMAND_MAX && !command::is_auth(line) {
            return self.refuse(reply::LINE_TOO_LONG);
        }
        match command::parse(line) {
            Ok(command) => self.command(command, last),
            Err(reply) => self.refuse(reply),
        }
    }

    /// Carries out a command; `last` says that nothing arrived behind it.
    fn command(&mut self, command: Command<'_>, last: bool) {
        match command {
            Command::Ehlo(name) => self.say_hello(name, true),
            Command::Helo(name) => self.say_hello(name, false),
            Command::StartTls => self.start_tls(last),
            Command::Auth { mechanism, initial } => self.login(mechanism, initial),
            Command::Mail(sender, parameters) => self.mail(sender, parameters),
            Command::Rcpt(address) => self.rcpt(address),
            Command::Data => self.begin_message(),
            Command::Rset => {
                self.transaction = None;
                self.reply(reply::OK);
            }
            Command::Noop => self.reply(reply::OK),
            Command::Vrfy => self.reply(reply::CANNOT_VERIFY),
            Command::Help => self.reply(reply::HELP),
            Command::Quit => self.close_with(reply::BYE),
            Command::Foreign => self.close_with(reply::NOT_SMTP),
        }
    }

    /// The peer will send no more. Without a QUIT there is nobody to reply to.
    fn end(&mut self, why: GivenUp) {
        match &mut self.stage {
            Stage::Message(message) if message.is_wanted() => {
                self.ask(Question::Abort(why), Asked::Abort { close: true });
            }
            _ => self.next = Next::Close,
        }
    }
}

impl Machine for Session {
    type Question = Question;
    type Answer = Answer;

    fn step(&mut self, now: Instant) -> Step<Question> {
        match mem::replace(&mut self.next, Next::Read) {
            Next::Read => self.read(now),
            Next::Ask(question) => {
                self.next = Next::Wait;
                Step::Ask(question)
            }
            Next::Pause(pause) => Step::Pause(pause),
            Next::StartTls => {
                self.next = Next::Wait;
                Step::StartTls
            }
            // A driver that steps while a question is out has broken the contract.
            Next::Wait | Next::Close => {
                self.next = Next::Close;
                Step::Close
            }
        }
    }

    fn receive(&mut self, input: Input<'_>, now: Instant) {
        while matches!(self.next, Next::Read) && self.output.len() < Self::OUTPUT_HIGH_WATER {
            if self.draining && self.at_rest() {
                return;
            }
            let used = match &self.stage {
                Stage::Silent => return,
                Stage::Message(_) => self.take_message(input.octets, now),
                Stage::Commands | Stage::Login(_) => self.take_line(input.octets),
            };
            if !used {
                if input.end {
                    self.end(GivenUp::Disconnected);
                }
                return;
            }
        }
    }

    fn answer(&mut self, answer: Answer, now: Instant) {
        self.next = Next::Read;
        match mem::take(&mut self.asked) {
            Asked::Nothing => {}
            Asked::Login => self.login_answered(answer),
            Asked::Sender(transaction) => self.sender_answered(transaction, answer),
            Asked::Recipient(address) => self.recipient_answered(address, answer),
            Asked::Begin => self.begin_answered(answer, now),
            Asked::Chunk => self.chunk_answered(answer, now),
            Asked::Finish => self.finish_answered(answer),
            Asked::Abort { close: true } => self.next = Next::Close,
            Asked::Abort { close: false } => self.message_given_up(now),
        }
    }

    fn tls_started(&mut self, tls: Tls, _now: Instant) {
        self.forget_client(tls);
    }

    fn expire(&mut self, _now: Instant) {
        if matches!(self.next, Next::Read) {
            self.timed_out = true;
            self.reply(reply::TIMED_OUT);
            self.end(GivenUp::TimedOut);
        }
    }

    fn drain(&mut self, _now: Instant) {
        self.draining = true;
    }

    fn output(&mut self) -> &mut BytesMut {
        &mut self.output
    }
}

/// Adds without a panic where a configured time is absurdly long.
fn later(from: Instant, by: Duration) -> Instant {
    const DAY: Duration = Duration::from_secs(86_400);
    from.checked_add(by).or_else(|| from.checked_add(DAY)).unwrap_or(from)
}
