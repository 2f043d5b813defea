//! The server's side of one connection: what it is doing, and the order in which things happen.

use std::{
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
    Answer, Config, Question,
    command::{Command, Fault},
    listing::Listing,
    reply::{self, Code},
    transaction::Transaction,
    transfer::{Progress, Transfer},
};

/// Octets of a command line at most, CRLF included (RFC 2449 section 4).
const COMMAND_MAX: usize = 255;
/// Octets of a line inside an AUTH exchange at most, CRLF included: the length RFC 5034 section 4 calls sufficient.
const AUTH_LINE_MAX: usize = 12_288;

/// The server's side of one POP3 connection.
#[derive(Debug)]
pub struct Session {
    pub(crate) config: Arc<Config>,
    pub(crate) peer: Peer,
    pub(crate) out: BytesMut,
    pub(crate) state: State,
    pub(crate) activity: Activity,
    /// What the next step asks.
    pub(crate) ask: Option<Question>,
    /// How long the next step lets the peer wait.
    pub(crate) pause: Option<Duration>,
    pub(crate) tally: Tally,
    bad_lines: u32,
    lines: LineReader,
    /// Since when the peer has been silent, and until when it must have logged in; set by the greeting.
    clock: Option<Clock>,
    draining: bool,
    ending: Option<Ending>,
}

#[derive(Debug, Clone, Copy)]
struct Clock {
    active: Instant,
    login_by: Instant,
}

/// The state in the sense of RFC 1939 section 3; UPDATE is [`Activity::Removing`].
#[derive(Debug)]
pub(crate) enum State {
    Authorization {
        /// From USER, until PASS.
        user: Option<Vec<u8>>,
    },
    /// AUTHORIZATION, inside an AUTH exchange.
    Exchange(Exchange),
    Transaction(Box<Transaction>),
}

/// What is under way; commands wait until it is nothing.
#[derive(Debug)]
pub(crate) enum Activity {
    Idle,
    Opening,
    Transferring(Box<Transfer>),
    Stopping,
    Listing(Listing),
    Removing(usize),
    StartingTls,
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// QUIT, and all that was marked is removed.
    Quit,
    /// QUIT, but not all that was marked could be removed.
    NotRemoved,
    /// The peer closed or reset the connection: nothing was removed.
    Disconnected,
    /// Time was up: nothing was removed.
    TimedOut,
    /// The service is shutting down: nothing was removed.
    Drained,
    /// Too many failed logins.
    FailedLogins,
    /// Too many broken lines, or one that is too long inside AUTH.
    BadInput,
    /// A message broke off midway.
    BrokenMessage,
}

impl Ending {
    /// Returns a word for logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Quit => "quit",
            Self::NotRemoved => "not_removed",
            Self::Disconnected => "disconnected",
            Self::TimedOut => "timed_out",
            Self::Drained => "drained",
            Self::FailedLogins => "failed_logins",
            Self::BadInput => "bad_input",
            Self::BrokenMessage => "broken_message",
        }
    }
}

/// What a session has done so far.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// Messages sent whole by RETR.
    pub retrieved: u64,
    /// Answers to TOP.
    pub topped: u64,
    /// Octets of messages sent, dot-stuffing not counted.
    pub message_bytes: u64,
    /// Messages removed by QUIT.
    pub removed: u64,
    /// Logins refused because of the credentials.
    pub failed_logins: u32,
}

impl Session {
    /// Makes a session that has yet to greet this peer.
    pub fn new(config: Arc<Config>, peer: Peer) -> Self {
        Self {
            config,
            peer,
            out: BytesMut::new(),
            state: State::Authorization { user: None },
            activity: Activity::Idle,
            ask: None,
            pause: None,
            tally: Tally::default(),
            bad_lines: 0,
            lines: LineReader::default(),
            clock: None,
            draining: false,
            ending: None,
        }
    }

    /// Returns how the session ended, or nothing if the machine has not ended it (the connection broke, say).
    pub fn ending(&self) -> Option<Ending> {
        self.ending
    }

    /// Returns the TLS session, if there is one.
    pub fn tls(&self) -> Option<&Tls> {
        self.peer.tls.as_ref()
    }

    /// Returns what the session has done so far.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Ends the session. The first reason is the one that stands.
    pub(crate) fn end(&mut self, ending: Ending) {
        self.ending.get_or_insert(ending);
    }

    fn greet(&mut self, now: Instant) -> Clock {
        let clock = Clock { active: now, login_by: now + self.config.timeouts.login };
        self.clock = Some(clock);
        if !self.draining {
            // No timestamp in it: that would offer APOP (RFC 1939 section 7).
            reply::ok(&mut self.out, format_args!("POP3 server {} ready", self.config.hostname));
        }
        clock
    }

    /// Says whether the next command may be taken: all earlier ones are answered, and there is room for its reply.
    fn takes_commands(&self) -> bool {
        matches!(self.activity, Activity::Idle)
            && self.ask.is_none()
            && self.pause.is_none()
            && self.ending.is_none()
            && !self.draining
            && self.clock.is_some()
            && self.out.len() < Self::OUTPUT_HIGH_WATER
    }

    fn touch(&mut self, now: Instant) {
        if let Some(clock) = &mut self.clock {
            clock.active = now;
        }
    }

    fn line(&mut self, line: &[u8]) {
        if let State::Exchange(_) = self.state {
            return self.auth_response(line);
        }
        match Command::parse(line) {
            Ok(command) => {
                self.bad_lines = 0;
                self.command(command);
            }
            Err(Fault::Unknown) => self.bad_line(Fault::Unknown.words()),
            Err(fault) => reply::err(&mut self.out, fault.words()),
        }
    }

    fn command(&mut self, command: Command<'_>) {
        match (command, &self.state) {
            (Command::Capa, _) => self.capa(),
            (Command::Quit, State::Transaction(_)) => self.quit(),
            (Command::Quit, _) => self.signed_off(),
            (command, State::Transaction(_)) => self.transaction(command),
            (command, _) => self.authorization(command),
        }
    }

    /// Answers QUIT where nothing remains to be done.
    pub(crate) fn signed_off(&mut self) {
        reply::ok(&mut self.out, format_args!("bye"));
        self.end(Ending::Quit);
    }

    /// Answers a line that is no command; too many of them in a row end the session.
    pub(crate) fn bad_line(&mut self, words: &'static str) {
        self.bad_lines += 1;
        if self.bad_lines >= self.config.limits.bad_lines {
            reply::err(&mut self.out, "too many bad commands");
            self.end(Ending::BadInput);
        } else {
            reply::err(&mut self.out, words);
        }
    }

    fn line_too_long(&mut self) {
        if let State::Exchange(_) = self.state {
            // RFC 5034 section 4 wants AUTH to fail. What sends this is no mail program: it is let go.
            reply::err(&mut self.out, "line too long");
            self.end(Ending::BadInput);
        } else {
            self.bad_line("line too long");
        }
    }

    fn bare_line_end(&mut self) {
        if let State::Exchange(_) = self.state {
            self.state = State::Authorization { user: None };
        }
        self.bad_line("a line ends with CR LF");
    }

    /// Carries out what a transfer's progress asks for.
    pub(crate) fn progress(&mut self, progress: Progress) {
        self.activity = match progress {
            Progress::More(transfer) => {
                self.ask = Some(Question::More);
                Activity::Transferring(transfer)
            }
            Progress::Stop => {
                self.ask = Some(Question::Stop);
                Activity::Stopping
            }
            Progress::Finished => Activity::Idle,
            Progress::BrokeOff => {
                // Without the final dot the client knows that it has not the whole message (RFC 1939 section 3).
                self.end(Ending::BrokenMessage);
                Activity::Idle
            }
        };
    }

    fn removed(&mut self, count: usize, answer: &Answer) {
        if matches!(answer, Answer::Done) {
            self.tally.removed += count as u64;
            return self.signed_off();
        }
        // RFC 1939 section 6: "some deleted messages not removed".
        reply::err_code(&mut self.out, Code::SysTemp, "some deleted messages not removed");
        self.end(Ending::NotRemoved);
    }
}

impl Machine for Session {
    type Question = Question;
    type Answer = Answer;

    fn step(&mut self, now: Instant) -> Step<Question> {
        let clock = match self.clock {
            Some(clock) => clock,
            None => self.greet(now),
        };
        loop {
            if self.out.len() >= Self::OUTPUT_HIGH_WATER {
                return Step::Flush;
            }
            if let Some(question) = self.ask.take() {
                return Step::Ask(question);
            }
            match (&mut self.activity, &self.state) {
                (Activity::Idle, _) => break,
                (Activity::StartingTls, _) => return Step::StartTls,
                (Activity::Listing(listing), State::Transaction(transaction)) => {
                    if listing.write(transaction, &mut self.out, Self::OUTPUT_HIGH_WATER) {
                        self.activity = Activity::Idle;
                    }
                }
                // An answer is due; a driver that steps instead breaks the contract.
                _ => return Step::Close,
            }
        }
        if self.draining && self.ending.is_none() {
            reply::err_code(&mut self.out, Code::SysTemp, "server is shutting down, nothing was deleted");
            self.end(Ending::Drained);
        }
        if self.ending.is_some() {
            return Step::Close;
        }
        if let Some(pause) = self.pause.take() {
            return Step::Pause(pause);
        }
        let until = clock.active + self.config.timeouts.inactivity;
        match self.state {
            State::Transaction(_) => Step::Read { until, bulk: false },
            _ => Step::Read { until: until.min(clock.login_by), bulk: false },
        }
    }

    fn receive(&mut self, input: Input<'_>, now: Instant) {
        while self.takes_commands() {
            let max = if let State::Exchange(_) = self.state { AUTH_LINE_MAX } else { COMMAND_MAX };
            match self.lines.next(input.octets, max) {
                Line::Complete(line) => self.line(&line),
                Line::BareLineEnd => self.bare_line_end(),
                Line::TooLong => self.line_too_long(),
                Line::Incomplete => {
                    if input.end {
                        // Half a command does nothing, and nothing is deleted without QUIT (RFC 1939 section 6).
                        self.end(Ending::Disconnected);
                    }
                    return;
                }
            }
            self.touch(now);
        }
    }

    fn answer(&mut self, answer: Answer, now: Instant) {
        self.touch(now);
        match std::mem::replace(&mut self.activity, Activity::Idle) {
            Activity::Opening => self.opened(answer),
            Activity::Transferring(transfer) => {
                let progress = transfer.answer(answer, &mut self.out, &mut self.tally);
                self.progress(progress);
            }
            Activity::Removing(count) => self.removed(count, &answer),
            // Whatever became of a read that nobody wants.
            Activity::Stopping => {}
            other => self.activity = other,
        }
    }

    fn tls_started(&mut self, tls: Tls, now: Instant) {
        // RFC 2595 section 4: the client forgets what it knew, and so do we. There is no second greeting.
        self.peer.tls = Some(tls);
        self.state = State::Authorization { user: None };
        self.activity = Activity::Idle;
        self.lines = LineReader::default();
        self.touch(now);
    }

    fn expire(&mut self, _now: Instant) {
        // "without removing any messages or sending any response" (RFC 1939 section 3).
        self.end(Ending::TimedOut);
    }

    fn drain(&mut self, _now: Instant) {
        self.draining = true;
    }

    fn output(&mut self) -> &mut BytesMut {
        &mut self.out
    }
}
