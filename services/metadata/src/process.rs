//! The service in a process: its store, its worker, its gRPC services.

use std::{path::PathBuf, sync::Arc};

use async_trait::async_trait;
use puro_api::{Backend, BlobClient};
use puro_serve::{
    config::{MetadataStore, Settings},
    grpc,
    listener::{self, Wanted},
    process::{Phase, Process, StartError},
};
use tonic::service::Routes;

use crate::{
    Metadata, MetadataConfig, Segments, SegmentsError, SystemClock, SystemRandom, metrics, routes,
    store::{
        ItemStore,
        counted::CountedStore,
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
    let store = CountedStore::new(open_store(settings).await?);
    metrics::watch_units(&store.counts());
    let config = MetadataConfig { worker: settings.general.hostname.clone(), ..MetadataConfig::default() };
    let segments = Arc::new(BlobSegments(BlobClient::new(blob)));
    let metadata =
        Metadata::new(Arc::new(store), segments, Arc::new(SystemClock), Arc::new(SystemRandom), config)
            .map_err(StartError::other)?;
    let metadata = Arc::new(metadata);
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

async fn open_store(settings: &Settings) -> Result<Arc<dyn ItemStore>, StartError> {
    match settings.metadata.store {
        MetadataStore::Memory => Ok(Arc::new(MemoryStore::new())),
        MetadataStore::Embedded => {
            let folder: PathBuf = settings.general.data_dir.join(FOLDER);
            // Replaying the journal takes a while, off the runtime's threads.
            let opening =
                tokio::task::spawn_blocking(move || EmbeddedStore::open(&folder, EmbeddedOptions::default()));
            Ok(Arc::new(opening.await.map_err(StartError::other)?.map_err(StartError::other)?))
        }
    }
}

/// Segments behind the blob service.
#[derive(Debug)]
struct BlobSegments(BlobClient);

#[async_trait]
impl Segments for BlobSegments {
    async fn delete(&self, object_names: &[String]) -> Result<(), SegmentsError> {
        self.0.delete_segments(object_names).await.map_err(|failure| SegmentsError(failure.to_string()))
    }
}
