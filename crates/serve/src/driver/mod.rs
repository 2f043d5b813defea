//! The one driver that runs any protocol machine over any stream: time, TLS, batching and back-pressure.
//!
//! A connection is one task. What it holds while it waits for the peer is the machine, the stream and a timer: octets
//! are read into the stack and kept only once they are there, answers are awaited in a box of their own.

mod io;
mod stream;

#[cfg(test)]
mod tests;

use std::{future::Future, time::Duration};

use bytes::BytesMut;
use puro_session::{Input, Machine, Step};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use io::{Read, Wire};
pub use stream::{Stream, Transport};

/// A service behind a machine: answers its questions.
pub trait Handler<M: Machine>: Send {
    /// Answers one question. The future is never dropped before it is done, unless the whole process ends: a peer
    /// that disconnects does not cancel what it asked for. A handler therefore needs deadlines of its own.
    fn answer(&mut self, question: M::Question) -> impl Future<Output = M::Answer> + Send;

    /// The peer is to speak next, which may take minutes: a handler lets go of what the machine has let go of.
    fn waits(&mut self, machine: &M) {
        let _ = machine;
    }

    /// The session is over. For the log line of the connection, say.
    fn closed(&mut self, end: End) {
        let _ = end;
    }

    /// The session is over, and the machine can be asked what it has done. Does [`Handler::closed`] unless it is
    /// replaced.
    fn ended(&mut self, machine: &M, end: End) {
        let _ = machine;
        self.closed(end);
    }
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The machine closed it.
    Closed,
    /// The peer went away.
    PeerGone,
    /// The peer took nothing of what was sent for too long.
    NeverReads,
    /// Octets stood behind STARTTLS: an injection (RFC 3207 section 6, CVE-2011-0411).
    Injection,
    /// The TLS handshake failed or took too long, or there was no certificate to offer.
    TlsFailed,
    /// The machine broke its contract: it did not consume what it should. Our bug.
    Stuck,
}

impl End {
    /// The word for it in logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::PeerGone => "peer gone",
            Self::NeverReads => "peer never reads",
            Self::Injection => "octets behind STARTTLS",
            Self::TlsFailed => "TLS failed",
            Self::Stuck => "stuck",
        }
    }
}

/// How long the driver waits for what the machine does not time.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// A peer that takes no octet for this long is given up.
    pub write_stall: Duration,
    /// For the TLS handshake after STARTTLS.
    pub handshake: Duration,
    /// After the last reply, for the peer to close its side.
    pub linger: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            write_stall: Duration::from_secs(300),
            handshake: Duration::from_secs(30),
            linger: Duration::from_secs(2),
        }
    }
}

/// What a session needs besides its stream.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// For STARTTLS; without it, STARTTLS ends the connection.
    pub tls: Option<&'a TlsAcceptor>,
    /// Once cancelled, the machine is told to drain.
    pub drain: &'a CancellationToken,
    /// Time limits.
    pub limits: Limits,
}

/// Input that the machine left unconsumed may not grow past this: the longest line of any protocol (an AUTH line,
/// 12,288 octets) with much room.
const INPUT_MAX: usize = 256 * 1024;

/// Runs a session to its end.
///
/// A peer that vanishes is, for the machine, the end of its input: the machine ends as its protocol wants (a
/// transaction is aborted, nothing is deleted). A question that is being answered then is answered first.
pub async fn run<M, H, S>(machine: M, handler: H, stream: Stream<S>, context: Context<'_>) -> End
where
    M: Machine + Send,
    M::Question: Send,
    M::Answer: Send,
    H: Handler<M>,
    S: Transport,
{
    let mut session = Session {
        machine,
        handler,
        wire: Some(Wire::new(stream, context.limits)),
        input: BytesMut::new(),
        seen: false,
        ended: false,
        expired: false,
        told_drain: false,
        lost: None,
        context,
    };
    let end = session.run().await;
    session.handler.ended(&session.machine, end);
    end
}

struct Session<'a, M, H, S> {
    machine: M,
    handler: H,
    /// Absent only while it is being upgraded, and for good when that failed.
    wire: Option<Wire<S>>,
    /// What the peer sent and the machine did not consume yet.
    input: BytesMut,
    /// The machine has seen the input as it is, in the state it is in, and wants more.
    seen: bool,
    /// The peer will send no more.
    ended: bool,
    /// The machine was told that its time is over, and nothing has come since.
    expired: bool,
    told_drain: bool,
    /// The peer cannot be reached any more: nothing is read or written, the machine is led to its end.
    lost: Option<End>,
    context: Context<'a>,
}

fn now() -> std::time::Instant {
    // Tokio's clock, so that tests can stop it.
    Instant::now().into_std()
}

impl<M, H, S> Session<'_, M, H, S>
where
    M: Machine + Send,
    M::Question: Send,
    M::Answer: Send,
    H: Handler<M>,
    S: Transport,
{
    async fn run(&mut self) -> End {
        loop {
            self.tell_drain();
            match self.machine.step(now()) {
                Step::Ask(question) => self.ask(question).await,
                Step::Read { until, bulk } => {
                    if let Some(end) = self.read(until, bulk).await {
                        return end;
                    }
                }
                Step::Flush => {
                    self.flush().await;
                    self.seen = false;
                }
                Step::Pause(time) => {
                    self.flush().await;
                    self.pause(time).await;
                }
                Step::StartTls => {
                    if let Err(end) = self.start_tls().await {
                        return end;
                    }
                }
                Step::Close => return self.close().await,
            }
        }
    }

    fn tell_drain(&mut self) {
        if !self.told_drain && self.context.drain.is_cancelled() {
            self.told_drain = true;
            self.seen = false;
            self.machine.drain(now());
        }
    }

    async fn ask(&mut self, question: M::Question) {
        if self.machine.output().len() >= M::OUTPUT_HIGH_WATER {
            self.flush().await;
        }
        // Boxed, so that a connection that waits for its peer does not carry the largest of all answers.
        let answer = Box::pin(self.handler.answer(question)).await;
        self.machine.answer(answer, now());
        self.seen = false;
        if self.machine.output().len() >= M::OUTPUT_HIGH_WATER {
            self.flush().await;
        }
    }

    /// Lets the machine go on with what is there, or else gets more. Some: the session is over.
    async fn read(&mut self, until: std::time::Instant, bulk: bool) -> Option<End> {
        if !self.seen && (self.ended || !self.input.is_empty()) {
            self.show();
            return (self.input.len() > INPUT_MAX).then_some(End::Stuck);
        }
        if self.ended {
            // The machine knows, and still wants to read.
            self.flush().await;
            return Some(self.lost.unwrap_or(End::PeerGone));
        }
        // Before the peer learns that it is its turn.
        self.handler.waits(&self.machine);
        self.flush().await;
        if self.lost.is_some() {
            return None;
        }
        let Some(wire) = &mut self.wire else { return Some(End::TlsFailed) };
        if now() >= until {
            // Also for a peer that sends without a pause: the next octets are always there already.
            return self.expire();
        }
        let drained = async {
            match self.told_drain {
                true => std::future::pending().await,
                false => self.context.drain.cancelled().await,
            }
        };
        let deadline = tokio::time::sleep_until(Instant::from_std(until));
        tokio::select! {
            biased;
            read = wire.read(&mut self.input, bulk) => match read {
                Read::Octets => (self.seen, self.expired) = (false, false),
                Read::End => (self.ended, self.seen) = (true, false),
                Read::Lost => self.lose(End::PeerGone),
            },
            () = drained => {}
            () = deadline => return self.expire(),
        }
        None
    }

    /// Tells the machine that the time is over. A machine that waits on without an octet having come is stuck.
    fn expire(&mut self) -> Option<End> {
        if std::mem::replace(&mut self.expired, true) {
            return Some(End::Stuck);
        }
        self.seen = false;
        self.machine.expire(now());
        None
    }

    /// Shows the machine its input.
    fn show(&mut self) {
        let before = self.input.len();
        self.machine.receive(Input { octets: &mut self.input, end: self.ended }, now());
        self.seen = self.input.len() == before;
    }

    /// The peer is out of reach. What it sent and what was not yet acted on is forgotten: it could not hear the
    /// outcome.
    fn lose(&mut self, end: End) {
        self.lost.get_or_insert(end);
        (self.ended, self.seen) = (true, false);
        self.input = BytesMut::new();
    }

    async fn flush(&mut self) {
        let output = self.machine.output();
        if output.is_empty() {
            return;
        }
        let Some(wire) = self.wire.as_mut().filter(|_| self.lost.is_none()) else {
            return output.clear();
        };
        let written = wire.write(output).await;
        // Nothing is kept for the next reply: thousands of connections wait, few speak.
        *output = BytesMut::new();
        if let Err(end) = written {
            self.lose(end);
        }
    }

    async fn pause(&mut self, time: Duration) {
        if self.lost.is_some() {
            return;
        }
        self.seen = false;
        let drain = self.context.drain;
        tokio::select! {
            biased;
            () = drain.cancelled(), if !self.told_drain => {}
            () = tokio::time::sleep(time) => {}
        }
    }

    async fn start_tls(&mut self) -> Result<(), End> {
        self.flush().await;
        if let Some(end) = self.lost {
            return Err(end);
        }
        if !self.input.is_empty() {
            self.close().await;
            return Err(End::Injection);
        }
        let (Some(wire), Some(acceptor)) = (self.wire.take(), self.context.tls) else {
            return Err(End::TlsFailed);
        };
        let limits = self.context.limits;
        let upgraded = Box::pin(wire.into_stream().upgrade(acceptor, limits.handshake)).await;
        let (stream, tls) = upgraded.map_err(|error| {
            tracing::debug!(%error, "the TLS handshake failed");
            End::TlsFailed
        })?;
        self.wire = Some(Wire::new(stream, limits));
        self.seen = false;
        self.machine.tls_started(tls, now());
        Ok(())
    }

    async fn close(&mut self) -> End {
        self.flush().await;
        if let (Some(wire), None) = (&mut self.wire, self.lost) {
            wire.close(self.ended).await;
        }
        self.lost.unwrap_or(End::Closed)
    }
}
