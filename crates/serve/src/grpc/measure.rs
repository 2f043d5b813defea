//! Counts and times requests: `puro_<service>_requests` and `puro_<service>_request_seconds`, by method and outcome.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use http::{HeaderMap, Request, Response};
use opentelemetry::{
    KeyValue,
    metrics::{Counter, Histogram},
};
use tonic::Code;
use tower::{Layer, Service};

use crate::telemetry;

/// Puts the counting in front of all methods of a server.
#[derive(Debug, Clone)]
pub(super) struct Measure(Arc<Metrics>);

#[derive(Debug)]
struct Metrics {
    requests: Counter<u64>,
    seconds: Histogram<f64>,
}

impl Measure {
    /// Makes the metrics of a service such as `metadata`.
    pub(super) fn new(service: &str) -> Self {
        Self(Arc::new(Metrics {
            requests: telemetry::meter().u64_counter(format!("puro_{service}_requests")).build(),
            seconds: telemetry::seconds(format!("puro_{service}_request_seconds")),
        }))
    }
}

impl<S> Layer<S> for Measure {
    type Service = Measured<S>;

    fn layer(&self, inner: S) -> Measured<S> {
        Measured { inner, metrics: self.0.clone() }
    }
}

/// A service whose requests are counted. The time is the one to the head of the answer: for a stream, to its first
/// octets.
#[derive(Debug, Clone)]
pub(super) struct Measured<S> {
    inner: S,
    metrics: Arc<Metrics>,
}

impl<S, A, B> Service<Request<A>> for Measured<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<B>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let began = Instant::now();
        let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
        let metrics = self.metrics.clone();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            let outcome = answer.as_ref().map_or(Code::Internal, |answer| code(answer.headers()));
            let labels = labels(method, outcome);
            metrics.seconds.record(began.elapsed().as_secs_f64(), &labels[..1]);
            metrics.requests.add(1, &labels);
            answer
        })
    }
}

/// Method and outcome. A method that does not exist has a name of the client's choosing: no label of ours.
fn labels(method: String, outcome: Code) -> [KeyValue; 2] {
    let method = if outcome == Code::Unimplemented { "unknown".to_owned() } else { method };
    [KeyValue::new("method", method), KeyValue::new("outcome", name(outcome))]
}

/// An error before any message stands in the head of the answer; without one there, things go well so far.
fn code(headers: &HeaderMap) -> Code {
    headers.get("grpc-status").map_or(Code::Ok, |status| Code::from_bytes(status.as_bytes()))
}

/// The code's name in gRPC.
const fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forged_method_is_no_label() {
        let of = |status: &'static str| {
            let headers = HeaderMap::from_iter([(
                http::HeaderName::from_static("grpc-status"),
                http::HeaderValue::from_static(status),
            )]);
            labels("Forged".to_owned(), code(&headers)).map(|label| label.value.to_string())
        };
        assert_eq!(of("12"), ["unknown", "UNIMPLEMENTED"]);
        assert_eq!(of("5"), ["Forged", "NOT_FOUND"]);
        assert_eq!(code(&HeaderMap::new()), Code::Ok);
    }
}
