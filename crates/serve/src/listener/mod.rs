//! Listeners: bound all at once, an accept loop that survives a full table of file descriptors, limits in total and
//! per address, and the PROXY protocol from trusted networks.

mod admission;
mod front;
mod proxy;

#[cfg(test)]
mod tests;

use std::{fmt, io, net::SocketAddr};

use tokio::net::{TcpListener, TcpSocket};

use crate::config::Listen;
pub(crate) use front::counted;
pub use front::{Connection, Front, FrontLimits, Protocol, Refusal, spawn};

/// A listener to be: where the settings say it should be.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// The setting's path, such as `smtp.tls_listen`.
    pub key: &'static str,
    /// Its value.
    pub listen: Listen,
    /// TLS from the first octet.
    pub implicit_tls: bool,
}

/// A bound listener.
#[derive(Debug)]
pub struct Bound {
    /// The setting's path.
    pub key: &'static str,
    /// Where it is bound: the port is the real one, also where the setting said 0.
    pub address: SocketAddr,
    /// TLS from the first octet.
    pub implicit_tls: bool,
    pub(crate) listener: TcpListener,
}

impl Bound {
    /// The tokio listener.
    #[must_use]
    pub fn into_listener(self) -> TcpListener {
        self.listener
    }
}

/// Listeners that could not be bound.
#[derive(Debug, thiserror::Error)]
pub struct BindErrors(Vec<(&'static str, SocketAddr, io::Error)>);

impl fmt::Display for BindErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "could not listen:")?;
        self.0.iter().try_for_each(|(key, address, error)| {
            write!(f, "\n  {key} = \"{address}\": {error}{}", hint(error))
        })
    }
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => " (another server has this port; port 0 takes any free one)",
        io::ErrorKind::PermissionDenied => " (ports below 1024 need CAP_NET_BIND_SERVICE or root)",
        io::ErrorKind::AddrNotAvailable => " (this machine does not have this address)",
        _ => "",
    }
}

/// Connections that wait to be accepted.
const BACKLOG: u32 = 4096;

/// Binds all listeners, those that are off left out.
///
/// # Errors
/// Every listener that could not be bound; none is bound then.
pub fn bind(wanted: &[Wanted]) -> Result<Vec<Bound>, BindErrors> {
    let mut bound = Vec::new();
    let mut errors = Vec::new();
    for want in wanted {
        let Some(address) = want.listen.0 else { continue };
        match bind_one(address) {
            Ok((listener, address)) => {
                bound.push(Bound { key: want.key, address, implicit_tls: want.implicit_tls, listener });
            }
            Err(error) => errors.push((want.key, address, error)),
        }
    }
    if errors.is_empty() { Ok(bound) } else { Err(BindErrors(errors)) }
}

fn bind_one(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A restart must not wait for connections in TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let listener = socket.listen(BACKLOG)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}
