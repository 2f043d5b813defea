//! The service as part of a process: opened by its settings, served, drained.

use std::{error::Error, path::PathBuf, sync::Arc, time::Duration};

use puro_serve::{
    config::{BlobStore, Faults, Settings},
    grpc,
    listener::{self, Wanted},
    process::{Phase, Process, StartError},
};
use tokio::task::spawn_blocking;
use tonic::service::Routes;

use crate::{
    BlobConfig, Blobs, SetupError,
    metrics::{watch_s3, watch_store},
    routes,
    store::{DiskConfig, DiskStore, MemoryStore, Metered, S3Config, S3Store, SegmentStore},
};

/// The folder of the segments within the data directory.
const FOLDER: &str = "blob";
/// Octets of the largest message, so that no caller fills the store with one. What is taken from clients is for the front
/// ends to say (`smtp.max_message_bytes`), which may be set otherwise than this process; this is above all that they may
/// say, and above what a message gains on its way through them. Memory does not grow with it: large messages are streamed.
const MESSAGE_MAX: u64 = 1 << 30;
/// Batches on their way to S3 at one time: while one is slow, and for more than one connection carries.
const S3_PARALLEL_PUTS: usize = 4;
/// The upper end of what S3 takes for a small object (Amazon S3 User Guide, "Best practices design patterns: optimizing
/// Amazon S3 performance": 100 to 200 ms).
const S3_PUT_PATIENCE: Duration = Duration::from_millis(200);
/// Requests to S3 that wait, for each that runs.
const WAITING_PER_CONNECTION: usize = 8;
/// Bodies that are on their way from S3, for each request that runs.
const READERS_PER_CONNECTION: usize = 4;

/// Opens the store that the settings name, and returns the service above it. It is drained with the process.
///
/// # Errors
/// The data directory cannot be used, or another process uses it; the bucket is not there, or S3 does not answer.
pub async fn open(settings: &Settings, process: &Process) -> Result<Routes, StartError> {
    let (store, s3) = open_store(settings).await?;
    let store = Metered::new(store);
    watch_store(store.meter());
    let blobs = Blobs::new(Arc::new(store), config(settings));
    // The server holds the last clone: when it has ended, the writes under way are waited for.
    let (ended, stop) = (blobs.ended(), process.stopped(Phase::Back).clone());
    process.spawn(Phase::Back, async move {
        stop.cancelled().await;
        ended.await;
        if let Some(s3) = s3 {
            s3.end().await;
        }
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

async fn open_store(settings: &Settings) -> Result<(Arc<dyn SegmentStore>, Option<S3Store>), StartError> {
    match settings.blob.store {
        BlobStore::Memory => Ok((Arc::new(MemoryStore::new()), None)),
        BlobStore::Disk => {
            let folder = disk_folder(settings);
            let opened = spawn_blocking(move || DiskStore::open(&folder, &DiskConfig::default())).await;
            Ok((Arc::new(opened.map_err(other)?.map_err(other)?), None))
        }
        BlobStore::S3 => {
            let store = S3Store::open(s3_config(settings)).await.map_err(|error| match error {
                SetupError::Settings(why) => StartError::Settings(Faults(vec![why])),
                error => StartError::Unavailable(error.to_string()),
            })?;
            watch_s3(store.requests(), store.gate());
            Ok((Arc::new(store.clone()), Some(store)))
        }
    }
}

/// Where segments on disk are.
pub(crate) fn disk_folder(settings: &Settings) -> PathBuf {
    settings.general.data_dir.join(FOLDER)
}

/// The bucket that the settings name.
pub(crate) fn s3_config(settings: &Settings) -> S3Config {
    let settings = &settings.s3;
    let mut config = S3Config {
        bucket: settings.bucket.clone(),
        path_style: settings.path_style,
        kms_key_id: settings.kms_key_id.clone(),
        ..S3Config::default()
    };
    config.gate.in_flight = usize::try_from(settings.max_connections).unwrap_or(usize::MAX);
    config.gate.waiting = config.gate.in_flight.saturating_mul(WAITING_PER_CONNECTION);
    config.readers = config.gate.in_flight.saturating_mul(READERS_PER_CONNECTION);
    config
}

fn config(settings: &Settings) -> BlobConfig {
    let (parallel_puts, put_patience) = match settings.blob.store {
        BlobStore::S3 => (S3_PARALLEL_PUTS, S3_PUT_PATIENCE),
        // A disk writes one thing after the other.
        BlobStore::Disk | BlobStore::Memory => (1, Duration::ZERO),
    };
    BlobConfig {
        max_message_bytes: MESSAGE_MAX,
        linger: Duration::from_millis(settings.blob.linger_ms.into()),
        parallel_puts,
        put_patience,
        ..BlobConfig::default()
    }
}

fn other(error: impl Error + Send + Sync + 'static) -> StartError {
    StartError::Other(Box::new(error))
}
