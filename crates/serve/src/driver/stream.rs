//! A connection that may turn to TLS on the way, and what the driver needs of the stream below.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use puro_session::Tls;
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// A stream that the driver can run a session on.
pub trait Transport: AsyncRead + AsyncWrite + Unpin + Send {
    /// Acknowledges what was received at once, instead of waiting for something to send along. A hint: where it is
    /// not possible, nothing happens.
    fn acknowledge(&self) {}
}

impl Transport for TcpStream {
    fn acknowledge(&self) {
        // A sender with Nagle's algorithm on holds its last segment back until the one before it is acknowledged:
        // 40 ms a message. The option does not last, so it is set again after each read (tcp(7)).
        #[cfg(target_os = "linux")]
        if let Err(error) = socket2::SockRef::from(self).set_tcp_quickack(true) {
            tracing::trace!(%error, "TCP_QUICKACK was not set");
        }
    }
}

impl Transport for DuplexStream {}

/// A connection in clear text or inside TLS.
#[derive(Debug)]
pub struct Stream<S>(Inner<S>);

#[derive(Debug)]
enum Inner<S> {
    Plain(S),
    // Boxed: a TLS session is over a kilobyte, and most of a connection's states should not pay for it.
    Tls(Box<TlsStream<S>>),
}

impl<S: Transport> Stream<S> {
    /// A connection in clear text.
    pub fn plain(stream: S) -> Self {
        Self(Inner::Plain(stream))
    }

    /// Waits for the client's TLS handshake: implicit TLS.
    ///
    /// # Errors
    /// What the handshake failed with; [`io::ErrorKind::TimedOut`] after `within`.
    pub async fn accept(stream: S, acceptor: &TlsAcceptor, within: Duration) -> io::Result<(Self, Tls)> {
        let handshake = Box::pin(acceptor.accept(stream));
        let tls = tokio::time::timeout(within, handshake)
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the TLS handshake took too long"))??;
        let known = describe(tls.get_ref().1);
        Ok((Self(Inner::Tls(Box::new(tls))), known))
    }

    /// Turns to TLS after STARTTLS.
    pub(super) async fn upgrade(self, acceptor: &TlsAcceptor, within: Duration) -> io::Result<(Self, Tls)> {
        match self.0 {
            Inner::Plain(stream) => Self::accept(stream, acceptor, within).await,
            Inner::Tls(_) => Err(io::Error::other("TLS inside TLS was asked for")),
        }
    }

    pub(super) fn acknowledge(&self) {
        match &self.0 {
            Inner::Plain(stream) => stream.acknowledge(),
            Inner::Tls(stream) => stream.get_ref().0.acknowledge(),
        }
    }
}

fn describe(connection: &rustls::ServerConnection) -> Tls {
    let version = match connection.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
        Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
        _ => "TLS",
    };
    let cipher = connection.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str());
    Tls {
        version: version.to_owned(),
        cipher: cipher.unwrap_or_default().to_owned(),
        server_name: connection.server_name().map(str::to_owned),
    }
}

impl<S: Transport> AsyncRead for Stream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Inner::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Inner::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl<S: Transport> AsyncWrite for Stream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Inner::Plain(stream) => Pin::new(stream).poll_write(cx, octets),
            Inner::Tls(stream) => Pin::new(stream).poll_write(cx, octets),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Inner::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Inner::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Inner::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Inner::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_tcp_connection_acknowledges_at_once_when_told() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let quick = || socket2::SockRef::from(&stream).tcp_quickack().unwrap();
        socket2::SockRef::from(&stream).set_tcp_quickack(false).unwrap();
        assert!(!quick());
        stream.acknowledge();
        assert!(quick());
    }
}
