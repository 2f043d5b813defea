//! The front end as a process of its own: back ends over TCP, a certificate, readiness.

use puro_api::Backend;
use puro_serve::{
    config::Settings,
    process::{Process, StartError},
    tls,
};

use crate::{Clients, spawn};

/// Binds and spawns all there is to the process. It is ready once both back ends have answered.
///
/// # Errors
/// A certificate that is not usable, listeners that cannot be bound.
pub async fn build(settings: Settings, process: Process) -> Result<(), StartError> {
    let tls = tls::watched(&settings, &process)?;
    let (metadata, blob) = (Backend::at(&settings.metadata.url), Backend::at(&settings.blob.url));
    spawn(&settings, Clients::new(metadata.clone(), blob.clone()), Some(tls), &process)?;
    process.ready_after(async move {
        tokio::join!(metadata.reached(), blob.reached());
    });
    Ok(())
}
