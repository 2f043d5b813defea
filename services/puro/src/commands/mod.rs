//! The operator's commands: each asks a service and shows the answer.

mod alias;
mod check;
mod config;
mod cost;
mod domain;
mod export;
mod import;
mod mail;
mod store;
mod user;

use clap::Subcommand;
use puro_api::{
    AdminClient, AuditClient, Backend, BlobClient, Deadlines, Endpoint, Failure, MaildropClient, Settings,
    TransferClient,
};

use crate::{
    cli::Global,
    exit::{Fault, Place},
    output::Output,
};

/// What the operator can ask for.
#[derive(Debug, Subcommand)]
pub(crate) enum Request {
    /// Domains served here
    #[command(subcommand)]
    Domain(domain::Request),
    /// Accounts
    #[command(subcommand)]
    User(user::Request),
    /// Addresses that stand for others
    #[command(subcommand)]
    Alias(alias::Request),
    /// Settings of the whole system, kept in the store
    #[command(subcommand)]
    Config(config::Request),
    /// Mail in a mailbox
    #[command(subcommand)]
    Mail(mail::Request),
    // These two say in their own place what they do.
    Export(export::Request),
    Import(import::Request),
    /// The stores: set up, described, audited
    #[command(subcommand)]
    Store(store::Request),
    /// What a month costs on AWS, from the units that the code spends
    Cost(cost::Request),
    /// Is everything reachable and set up?
    Check,
}

/// Runs a command.
pub(crate) async fn run(session: &Session, request: Request) -> Result<(), Fault> {
    match request {
        Request::Domain(request) => domain::run(session, request).await,
        Request::User(request) => user::run(session, request).await,
        Request::Alias(request) => alias::run(session, request).await,
        Request::Config(request) => config::run(session, request).await,
        Request::Mail(request) => mail::run(session, request).await,
        Request::Export(request) => export::run(session, request).await,
        Request::Import(request) => import::run(session, request).await,
        Request::Store(request) => store::run(session, request).await,
        Request::Cost(request) => cost::run(session, request).await,
        Request::Check => check::run(session).await,
    }
}

/// The services, and where answers go.
pub(crate) struct Session {
    admin: AdminClient,
    audit: AuditClient,
    maildrop: MaildropClient,
    transfer: TransferClient,
    blob: BlobClient,
    metadata_place: Place,
    blob_place: Place,
    settings: puro_serve::config::Settings,
    output: Output,
}

impl Session {
    /// Makes the ways to the services; nothing is connected yet. Must be called in a tokio runtime.
    pub(crate) fn new(global: &Global, settings: &puro_serve::config::Settings) -> Self {
        let calls = Settings { deadlines: Deadlines::all(global.timeout), ..Settings::default() };
        let metadata_url = global.metadata.as_ref().unwrap_or(&settings.metadata.url).clone();
        let blob_url = global.blob.as_ref().unwrap_or(&settings.blob.url).clone();
        let metadata_place =
            Place { name: "metadata", variable: "PURO_METADATA_URL", url: metadata_url.to_string() };
        let blob_place = Place { name: "blob", variable: "PURO_BLOB_URL", url: blob_url.to_string() };
        let metadata = Backend::new(Endpoint::Url(metadata_url), calls);
        Self {
            admin: AdminClient::new(metadata.clone()),
            audit: AuditClient::new(metadata.clone()),
            maildrop: MaildropClient::new(metadata.clone()),
            transfer: TransferClient::new(metadata),
            blob: BlobClient::new(Backend::new(Endpoint::Url(blob_url), calls)),
            metadata_place,
            blob_place,
            settings: settings.clone(),
            output: Output::new(global.json),
        }
    }

    /// Says of a failure that it was the metadata service's.
    fn metadata<T>(&self, outcome: Result<T, Failure>) -> Result<T, Fault> {
        outcome.map_err(|failure| Fault::Call(self.metadata_place.clone(), failure))
    }

    /// Says of a failure that it was the blob service's.
    fn blob<T>(&self, outcome: Result<T, Failure>) -> Result<T, Fault> {
        outcome.map_err(|failure| Fault::Call(self.blob_place.clone(), failure))
    }
}
