//! The front end as a process of its own: back ends over TCP, a certificate, readiness.

use std::time::Duration;

use puro_api::{Backend, Endpoint};
use puro_serve::{
    config::{Settings, Url},
    process::{Phase, Process, StartError},
    tls::{CertificateStore, WATCH_EVERY},
};

use crate::{Clients, spawn};

/// Between two attempts to reach the back ends, before the process is ready for the first time.
const READINESS_RETRY: Duration = Duration::from_millis(500);

/// Binds and spawns all there is to the process. It is ready once both back ends have answered.
///
/// # Errors
/// A certificate that is not usable, listeners that cannot be bound.
pub async fn build(settings: Settings, process: Process) -> Result<(), StartError> {
    let certificates = CertificateStore::open(&settings)?;
    let metadata = backend(&settings.metadata.url)?;
    let blob = backend(&settings.blob.url)?;
    let clients = Clients::new(metadata.clone(), blob.clone());
    spawn(&settings, clients, Some(certificates.acceptor()), &process)?;
    let stop = process.stopped(Phase::Front).clone();
    process.spawn(Phase::Front, async move { certificates.watch(WATCH_EVERY, &stop).await });
    process.spawn(Phase::Front, become_ready(process.clone(), [metadata, blob]));
    Ok(())
}

fn backend(url: &Url) -> Result<Backend, StartError> {
    let endpoint: Endpoint = url.as_str().parse().map_err(|error| StartError::Other(Box::new(error)))?;
    Ok(Backend::new(endpoint, puro_api::Settings::default()))
}

async fn become_ready(process: Process, backends: [Backend; 2]) {
    let in_touch = async {
        for backend in &backends {
            while let Err(failure) = backend.check().await {
                tracing::info!(?backend, error = %failure, "waiting for a back end");
                tokio::time::sleep(READINESS_RETRY).await;
            }
        }
    };
    tokio::select! {
        () = in_touch => process.readiness().set(),
        () = process.stopped(Phase::Front).cancelled() => {}
    }
}
