//! What was measured: counted by each connection, added up, and printed as JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::process::ServerUse;
use crate::wire::Failure;

/// Latency above this is counted as this.
const LONGEST_MICROS: u64 = 3_600_000_000;

/// What one connection counts.
#[derive(Debug)]
pub struct Tally {
    /// Pieces of work that succeeded: messages delivered, retrieved, or polls.
    pub done: u64,
    /// Octets of the messages in them.
    pub octets: u64,
    /// Failures by kind.
    pub errors: BTreeMap<String, u64>,
    /// What was wrong with messages that came back.
    pub integrity: Integrity,
    /// Connections opened.
    pub connections: u64,
    latency: Histogram<u64>,
}

/// Messages which are not as they should be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Integrity {
    /// Acknowledged, and not there.
    pub lost: u64,
    /// There more than once in one maildrop.
    pub duplicated: u64,
    /// There with another body.
    pub corrupted: u64,
    /// Not ours: without a tag.
    pub foreign: u64,
}

/// Latency in milliseconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Latency {
    pub mean: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

/// The result of one run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// Which kind of run.
    pub scenario: String,
    /// How long it took, up to the last message being there.
    pub seconds: f64,
    /// Pieces of work that succeeded.
    pub done: u64,
    /// The same a second.
    pub per_second: f64,
    /// Octets of messages a second.
    pub octets_per_second: f64,
    /// Connections opened.
    pub connections: u64,
    /// From due time (open loop) or start (closed loop) to the end of each piece.
    pub latency_ms: Latency,
    /// Failures by kind.
    pub errors: BTreeMap<String, u64>,
    /// Messages which are not as they should be.
    pub integrity: Integrity,
    /// What the server's processes used, where they were named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerUse>,
}

impl Default for Tally {
    fn default() -> Self {
        Self::new()
    }
}

impl Tally {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            done: 0,
            octets: 0,
            errors: BTreeMap::new(),
            integrity: Integrity::default(),
            connections: 0,
            // Three digits, and it grows as far as it must: creation with these cannot fail.
            latency: Histogram::new(3).unwrap_or_else(|_| unreachable!("three digits are allowed")),
        }
    }

    /// Counts a success that took `latency`.
    pub fn success(&mut self, latency: Duration, octets: usize) {
        self.done += 1;
        self.octets += octets as u64;
        // The histogram grows with what it is given; more than an hour is not told apart.
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).clamp(1, LONGEST_MICROS);
        let _ = self.latency.record(micros);
    }

    /// Counts a failure.
    pub fn failure(&mut self, failure: &Failure) {
        *self.errors.entry(failure.kind()).or_default() += 1;
    }

    /// Adds what another connection counted.
    pub fn add(&mut self, other: &Self) {
        self.done += other.done;
        self.octets += other.octets;
        self.connections += other.connections;
        for (kind, count) in &other.errors {
            *self.errors.entry(kind.clone()).or_default() += count;
        }
        self.integrity.lost += other.integrity.lost;
        self.integrity.duplicated += other.integrity.duplicated;
        self.integrity.corrupted += other.integrity.corrupted;
        self.integrity.foreign += other.integrity.foreign;
        // Auto-resize is on: adding cannot fail.
        let _ = self.latency.add(&other.latency);
    }

    /// Makes the report of a run that took `time`.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a report needs no more than 2^53")]
    pub fn report(&self, scenario: &str, time: Duration) -> Report {
        let seconds = time.as_secs_f64().max(1e-6);
        let at = |quantile: f64| self.latency.value_at_quantile(quantile) as f64 / 1000.0;
        Report {
            scenario: scenario.to_owned(),
            seconds,
            done: self.done,
            per_second: self.done as f64 / seconds,
            octets_per_second: self.octets as f64 / seconds,
            connections: self.connections,
            latency_ms: Latency {
                mean: self.latency.mean() / 1000.0,
                p50: at(0.5),
                p90: at(0.9),
                p99: at(0.99),
                p999: at(0.999),
                max: self.latency.max() as f64 / 1000.0,
            },
            errors: self.errors.clone(),
            integrity: self.integrity.clone(),
            server: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latency_is_told_in_milliseconds_and_sums_over_connections() {
        let (mut one, mut other) = (Tally::new(), Tally::new());
        one.success(Duration::from_millis(20), 10);
        other.success(Duration::from_secs(4), 30);
        one.add(&other);
        let report = one.report("test", Duration::from_secs(2));
        assert!((report.latency_ms.p50 - 20.0).abs() < 0.1, "{}", report.latency_ms.p50);
        assert!((report.latency_ms.max - 4000.0).abs() < 10.0, "{}", report.latency_ms.max);
        assert!((report.per_second - 1.0).abs() < 1e-9 && (report.octets_per_second - 20.0).abs() < 1e-9);
    }
}
