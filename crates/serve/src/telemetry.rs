//! Logs, traces and metrics.
//!
//! Logs go to standard error. Metrics are always kept for `/metrics`; with `OTEL_EXPORTER_OTLP_ENDPOINT` set, traces and
//! metrics are also sent there (OTLP over gRPC, without TLS: a collector in the same pod, host or network). Spans are
//! for traces alone: without a collector none is made, and a log line names what it is about in its own fields.

use std::{io::IsTerminal, sync::mpsc, thread, time::Duration};

use opentelemetry::{KeyValue, metrics::Meter, propagation::Extractor, trace::TracerProvider as _};
use opentelemetry_sdk::{
    Resource, metrics::SdkMeterProvider, propagation::TraceContextPropagator, trace::SdkTracerProvider,
};
use prometheus::{Encoder, TextEncoder};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{FilterExt, LevelFilter, filter_fn},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use crate::config::{Log, LogFormat, Service};

/// Telemetry could not be started.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `log.level` cannot be read.
    #[error("log.level")]
    Level(#[from] tracing_subscriber::filter::ParseError),
    /// The exporter of metrics or traces cannot be made.
    #[error("telemetry: {0}")]
    Exporter(String),
}

/// The meter of this process. Names of instruments: `puro_<service>_<noun>_<unit>`.
#[must_use]
pub fn meter() -> Meter {
    opentelemetry::global::meter("puro")
}

/// A histogram of seconds, from half a millisecond to a minute, named `puro_<service>_<noun>_seconds`.
#[must_use]
pub fn seconds(name: impl Into<std::borrow::Cow<'static, str>>) -> opentelemetry::metrics::Histogram<f64> {
    meter().f64_histogram(name).with_unit("s").with_boundaries(SECONDS.to_vec()).build()
}

const SECONDS: [f64; 15] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0];

/// The span of a request that carries a W3C `traceparent`; without one, nobody follows the request and it gets none.
pub(crate) fn request_span(request: &http::Request<()>) -> tracing::Span {
    if !request.headers().contains_key("traceparent") {
        return tracing::Span::none();
    }
    let span = tracing::info_span!("rpc", method = request.uri().path());
    if span.is_disabled() {
        return span;
    }
    let parent = opentelemetry::global::get_text_map_propagator(|propagator| {
        propagator.extract(&Headers(request.headers()))
    });
    if let Err(error) = span.set_parent(parent) {
        tracing::debug!(%error, "the span has no parent");
    }
    span
}

struct Headers<'a>(&'a http::HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

/// Renders the metrics.
#[derive(Debug, Clone, Default)]
pub struct Metrics(prometheus::Registry);

impl Metrics {
    /// The metrics in Prometheus' text format.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.0.gather(), &mut text) {
            tracing::warn!(%error, "metrics could not be written");
        }
        String::from_utf8(text).unwrap_or_default()
    }
}

/// Telemetry that runs.
#[derive(Debug)]
pub struct Telemetry {
    metrics: Metrics,
    meters: SdkMeterProvider,
    tracers: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// Starts telemetry for the process. Inside the runtime, since exporters connect with its help.
    ///
    /// # Errors
    /// The level cannot be read, or an exporter cannot be made.
    pub fn start(service: Service, log: &Log) -> Result<Self, TelemetryError> {
        let level = EnvFilter::try_new(&log.level)?;
        let resource = Resource::builder()
            .with_service_name(service.binary())
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let exporting =
            std::env::var_os("OTEL_EXPORTER_OTLP_ENDPOINT").is_some_and(|value| !value.is_empty());
        let metrics = Metrics::default();
        let meters = meter_provider(&metrics, resource.clone(), exporting)?;
        opentelemetry::global::set_meter_provider(meters.clone());
        opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
        let tracers = if exporting { Some(tracer_provider(resource)?) } else { None };
        let traces = tracers
            .as_ref()
            .map(|tracers| tracing_opentelemetry::layer().with_tracer(tracers.tracer("puro")));
        let layers = layers(log_layer(log.format), level, traces.map(Layer::boxed));
        // A process that has a subscriber already (a test) keeps it.
        let _ = Registry::default().with(layers).try_init();
        Ok(Self { metrics, meters, tracers })
    }

    /// What `/metrics` shows.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.metrics.clone()
    }

    /// Sends what is left. Not on a worker of the runtime, which has to go on turning meanwhile; ends after `within`.
    pub fn shutdown(self, within: Duration) {
        let (done, ended) = mpsc::channel();
        // Not joined: an exporter that hangs must not keep the process.
        drop(thread::spawn(move || {
            if let Some(Err(error)) = self.tracers.map(|tracers| tracers.shutdown()) {
                tracing::warn!(%error, "traces were not all sent");
            }
            if let Err(error) = self.meters.shutdown() {
                tracing::warn!(%error, "metrics were not all sent");
            }
            let _ = done.send(());
        }));
        let _ = ended.recv_timeout(within);
    }
}

/// Metrics of one test, apart from the process's.
#[cfg(test)]
pub(crate) fn for_tests() -> (Metrics, SdkMeterProvider) {
    let metrics = Metrics::default();
    let resource = Resource::builder_empty().with_service_name("puro-test").build();
    let meters = meter_provider(&metrics, resource, false).expect("no exporter, no error");
    (metrics, meters)
}

type BoxedLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// The log takes no spans, so that without `traces` a span's place in the code costs one look at a flag. How much is
/// logged says nothing about traces.
fn layers(log: BoxedLayer, level: EnvFilter, traces: Option<BoxedLayer>) -> Vec<BoxedLayer> {
    let log = log.with_filter(level.and(filter_fn(|metadata| metadata.is_event()))).boxed();
    let traces = traces.map(|traces| traces.with_filter(LevelFilter::INFO).boxed());
    traces.into_iter().chain([log]).collect()
}

fn log_layer(format: LogFormat) -> BoxedLayer {
    let terminal = std::io::stderr().is_terminal();
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(terminal);
    match format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Auto if terminal => layer.boxed(),
        LogFormat::Auto | LogFormat::Json => {
            layer.with_ansi(false).json().flatten_event(true).with_span_list(false).boxed()
        }
    }
}

fn meter_provider(
    metrics: &Metrics,
    resource: Resource,
    exporting: bool,
) -> Result<SdkMeterProvider, TelemetryError> {
    let reader = opentelemetry_prometheus::exporter()
        .with_registry(metrics.0.clone())
        .without_units()
        // One meter a process: a label that is always the same tells nothing.
        .scope_info_enabled(false)
        .build()
        .map_err(|error| TelemetryError::Exporter(error.to_string()))?;
    let builder = SdkMeterProvider::builder().with_resource(resource).with_reader(reader);
    if !exporting {
        return Ok(builder.build());
    }
    let exporter = opentelemetry_otlp::MetricExporter::builder()
        .with_tonic()
        .build()
        .map_err(|error| TelemetryError::Exporter(error.to_string()))?;
    Ok(builder.with_periodic_exporter(exporter).build())
}

fn tracer_provider(resource: Resource) -> Result<SdkTracerProvider, TelemetryError> {
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .build()
        .map_err(|error| TelemetryError::Exporter(error.to_string()))?;
    Ok(SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build())
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TraceContextExt as _;

    use super::*;

    /// Which of two spans would be made.
    fn spans(level: &str, traces: Option<BoxedLayer>) -> [bool; 2] {
        let log = tracing_subscriber::fmt::layer().with_writer(std::io::sink).boxed();
        let layers = layers(log, EnvFilter::new(level), traces);
        let _default = Registry::default().with(layers).set_default();
        [tracing::info_span!("retrieve"), tracing::debug_span!("detail")].map(|span| !span.is_disabled())
    }

    #[test]
    fn spans_are_made_for_a_collector_and_for_nothing_else() {
        let tracers = SdkTracerProvider::builder().build();
        let traces = || Some(tracing_opentelemetry::layer().with_tracer(tracers.tracer("test")).boxed());
        assert_eq!(spans("trace", None), [false, false]);
        assert_eq!(spans("info", traces()), [true, false]);
        assert_eq!(spans("off", traces()), [true, false], "the log's level is the log's");
    }

    #[test]
    fn the_log_goes_by_its_level() {
        let layers = layers(log_layer(LogFormat::Json), EnvFilter::new("warn,loud=debug"), None);
        let _default = Registry::default().with(layers).set_default();
        assert!(tracing::event_enabled!(tracing::Level::WARN));
        assert!(!tracing::event_enabled!(tracing::Level::INFO));
        assert!(tracing::event_enabled!(target: "loud", tracing::Level::DEBUG));
    }

    #[test]
    fn a_request_goes_on_in_the_trace_of_its_caller() {
        opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
        let tracers = SdkTracerProvider::builder().build();
        let layer = tracing_opentelemetry::layer().with_tracer(tracers.tracer("test"));
        let _default = Registry::default().with(layer).set_default();
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        let header = format!("00-{id}-00f067aa0ba902b7-01");
        let request = http::Request::builder().uri("/a.B/C").header("traceparent", header).body(()).unwrap();
        let span = request_span(&request);
        assert_eq!(span.context().span().span_context().trace_id().to_string(), id);
        let alone = http::Request::builder().uri("/a.B/C").body(()).unwrap();
        assert!(request_span(&alone).is_none());
    }
}
