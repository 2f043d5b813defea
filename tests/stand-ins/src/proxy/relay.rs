//! Connections: taken, passed on, and broken as the plan says.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use hyper::{
    body::{Body, Frame, Incoming, SizeHint},
    client::conn::http1::SendRequest,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use socket2::{SockRef, Socket};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;

use super::{Service, plan::Fault, state::State};

type Answer = Response<UnsyncBoxBody<Bytes, Broken>>;

/// A request on its way to the server.
type Question = Request<UnsyncBoxBody<Bytes, hyper::Error>>;

/// Why a connection ends without an answer: the plan says so, or the server did not answer.
#[derive(Debug)]
enum Broken {
    AsPlanned,
    Upstream(hyper::Error),
    Unreachable(std::io::Error),
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AsPlanned => f.write_str("broken as planned"),
            Self::Upstream(error) => write!(f, "the server: {error}"),
            Self::Unreachable(error) => write!(f, "the server cannot be reached: {error}"),
        }
    }
}

impl std::error::Error for Broken {}

impl From<hyper::Error> for Broken {
    fn from(error: hyper::Error) -> Self {
        Self::Upstream(error)
    }
}

/// What every connection needs.
#[derive(Debug, Clone)]
pub(super) struct Relay {
    service: Service,
    upstream: SocketAddr,
    state: Arc<State>,
}

impl Relay {
    pub(super) fn new(service: Service, upstream: SocketAddr, state: Arc<State>) -> Self {
        Self { service, upstream, state }
    }

    /// Accepts on one listener after the other.
    pub(super) async fn run(
        self,
        mut listeners: mpsc::UnboundedReceiver<(std::net::TcpListener, CancellationToken)>,
    ) {
        while let Some((listener, end)) = listeners.recv().await {
            let listener = TcpListener::from_std(listener).expect("a listener of this runtime");
            while !end.is_cancelled() {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    () = end.cancelled() => break,
                };
                match accepted {
                    Ok((stream, _)) => drop(tokio::spawn(self.clone().connection(stream, end.clone()))),
                    // Out of file descriptors, or taken down this very moment.
                    Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        }
    }

    async fn connection(self, stream: TcpStream, end: CancellationToken) {
        let _ = stream.set_nodelay(true);
        let Ok(handle) = SockRef::from(&stream).try_clone() else { return };
        let line = Line { upstream: Upstream::new(self.upstream), relay: self, client: Some(handle).into() };
        let line = Arc::new(line);
        let answering = line.clone();
        let service = service_fn(move |request| {
            let line = answering.clone();
            async move { line.exchange(request).await }
        });
        let served =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        tokio::select! {
            // A connection that breaks is what this is about.
            _ = served => {}
            () = end.cancelled() => line.reset_client(),
        }
    }
}

/// One client's connection and the one to the server behind it.
struct Line {
    relay: Relay,
    upstream: Upstream,
    client: std::sync::Mutex<Option<Socket>>,
}

impl Line {
    async fn exchange(&self, request: Request<Incoming>) -> Result<Answer, Broken> {
        let service = self.relay.service;
        let (head, body) = request.into_parts();
        let method = head.method.clone();
        let fault = self.relay.state.meet(&service.operation(&head));
        let request = Request::from_parts(head, body.boxed_unsync());
        match fault {
            None => self.upstream.pass(request).await.map(whole),
            Some(Fault::Delay(time)) => {
                tokio::time::sleep(time).await;
                self.upstream.pass(request).await.map(whole)
            }
            Some(Fault::Late(time)) => {
                self.later(time, request).await?;
                Err(self.reset())
            }
            Some(Fault::ResetBefore) => Err(self.reset()),
            Some(Fault::ResetAfter) => {
                read(self.upstream.pass(request).await?.into_body()).await?;
                Err(self.reset())
            }
            Some(Fault::Throttle) => {
                read(request.into_body()).await?;
                Ok(service.throttled(&method).map(ours))
            }
            Some(Fault::ErrorBefore) => {
                read(request.into_body()).await?;
                Ok(service.internal_error(&method).map(ours))
            }
            Some(Fault::ErrorAfter) => {
                read(self.upstream.pass(request).await?.into_body()).await?;
                Ok(service.internal_error(&method).map(ours))
            }
            Some(Fault::CutAnswer) => {
                let answer = self.upstream.pass(request).await?;
                // Without a body there is nothing to be cut but the answer itself.
                if answer.body().is_end_stream() {
                    return Err(self.reset());
                }
                Ok(answer.map(|body| BodyExt::boxed_unsync(Cut::half_of(body))))
            }
        }
    }

    /// Takes a request whole, and passes it on when this connection is gone.
    async fn later(&self, time: Duration, request: Question) -> Result<(), Broken> {
        let (head, body) = request.into_parts();
        let body = http_body_util::Full::new(body.collect().await?.to_bytes());
        let request =
            Request::from_parts(head, body.map_err(|never: Infallible| match never {}).boxed_unsync());
        let upstream = Upstream::new(self.relay.upstream);
        tokio::spawn(async move {
            tokio::time::sleep(time).await;
            // Nobody waits for the answer.
            if let Ok(answer) = upstream.pass(request).await {
                let _ = read(answer.into_body()).await;
            }
        });
        Ok(())
    }

    /// Makes the connection end with a reset; hyper drops it when it is given an error.
    fn reset(&self) -> Broken {
        self.reset_client();
        Broken::AsPlanned
    }

    fn reset_client(&self) {
        let handle = self.client.lock().expect("no panic while locked").take();
        if let Some(client) = handle {
            // Closing with a linger time of zero sends RST (socket(7), SO_LINGER).
            let _ = client.set_linger(Some(Duration::ZERO));
        }
    }
}

/// The way to the server: one connection, kept while it lives.
struct Upstream {
    server: SocketAddr,
    kept: tokio::sync::Mutex<Option<SendRequest<UnsyncBoxBody<Bytes, hyper::Error>>>>,
}

impl Upstream {
    fn new(server: SocketAddr) -> Self {
        Self { server, kept: tokio::sync::Mutex::default() }
    }

    /// Passes a request on and returns the server's answer. A connection that the server closed while it was idle is
    /// replaced; the request was not sent then.
    async fn pass(&self, mut request: Question) -> Result<Response<Incoming>, Broken> {
        let mut place = self.kept.lock().await;
        loop {
            let kept = place.take().filter(|sender| !sender.is_closed());
            let new = kept.is_none();
            let mut sender = match kept {
                Some(sender) => sender,
                None => self.connect().await?,
            };
            if let Err(error) = sender.ready().await {
                if new {
                    return Err(error.into());
                }
                continue;
            }
            match sender.try_send_request(request).await {
                Ok(answer) => {
                    *place = Some(sender);
                    return Ok(answer);
                }
                Err(mut failed) => match failed.take_message() {
                    Some(unsent) if !new => request = unsent,
                    _ => return Err(failed.into_error().into()),
                },
            }
        }
    }

    async fn connect(&self) -> Result<SendRequest<UnsyncBoxBody<Bytes, hyper::Error>>, Broken> {
        let stream = TcpStream::connect(self.server).await.map_err(Broken::Unreachable)?;
        let _ = stream.set_nodelay(true);
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // Ends when the sender is dropped.
        tokio::spawn(connection);
        Ok(sender)
    }
}

fn whole(answer: Response<Incoming>) -> Answer {
    answer.map(|body| body.map_err(Broken::Upstream).boxed_unsync())
}

fn ours(body: http_body_util::Full<Bytes>) -> UnsyncBoxBody<Bytes, Broken> {
    body.map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// Reads a body to its end and keeps nothing.
async fn read(mut body: impl Body<Data = Bytes, Error = hyper::Error> + Unpin) -> Result<(), Broken> {
    while let Some(frame) = body.frame().await {
        frame?;
    }
    Ok(())
}

/// A body that breaks off.
struct Cut {
    body: Incoming,
    left: u64,
    sent: bool,
}

impl Cut {
    fn half_of(body: Incoming) -> Self {
        let left = body.size_hint().exact().map_or(1, |octets| octets / 2);
        Self { body, left, sent: false }
    }
}

impl Body for Cut {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if self.left == 0 {
            if self.sent {
                return Poll::Ready(Some(Err(Broken::AsPlanned)));
            }
            // hyper sends what it has when there is nothing more for the moment, and throws it away at an error.
            self.sent = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let Some(frame) = frame else { return Poll::Ready(Some(Err(Broken::AsPlanned))) };
        let Ok(mut octets) = frame?.into_data() else { return Poll::Ready(Some(Err(Broken::AsPlanned))) };
        octets.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.left -= u64::try_from(octets.len()).unwrap_or(self.left);
        Poll::Ready(Some(Ok(Frame::data(octets))))
    }

    fn size_hint(&self) -> SizeHint {
        // What the head promises.
        self.body.size_hint()
    }
}
