//! Certificates: from files, reread when they change, or self-signed on the first start.

mod files;

#[cfg(test)]
mod tests;

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::{
    config::Settings,
    process::{Phase, Process},
};
use files::{Files, Stamp};

/// A certificate or key that is not usable.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{}: cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be written (the self-signed certificate).
    #[error("{}: cannot be written", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{}: {what}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The self-signed certificate cannot be made.
    #[error("the self-signed certificate: {0}")]
    SelfSigned(String),
}

/// How often files are looked at.
const WATCH_EVERY: Duration = Duration::from_secs(5);

/// Opens the certificate that the front ends of a process serve with, and has it reread when it changes until they end.
///
/// # Errors
/// As [`CertificateStore::open`].
pub fn watched(settings: &Settings, process: &Process) -> Result<TlsAcceptor, TlsError> {
    let certificates = CertificateStore::open(settings)?;
    let acceptor = certificates.acceptor();
    let stop = process.stopped(Phase::Front).clone();
    process.spawn(Phase::Front, async move { certificates.watch(WATCH_EVERY, &stop).await });
    Ok(acceptor)
}

/// The certificate in use, and how to serve with it.
#[derive(Debug)]
pub struct CertificateStore {
    files: Files,
    resolver: Arc<Current>,
    config: Arc<ServerConfig>,
}

impl CertificateStore {
    /// Reads the certificate that the settings name; without one, makes a self-signed one in the data directory, or
    /// takes the one made earlier.
    ///
    /// # Errors
    /// Names the file that is missing, unreadable or wrong.
    pub fn open(settings: &Settings) -> Result<Self, TlsError> {
        let files = Files::of(settings)?;
        let key = files.load()?;
        let resolver = Arc::new(Current(ArcSwap::from_pointee(key)));
        let provider = Arc::new(aws_lc_rs::default_provider());
        let fault = |error: rustls::Error| TlsError::SelfSigned(error.to_string());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(fault)?
            .with_no_client_auth()
            .with_cert_resolver(resolver.clone());
        // Resumption by tickets: no state here, and the next connection saves a signature and a round trip.
        config.ticketer = aws_lc_rs::Ticketer::new().map_err(fault)?;
        config.send_tls13_tickets = 1;
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        Ok(Self { files, resolver, config: Arc::new(config) })
    }

    /// Accepts TLS connections with whatever certificate is in use then.
    #[must_use]
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.clone())
    }

    /// The certificate's file: for a self-signed one, what a client may be told to trust.
    #[must_use]
    pub fn certificate_path(&self) -> &std::path::Path {
        &self.files.cert
    }

    /// Reads the files again.
    ///
    /// # Errors
    /// What is wrong with them; the certificate in use stays.
    pub fn reload(&self) -> Result<(), TlsError> {
        let key = self.files.load()?;
        self.resolver.0.store(Arc::new(key));
        Ok(())
    }

    /// Looks at the files every few seconds and rereads them once they have changed, until `stop`. Files that are not
    /// good (one of two replaced so far, say) leave the last good certificate in use, and are tried again.
    pub async fn watch(&self, every: Duration, stop: &CancellationToken) {
        let mut seen = self.files.stamp();
        let mut faulty: Option<Stamp> = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(every) => {}
            }
            let stamp = self.files.stamp();
            if stamp == seen {
                continue;
            }
            match self.reload() {
                Ok(()) => {
                    tracing::info!(file = %self.files.cert.display(), "the certificate was reread");
                    (seen, faulty) = (stamp, None);
                }
                Err(error) if faulty.as_ref() != Some(&stamp) => {
                    tracing::error!(%error, "the new certificate is not usable, the old one stays");
                    faulty = Some(stamp);
                }
                Err(_) => {}
            }
        }
    }
}

#[derive(Debug)]
struct Current(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}
