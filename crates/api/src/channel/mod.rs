//! The way to a service: the addresses of its replicas, and which of them takes the next call.
//!
//! HTTP/2 pins a client to one replica behind a TCP balancer, so a [`Backend`] holds a lazy connection to every address
//! that DNS gives, sends each call to the less busy of two, leaves out the ones that refuse connections for a while,
//! and tries one more time elsewhere when nothing was sent yet.

mod balance;
mod call;
mod endpoint;
mod lane;
mod pipe;

use std::{fmt, sync::Arc, time::Duration};

use puro_types::ServiceUrl;
use tokio::{sync::watch, time::Instant};
use tokio_util::task::AbortOnDropHandle;
use tonic::{Code, Response};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus,
    health_client::HealthClient,
};

use self::{balance::Dice, endpoint::Resolved};
pub(crate) use self::{
    call::{Call, stamp},
    lane::{Busy, Lane, was_not_sent},
};
pub use self::{
    endpoint::Endpoint,
    pipe::{Connector, InProcess, Incoming, Pipe, in_process},
};
use crate::failure::{Effect, Failure};

/// Octets that may be on their way on one stream, and so what a reader that stands still takes here: at a round trip of a
/// millisecond, 256 MB/s.
const STREAM_WINDOW: u32 = 256 << 10;
/// Octets that may be on their way on one connection: no limit but HTTP/2's own (RFC 9113 section 6.9.1). A POP3 client that
/// reads nothing leaves a stream's window unread for as long as it likes, and a few of them would fill any smaller one and
/// hold up everybody.
const CONNECTION_WINDOW: u32 = i32::MAX.cast_unsigned();
/// How often a connection is probed; a dead peer is noticed after this and [`KEEPALIVE_TIMEOUT`].
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// How long a probe may go unanswered.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Between two attempts to reach a service that a process waits for.
const REACH_AGAIN: Duration = Duration::from_millis(500);

/// How long each kind of call may take, retries included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// Checking a password: a slow hash that may have to queue.
    pub authenticate: Duration,
    /// Resolving an address, checking a sender.
    pub lookup: Duration,
    /// Delivering.
    pub deliver: Duration,
    /// Listing a mailbox, all pages.
    pub list: Duration,
    /// Removing messages at QUIT.
    pub remove: Duration,
    /// From the last octet of a stored message to the answer.
    pub store: Duration,
    /// From asking for a message to its first octets.
    pub read: Duration,
    /// Between two pieces of a message, in either direction, while we wait for the other side.
    pub stall: Duration,
    /// An operator's call.
    pub admin: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            authenticate: Duration::from_secs(15),
            lookup: Duration::from_secs(10),
            deliver: Duration::from_secs(30),
            list: Duration::from_secs(30),
            remove: Duration::from_secs(60),
            store: Duration::from_secs(60),
            read: Duration::from_secs(20),
            stall: Duration::from_secs(60),
            admin: Duration::from_secs(30),
        }
    }
}

impl Deadlines {
    /// Returns the same deadline for every kind of call.
    pub fn all(deadline: Duration) -> Self {
        Self {
            authenticate: deadline,
            lookup: deadline,
            deliver: deadline,
            list: deadline,
            remove: deadline,
            store: deadline,
            read: deadline,
            stall: deadline,
            admin: deadline,
        }
    }
}

/// How to reach a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Connections to each address; 0 counts as 1. One connection is served by one task on either side, so that a
    /// single address may want several to use several cores.
    pub connections: usize,
    /// How long connecting to one address may take.
    pub connect_timeout: Duration,
    /// How often names are looked up again.
    pub refresh: Duration,
    /// How long each kind of call may take.
    pub deadlines: Deadlines,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connections: 1,
            connect_timeout: Duration::from_secs(2),
            refresh: Duration::from_secs(5),
            deadlines: Deadlines::default(),
        }
    }
}

/// The way to one service; clones share it. Everything stops when the last clone is dropped.
#[derive(Clone)]
pub struct Backend(Arc<Inner>);

struct Inner {
    name: String,
    settings: Settings,
    resolved: watch::Receiver<Resolved>,
    hurry: Arc<tokio::sync::Notify>,
    dice: Dice,
    _resolver: Option<AbortOnDropHandle<()>>,
}

impl Backend {
    /// Makes the way to a service. Nothing is connected before the first call. Must be called in a tokio runtime.
    pub fn new(endpoint: Endpoint, settings: Settings) -> Self {
        let name = endpoint.to_string();
        let hurry = Arc::new(tokio::sync::Notify::new());
        let (resolved, resolver) = endpoint::resolve(endpoint, settings, hurry.clone());
        Self(Arc::new(Inner { name, settings, resolved, hurry, dice: Dice::new(), _resolver: resolver }))
    }

    /// Asks the service whether it serves, by the standard health protocol. For readiness and for operators.
    ///
    /// # Errors
    /// [`Failure::Unavailable`] where it is not reached or says that it does not serve.
    pub async fn check(&self) -> Result<(), Failure> {
        let call = Call::read("health", self.deadlines().lookup);
        let request = HealthCheckRequest { service: String::new() };
        let outcome = self
            .unary(&call, request, |channel, request| async move {
                match HealthClient::new(channel).check(request).await {
                    // A server without a health service answered all the same.
                    Err(status) if status.code() == Code::Unimplemented => {
                        Ok(Response::new(HealthCheckResponse { status: ServingStatus::Serving.into() }))
                    }
                    other => other,
                }
            })
            .await;
        match outcome {
            Ok(answer) if answer.status() == ServingStatus::Serving => Ok(()),
            Ok(answer) => Err(Failure::Unavailable(format!("{} is {:?}", self.0.name, answer.status()))),
            Err(failure) => Err(failure),
        }
    }

    /// Makes the way to the service at this URL, with default settings. Must be called in a tokio runtime.
    pub fn at(url: &ServiceUrl) -> Self {
        Self::new(Endpoint::Url(url.clone()), Settings::default())
    }

    /// Waits until the service has once said that it serves. For a process that is not ready before that.
    pub async fn reached(&self) {
        while let Err(failure) = self.check().await {
            tracing::info!(backend = self.0.name, error = %failure, "waiting for a back end");
            tokio::time::sleep(REACH_AGAIN).await;
        }
    }

    pub(crate) fn deadlines(&self) -> &Deadlines {
        &self.0.settings.deadlines
    }

    /// Waits until addresses are known, then picks the less busy of two connections that are not in disgrace,
    /// leaving out `avoid` where there is another.
    pub(crate) async fn lane(&self, avoid: Option<&Lane>, deadline: Instant) -> Result<Arc<Lane>, Failure> {
        let mut resolved = self.0.resolved.clone();
        loop {
            let known = resolved.borrow_and_update().clone();
            match known {
                Resolved::Lanes(lanes) => {
                    return balance::pick(&lanes, avoid, &self.0.dice, Instant::now())
                        .ok_or_else(|| Effect::Read.lost(format!("{} has no address", self.0.name)));
                }
                Resolved::Failed(why) => return Err(Effect::Read.lost(format!("{}: {why}", self.0.name))),
                Resolved::Pending => {}
            }
            match tokio::time::timeout_at(deadline, resolved.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => {
                    return Err(
                        Effect::Read.lost(format!("{}: its name was not resolved in time", self.0.name))
                    );
                }
            }
        }
    }

    /// Says whether there is more than one connection to choose from.
    pub(crate) fn has_alternative(&self) -> bool {
        matches!(&*self.0.resolved.borrow(), Resolved::Lanes(lanes) if lanes.len() > 1)
    }

    /// Notes that nothing could be sent this way: the connection is left out for a while, and names are looked up
    /// sooner, since the replica may have moved.
    pub(crate) fn disgrace(&self, lane: &Lane) {
        lane.refused(Instant::now(), &self.0.dice);
        self.0.hurry.notify_one();
    }

    /// Sleeps before a repeat: short, and different for everybody.
    pub(crate) async fn pause(&self, attempt: u32, deadline: Instant) -> bool {
        let pause =
            Duration::from_millis(25 << attempt.min(4)) + self.0.dice.up_to(Duration::from_millis(50));
        if Instant::now() + pause >= deadline {
            return false;
        }
        tokio::time::sleep(pause).await;
        true
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Backend").field(&self.0.name).finish()
    }
}

/// Returns a gRPC server tuned like the clients: windows for streams of message bytes, probes for dead peers.
///
/// Connection age, health, TLS and drain are the affair of who serves.
pub fn server_builder() -> tonic::transport::Server {
    tonic::transport::Server::builder()
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
}
