//! PuRoConfig: the settings that live in the store and hold for the whole system, one row a name.
//!
//! A name is taken only once something reads it: an operator who sets a limit must be able to trust that it holds.
//! Limits of sessions are settings of the front ends' processes.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use puro_types::{DomainName, EmailAddress};
use tokio::time::Instant;

use crate::{
    Metadata, MetadataError,
    store::{Consistency, Item, ItemStore, Key, StoreError, Table, Value, dynamodb::Billing},
};

/// How long settings, and domains, may be remembered.
pub(crate) const REMEMBERED: Duration = Duration::from_secs(30);

/// The attribute of the `config` table that holds a row's value.
pub(crate) const VALUE: &str = "value";

/// The domain of logins and of `postmaster` without one.
pub(crate) const DOMAIN: &str = "domain";
/// The address that mail for `postmaster` goes to where a domain has none.
pub(crate) const POSTMASTER: &str = "postmaster";

/// Capacity units of each busy table on DynamoDB, an attribute of PuRoConfig from its beginning. Both must be set for the
/// tables to be paid by the hour; 0 for either lets them be paid by the request. The embedded store has no such units.
pub(crate) const READ_CAPACITY_UNITS: &str = "read_capacity_units";
/// As [`READ_CAPACITY_UNITS`], for writes.
pub(crate) const WRITE_CAPACITY_UNITS: &str = "write_capacity_units";

/// A known name and what its values look like.
struct Row {
    name: &'static str,
    form: &'static str,
    normal: fn(&str) -> Option<String>,
}

const ROWS: [Row; 4] = [
    Row { name: DOMAIN, form: "a domain", normal: domain },
    Row { name: POSTMASTER, form: "an address, or nothing", normal: address_or_nothing },
    Row { name: READ_CAPACITY_UNITS, form: "a whole number (0: on demand)", normal: units },
    Row { name: WRITE_CAPACITY_UNITS, form: "a whole number (0: on demand)", normal: units },
];

/// A cached look at the settings.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    rows: Arc<BTreeMap<String, String>>,
    until: Instant,
}

impl Settings {
    /// Returns a row's value, unless it is absent or empty.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.rows.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

/// Checks a row and returns its value in the one form in which it is stored.
///
/// # Errors
/// `Invalid` for a name that is not known and a value that is not of its form.
pub(crate) fn checked(name: &str, value: &str) -> Result<String, MetadataError> {
    let row = ROWS.iter().find(|row| row.name == name).ok_or_else(|| {
        let known: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
        MetadataError::Invalid(format!("no such setting: {name:?}; known: {}", known.join(", ")))
    })?;
    (row.normal)(value.trim())
        .ok_or_else(|| MetadataError::Invalid(format!("{name} must be {}, not {value:?}", row.form)))
}

/// Returns how the rows of the capacity units want the busy tables to be paid for; `None` where they do not say.
pub(crate) fn billing(read: Option<&str>, write: Option<&str>) -> Option<Billing> {
    let units = |row: Option<&str>| row.and_then(|value| value.parse::<u32>().ok());
    match (units(read), units(write)) {
        (Some(0), _) | (_, Some(0)) => Some(Billing::OnDemand),
        (Some(read), Some(write)) => Some(Billing::Provisioned { read, write }),
        _ => None,
    }
}

fn units(value: &str) -> Option<String> {
    value.parse().ok().map(|number: u32| number.to_string())
}

fn domain(value: &str) -> Option<String> {
    value.parse().ok().map(|name: DomainName| name.to_string())
}

fn address_or_nothing(value: &str) -> Option<String> {
    if value.is_empty() {
        return Some(String::new());
    }
    value.parse().ok().map(|address: EmailAddress| address.key())
}

pub(crate) fn config_key(name: &str) -> Key {
    Key { partition: name.to_owned(), sort: String::new() }
}

pub(crate) fn config_item(value: &str) -> Item {
    Item::from([(VALUE.to_owned(), Value::Text(value.to_owned()))])
}

fn value_of(item: &Item) -> Result<String, StoreError> {
    match item.get(VALUE) {
        Some(Value::Text(value)) => Ok(value.clone()),
        _ => Err(StoreError::Internal("table config: `value` is missing or not valid".to_owned())),
    }
}

/// Returns one row as it is in the store now.
pub(crate) async fn read_row(store: &dyn ItemStore, name: &str) -> Result<Option<String>, StoreError> {
    let item = store.get(Table::Config, &config_key(name), Consistency::Strong).await?;
    item.as_ref().map(value_of).transpose()
}

/// Returns how the store's own settings want its busy tables to be paid for.
pub(crate) async fn wanted_billing(store: &dyn ItemStore) -> Result<Option<Billing>, StoreError> {
    let read = read_row(store, READ_CAPACITY_UNITS).await?;
    let write = read_row(store, WRITE_CAPACITY_UNITS).await?;
    Ok(billing(read.as_deref(), write.as_deref()))
}

impl Metadata {
    /// Returns the settings, at most 30 s old.
    pub(crate) async fn settings(&self) -> Result<Settings, MetadataError> {
        let cached = self.cached_settings.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        if let Some(settings) = cached
            && settings.until > Instant::now()
        {
            return Ok(settings);
        }
        let until = Instant::now() + REMEMBERED;
        let settings = Settings { rows: Arc::new(self.read_settings().await?), until };
        *self.cached_settings.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
            Some(settings.clone());
        Ok(settings)
    }

    /// Returns all rows as they are in the store.
    pub(crate) async fn read_settings(&self) -> Result<BTreeMap<String, String>, MetadataError> {
        let mut rows = BTreeMap::new();
        let mut after = None;
        loop {
            let page = self.store.scan(Table::Config, after.as_ref(), 0).await?;
            for (key, item) in page.items {
                rows.insert(key.partition, value_of(&item)?);
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(rows),
            }
        }
    }

    /// Forgets the cached settings after a change made here.
    pub(crate) fn forget_settings(&self) {
        *self.cached_settings.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_checked_and_brought_into_one_form() {
        for (name, value, stored) in [
            ("read_capacity_units", "25", "25"),
            ("domain", "Example.ORG.", "example.org"),
            ("postmaster", "Ann@Example.org", "ann@example.org"),
            ("postmaster", " ", ""),
            ("write_capacity_units", " 010 ", "10"),
            ("write_capacity_units", "0", "0"),
        ] {
            assert_eq!(checked(name, value).as_deref(), Ok(stored), "{name}");
        }
        for (name, value) in [
            ("read_capacity_units", "-1"),
            ("write_capacity_units", "many"),
            ("domain", "-"),
            ("postmaster", "ann"),
        ] {
            assert!(matches!(checked(name, value), Err(MetadataError::Invalid(_))), "{name} {value}");
        }
    }

    #[test]
    fn capacity_is_bought_when_both_units_are_known() {
        let bought = Some(Billing::Provisioned { read: 30, write: 5 });
        for (read, write, wanted) in [
            (None, None, None),
            (Some("30"), None, None),
            (Some("30"), Some("5"), bought),
            (Some("0"), Some("5"), Some(Billing::OnDemand)),
            (None, Some("0"), Some(Billing::OnDemand)),
        ] {
            assert_eq!(billing(read, write), wanted, "{read:?} {write:?}");
        }
    }

    #[test]
    fn names_that_nothing_reads_are_refused() {
        let known = "domain, postmaster, read_capacity_units, write_capacity_units";
        for name in ["colour", "Domain", "", "max_message_size", "max_recipients", "retention", "login_delay"]
        {
            let wanted = format!("no such setting: {name:?}; known: {known}");
            assert_eq!(checked(name, "100"), Err(MetadataError::Invalid(wanted)));
        }
    }
}
