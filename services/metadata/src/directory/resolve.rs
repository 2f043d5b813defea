//! Finds the mailboxes that mail for an address goes to.
//!
//! In order: the exact address; the address without its `+tag`; for `postmaster`, who must be reachable at every domain
//! (RFC 5321 section 4.5.1), the setting `postmaster`; the domain's catch-all; and for `postmaster` at last the first
//! active account that a look at the table finds.
//!
//! Mail for an alias goes to those of its targets that take mail. A target that is over quota or disabled is left out
//! while another takes the mail, so that one full mailbox does not silence a group; the answer names it. If none takes
//! the mail, the sender is told so.

use std::collections::{BTreeMap, BTreeSet};

use puro_api::model::{LeftOut, Refusal, Resolution, Target, Targets};
use puro_types::{EmailAddress, MailboxId};

use super::{stored_address, without_tag};
use crate::{
    Metadata, MetadataError,
    schema::{Account, Domain, Entry, Folder, Status, folder_key, user_key},
    settings,
    store::{Consistency, Key, Table},
};

/// Aliases behind one another at most.
const DEPTH_MAX: usize = 8;
/// Addresses looked at for one recipient at most.
const ADDRESSES_MAX: usize = 200;
/// Items looked at to find somebody for `postmaster`.
const POSTMASTER_SCAN: usize = 50;

/// What one look-up says.
enum Found {
    Account(Box<Account>),
    /// Other addresses, by key, and the key under which they were found.
    Others(String, BTreeSet<String>),
    Nobody,
    NotLocal,
}

/// An address that is still to be looked up, and the aliases that led to it.
struct Pending {
    address: EmailAddress,
    path: Vec<String>,
}

impl Metadata {
    /// Finds where mail for an address goes; `postmaster` may lack a domain.
    ///
    /// # Errors
    /// `Invalid` for what is no address. `Unavailable` where the store cannot answer: never a refusal.
    pub async fn resolve(&self, address: &str, size_bytes: u64) -> Result<Resolution, MetadataError> {
        let address = self.parse_recipient(address).await?;
        let mut targets = BTreeMap::new();
        let mut refusal = None;
        let mut left_out = BTreeMap::new();
        let mut pending = vec![Pending { address, path: Vec::new() }];
        let mut looked_at = 0;
        let mut ahead = BTreeMap::new();
        while let Some(Pending { address, path }) = pending.pop() {
            looked_at += 1;
            if looked_at > ADDRESSES_MAX {
                return Ok(Resolution::Refusal(Refusal::AliasLoop));
            }
            match self.find(&address, ahead.remove(&address.key())).await? {
                Found::Account(account) => match self.refusal(&account, size_bytes).await? {
                    None => drop(targets.insert(account.mailbox, account.email)),
                    Some(reason) => {
                        refusal = refusal.or(Some(reason));
                        let key = account.mailbox.to_string();
                        left_out.insert(key, LeftOut { mailbox: Some(account.mailbox), reason });
                    }
                },
                Found::Others(key, others) => {
                    if path.contains(&key) || path.len() >= DEPTH_MAX {
                        return Ok(Resolution::Refusal(Refusal::AliasLoop));
                    }
                    let path = [path.as_slice(), &[key]].concat();
                    ahead.extend(self.read_ahead(&others).await?);
                    let others = others.iter().filter_map(|other| other.parse().ok());
                    pending.extend(others.map(|address| Pending { address, path: path.clone() }));
                }
                Found::NotLocal if path.is_empty() => return Ok(Resolution::Refusal(Refusal::NotLocal)),
                Found::NotLocal => drop(left_out.insert(address.key(), nowhere(Refusal::NotLocal))),
                Found::Nobody => drop(left_out.insert(address.key(), nowhere(Refusal::UnknownUser))),
            }
        }
        if targets.is_empty() {
            return Ok(Resolution::Refusal(refusal.unwrap_or(Refusal::UnknownUser)));
        }
        let target = |(mailbox, email): (MailboxId, String)| -> Result<Target, MetadataError> {
            Ok(Target { mailbox, email: stored_address(&email)? })
        };
        let targets = targets.into_iter().map(target).collect::<Result<_, _>>()?;
        Ok(Resolution::Targets(Targets { targets, left_out: left_out.into_values().collect() }))
    }

    async fn parse_recipient(&self, address: &str) -> Result<EmailAddress, MetadataError> {
        let invalid = |error| MetadataError::Invalid(format!("{address:?}: {error}"));
        if !address.eq_ignore_ascii_case("postmaster") {
            return address.parse().map_err(invalid);
        }
        let domain = self
            .default_domain()
            .await?
            .ok_or_else(|| MetadataError::Invalid("there is no default domain for postmaster".to_owned()))?;
        format!("postmaster@{domain}").parse().map_err(invalid)
    }

    /// Reads what the targets of an alias stand for in one go, where there are several: each by itself would be a trip
    /// to the store. It costs the same units.
    async fn read_ahead(
        &self,
        others: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, Option<Entry>>, MetadataError> {
        if others.len() < 2 {
            return Ok(BTreeMap::new());
        }
        let keys: Vec<Key> = others.iter().map(|other| user_key(other)).collect();
        let found = self.store.get_many(Table::User, &keys, Consistency::Eventual).await?;
        let mut entries = BTreeMap::new();
        for (other, item) in others.iter().zip(found) {
            let entry = item.map(|item| Entry::from_item(other, &item)).transpose()?;
            entries.insert(other.clone(), entry);
        }
        Ok(entries)
    }

    /// Looks one address up; `ahead` is what an eventually consistent read of it has found already.
    async fn find(
        &self,
        address: &EmailAddress,
        mut ahead: Option<Option<Entry>>,
    ) -> Result<Found, MetadataError> {
        let Some(domain) = self.domain(address.domain()).await? else { return Ok(Found::NotLocal) };
        let base = without_tag(address);
        for consistency in [Consistency::Eventual, Consistency::Strong] {
            for candidate in [Some(address), base.as_ref()].into_iter().flatten() {
                // The address itself comes first, and with eventual consistency.
                let entry = match ahead.take() {
                    Some(entry) => entry,
                    None => self.entry(&candidate.key(), consistency).await?,
                };
                match entry {
                    Some(Entry::User(account)) => return Ok(Found::Account(Box::new(account))),
                    Some(Entry::Alias(alias)) => return Ok(Found::Others(alias.email, alias.targets)),
                    None => {}
                }
            }
        }
        self.find_fallback(address, &domain).await
    }

    async fn find_fallback(&self, address: &EmailAddress, domain: &Domain) -> Result<Found, MetadataError> {
        let key = address.key();
        let is_postmaster = address.local_part().eq_ignore_ascii_case("postmaster");
        if is_postmaster {
            let settings = self.settings().await?;
            let named = settings.value(settings::POSTMASTER).filter(|named| *named != key);
            if let Some(named) = named
                && self.entry(named, Consistency::Strong).await?.is_some()
            {
                return Ok(Found::Others(key, BTreeSet::from([named.to_owned()])));
            }
        }
        if !domain.catch_all.is_empty() && domain.catch_all != key {
            return Ok(Found::Others(key, BTreeSet::from([domain.catch_all.clone()])));
        }
        if !is_postmaster {
            return Ok(Found::Nobody);
        }
        let page = self.store.scan(Table::User, None, POSTMASTER_SCAN).await?;
        for (at, item) in &page.items {
            if let Entry::User(account) = Entry::from_item(&at.partition, item)?
                && account.status == Status::Active
            {
                return Ok(Found::Account(Box::new(account)));
            }
        }
        Ok(Found::Nobody)
    }

    /// Returns why an account takes no message of this size now. The folder is read only where there is a quota.
    async fn refusal(&self, account: &Account, size_bytes: u64) -> Result<Option<Refusal>, MetadataError> {
        if account.status == Status::Disabled {
            return Ok(Some(Refusal::Disabled));
        }
        if account.quota_bytes == 0 {
            return Ok(None);
        }
        let item =
            self.store.get(Table::Folder, &folder_key(&account.mailbox), Consistency::Eventual).await?;
        let bytes = match item {
            Some(item) => u64::try_from(Folder::from_item(&item)?.bytes).unwrap_or(0),
            None => 0,
        };
        // A mailbox that is full to the brim takes nothing, even where the size is not known.
        let is_over = bytes.saturating_add(size_bytes.max(1)) > account.quota_bytes;
        Ok(is_over.then_some(Refusal::OverQuota))
    }
}

/// A member of an alias that stands for no mailbox.
fn nowhere(reason: Refusal) -> LeftOut {
    LeftOut { mailbox: None, reason }
}
