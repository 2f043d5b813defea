//! The tables themselves: making them, describing them, changing their capacity.
//!
//! Making tables needs rights that the running service does not; it only describes them, and changes their capacity
//! where the operator asks for it.

use std::{collections::BTreeMap, error::Error, sync::Arc, time::Duration};

use aws_sdk_dynamodb::{
    Client,
    config::{Config, timeout::TimeoutConfig},
    error::{BuildError, ProvideErrorMetadata, SdkError},
    types::{
        AttributeDefinition, BillingMode, KeySchemaElement, KeyType, PointInTimeRecoverySpecification,
        PointInTimeRecoveryStatus, ProvisionedThroughput, ScalarAttributeType, TableDescription, TableStatus,
        TimeToLiveSpecification, TimeToLiveStatus,
    },
};
use futures_util::future::try_join_all;
use puro_aws::{Fault, FaultKind, SdkConfig};
use tokio::time::Instant;

use super::{
    super::{TTL, Table as Ours},
    failure::NO_TABLE,
};

/// Changing tables takes longer than changing items.
const ATTEMPT: Duration = Duration::from_secs(6);
/// Within the deadline of an operator's call.
const OPERATION: Duration = Duration::from_secs(20);
/// How long a new table may take to be there, and its settings to be taken.
const MAKING: Duration = Duration::from_secs(300);
/// Pause between looks at a table in the making.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// The tables' names in DynamoDB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names(Arc<BTreeMap<Ours, String>>);

impl Names {
    /// Returns the names with an operator's prefix: `PREFIX-user` and so on.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        let name = |table: Ours| (table, format!("{prefix}-{}", table.name()));
        Self(Arc::new(Ours::ALL.into_iter().map(name).collect()))
    }

    /// Returns the name of a table.
    #[must_use]
    pub fn of(&self, table: Ours) -> &str {
        // Every table is in the map.
        self.0.get(&table).map_or(table.name(), String::as_str)
    }
}

/// How a table is paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Billing {
    /// By the request.
    OnDemand,
    /// By the hour, for so many units a second.
    Provisioned {
        /// Read capacity units.
        read: u32,
        /// Write capacity units.
        write: u32,
    },
}

/// Whether something is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switch {
    /// It is.
    On,
    /// It is not.
    Off,
    /// This endpoint does not know it, as servers that stand in for DynamoDB do not know everything.
    Unsupported,
}

/// A table as DynamoDB describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// `ACTIVE`, `CREATING`, `UPDATING` and so on.
    pub status: String,
    /// How it is paid for.
    pub billing: Billing,
    /// Items, as DynamoDB counted some hours ago.
    pub items: u64,
    /// Octets, likewise.
    pub bytes: u64,
    /// Whether its key is the one that this program uses.
    pub has_our_key: bool,
    /// Whether it must be unprotected before it can be deleted.
    pub deletion_protection: bool,
    /// Whether it can be restored to any second of the last 35 days.
    pub recovery: Switch,
    /// Whether DynamoDB takes old tombstones away.
    pub expiry: Switch,
}

/// Why something about the tables could not be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// These tables are not there.
    #[error("DynamoDB has no table {}", .0.join(", "))]
    Missing(Vec<String>),
    /// A table is there and is not ours.
    #[error("the table {0} has another key than PuRo's")]
    Foreign(String),
    /// DynamoDB does not answer, or does not let us.
    #[error("DynamoDB: {0}")]
    Unavailable(String),
    /// DynamoDB refuses it.
    #[error("DynamoDB: {0}")]
    Refused(String),
}

/// The way to the tables.
#[derive(Debug, Clone)]
pub struct Tables {
    client: Client,
    names: Names,
}

impl Tables {
    pub(super) fn new(config: &SdkConfig, names: Names) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(1))
            .operation_attempt_timeout(ATTEMPT)
            .operation_timeout(OPERATION)
            .build();
        let patient = Config::from(config).to_builder().timeout_config(timeouts).build();
        Self { client: Client::from_conf(patient), names }
    }

    /// Returns the tables' names.
    #[must_use]
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Makes sure that every table is there, with our key, and can be used.
    ///
    /// # Errors
    /// [`TableError`]; all that are missing are named.
    pub async fn check(&self) -> Result<(), TableError> {
        let looks = try_join_all(Ours::ALL.map(|table| self.look(table))).await?;
        let found = Ours::ALL.into_iter().zip(looks);
        let mut missing = Vec::new();
        for (table, look) in found {
            let name = self.names.of(table).to_owned();
            match look {
                Some(look) if !has_our_key(table, &look) => return Err(TableError::Foreign(name)),
                Some(look) if is_usable(&look) => {}
                // In the making, or being deleted.
                Some(_) | None => missing.push(name),
            }
        }
        if missing.is_empty() { Ok(()) } else { Err(TableError::Missing(missing)) }
    }

    /// Describes a table; `None` where it is not there.
    ///
    /// # Errors
    /// [`TableError::Unavailable`], [`TableError::Refused`].
    pub async fn describe(&self, table: Ours) -> Result<Option<Table>, TableError> {
        let Some(look) = self.look(table).await? else { return Ok(None) };
        Ok(Some(Table {
            status: look.table_status().map_or("UNKNOWN", TableStatus::as_str).to_owned(),
            billing: billing_of(&look),
            items: unsigned(look.item_count()),
            bytes: unsigned(look.table_size_bytes()),
            has_our_key: has_our_key(table, &look),
            deletion_protection: look.deletion_protection_enabled().unwrap_or(false),
            recovery: self.recovery(table).await?,
            expiry: self.expiry(table).await?,
        }))
    }

    /// Makes a table with all that belongs to it and waits until it can be used. It must not be there.
    ///
    /// # Errors
    /// [`TableError`]. A table that was made stays where its settings could not be set; [`Tables::describe`] shows it.
    pub async fn create(&self, table: Ours, billing: Billing) -> Result<(), TableError> {
        let (mode, throughput) = sdk_billing(billing)?;
        let (attributes, keys) = key_schema(table)?;
        let request = self
            .client
            .create_table()
            .table_name(self.names.of(table))
            .set_attribute_definitions(Some(attributes))
            .set_key_schema(Some(keys))
            .billing_mode(mode)
            .set_provisioned_throughput(throughput)
            .deletion_protection_enabled(true);
        match Box::pin(request.send()).await {
            // The echo of an attempt whose answer was lost, or somebody makes it at the same time.
            Err(error) if Fault::of(&error).code.as_deref() == Some(IS_THERE) => {}
            made => drop(made.map_err(|error| failure(&error))?),
        }
        self.until_usable(table).await?;
        if table.expires() {
            self.switch_expiry_on(table).await?;
        }
        self.switch_recovery_on(table).await
    }

    /// Lets DynamoDB take old tombstones away.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn switch_expiry_on(&self, table: Ours) -> Result<(), TableError> {
        let expiry = TimeToLiveSpecification::builder().enabled(true).attribute_name(TTL);
        let request = self
            .client
            .update_time_to_live()
            .table_name(self.names.of(table))
            .time_to_live_specification(expiry.build().map_err(|error| unsent(&error))?);
        supported(Box::pin(request.send()).await).map(drop)
    }

    /// Changes how a table is paid for, if it differs. The change goes on for some minutes after this returns.
    ///
    /// # Errors
    /// [`TableError`]; `Refused` while another change goes on, or where DynamoDB's limits forbid it.
    pub async fn set_billing(&self, table: Ours, billing: Billing) -> Result<(), TableError> {
        let name = self.names.of(table);
        let look = self.look(table).await?.ok_or_else(|| TableError::Missing(vec![name.to_owned()]))?;
        if billing_of(&look) == billing {
            return Ok(());
        }
        let (mode, throughput) = sdk_billing(billing)?;
        let request = self
            .client
            .update_table()
            .table_name(name)
            .billing_mode(mode)
            .set_provisioned_throughput(throughput);
        Box::pin(request.send()).await.map(drop).map_err(|error| failure(&error))
    }

    async fn look(&self, table: Ours) -> Result<Option<TableDescription>, TableError> {
        let request = self.client.describe_table().table_name(self.names.of(table));
        match Box::pin(request.send()).await {
            Ok(answer) => Ok(answer.table),
            Err(error) if Fault::of(&error).code.as_deref() == Some(NO_TABLE) => Ok(None),
            Err(error) => Err(failure(&error)),
        }
    }

    async fn until_usable(&self, table: Ours) -> Result<(), TableError> {
        let end = Instant::now() + MAKING;
        loop {
            if self.look(table).await?.is_some_and(|look| is_usable(&look)) {
                return Ok(());
            }
            if Instant::now() >= end {
                let name = self.names.of(table);
                return Err(TableError::Unavailable(format!("the table {name} is still in the making")));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn switch_recovery_on(&self, table: Ours) -> Result<(), TableError> {
        let end = Instant::now() + MAKING;
        loop {
            let recovery = PointInTimeRecoverySpecification::builder().point_in_time_recovery_enabled(true);
            let request = self
                .client
                .update_continuous_backups()
                .table_name(self.names.of(table))
                .point_in_time_recovery_specification(recovery.build().map_err(|error| unsent(&error))?);
            let outcome = Box::pin(request.send()).await;
            let is_too_early = outcome.as_ref().err().and_then(ProvideErrorMetadata::code) == Some(TOO_EARLY);
            if !is_too_early || Instant::now() >= end {
                return supported(outcome).map(drop);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn recovery(&self, table: Ours) -> Result<Switch, TableError> {
        let request = self.client.describe_continuous_backups().table_name(self.names.of(table));
        let Some(answer) = supported(Box::pin(request.send()).await)? else { return Ok(Switch::Unsupported) };
        let status = answer
            .continuous_backups_description()
            .and_then(|backups| backups.point_in_time_recovery_description())
            .and_then(|recovery| recovery.point_in_time_recovery_status());
        Ok(switch(status == Some(&PointInTimeRecoveryStatus::Enabled)))
    }

    async fn expiry(&self, table: Ours) -> Result<Switch, TableError> {
        let request = self.client.describe_time_to_live().table_name(self.names.of(table));
        let Some(answer) = supported(Box::pin(request.send()).await)? else { return Ok(Switch::Unsupported) };
        let Some(expiry) = answer.time_to_live_description() else { return Ok(Switch::Off) };
        let is_on = matches!(
            expiry.time_to_live_status(),
            Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling)
        );
        Ok(switch(is_on && expiry.attribute_name() == Some(TTL)))
    }
}

/// DynamoDB's name for a table that is there already, or being changed.
const IS_THERE: &str = "ResourceInUseException";
/// DynamoDB's name for a table that is too new for backups.
const TOO_EARLY: &str = "ContinuousBackupsUnavailableException";
/// What an endpoint answers that does not know an operation.
const UNKNOWN_OPERATION: &str = "UnknownOperationException";

/// Returns the answer; `None` where the endpoint does not know the operation.
fn supported<T, E>(outcome: Result<T, SdkError<E>>) -> Result<Option<T>, TableError>
where
    E: ProvideErrorMetadata + Error + 'static,
{
    match outcome {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if Fault::of(&error).code.as_deref() == Some(UNKNOWN_OPERATION) => Ok(None),
        Err(error) => Err(failure(&error)),
    }
}

fn failure<E>(error: &SdkError<E>) -> TableError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let fault = Fault::of(error);
    match fault.kind {
        FaultKind::Refused | FaultKind::Unsent => TableError::Refused(fault.text),
        _ => TableError::Unavailable(fault.text),
    }
}

fn unsent(error: &BuildError) -> TableError {
    TableError::Refused(error.to_string())
}

fn key_schema(table: Ours) -> Result<(Vec<AttributeDefinition>, Vec<KeySchemaElement>), TableError> {
    let mut parts = vec![(table.partition_attribute(), KeyType::Hash)];
    parts.extend(table.sort_attribute().map(|name| (name, KeyType::Range)));
    let mut attributes = Vec::new();
    let mut keys = Vec::new();
    for (name, kind) in parts {
        let attribute =
            AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S);
        attributes.push(attribute.build().map_err(|error| unsent(&error))?);
        let key = KeySchemaElement::builder().attribute_name(name).key_type(kind);
        keys.push(key.build().map_err(|error| unsent(&error))?);
    }
    Ok((attributes, keys))
}

fn has_our_key(table: Ours, look: &TableDescription) -> bool {
    let named = |kind: &KeyType| {
        let part = look.key_schema().iter().find(|part| part.key_type() == kind);
        part.map(KeySchemaElement::attribute_name)
    };
    named(&KeyType::Hash) == Some(table.partition_attribute())
        && named(&KeyType::Range) == table.sort_attribute()
        && look.attribute_definitions().iter().all(|part| *part.attribute_type() == ScalarAttributeType::S)
}

fn is_usable(look: &TableDescription) -> bool {
    matches!(look.table_status(), Some(TableStatus::Active | TableStatus::Updating))
}

fn billing_of(look: &TableDescription) -> Billing {
    let mode = look.billing_mode_summary().and_then(|summary| summary.billing_mode());
    if mode == Some(&BillingMode::PayPerRequest) {
        return Billing::OnDemand;
    }
    let units = |units: Option<i64>| units.and_then(|units| u32::try_from(units).ok()).unwrap_or(0);
    let throughput = look.provisioned_throughput();
    Billing::Provisioned {
        read: units(throughput.and_then(|throughput| throughput.read_capacity_units())),
        write: units(throughput.and_then(|throughput| throughput.write_capacity_units())),
    }
}

fn sdk_billing(billing: Billing) -> Result<(BillingMode, Option<ProvisionedThroughput>), TableError> {
    match billing {
        Billing::OnDemand => Ok((BillingMode::PayPerRequest, None)),
        Billing::Provisioned { read, write } => {
            let throughput = ProvisionedThroughput::builder()
                .read_capacity_units(read.into())
                .write_capacity_units(write.into());
            Ok((BillingMode::Provisioned, Some(throughput.build().map_err(|error| unsent(&error))?)))
        }
    }
}

const fn switch(is_on: bool) -> Switch {
    if is_on { Switch::On } else { Switch::Off }
}

fn unsigned(number: Option<i64>) -> u64 {
    number.and_then(|number| u64::try_from(number).ok()).unwrap_or(0)
}
