//! What an operator decides about SMTP sessions.

use std::time::Duration;

use puro_session::PlaintextAuth;

/// The settings of every session of one listener.
#[derive(Debug, Clone)]
pub struct Config {
    /// The name in the greeting and in the replies to EHLO and HELO: a domain name of at most 255 octets. Whatever else
    /// it holds is said with `?` for what a reply cannot hold.
    pub hostname: String,
    /// What the port is for.
    pub listener: Listener,
    /// Octets of a message at most, dot-stuffing not counted; 0: no limit. It is also the bound of a line of text: RFC
    /// 5321 section 4.5.3.1.6 asks for 1,000 octets, the world sends longer ones, and none is held here.
    pub max_message_bytes: u64,
    /// Recipients of one transaction at most; fewer than 100 count as 100 (RFC 5321 section 4.5.3.1.8).
    pub max_recipients: usize,
    /// What becomes of a message that holds a bare CR or a bare LF.
    pub bare_line_ends: BareLineEnds,
    /// A certificate is there, so STARTTLS can be offered.
    pub tls_available: bool,
    /// Where passwords may be sent in clear.
    pub plaintext_auth: PlaintextAuth,
    /// Patience.
    pub timeouts: Timeouts,
    /// What one connection may do.
    pub limits: Limits,
}

impl Config {
    /// Returns the default settings for a host of this name: an MX listener without TLS.
    pub fn new(hostname: String) -> Self {
        Self {
            hostname,
            listener: Listener::Mx,
            max_message_bytes: 50_000_000,
            max_recipients: 1_000,
            bare_line_ends: BareLineEnds::Refuse,
            tls_available: false,
            plaintext_auth: PlaintextAuth::Loopback,
            timeouts: Timeouts::default(),
            limits: Limits::default(),
        }
    }

    /// Says whether `max_message_bytes` allows this many octets.
    pub(crate) fn allows_size(&self, size_bytes: u64) -> bool {
        self.max_message_bytes == 0 || size_bytes <= self.max_message_bytes
    }
}

/// What a port is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// Mail from other servers; a client that logs in may submit here too.
    Mx,
    /// Mail from the system's own users (RFC 6409): nothing is sent without login.
    Submission,
}

/// What becomes of a message that holds a bare CR or a bare LF (RFC 5321 section 2.3.8). It never ends the data there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BareLineEnds {
    /// It is read to its end and refused: 550 5.6.11.
    Refuse,
    /// Each becomes CRLF.
    Normalise,
}

/// Patience (RFC 5321 section 4.5.3.2.7 asks a server for at least 5 minutes).
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// From the greeting to the first EHLO or HELO.
    pub greeting: Duration,
    /// From one reply to the end of the next command, however many pieces it comes in.
    pub command: Duration,
    /// From the greeting, or from the end of the last message, to the next one, whatever is said in between: NOOP now and
    /// then keeps no connection for ever.
    pub without_message: Duration,
    /// Between two arrivals of octets inside DATA.
    pub data_read: Duration,
    /// For the whole of DATA, octets at `data_min_rate` not counted.
    pub data_total: Duration,
    /// Octets a second that earn a sender inside DATA more time than `data_total`, so that a large message over a slow
    /// line gets through and a dribble does not; 0: none.
    pub data_min_rate: u32,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            greeting: Duration::from_mins(5),
            command: Duration::from_mins(5),
            without_message: Duration::from_mins(30),
            data_read: Duration::from_mins(5),
            data_total: Duration::from_mins(30),
            data_min_rate: 4_096,
        }
    }
}

/// What one connection may do before it is slowed down and then ended.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Errors in a row that are answered at once; each further one is followed by a pause.
    pub errors_before_pause: u32,
    /// Errors in a row that end the connection (421).
    pub errors: u32,
    /// Refused recipients in a row that are answered at once; each further one is followed by a pause. More than
    /// errors, since an old mailing list has many stale addresses, and no more than a harvest of addresses needs.
    pub refused_recipients_before_pause: u32,
    /// Refused recipients in a row that end the connection (421).
    pub refused_recipients: u32,
    /// Failed logins that end the connection (421); each one before is followed by a pause.
    pub auth_failures: u32,
    /// How long a pause is.
    pub pause: Duration,
    /// Transactions of one connection at most, so that long-lived clients find other front ends in time; 0: no limit.
    pub transactions: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            errors_before_pause: 10,
            errors: 20,
            refused_recipients_before_pause: 20,
            refused_recipients: 100,
            auth_failures: 3,
            pause: Duration::from_secs(1),
            transactions: 10_000,
        }
    }
}
