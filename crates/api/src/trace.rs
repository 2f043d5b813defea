//! Traces across services: W3C `traceparent` in gRPC metadata, by whatever propagator the process has installed.

use opentelemetry::{
    Context, global,
    propagation::{Extractor, Injector},
};
use tonic::metadata::{MetadataKey, MetadataMap, MetadataValue};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Writes the current span's context into a request. Without a propagator this does nothing.
pub(crate) fn inject(metadata: &mut MetadataMap) {
    let context = Span::current().context();
    global::get_text_map_propagator(|propagator| propagator.inject_context(&context, &mut Writer(metadata)));
}

/// Returns the span of an incoming gRPC call as a child of the caller's. For tonic's `Server::trace_fn`.
pub fn server_span(request: &http::Request<()>) -> Span {
    let span = tracing::info_span!("grpc", method = request.uri().path());
    if !span.is_disabled() {
        let context = extract(request.headers());
        // The parent can be set only where OpenTelemetry listens; elsewhere there is nothing to follow.
        let _ = span.set_parent(context);
    }
    span
}

/// Reads the caller's context from the headers of a call.
pub fn extract(headers: &http::HeaderMap) -> Context {
    global::get_text_map_propagator(|propagator| propagator.extract(&Reader(headers)))
}

struct Writer<'a>(&'a mut MetadataMap);

impl Injector for Writer<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(key), Ok(value)) =
            (MetadataKey::from_bytes(key.as_bytes()), MetadataValue::try_from(&value))
        {
            self.0.insert(key, value);
        }
    }
}

struct Reader<'a>(&'a http::HeaderMap);

impl Extractor for Reader<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{TraceContextExt, TracerProvider};
    use opentelemetry_sdk::{propagation::TraceContextPropagator, trace::SdkTracerProvider};
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn a_trace_goes_on_at_the_other_side() {
        global::set_text_map_propagator(TraceContextPropagator::new());
        let tracer = SdkTracerProvider::builder().build().tracer("test");
        let subscriber =
            tracing_subscriber::registry().with(tracing_opentelemetry::layer().with_tracer(tracer));
        tracing::subscriber::with_default(subscriber, || {
            let caller = tracing::info_span!("caller");
            let trace = caller.context().span().span_context().trace_id();
            let mut metadata = MetadataMap::new();
            caller.in_scope(|| inject(&mut metadata));
            let mut request = http::Request::new(());
            *request.headers_mut() = metadata.into_headers();
            assert_eq!(extract(request.headers()).span().span_context().trace_id(), trace);
            let span = server_span(&request);
            assert_eq!(span.context().span().span_context().trace_id(), trace);
        });
    }
}
