//! What an audit reports.

use puro_types::{Location, MailboxId, MessageId};

use super::{Malformed, parse_optional};
use crate::pb::metadata::v1 as pb;

/// What an audit is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditPhase {
    /// Listing segments.
    Segments,
    /// Reading messages.
    Messages,
    /// Looking at what seems to be amiss.
    Suspicions,
    /// Comparing counters.
    Counters,
    /// Looking for items that nobody needs.
    Items,
}

/// What is amiss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AuditKind {
    /// A segment that no message is in.
    Orphan,
    /// A message whose bytes are gone.
    Dangling,
    /// A message whose bytes are not those that were stored.
    Damaged,
    /// A folder whose counters are off.
    Counters,
    /// An item about a segment that is gone.
    LeftBehind,
    /// An item that cannot be understood.
    Unreadable,
}

/// One thing that is amiss.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditFinding {
    /// What it is.
    pub kind: AuditKind,
    /// It was repaired.
    pub repaired: bool,
    /// The segment, or empty.
    pub object_name: String,
    /// Octets of the segment or of the message.
    pub size_bytes: u64,
    /// The mailbox, if it is about one.
    pub mailbox: Option<MailboxId>,
    /// The message, if it is about one.
    pub message: Option<MessageId>,
    /// Where the message should be.
    pub location: Option<Location>,
    /// For people.
    pub detail: String,
}

/// The end of an audit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AuditSummary {
    /// Segments listed.
    pub segments: u64,
    /// Their octets.
    pub segment_bytes: u64,
    /// Messages read.
    pub messages: u64,
    /// Mailboxes whose counters were compared.
    pub mailboxes: u64,
    /// Segments that no message is in.
    pub orphans: u64,
    /// Their octets.
    pub orphan_bytes: u64,
    /// Messages whose bytes are gone.
    pub dangling: u64,
    /// Messages whose bytes are damaged.
    pub damaged: u64,
    /// Folders whose counters are off.
    pub counters: u64,
    /// Items about segments that are gone.
    pub left_behind: u64,
    /// Items that cannot be understood.
    pub unreadable: u64,
    /// Of all of these, the ones that were repaired.
    pub repaired: u64,
}

impl AuditSummary {
    /// Says whether mail was lost.
    pub fn is_loss(&self) -> bool {
        self.dangling > 0 || self.damaged > 0 || self.unreadable > 0
    }
}

/// What an audit says as it goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditEvent {
    /// How far it is.
    Progress {
        /// What it is doing.
        phase: AuditPhase,
        /// Things looked at in this phase.
        done: u64,
        /// Of so many, where that is known.
        total: Option<u64>,
    },
    /// Something is amiss.
    Finding(AuditFinding),
    /// It is over.
    Summary(AuditSummary),
}

macro_rules! both_ways {
    ($type:ident, $($name:ident),+) => {
        impl TryFrom<pb::$type> for $type {
            type Error = Malformed;

            fn try_from(wire: pb::$type) -> Result<Self, Malformed> {
                match wire {
                    pb::$type::Unspecified => Err(Malformed::new(stringify!($type), "missing or unknown")),
                    $(pb::$type::$name => Ok(Self::$name),)+
                }
            }
        }

        impl From<$type> for pb::$type {
            fn from(value: $type) -> Self {
                match value {
                    $($type::$name => Self::$name,)+
                }
            }
        }
    };
}

both_ways!(AuditPhase, Segments, Messages, Suspicions, Counters, Items);
both_ways!(AuditKind, Orphan, Dangling, Damaged, Counters, LeftBehind, Unreadable);

impl TryFrom<pb::AuditFinding> for AuditFinding {
    type Error = Malformed;

    fn try_from(wire: pb::AuditFinding) -> Result<Self, Malformed> {
        Ok(Self {
            kind: wire.kind().try_into()?,
            repaired: wire.repaired,
            object_name: wire.object_name,
            size_bytes: wire.size_bytes,
            mailbox: parse_optional("mailbox", &wire.mailbox)?,
            message: parse_optional("message", &wire.message)?,
            location: wire.location.map(TryInto::try_into).transpose()?,
            detail: wire.detail,
        })
    }
}

impl From<AuditFinding> for pb::AuditFinding {
    fn from(finding: AuditFinding) -> Self {
        Self {
            kind: pb::AuditKind::from(finding.kind).into(),
            repaired: finding.repaired,
            object_name: finding.object_name,
            size_bytes: finding.size_bytes,
            mailbox: finding.mailbox.map(|mailbox| mailbox.to_string()).unwrap_or_default(),
            message: finding.message.map(|message| message.to_string()).unwrap_or_default(),
            location: finding.location.map(Into::into),
            detail: finding.detail,
        }
    }
}

macro_rules! same_fields {
    ($($field:ident),+) => {
        impl From<pb::AuditSummary> for AuditSummary {
            fn from(wire: pb::AuditSummary) -> Self {
                Self { $($field: wire.$field),+ }
            }
        }

        impl From<AuditSummary> for pb::AuditSummary {
            fn from(summary: AuditSummary) -> Self {
                Self { $($field: summary.$field),+ }
            }
        }
    };
}

same_fields!(
    segments,
    segment_bytes,
    messages,
    mailboxes,
    orphans,
    orphan_bytes,
    dangling,
    damaged,
    counters,
    left_behind,
    unreadable,
    repaired
);

impl TryFrom<pb::AuditResponse> for AuditEvent {
    type Error = Malformed;

    fn try_from(wire: pb::AuditResponse) -> Result<Self, Malformed> {
        use pb::audit_response::Event;
        match wire.event.ok_or_else(|| Malformed::new("event", "missing"))? {
            Event::Progress(progress) => Ok(Self::Progress {
                phase: progress.phase().try_into()?,
                done: progress.done,
                total: (progress.total > 0).then_some(progress.total),
            }),
            Event::Finding(finding) => finding.try_into().map(Self::Finding),
            Event::Summary(summary) => Ok(Self::Summary(summary.into())),
        }
    }
}

impl From<AuditEvent> for pb::AuditResponse {
    fn from(event: AuditEvent) -> Self {
        use pb::audit_response::Event;
        let event = match event {
            AuditEvent::Progress { phase, done, total } => Event::Progress(pb::AuditProgress {
                phase: pb::AuditPhase::from(phase).into(),
                done,
                total: total.unwrap_or(0),
            }),
            AuditEvent::Finding(finding) => Event::Finding(finding.into()),
            AuditEvent::Summary(summary) => Event::Summary(summary.into()),
        };
        Self { event: Some(event) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_back_as_they_went() {
        let finding = AuditFinding {
            kind: AuditKind::LeftBehind,
            repaired: true,
            object_name: "a".to_owned(),
            size_bytes: 5,
            mailbox: Some(MailboxId::new([1; 12])),
            message: None,
            location: Some(crate::model::blob::tests::sample()),
            detail: "why".to_owned(),
        };
        let summary = AuditSummary { segments: 1, orphan_bytes: 2, repaired: 3, ..AuditSummary::default() };
        for event in [
            AuditEvent::Progress { phase: AuditPhase::Items, done: 7, total: None },
            AuditEvent::Finding(finding),
            AuditEvent::Summary(summary),
        ] {
            assert_eq!(AuditEvent::try_from(pb::AuditResponse::from(event.clone())), Ok(event));
        }
        assert!(AuditEvent::try_from(pb::AuditResponse { event: None }).is_err());
    }
}
