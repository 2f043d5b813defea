//! Makes listings, as cheaply as is sure to be right.
//!
//! The folder is read strongly. A cached listing of its version is given as it is. Otherwise the items are read with
//! eventual consistency, only the newest where the version says that nothing but deliveries happened since; count,
//! octets and digest in the folder prove the result complete, or show that it is not (a replica that lags, a message
//! that arrived late with an old time, a removal elsewhere, a delivery in flight): then all is read strongly, which
//! needs no proof. A message that is in place but not announced yet may so be listed early; it is never listed late.

use std::sync::Arc;

use puro_types::{MailboxId, MessageId, TransactionId};

use super::Listing;
use crate::{
    Metadata, MetadataError,
    schema::{Folder, Mail, MailState, folder_key},
    store::{Check, Condition, Consistency, Query, Table, Value},
};

/// How far before the newest known message the tail is read again: clocks differ and deliveries overtake one another.
const OVERLAP_MS: u64 = 2 * 60 * 1000;
/// A folder is quiet, and its counters can be repaired, when nothing has bumped it for this long.
const QUIET_MS: u64 = 60 * 1000;

/// The answer to a request for a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Snapshot {
    /// The listing that the caller has is the current one.
    Unchanged {
        /// The folder's version.
        version: u64,
    },
    /// The current listing.
    Current(Arc<Listing>),
}

impl Metadata {
    /// Lists the live messages of a mailbox's INBOX, unless its version is still `known_version` (0 for none).
    ///
    /// # Errors
    /// `NotFound` for a mailbox whose account was removed. `Unavailable` where the store cannot answer: never a listing
    /// with something missing.
    pub async fn list(&self, mailbox: &MailboxId, known_version: u64) -> Result<Snapshot, MetadataError> {
        let folder = self.folder(mailbox, Consistency::Strong).await?;
        if folder.removed {
            return Err(MetadataError::NotFound("the mailbox was removed".to_owned()));
        }
        // Without a folder item there is no version to go by: the messages are read each time.
        if folder.version != 0 && folder.version == known_version {
            return Ok(Snapshot::Unchanged { version: folder.version });
        }
        let cached = self.listings.find(mailbox);
        if let Some(listing) = &cached
            && folder.version != 0
            && listing.version == folder.version
        {
            return Ok(Snapshot::Current(Arc::clone(listing)));
        }
        let mut listing = match self.proved_listing(mailbox, &folder, cached.as_deref()).await? {
            Some(listing) => listing,
            None => self.sure_listing(mailbox, &folder).await?,
        };
        listing.version = folder.version;
        let listing = Arc::new(listing);
        if folder.version != 0 {
            self.listings.keep(mailbox, &listing);
        }
        Ok(Snapshot::Current(listing))
    }

    /// Returns a mailbox's INBOX; of version 0 where there is none.
    pub(crate) async fn folder(
        &self,
        mailbox: &MailboxId,
        consistency: Consistency,
    ) -> Result<Folder, MetadataError> {
        match self.store.get(Table::Folder, &folder_key(mailbox), consistency).await? {
            Some(item) => Ok(Folder::from_item(&item)?),
            None => Ok(Folder::default()),
        }
    }

    /// Reads cheaply; `None` where the folder does not prove the result.
    async fn proved_listing(
        &self,
        mailbox: &MailboxId,
        folder: &Folder,
        cached: Option<&Listing>,
    ) -> Result<Option<Listing>, MetadataError> {
        if folder.version == 0 || folder.drift {
            return Ok(None);
        }
        let base = cached.filter(|base| is_base(base, folder));
        let attempts: &[Consistency] = match base {
            // The tail is short: before everything is read, it is worth a strong read.
            Some(_) => &[Consistency::Eventual, Consistency::Strong],
            None => &[Consistency::Eventual],
        };
        for consistency in attempts {
            let listing = self.read_messages(mailbox, base, *consistency).await?;
            if listing.is_proved_by(folder) {
                return Ok(Some(listing));
            }
        }
        Ok(None)
    }

    /// Reads everything strongly, and repairs the folder's counters if they are off and nobody is at work.
    async fn sure_listing(&self, mailbox: &MailboxId, folder: &Folder) -> Result<Listing, MetadataError> {
        let listing = self.read_messages(mailbox, None, Consistency::Strong).await?;
        let is_quiet = folder.updated_ms.saturating_add(QUIET_MS) < self.clock.now_ms();
        if folder.version != 0 && is_quiet && !listing.is_proved_by(folder) {
            let version = i64::try_from(folder.version).unwrap_or(i64::MAX);
            let name = crate::schema::folder::attribute::VERSION.to_owned();
            let unchanged = Condition(vec![Check::Equals(name, Value::Number(version))]);
            let repair = listing.counts.repair();
            let repaired = self.store.update(Table::Folder, folder_key(mailbox), repair, unchanged).await;
            tracing::info!(%mailbox, ok = repaired.is_ok(), "the folder's counters were off");
        }
        Ok(listing)
    }

    /// Reads the live messages: all, or those near the end and after it on top of `base`.
    async fn read_messages(
        &self,
        mailbox: &MailboxId,
        base: Option<&Listing>,
        consistency: Consistency,
    ) -> Result<Listing, MetadataError> {
        let mut after = base.map_or_else(String::new, |base| before_time(base.newest_ms));
        let mut listing = base
            .map_or_else(Listing::default, |base| base.filtered(|known| known.id.as_str() < after.as_str()));
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
            for (key, item) in page.items {
                let mail = Mail::from_item(&item)?;
                listing.newest_ms = listing.newest_ms.max(mail.accepted_ms);
                if mail.state == MailState::Live {
                    let id = key.sort.parse().map_err(|_| {
                        MetadataError::Internal(format!("table meta_mail: {:?} is no message id", key.sort))
                    })?;
                    listing.push(id, mail);
                }
            }
            match page.next {
                Some(next) => after = next.sort,
                None => return Ok(listing),
            }
        }
    }
}

/// Says whether nothing but deliveries can have happened since `base` was made, so that its tail is worth reading.
fn is_base(base: &Listing, folder: &Folder) -> bool {
    let arrived = folder.messages - base.counts.messages;
    let bumps = folder.version.checked_sub(base.version);
    base.newest_ms > 0
        && arrived >= 0
        && (base.version == 0 || bumps.is_some_and(|bumps| i64::try_from(bumps) == Ok(arrived)))
}

/// Returns a sort key before all messages accepted at `newest_ms` less the overlap, or later.
fn before_time(newest_ms: u64) -> String {
    let nobody = MailboxId::new([0; 12]);
    let id = MessageId::new(newest_ms.saturating_sub(OVERLAP_MS), &TransactionId::new(0, [0; 11]), &nobody);
    // The digits of the time alone: less than every id that begins with them.
    id.as_str()[..MessageId::LENGTH - 9].to_owned()
}
