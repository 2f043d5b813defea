//! The POP3 front end: stateless, any number of them. Sessions are [`puro_pop3_session`]'s; accounts and listings come
//! from the metadata service, message bytes from the blob service.
//!
//! What it is not: it stores nothing, and decides nothing about passwords. Binaries depend on it.

mod cache;
mod handler;
mod process;
mod record;

use std::sync::Arc;

use bytes::Bytes;
use puro_api::{Backend, BlobClient, DirectoryClient, MaildropClient};
use puro_pop3_session::{Config, Limits, Session, Timeouts};
use puro_serve::{
    config::{self, Settings},
    limit::AddressLimit,
    listener::{self, BindErrors, Connection, Front, FrontLimits, Protocol, Refusal, Wanted},
    process::Process,
};
use tokio_rustls::TlsAcceptor;

use cache::Snapshots;
pub use handler::SessionHandler;
use handler::Shared;
pub use process::build;
use record::{Metrics, Who};

/// Messages in cached listings: about 300 octets each.
const CACHED_MESSAGES: u64 = 100_000;

/// The back ends that sessions talk to.
#[derive(Debug, Clone)]
pub struct Clients {
    /// Who may log in.
    pub directory: DirectoryClient,
    /// What is in a maildrop.
    pub maildrop: MaildropClient,
    /// The bytes of messages.
    pub blob: BlobClient,
}

impl Clients {
    /// Makes the clients of a metadata service and a blob service.
    pub fn new(metadata: Backend, blob: Backend) -> Self {
        Self {
            directory: DirectoryClient::new(metadata.clone()),
            maildrop: MaildropClient::new(metadata),
            blob: BlobClient::new(blob),
        }
    }
}

/// POP3 for the listeners of a front end.
#[derive(Debug)]
pub struct Pop3 {
    config: Arc<Config>,
    shared: Arc<Shared>,
}

impl Pop3 {
    /// Makes the protocol from the settings.
    pub fn new(settings: &Settings, clients: Clients, tls_available: bool) -> Self {
        let snapshots = Snapshots::new(CACHED_MESSAGES);
        Self {
            config: Arc::new(session_config(settings, tls_available)),
            shared: Arc::new(Shared {
                clients,
                snapshots,
                metrics: Metrics::new(),
                failed_logins: AddressLimit::failed_logins(settings),
            }),
        }
    }
}

impl Protocol for Pop3 {
    type Machine = Session;
    type Handler = SessionHandler;

    fn session(&self, connection: Connection) -> (Session, SessionHandler) {
        let Connection { peer, port, listener } = connection;
        let who = Who { client: peer.ip, port, listener, account: None };
        (Session::new(self.config.clone(), peer), SessionHandler::new(self.shared.clone(), who))
    }

    fn refusal(&self, why: Refusal) -> Bytes {
        // RFC 3206 section 4: it may work later.
        Bytes::from_static(match why {
            Refusal::Busy => b"-ERR [SYS/TEMP] too many connections\r\n",
            Refusal::TooMany => b"-ERR [SYS/TEMP] too many connections from your address\r\n",
        })
    }
}

/// Binds the listeners and runs sessions on them until the process drains.
///
/// # Errors
/// The listeners that could not be bound; none is, then.
pub fn spawn(
    settings: &Settings,
    clients: Clients,
    tls: Option<TlsAcceptor>,
    process: &Process,
) -> Result<(), BindErrors> {
    let config::Pop3 { listen, tls_listen, .. } = settings.pop3;
    let bound = listener::bind(&[
        Wanted { key: "pop3.listen", listen, implicit_tls: false },
        Wanted { key: "pop3.tls_listen", listen: tls_listen, implicit_tls: true },
    ])?;
    let protocol = Pop3::new(settings, clients, tls.is_some());
    let front = Front { name: "pop3", protocol, tls, limits: front_limits(settings) };
    listener::spawn(front, bound, process);
    Ok(())
}

fn front_limits(settings: &Settings) -> FrontLimits {
    let config::Pop3 { max_connections, max_connections_per_address, write_timeout, .. } = settings.pop3;
    FrontLimits::new(settings, max_connections, max_connections_per_address, write_timeout)
}

fn session_config(settings: &Settings, tls_available: bool) -> Config {
    let pop3 = &settings.pop3;
    Config {
        implementation: format!("PuRo-Mail-{}", env!("CARGO_PKG_VERSION")),
        tls_available,
        plaintext_auth: settings.general.allow_plaintext_auth,
        timeouts: Timeouts { inactivity: pop3.idle_timeout, ..Timeouts::default() },
        limits: Limits { failed_logins: pop3.max_errors, bad_lines: pop3.max_errors, ..Limits::default() },
        ..Config::new(settings.general.hostname.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// What the comments at `pop3.idle_timeout` and `pop3.max_errors` say; what has no setting is left as it is.
    #[test]
    fn time_and_errors_mean_what_the_settings_say() {
        for (idle_secs, max_errors) in [(600, 10), (3_600, 1), (601, 0)] {
            let mut settings = Settings::default();
            settings.pop3.idle_timeout = Duration::from_secs(idle_secs);
            settings.pop3.max_errors = max_errors;
            let Config { timeouts, limits, .. } = session_config(&settings, false);
            let (wait, others) = (Duration::from_secs(idle_secs), Timeouts::default());
            assert_eq!((timeouts.inactivity, timeouts.login), (wait, others.login));
            assert_eq!((limits.failed_logins, limits.bad_lines), (max_errors, max_errors));
        }
    }
}
