//! Where a service is, and the upkeep of its addresses.

use std::{
    collections::BTreeSet, fmt, net::IpAddr, net::SocketAddr, str::FromStr, sync::Arc, time::Duration,
};

use http::Uri;
use puro_types::{ServiceUrl, ServiceUrlError};
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::{Channel, Endpoint as Transport};

use super::{
    CONNECTION_WINDOW, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, STREAM_WINDOW, Settings, lane::Lane,
    pipe::Connector,
};

/// The shortest time between two look-ups of a name.
const LOOKUP_SPACING: Duration = Duration::from_secs(1);
/// How long a look-up may take.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
/// The authority that calls inside the process name.
const IN_PROCESS: &str = "http://in-process";

/// Where a service is.
#[derive(Debug, Clone)]
pub enum Endpoint {
    /// Behind a host name or an address, over TCP.
    Url(ServiceUrl),
    /// At these addresses, over TCP: a system without DNS, or a test.
    Addresses(Vec<SocketAddr>),
    /// In this process, or wherever the connector leads.
    InProcess(Connector),
}

impl FromStr for Endpoint {
    type Err = ServiceUrlError;

    fn from_str(text: &str) -> Result<Self, ServiceUrlError> {
        text.parse().map(Self::Url)
    }
}

impl From<Connector> for Endpoint {
    fn from(connector: Connector) -> Self {
        Self::InProcess(connector)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => fmt::Display::fmt(url, f),
            Self::Addresses(addresses) => write!(f, "{addresses:?}"),
            Self::InProcess(_) => f.write_str("in-process"),
        }
    }
}

/// What is known of a service's addresses.
#[derive(Clone)]
pub(super) enum Resolved {
    /// The first look-up is under way.
    Pending,
    /// No look-up succeeded so far.
    Failed(String),
    /// The connections to the addresses of the last look-up that gave any.
    Lanes(Arc<[Arc<Lane>]>),
}

/// Begins to keep a service's addresses. A name is looked up at once, then every `refresh`, and sooner when `hurry` is
/// notified; the last good set stays when a look-up fails. The task ends with the handle.
pub(super) fn resolve(
    endpoint: Endpoint,
    settings: Settings,
    hurry: Arc<Notify>,
) -> (watch::Receiver<Resolved>, Option<AbortOnDropHandle<()>>) {
    let copies = settings.connections.max(1);
    match endpoint {
        Endpoint::InProcess(connector) => {
            let lanes = (0..copies).map(|_| Arc::new(Lane::new(None, pipe_channel(&connector)))).collect();
            (watch::channel(Resolved::Lanes(lanes)).1, None)
        }
        Endpoint::Addresses(addresses) => {
            let lanes = lanes_to(None, settings, addresses, &[]);
            (watch::channel(Resolved::Lanes(lanes)).1, None)
        }
        Endpoint::Url(url) => match url.host().parse::<IpAddr>() {
            Ok(ip) => {
                let lanes = lanes_to(Some(&url), settings, [SocketAddr::new(ip, url.port())], &[]);
                (watch::channel(Resolved::Lanes(lanes)).1, None)
            }
            Err(_) => {
                let (sender, receiver) = watch::channel(Resolved::Pending);
                let upkeep = tokio::spawn(keep_resolved(url, settings, sender, hurry));
                (receiver, Some(AbortOnDropHandle::new(upkeep)))
            }
        },
    }
}

async fn keep_resolved(
    url: ServiceUrl,
    settings: Settings,
    sender: watch::Sender<Resolved>,
    hurry: Arc<Notify>,
) {
    loop {
        match look_up(&url).await {
            Ok(addresses) => publish(&url, settings, &addresses, &sender),
            Err(why) => {
                tracing::debug!(%url, why, "name not resolved");
                sender.send_if_modified(|resolved| match resolved {
                    Resolved::Lanes(_) => false,
                    Resolved::Pending | Resolved::Failed(_) => {
                        *resolved = Resolved::Failed(why);
                        true
                    }
                });
            }
        }
        let unresolved = !matches!(*sender.borrow(), Resolved::Lanes(_));
        tokio::time::sleep(LOOKUP_SPACING).await;
        if !unresolved {
            let rest = settings.refresh.saturating_sub(LOOKUP_SPACING);
            // Either the time is up or somebody hurries: both mean the next look-up.
            let _ = timeout(rest, hurry.notified()).await;
        }
    }
}

/// Looks up a name; all its addresses, each once, in a stable order.
async fn look_up(url: &ServiceUrl) -> Result<BTreeSet<SocketAddr>, String> {
    let found = timeout(LOOKUP_TIMEOUT, tokio::net::lookup_host((url.host(), url.port())))
        .await
        .map_err(|_| "the look-up took too long".to_owned())?
        .map_err(|error| error.to_string())?;
    let addresses: BTreeSet<_> = found.collect();
    if addresses.is_empty() { Err("the name has no address".to_owned()) } else { Ok(addresses) }
}

/// Puts the new set in place of the old, if it differs; connections to addresses in both are kept.
fn publish(
    url: &ServiceUrl,
    settings: Settings,
    addresses: &BTreeSet<SocketAddr>,
    sender: &watch::Sender<Resolved>,
) {
    sender.send_if_modified(|resolved| {
        let old: &[Arc<Lane>] = match resolved {
            Resolved::Lanes(lanes) => lanes,
            Resolved::Pending | Resolved::Failed(_) => &[],
        };
        if old.iter().filter_map(|lane| lane.address()).collect::<BTreeSet<_>>() == *addresses {
            return false;
        }
        tracing::debug!(%url, ?addresses, "addresses changed");
        *resolved = Resolved::Lanes(lanes_to(Some(url), settings, addresses.iter().copied(), old));
        true
    });
}

/// Makes the connections to addresses, keeping those of `old` that lead there. The server is told `origin`, or else its
/// own address.
fn lanes_to(
    origin: Option<&ServiceUrl>,
    settings: Settings,
    addresses: impl IntoIterator<Item = SocketAddr>,
    old: &[Arc<Lane>],
) -> Arc<[Arc<Lane>]> {
    let mut lanes = Vec::new();
    for address in addresses {
        let kept = old.iter().filter(|lane| lane.address() == Some(address)).cloned();
        let fresh = || Arc::new(Lane::new(Some(address), tcp_channel(origin, address, settings)));
        lanes.extend(kept.chain(std::iter::repeat_with(fresh)).take(settings.connections.max(1)));
    }
    lanes.into()
}

fn tcp_channel(origin: Option<&ServiceUrl>, address: SocketAddr, settings: Settings) -> Channel {
    // An address and a port always make a URI, and so does every service's URL.
    let uri: Uri = format!("http://{address}").parse().unwrap_or_default();
    let origin = origin.and_then(|url| url.to_string().parse().ok());
    tuned(Transport::from(uri.clone()))
        .origin(origin.unwrap_or(uri))
        .tcp_nodelay(true)
        .connect_timeout(settings.connect_timeout)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .connect_lazy()
}

fn pipe_channel(connector: &Connector) -> Channel {
    tuned(Transport::from_static(IN_PROCESS)).connect_with_connector_lazy(connector.clone())
}

fn tuned(transport: Transport) -> Transport {
    transport.initial_stream_window_size(STREAM_WINDOW).initial_connection_window_size(CONNECTION_WINDOW)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn connections_to_addresses_that_stay_are_kept() {
        let url: ServiceUrl = "http://metadata:1".parse().unwrap();
        let settings = Settings { connections: 2, ..Settings::default() };
        let (sender, receiver) = watch::channel(Resolved::Pending);
        let set = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect::<BTreeSet<_>>();
        let lanes = || match &*receiver.borrow() {
            Resolved::Lanes(lanes) => lanes.clone(),
            Resolved::Pending | Resolved::Failed(_) => panic!("not resolved"),
        };
        publish(&url, settings, &set(&["10.0.0.1:1", "10.0.0.2:1"]), &sender);
        let before = lanes();
        assert_eq!(before.len(), 4);
        publish(&url, settings, &set(&["10.0.0.2:1", "10.0.0.3:1"]), &sender);
        let after = lanes();
        assert_eq!(after.len(), 4);
        assert!(Arc::ptr_eq(&before[2], &after[0]) && Arc::ptr_eq(&before[3], &after[1]));
        publish(&url, settings, &set(&["10.0.0.2:1", "10.0.0.3:1"]), &sender);
        assert!(Arc::ptr_eq(&after, &lanes()), "an equal set changes nothing");
    }
}
