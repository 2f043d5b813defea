//! Which trace each call to a back end is part of.

use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::{propagation::TraceContextPropagator, trace::SdkTracerProvider};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::{Layer, layer::SubscriberExt};

use crate::{backends::Services, client::Front};

/// Traces everything on this thread, as a process with a collector does.
fn traced() -> DefaultGuard {
    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    let tracer = SdkTracerProvider::builder().build().tracer("test");
    let layer = tracing_opentelemetry::layer().with_tracer(tracer);
    let layers = layer.with_filter(tracing_subscriber::filter::LevelFilter::INFO);
    tracing::subscriber::set_default(tracing_subscriber::registry().with(layers))
}

/// The calls in order, each with the number of its trace, counted as they appear; `None`: it has no trace.
fn calls(services: &Services) -> Vec<(&'static str, Option<usize>)> {
    let mut known = Vec::new();
    let mut number = |header: &String| {
        // version-trace-span-flags
        let trace = header.split('-').nth(1).unwrap().to_owned();
        known.iter().position(|one| *one == trace).unwrap_or_else(|| {
            known.push(trace);
            known.len() - 1
        })
    };
    let traces = services.state().traces.clone();
    traces.iter().map(|(method, header)| (*method, header.as_ref().map(&mut number))).collect()
}

#[tokio::test]
async fn a_login_a_retrieval_and_a_removal_are_a_trace_each() {
    let _guard = traced();
    let services = Services::with(&["a: 1\r\n\r\ntext\r\n", "b\r\n\r\n"]);
    Front::new(&services).logged_in("RETR 1\r\nTOP 2 0\r\nDELE 2\r\nQUIT\r\n").await;
    let expected = [("authenticate", 0), ("list", 0), ("read", 1), ("read", 2), ("remove", 3)]
        .map(|(method, trace)| (method, Some(trace)));
    assert_eq!(calls(&services), expected);
}

#[tokio::test]
async fn what_became_of_a_message_is_asked_in_its_trace() {
    let _guard = traced();
    let services = Services::with(&["a: 1\r\n\r\nmore than sixteen octets of text\r\n"]);
    services.state().breaks = Some((20, puro_api::Failure::DataLoss("torn".to_owned())));
    Front::new(&services).logged_in("RETR 1\r\nQUIT\r\n").await;
    let expected = [("authenticate", Some(0)), ("list", Some(0)), ("read", Some(1)), ("list", Some(1))];
    assert_eq!(calls(&services), expected);
}

#[tokio::test]
async fn without_a_collector_nothing_is_traced() {
    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    let services = Services::with(&["a\r\n\r\n"]);
    Front::new(&services).logged_in("RETR 1\r\nQUIT\r\n").await;
    assert_eq!(calls(&services), [("authenticate", None), ("list", None), ("read", None)]);
}
