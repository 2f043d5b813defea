//! What a transaction leaves behind: one log line, and the metrics.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use opentelemetry::{
    KeyValue,
    metrics::{Counter, Histogram},
};
use puro_api::model::{Delivered, LeftOut};
use puro_serve::{driver::End, telemetry};
use puro_smtp_session::{GivenUp, RecipientVerdict, Session};
use tracing::Level;

use crate::{
    handler::verdict,
    message::{Facts, now},
};

/// The instruments; all sessions share them.
#[derive(Debug)]
pub(crate) struct Metrics {
    logins: Counter<u64>,
    recipients: Counter<u64>,
    messages: Counter<u64>,
    message_bytes: Counter<u64>,
    left_out: Counter<u64>,
    acceptance: Histogram<f64>,
}

/// How a login went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Login {
    Good,
    BadCredentials,
    Unavailable,
    /// Too many have failed from that address, or for that account; or too many are being checked.
    PutOff,
}

/// How a message that was begun ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// 250.
    Accepted(Delivered),
    /// 451.
    Unavailable,
    /// 554.
    Loop,
    /// 552: it is larger than is allowed, or than the store takes.
    TooLarge,
    /// 550: a CR or an LF by itself.
    BareLineEnd,
    /// 421: the client was silent for too long, or the whole took too long.
    TimedOut,
    /// The client left.
    Disconnected,
    /// The session ended and told nothing of it. Our bug.
    Stuck,
}

impl From<GivenUp> for Outcome {
    fn from(why: GivenUp) -> Self {
        match why {
            GivenUp::TooLarge => Self::TooLarge,
            GivenUp::BareLineEnd => Self::BareLineEnd,
            GivenUp::TimedOut => Self::TimedOut,
            GivenUp::Disconnected => Self::Disconnected,
        }
    }
}

impl Outcome {
    fn name(self) -> &'static str {
        match self {
            Self::Accepted(_) => "accepted",
            Self::Unavailable => "unavailable",
            Self::Loop => "loop",
            Self::TooLarge => "too_large",
            Self::BareLineEnd => "bare_line_end",
            Self::TimedOut => "timed_out",
            Self::Disconnected => "disconnected",
            Self::Stuck => "stuck",
        }
    }
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let meter = telemetry::meter();
        Self {
            logins: meter.u64_counter("puro_smtp_logins").build(),
            recipients: meter.u64_counter("puro_smtp_recipients").build(),
            messages: meter.u64_counter("puro_smtp_messages").build(),
            message_bytes: meter.u64_counter("puro_smtp_message_bytes").build(),
            left_out: meter.u64_counter("puro_smtp_left_out").build(),
            acceptance: telemetry::seconds("puro_smtp_acceptance_seconds"),
        }
    }

    pub(crate) fn login(&self, login: Login) {
        let outcome = match login {
            Login::Good => "good",
            Login::BadCredentials => "bad_credentials",
            Login::Unavailable => "unavailable",
            Login::PutOff => "put_off",
        };
        self.logins.add(1, &[KeyValue::new("outcome", outcome)]);
    }

    /// A recipient was put off, because its sender has sent too many messages of late.
    pub(crate) fn too_many_messages(&self) {
        self.recipients.add(1, &[KeyValue::new("verdict", "too_many_messages")]);
    }

    /// `None`: the directory did not answer.
    pub(crate) fn recipient(&self, verdict: Option<RecipientVerdict>) {
        let verdict = verdict.map_or("unavailable", word);
        self.recipients.add(1, &[KeyValue::new("verdict", verdict)]);
    }

    /// Members of aliases that an accepted message does not reach.
    fn left_out(&self, number: usize, reason: &'static str) {
        self.left_out.add(u64::try_from(number).unwrap_or(u64::MAX), &[KeyValue::new("reason", reason)]);
    }

    /// From the last octet to the moment when the message was durable.
    pub(crate) fn acceptance(&self, took: Duration) {
        self.acceptance.record(took.as_secs_f64(), &[]);
    }
}

fn word(verdict: RecipientVerdict) -> &'static str {
    match verdict {
        RecipientVerdict::Accepted => "accepted",
        RecipientVerdict::UnknownUser => "unknown_user",
        RecipientVerdict::NotLocal => "not_local",
        RecipientVerdict::OverQuota => "over_quota",
        RecipientVerdict::Disabled => "disabled",
        RecipientVerdict::AliasLoop => "alias_loop",
        RecipientVerdict::Invalid => "invalid",
    }
}

/// Who a session is with.
#[derive(Debug)]
pub(crate) struct Who {
    pub(crate) client: IpAddr,
    pub(crate) port: u16,
    pub(crate) listener: &'static str,
}

/// Writes the transaction's line, and counts it.
pub(crate) fn message_ended(metrics: &Metrics, who: &Who, facts: &Facts, size_bytes: u64, outcome: Outcome) {
    metrics.messages.add(1, &[KeyValue::new("outcome", outcome.name())]);
    let delivered = match outcome {
        Outcome::Accepted(delivered) => {
            metrics.message_bytes.add(size_bytes, &[]);
            left_out(metrics, facts);
            Some(delivered)
        }
        _ => None,
    };
    tracing::info!(
        queue_id = %facts.id,
        client = %who.client,
        port = who.port,
        listener = who.listener,
        protocol = facts.protocol,
        authenticated = facts.authenticated,
        sender_domain = facts.sender_domain.as_deref().unwrap_or("<>"),
        recipients = facts.recipients,
        mailboxes = facts.mailboxes,
        left_out = facts.left_out.len(),
        delivered = delivered.map(|delivered| delivered.delivered),
        queued = delivered.map(|delivered| delivered.queued),
        size_bytes,
        outcome = outcome.name(),
        duration_ms = millis(now().saturating_duration_since(facts.begun)),
        "message"
    );
}

/// Tells who does not get a message though their alias does: neither the sender nor they hear of it from anybody else.
fn left_out(metrics: &Metrics, facts: &Facts) {
    let mut members: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
    for LeftOut { mailbox, reason } in &facts.left_out {
        let mailbox = mailbox.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string);
        members.entry(word(verdict(*reason))).or_default().push(mailbox);
    }
    for (reason, mailboxes) in members {
        metrics.left_out(mailboxes.len(), reason);
        let mailboxes = mailboxes.join(" ");
        tracing::info!(queue_id = %facts.id, reason, mailboxes, "members of an alias do not get the message");
    }
}

/// Writes the session's line. What went well has told all that matters in its transactions' lines; what did not (a
/// password guessed at, addresses harvested, a sender put off, silence) may have left no other, and an operator wants to
/// see who it was.
pub(crate) fn session_ended(who: &Who, session: &Session, end: End, lasted: Duration) {
    let summary = session.summary();
    let end_word = if summary.timed_out { "timed out" } else { end.as_str() };
    // The level of a line is a constant of its place in the code.
    macro_rules! line {
        ($level:expr) => {
            tracing::event!(
                $level,
                client = %who.client,
                port = who.port,
                listener = who.listener,
                helo = summary.helo,
                authenticated = summary.account.is_some(),
                tls = summary.tls,
                messages = summary.messages,
                recipients = summary.recipients,
                errors = summary.errors,
                failed_logins = summary.auth_failures,
                put_off = summary.put_off,
                duration_ms = millis(lasted),
                end = end_word,
                "session"
            )
        };
    }
    let faults = [summary.errors, summary.auth_failures, summary.put_off];
    let is_ordinary = matches!(end, End::Closed | End::PeerGone) && !summary.timed_out;
    if !is_ordinary || faults.iter().any(|count| *count > 0) {
        line!(Level::INFO);
    } else {
        line!(Level::DEBUG);
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
