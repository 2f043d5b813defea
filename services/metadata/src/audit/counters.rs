//! Folders' counters against their messages.

use puro_api::model::{AuditFinding, AuditKind, AuditPhase};
use puro_types::MailboxId;

use super::{Report, report::of_segment};
use crate::{
    Metadata, MetadataError,
    schema::{
        Counts, Folder, Mail, MailState,
        folder::{INBOX, attribute},
        folder_key,
    },
    store::{Check, Condition, Consistency, Query, StoreError, Table, Value},
};

/// Folders that are suspected before they are looked at again, all after one pause.
const SUSPECTS: usize = 1_000;

/// A folder that does not seem to add up.
struct Suspect {
    mailbox: MailboxId,
    version: u64,
    counts: Counts,
}

impl Metadata {
    /// Compares the counters of all folders.
    pub(super) async fn audit_counters(
        &self,
        repair: bool,
        report: &mut Report,
    ) -> Result<(), MetadataError> {
        report.begin(AuditPhase::Counters, None).await?;
        let mut suspects = Vec::new();
        let mut after = None;
        loop {
            let page = self.store.scan(Table::Folder, after.as_ref(), SUSPECTS).await?;
            for (key, _) in page.items.iter().filter(|(key, _)| key.sort == INBOX) {
                let Ok(mailbox) = key.partition.parse() else { continue };
                report.summary.mailboxes += 1;
                if self.difference(&mailbox, Consistency::Eventual).await?.is_some()
                    && let Some(suspect) = self.difference(&mailbox, Consistency::Strong).await?
                {
                    suspects.push(suspect);
                }
            }
            report.did(page.items.len(), None).await?;
            self.audit_suspects(std::mem::take(&mut suspects), repair, report).await?;
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// Looks at suspected folders once more, when what was under way has ended.
    async fn audit_suspects(
        &self,
        suspects: Vec<Suspect>,
        repair: bool,
        report: &mut Report,
    ) -> Result<(), MetadataError> {
        if suspects.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(self.config.audit_pause).await;
        for before in suspects {
            let Some(now) = self.difference(&before.mailbox, Consistency::Strong).await? else { continue };
            if (now.version, now.counts) != (before.version, before.counts) {
                // Mail comes and goes: the next audit will see it.
                continue;
            }
            let folder = self.folder(&now.mailbox, Consistency::Strong).await?;
            if folder.version != now.version {
                continue;
            }
            let repaired = repair && self.set_counters(&now).await?;
            report.find(finding(&now, &folder, repaired)).await?;
        }
        Ok(())
    }

    /// Returns what the messages add up to if the folder says otherwise; `None` too where it changed meanwhile.
    async fn difference(
        &self,
        mailbox: &MailboxId,
        consistency: Consistency,
    ) -> Result<Option<Suspect>, MetadataError> {
        let folder = self.folder(mailbox, consistency).await?;
        if folder.version == 0 || folder.removed {
            return Ok(None);
        }
        let Some(counts) = self.sum_messages(mailbox, consistency).await? else { return Ok(None) };
        if (counts.messages, counts.bytes) == (folder.messages, folder.bytes) {
            return Ok(None);
        }
        Ok(Some(Suspect { mailbox: mailbox.clone(), version: folder.version, counts }))
    }

    /// Adds the messages up; `None` where one cannot be read, which was reported with the messages.
    async fn sum_messages(
        &self,
        mailbox: &MailboxId,
        consistency: Consistency,
    ) -> Result<Option<Counts>, MetadataError> {
        let mut sum = Counts::default();
        let mut after = String::new();
        loop {
            let query = Query {
                table: Table::MetaMail,
                partition: mailbox.as_str().to_owned(),
                after,
                before: None,
                limit: 0,
                consistency,
            };
            let page = self.store.query(&query).await?;
            for (key, item) in &page.items {
                let (Ok(message), Ok(mail)) = (key.sort.parse(), Mail::from_item(item)) else {
                    return Ok(None);
                };
                if mail.state == MailState::Live {
                    let more = Counts::of(&message, &mail.location);
                    sum.messages += more.messages;
                    sum.bytes = sum.bytes.saturating_add(more.bytes);
                    sum.digest = sum.digest.saturating_add(more.digest);
                }
            }
            match page.next {
                Some(next) => after = next.sort,
                None => return Ok(Some(sum)),
            }
        }
    }

    /// Sets counters right, unless the folder changed. Says whether it was done.
    async fn set_counters(&self, suspect: &Suspect) -> Result<bool, MetadataError> {
        let version = i64::try_from(suspect.version).unwrap_or(i64::MAX);
        let unchanged = Condition(vec![Check::Equals(attribute::VERSION.to_owned(), Value::Number(version))]);
        let repair = suspect.counts.repair();
        match self.store.update(Table::Folder, folder_key(&suspect.mailbox), repair, unchanged).await {
            Ok(_) => Ok(true),
            Err(StoreError::ConditionFailed(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

fn finding(suspect: &Suspect, folder: &Folder, repaired: bool) -> AuditFinding {
    let Counts { messages, bytes, .. } = suspect.counts;
    let detail = format!(
        "counted {} messages, {} octets; there are {messages}, {bytes}",
        folder.messages, folder.bytes
    );
    AuditFinding {
        mailbox: Some(suspect.mailbox.clone()),
        repaired,
        ..of_segment(AuditKind::Counters, "", 0, detail)
    }
}
