//! The front end as a process of its own: back ends over TCP, a certificate, readiness.

use puro_api::Backend;
use puro_serve::{
    config::Settings,
    process::{Phase, Process, StartError},
    tls::{CertificateStore, WATCH_EVERY},
};

use crate::{Clients, spawn};

/// Binds and spawns all there is to the process. It is ready once both back ends have answered.
///
/// # Errors
/// A certificate that is not usable, listeners that cannot be bound.
pub async fn build(settings: Settings, process: Process) -> Result<(), StartError> {
    let certificates = CertificateStore::open(&settings)?;
    let metadata = Backend::at(settings.metadata.url.as_str()).map_err(StartError::other)?;
    let blob = Backend::at(settings.blob.url.as_str()).map_err(StartError::other)?;
    let clients = Clients::new(metadata.clone(), blob.clone());
    spawn(&settings, clients, Some(certificates.acceptor()), &process)?;
    let stop = process.stopped(Phase::Front).clone();
    process.spawn(Phase::Front, async move { certificates.watch(WATCH_EVERY, &stop).await });
    process.ready_after(async move {
        metadata.reached().await;
        blob.reached().await;
    });
    Ok(())
}
