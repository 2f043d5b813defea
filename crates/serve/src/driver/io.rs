//! Reading and writing with bounds in time and memory.

use std::{
    future::poll_fn,
    mem::MaybeUninit,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, sleep_until},
};

use super::{End, Limits, Stream, Transport};

/// Octets read at once while commands come in.
const SMALL_READ: usize = 4 * 1024;

/// Octets read at once while a message comes in.
const BULK_READ: usize = 64 * 1024;

/// Octets thrown away after the last reply before the connection is cut.
const LINGER_MAX: usize = 256 * 1024;

/// What a read came to.
pub(super) enum Read {
    /// Octets were added to the input.
    Octets,
    /// The peer has shut its sending side.
    End,
    /// The connection broke.
    Lost,
}

/// A stream with its limits.
pub(super) struct Wire<S> {
    stream: Stream<S>,
    limits: Limits,
}

impl<S: Transport> Wire<S> {
    pub(super) fn new(stream: Stream<S>, limits: Limits) -> Self {
        Self { stream, limits }
    }

    pub(super) fn into_stream(self) -> Stream<S> {
        self.stream
    }

    /// Reads once. Cancel safe: nothing is lost when the future is dropped.
    pub(super) async fn read(&mut self, input: &mut BytesMut, bulk: bool) -> Read {
        let read = poll_fn(|cx| {
            let read = if bulk {
                self.poll_read::<BULK_READ>(cx, input)
            } else {
                self.poll_read::<SMALL_READ>(cx, input)
            };
            if read.is_pending() && input.is_empty() && input.capacity() > 0 {
                // The peer may stay silent for minutes.
                *input = BytesMut::new();
            }
            read
        })
        .await;
        if bulk && matches!(read, Read::Octets) {
            self.stream.acknowledge();
        }
        read
    }

    /// Reads into the stack first, so that a connection that waits holds no buffer and one that has read holds no
    /// more than it read.
    fn poll_read<const SIZE: usize>(&mut self, cx: &mut Context<'_>, input: &mut BytesMut) -> Poll<Read> {
        let mut array = [MaybeUninit::<u8>::uninit(); SIZE];
        let mut buffer = ReadBuf::uninit(&mut array);
        let read = match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer)) {
            Ok(()) if buffer.filled().is_empty() => Read::End,
            Ok(()) => {
                input.extend_from_slice(buffer.filled());
                Read::Octets
            }
            // A TLS peer that closes without close_notify: nothing here rests on that alert, since every command and
            // every message has an end of its own.
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Read::End,
            Err(error) => {
                tracing::debug!(%error, "the connection broke while reading");
                Read::Lost
            }
        };
        Poll::Ready(read)
    }

    /// Writes everything. A peer that reads slowly is waited for, one that takes nothing at all is not.
    pub(super) async fn write(&mut self, output: &mut BytesMut) -> Result<(), End> {
        let stall = self.limits.write_stall;
        let mut patience = pin!(sleep_until(Instant::now() + stall));
        // The timer is touched only when the peer keeps us waiting, which for most replies it never does.
        let mut progress = false;
        poll_fn(|cx| {
            loop {
                let written = if output.is_empty() {
                    Pin::new(&mut self.stream).poll_flush(cx).map_ok(|()| 0)
                } else {
                    Pin::new(&mut self.stream).poll_write(cx, output)
                };
                match written {
                    Poll::Ready(Ok(0)) if output.is_empty() => return Poll::Ready(Ok(())),
                    Poll::Ready(Ok(count)) if count > 0 => {
                        output.advance(count);
                        progress = true;
                    }
                    Poll::Ready(outcome) => {
                        tracing::debug!(error = ?outcome.err(), "the connection broke while writing");
                        return Poll::Ready(Err(End::PeerGone));
                    }
                    Poll::Pending => {
                        if std::mem::take(&mut progress) {
                            patience.as_mut().reset(Instant::now() + stall);
                        }
                        ready!(patience.as_mut().poll(cx));
                        return Poll::Ready(Err(End::NeverReads));
                    }
                }
            }
        })
        .await
    }

    /// Says goodbye: TLS close_notify, FIN, and then what the peer still sends is read away for a moment. A socket
    /// closed with unread octets answers with RST, which may destroy the last reply on its way.
    pub(super) async fn close(&mut self, peer_ended: bool) {
        let linger = self.limits.linger;
        let goodbye = async {
            let shut = poll_fn(|cx| Pin::new(&mut self.stream).poll_shutdown(cx)).await;
            if shut.is_err() || peer_ended {
                return;
            }
            let mut left = LINGER_MAX;
            while left > 0 {
                let count = poll_fn(|cx| self.poll_discard(cx)).await;
                if count == 0 {
                    return;
                }
                left = left.saturating_sub(count);
            }
        };
        // Too slow is as good as gone.
        let _ = tokio::time::timeout(linger, goodbye).await;
    }

    /// Reads octets away; 0 at the end or on an error.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        let mut array = [MaybeUninit::<u8>::uninit(); SMALL_READ];
        let mut buffer = ReadBuf::uninit(&mut array);
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer));
        Poll::Ready(read.map(|()| buffer.filled().len()).unwrap_or(0))
    }
}
