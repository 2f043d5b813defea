//! The operator's side of the directory.
//!
//! Each change is one conditional write of one item, or a few in an order that leaves nothing worse than an orphan; each
//! may be repeated.

mod aliases;
mod domains;
mod status;
mod users;

pub(crate) use aliases::TARGETS_MAX;
pub(crate) use users::NAME_MAX;

use crate::{
    Metadata, MetadataError,
    store::{Item, Key, StoreError, Table},
};

/// Items of one page of a list: what is given for 0, and at most.
const PAGE_USUAL: u32 = 100;
const PAGE_MAX: u32 = 1_000;

impl Metadata {
    /// Reads a page of the user table, behind the key `after`; returns its items and where the next one begins.
    pub(crate) async fn user_page(
        &self,
        after: &str,
        limit: u32,
    ) -> Result<(Vec<(Key, Item)>, Option<String>), MetadataError> {
        let limit = if limit == 0 { PAGE_USUAL } else { limit.min(PAGE_MAX) };
        let after = (!after.is_empty()).then(|| crate::schema::user_key(after));
        let page =
            self.store.scan(Table::User, after.as_ref(), usize::try_from(limit).unwrap_or(100)).await?;
        Ok((page.items, page.next.map(|key| key.partition)))
    }

    /// Refuses a domain that is not served, by a strong read.
    pub(crate) async fn require_domain(&self, name: &puro_types::DomainName) -> Result<(), MetadataError> {
        let key = crate::schema::domain_key(name.as_str());
        match self.store.get(Table::Domain, &key, crate::store::Consistency::Strong).await? {
            Some(_) => Ok(()),
            None => {
                Err(MetadataError::Refused(format!("the domain {name} is not served here: add it first")))
            }
        }
    }
}

/// Makes the failure of a condition an error of the caller's choice.
fn on_condition<T>(
    result: Result<T, StoreError>,
    error: impl FnOnce(Option<Item>) -> MetadataError,
) -> Result<T, MetadataError> {
    result.map_err(|failure| match failure {
        StoreError::ConditionFailed(found) => error(found),
        other => other.into(),
    })
}
