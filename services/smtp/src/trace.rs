//! The trace fields that this server adds (RFC 5321 section 4.4), and what it adds to submitted mail.

use std::net::IpAddr;

use jiff::{Timestamp, fmt::rfc2822, tz::TimeZone};
use puro_smtp_session::Envelope;

use crate::header::Submission;

/// What a message's fields are made of.
#[derive(Debug)]
pub(crate) struct Trace<'a> {
    pub(crate) envelope: &'a Envelope,
    /// The client's address.
    pub(crate) ip: IpAddr,
    /// This host.
    pub(crate) hostname: &'a str,
    /// The transaction.
    pub(crate) queue_id: &'a str,
    pub(crate) now: Timestamp,
}

impl Trace<'_> {
    /// Returns Return-Path and Received. The recipient is named only where there is just one, so that nobody learns of
    /// the others (RFC 5321 section 7.2).
    pub(crate) fn fields(&self) -> String {
        let Envelope { helo, protocol, tls, sender, recipients, .. } = self.envelope;
        let sender = sender.as_ref().map(ToString::to_string).unwrap_or_default();
        let mut text = format!(
            "Return-Path: <{sender}>\r\nReceived: from {} ({})\r\n\tby {} with {protocol} id {}",
            safe(helo),
            literal(self.ip),
            safe(self.hostname),
            self.queue_id,
        );
        if let [recipient] = recipients.as_slice() {
            text.push_str(&format!("\r\n\tfor <{recipient}>"));
        }
        if let Some(tls) = tls.as_ref().filter(|tls| !tls.cipher.is_empty()) {
            // RFC 8314 section 4.3 wants the registered name, which rustls decorates.
            text.push_str(&format!("\r\n\ttls {}", safe(&tls.cipher.replace("TLS13_", "TLS_"))));
        }
        text.push_str(&format!(";\r\n\t{}\r\n", date(self.now)));
        text
    }

    /// Returns the Date and Message-ID of a submitted message that has none.
    pub(crate) fn submission(&self) -> Submission {
        Submission {
            date: format!("Date: {}\r\n", date(self.now)),
            message_id: format!("Message-ID: <{}@{}>\r\n", self.queue_id, safe(self.hostname)),
        }
    }
}

/// An address as RFC 5321 section 4.1.3 writes it.
fn literal(ip: IpAddr) -> String {
    match ip.to_canonical() {
        IpAddr::V4(ip) => format!("[{ip}]"),
        IpAddr::V6(ip) => format!("[IPv6:{ip}]"),
    }
}

/// What a client calls itself, without what would end the clause or begin a comment.
fn safe(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || ".-_:[]".contains(c) { c } else { '?' }).collect()
}

/// RFC 5322 section 3.3.
fn date(now: Timestamp) -> String {
    let zoned = now.to_zoned_datetime(TimeZone::UTC);
    // Only years outside four digits cannot be printed.
    rfc2822::to_string(&zoned).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use puro_session::Tls;

    use super::*;

    fn envelope() -> Envelope {
        Envelope {
            helo: "client.example".to_owned(),
            protocol: "ESMTP",
            account: None,
            tls: None,
            sender: Some("a@remote.example".parse().unwrap()),
            recipients: vec!["me@local.example".to_owned()],
            size_bytes: None,
            eight_bit: false,
        }
    }

    fn fields(envelope: &Envelope, ip: &str) -> String {
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        Trace { envelope, ip: ip.parse().unwrap(), hostname: "mail.example", queue_id: "0A1", now }.fields()
    }

    #[test]
    fn one_recipient_is_named() {
        assert_eq!(
            fields(&envelope(), "192.0.2.1"),
            "Return-Path: <a@remote.example>\r\n\
             Received: from client.example ([192.0.2.1])\r\n\
             \tby mail.example with ESMTP id 0A1\r\n\
             \tfor <me@local.example>;\r\n\
             \tTue, 14 Nov 2023 22:13:20 +0000\r\n"
        );
    }

    #[test]
    fn several_recipients_are_not() {
        let mut envelope = envelope();
        envelope.sender = None;
        envelope.recipients.push("you@local.example".to_owned());
        envelope.protocol = "ESMTPS";
        envelope.tls = Some(Tls {
            version: "TLSv1.3".to_owned(),
            cipher: "TLS13_AES_128_GCM_SHA256".to_owned(),
            server_name: None,
        });
        assert_eq!(
            fields(&envelope, "2001:db8::1"),
            "Return-Path: <>\r\n\
             Received: from client.example ([IPv6:2001:db8::1])\r\n\
             \tby mail.example with ESMTPS id 0A1\r\n\
             \ttls TLS_AES_128_GCM_SHA256;\r\n\
             \tTue, 14 Nov 2023 22:13:20 +0000\r\n"
        );
    }

    #[test]
    fn a_name_cannot_forge_a_clause() {
        let mut envelope = envelope();
        envelope.helo = "x(;by=evil)@\"<>".to_owned();
        let text = fields(&envelope, "::ffff:192.0.2.1");
        assert!(text.contains("from x??by?evil????? ([192.0.2.1])"), "{text}");
    }

    #[test]
    fn submission_has_date_and_message_id() {
        let envelope = envelope();
        let now = Timestamp::from_second(0).unwrap();
        let ip = IpAddr::from([127, 0, 0, 1]);
        let trace = Trace { envelope: &envelope, ip, hostname: "mail.example", queue_id: "0A1", now };
        let Submission { date, message_id } = trace.submission();
        assert_eq!(date, "Date: Thu, 1 Jan 1970 00:00:00 +0000\r\n");
        assert_eq!(message_id, "Message-ID: <0A1@mail.example>\r\n");
    }
}
