//! What an audit has found so far.

use puro_api::model::{AuditEvent, AuditFinding, AuditKind, AuditPhase, AuditSummary};
use puro_types::{Location, MailboxId, MessageId};
use tokio::sync::mpsc;

use crate::MetadataError;

/// Tells findings as they come, and counts them.
#[derive(Debug)]
pub(super) struct Report {
    events: mpsc::Sender<AuditEvent>,
    pub(super) summary: AuditSummary,
    /// When the audit began, milliseconds since the Unix epoch.
    pub(super) begun_ms: u64,
    phase: AuditPhase,
    done: u64,
}

impl Report {
    pub(super) fn new(events: mpsc::Sender<AuditEvent>, begun_ms: u64) -> Self {
        let summary = AuditSummary::default();
        Self { events, summary, begun_ms, phase: AuditPhase::Segments, done: 0 }
    }

    /// Begins a phase.
    pub(super) async fn begin(&mut self, phase: AuditPhase, total: Option<u64>) -> Result<(), MetadataError> {
        (self.phase, self.done) = (phase, 0);
        self.progress(phase, total).await
    }

    /// So many more were looked at.
    pub(super) async fn did(&mut self, more: usize, total: Option<u64>) -> Result<(), MetadataError> {
        self.done = self.done.saturating_add(more as u64);
        self.progress(self.phase, total).await
    }

    /// Says how far it is.
    pub(super) async fn progress(
        &mut self,
        phase: AuditPhase,
        total: Option<u64>,
    ) -> Result<(), MetadataError> {
        self.tell(AuditEvent::Progress { phase, done: self.done, total }).await
    }

    /// Tells and counts a finding.
    pub(super) async fn find(&mut self, finding: AuditFinding) -> Result<(), MetadataError> {
        let summary = &mut self.summary;
        let count = match finding.kind {
            AuditKind::Orphan => {
                summary.orphan_bytes = summary.orphan_bytes.saturating_add(finding.size_bytes);
                &mut summary.orphans
            }
            AuditKind::Dangling => &mut summary.dangling,
            AuditKind::Damaged => &mut summary.damaged,
            AuditKind::Counters => &mut summary.counters,
            AuditKind::LeftBehind => &mut summary.left_behind,
            AuditKind::Unreadable => &mut summary.unreadable,
        };
        *count += 1;
        summary.repaired += u64::from(finding.repaired);
        match finding.kind {
            AuditKind::Dangling | AuditKind::Damaged | AuditKind::Unreadable => tracing::error!(
                kind = ?finding.kind,
                object_name = finding.object_name,
                message = finding.message.as_ref().map(tracing::field::display),
                detail = finding.detail,
                "the audit found a loss"
            ),
            AuditKind::Orphan | AuditKind::Counters | AuditKind::LeftBehind => tracing::info!(
                kind = ?finding.kind,
                object_name = finding.object_name,
                repaired = finding.repaired,
                detail = finding.detail,
                "the audit found something amiss"
            ),
        }
        self.tell(AuditEvent::Finding(finding)).await
    }

    /// Ends the audit.
    pub(super) async fn end(self) -> Result<(), MetadataError> {
        let summary = self.summary;
        tracing::info!(?summary, "the audit is over");
        self.tell(AuditEvent::Summary(summary)).await
    }

    async fn tell(&self, event: AuditEvent) -> Result<(), MetadataError> {
        let gone = |_| MetadataError::Unavailable("nobody listens to the audit any more".to_owned());
        self.events.send(event).await.map_err(gone)
    }
}

/// Returns a finding about a segment.
pub(super) fn of_segment(
    kind: AuditKind,
    object_name: &str,
    size_bytes: u64,
    detail: String,
) -> AuditFinding {
    AuditFinding {
        kind,
        repaired: false,
        object_name: object_name.to_owned(),
        size_bytes,
        mailbox: None,
        message: None,
        location: None,
        detail,
    }
}

/// Returns a finding about a message.
pub(super) fn of_message(
    kind: AuditKind,
    mailbox: &MailboxId,
    message: &MessageId,
    location: &Location,
    detail: &str,
) -> AuditFinding {
    AuditFinding {
        mailbox: Some(mailbox.clone()),
        message: Some(message.clone()),
        location: Some(location.clone()),
        ..of_segment(kind, &location.object_name, location.size_bytes(), detail.to_owned())
    }
}
