//! What a bill assumes besides prices, profiles and recorded units.

use serde::Deserialize;

use super::{file, usage::GB};
use crate::exit::Fault;

const BUILT_IN: &str = include_str!("../../../data/cost/assumptions.toml");

/// The file of assumptions; each field is explained there.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Assumed {
    pub(super) cpu: Cpu,
    pub(super) hosts: Hosts,
    pub(super) balancer: Balancer,
    pub(super) cloudwatch: CloudWatch,
    pub(super) dynamodb: DynamoDb,
    pub(super) relay: Relay,
    pub(super) s3: S3,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cpu {
    pub(super) date: String,
    delivery_4096_ms: f64,
    delivery_500000_ms: f64,
    pub(super) poll_ms: f64,
    retrieval_4096_ms: f64,
    pub(super) password_ms: f64,
    pub(super) handshake_ms: f64,
    pub(super) aws_call_ms: f64,
}

impl Cpu {
    /// Returns the milliseconds of a delivery of so many octets.
    pub(super) fn delivery_ms(&self, bytes: f64) -> f64 {
        self.delivery_4096_ms + self.octet_ms() * (bytes - 4_096.0).max(0.0)
    }

    /// Returns the milliseconds of a retrieval of so many octets.
    pub(super) fn retrieval_ms(&self, bytes: f64) -> f64 {
        self.retrieval_4096_ms + self.octet_ms() * (bytes - 4_096.0).max(0.0)
    }

    fn octet_ms(&self) -> f64 {
        (self.delivery_500000_ms - self.delivery_4096_ms) / (500_000.0 - 4_096.0)
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Hosts {
    pub(super) least: f64,
    pub(super) zones: f64,
    pub(super) volume_gb: f64,
    services_gb: f64,
    listed_message_bytes: f64,
    pub(super) use_at_peak: f64,
    pub(super) kinds: Vec<HostKind>,
}

impl Hosts {
    /// Returns the messages whose listings a host has room for.
    pub(super) fn listed_messages(&self, kind: &HostKind) -> f64 {
        (kind.memory_gb - self.services_gb).max(0.0) * GB / self.listed_message_bytes
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HostKind {
    pub(super) name: String,
    pub(super) memory_gb: f64,
    pub(super) vcpus: f64,
    pub(super) baseline: f64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Balancer {
    pub(super) new_connections_per_second: f64,
    pub(super) active_connections: f64,
    pub(super) gigabytes: f64,
    pub(super) connection_seconds: f64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CloudWatch {
    pub(super) metrics: f64,
    pub(super) alarms: f64,
    pub(super) log_gb: f64,
    pub(super) info_line_bytes: f64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DynamoDb {
    pub(super) user_bytes: f64,
    pub(super) item_overhead_bytes: f64,
    pub(super) tombstone_days: f64,
    pub(super) provisioned_use: f64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Relay {
    pub(super) write_units: f64,
    pub(super) read_units: f64,
    pub(super) gets: f64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct S3 {
    pub(super) part_bytes: f64,
}

impl Assumed {
    /// Reads the built-in file.
    ///
    /// # Errors
    /// None that a test would not have seen.
    pub(super) fn read() -> Result<Self, Fault> {
        file::parse(BUILT_IN, "the built-in assumptions")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_sound_and_its_figures_are_met() {
        let assumed = Assumed::read().unwrap();
        let near = |is: f64, expected: f64| assert!((is - expected).abs() < 1e-9, "{is} {expected}");
        near(assumed.cpu.delivery_ms(4_096.0), 0.39);
        near(assumed.cpu.delivery_ms(500_000.0), 3.20);
        near(assumed.cpu.delivery_ms(100.0), 0.39);
        near(assumed.cpu.retrieval_ms(4_096.0), 0.11);
        assert!(!assumed.hosts.kinds.is_empty());
    }
}
