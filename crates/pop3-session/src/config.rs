//! What an operator decides about POP3 sessions.

use std::time::Duration;

use puro_session::PlaintextAuth;

/// The settings of every session of one listener.
#[derive(Debug, Clone)]
pub struct Config {
    /// The name in the greeting.
    pub hostname: String,
    /// What CAPA tells as IMPLEMENTATION (RFC 2449 section 6.9).
    pub implementation: String,
    /// A certificate is there, so STLS can be offered.
    pub tls_available: bool,
    /// Where passwords may be sent in clear.
    pub plaintext_auth: PlaintextAuth,
    /// Patience.
    pub timeouts: Timeouts,
    /// What one connection may do.
    pub limits: Limits,
}

impl Config {
    /// Returns the default settings for a host of this name, without TLS.
    pub fn new(hostname: impl Into<String>) -> Self {
        Self {
            hostname: hostname.into(),
            implementation: "PuRo-Mail".to_owned(),
            tls_available: false,
            plaintext_auth: PlaintextAuth::default(),
            timeouts: Timeouts::default(),
            limits: Limits::default(),
        }
    }
}

/// Patience.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// From one reply to the end of the next command, however many pieces it comes in. At least 10 minutes (RFC 1939
    /// section 3); less is for tests.
    pub inactivity: Duration,
    /// From the greeting to a login, whatever is said in between.
    pub login: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { inactivity: Duration::from_secs(600), login: Duration::from_secs(600) }
    }
}

/// What one connection may do.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Failed logins before the connection is closed.
    pub failed_logins: u32,
    /// How long the first failed login is followed by silence; doubled by each further one, to half a minute at most.
    pub failed_login_pause: Duration,
    /// Unknown commands and broken lines in a row before the connection is closed.
    pub bad_lines: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { failed_logins: 4, failed_login_pause: Duration::from_secs(1), bad_lines: 20 }
    }
}
