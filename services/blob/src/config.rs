//! Settings of the service's core.

use std::time::Duration;

/// How messages are gathered and stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobConfig {
    /// Octets of the largest message.
    pub max_message_bytes: u64,
    /// Octets up to which a message is gathered in memory and shares a segment with others; a larger one is streamed
    /// into a segment of its own.
    pub shared_max_bytes: usize,
    /// Stored octets at which a batch closes; at most 8 MB, see [`crate::store::SegmentStore::put`].
    pub batch_bytes: usize,
    /// How long a message waits for others to share its write with; at most a second.
    pub linger: Duration,
    /// Writes of batches at the same time, at most. While one is under way, the next batch gathers.
    pub parallel_puts: usize,
    /// How long a batch gathers while the one before is being written; then it is written beside it, so that one slow
    /// write does not hold up all senders. What a quick one takes is less, or batches would be small.
    pub put_patience: Duration,
    /// Octets of all messages that are gathered or wait for their write. When they are used up, senders wait.
    pub memory_bytes: u32,
    /// How long a half-gathered message waits for memory before it is streamed instead: half-gathered messages of slow
    /// senders must not keep one another from ever being whole.
    pub memory_patience: Duration,
    /// Messages streamed at the same time, a few megabytes of memory each; further senders wait.
    pub max_streams: usize,
    /// The level of compression: 1 fast to 19 small.
    pub zstd_level: i32,
}

impl Default for BlobConfig {
    fn default() -> Self {
        Self {
            max_message_bytes: 100_000_000,
            shared_max_bytes: 1_000_000,
            batch_bytes: 8_000_000,
            linger: Duration::ZERO,
            parallel_puts: 1,
            put_patience: Duration::ZERO,
            memory_bytes: 64 << 20,
            memory_patience: Duration::from_secs(1),
            max_streams: 64,
            zstd_level: 1,
        }
    }
}
