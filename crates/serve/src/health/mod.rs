//! Health and metrics over HTTP/1.1: `/livez`, `/readyz`, `/metrics`.

#[cfg(test)]
mod tests;

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use http::{Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::Full;
use hyper::{body::Bytes, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpStream, sync::Semaphore};

use crate::{
    config::Admin,
    listener::{self, BindErrors, Bound, Wanted},
    process::{Phase, Process},
    telemetry::Metrics,
};

/// Scrapers and probes at one time.
const CONNECTIONS_MAX: usize = 64;

/// For a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Binds the admin listener, unless it is off.
///
/// # Errors
/// The address could not be bound.
pub fn bind(admin: &Admin) -> Result<Option<Bound>, BindErrors> {
    let wanted = Wanted { key: "admin.listen", listen: admin.listen, implicit_tls: false };
    Ok(listener::bind(&[wanted])?.pop())
}

/// Serves until the back ends end: a process that drains still answers, and says that it is not ready. Returns the
/// address.
pub fn spawn(bound: Bound, process: &Process, metrics: Metrics) -> SocketAddr {
    let address = bound.address;
    process.bound(bound.key, address);
    let listener = bound.into_listener();
    let handle = process.clone();
    process.spawn(Phase::Back, async move {
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let stop = handle.stopped(Phase::Back).clone();
        loop {
            let stream = tokio::select! {
                () = stop.cancelled() => return,
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(_) => {
                        tokio::time::sleep(Duration::from_millis(200)).await;
                        continue;
                    }
                },
            };
            let Ok(permit) = room.clone().try_acquire_owned() else { continue };
            let (process, metrics) = (handle.clone(), metrics.clone());
            handle.spawn(Phase::Back, async move {
                serve(stream, process, metrics).await;
                drop(permit);
            });
        }
    });
    address
}

async fn serve(stream: TcpStream, process: Process, metrics: Metrics) {
    let stop = process.stopped(Phase::Back).clone();
    let answer = service_fn(|request: Request<hyper::body::Incoming>| {
        let response = answer(&request, &process, &metrics);
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), answer);
    tokio::select! {
        outcome = connection => {
            if let Err(error) = outcome {
                tracing::debug!(%error, "an admin connection failed");
            }
        }
        () = stop.cancelled() => {}
    }
}

fn answer<B>(request: &Request<B>, process: &Process, metrics: &Metrics) -> Response<Full<Bytes>> {
    let text = "text/plain; charset=utf-8";
    let (status, kind, body) = match request.uri().path() {
        _ if !matches!(*request.method(), Method::GET | Method::HEAD) => {
            (StatusCode::METHOD_NOT_ALLOWED, text, "only GET and HEAD\n".to_owned())
        }
        "/livez" => (StatusCode::OK, text, "alive\n".to_owned()),
        "/readyz" if process.readiness().is_set() => (StatusCode::OK, text, "ready\n".to_owned()),
        "/readyz" => (StatusCode::SERVICE_UNAVAILABLE, text, "not ready\n".to_owned()),
        "/metrics" => (StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", metrics.render()),
        _ => (StatusCode::NOT_FOUND, text, "/livez, /readyz or /metrics\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static(kind));
    response
}
