//! What is traced.

use std::sync::{Arc, Mutex};

use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::{propagation::TraceContextPropagator, trace::SdkTracerProvider};
use tonic::Request;
use tracing::{
    Subscriber,
    span::{Attributes, Id},
    subscriber::DefaultGuard,
};
use tracing_subscriber::{
    Layer,
    filter::LevelFilter,
    layer::{Context, SubscriberExt},
    registry::LookupSpan,
};

/// Traces everything on this thread, as a process with a collector does, until it is dropped.
#[derive(Debug)]
pub struct Traces {
    open: Open,
    _guard: DefaultGuard,
}

impl Traces {
    /// Begins to trace.
    #[must_use]
    pub fn begin() -> Self {
        Self::without_collector();
        let tracer = SdkTracerProvider::builder().build().tracer("test");
        let exported = tracing_opentelemetry::layer().with_tracer(tracer).with_filter(LevelFilter::INFO);
        let open = Open::default();
        let subscriber = tracing_subscriber::registry().with(exported).with(open.clone());
        Self { open, _guard: tracing::subscriber::set_default(subscriber) }
    }

    /// What a process without a collector does: traces are passed on, and none is begun.
    pub fn without_collector() {
        opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    }

    /// Says how many spans of this name have begun and not ended.
    pub fn open(&self, name: &str) -> usize {
        self.open.0.lock().unwrap().iter().filter(|open| **open == name).count()
    }
}

/// The names of the spans that are open.
#[derive(Debug, Clone, Default)]
struct Open(Arc<Mutex<Vec<&'static str>>>);

impl<S> Layer<S> for Open
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        self.0.lock().unwrap().push(attributes.metadata().name());
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let name = context.span(&id).expect("it closes").name();
        let mut open = self.0.lock().unwrap();
        let at = open.iter().position(|open| *open == name).expect("it was open");
        open.swap_remove(at);
    }
}

/// The trace that a call says it is part of.
pub(crate) fn traceparent<T>(request: &Request<T>) -> Option<String> {
    request.metadata().get("traceparent").map(|value| value.to_str().unwrap().to_owned())
}
