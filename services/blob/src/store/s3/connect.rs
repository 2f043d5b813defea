//! The client of a bucket: the SDK's chain, deadlines that fit segments, and what S3-compatible stores need.

use std::time::Duration;

use aws_sdk_s3::{
    Client,
    config::{
        Builder, RequestChecksumCalculation, ResponseChecksumValidation, StalledStreamProtectionConfig,
        retry::RetryPartition,
    },
};
use puro_aws::{BreakerLimits, Deadlines, GateLimits, Source};

use super::requests::Requests;
use crate::setup::SetupError;

/// Where a bucket is, and how much of this process may be busy with it.
#[derive(Debug, Clone)]
pub struct S3Config {
    /// The bucket.
    pub bucket: String,
    /// Whether its name goes into the path, not into the host's name.
    pub path_style: bool,
    /// The KMS key that a new bucket encrypts with; empty: S3's own keys.
    pub kms_key_id: String,
    /// Where region, endpoint and credentials come from.
    pub source: Source,
    /// Octets of a part of a large segment, and of the largest segment that is put whole. At least 5 MiB, unless it is
    /// the last (Amazon S3 User Guide, "Amazon S3 multipart upload limits").
    pub part_bytes: usize,
    /// Parts in memory, of all large segments together.
    pub parts_in_memory: usize,
    /// Bodies on their way at one time, each on a connection.
    pub readers: usize,
    /// How long a reader may take nothing before its connection is given up; for the rest there will be another one.
    pub slow_reader: Duration,
    /// How long a segment waits for memory, or a read for its turn.
    pub patience: Duration,
    /// How long a request may take.
    pub deadlines: Deadlines,
    /// How many requests may run and wait, and when S3 counts as down.
    pub gate: GateLimits,
}

impl Default for S3Config {
    fn default() -> Self {
        Self {
            bucket: String::new(),
            path_style: false,
            kms_key_id: String::new(),
            source: Source::Chain,
            part_bytes: 8_000_000,
            parts_in_memory: 32,
            readers: 512,
            slow_reader: Duration::from_secs(5),
            patience: Duration::from_secs(15),
            // A part of 8 MB in an attempt, and all attempts within half of what a client waits for its answer.
            deadlines: Deadlines {
                connect: Duration::from_secs(3),
                attempt: Some(Duration::from_secs(12)),
                operation: Some(Duration::from_secs(25)),
                attempts: 3,
            },
            gate: GateLimits {
                in_flight: 128,
                waiting: 1024,
                patience: Duration::from_secs(5),
                slow: Duration::from_secs(10),
                breaker: BreakerLimits::default(),
            },
        }
    }
}

/// A client and what belongs to it.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    pub(super) client: Client,
    pub(super) region: String,
    pub(super) requests: Requests,
}

/// Makes the client. Nothing is sent yet.
pub(super) async fn connect(config: &S3Config) -> Result<Connection, SetupError> {
    if config.bucket.is_empty() {
        return Err(SetupError::Settings("s3.bucket: the name of a bucket is wanted".to_owned()));
    }
    let shared = puro_aws::load(&config.source, config.deadlines).await;
    let shared = shared.map_err(|error| SetupError::Settings(error.to_string()))?;
    let region = shared.region().map(ToString::to_string).unwrap_or_default();
    let requests = Requests::default();
    let client = Builder::from(&shared)
        .force_path_style(config.path_style)
        // Every write has a checksum that we made; the SDK's own would be in a form that other stores refuse. Reads are
        // checked frame by frame.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        // Reads have a limit of their own, which knows a slow reader from a slow store.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        // The SDK repeats less where repeats did not help lately; what is known of one bucket says nothing of another.
        .retry_partition(RetryPartition::new(config.bucket.clone()))
        .interceptor(requests.clone())
        .build();
    Ok(Connection { client: Client::from_conf(client), region, requests })
}
