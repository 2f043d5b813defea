//! Aliases.

use std::collections::BTreeSet;

use puro_api::model;
use puro_types::EmailAddress;

use super::on_condition;
use crate::{
    Metadata, MetadataError,
    directory::stored_address,
    retry::persist,
    schema::{
        AliasItem, Entry, LAST_UPDATE, number,
        user::{attribute, kind_alias},
        user_key,
    },
    store::{Check, Condition, Consistency, StoreError, Table, Update, Value},
};

/// Targets of one alias at most.
pub(crate) const TARGETS_MAX: usize = 100;
/// Attempts to change an alias that others change at the same time.
const RACES_MAX: usize = 8;

impl Metadata {
    /// Makes an alias or adds targets to one, and returns it as it is now.
    ///
    /// # Errors
    /// `AlreadyExists` where the address is a user's; `Refused` where its domain or a target's is not served here;
    /// `Invalid` for no target, too many, or the alias itself.
    pub async fn add_alias(&self, alias: &model::Alias) -> Result<model::Alias, MetadataError> {
        let email = alias.email.key();
        let targets: BTreeSet<String> = alias.targets.iter().map(EmailAddress::key).collect();
        if targets.is_empty() || targets.contains(&email) {
            return Err(MetadataError::Invalid("an alias stands for one or more other addresses".to_owned()));
        }
        let known = match self.entry(&email, Consistency::Strong).await? {
            Some(Entry::User(_)) => return Err(is_a_user(&email)),
            Some(Entry::Alias(known)) => known.targets,
            None => BTreeSet::new(),
        };
        if known.union(&targets).count() > TARGETS_MAX {
            return Err(MetadataError::Invalid(format!("an alias has at most {TARGETS_MAX} targets")));
        }
        self.require_domain(alias.email.domain()).await?;
        let domains: BTreeSet<_> = alias.targets.iter().map(EmailAddress::domain).collect();
        for domain in domains {
            self.require_domain(domain).await?;
        }
        let now_ms = self.clock.now_ms();
        let added = persist(self.patience(), self.random.as_ref(), |_| {
            let update = Update {
                set: vec![
                    (attribute::KIND.to_owned(), kind_alias()),
                    (LAST_UPDATE.to_owned(), number(now_ms)),
                ],
                insert: vec![(attribute::TARGETS.to_owned(), targets.clone())],
                ..Update::default()
            };
            // A user has a folder; an alias, and what is not there, has none.
            let no_user = Check::Lacks(attribute::FOLDER.to_owned());
            self.store.update(Table::User, user_key(&email), update, Condition(vec![no_user]))
        });
        let item = on_condition(added.await, |_| is_a_user(&email))?;
        match Entry::from_item(&email, &item)? {
            Entry::Alias(alias) => as_seen(&alias),
            Entry::User(_) => Err(is_a_user(&email)),
        }
    }

    /// Returns a page of aliases, in the store's order, and where the next page begins. A page may be short or empty.
    ///
    /// # Errors
    /// `Unavailable` where the store cannot answer.
    pub async fn list_aliases(
        &self,
        after: &str,
        limit: u32,
    ) -> Result<(Vec<model::Alias>, Option<String>), MetadataError> {
        let (items, next) = self.user_page(after, limit).await?;
        let mut aliases = Vec::new();
        for (key, item) in items {
            if let Entry::Alias(alias) = Entry::from_item(&key.partition, &item)? {
                aliases.push(as_seen(&alias)?);
            }
        }
        Ok((aliases, next))
    }

    /// Removes an alias, or only the targets named; with its last target the alias goes.
    ///
    /// # Errors
    /// `NotFound` for an alias, or a target, that is not there.
    pub async fn remove_alias(&self, alias: &model::Alias) -> Result<(), MetadataError> {
        let email = alias.email.key();
        let unwanted: BTreeSet<String> = alias.targets.iter().map(EmailAddress::key).collect();
        for attempt in 0..RACES_MAX {
            let known = match self.entry(&email, Consistency::Strong).await? {
                Some(Entry::Alias(known)) => known.targets,
                // What an earlier attempt of this call began is done.
                None if attempt > 0 => return Ok(()),
                _ => return Err(MetadataError::NotFound(format!("the alias {email}"))),
            };
            let missing = unwanted.difference(&known).next();
            if let (Some(missing), 0) = (missing, attempt) {
                return Err(MetadataError::NotFound(format!("the target {missing} of {email}")));
            }
            let rest: BTreeSet<String> = match unwanted.is_empty() {
                true => BTreeSet::new(),
                false => known.difference(&unwanted).cloned().collect(),
            };
            match self.replace_targets(&email, known, rest).await {
                // Changed since it was read, perhaps by an attempt of this call whose answer was lost.
                Err(StoreError::ConditionFailed(_)) => {}
                done => return Ok(done?),
            }
        }
        Err(MetadataError::Unavailable(format!("the alias {email} is being changed by others")))
    }

    async fn replace_targets(
        &self,
        email: &str,
        known: BTreeSet<String>,
        rest: BTreeSet<String>,
    ) -> Result<(), StoreError> {
        let now_ms = self.clock.now_ms();
        persist(self.patience(), self.random.as_ref(), |_| {
            let same = Check::Equals(attribute::TARGETS.to_owned(), Value::Set(known.clone()));
            let (key, condition) = (user_key(email), Condition(vec![same]));
            let set = vec![
                (attribute::TARGETS.to_owned(), Value::Set(rest.clone())),
                (LAST_UPDATE.to_owned(), number(now_ms)),
            ];
            let is_last = rest.is_empty();
            async move {
                if is_last {
                    return self.store.delete(Table::User, key, condition).await;
                }
                let update = Update { set, ..Update::default() };
                self.store.update(Table::User, key, update, condition).await.map(drop)
            }
        })
        .await
    }
}

fn is_a_user(email: &str) -> MetadataError {
    MetadataError::AlreadyExists(format!("{email} is a user"))
}

fn as_seen(alias: &AliasItem) -> Result<model::Alias, MetadataError> {
    let targets = alias.targets.iter().map(|target| stored_address(target)).collect::<Result<_, _>>()?;
    Ok(model::Alias { email: stored_address(&alias.email)?, targets })
}
