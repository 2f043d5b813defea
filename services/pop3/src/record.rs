//! What a session leaves behind: one log line, and the metrics.

use std::{net::IpAddr, time::Duration};

use opentelemetry::{
    KeyValue,
    metrics::{Counter, Histogram},
};
use puro_pop3_session::{Ending, Session};
use puro_serve::driver::End;
use puro_types::MailboxId;

/// The instruments; all sessions share them.
#[derive(Debug)]
pub(crate) struct Metrics {
    logins: Counter<u64>,
    listings: Counter<u64>,
    retrieved: Counter<u64>,
    removed: Counter<u64>,
    message_bytes: Counter<u64>,
    sessions: Histogram<f64>,
}

/// How a login went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Login {
    Opened,
    BadCredentials,
    Unavailable,
    Broken,
    /// Too many have failed from that address, or for that account; or too many are being checked.
    PutOff,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let meter = puro_serve::telemetry::meter();
        Self {
            logins: meter.u64_counter("puro_pop3_logins").build(),
            listings: meter.u64_counter("puro_pop3_listings").build(),
            retrieved: meter.u64_counter("puro_pop3_messages_retrieved").build(),
            removed: meter.u64_counter("puro_pop3_messages_removed").build(),
            message_bytes: meter.u64_counter("puro_pop3_message_bytes").build(),
            sessions: meter
                .f64_histogram("puro_pop3_session_seconds")
                .with_boundaries(vec![0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 60.0, 600.0])
                .build(),
        }
    }

    pub(crate) fn login(&self, login: Login) {
        let outcome = match login {
            Login::Opened => "opened",
            Login::BadCredentials => "bad_credentials",
            Login::Unavailable => "unavailable",
            Login::Broken => "broken",
            Login::PutOff => "put_off",
        };
        self.logins.add(1, &[KeyValue::new("outcome", outcome)]);
    }

    /// A listing came from the cache, or had to be made.
    pub(crate) fn listing(&self, cached: bool) {
        self.listings.add(1, &[KeyValue::new("source", if cached { "cache" } else { "service" })]);
    }
}

/// Who a session is with, as far as a log may tell: no address of a person, no password.
#[derive(Debug)]
pub(crate) struct Who {
    pub(crate) client: IpAddr,
    pub(crate) port: u16,
    pub(crate) listener: &'static str,
    /// The account's domain and mailbox, once logged in.
    pub(crate) account: Option<(String, MailboxId)>,
}

/// Writes the session's line, and counts it.
pub(crate) fn session_ended(metrics: &Metrics, who: &Who, session: &Session, end: End, lasted: Duration) {
    let tally = session.tally();
    metrics.retrieved.add(tally.retrieved, &[]);
    metrics.removed.add(tally.removed, &[]);
    metrics.message_bytes.add(tally.message_bytes, &[]);
    let end = end_word(end, session.ending());
    metrics.sessions.record(lasted.as_secs_f64(), &[KeyValue::new("end", end)]);
    let (domain, mailbox) = who.account.as_ref().map(|(domain, mailbox)| (domain, mailbox)).unzip();
    tracing::info!(
        client = %who.client,
        port = who.port,
        listener = who.listener,
        tls = session.tls().map(|tls| tls.version.as_str()),
        domain,
        mailbox = mailbox.map(tracing::field::display),
        failed_logins = tally.failed_logins,
        retrieved = tally.retrieved,
        topped = tally.topped,
        removed = tally.removed,
        message_bytes = tally.message_bytes,
        duration_ms = u64::try_from(lasted.as_millis()).unwrap_or(u64::MAX),
        end,
        "session"
    );
}

/// The machine knows why it closed; the driver knows why it could not go on.
fn end_word(end: End, ending: Option<Ending>) -> &'static str {
    match (end, ending) {
        (End::Closed | End::PeerGone, Some(ending)) => ending.name(),
        (End::Closed, None) => "closed",
        (End::PeerGone, None) => Ending::Disconnected.name(),
        (End::NeverReads, _) => "never_reads",
        (End::Injection, _) => "injection",
        (End::TlsFailed, _) => "tls_failed",
        (End::Stuck, _) => "stuck",
    }
}
