//! Connections inside one process: a fresh pipe for each connect, so that the same HTTP/2 with the same deadlines,
//! flow control and drain runs as over TCP.

use std::{
    fmt,
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::{Stream, future::BoxFuture};
use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf},
    sync::mpsc,
};
use tonic::transport::server::Connected;

/// Octets that a pipe holds in each direction.
const PIPE_OCTETS: usize = 256 * 1024;
/// Connections that wait to be accepted.
const BACKLOG: usize = 128;

/// Makes a place to connect to and the stream of connections that arrive there, for tonic's `serve_with_incoming`.
/// Dropping the [`Incoming`] refuses further connects.
pub fn in_process() -> (Connector, Incoming) {
    let (sender, receiver) = mpsc::channel(BACKLOG);
    let connector = Connector::from_fn(move || {
        let sender = sender.clone();
        async move {
            let (ours, theirs) = tokio::io::duplex(PIPE_OCTETS);
            let gone = |_| io::Error::new(io::ErrorKind::ConnectionRefused, "nobody serves here");
            sender.send(Pipe(Box::new(theirs))).await.map_err(gone)?;
            Ok(Pipe(Box::new(ours)))
        }
    });
    (connector, Incoming(receiver))
}

/// Connections made inside this process, as a server accepts them.
#[derive(Debug)]
pub struct Incoming(mpsc::Receiver<Pipe>);

impl Stream for Incoming {
    type Item = io::Result<Pipe>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx).map(|pipe| pipe.map(Ok))
    }
}

type Connect = dyn Fn() -> BoxFuture<'static, io::Result<Pipe>> + Send + Sync;

/// Makes connections that are not TCP: a pipe to a server in this process, or a simulated network's.
#[derive(Clone)]
pub struct Connector(Arc<Connect>);

impl Connector {
    /// Makes a connector of a function that is called for each connect.
    pub fn from_fn<F, C>(connect: F) -> Self
    where
        F: Fn() -> C + Send + Sync + 'static,
        C: Future<Output = io::Result<Pipe>> + Send + 'static,
    {
        Self(Arc::new(move || Box::pin(connect())))
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<Pipe>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<TokioIo<Pipe>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let connecting = (self.0)();
        Box::pin(async move { connecting.await.map(TokioIo::new) })
    }
}

/// What a connection has to be able to do.
trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// One end of a connection.
pub struct Pipe(Box<dyn Io>);

impl Pipe {
    /// Makes a connection of any stream of octets.
    pub fn new<T: AsyncRead + AsyncWrite + Send + Unpin + 'static>(io: T) -> Self {
        Self(Box::new(io))
    }
}

impl From<DuplexStream> for Pipe {
    fn from(stream: DuplexStream) -> Self {
        Self::new(stream)
    }
}

impl fmt::Debug for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pipe")
    }
}

/// A connection without an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InProcess;

impl Connected for Pipe {
    type ConnectInfo = InProcess;

    fn connect_info(&self) -> InProcess {
        InProcess
    }
}

impl AsyncRead for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
}
