//! A toy protocol: one command a line, one for each thing that a machine can want of its driver.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::{Buf, BytesMut};
use puro_session::{Input, Machine, Step, Tls};
use tokio::sync::Semaphore;

use crate::driver::{End, Handler};

/// How long the toy waits for a command.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(super) struct Toy {
    output: BytesMut,
    next: Option<Step<String>>,
    /// Octets of a body still to come.
    body: usize,
    /// Chunks still to be sent.
    flood: usize,
    patience_from: Option<Instant>,
    /// `PEEK` was asked about, and its line is still in the input.
    peeked: bool,
    /// Patience is over.
    late: bool,
    closing: bool,
}

impl Toy {
    fn say(&mut self, text: &str) {
        self.output.extend_from_slice(text.as_bytes());
        self.output.extend_from_slice(b"\r\n");
    }

    fn command(&mut self, line: &str) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let number = || rest.parse().unwrap_or(0);
        match word {
            "ECHO" => self.say(rest),
            "ASK" => self.next = Some(Step::Ask(rest.to_owned())),
            "TLS" => {
                self.say("go");
                self.next = Some(Step::StartTls);
            }
            "PAUSE" => self.next = Some(Step::Pause(Duration::from_secs(number()))),
            "LATE" => self.late = true,
            "FLOOD" => self.flood = usize::try_from(number()).unwrap_or(0),
            "BODY" => self.body = usize::try_from(number()).unwrap_or(0),
            "QUIT" => {
                self.say("bye");
                self.closing = true;
            }
            _ => self.say("what?"),
        }
    }
}

impl Machine for Toy {
    type Question = String;
    type Answer = String;

    fn step(&mut self, now: Instant) -> Step<String> {
        if let Some(next) = self.next.take() {
            return next;
        }
        if self.closing {
            return Step::Close;
        }
        if self.flood > 0 {
            self.flood -= 1;
            return Step::Ask("chunk".to_owned());
        }
        let from = *self.patience_from.get_or_insert(now);
        let from = if self.late { now - PATIENCE } else { from };
        Step::Read { until: from + PATIENCE, bulk: self.body > 0 }
    }

    fn receive(&mut self, input: Input<'_>, _now: Instant) {
        if self.body > 0 && !input.octets.is_empty() {
            let taken = self.body.min(input.octets.len());
            input.octets.advance(taken);
            self.body -= taken;
            if self.body == 0 {
                self.say("body taken");
            }
            return;
        }
        if input.octets.starts_with(b"PEEK\r\n") && !std::mem::replace(&mut self.peeked, true) {
            self.next = Some(Step::Ask("peek".to_owned()));
            return;
        }
        // One line a call: the driver has to come back with the rest.
        if let Some(end) = input.octets.windows(2).position(|pair| pair == b"\r\n") {
            let line = input.octets.split_to(end + 2);
            self.patience_from = None;
            self.command(std::str::from_utf8(&line[..end]).unwrap());
        } else if input.end {
            self.next = Some(Step::Ask("end".to_owned()));
            self.closing = true;
        }
    }

    fn answer(&mut self, answer: String, _now: Instant) {
        self.say(&answer);
    }

    fn tls_started(&mut self, tls: Tls, _now: Instant) {
        self.say(&format!("secure {}", tls.version));
    }

    fn expire(&mut self, _now: Instant) {
        self.say("too slow");
        self.closing = true;
    }

    fn drain(&mut self, _now: Instant) {
        self.say("draining");
        self.closing = true;
    }

    fn output(&mut self) -> &mut BytesMut {
        &mut self.output
    }
}

/// What happened, as seen from the service.
#[derive(Clone)]
pub(super) struct Log {
    pub(super) questions: Arc<Mutex<Vec<String>>>,
    /// Octets that were still to be said each time that the peer was waited for.
    pub(super) waits: Arc<Mutex<Vec<usize>>>,
    /// `ASK wait` needs one of these.
    pub(super) gate: Arc<Semaphore>,
}

impl Default for Log {
    fn default() -> Self {
        Self { questions: Arc::default(), waits: Arc::default(), gate: Arc::new(Semaphore::new(0)) }
    }
}

impl Log {
    pub(super) fn asked(&self) -> Vec<String> {
        self.questions.lock().unwrap().clone()
    }
}

impl Handler<Toy> for Log {
    async fn answer(&mut self, question: String) -> String {
        if question == "wait" {
            self.gate.acquire().await.unwrap().forget();
        }
        self.questions.lock().unwrap().push(question.clone());
        match question.as_str() {
            "chunk" => "x".repeat(16 * 1024),
            question => format!("answer {question}"),
        }
    }

    fn waits(&mut self, machine: &Toy) {
        self.waits.lock().unwrap().push(machine.output.len());
    }

    fn closed(&mut self, end: End) {
        self.questions.lock().unwrap().push(format!("closed: {}", end.as_str()));
    }
}
