//! Where a password may cross the network in clear.

use crate::Peer;

/// Where passwords may be sent in clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PlaintextAuth {
    /// Only inside TLS.
    Never,
    /// Also from this machine itself.
    #[default]
    Loopback,
    /// Anywhere.
    Always,
}

impl PlaintextAuth {
    /// Says whether this peer may send a password now.
    pub fn allows(self, peer: &Peer) -> bool {
        peer.tls.is_some()
            || match self {
                Self::Never => false,
                // An IPv4 client of an IPv6 socket shows as ::ffff:127.0.0.1.
                Self::Loopback => peer.ip.to_canonical().is_loopback(),
                Self::Always => true,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tls;

    #[test]
    fn by_table() {
        use PlaintextAuth::{Always, Loopback, Never};
        for (policy, ip, tls, allowed) in [
            (Never, "127.0.0.1", false, false),
            (Never, "127.0.0.1", true, true),
            (Loopback, "127.0.0.1", false, true),
            (Loopback, "127.9.9.9", false, true),
            (Loopback, "::1", false, true),
            (Loopback, "::ffff:127.0.0.1", false, true),
            (Loopback, "192.0.2.1", false, false),
            (Loopback, "192.0.2.1", true, true),
            (Always, "192.0.2.1", false, true),
        ] {
            let tls = tls.then(|| Tls { version: String::new(), cipher: String::new(), server_name: None });
            let peer = Peer { ip: ip.parse().unwrap(), tls };
            assert_eq!(policy.allows(&peer), allowed, "{policy:?} {peer:?}");
        }
    }
}
