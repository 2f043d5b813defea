//! Serving gRPC: over TCP for other processes, or over in-memory connections inside one process.

mod measure;
#[cfg(test)]
mod tests;

use std::{net::SocketAddr, time::Duration};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_stream::Stream;
use tonic::{
    service::Routes,
    transport::server::{Connected, Server, TcpIncoming},
};

use tower::layer::util::{Identity, Stack};

use crate::{
    listener::Bound,
    process::{Phase, Process},
    telemetry,
};
use measure::Measure;

/// Requests at one time on one connection; more are answered RESOURCE_EXHAUSTED, instead of queueing without bound. A
/// front end holds a request for as long as its client takes to send a message, so this is above the number of clients
/// that a front end has by default.
const REQUESTS_PER_CONNECTION: usize = 16_384;

/// HTTP/2's own limit lies above it: what is over that one would wait in the client, unseen, behind slow uploads.
const STREAMS_PER_CONNECTION: u32 = 20_000;

/// A connection over TCP is asked to go after this long, so that clients spread over new replicas (HTTP/2 pins a client
/// to one replica behind a TCP balancer). Its requests then end without a limit of time: with a grace period set, tonic
/// 0.14 cuts them off with the connection instead of telling the client to go.
const CONNECTION_AGE: Duration = Duration::from_secs(300);

/// A silent connection is probed, so that a peer that vanished without a FIN is noticed.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// What a stream may send ahead: at a round trip of a millisecond, 256 MB/s.
const STREAM_WINDOW: u32 = 256 * 1024;

/// What all streams of a connection may send ahead together. Many times a stream's window, or a few streams that nobody
/// reads from would stop all others.
const CONNECTION_WINDOW: u32 = 64 * STREAM_WINDOW;

fn server(name: &str) -> Server<Stack<Measure, Identity>> {
    Server::builder()
        .concurrency_limit_per_connection(REQUESTS_PER_CONNECTION)
        .load_shed(true)
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .trace_fn(telemetry::request_span)
        .layer(Measure::new(name))
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
    let (mut reporter, health) = tonic_health::server::health_reporter();
    let handle = process.clone();
    process.spawn(Phase::Back, async move {
        reporter.set_service_status("", tonic_health::ServingStatus::Serving).await;
        let ended = async {
            handle.stopped(Phase::Back).cancelled().await;
            reporter.set_service_status("", tonic_health::ServingStatus::NotServing).await;
            // Ends the streams of those who watch, which would hold the drain up.
            reporter.clear_service_status("").await;
        };
        let served = server(name)
            .max_connection_age(CONNECTION_AGE)
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
        let served = server(name).add_routes(routes).serve_with_incoming_shutdown(incoming, ended);
        // Its incoming connections end with the last client, which the front ends' drain may drop: no failure.
        if let Err(error) = served.await {
            handle.fail(format!("{name}: {error}"));
        }
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
