//! Making the tables, describing them, changing their capacity, and starting without them.

use std::{collections::BTreeMap, net::SocketAddr, path::Path, process::Stdio, sync::Arc, time::Duration};

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};
use puro_api::{
    AdminClient, Backend, Endpoint,
    model::{ConfigEntry, Domain},
};
use puro_metadata::{
    Metadata,
    setup::{Connected, StoreReport, connect, init_tables, tables_status},
    store::{
        Table,
        dynamodb::{Billing, DEADLINES, Switch, TableError},
    },
};
use puro_serve::config::Settings;
use puro_stand_ins::{Fault, FaultProxy, Rule};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::{Child, Command},
    time::timeout,
};

use crate::{
    rig::{bare, fresh, settings, source},
    world::World,
};

fn billing(report: &StoreReport, connected: &Connected, table: Table) -> Billing {
    let name = connected.tables.names().of(table);
    let found = report.tables.iter().find(|found| found.name == name);
    found.unwrap().live.as_ref().unwrap().billing
}

#[tokio::test]
async fn init_makes_what_is_missing_and_leaves_what_is_there() {
    let connected = bare().await;
    let before = tables_status(&connected).await.unwrap();
    assert!(!before.is_ready());
    assert!(before.tables.iter().all(|table| table.live.is_none() && !table.made));
    let Err(TableError::Missing(missing)) = connected.tables.check().await else { panic!("they are there") };
    assert_eq!(missing.len(), Table::ALL.len());

    let first = init_tables(&connected).await.unwrap();
    assert!(first.is_ready());
    assert!(first.tables.iter().all(|table| table.made));
    assert_eq!(connected.tables.check().await, Ok(()));
    for table in Table::ALL {
        assert_eq!(billing(&first, &connected, table), Billing::OnDemand);
    }
    let name = connected.tables.names().of(Table::MetaMail);
    let mail = first.tables.iter().find(|table| table.name == name).unwrap().live.clone().unwrap();
    assert!(mail.has_our_key);
    assert_eq!(mail.expiry, Switch::On);

    let second = init_tables(&connected).await.unwrap();
    assert!(second.tables.iter().all(|table| !table.made));
    assert_eq!(second, tables_status(&connected).await.unwrap());
}

#[tokio::test]
async fn another_programs_table_is_not_taken_for_ours() {
    let connected = bare().await;
    let name = connected.tables.names().of(Table::MetaMail);
    let config = puro_aws::load(&source(None), DEADLINES).await.unwrap();
    let key = KeySchemaElement::builder().attribute_name("id").key_type(KeyType::Hash).build().unwrap();
    let id = AttributeDefinition::builder().attribute_name("id").attribute_type(ScalarAttributeType::N);
    let request = aws_sdk_dynamodb::Client::new(&config)
        .create_table()
        .table_name(name)
        .key_schema(key)
        .attribute_definitions(id.build().unwrap())
        .billing_mode(BillingMode::PayPerRequest);
    request.send().await.unwrap();
    assert_eq!(connected.tables.check().await, Err(TableError::Foreign(name.to_owned())));
    let report = init_tables(&connected).await.unwrap();
    assert!(!report.is_ready());
    let wrong = report.tables.iter().find(|table| table.name == name).unwrap();
    assert!(wrong.differences[0].contains("another program's"), "{wrong:?}");
}

/// The mail logic on these tables.
fn service(connected: Connected) -> Arc<Metadata> {
    let tables = connected.tables.clone();
    let world = World::new();
    let metadata = world.replica_on(Arc::new(connected.store));
    Arc::new(Arc::into_inner(metadata).unwrap().with_tables(tables))
}

#[tokio::test]
async fn capacity_units_change_the_live_tables() {
    let connected = fresh().await;
    let settings = settings_of(&connected);
    let metadata = service(connected);
    let set = async |name: &str, value: &str| {
        let entry = ConfigEntry { name: name.to_owned(), value: value.to_owned() };
        metadata.set_config(&entry).await.unwrap();
        let connected = connect(&settings, &source(None)).await.unwrap();
        let report = tables_status(&connected).await.unwrap();
        let busy = billing(&report, &connected, Table::MetaMail);
        assert_eq!(billing(&report, &connected, Table::Folder), busy);
        assert_eq!(billing(&report, &connected, Table::Config), Billing::OnDemand);
        let told = report.tables.iter().flat_map(|table| &table.differences);
        assert!(!told.into_iter().any(|told| told.contains("it is paid")), "{report:?}");
        busy
    };
    assert_eq!(set("read_capacity_units", "30").await, Billing::OnDemand, "one alone says nothing");
    assert_eq!(set("write_capacity_units", "20").await, Billing::Provisioned { read: 30, write: 20 });
    assert_eq!(set("write_capacity_units", "20").await, Billing::Provisioned { read: 30, write: 20 });
    assert_eq!(set("read_capacity_units", "40").await, Billing::Provisioned { read: 40, write: 20 });
    assert_eq!(set("read_capacity_units", "0").await, Billing::OnDemand);
}

#[tokio::test]
async fn new_tables_are_made_as_the_settings_say_and_others_are_told_of() {
    let connected = fresh().await;
    let settings = settings_of(&connected);
    let world = World::new();
    // A service without the way to the tables: the rows are stored, the tables stay.
    let metadata = world.replica_on(Arc::new(connected.store));
    for (name, value) in [("read_capacity_units", "7"), ("write_capacity_units", "5")] {
        let entry = ConfigEntry { name: name.to_owned(), value: value.to_owned() };
        metadata.set_config(&entry).await.unwrap();
    }
    let connected = connect(&settings, &source(None)).await.unwrap();
    let report = init_tables(&connected).await.unwrap();
    let name = connected.tables.names().of(Table::Queue);
    let queue = report.tables.iter().find(|table| table.name == name).unwrap();
    assert!(queue.differences.iter().any(|told| told.contains("7 read and 5 write")), "{queue:?}");
    assert_eq!(billing(&report, &connected, Table::Queue), Billing::OnDemand, "told, not changed");
}

fn settings_of(connected: &Connected) -> Settings {
    let mut settings = settings();
    let name = connected.tables.names().of(Table::User);
    settings.dynamodb.table_prefix = name.strip_suffix("-user").unwrap().to_owned();
    settings
}

#[tokio::test]
async fn nobody_there_is_told_from_nothing_there() {
    let proxy = FaultProxy::before_dynamodb();
    proxy.take_down();
    let connected = connect(&settings(), &source(Some(proxy.endpoint()))).await.unwrap();
    let error = connected.tables.check().await.unwrap_err();
    assert!(matches!(error, TableError::Unavailable(_)), "{error:?}");
}

/// Returns the service as a process on DynamoDB, with nothing of it from the environment of the tests.
fn service_process(folder: &Path, variables: &[(&str, String)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_puro-metadata"));
    command
        .kill_on_drop(true)
        .envs(variables.iter().map(|(name, value)| (*name, value.as_str())))
        .env("PURO_METADATA_STORE", "dynamodb")
        .env("PURO_METADATA_LISTEN", "127.0.0.1:0")
        .env("PURO_ADMIN_LISTEN", "127.0.0.1:0")
        .env("PURO_DATA_DIR", folder.join("data"))
        .env("PURO_PORTS_FILE", folder.join("ports"));
    command
}

/// Runs the service until it ends by itself.
async fn refused(variables: &[(&str, String)]) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = service_process(folder.path(), variables);
    let output = timeout(Duration::from_secs(60), command.output()).await.unwrap().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test]
async fn a_service_without_its_tables_says_what_to_run() {
    let mut variables = puro_stand_ins::dynamodb().environment().to_vec();
    variables.push(("PURO_DYNAMODB_TABLE_PREFIX", puro_stand_ins::fresh_name()));
    let (code, said) = refused(&variables).await;
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains("run `puro store init`") && said.contains("-meta_mail"), "{said}");
}

#[tokio::test]
async fn a_service_without_a_region_says_so() {
    let mut variables = puro_stand_ins::dynamodb().environment().to_vec();
    variables.retain(|(name, _)| *name != "AWS_REGION");
    variables.push(("AWS_REGION", String::new()));
    variables.push(("AWS_DEFAULT_REGION", String::new()));
    variables.push(("AWS_CONFIG_FILE", "/nonexistent".to_owned()));
    let (code, said) = refused(&variables).await;
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains("AWS_REGION"), "{said}");
}

#[tokio::test]
async fn a_service_without_credentials_says_so() {
    let mut variables = puro_stand_ins::dynamodb().environment().to_vec();
    variables.retain(|(name, _)| !name.contains("KEY"));
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
        variables.push((name, String::new()));
    }
    for name in ["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"] {
        variables.push((name, "/nonexistent".to_owned()));
    }
    let (code, said) = refused(&variables).await;
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains("credential"), "{said}");
}

#[tokio::test]
async fn init_goes_on_where_an_answer_was_lost() {
    let proxy = FaultProxy::before_dynamodb();
    proxy.set(Rule::new(Fault::ResetAfter).on(&["CreateTable"]).at_most(3));
    let connected = connect(&settings(), &source(Some(proxy.endpoint()))).await.unwrap();
    let report = init_tables(&connected).await.unwrap();
    assert!(report.is_ready(), "{report:?}");
    assert!(proxy.requests_of("CreateTable") > 7);
}

/// Returns where the service listens, once it has told.
async fn ports(child: &mut Child, folder: &Path) -> BTreeMap<String, SocketAddr> {
    let told = timeout(Duration::from_secs(60), async {
        loop {
            if let Ok(text) = std::fs::read_to_string(folder.join("ports")) {
                return text;
            }
            assert_eq!(child.try_wait().unwrap(), None, "it has ended");
            tokio::task::yield_now().await;
        }
    });
    let told = told.await.unwrap();
    let entry = |entry: &str| {
        let (name, address) = entry.split_once(':').unwrap();
        (name.trim_matches('"').to_owned(), address.trim_matches('"').parse().unwrap())
    };
    told.trim().trim_matches(['{', '}']).split(',').map(entry).collect()
}

async fn metrics(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_running_service_tells_what_dynamodb_bills_and_changes_its_tables() {
    let connected = fresh().await;
    let settings = settings_of(&connected);
    let mut variables = puro_stand_ins::dynamodb().environment().to_vec();
    variables.push(("PURO_DYNAMODB_TABLE_PREFIX", settings.dynamodb.table_prefix.clone()));
    let folder = tempfile::tempdir().unwrap();
    let mut command = service_process(folder.path(), &variables);
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    let ports = ports(&mut child, folder.path()).await;

    let there = vec![ports["metadata"]];
    let admin = AdminClient::new(Backend::new(Endpoint::Addresses(there), Default::default()));
    let domain = Domain { name: "example.org".parse().unwrap(), catch_all: None };
    admin.add_domain(domain).await.unwrap();
    for (name, value) in [("read_capacity_units", "9"), ("write_capacity_units", "8")] {
        admin.set_config(ConfigEntry { name: name.to_owned(), value: value.to_owned() }).await.unwrap();
    }
    let report = tables_status(&connected).await.unwrap();
    assert_eq!(billing(&report, &connected, Table::User), Billing::Provisioned { read: 9, write: 8 });

    let text = metrics(ports["admin"]).await;
    let value = |name: &str, labels: &[&str]| {
        let line = text
            .lines()
            .find(|line| line.starts_with(name) && labels.iter().all(|label| line.contains(label)));
        line.unwrap_or_else(|| panic!("no {name} {labels:?} in {text}"))
            .rsplit(' ')
            .next()
            .unwrap()
            .to_owned()
    };
    assert_eq!(value("puro_metadata_dynamodb_write_units_total", &["table=\"domain\"", "verb=\"put\""]), "1");
    assert_eq!(value("puro_metadata_dynamodb_write_units_total", &["table=\"config\"", "verb=\"put\""]), "2");
    assert_eq!(value("puro_metadata_write_units_total", &["table=\"domain\""]), "1", "the counted ones too");
    assert_eq!(value("puro_metadata_dynamodb_read_units_total", &["table=\"config\"", "verb=\"get\""]), "4");
    assert_eq!(value("puro_metadata_dynamodb_is_down", &[]), "0");
    child.start_kill().unwrap();
    child.wait().await.unwrap();
}
