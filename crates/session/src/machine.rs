//! The contract between a protocol machine and the one driver that runs any of them.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use bytes::BytesMut;

/// A protocol as a state machine without I/O.
///
/// The driver owns the stream, the clock and the services. It calls [`Machine::step`] until told to read, to ask, to
/// wait, to start TLS or to close; everything the machine has to say to the peer gathers in [`Machine::output`], which
/// the driver writes in one go before it reads or closes, and whenever it grows past [`Machine::OUTPUT_HIGH_WATER`].
///
/// Order of calls: after `Step::Ask` the driver calls `answer` before the next `step`; after `Step::StartTls`,
/// `tls_started`. The driver may call `drain` and `expire` at any moment between steps.
///
/// Octets left over: while a question or a pause is outstanding, or its output is full, the machine consumes nothing, so
/// commands sent ahead (pipelining) wait in the driver's buffer. When `step` says [`Step::Read`] for the first time
/// after an answer, a pause or a [`Step::Flush`], the driver offers what is left (and `end`, if the peer has shut its
/// side) to [`Machine::receive`] again before it reads the stream; only a `Step::Read` that follows a `receive`
/// directly means that more octets are needed.
pub trait Machine {
    /// What the machine wants to know or have done by a service.
    type Question;
    /// What the service says.
    type Answer;

    /// The driver flushes the output once it holds this many octets, so that a message that is sent takes constant
    /// memory and waits for a slow reader.
    const OUTPUT_HIGH_WATER: usize = 64 * 1024;

    /// Returns what to do next, at the time `now`.
    fn step(&mut self, now: Instant) -> Step<Self::Question>;

    /// Takes in octets that arrived. The machine consumes from the front what it can use now; what it leaves is given
    /// back, with more behind it, at the next call. It leaves at most one unfinished line of bounded length.
    fn receive(&mut self, input: Input<'_>, now: Instant);

    /// Takes the answer to the last question.
    fn answer(&mut self, answer: Self::Answer, now: Instant);

    /// Says that TLS is up. All that was said before is forgotten (RFC 3207 section 4.2, RFC 2595 section 4).
    fn tls_started(&mut self, tls: Tls, now: Instant);

    /// Says that the time given by the last `Step::Read` is over.
    fn expire(&mut self, now: Instant);

    /// Says that the service is shutting down: the machine ends at the next point where nothing is lost.
    fn drain(&mut self, now: Instant);

    /// What is to be sent to the peer. The driver takes it out whole, with its memory (`split`, `mem::take`), so that an
    /// idle session holds none.
    fn output(&mut self) -> &mut BytesMut;
}

/// What the driver has to do next.
#[derive(Debug)]
#[must_use]
pub enum Step<Q> {
    /// Flush, then read, until `until` at the latest; at that time call [`Machine::expire`].
    Read {
        /// When patience ends.
        until: Instant,
        /// A message body is coming in: large reads, and immediate acknowledgements (TCP_QUICKACK), since some senders
        /// wait for them.
        bulk: bool,
    },
    /// Put the question to the service; bring its answer with [`Machine::answer`].
    Ask(Q),
    /// Flush, then read nothing for this long: a peer that errs is slowed down.
    Pause(Duration),
    /// Flush, then start TLS as the server. Octets that were received behind the command and not yet consumed end the
    /// connection (an injection, RFC 3207 section 6).
    StartTls,
    /// Flush, then step again: there is more to say than fits the output.
    Flush,
    /// Flush and close.
    Close,
}

/// Octets from the peer.
#[derive(Debug)]
pub struct Input<'a> {
    /// All octets not yet consumed.
    pub octets: &'a mut BytesMut,
    /// The peer has shut its sending side: no more will come.
    pub end: bool,
}

/// Who is at the other end.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The client's address, from the PROXY header where there is one.
    pub ip: IpAddr,
    /// Set where the connection began with TLS.
    pub tls: Option<Tls>,
}

/// What is known of the TLS session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Such as `TLSv1.3`.
    pub version: String,
    /// Such as `TLS13_AES_256_GCM_SHA384`.
    pub cipher: String,
    /// The name that the client asked for (SNI).
    pub server_name: Option<String>,
}
