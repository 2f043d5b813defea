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

    /// Sets a setting. Other replicas see it within 30 s. Capacity units also change the tables, where there are any.
    ///
    /// # Errors
    /// `Invalid` for a name that is not known or a value that is not of its form; `Refused` where a domain that is named
    /// is not served here, or where the tables could not be changed: then the value is stored all the same.
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
        put?;
        match entry.name.as_str() {
            settings::READ_CAPACITY_UNITS | settings::WRITE_CAPACITY_UNITS => self.change_capacity().await,
            _ => Ok(()),
        }
    }

    /// Makes the busy tables be paid for as the settings say. Tables that are so already are left alone.
    async fn change_capacity(&self) -> Result<(), MetadataError> {
        let Some(tables) = &self.tables else { return Ok(()) };
        let Some(billing) = settings::wanted_billing(self.store.as_ref()).await? else { return Ok(()) };
        let busy = Table::ALL.into_iter().filter(|table| table.is_busy());
        let changes = busy.map(|table| tables.set_billing(table, billing));
        let outcomes = futures_util::future::join_all(changes).await;
        match outcomes.into_iter().find_map(Result::err) {
            None => {
                tracing::info!(?billing, "the capacity of the tables is being changed");
                Ok(())
            }
            Some(why) => Err(MetadataError::Refused(format!(
                "the value is stored, but not every table has it yet: {why}. Set it again later"
            ))),
        }
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
