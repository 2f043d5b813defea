//! Traces across services: W3C `traceparent` in gRPC metadata, by whatever propagator the process has installed.
//! Reading it is the affair of who serves.

use opentelemetry::{global, propagation::Injector};
use tonic::metadata::{MetadataKey, MetadataMap, MetadataValue};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Writes the current span's context into a request. Without a span or a propagator this does nothing.
pub(crate) fn inject(metadata: &mut MetadataMap) {
    let span = Span::current();
    if span.is_disabled() {
        return;
    }
    let context = span.context();
    global::get_text_map_propagator(|propagator| propagator.inject_context(&context, &mut Writer(metadata)));
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

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{TraceContextExt, TracerProvider};
    use opentelemetry_sdk::{propagation::TraceContextPropagator, trace::SdkTracerProvider};
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn a_request_names_the_trace_that_it_is_part_of() {
        global::set_text_map_propagator(TraceContextPropagator::new());
        let tracer = SdkTracerProvider::builder().build().tracer("test");
        let subscriber =
            tracing_subscriber::registry().with(tracing_opentelemetry::layer().with_tracer(tracer));
        tracing::subscriber::with_default(subscriber, || {
            let caller = tracing::info_span!("caller");
            let trace = caller.context().span().span_context().trace_id();
            let mut metadata = MetadataMap::new();
            caller.in_scope(|| inject(&mut metadata));
            let header = metadata.get("traceparent").unwrap().to_str().unwrap();
            assert!(header.contains(&trace.to_string()), "{header}");
        });
    }
}
