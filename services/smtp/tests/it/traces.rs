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

const MAIL_FROM_ME: &str = "AUTH PLAIN AG1lAHNlY3JldA==\r\nMAIL FROM:<me@local.example>\r\n";
const TO_TWO: &str = "RCPT TO:<user-a@local.example>\r\nRCPT TO:<user-b@local.example>\r\n";
const MESSAGE: &str = "DATA\r\nA: 1\r\n\r\n.\r\n";

#[tokio::test]
async fn a_transaction_is_one_trace_from_its_first_question_to_the_delivery() {
    let _guard = traced();
    let services = Services::default();
    let front = Front::new(&services);
    let other = "MAIL FROM:<>\r\nRCPT TO:<user-c@local.example>\r\n";
    front
        .dialogue(&format!("MAIL FROM:<>\r\n{TO_TWO}{MESSAGE}{other}RSET\r\n{other}{MESSAGE}QUIT\r\n"))
        .await;
    let first = ["resolve", "resolve", "store", "deliver"].map(|method| (method, Some(0)));
    let reset = [("resolve", Some(1))];
    let last = ["resolve", "store", "deliver"].map(|method| (method, Some(2)));
    assert_eq!(calls(&services), [&first[..], &reset, &last].concat());
}

#[tokio::test]
async fn a_login_is_a_trace_and_a_submission_another() {
    let _guard = traced();
    let services = Services::default();
    let front = Front::new(&services);
    front.dialogue(&format!("{MAIL_FROM_ME}{TO_TWO}{MESSAGE}QUIT\r\n")).await;
    let submission =
        ["check_sender", "resolve", "resolve", "store", "deliver"].map(|method| (method, Some(1)));
    assert_eq!(calls(&services), [&[("authenticate", Some(0))], &submission[..]].concat());
}

#[tokio::test]
async fn without_a_collector_nothing_is_traced() {
    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    let services = Services::default();
    Front::new(&services).send(&["user-a@local.example"], "A: 1\r\n").await;
    let untraced = ["resolve", "store", "deliver"].map(|method| (method, None));
    assert_eq!(calls(&services), untraced);
}
