//! What the service counts.

use std::{sync::Arc, time::Duration};

use opentelemetry::{
    KeyValue,
    metrics::{AsyncInstrument, Counter, Histogram},
};
use puro_api::Failure;
use puro_aws::{Gate, GateCounts};
use puro_serve::telemetry;

use crate::store::{Counts, Meter, RequestKind, Requests};

/// Publishes what a store is asked for, which on S3 is what it costs.
pub(crate) fn watch_store(store: Meter) {
    let meter = telemetry::meter();
    let requests = meter.u64_observable_counter("puro_blob_store_requests");
    let counts = store.clone();
    let callback = move |observer: &dyn AsyncInstrument<u64>| {
        let Counts { puts, gets, deletes, lists, .. } = counts.counts();
        for (verb, count) in [("put", puts), ("get", gets), ("delete", deletes), ("list", lists)] {
            observer.observe(count, &[KeyValue::new("verb", verb)]);
        }
    };
    // The meter's provider keeps the callback: the handle is not needed.
    requests.with_callback(callback).build();
    let bytes = meter.u64_observable_counter("puro_blob_store_bytes");
    let callback = move |observer: &dyn AsyncInstrument<u64>| {
        let Counts { put_bytes, get_bytes, .. } = store.counts();
        for (verb, count) in [("put", put_bytes), ("get", get_bytes)] {
            observer.observe(count, &[KeyValue::new("verb", verb)]);
        }
    };
    bytes.with_callback(callback).build();
}

/// Publishes each request to S3, as it is billed, and how its gate does.
pub(crate) fn watch_s3(requests: Requests, gate: Arc<Gate>) {
    let meter = telemetry::meter();
    let callback = move |observer: &dyn AsyncInstrument<u64>| {
        for kind in RequestKind::ALL {
            observer.observe(requests.of(kind), &[KeyValue::new("kind", kind.name())]);
        }
    };
    meter.u64_observable_counter("puro_blob_s3_requests").with_callback(callback).build();
    let refused = gate.clone();
    let callback = move |observer: &dyn AsyncInstrument<u64>| observer.observe(refused.counts().refused, &[]);
    meter.u64_observable_counter("puro_blob_s3_refused_calls").with_callback(callback).build();
    let callback = move |observer: &dyn AsyncInstrument<u64>| {
        let GateCounts { in_flight, waiting, is_down, .. } = gate.counts();
        for (state, count) in [("running", in_flight), ("waiting", waiting), ("down", u64::from(is_down))] {
            observer.observe(count, &[KeyValue::new("state", state)]);
        }
    };
    meter.u64_observable_gauge("puro_blob_s3_calls").with_callback(callback).build();
}

/// The instruments.
#[derive(Debug)]
pub(crate) struct Metrics {
    store_seconds: Histogram<f64>,
    stored_bytes: Counter<u64>,
    read_bytes: Counter<u64>,
    batch_messages: Histogram<u64>,
    failures: Counter<u64>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let meter = telemetry::meter();
        Self {
            store_seconds: telemetry::seconds("puro_blob_store_seconds"),
            stored_bytes: meter.u64_counter("puro_blob_stored_bytes").build(),
            read_bytes: meter.u64_counter("puro_blob_read_bytes").build(),
            batch_messages: meter
                .u64_histogram("puro_blob_batch_messages")
                .with_boundaries([1, 2, 4, 8, 16, 32, 64, 128, 256, 512].map(f64::from).to_vec())
                .build(),
            failures: meter.u64_counter("puro_blob_failures").build(),
        }
    }

    /// A message was stored.
    pub(crate) fn stored(&self, octets: u64, took: Duration) {
        self.store_seconds.record(took.as_secs_f64(), &[]);
        self.stored_bytes.add(octets, &[]);
    }

    /// A part of a message is being read.
    pub(crate) fn reading(&self, octets: u64) {
        self.read_bytes.add(octets, &[]);
    }

    /// So many messages share a segment.
    pub(crate) fn batch(&self, messages: usize) {
        self.batch_messages.record(messages as u64, &[]);
    }

    /// A call failed.
    pub(crate) fn failed(&self, call: &'static str, failure: &Failure) {
        let kind = match failure {
            Failure::NotFound(_) => "not_found",
            Failure::AlreadyExists(_) => "already_exists",
            Failure::FailedPrecondition(_) => "failed_precondition",
            Failure::Invalid(_) => "invalid",
            Failure::Unauthenticated(_) => "unauthenticated",
            Failure::TooLarge(_) => "too_large",
            Failure::Exhausted(_) => "exhausted",
            Failure::Unavailable(_) => "unavailable",
            Failure::OutcomeUnknown(_) => "outcome_unknown",
            Failure::DataLoss(_) => "data_loss",
            Failure::Internal(_) => "internal",
        };
        self.failures.add(1, &[KeyValue::new("call", call), KeyValue::new("kind", kind)]);
    }
}
