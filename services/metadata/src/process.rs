//! The service in a process: its store, its worker, its gRPC services.

use std::{path::PathBuf, sync::Arc};

use puro_api::{Backend, BlobClient};
use puro_aws::Source;
use puro_serve::{
    config::{MetadataStore, Settings},
    grpc,
    listener::{self, Wanted},
    process::{Phase, Process, StartError},
};
use tonic::service::Routes;

use crate::{
    BlobSegments, Metadata, MetadataConfig, SystemClock, SystemRandom, metrics, routes, setup,
    store::{
        ItemStore,
        counted::CountedStore,
        dynamodb::{TableError, Tables},
        embedded::{EmbeddedOptions, EmbeddedStore},
        memory::MemoryStore,
    },
};

/// The folder of the items within the data directory.
const FOLDER: &str = "metadata";

/// Opens the store, starts the worker and returns the gRPC services. `blob` is the way to the blob service, which the
/// worker asks to delete segments; it need not answer yet.
///
/// # Errors
/// A store that cannot be opened.
pub async fn open(settings: &Settings, blob: Backend, process: &Process) -> Result<Routes, StartError> {
    let (store, tables) = open_store(settings).await?;
    let store = CountedStore::new(store);
    metrics::watch_units(&store.counts());
    let config = MetadataConfig {
        worker: settings.general.hostname.clone(),
        listed_messages: usize::try_from(settings.metadata.listed_messages).unwrap_or(usize::MAX),
        ..MetadataConfig::default()
    };
    let segments = Arc::new(BlobSegments::new(BlobClient::new(blob)));
    let metadata =
        Metadata::new(Arc::new(store), segments, Arc::new(SystemClock), Arc::new(SystemRandom), config)
            .map_err(StartError::other)?;
    let metadata = Arc::new(match tables {
        Some(tables) => metadata.with_tables(tables),
        None => metadata,
    });
    metrics::watch_logins(metadata.passwords.counts());
    let worker = Arc::clone(&metadata);
    let stop = process.stopped(Phase::Back).clone();
    process.spawn(Phase::Back, async move { worker.run_worker(stop).await });
    Ok(routes(metadata))
}

/// Binds and spawns all there is to `puro-metadata`.
///
/// # Errors
/// A store that cannot be opened, a listener that cannot be bound.
pub async fn build(settings: Settings, process: Process) -> Result<(), StartError> {
    let listeners = listener::bind(&[Wanted {
        key: "metadata.listen",
        listen: settings.metadata.listen,
        implicit_tls: false,
    }])?;
    let blob = Backend::at(&settings.blob.url);
    let routes = open(&settings, blob, &process).await?;
    for bound in listeners {
        grpc::spawn_tcp("metadata", routes.clone(), bound, &process);
    }
    // Deliveries and logins do not wait for the blob service: only clean-up needs it.
    process.readiness().set();
    Ok(())
}

async fn open_store(settings: &Settings) -> Result<(Arc<dyn ItemStore>, Option<Tables>), StartError> {
    match settings.metadata.store {
        MetadataStore::Memory => Ok((Arc::new(MemoryStore::new()), None)),
        MetadataStore::Embedded => {
            let folder: PathBuf = settings.general.data_dir.join(FOLDER);
            // Replaying the journal takes a while, off the runtime's threads.
            let opening =
                tokio::task::spawn_blocking(move || EmbeddedStore::open(&folder, EmbeddedOptions::default()));
            let store = opening.await.map_err(StartError::other)?.map_err(StartError::other)?;
            Ok((Arc::new(store), None))
        }
        MetadataStore::Dynamodb => open_dynamodb(settings).await,
    }
}

/// Makes sure that the tables are there. Were it not for that, every client would be told to come again, for ever.
async fn open_dynamodb(settings: &Settings) -> Result<(Arc<dyn ItemStore>, Option<Tables>), StartError> {
    let unavailable =
        |why: String| StartError::Unavailable(format!("the metadata store is not usable: {why}"));
    let connected = setup::connect(settings, &Source::Chain).await;
    let connected = connected.map_err(|error| unavailable(error.to_string()))?;
    if let Err(error) = connected.tables.check().await {
        let mut why = error.to_string();
        if matches!(error, TableError::Missing(_)) {
            why.push_str(": run `puro store init`");
        }
        return Err(unavailable(why));
    }
    metrics::watch_dynamodb(connected.store.consumed(), connected.store.gate());
    Ok((Arc::new(connected.store), Some(connected.tables)))
}
