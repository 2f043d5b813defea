//! What the code spends: units of a recorded run of the real mail logic on metered stores.
//!
//! `cargo xtask cost-record` writes the file anew, and a test says when it must be. Rates between the recorded ones are
//! taken on a straight line; beyond the last one, as the last one.

use serde::{Deserialize, Serialize};

use crate::exit::Fault;

/// The recorded run.
pub(super) const RECORDED: &str = include_str!("../../../data/cost/recorded.json");

/// What one operation uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Units {
    /// DynamoDB's write request units.
    pub(super) writes: f64,
    /// DynamoDB's read request units.
    pub(super) reads: f64,
}

/// The operations of the mail logic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Operations {
    /// A password checked, on submission.
    pub(super) login: Units,
    /// A message to one mailbox: recipient, item, folder.
    pub(super) deliver: Units,
    /// Each further mailbox of the same message.
    pub(super) deliver_further: Units,
    /// A session that finds what the last one here found.
    pub(super) poll_unchanged: Units,
    /// A session that finds a new message, on a host that knows the rest.
    pub(super) poll_news: Units,
    /// A QUIT that removes anything, without its messages.
    pub(super) quit: Units,
    /// Each message removed.
    pub(super) delete: Units,
    /// What the worker does for that QUIT later.
    pub(super) cleanup_quit: Units,
    /// What the worker does for each message of it, alone in its segment.
    pub(super) cleanup_message: Units,
    /// What it does besides for a message with two owners.
    pub(super) cleanup_owners: Units,
}

/// S3 requests of a message.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Requests {
    /// PUT requests of a message that is stored alone.
    pub(super) puts_alone: f64,
    /// GET requests of a message that is retrieved.
    pub(super) gets: f64,
}

/// A listing made of items, the folder's read included.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listed {
    pub(super) messages: f64,
    pub(super) reads: f64,
}

/// What the worker does for a segment that messages share, besides what it does for each of them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Freed {
    /// Messages in the segment, of as many mailboxes, removed one after the other.
    pub(super) slots: f64,
    pub(super) writes: f64,
    pub(super) reads: f64,
}

/// What the worker's looks at the queue cost.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Looked {
    /// Jobs due on this replica.
    pub(super) jobs_per_second: f64,
    pub(super) reads_per_second: f64,
}

/// How messages that arrive at random share segments.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Gathered {
    pub(super) linger_ms: f64,
    /// At one replica of the blob service.
    pub(super) messages_per_second: f64,
    /// Segments with one message, by messages.
    pub(super) alone: f64,
    /// Segments with more than one, by messages.
    pub(super) shared: f64,
}

impl Gathered {
    /// Returns PUT requests by messages.
    #[cfg(test)]
    pub(super) fn puts(&self) -> f64 {
        self.alone + self.shared
    }
}

/// What is stored of a message.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stored {
    pub(super) bytes: f64,
    pub(super) stored_bytes: f64,
}

/// A recorded run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Recorded {
    /// What this file is.
    pub(super) about: String,
    /// How long a PUT took in the run.
    pub(super) put_ms: f64,
    pub(super) operations: Operations,
    pub(super) requests: Requests,
    /// Octets of a message's item.
    pub(super) item_bytes: f64,
    /// Seconds for which a password's check is remembered.
    pub(super) password_seconds: f64,
    pub(super) listings: Vec<Listed>,
    pub(super) shared_segments: Vec<Freed>,
    pub(super) worker: Vec<Looked>,
    pub(super) group_commit: Vec<Gathered>,
    pub(super) compression: Vec<Stored>,
}

impl Recorded {
    /// Reads the file that is built in.
    ///
    /// # Errors
    /// None that a test would not have seen.
    pub(super) fn read() -> Result<Self, Fault> {
        serde_json::from_str(RECORDED).map_err(|error| Fault::Setting(format!("the recorded units: {error}")))
    }

    /// Returns the read units of a listing made of so many items.
    pub(super) fn listing_reads(&self, messages: f64) -> f64 {
        on_line(&self.listings, messages, |row| (row.messages, row.reads), Beyond::Line)
    }

    /// Returns what a segment of so many messages costs to free, besides what each of them costs.
    pub(super) fn freed(&self, slots: f64) -> Units {
        let line = |value: fn(&Freed) -> f64| {
            on_line(&self.shared_segments, slots, |row| (row.slots, value(row)), Beyond::Line)
        };
        Units { writes: line(|row| row.writes), reads: line(|row| row.reads) }
    }

    /// Returns the read units a second that a replica's worker spends on looking, when so many jobs come due there.
    pub(super) fn looking_reads(&self, jobs_per_second: f64) -> f64 {
        let row = |row: &Looked| (row.jobs_per_second, row.reads_per_second);
        on_line(&self.worker, jobs_per_second, row, Beyond::Last)
    }

    /// Returns the octets stored of a message.
    pub(super) fn stored_bytes(&self, bytes: f64) -> f64 {
        let row = |row: &Stored| (row.bytes, row.stored_bytes / row.bytes);
        bytes * on_line(&self.compression, bytes, row, Beyond::Last)
    }

    /// Returns how messages share segments that arrive at this rate at one replica. `linger_ms` is on a line between the
    /// recorded ones.
    pub(super) fn gathered(&self, linger_ms: f64, messages_per_second: f64) -> Gathered {
        let at = |linger_ms: f64, value: fn(&Gathered) -> f64| {
            let rows: Vec<(f64, f64)> = self
                .group_commit
                .iter()
                .filter(|row| (row.linger_ms - linger_ms).abs() < 0.5)
                .map(|row| (row.messages_per_second.ln(), value(row)))
                .collect();
            on_line(&rows, messages_per_second.max(1e-9).ln(), |row| *row, Beyond::Last)
        };
        let mut lingers: Vec<f64> = self.group_commit.iter().map(|row| row.linger_ms).collect();
        lingers.dedup();
        let between = |value: fn(&Gathered) -> f64| {
            let rows: Vec<(f64, f64)> = lingers.iter().map(|linger| (*linger, at(*linger, value))).collect();
            on_line(&rows, linger_ms, |row| *row, Beyond::Last)
        };
        let (alone, shared) = (between(|row| row.alone), between(|row| row.shared));
        Gathered { linger_ms, messages_per_second, alone, shared }
    }
}

/// What holds beyond the last row.
#[derive(Clone, Copy, PartialEq)]
enum Beyond {
    /// The last row's value.
    Last,
    /// The line through the last two rows.
    Line,
}

/// Returns the value at `x` on the line between the rows around it, which are in the order of their `x`.
fn on_line<T>(rows: &[T], x: f64, point: impl Fn(&T) -> (f64, f64), beyond: Beyond) -> f64 {
    let points: Vec<(f64, f64)> = rows.iter().map(point).collect();
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return 0.0 };
    if x <= first.0 {
        return first.1;
    }
    if x > last.0 && beyond == Beyond::Last {
        return last.1;
    }
    let behind = points.iter().position(|point| point.0 >= x).unwrap_or(points.len() - 1).max(1);
    let (Some(low), Some(high)) = (points.get(behind - 1), points.get(behind)) else { return last.1 };
    low.1 + (high.1 - low.1) * (x - low.0) / (high.0 - low.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_lie_on_lines() {
        let rows = [(1.0, 10.0), (3.0, 30.0), (4.0, 50.0)];
        let value = |x, beyond| on_line(&rows, x, |row| *row, beyond);
        for (x, expected) in [(0.0, 10.0), (1.0, 10.0), (2.0, 20.0), (3.0, 30.0), (3.5, 40.0), (4.0, 50.0)] {
            assert!((value(x, Beyond::Last) - expected).abs() < 1e-12, "{x}");
        }
        assert!((value(6.0, Beyond::Last) - 50.0).abs() < 1e-12);
        assert!((value(6.0, Beyond::Line) - 90.0).abs() < 1e-12);
        assert!(on_line::<(f64, f64)>(&[], 1.0, |row| *row, Beyond::Line).abs() < 1e-12);
        assert!((on_line(&rows[..1], 9.0, |row| *row, Beyond::Line) - 10.0).abs() < 1e-12);
    }

    #[test]
    fn sharing_is_between_the_recorded_lingers() {
        let recorded = Recorded::read().unwrap();
        let puts = |linger, rate| recorded.gathered(linger, rate).puts();
        let none = puts(0.0, 5.0);
        let all = puts(1000.0, 5.0);
        assert!(all < none && none <= 1.0, "{all} {none}");
        let some = puts(650.0, 5.0);
        assert!(all < some && some < none, "{some}");
        assert!((puts(1000.0, 1e-6) - 1.0).abs() < 0.02, "who comes alone is stored alone");
    }
}
