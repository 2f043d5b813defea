//! DATA: the message, from 354 to the reply to its end (RFC 5321 section 4.1.1.4).

use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use puro_session::dots::Unstuffer;

use super::{Asked, Session, Stage, later};
use crate::{
    Answer, BareLineEnds, Config, GivenUp, Question, Timeouts,
    normalise::Normaliser,
    reply::{self, Reply},
};

/// Octets decoded at a time, which bounds what a large arrival makes of the buffer.
const PIECE: usize = 64 * 1024;
/// Octets gathered before the service gets them, so that a sender of small packets costs few questions.
const CHUNK: usize = 32 * 1024;
/// Octets of a refused message that are read on to its end at least (more where larger messages are allowed).
const DROPPED_MAX: u64 = 64 * 1024 * 1024;

/// A message coming in.
#[derive(Debug)]
pub(super) struct Message {
    unstuffer: Unstuffer,
    normaliser: Normaliser,
    /// Decoded, and not yet handed to the service.
    body: BytesMut,
    scratch: BytesMut,
    /// Octets of the message so far.
    size_bytes: u64,
    /// Octets taken since the message was refused.
    dropped_bytes: u64,
    /// The end was found.
    complete: bool,
    fate: Fate,
    begun: Instant,
    arrived: Instant,
}

/// What becomes of the message.
#[derive(Debug, Clone, Copy)]
enum Fate {
    /// The service is taking it.
    Wanted,
    /// It broke a rule that the reply will name.
    Broken,
    /// The service did not take it.
    Refused(Reply),
}

impl Message {
    fn new(now: Instant) -> Self {
        Self {
            unstuffer: Unstuffer::default(),
            normaliser: Normaliser::default(),
            body: BytesMut::new(),
            scratch: BytesMut::new(),
            size_bytes: 0,
            dropped_bytes: 0,
            complete: false,
            fate: Fate::Wanted,
            begun: now,
            arrived: now,
        }
    }

    /// Says whether the service is still taking the message and has to be told if it will not be completed.
    pub(super) fn is_wanted(&self) -> bool {
        matches!(self.fate, Fate::Wanted)
    }

    pub(super) fn buffered_bytes(&self) -> usize {
        self.body.len() + self.scratch.len()
    }

    /// When patience ends: between two arrivals, and for the whole.
    pub(super) fn deadline(&self, timeouts: &Timeouts) -> Instant {
        let earned = match timeouts.data_min_rate {
            0 => Duration::ZERO,
            rate => Duration::from_secs((self.size_bytes - self.dropped_bytes) / u64::from(rate)),
        };
        let total = later(self.begun, timeouts.data_total.saturating_add(earned));
        total.min(later(self.arrived, timeouts.data_read))
    }

    /// Decodes a piece from the front of `octets`. The end is CRLF.CRLF and nothing else, and no octet is changed
    /// (RFC 5321 sections 4.1.1.4 and 4.5.2; 8-bit octets and NUL are kept, section 2.4 and RFC 6152).
    fn decode(&mut self, octets: &mut BytesMut, bare_line_ends: BareLineEnds) {
        let piece = &octets[..octets.len().min(PIECE)];
        let before = self.body.len();
        let result = if bare_line_ends == BareLineEnds::Refuse {
            self.unstuffer.decode(piece, &mut self.body)
        } else {
            self.scratch.clear();
            let result = self.unstuffer.decode(piece, &mut self.scratch);
            if self.unstuffer.bare_line_end() {
                self.normaliser.pass(&self.scratch, &mut self.body);
            } else {
                self.normaliser.skip(&self.scratch);
                self.body.extend_from_slice(&self.scratch);
            }
            result
        };
        octets.advance(result.consumed);
        self.complete = result.end;
        let decoded = (self.body.len() - before) as u64;
        self.size_bytes += decoded;
        if !self.is_wanted() {
            self.dropped_bytes += decoded;
            self.body.clear();
        }
    }

    /// The rule that the message breaks, if any. Size first: an answer that does not hang on what came first.
    fn broken_rule(&self, config: &Config) -> Option<(GivenUp, Reply)> {
        if !config.allows_size(self.size_bytes) {
            Some((GivenUp::TooLarge, reply::TOO_LARGE))
        } else if config.bare_line_ends == BareLineEnds::Refuse && self.unstuffer.bare_line_end() {
            Some((GivenUp::BareLineEnd, reply::BARE_LINE_END_IN_MESSAGE))
        } else {
            None
        }
    }

    fn chunk(&mut self) -> Bytes {
        self.body.split().freeze()
    }
}

impl Session {
    pub(super) fn begin_message(&mut self) {
        match self.envelope() {
            Ok(envelope) => self.ask(Question::Begin(Box::new(envelope)), Asked::Begin),
            Err(reply) => self.refuse(reply),
        }
    }

    pub(super) fn begin_answered(&mut self, answer: Answer, now: Instant) {
        match answer {
            Answer::Ready => {
                reply::start_message(&mut self.output);
                self.unused = None;
                self.stage = Stage::Message(Box::new(Message::new(now)));
            }
            Answer::Rejected { code, status, text } => self.conclude(Reply::refusal(code, status, text)),
            _ => self.conclude(reply::UNAVAILABLE),
        }
    }

    /// Takes a piece of the message from the front of the input. Returns false when there is none.
    pub(super) fn take_message(&mut self, octets: &mut BytesMut, now: Instant) -> bool {
        let Stage::Message(message) = &mut self.stage else { return false };
        if octets.is_empty() {
            return false;
        }
        message.decode(octets, self.config.bare_line_ends);
        let broken = message.broken_rule(&self.config).filter(|_| message.is_wanted());
        if let Some((why, _)) = broken {
            message.fate = Fate::Broken;
            message.body = BytesMut::new();
            // The service need not wait for the end.
            self.ask(Question::Abort(why), Asked::Abort { close: false });
        } else {
            self.message_goes_on(now);
        }
        true
    }

    /// Decides what is next for a message in hand.
    fn message_goes_on(&mut self, now: Instant) {
        let Stage::Message(message) = &mut self.stage else { return };
        message.arrived = now;
        if message.is_wanted() {
            let full = message.body.len() >= CHUNK;
            if full || (message.complete && !message.body.is_empty()) {
                let chunk = message.chunk();
                self.ask(Question::Chunk(chunk), Asked::Chunk);
            } else if message.complete {
                self.ask(Question::Finish, Asked::Finish);
            }
            return;
        }
        let refusal = match message.fate {
            Fate::Refused(reply) => reply,
            _ => message.broken_rule(&self.config).map_or(reply::UNAVAILABLE, |(_, reply)| reply),
        };
        if message.complete {
            self.conclude(refusal);
        } else if message.dropped_bytes > self.config.max_message_bytes.max(DROPPED_MAX) {
            // A refused message is read to its end so that the reply is found where the client looks for it; but
            // not for ever.
            self.close_with(refusal);
        }
    }

    pub(super) fn chunk_answered(&mut self, answer: Answer, now: Instant) {
        if let Stage::Message(message) = &mut self.stage {
            message.fate = match answer {
                Answer::Taken => Fate::Wanted,
                Answer::Rejected { code, status, text } => Fate::Refused(Reply::refusal(code, status, text)),
                _ => Fate::Refused(reply::UNAVAILABLE),
            };
        }
        self.message_goes_on(now);
    }

    /// The service has forgotten a message that broke a rule.
    pub(super) fn message_given_up(&mut self, now: Instant) {
        self.message_goes_on(now);
    }

    pub(super) fn finish_answered(&mut self, answer: Answer) {
        match answer {
            Answer::Accepted { queue_id } => {
                reply::queued(&mut self.output, &queue_id);
                self.stage = Stage::Commands;
                self.message_accepted();
            }
            Answer::Rejected { code, status, text } => self.conclude(Reply::refusal(code, status, text)),
            _ => self.conclude(reply::UNAVAILABLE),
        }
    }

    /// Ends the transaction without a message (RFC 5321 section 4.1.1.4: whatever the reply, the buffers are
    /// cleared).
    fn conclude(&mut self, refusal: Reply) {
        self.stage = Stage::Commands;
        self.transaction = None;
        if refusal.code >= 500 { self.refuse(refusal) } else { self.reply(refusal) }
    }
}
