//! Plays dialogues against a session: the driver of these tests.
//!
//! A script is one dialogue a file. Lines:
//! * `#` a comment; every script cites the rule it is about.
//! * `@ key value` a setting, before all else.
//! * `C: text` the client sends a line; `C> text` the same without CRLF. `\r`, `\n`, `\t`, `\0`, `\\`, `\xHH` are
//!   octets, and `{text*n}` is a text n times. Lines of `C` that follow one another are sent together.
//! * `S: text` the server says a line.
//! * `? question -> answer` the machine asks, and is told.
//! * `! close`, `! pause ms`, `! tls`, `! injection` what the machine does.
//! * `T: wait s` time goes by; `T: drain` the service shuts down; `T: end` the client shuts its side.
//! * `REPEAT n` … `END` the same lines n times.

#![allow(dead_code, reason = "each test target uses its own part")]

mod script;
pub(crate) mod service;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use puro_session::{Input, Machine, Peer, Step, Tls};
use puro_smtp_session::{Answer, Config, Question, Session};

pub(crate) use script::{Item, Script};

/// A small generator (xorshift64*), so that a seed gives one run.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 33) as usize % bound.max(1)
    }
}

/// How the client's octets are cut.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pieces {
    Whole,
    Single,
    Random(u64),
}

/// What came of stepping until the machine wants something.
#[derive(Debug)]
pub(crate) enum Event {
    Said(Vec<u8>),
    Asked(Question),
    Paused(Duration),
    Tls,
    Injection,
    Closed,
}

/// One session with the driver's buffer and a clock.
pub(crate) struct Conversation {
    pub(crate) session: Session,
    pub(crate) input: BytesMut,
    pub(crate) now: Instant,
    until: Option<Instant>,
    pub(crate) closed: bool,
    end: bool,
    seen: bool,
}

impl Conversation {
    pub(crate) fn new(config: Config, peer: Peer) -> Self {
        Self {
            session: Session::new(Arc::new(config), peer),
            input: BytesMut::new(),
            now: Instant::now(),
            until: None,
            closed: false,
            end: false,
            seen: false,
        }
    }

    pub(crate) fn send(&mut self, octets: &[u8]) {
        self.input.extend_from_slice(octets);
        self.seen = false;
    }

    pub(crate) fn end(&mut self) {
        self.end = true;
        self.seen = false;
    }

    /// Lets time go by, as the driver does: past the deadline, the machine is told once.
    pub(crate) fn wait(&mut self, time: Duration) {
        self.now += time;
        if self.until.is_some_and(|until| until <= self.now) {
            self.session.expire(self.now);
        }
    }

    /// Steps until the machine wants octets, telling `each` what happens; `each` answers questions.
    pub(crate) fn pump(&mut self, mut each: impl FnMut(Event) -> Option<Answer>) {
        while !self.closed {
            let step = self.session.step(self.now);
            // What the machine has yet to see comes before a flush, as in the driver.
            let said = match step {
                Step::Read { .. } if !self.seen => BytesMut::new(),
                _ => self.session.output().split(),
            };
            if !said.is_empty() {
                each(Event::Said(said.to_vec()));
            }
            match step {
                Step::Read { until, bulk: _ } => {
                    assert!(until > self.now, "a deadline in the past");
                    self.until = Some(until);
                    if self.seen {
                        assert!(!self.end, "the machine reads on after the end");
                        return;
                    }
                    let before = self.input.len();
                    self.session.receive(Input { octets: &mut self.input, end: self.end }, self.now);
                    self.seen = self.input.len() == before;
                }
                Step::Ask(question) => {
                    let answer = each(Event::Asked(question)).expect("an answer");
                    self.session.answer(answer, self.now);
                    self.seen = false;
                }
                Step::Pause(time) => {
                    each(Event::Paused(time));
                    self.now += time;
                    self.seen = false;
                }
                Step::Flush => self.seen = false,
                Step::StartTls if self.input.is_empty() => {
                    each(Event::Tls);
                    self.session.tls_started(tls(), self.now);
                    self.seen = false;
                }
                Step::StartTls => {
                    each(Event::Injection);
                    self.closed = true;
                }
                Step::Close => {
                    each(Event::Closed);
                    self.closed = true;
                }
            }
        }
    }
}

pub(crate) fn tls() -> Tls {
    Tls { version: "TLSv1.3".to_owned(), cipher: "TLS_AES_256_GCM_SHA384".to_owned(), server_name: None }
}

/// Plays a script and returns what differed, if anything did.
pub(crate) fn play(script: &Script, pieces: Pieces) -> Result<(), String> {
    let mut conversation = Conversation::new(script.config.clone(), script.peer.clone());
    let mut random = Random::new(if let Pieces::Random(seed) = pieces { seed } else { 0 });
    let mut items = script.items.as_slice();
    loop {
        // What the client does, then what comes of it; at first the client does nothing.
        let acts = items.iter().position(|item| !item.is_clients()).unwrap_or(items.len());
        let (clients, rest) = items.split_at(acts);
        let comes = rest.iter().position(Item::is_clients).unwrap_or(rest.len());
        let (expected, next) = rest.split_at(comes);
        let mut log = Log::new(expected);
        conversation.pump(|event| log.event(event));
        for item in clients {
            conversation.perform(item, pieces, &mut random, &mut log);
        }
        log.check()?;
        if next.is_empty() {
            return Ok(());
        }
        items = next;
    }
}

impl Conversation {
    fn perform(&mut self, item: &Item, pieces: Pieces, random: &mut Random, log: &mut Log<'_>) {
        match item {
            Item::Send(octets) => {
                let mut rest = octets.as_slice();
                while !rest.is_empty() {
                    let length = match pieces {
                        Pieces::Whole => rest.len(),
                        Pieces::Single => 1,
                        Pieces::Random(_) => 1 + random.below(rest.len().min(40)),
                    };
                    self.send(&rest[..length]);
                    rest = &rest[length..];
                    self.pump(|event| log.event(event));
                }
            }
            Item::Wait(time) => self.wait(*time),
            Item::Drain => self.session.drain(self.now),
            Item::End => self.end(),
            Item::Expect(_) | Item::Answer(..) => {}
        }
        self.pump(|event| log.event(event));
    }
}

/// What happened, in the words of the script.
struct Log<'a> {
    expected: &'a [Item],
    happened: Vec<String>,
    answers: std::collections::VecDeque<&'a (String, String)>,
}

impl<'a> Log<'a> {
    fn new(expected: &'a [Item]) -> Self {
        let answers = expected
            .iter()
            .filter_map(|item| match item {
                Item::Answer(pair) => Some(pair),
                _ => None,
            })
            .collect();
        Self { expected, happened: Vec::new(), answers }
    }

    fn event(&mut self, event: Event) -> Option<Answer> {
        match event {
            Event::Said(octets) => {
                let text = script::show(&octets);
                self.happened.extend(text.split_inclusive("\\r\\n").map(|line| {
                    format!("S: {}", line.strip_suffix("\\r\\n").unwrap_or(&format!("{line} <no CRLF>")))
                }));
                None
            }
            Event::Asked(question) => Some(self.asked(question)),
            Event::Paused(time) => self.note(format!("! pause {}", time.as_millis())),
            Event::Tls => self.note("! tls".to_owned()),
            Event::Injection => self.note("! injection".to_owned()),
            Event::Closed => self.note("! close".to_owned()),
        }
    }

    fn note(&mut self, text: String) -> Option<Answer> {
        self.happened.push(text);
        None
    }

    /// Gives the scripted answer. Pieces of one message count as one question.
    fn asked(&mut self, question: Question) -> Answer {
        let shown = service::show(&question);
        if let (Some(last), Question::Chunk(_)) = (self.happened.last_mut(), &question)
            && let Some(start) = last.strip_prefix("? chunk ").and_then(|last| last.strip_suffix(" -> taken"))
        {
            *last = format!("? chunk {start}{} -> taken", shown.trim_start_matches("chunk "));
            return Answer::Taken;
        }
        let answer = self.answers.pop_front().map_or("unavailable", |(_, answer)| answer.as_str());
        self.happened.push(format!("? {shown} -> {answer}"));
        service::answer(answer)
    }

    fn check(self) -> Result<(), String> {
        let expected: Vec<String> = self.expected.iter().map(Item::show).collect();
        if expected == self.happened {
            return Ok(());
        }
        Err(format!("expected:\n  {}\nhappened:\n  {}", expected.join("\n  "), self.happened.join("\n  ")))
    }
}
