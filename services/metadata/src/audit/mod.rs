//! The audit: what the items say against what the segments hold.
//!
//! Mail flows meanwhile, a scan may be stale, and clocks differ: so whatever list and scan suggest is a suspicion, and
//! only strong reads of the items in question, and of the bytes, make it a finding.
//! * An *orphan* is a segment that no scanned item names, older than the age limit by the clock of the blob service, by
//!   this one's and by those that its messages were accepted by; whose labels name its possible owners; none of which,
//!   read strongly, names it; into which no delivery waits; and which no compaction is at work on. These reads are made
//!   directly before it is deleted. Nobody can become its owner then: deliveries into it ended a day ago.
//! * A *dangling* message is live and in its place before and after its bytes were asked for and were not there.
//! * *Counters* are off when they and the messages, read strongly twice with a pause for writes under way, differ while
//!   the folder's version stands.
//!
//! Memory: 24 octets a segment, for two million segments at a time; where there are more, segments and messages are
//! divided by a hash, and list and scan are repeated for each part. Cost for each part: a LIST request a thousand segments
//! and half a read unit for 16 messages; once, the same again for the counters and half a unit a mailbox and an item of
//! the segment table; for each suspicion some read units and requests.

mod counters;
mod items;
mod listed;
mod messages;
mod orphans;
mod report;

use puro_api::model::AuditEvent;
use tokio::sync::mpsc;

use self::{listed::Part, report::Report};
use crate::{Metadata, MetadataError};

impl Metadata {
    /// Audits, and repairs if told to. What is found goes to `events`, the summary last; whoever drops the other end
    /// ends the audit.
    ///
    /// # Errors
    /// `Refused` while another audit runs here; `Unavailable` where a store cannot answer: what was found is true, and
    /// what was not looked at is not known.
    pub async fn audit(&self, repair: bool, events: mpsc::Sender<AuditEvent>) -> Result<(), MetadataError> {
        let Ok(_only) = self.auditing.try_acquire() else {
            return Err(MetadataError::Refused("another audit is running".to_owned()));
        };
        let mut report = Report::new(events, self.clock.now_ms());
        let mut part = Part::default();
        loop {
            let mut listed = self.list_segments(&mut part, &mut report).await?;
            self.audit_messages(part, &mut listed, &mut report).await?;
            self.audit_orphans(part, &listed, repair, &mut report).await?;
            self.audit_items(part, &listed, repair, &mut report).await?;
            match part.next() {
                Some(next) => part = next,
                None => break,
            }
        }
        self.audit_counters(repair, &mut report).await?;
        report.end().await
    }
}
