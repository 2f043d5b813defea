//! PuRoConfig and the state of the store.

use puro_api::model::{ConfigEntry, StoreStatus};

use crate::{
    Metadata, MetadataError,
    retry::persist,
    schema::Entry,
    settings::{self, config_item, config_key},
    store::{Condition, Table},
};

impl Metadata {
    /// Returns the settings that have a value; one of them, or all for an empty name.
    ///
    /// # Errors
    /// `NotFound` for a name that has no value.
    pub async fn config(&self, name: &str) -> Result<Vec<ConfigEntry>, MetadataError> {
        let rows = self.read_settings().await?;
        let entry = |(name, value)| ConfigEntry { name, value };
        if name.is_empty() {
            return Ok(rows.into_iter().map(entry).collect());
        }
        match rows.into_iter().find(|(row, _)| row == name) {
            Some(row) => Ok(vec![entry(row)]),
            None => Err(MetadataError::NotFound(format!("a value of {name:?}"))),
        }
    }

    /// Sets a setting. Other replicas see it within 30 s.
    ///
    /// # Errors
    /// `Invalid` for a name that is not known or a value that is not of its form; `Refused` where a domain that is named
    /// is not served here.
    pub async fn set_config(&self, entry: &ConfigEntry) -> Result<(), MetadataError> {
        let value = settings::checked(&entry.name, &entry.value)?;
        match entry.name.as_str() {
            settings::DOMAIN => {
                if let Ok(domain) = value.parse() {
                    self.require_domain(&domain).await?;
                }
            }
            settings::POSTMASTER => {
                if let Ok(address) = value.parse::<puro_types::EmailAddress>() {
                    self.require_domain(address.domain()).await?;
                }
            }
            _ => {}
        }
        let put = persist(self.patience(), self.random.as_ref(), |_| {
            let item = config_item(&value);
            self.store.put(Table::Config, config_key(&entry.name), item, Condition::default())
        })
        .await;
        self.forget_settings();
        Ok(put?)
    }

    /// Reports what the store is and holds.
    ///
    /// # Errors
    /// `Unavailable` where the store cannot answer.
    pub async fn check(&self) -> Result<StoreStatus, MetadataError> {
        let domains = self.list_domains().await?.len() as u64;
        let mut users = 0;
        let mut after = String::new();
        loop {
            let (items, next) = self.user_page(&after, super::PAGE_MAX).await?;
            for (key, item) in items {
                users += u64::from(matches!(Entry::from_item(&key.partition, &item)?, Entry::User(_)));
            }
            match next {
                Some(next) => after = next,
                None => break,
            }
        }
        Ok(StoreStatus { store: self.store.kind().to_owned(), domains, users })
    }
}
