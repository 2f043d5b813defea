//! Making the store and describing it: what `puro store init` and `puro store status` do for the metadata.
//!
//! Only these need the right to make tables; the running service does not.

use std::collections::BTreeMap;

use futures_util::future::try_join_all;
use puro_aws::{NoRegion, SdkConfig, Source};
use puro_serve::config::{MetadataStore, Settings};

use crate::{
    settings,
    store::{
        StoreError, Table,
        dynamodb::{Billing, DEADLINES, DynamoStore, LiveTable, Names, Switch, TableError, Tables},
    },
};

/// What a store is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreReport {
    /// The kind of store: `embedded`, `memory`, `dynamodb`.
    pub store: &'static str,
    /// Where it is: a folder, or a region.
    pub place: String,
    /// Its tables; none where the store has no tables of its own, and is made when the service starts.
    pub tables: Vec<TableReport>,
}

/// What a table is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableReport {
    /// Its name in DynamoDB.
    pub name: String,
    /// Whether it was made just now.
    pub made: bool,
    /// What it is like; `None` where it is not there.
    pub live: Option<LiveTable>,
    /// What is not as a new table would be, for people. Nothing of it is changed by itself.
    pub differences: Vec<String>,
}

/// Why a store could not be made or described.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// The store does not answer, does not let us, or no region or credentials are set.
    #[error("{0}")]
    Unavailable(String),
    /// The store refuses.
    #[error("{0}")]
    Refused(String),
}

impl StoreReport {
    /// Says whether the service can start on it.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.tables.iter().all(|table| table.live.as_ref().is_some_and(|live| live.has_our_key))
    }
}

impl From<NoRegion> for SetupError {
    fn from(error: NoRegion) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<TableError> for SetupError {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Unavailable(_) | TableError::Missing(_) => Self::Unavailable(error.to_string()),
            TableError::Foreign(_) | TableError::Refused(_) => Self::Refused(error.to_string()),
        }
    }
}

impl From<StoreError> for SetupError {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// Makes what the store lacks, and describes it. May be repeated: tables that are there are left as they are, but for
/// old tombstones to expire, which costs nothing.
///
/// # Errors
/// [`SetupError`]. What was made until then stays, and is found by the next attempt.
pub async fn init_store(settings: &Settings) -> Result<StoreReport, SetupError> {
    match settings.metadata.store {
        MetadataStore::Dynamodb => init_tables(&connect(settings, &Source::Chain).await?).await,
        _ => Ok(without_tables(settings)),
    }
}

/// Describes the store, and changes nothing.
///
/// # Errors
/// [`SetupError`].
pub async fn store_status(settings: &Settings) -> Result<StoreReport, SetupError> {
    match settings.metadata.store {
        MetadataStore::Dynamodb => tables_status(&connect(settings, &Source::Chain).await?).await,
        _ => Ok(without_tables(settings)),
    }
}

/// A store on DynamoDB and where it is.
#[derive(Debug)]
pub struct Connected {
    /// The store.
    pub store: DynamoStore,
    /// The way to its tables.
    pub tables: Tables,
    /// The region.
    pub region: String,
}

/// Returns the store that the settings name, without asking it anything.
///
/// # Errors
/// No region is set.
pub async fn connect(settings: &Settings, source: &Source) -> Result<Connected, SetupError> {
    let config: SdkConfig = puro_aws::load(source, DEADLINES).await?;
    let region = config.region().map(ToString::to_string).unwrap_or_default();
    let names = Names::new(&settings.dynamodb.table_prefix);
    let connections = usize::try_from(settings.dynamodb.max_connections).unwrap_or(usize::MAX);
    let store = DynamoStore::new(&config, names, connections);
    Ok(Connected { tables: store.tables(), store, region })
}

/// Makes the tables that are missing and describes all.
///
/// # Errors
/// [`SetupError`].
pub async fn init_tables(connected: &Connected) -> Result<StoreReport, SetupError> {
    let Connected { store, tables, .. } = connected;
    let before = look(tables).await?;
    let billing = match before.get(&Table::Config) {
        Some(Some(_)) => settings::wanted_billing(store).await?,
        _ => None,
    };
    let made = try_join_all(Table::ALL.map(|table| make(tables, table, before.get(&table), billing))).await?;
    let live = look(tables).await?;
    Ok(report(connected, live, billing, &Table::ALL.into_iter().zip(made).collect()))
}

/// Describes the tables.
///
/// # Errors
/// [`SetupError`].
pub async fn tables_status(connected: &Connected) -> Result<StoreReport, SetupError> {
    let live = look(&connected.tables).await?;
    let billing = match live.get(&Table::Config) {
        Some(Some(_)) => settings::wanted_billing(&connected.store).await?,
        _ => None,
    };
    Ok(report(connected, live, billing, &BTreeMap::new()))
}

/// Makes a table that is not there; returns whether it was made.
async fn make(
    tables: &Tables,
    table: Table,
    before: Option<&Option<LiveTable>>,
    billing: Option<Billing>,
) -> Result<bool, TableError> {
    match before {
        Some(Some(live)) => {
            // A run that was cut off may have left it out.
            if table.expires() && live.has_our_key && live.expiry == Switch::Off {
                tables.switch_expiry_on(table).await?;
            }
            Ok(false)
        }
        _ => {
            let billing = billing.filter(|_| table.is_busy()).unwrap_or(Billing::OnDemand);
            tables.create(table, billing).await?;
            Ok(true)
        }
    }
}

async fn look(tables: &Tables) -> Result<BTreeMap<Table, Option<LiveTable>>, TableError> {
    let found = try_join_all(Table::ALL.map(|table| tables.describe(table))).await?;
    Ok(Table::ALL.into_iter().zip(found).collect())
}

fn report(
    connected: &Connected,
    live: BTreeMap<Table, Option<LiveTable>>,
    billing: Option<Billing>,
    made: &BTreeMap<Table, bool>,
) -> StoreReport {
    let table = |(table, live): (Table, Option<LiveTable>)| TableReport {
        name: connected.tables.names().of(table).to_owned(),
        made: made.get(&table).copied().unwrap_or(false),
        differences: live.as_ref().map_or_else(
            || vec!["it is not there: `puro store init` makes it".to_owned()],
            |live| differences(table, live, billing),
        ),
        live,
    };
    StoreReport {
        store: "dynamodb",
        place: connected.region.clone(),
        tables: live.into_iter().map(table).collect(),
    }
}

/// Returns what of a table is not as it would be made now.
fn differences(table: Table, live: &LiveTable, billing: Option<Billing>) -> Vec<String> {
    let mut differences = Vec::new();
    if !live.has_our_key {
        differences.push("its key is not PuRo's: it is another program's table".to_owned());
    }
    if live.status != "ACTIVE" {
        differences.push(format!("it is {}", live.status.to_ascii_lowercase()));
    }
    // Where PuRoConfig does not say, whatever the operator chose is right.
    let wanted = billing.filter(|_| table.is_busy());
    if let Some(wanted) = wanted.filter(|wanted| *wanted != live.billing) {
        let (is, should) = (words(live.billing), words(wanted));
        differences.push(format!("it is paid {is}, and `puro config get` says {should}"));
    }
    if !live.deletion_protection {
        differences.push("deletion protection is off".to_owned());
    }
    if live.recovery == Switch::Off {
        differences.push("point-in-time recovery is off".to_owned());
    }
    if table.expires() && live.expiry == Switch::Off {
        differences.push("old tombstones do not expire".to_owned());
    }
    differences
}

fn words(billing: Billing) -> String {
    match billing {
        Billing::OnDemand => "by the request".to_owned(),
        Billing::Provisioned { read, write } => format!("for {read} read and {write} write units"),
    }
}

fn without_tables(settings: &Settings) -> StoreReport {
    let (store, place) = match settings.metadata.store {
        MetadataStore::Memory => ("memory", String::new()),
        _ => ("embedded", settings.general.data_dir.display().to_string()),
    };
    StoreReport { store, place, tables: Vec::new() }
}
