//! Tables of one test's own.

use puro_aws::Source;
use puro_metadata::{
    setup::{Connected, connect, init_tables},
    store::{Condition, Item, Key, Update, Value},
};
use puro_serve::config::{MetadataStore, Service, Settings};
use puro_stand_ins::{StandIn, dynamodb, fresh_name};

/// Returns settings with a table prefix of their own.
pub(crate) fn settings() -> Settings {
    let mut settings = Settings::defaults(Service::Metadata);
    settings.metadata.store = MetadataStore::Dynamodb;
    settings.dynamodb.table_prefix = fresh_name();
    settings
}

/// Returns the stand-in as a source, or another server in its place.
pub(crate) fn source(endpoint: Option<String>) -> Source {
    let StandIn { endpoint: usual, region, access_key_id, secret_access_key, .. } = dynamodb();
    Source::Given {
        endpoint: endpoint.unwrap_or(usual),
        region: region.to_owned(),
        keys: (access_key_id.to_owned(), secret_access_key.to_owned()),
    }
}

/// Returns a store without tables.
pub(crate) async fn bare() -> Connected {
    connect(&settings(), &source(None)).await.unwrap()
}

/// Returns a store with tables.
pub(crate) async fn fresh() -> Connected {
    let connected = bare().await;
    init_tables(&connected).await.unwrap();
    connected
}

/// Returns a store with tables, and a second way to it by way of another endpoint.
pub(crate) async fn fresh_behind(endpoint: String) -> (Connected, Connected) {
    let settings = settings();
    let straight = connect(&settings, &source(None)).await.unwrap();
    init_tables(&straight).await.unwrap();
    let behind = connect(&settings, &source(Some(endpoint))).await.unwrap();
    (straight, behind)
}

pub(crate) fn key(partition: &str, sort: &str) -> Key {
    Key { partition: partition.into(), sort: sort.into() }
}

pub(crate) fn number(name: &str, number: i64) -> Item {
    Item::from([(name.to_owned(), Value::Number(number))])
}

pub(crate) fn add(name: &str, amount: i64) -> Update {
    Update { add: vec![(name.into(), amount)], ..Update::default() }
}

pub(crate) fn always() -> Condition {
    Condition::default()
}
