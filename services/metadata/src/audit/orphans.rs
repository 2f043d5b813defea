//! Segments that nothing was seen to use.

use puro_api::model::{AuditKind, AuditPhase, Segment, SegmentPage};

use super::{
    Report,
    listed::{Listed, Part},
    report::of_segment,
};
use crate::{Metadata, MetadataError, cleanup::Survey, schema::SegmentItem};

/// A compaction that was noted so long ago does not keep its segment any more: it takes two days, and its job is lost.
const COMPACTION_MS: u64 = 14 * 24 * 60 * 60 * 1000;

/// What a segment that nothing was seen to use turns out to be.
enum Verdict {
    /// Something uses it, or may.
    InUse,
    /// Nothing does.
    Orphan,
    /// Nothing was seen to, which is all that is known.
    Doubtful(&'static str),
}

impl Metadata {
    /// Looks at every segment of the part that nothing was seen to use.
    pub(super) async fn audit_orphans(
        &self,
        part: Part,
        listed: &Listed,
        repair: bool,
        report: &mut Report,
    ) -> Result<(), MetadataError> {
        let total = Some(listed.unseen()).filter(|unseen| *unseen > 0);
        report.begin(AuditPhase::Suspicions, total).await?;
        if total.is_none() {
            return Ok(());
        }
        tracing::debug!(?part, unseen = listed.unseen(), "looking at segments that seem to be orphans");
        let mut after = None;
        loop {
            let SegmentPage { segments, next, now_ms } = self.segment_page(after.as_deref()).await?;
            let mut looked_at = 0;
            for segment in segments.iter().filter(|segment| listed.is_unseen(&segment.object_name)) {
                looked_at += 1;
                if self.is_old(segment.created_ms, now_ms) {
                    self.audit_orphan(segment, repair, report).await?;
                }
            }
            report.did(looked_at, total).await?;
            after = next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// Says whether something made at `then_ms` is past the age limit, by another's clock and by this one.
    fn is_old(&self, then_ms: u64, now_ms: u64) -> bool {
        let now_ms = now_ms.min(self.clock.now_ms());
        now_ms.saturating_sub(then_ms) >= self.config.orphan_age_ms()
    }

    async fn audit_orphan(
        &self,
        segment: &Segment,
        repair: bool,
        report: &mut Report,
    ) -> Result<(), MetadataError> {
        let Segment { object_name, size_bytes, .. } = segment;
        // Nothing but the deletion comes between this and the end of the function.
        let (repaired, detail) = match self.judge(segment).await? {
            Verdict::InUse => return Ok(()),
            Verdict::Doubtful(why) => (false, format!("kept: {why}")),
            Verdict::Orphan if !repair => (false, "no message is in it".to_owned()),
            Verdict::Orphan if report.summary.unreadable > 0 => {
                (false, "kept: there are items that cannot be read, and it may be theirs".to_owned())
            }
            Verdict::Orphan => {
                self.delete_segments(std::slice::from_ref(object_name)).await?;
                (true, "no message was in it: deleted".to_owned())
            }
        };
        let mut finding = of_segment(AuditKind::Orphan, object_name, *size_bytes, detail);
        finding.repaired = repaired;
        report.find(finding).await
    }

    async fn judge(&self, segment: &Segment) -> Result<Verdict, MetadataError> {
        let Segment { object_name, size_bytes, .. } = segment;
        if self.waiting().await?.has(object_name) {
            return Ok(Verdict::InUse);
        }
        let item = self.segment_item(object_name).await?.unwrap_or_default();
        let is_compacted =
            item.thin_ms != 0 && self.clock.now_ms().saturating_sub(item.thin_ms) < COMPACTION_MS;
        if is_compacted {
            return Ok(Verdict::InUse);
        }
        // All owners are asked, whatever the segment's item says of them.
        let survey = match self.survey(object_name, *size_bytes, &SegmentItem::default()).await {
            Ok(survey) => survey,
            Err(MetadataError::Internal(_)) => {
                return Ok(Verdict::Doubtful("an item that may own it cannot be read"));
            }
            Err(error) => return Err(error),
        };
        Ok(match &survey {
            Survey::Unknown(why) => Verdict::Doubtful(why),
            Survey::Known(_) if survey.is_owned() == Some(true) => Verdict::InUse,
            Survey::Known(slots) => match slots.iter().filter_map(|slot| slot.accepted_ms).max() {
                Some(accepted_ms) if self.is_old(accepted_ms, u64::MAX) => Verdict::Orphan,
                Some(_) => Verdict::InUse,
                None => Verdict::Doubtful("its labels name nobody"),
            },
        })
    }
}
