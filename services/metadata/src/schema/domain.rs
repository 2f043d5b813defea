//! The `domain` table: the domains that this system serves.

use super::{Attributes, Builder, LAST_UPDATE, number, single};
use crate::store::{Item, Key, StoreError, Table};

const CATCH_ALL: &str = "catch_all";

/// A served domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Domain {
    /// The key of the address that mail for unknown users goes to; empty for none.
    pub(crate) catch_all: String,
    /// Milliseconds since the Unix epoch.
    pub(crate) updated_ms: u64,
}

pub(crate) fn domain_key(name: &str) -> Key {
    single(name)
}

impl Domain {
    pub(crate) fn to_item(&self) -> Item {
        Builder::default().text(CATCH_ALL, &self.catch_all).with(LAST_UPDATE, number(self.updated_ms)).0
    }

    pub(crate) fn from_item(item: &Item) -> Result<Self, StoreError> {
        let attributes = Attributes::new(Table::Domain, item);
        Ok(Self {
            catch_all: attributes.text_or_empty(CATCH_ALL)?.to_owned(),
            updated_ms: attributes.number_or(LAST_UPDATE, 0)?,
        })
    }
}
