//! Messages against segments: what is used, and what is lost.

use std::collections::BTreeSet;

use puro_api::model::{AuditKind, AuditPhase};
use puro_types::{Location, MailboxId, MessageId};

use super::{
    Report,
    listed::{Found, Listed, Part},
    report::{of_message, of_segment},
};
use crate::{
    Metadata, MetadataError, Presence,
    schema::{Mail, MailState},
    store::{Item, Key, Table},
};

/// A message accepted so long before the audit began, or later, is probably in a segment that was not there yet when
/// segments were listed: it is enough that the segment is there now.
const FRESH_MS: u64 = 10 * 60 * 1000;
/// New segments that are remembered to be there.
const NEW_MAX: usize = 10_000;

/// What of a message gives rise to suspicion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Suspicion {
    /// Its segment was not listed, and may be new.
    New,
    /// Its segment was not listed, or is too short.
    Loss,
}

impl Metadata {
    /// Reads all messages, notes which segments are in use, and looks at those messages whose segments were not listed.
    pub(super) async fn audit_messages(
        &self,
        part: Part,
        listed: &mut Listed,
        report: &mut Report,
    ) -> Result<(), MetadataError> {
        report.begin(AuditPhase::Messages, None).await?;
        let mut new = BTreeSet::new();
        let mut after = None;
        loop {
            let page = self.store.scan(Table::MetaMail, after.as_ref(), 0).await?;
            for (key, item) in &page.items {
                match parse(key, item) {
                    Some((mailbox, message, mail)) => {
                        if part.is_first() && mail.state == MailState::Live {
                            report.summary.messages += 1;
                        }
                        match self.suspicion(part, listed, report, &mail) {
                            None => {}
                            Some(Suspicion::New) if self.is_new(&mail, &mut new).await? => {}
                            Some(_) => self.audit_message(&mailbox, &message, report).await?,
                        }
                    }
                    None if part.is_first() => {
                        let detail = format!("table meta_mail, {:?} {:?}", key.partition, key.sort);
                        report.find(of_segment(AuditKind::Unreadable, "", 0, detail)).await?;
                    }
                    None => {}
                }
            }
            report.did(page.items.len(), None).await?;
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// Says whether a message's bytes do not seem to be there.
    fn suspicion(&self, part: Part, listed: &mut Listed, report: &Report, mail: &Mail) -> Option<Suspicion> {
        let Location { object_name, offset, .. } = &mail.location;
        let suspicion = match listed.see(part, object_name) {
            Found::Elsewhere => None,
            Found::Listed(size) => {
                let is_short = offset.saturating_add(mail.location.stored_length()) > size;
                is_short.then_some(Suspicion::Loss)
            }
            Found::NotListed => {
                let fresh = report.begun_ms.saturating_sub(FRESH_MS)..self.clock.now_ms() + FRESH_MS;
                let is_fresh = fresh.contains(&mail.accepted_ms);
                Some(if is_fresh { Suspicion::New } else { Suspicion::Loss })
            }
        };
        suspicion.filter(|_| mail.state == MailState::Live)
    }

    /// Says whether a segment that was not listed is there now, which costs less than to read the message.
    async fn is_new(&self, mail: &Mail, new: &mut BTreeSet<String>) -> Result<bool, MetadataError> {
        let name = &mail.location.object_name;
        if new.contains(name) {
            return Ok(true);
        }
        if self.labels(name, 0).await?.is_empty() {
            return Ok(false);
        }
        if new.len() >= NEW_MAX {
            new.clear();
        }
        new.insert(name.clone());
        Ok(true)
    }

    /// Looks at one message: its item, its bytes, and its item again.
    async fn audit_message(
        &self,
        mailbox: &MailboxId,
        message: &MessageId,
        report: &mut Report,
    ) -> Result<(), MetadataError> {
        loop {
            let Some(location) = self.place_of(mailbox, message).await? else { return Ok(()) };
            let presence = self.segments.inspect(&location).await;
            let presence = presence.map_err(|error| MetadataError::Unavailable(error.to_string()))?;
            let (kind, detail) = match presence {
                Presence::Whole => return Ok(()),
                Presence::Gone => (AuditKind::Dangling, "its bytes are gone"),
                Presence::Damaged => (AuditKind::Damaged, "its bytes are not those that were stored"),
            };
            // It may have moved, or been deleted, between the two reads.
            if self.place_of(mailbox, message).await?.as_ref() == Some(&location) {
                return report.find(of_message(kind, mailbox, message, &location, detail)).await;
            }
        }
    }

    async fn place_of(
        &self,
        mailbox: &MailboxId,
        message: &MessageId,
    ) -> Result<Option<Location>, MetadataError> {
        let mail = self.mail(mailbox, message).await?;
        Ok(mail.filter(|mail| mail.state == MailState::Live).map(|mail| mail.location))
    }
}

fn parse(key: &Key, item: &Item) -> Option<(MailboxId, MessageId, Mail)> {
    Some((key.partition.parse().ok()?, key.sort.parse().ok()?, Mail::from_item(item).ok()?))
}
