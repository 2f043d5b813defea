//! What the service publishes, besides its requests: logins, request units by table, jobs that are due.

use std::sync::Arc;

use opentelemetry::{
    KeyValue,
    metrics::{AsyncInstrument, Gauge},
};
use puro_serve::telemetry;

use crate::{passwords, store::counted::UnitCounts};

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

/// Returns the gauge of the jobs that the worker saw due in its last round over the queue.
pub(crate) fn due_jobs() -> Gauge<u64> {
    telemetry::meter().u64_gauge("puro_metadata_due_jobs").build()
}
