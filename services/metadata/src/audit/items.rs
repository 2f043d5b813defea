//! Items about segments that are gone.

use puro_api::model::{AuditKind, AuditPhase};

use super::{
    Report,
    listed::{Found, Listed, Part},
    report::of_segment,
};
use crate::{
    Metadata, MetadataError,
    schema::{LAST_UPDATE, SegmentItem, number, segment::object_of},
    store::{Check, Condition, Consistency, Key, StoreError, Table},
};

/// An item that was not changed for so long is not needed by any job: the last of them comes two days after the bytes.
const OLD_MS: u64 = 4 * 24 * 60 * 60 * 1000;

impl Metadata {
    /// Looks for items of the segment table whose segments were not listed.
    pub(super) async fn audit_items(
        &self,
        part: Part,
        listed: &Listed,
        repair: bool,
        report: &mut Report,
    ) -> Result<(), MetadataError> {
        report.begin(AuditPhase::Items, None).await?;
        let mut after = None;
        loop {
            let page = self.store.scan(Table::Segment, after.as_ref(), 0).await?;
            for (key, _) in &page.items {
                if listed.find(part, object_of(&key.partition)) == Found::NotListed {
                    self.audit_item(key, repair, report).await?;
                }
            }
            report.did(page.items.len(), None).await?;
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    async fn audit_item(&self, key: &Key, repair: bool, report: &mut Report) -> Result<(), MetadataError> {
        let Some(item) = self.store.get(Table::Segment, key, Consistency::Strong).await? else {
            return Ok(());
        };
        let Ok(read) = SegmentItem::from_item(&item) else {
            let detail = format!("table segment, {:?}", key.partition);
            return report.find(of_segment(AuditKind::Unreadable, "", 0, detail)).await;
        };
        if self.clock.now_ms().saturating_sub(read.updated_ms) < OLD_MS {
            return Ok(());
        }
        let mut repaired = false;
        if repair {
            let unchanged = match read.updated_ms {
                0 => Check::Lacks(LAST_UPDATE.to_owned()),
                updated_ms => Check::Equals(LAST_UPDATE.to_owned(), number(updated_ms)),
            };
            match self.store.delete(Table::Segment, key.clone(), Condition(vec![unchanged])).await {
                Ok(()) => repaired = true,
                // Somebody needs it after all.
                Err(StoreError::ConditionFailed(_)) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        let detail = format!("about a segment that is gone: {}", key.partition);
        let mut finding = of_segment(AuditKind::LeftBehind, object_of(&key.partition), 0, detail);
        finding.repaired = repaired;
        report.find(finding).await
    }
}
