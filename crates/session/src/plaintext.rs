//! Where a password may cross the network in clear.

use std::net::IpAddr;

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
    /// Says whether a client at this address may send a password now, inside TLS or not.
    pub fn allows(self, client: IpAddr, in_tls: bool) -> bool {
        in_tls
            || match self {
                Self::Never => false,
                // An IPv4 client of an IPv6 socket shows as ::ffff:127.0.0.1.
                Self::Loopback => client.to_canonical().is_loopback(),
                Self::Always => true,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(policy.allows(ip.parse().unwrap(), tls), allowed, "{policy:?} {ip} {tls}");
        }
    }
}
