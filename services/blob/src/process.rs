//! The service as part of a process: opened by its settings, served, drained.

use std::{error::Error, sync::Arc, time::Duration};

use puro_serve::{
    config::{BlobStore, Settings},
    grpc,
    listener::{self, Wanted},
    process::{Phase, Process, StartError},
};
use tokio::task::spawn_blocking;
use tonic::service::Routes;

use crate::{
    BlobConfig, Blobs,
    metrics::watch_store,
    routes,
    store::{DiskConfig, DiskStore, MemoryStore, Metered, SegmentStore},
};

/// The folder of the segments within the data directory.
const FOLDER: &str = "blob";
/// What a message may gain on its way through a front end: trace fields, normalised line ends.
const HEADROOM: u64 = 1 << 20;

/// Opens the store that the settings name, and returns the service above it. It is drained with the process.
///
/// # Errors
/// The data directory cannot be used, or another process uses it.
pub async fn open(settings: &Settings, process: &Process) -> Result<Routes, StartError> {
    let store = Metered::new(open_store(settings).await?);
    watch_store(store.meter());
    let blobs = Blobs::new(Arc::new(store), config(settings));
    // The server holds the last clone: when it has ended, the writes under way are waited for.
    let (ended, stop) = (blobs.ended(), process.stopped(Phase::Back).clone());
    process.spawn(Phase::Back, async move {
        stop.cancelled().await;
        ended.await;
    });
    Ok(routes(blobs))
}

/// Binds and spawns all there is to `puro-blob`.
///
/// # Errors
/// A store that cannot be opened, a listener that cannot be bound.
pub async fn build(settings: Settings, process: Process) -> Result<(), StartError> {
    let listen = settings.blob.listen;
    let listeners = listener::bind(&[Wanted { key: "blob.listen", listen, implicit_tls: false }])?;
    let routes = open(&settings, &process).await?;
    for bound in listeners {
        grpc::spawn_tcp("blob", routes.clone(), bound, &process);
    }
    process.readiness().set();
    Ok(())
}

async fn open_store(settings: &Settings) -> Result<Arc<dyn SegmentStore>, StartError> {
    match settings.blob.store {
        BlobStore::Memory => Ok(Arc::new(MemoryStore::new())),
        BlobStore::Disk => {
            let folder = settings.general.data_dir.join(FOLDER);
            let opened = spawn_blocking(move || DiskStore::open(&folder, &DiskConfig::default())).await;
            Ok(Arc::new(opened.map_err(other)?.map_err(other)?))
        }
    }
}

fn config(settings: &Settings) -> BlobConfig {
    BlobConfig {
        max_message_bytes: settings.smtp.max_message_bytes.0.saturating_add(HEADROOM),
        linger: Duration::from_millis(settings.blob.linger_ms.into()),
        ..BlobConfig::default()
    }
}

fn other(error: impl Error + Send + Sync + 'static) -> StartError {
    StartError::Other(Box::new(error))
}
