//! The SMTP front end: stateless, any number of them. Sessions are [`puro_smtp_session`]'s; addresses and deliveries are
//! the metadata service's, message bytes the blob service's.
//!
//! What it is: the handler of the machine's questions, the trace fields, and the header's other changes. What it is not:
//! it keeps nothing, and decides nothing about passwords or addresses. Binaries depend on it.

mod handler;
mod header;
mod limits;
mod message;
mod process;
mod record;
mod trace;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use jiff::Timestamp;
use puro_api::{Backend, BlobClient, DeliveryClient, DirectoryClient};
use puro_serve::{
    config::{self, Settings},
    listener::{self, BindErrors, Connection, Front, FrontLimits, Protocol, Refusal, Wanted},
    process::Process,
};
use puro_smtp_session::{BareLineEnds, Config, Limits, Listener, Session, Timeouts};
use tokio_rustls::TlsAcceptor;

pub use handler::SessionHandler;
use handler::Shared;
pub use process::build;
use record::{Metrics, Who};

/// The back ends that sessions talk to.
#[derive(Debug, Clone)]
pub struct Clients {
    /// Who may log in, and where mail goes.
    pub directory: DirectoryClient,
    /// What puts it there.
    pub delivery: DeliveryClient,
    /// Where its bytes go.
    pub blob: BlobClient,
}

impl Clients {
    /// Makes the clients of a metadata service and a blob service.
    pub fn new(metadata: Backend, blob: Backend) -> Self {
        Self {
            directory: DirectoryClient::new(metadata.clone()),
            delivery: DeliveryClient::new(metadata),
            blob: BlobClient::new(blob),
        }
    }
}

/// Where time and chance come from.
#[derive(Debug, Clone, Copy)]
pub struct Sources {
    /// The time of day, for trace fields and identifiers.
    pub now: fn() -> Timestamp,
    /// Random octets; `None` where the system gives none.
    pub random: fn() -> Option<[u8; 11]>,
}

impl Default for Sources {
    fn default() -> Self {
        Self {
            now: Timestamp::now,
            random: || {
                let mut octets = [0; 11];
                getrandom::fill(&mut octets).ok().map(|()| octets)
            },
        }
    }
}

/// The path of the MX listener's setting.
const MX: &str = "smtp.listen";
const SUBMISSION_TLS: &str = "smtp.tls_listen";
const SUBMISSION: &str = "smtp.submission_listen";
/// How long a connection may do without a message; longer where commands may take longer.
const WITHOUT_MESSAGE: Duration = Duration::from_secs(30 * 60);

/// SMTP for the listeners of a front end.
#[derive(Debug)]
pub struct Smtp {
    mx: Arc<Config>,
    submission: Arc<Config>,
    shared: Arc<Shared>,
}

impl Smtp {
    /// Makes the protocol from the settings.
    pub fn new(settings: &Settings, clients: Clients, sources: Sources, tls_available: bool) -> Self {
        let mx = session_config(settings, tls_available);
        let submission = Config { listener: Listener::Submission, ..mx.clone() };
        let hostname = mx.hostname.clone();
        Self {
            mx: Arc::new(mx),
            submission: Arc::new(submission),
            shared: Arc::new(Shared {
                clients,
                sources,
                hostname,
                metrics: Metrics::new(),
                limits: limits::Limits::new(settings),
            }),
        }
    }
}

impl Protocol for Smtp {
    type Machine = Session;
    type Handler = SessionHandler;

    fn session(&self, connection: Connection) -> (Session, SessionHandler) {
        let Connection { peer, port, listener } = connection;
        let config = if listener == MX { &self.mx } else { &self.submission };
        let who = Who { client: peer.ip, port, listener };
        (Session::new(config.clone(), peer), SessionHandler::new(self.shared.clone(), who))
    }

    fn refusal(&self, why: Refusal) -> Bytes {
        // RFC 5321 section 3.8: 421 before the greeting, too.
        Bytes::from_static(match why {
            Refusal::Busy => b"421 4.3.2 Too many connections, try again later\r\n",
            Refusal::TooMany => b"421 4.7.0 Too many connections from your address, try again later\r\n",
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
    let config::Smtp { listen, tls_listen, submission_listen, .. } = settings.smtp;
    let bound = listener::bind(&[
        Wanted { key: MX, listen, implicit_tls: false },
        Wanted { key: SUBMISSION_TLS, listen: tls_listen, implicit_tls: true },
        Wanted { key: SUBMISSION, listen: submission_listen, implicit_tls: false },
    ])?;
    let protocol = Smtp::new(settings, clients, Sources::default(), tls.is_some());
    let front = Front { name: "smtp", protocol, tls, limits: front_limits(settings) };
    listener::spawn(front, bound, process);
    Ok(())
}

fn front_limits(settings: &Settings) -> FrontLimits {
    let config::Smtp { max_connections, max_connections_per_address, write_timeout, .. } = settings.smtp;
    FrontLimits::new(settings, max_connections, max_connections_per_address, write_timeout)
}

fn session_config(settings: &Settings, tls_available: bool) -> Config {
    let smtp = &settings.smtp;
    Config {
        max_message_bytes: smtp.max_message_bytes.0,
        max_recipients: usize::try_from(smtp.max_recipients).unwrap_or(usize::MAX),
        bare_line_ends: match smtp.bare_line_ends {
            config::BareLineEnds::Refuse => BareLineEnds::Refuse,
            config::BareLineEnds::Normalise => BareLineEnds::Normalise,
        },
        tls_available,
        plaintext_auth: settings.general.allow_plaintext_auth,
        timeouts: Timeouts {
            greeting: smtp.command_timeout,
            command: smtp.command_timeout,
            without_message: WITHOUT_MESSAGE.max(smtp.command_timeout),
            data_read: smtp.data_timeout,
            data_total: smtp.message_timeout,
            // The setting is for the whole message, however steadily it trickles.
            data_min_rate: 0,
        },
        limits: Limits {
            errors_before_pause: smtp.max_errors / 2,
            errors: smtp.max_errors.max(1),
            // A mistyped password often counts twice: libraries go on to the next mechanism with it.
            auth_failures: (smtp.max_errors / 2).max(1),
            ..Limits::default()
        },
        ..Config::new(settings.general.hostname.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the comment at `smtp.max_errors` says.
    #[test]
    fn max_errors_means_what_the_settings_say() {
        for (max_errors, pause, errors, logins) in [(10, 5, 10, 5), (1, 0, 1, 1), (0, 0, 1, 1)] {
            let mut settings = Settings::default();
            settings.smtp.max_errors = max_errors;
            let limits = session_config(&settings, false).limits;
            assert_eq!(
                (limits.errors_before_pause, limits.errors, limits.auth_failures, limits.refused_recipients),
                (pause, errors, logins, 100)
            );
        }
    }
}
