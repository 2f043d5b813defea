//! Domains.

use puro_api::model;
use puro_types::DomainName;

use super::on_condition;
use crate::{
    Metadata, MetadataError,
    retry::persist,
    schema::{Domain, domain_key},
    store::{Check, Condition, Consistency, StoreError, Table},
};

impl Metadata {
    /// Adds a domain.
    ///
    /// # Errors
    /// `AlreadyExists`; `Invalid` for an address literal; `Refused` for a catch-all at a domain that is not served.
    pub async fn add_domain(&self, domain: &model::Domain) -> Result<(), MetadataError> {
        let name = &domain.name;
        if name.is_literal() {
            return Err(MetadataError::Invalid("an address literal is no domain".to_owned()));
        }
        if let Some(catch_all) = &domain.catch_all
            && catch_all.domain() != name
        {
            self.require_domain(catch_all.domain()).await?;
        }
        let catch_all = domain.catch_all.as_ref().map(puro_types::EmailAddress::key).unwrap_or_default();
        let item = Domain { catch_all, updated_ms: self.clock.now_ms() }.to_item();
        let put = persist(self.patience(), self.random.as_ref(), |_| {
            let absent = Condition(vec![Check::Absent]);
            self.store.put(Table::Domain, domain_key(name.as_str()), item.clone(), absent)
        })
        .await;
        self.domains.forget(name.as_str());
        match put {
            // An attempt of this call whose answer was lost.
            Err(StoreError::ConditionFailed(Some(found))) if found == item => Ok(()),
            put => on_condition(put, |_| MetadataError::AlreadyExists(format!("the domain {name}"))),
        }
    }

    /// Returns all domains.
    ///
    /// # Errors
    /// `Unavailable` where the store cannot answer.
    pub async fn list_domains(&self) -> Result<Vec<model::Domain>, MetadataError> {
        let mut domains = Vec::new();
        let mut after = None;
        loop {
            let page = self.store.scan(Table::Domain, after.as_ref(), 0).await?;
            for (key, item) in page.items {
                let damaged =
                    || MetadataError::Internal(format!("table domain: {:?} is damaged", key.partition));
                let name = key.partition.parse().map_err(|_| damaged())?;
                let catch_all = match Domain::from_item(&item)?.catch_all.as_str() {
                    "" => None,
                    address => Some(address.parse().map_err(|_| damaged())?),
                };
                domains.push(model::Domain { name, catch_all });
            }
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        domains.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(domains)
    }

    /// Removes a domain.
    ///
    /// # Errors
    /// `NotFound`; `Refused` while users or aliases remain in it. The look for them is eventually consistent, so one
    /// made at this very moment is not seen here; its maker looks for the domain once more afterwards.
    pub async fn remove_domain(&self, name: &DomainName) -> Result<(), MetadataError> {
        let key = domain_key(name.as_str());
        if self.store.get(Table::Domain, &key, Consistency::Strong).await?.is_none() {
            return Err(MetadataError::NotFound(format!("the domain {name}")));
        }
        let suffix = format!("@{name}");
        let mut after = String::new();
        loop {
            let (items, next) = self.user_page(&after, super::PAGE_MAX).await?;
            if let Some((remaining, _)) = items.iter().find(|(key, _)| key.partition.ends_with(&suffix)) {
                return Err(MetadataError::Refused(format!("{} is still there", remaining.partition)));
            }
            match next {
                Some(next) => after = next,
                None => break,
            }
        }
        let deleted = persist(self.patience(), self.random.as_ref(), |_| {
            self.store.delete(Table::Domain, key.clone(), Condition::default())
        })
        .await;
        self.domains.forget(name.as_str());
        Ok(deleted?)
    }
}
