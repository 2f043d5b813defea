//! A front end: connections in, sessions run.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use ipnet::IpNet;
use puro_session::{Machine, Peer};
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tokio_rustls::TlsAcceptor;

use super::{
    Bound,
    admission::{Admission, Permit},
    proxy,
};
use crate::{
    config::Settings,
    driver::{self, Context, Handler, Limits, Stream},
    process::{Phase, Process},
    telemetry,
};

/// What a protocol brings: a machine and a handler for each connection.
pub trait Protocol: Send + Sync + 'static {
    /// The machine.
    type Machine: Machine<Question: Send, Answer: Send> + Send + 'static;
    /// What answers its questions.
    type Handler: Handler<Self::Machine> + Send + 'static;

    /// Opens a session.
    fn session(&self, connection: Connection) -> (Self::Machine, Self::Handler);

    /// What a client is told that cannot be served, such as `421 4.3.2 …` or `-ERR …`, with CRLF.
    fn refusal(&self, why: Refusal) -> Bytes;
}

/// A connection that begins.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Who is at the other end; TLS is set where it is implicit.
    pub peer: Peer,
    /// The client's port.
    pub port: u16,
    /// Which listener took it: its setting's path, such as `smtp.submission_listen`.
    pub listener: &'static str,
}

/// Why a client cannot be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// There are too many connections altogether.
    Busy,
    /// There are too many from this address.
    TooMany,
}

/// The limits of a front end.
#[derive(Debug, Clone)]
pub struct FrontLimits {
    /// Connections at one time.
    pub connections: u32,
    /// Connections at one time from one address; 0: no limit.
    pub connections_per_address: u32,
    /// Who must send a PROXY header.
    pub proxies: Vec<IpNet>,
    /// For the PROXY header.
    pub proxy_timeout: Duration,
    /// For the handshake of implicit TLS, for writes and for the end.
    pub driver: Limits,
}

impl FrontLimits {
    /// What the settings say: the three of this front end, and what all share.
    #[must_use]
    pub fn new(
        settings: &Settings,
        connections: u32,
        connections_per_address: u32,
        write_timeout: Duration,
    ) -> Self {
        let handshake = settings.tls.handshake_timeout;
        Self {
            connections,
            connections_per_address,
            proxies: settings.general.proxy_protocol_from.clone(),
            // A balancer sends it at once; what a client may take for TLS is more than enough.
            proxy_timeout: handshake,
            driver: Limits { write_stall: write_timeout, handshake, ..Limits::default() },
        }
    }
}

/// A front end's parts.
pub struct Front<P> {
    /// The service, for metrics: `smtp` gives `puro_smtp_connections` and so on.
    pub name: &'static str,
    /// The protocol.
    pub protocol: P,
    /// For implicit TLS and STARTTLS.
    pub tls: Option<TlsAcceptor>,
    /// Limits.
    pub limits: FrontLimits,
}

impl<P> std::fmt::Debug for Front<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Front")
            .field("name", &self.name)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// Accepts connections on these listeners and runs their sessions, until the process drains.
pub fn spawn<P: Protocol>(front: Front<P>, listeners: Vec<Bound>, process: &Process) {
    let limits = &front.limits;
    let admission = Admission::new(limits.connections, limits.connections_per_address);
    let shared = Arc::new(Shared { metrics: Metrics::new(front.name), admission, front });
    for bound in listeners {
        process.bound(bound.key, bound.address);
        process.spawn(Phase::Front, accept(shared.clone(), bound, process.clone()));
    }
}

struct Shared<P> {
    front: Front<P>,
    admission: Arc<Admission>,
    metrics: Metrics,
}

struct Metrics {
    open: opentelemetry::metrics::UpDownCounter<i64>,
    accepted: opentelemetry::metrics::Counter<u64>,
    refused: opentelemetry::metrics::Counter<u64>,
    ended: opentelemetry::metrics::Counter<u64>,
}

impl Metrics {
    fn new(name: &'static str) -> Self {
        let meter = telemetry::meter();
        Self {
            open: meter.i64_up_down_counter(format!("puro_{name}_connections_open")).build(),
            accepted: meter.u64_counter(format!("puro_{name}_connections")).build(),
            refused: meter.u64_counter(format!("puro_{name}_connections_refused")).build(),
            ended: meter.u64_counter(format!("puro_{name}_sessions_ended")).build(),
        }
    }

    fn refuse(&self, reason: &'static str) {
        self.refused.add(1, &[opentelemetry::KeyValue::new("reason", reason)]);
    }
}

/// How long to wait when the system has no room for another connection.
const FULL_WAIT: Duration = Duration::from_millis(200);

async fn accept<P: Protocol>(shared: Arc<Shared<P>>, bound: Bound, process: Process) {
    let Bound { key, implicit_tls, listener, address } = bound;
    tracing::info!(listener = key, %address, "listening");
    let stop = process.stopped(Phase::Front);
    let mut full = false;
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, from)) => {
                full = false;
                shared.metrics.accepted.add(1, &[]);
                match shared.admission.enter() {
                    Some(permit) => {
                        let shared = shared.clone();
                        let stop = stop.clone();
                        process.spawn(Phase::Front, async move {
                            let arrival = Arrival::new(stream, from, key, implicit_tls, permit);
                            shared.serve(arrival, stop).await;
                        });
                    }
                    None => shared.turn_away(&stream, implicit_tls),
                }
            }
            Err(error) if is_about_one_connection(&error) => {}
            // EMFILE, ENFILE, ENOBUFS, ENOMEM: the connection stays in the backlog; trying again at once would burn
            // the processor that the others need to finish.
            Err(error) => {
                if !full {
                    tracing::warn!(%error, listener = key, "no room for more connections");
                }
                full = true;
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(FULL_WAIT) => {}
                }
            }
        }
    }
}

/// accept(2) also reports errors of the connection that it would have returned.
fn is_about_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable, Interrupted, NetworkDown,
        NetworkUnreachable, TimedOut,
    };
    matches!(
        error.kind(),
        ConnectionAborted
            | ConnectionRefused
            | ConnectionReset
            | HostUnreachable
            | Interrupted
            | NetworkDown
            | NetworkUnreachable
            | TimedOut
    )
}

/// A connection just accepted.
struct Arrival {
    stream: TcpStream,
    from: SocketAddr,
    key: &'static str,
    implicit_tls: bool,
    permit: Permit,
}

impl Arrival {
    fn new(
        stream: TcpStream,
        from: SocketAddr,
        key: &'static str,
        implicit_tls: bool,
        permit: Permit,
    ) -> Self {
        prepare(&stream);
        Self { stream, from, key, implicit_tls, permit }
    }
}

impl<P: Protocol> Shared<P> {
    /// Refuses a connection without spending a task on it.
    fn turn_away(&self, stream: &TcpStream, implicit_tls: bool) {
        self.metrics.refuse("total");
        if !implicit_tls {
            // A fresh socket has room for one line; where it has not, the client learns from the close.
            let _ = socket2::SockRef::from(stream).send(&self.front.protocol.refusal(Refusal::Busy));
        }
    }

    async fn serve(&self, mut arrival: Arrival, stop: tokio_util::sync::CancellationToken) {
        let Some(client) = self.client(&mut arrival, &stop).await else { return };
        if !arrival.permit.claim(client.ip()) {
            self.metrics.refuse("address");
            tracing::debug!(client = %client, listener = arrival.key, "too many connections from one address");
            if !arrival.implicit_tls {
                self.refuse(arrival.stream).await;
            }
            return;
        }
        self.metrics.open.add(1, &[]);
        let end = Box::pin(self.session(arrival, client, &stop)).await;
        self.metrics.open.add(-1, &[]);
        self.metrics.ended.add(1, &[opentelemetry::KeyValue::new("end", end.as_str())]);
    }

    /// The client's address: from the PROXY header where a trusted network connects.
    async fn client(
        &self,
        arrival: &mut Arrival,
        stop: &tokio_util::sync::CancellationToken,
    ) -> Option<SocketAddr> {
        let from = SocketAddr::new(arrival.from.ip().to_canonical(), arrival.from.port());
        let limits = &self.front.limits;
        if !limits.proxies.iter().any(|net| net.contains(&from.ip())) {
            return Some(from);
        }
        let header = tokio::time::timeout(limits.proxy_timeout, proxy::read(&mut arrival.stream));
        let header = tokio::select! {
            header = header => header.unwrap_or(Err(proxy::ProxyError::TooSlow)),
            () = stop.cancelled() => return None,
        };
        match header {
            Ok(source) => {
                Some(source.map_or(from, |client| SocketAddr::new(client.ip().to_canonical(), client.port())))
            }
            Err(proxy::ProxyError::Empty) => None,
            Err(error) => {
                self.metrics.refuse("proxy");
                tracing::warn!(%error, proxy = %from, listener = arrival.key, "no good PROXY header");
                None
            }
        }
    }

    async fn refuse(&self, mut stream: TcpStream) {
        let text = self.front.protocol.refusal(Refusal::TooMany);
        let said = async {
            stream.write_all(&text).await?;
            stream.shutdown().await
        };
        let _ = tokio::time::timeout(self.front.limits.driver.linger, said).await;
    }

    async fn session(
        &self,
        arrival: Arrival,
        client: SocketAddr,
        stop: &tokio_util::sync::CancellationToken,
    ) -> driver::End {
        let Arrival { stream, key, implicit_tls, permit: _permit, .. } = arrival;
        let limits = self.front.limits.driver;
        let (stream, tls) = match (implicit_tls, &self.front.tls) {
            (false, _) => (Stream::plain(stream), None),
            (true, None) => return driver::End::TlsFailed,
            (true, Some(acceptor)) => {
                let accepted = tokio::select! {
                    accepted = Stream::accept(stream, acceptor, limits.handshake) => accepted,
                    () = stop.cancelled() => return driver::End::Closed,
                };
                match accepted {
                    Ok((stream, tls)) => (stream, Some(tls)),
                    Err(error) => {
                        tracing::debug!(%error, client = %client, listener = key, "the TLS handshake failed");
                        return driver::End::TlsFailed;
                    }
                }
            }
        };
        let peer = Peer { ip: client.ip(), tls };
        let connection = Connection { peer, port: client.port(), listener: key };
        let (machine, handler) = self.front.protocol.session(connection);
        let context = Context { tls: self.front.tls.as_ref(), drain: stop, limits };
        driver::run(machine, handler, stream, context).await
    }
}

/// Sets what every connection wants; a failure costs speed only.
fn prepare(stream: &TcpStream) {
    // Replies are written whole, so Nagle's algorithm could only delay them.
    let nodelay = stream.set_nodelay(true);
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(120))
        .with_interval(Duration::from_secs(30))
        .with_retries(4);
    let alive = socket2::SockRef::from(stream).set_tcp_keepalive(&keepalive);
    if let Err(error) = nodelay.and(alive) {
        tracing::debug!(%error, "socket options were not set");
    }
}

/// The address that counts for limits: an IPv6 host usually has a /64 to itself.
pub(crate) fn counted(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & !u128::from(u64::MAX)).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_that_arrives_sends_without_delay_and_notices_a_dead_peer() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, from) = listener.accept().await.unwrap();
        assert!(!stream.nodelay().unwrap(), "the system's default");
        let permit = Admission::new(1, 0).enter().unwrap();
        let arrival = Arrival::new(stream, from, "x.listen", false, permit);
        assert!(arrival.stream.nodelay().unwrap());
        assert!(socket2::SockRef::from(&arrival.stream).keepalive().unwrap());
    }
}
