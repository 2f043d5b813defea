//! The server's side of one connection.

use std::{sync::Arc, time::Instant};

use bytes::BytesMut;
use puro_session::{Input, Machine, Peer, Step, Tls};

use crate::{Answer, Config, Question};

/// One SMTP connection, seen by the server.
#[derive(Debug)]
pub struct Session {
    config: Arc<Config>,
    peer: Peer,
    output: BytesMut,
}

impl Session {
    /// Begins a session with a client that has just connected.
    pub fn new(config: Arc<Config>, peer: Peer) -> Self {
        Self { config, peer, output: BytesMut::new() }
    }
}

impl Machine for Session {
    type Question = Question;
    type Answer = Answer;

    fn step(&mut self, _now: Instant) -> Step<Question> {
        let _ = (&self.config, &self.peer);
        Step::Close
    }

    fn receive(&mut self, input: Input<'_>, _now: Instant) {
        input.octets.clear();
    }

    fn answer(&mut self, _answer: Answer, _now: Instant) {}

    fn tls_started(&mut self, _tls: Tls, _now: Instant) {}

    fn expire(&mut self, _now: Instant) {}

    fn drain(&mut self, _now: Instant) {}

    fn output(&mut self) -> &mut BytesMut {
        &mut self.output
    }
}
