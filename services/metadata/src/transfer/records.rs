//! Domains and aliases.

use std::collections::BTreeSet;

use puro_api::model::{self, Written};
use puro_types::EmailAddress;

use crate::{
    Metadata, MetadataError,
    admin::TARGETS_MAX,
    retry::persist,
    schema::{AliasItem, Domain, Entry, domain_key, user::attribute, user_key},
    store::{Check, Condition, StoreError, Table},
};

impl Metadata {
    /// Makes a domain served.
    ///
    /// # Errors
    /// `AlreadyExists` where it is served with another catch-all, unless that is to be overwritten; `Invalid` for an
    /// address literal.
    pub async fn put_domain(
        &self,
        domain: &model::Domain,
        overwrite: bool,
    ) -> Result<Written, MetadataError> {
        let name = &domain.name;
        if name.is_literal() {
            return Err(MetadataError::Invalid("an address literal is no domain".to_owned()));
        }
        let catch_all = domain.catch_all.as_ref().map(EmailAddress::key).unwrap_or_default();
        let wanted = Domain { catch_all, updated_ms: self.clock.now_ms() };
        let put = async |condition: Condition| {
            persist(self.patience(), self.random.as_ref(), |_| {
                let key = domain_key(name.as_str());
                self.store.put(Table::Domain, key, wanted.to_item(), condition.clone())
            })
            .await
        };
        let outcome = match put(Condition(vec![Check::Absent])).await {
            Ok(()) => Ok(Written::Added),
            Err(StoreError::ConditionFailed(found)) => {
                let known = found.map(|item| Domain::from_item(&item)).transpose()?;
                if known.is_some_and(|known| known.catch_all == wanted.catch_all) {
                    Ok(Written::Same)
                } else if overwrite {
                    put(Condition::default()).await?;
                    Ok(Written::Replaced)
                } else {
                    Err(MetadataError::AlreadyExists(format!("the domain {name}, with another catch-all")))
                }
            }
            Err(error) => Err(error.into()),
        };
        self.domains.forget(name.as_str());
        outcome
    }

    /// Makes an alias with exactly these targets.
    ///
    /// # Errors
    /// `AlreadyExists` where the address is a user's, or an alias with other targets that is not to be overwritten;
    /// `Refused` where its domain is not served; `Invalid` for no target, too many, or the alias itself.
    pub async fn put_alias(&self, alias: &model::Alias, overwrite: bool) -> Result<Written, MetadataError> {
        let email = alias.email.key();
        let targets: BTreeSet<String> = alias.targets.iter().map(EmailAddress::key).collect();
        if targets.is_empty() || targets.contains(&email) || targets.len() > TARGETS_MAX {
            return Err(MetadataError::Invalid(format!(
                "{email} stands for 1 to {TARGETS_MAX} other addresses"
            )));
        }
        self.require_domain(alias.email.domain()).await?;
        let item = AliasItem { email: email.clone(), targets: targets.clone() }.to_item(self.clock.now_ms());
        let put = async |check: Check| {
            persist(self.patience(), self.random.as_ref(), |_| {
                let condition = Condition(vec![check.clone()]);
                self.store.put(Table::User, user_key(&email), item.clone(), condition)
            })
            .await
        };
        let is_a_user = || MetadataError::AlreadyExists(format!("{email} is a user"));
        match put(Check::Absent).await {
            Ok(()) => return Ok(Written::Added),
            Err(StoreError::ConditionFailed(Some(found))) => match Entry::from_item(&email, &found)? {
                Entry::User(_) => return Err(is_a_user()),
                Entry::Alias(known) if known.targets == targets => return Ok(Written::Same),
                Entry::Alias(_) if overwrite => {}
                Entry::Alias(_) => {
                    return Err(MetadataError::AlreadyExists(format!(
                        "the alias {email}, with other targets"
                    )));
                }
            },
            Err(StoreError::ConditionFailed(None)) => {}
            Err(error) => return Err(error.into()),
        }
        // A user has a folder; an alias, and what is not there, has none.
        match put(Check::Lacks(attribute::FOLDER.to_owned())).await {
            Ok(()) => Ok(Written::Replaced),
            Err(StoreError::ConditionFailed(_)) => Err(is_a_user()),
            Err(error) => Err(error.into()),
        }
    }
}
