//! What the service publishes, besides its requests: logins, request units by table, jobs that are due.

use std::sync::Arc;

use opentelemetry::{
    KeyValue,
    metrics::{AsyncInstrument, Gauge},
};
use puro_aws::{Gate, GateCounts};
use puro_serve::telemetry;

use crate::{
    passwords,
    store::{Table, counted::UnitCounts, dynamodb::Consumed, metered::Verb},
};

/// Publishes what logins cost, and how many were turned away after too many failures.
pub(crate) fn watch_logins(counts: &Arc<passwords::Counts>) {
    let meter = telemetry::meter();
    // The meter's provider keeps the callbacks: the handles are not needed.
    let seen = Arc::clone(counts);
    meter
        .u64_observable_counter("puro_metadata_password_hashes")
        .with_callback(move |observer| observer.observe(seen.computed(), &[]))
        .build();
    let seen = Arc::clone(counts);
    meter
        .u64_observable_counter("puro_metadata_logins_throttled")
        .with_callback(move |observer| observer.observe(seen.throttled(), &[]))
        .build();
}

/// Publishes the request units that the tables use, which on DynamoDB is what they cost.
pub(crate) fn watch_units(counts: &UnitCounts) {
    let meter = telemetry::meter();
    let label = |table: crate::store::Table| [KeyValue::new("table", table.name())];
    let seen = counts.clone();
    let callback = move |observer: &dyn AsyncInstrument<f64>| {
        for (table, read_halves, _) in seen.iter() {
            // Exact up to 2^53 halves.
            #[allow(clippy::cast_precision_loss)]
            observer.observe(read_halves as f64 / 2.0, &label(table));
        }
    };
    meter.f64_observable_counter("puro_metadata_read_units").with_callback(callback).build();
    let seen = counts.clone();
    let callback = move |observer: &dyn AsyncInstrument<u64>| {
        for (table, _, writes) in seen.iter() {
            observer.observe(writes, &label(table));
        }
    };
    meter.u64_observable_counter("puro_metadata_write_units").with_callback(callback).build();
}

/// Publishes what DynamoDB itself says that calls cost, by table and verb, and what the gate in front of it sees.
pub(crate) fn watch_dynamodb(consumed: Consumed, gate: Arc<Gate>) {
    let meter = telemetry::meter();
    let label = |table: Table, verb: Verb| {
        [KeyValue::new("table", table.name()), KeyValue::new("verb", format!("{verb:?}").to_lowercase())]
    };
    let seen = consumed.clone();
    let callback = move |observer: &dyn AsyncInstrument<f64>| {
        for (table, verb, units) in seen.units().iter().filter(|(_, verb, _)| !verb.is_write()) {
            observer.observe(units.reads(), &label(table, verb));
        }
    };
    meter.f64_observable_counter("puro_metadata_dynamodb_read_units").with_callback(callback).build();
    let callback = move |observer: &dyn AsyncInstrument<u64>| {
        for (table, verb, units) in consumed.units().iter().filter(|(_, verb, _)| verb.is_write()) {
            observer.observe(units.writes, &label(table, verb));
        }
    };
    meter.u64_observable_counter("puro_metadata_dynamodb_write_units").with_callback(callback).build();
    let gauge = |name: &'static str, value: fn(GateCounts) -> u64| {
        let gate = Arc::clone(&gate);
        let callback = move |observer: &dyn AsyncInstrument<u64>| observer.observe(value(gate.counts()), &[]);
        meter.u64_observable_gauge(name).with_callback(callback).build();
    };
    gauge("puro_metadata_dynamodb_requests_in_flight", |counts| counts.in_flight);
    gauge("puro_metadata_dynamodb_requests_waiting", |counts| counts.waiting);
    gauge("puro_metadata_dynamodb_is_down", |counts| counts.is_down.into());
    let callback = move |observer: &dyn AsyncInstrument<u64>| observer.observe(gate.counts().refused, &[]);
    meter.u64_observable_counter("puro_metadata_dynamodb_requests_refused").with_callback(callback).build();
}

/// Returns the gauge of the jobs that the worker saw due in its last round over the queue.
pub(crate) fn due_jobs() -> Gauge<u64> {
    telemetry::meter().u64_gauge("puro_metadata_due_jobs").build()
}
