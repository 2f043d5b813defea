//! `puro serve`: blob, metadata, SMTP and POP3 in one process, joined by gRPC over in-memory connections.

use std::process::ExitCode;

use puro_api::{Backend, Endpoint, in_process};
use puro_serve::{
    config::{Service, Settings},
    grpc,
    listener::{self, Wanted},
    process::{self, Flags, Process, StartError},
    tls,
};
use tonic::service::Routes;

use crate::first_start;

/// Connections to each back end: one is served by one task on either side, and there is more than one core.
const CONNECTIONS: usize = 2;

/// Serves until a signal ends it.
pub(crate) fn run(flags: &Flags) -> ExitCode {
    process::run(Service::Puro, flags, build)
}

/// Starts what others rest on first: stores, back ends, account, and then the listeners that clients see.
async fn build(settings: Settings, process: Process) -> Result<(), StartError> {
    let tls = tls::watched(&settings, &process)?;
    let listeners = listener::bind(&[
        Wanted { key: "metadata.listen", listen: settings.metadata.listen, implicit_tls: false },
        Wanted { key: "blob.listen", listen: settings.blob.listen, implicit_tls: false },
    ])?;

    let blob_routes = puro_blob::open(&settings, &process).await?;
    let blob = join("blob", &blob_routes, &process);
    let metadata_routes = puro_metadata::open(&settings, blob.clone(), &process).await?;
    let metadata = join("metadata", &metadata_routes, &process);
    // The operator's commands come by TCP, as they do where each service is a process of its own.
    for bound in listeners {
        match bound.key {
            "metadata.listen" => grpc::spawn_tcp("metadata", metadata_routes.clone(), bound, &process),
            _ => grpc::spawn_tcp("blob", blob_routes.clone(), bound, &process),
        };
    }

    let account = first_start::account(&metadata).await?;
    let smtp = puro_smtp::Clients::new(metadata.clone(), blob.clone());
    puro_smtp::spawn(&settings, smtp, Some(tls.clone()), &process)?;
    let pop3 = puro_pop3::Clients::new(metadata, blob);
    puro_pop3::spawn(&settings, pop3, Some(tls), &process)?;
    process.readiness().set();
    if let Some(account) = account {
        first_start::tell(&account, &process);
    }
    Ok(())
}

/// Serves a back end inside the process; returns the way to it.
fn join(name: &'static str, routes: &Routes, process: &Process) -> Backend {
    let (connector, incoming) = in_process();
    grpc::spawn_in_process(name, routes.clone(), incoming, process);
    let settings = puro_api::Settings { connections: CONNECTIONS, ..puro_api::Settings::default() };
    Backend::new(Endpoint::InProcess(connector), settings)
}
