//! Serving gRPC: over TCP for other processes, or over in-memory connections inside one process.

use std::{net::SocketAddr, time::Duration};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_stream::Stream;
use tonic::{
    service::Routes,
    transport::server::{Connected, Server, TcpIncoming},
};

use crate::{
    listener::Bound,
    process::{Phase, Process},
};

/// Requests at one time on one connection; more are answered UNAVAILABLE, which clients may retry elsewhere, instead
/// of queueing without bound.
const REQUESTS_PER_CONNECTION: usize = 1024;

/// A connection over TCP is asked to go after this long, so that clients spread over new replicas (HTTP/2 pins a client
/// to one replica behind a TCP balancer).
const CONNECTION_AGE: Duration = Duration::from_secs(300);

/// Then its requests have this long to end.
const CONNECTION_AGE_GRACE: Duration = Duration::from_secs(60);

/// A silent connection is probed, so that a peer that vanished without a FIN is noticed.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// Flow control windows that let a message body stream at full speed.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;

fn server() -> Server {
    Server::builder()
        .concurrency_limit_per_connection(REQUESTS_PER_CONNECTION)
        .load_shed(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
}

/// Serves over TCP, with the gRPC health service, until the back ends end. Requests in flight are answered first.
/// Returns the address.
pub fn spawn_tcp(name: &'static str, routes: Routes, bound: Bound, process: &Process) -> SocketAddr {
    let address = bound.address;
    process.bound(bound.key, address);
    tracing::info!(listener = bound.key, %address, "listening");
    let incoming = TcpIncoming::from(bound.into_listener())
        .with_nodelay(Some(true))
        .with_keepalive(Some(Duration::from_secs(60)));
    let (reporter, health) = tonic_health::server::health_reporter();
    let handle = process.clone();
    process.spawn(Phase::Back, async move {
        reporter.set_service_status("", tonic_health::ServingStatus::Serving).await;
        let ended = async {
            handle.stopped(Phase::Back).cancelled().await;
            reporter.set_service_status("", tonic_health::ServingStatus::NotServing).await;
        };
        let served = server()
            .max_connection_age(CONNECTION_AGE)
            .max_connection_age_grace(CONNECTION_AGE_GRACE)
            .add_routes(routes.add_service(health))
            .serve_with_incoming_shutdown(incoming, ended);
        report(name, served.await, &handle);
    });
    address
}

/// Serves connections of this process (see `puro_api`) until the back ends end. Requests in flight are answered first.
pub fn spawn_in_process<I, IO, E>(name: &'static str, routes: Routes, incoming: I, process: &Process)
where
    I: Stream<Item = Result<IO, E>> + Send + 'static,
    IO: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    E: Into<Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
{
    let handle = process.clone();
    process.spawn(Phase::Back, async move {
        let ended = handle.stopped(Phase::Back).clone().cancelled_owned();
        let served = server().add_routes(routes).serve_with_incoming_shutdown(incoming, ended);
        report(name, served.await, &handle);
    });
}

/// A back end that ends by itself takes the process with it: nothing works without it.
fn report(name: &str, outcome: Result<(), tonic::transport::Error>, process: &Process) {
    match outcome {
        Err(error) => process.fail(format!("{name}: {error}")),
        Ok(()) if !process.stopped(Phase::Back).is_cancelled() => process.fail(format!("{name}: ended")),
        Ok(()) => {}
    }
}
