//! A driver with a clock of its own, and the peer at its other end.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use puro_pop3_session::{Config, Session};
use puro_session::{Input, Machine, Peer, Step, Tls};

use crate::world::World;

/// What the peer sees, and what the driver is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    Sent(Vec<u8>),
    Paused(Duration),
    /// The driver was told to start TLS.
    StartTls,
    /// Octets stood behind STLS; the driver ended the connection.
    Injection,
    Closed,
}

pub(crate) struct Client {
    pub(crate) session: Session,
    pub(crate) world: World,
    pub(crate) events: Vec<Event>,
    /// The most that the output ever held.
    pub(crate) output_peak: usize,
    /// The most that was left unconsumed with nothing to wait for but more octets.
    pub(crate) left_peak: usize,
    /// Writes that the driver made.
    pub(crate) writes: usize,
    input: BytesMut,
    ended: bool,
    now: Instant,
    until: Instant,
    /// The machine has refused the octets as they are.
    seen: bool,
}

impl Client {
    pub(crate) fn connect(config: Config, peer: Peer, world: World) -> Self {
        let now = Instant::now();
        let mut client = Self {
            session: Session::new(Arc::new(config), peer),
            world,
            events: Vec::new(),
            output_peak: 0,
            left_peak: 0,
            writes: 0,
            input: BytesMut::new(),
            ended: false,
            now,
            until: now,
            seen: true,
        };
        client.run();
        client
    }

    /// Connects from this machine itself, without TLS.
    pub(crate) fn local(world: World) -> Self {
        let peer = Peer { ip: [127, 0, 0, 1].into(), tls: None };
        Self::connect(Config::new("mail.example.org"), peer, world)
    }

    pub(crate) fn send(&mut self, octets: &[u8]) {
        if !self.over() {
            self.input.extend_from_slice(octets);
            self.seen = false;
            self.run();
        }
    }

    pub(crate) fn shut(&mut self) {
        self.ended = true;
        self.seen = false;
        self.run();
    }

    pub(crate) fn wait(&mut self, time: Duration) {
        self.now += time;
        if !self.over() && self.now >= self.until {
            self.session.expire(self.now);
            self.run();
        }
    }

    pub(crate) fn drain(&mut self) {
        self.session.drain(self.now);
        self.run();
    }

    /// Sends these octets, and the end of the stream with them.
    pub(crate) fn send_and_shut(&mut self, octets: &[u8]) {
        self.input.extend_from_slice(octets);
        self.shut();
    }

    /// Sends these octets; the drain comes while the first answer is awaited.
    pub(crate) fn drain_in_transfer(&mut self, octets: &[u8]) {
        self.input.extend_from_slice(octets);
        self.session.receive(Input { octets: &mut self.input, end: false }, self.now);
        self.seen = false;
        self.drain();
    }

    /// The drain comes between the machine's wish to read and these octets.
    pub(crate) fn drain_before(&mut self, octets: &[u8]) {
        self.session.drain(self.now);
        self.input.extend_from_slice(octets);
        self.session.receive(Input { octets: &mut self.input, end: false }, self.now);
        self.run();
    }

    /// The driver has been told to start TLS: it does.
    pub(crate) fn start_tls(&mut self) {
        let tls = Tls { version: "TLSv1.3".to_owned(), cipher: String::new(), server_name: None };
        self.session.tls_started(tls, self.now);
        self.run();
    }

    pub(crate) fn over(&self) -> bool {
        matches!(self.events.last(), Some(Event::Closed | Event::Injection))
    }

    /// Returns what was sent since the last call, pauses and all else left out.
    pub(crate) fn sent(&mut self) -> Vec<u8> {
        let events = std::mem::take(&mut self.events);
        let sent: Vec<u8> = events
            .iter()
            .filter_map(|event| if let Event::Sent(octets) = event { Some(octets.as_slice()) } else { None })
            .collect::<Vec<_>>()
            .concat();
        self.events.extend(events.into_iter().filter(|event| *event == Event::Closed));
        sent
    }

    fn flush(&mut self) {
        let output = std::mem::take(self.session.output());
        if output.is_empty() {
            return;
        }
        self.writes += 1;
        match self.events.last_mut() {
            Some(Event::Sent(octets)) => octets.extend_from_slice(&output),
            _ => self.events.push(Event::Sent(output.to_vec())),
        }
    }

    fn run(&mut self) {
        if self.over() {
            return;
        }
        loop {
            let step = self.session.step(self.now);
            self.output_peak = self.output_peak.max(self.session.output().len());
            match step {
                Step::Read { until, .. } => {
                    self.until = until;
                    if self.seen {
                        self.left_peak = self.left_peak.max(self.input.len());
                        return self.flush();
                    }
                    let before = self.input.len();
                    self.session.receive(Input { octets: &mut self.input, end: self.ended }, self.now);
                    self.output_peak = self.output_peak.max(self.session.output().len());
                    self.seen = self.input.len() == before;
                }
                Step::Ask(question) => {
                    if self.session.output().len() >= Session::OUTPUT_HIGH_WATER {
                        self.flush();
                    }
                    let answer = self.world.answer(question);
                    self.session.answer(answer, self.now);
                    self.seen = false;
                }
                Step::Flush => {
                    self.flush();
                    self.seen = false;
                }
                Step::Pause(time) => {
                    self.flush();
                    self.events.push(Event::Paused(time));
                    self.now += time;
                    self.seen = false;
                }
                Step::StartTls => {
                    self.flush();
                    self.events.push(if self.input.is_empty() { Event::StartTls } else { Event::Injection });
                    return;
                }
                Step::Close => {
                    self.flush();
                    return self.events.push(Event::Closed);
                }
            }
        }
    }
}
