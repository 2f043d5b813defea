//! Behind a load balancer: the client's address comes by PROXY protocol, and only from networks that are trusted.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops by panicking")]

use std::net::SocketAddr;

use puro_e2e::{Mode, PASSWORD, Raw, System, base64, message};

/// Only this loopback address is a balancer; the others are clients that come by themselves.
const TRUSTED: &str = "127.0.0.77/32";
const BALANCER: [u8; 4] = [127, 0, 0, 77];

#[test]
fn single() {
    behind_a_balancer(Mode::Single);
}

#[test]
fn four() {
    behind_a_balancer(Mode::Four);
}

fn behind_a_balancer(mode: Mode) {
    let system = System::start_with(mode, &[("PURO_PROXY_PROTOCOL_FROM", TRUSTED)]);

    // Version 1, text; the trace field tells the client, not the balancer.
    let mut smtp = from_balancer(&system, b"PROXY TCP4 203.0.113.9 198.51.100.1 56324 25\r\n");
    smtp.expect("220 ");
    send(&mut smtp, "v1");
    // Version 2, binary, in one packet with the first command.
    let mut smtp = from_balancer(&system, &v2(0x21, &[203, 0, 113, 10, 198, 51, 100, 1, 0xDC, 4, 0, 25]));
    smtp.expect("220 ");
    send(&mut smtp, "v2");
    let mails = system
        .fetch("alice")
        .iter()
        .map(|mail| String::from_utf8_lossy(mail).into_owned())
        .collect::<Vec<_>>();
    assert!(mails[0].contains("203.0.113.9"), "{}", mails[0]);
    assert!(mails[1].contains("203.0.113.10"), "{}", mails[1]);
    assert!(mails.iter().all(|mail| !mail.contains("127.0.0.77")));

    // A health check's LOCAL command, and a header cut into octets.
    from_balancer(&system, &v2(0x20, &[])).expect("220 ");
    let mut slow = from_balancer(&system, b"");
    slow.send_slowly("PROXY TCP4 203.0.113.9 198.51.100.1 56324 25\r\nNOOP\r\n");
    slow.expect("220 ");

    // Without its header a balancer's connection is of no use, and a header from a stranger is no command.
    let mut bare = from_balancer(&system, b"EHLO c.example.net\r\n");
    assert!(!bare.expect_end().iter().any(|line| line.starts_with("250")));
    let mut stranger = system.smtp();
    stranger.command("PROXY TCP4 203.0.113.9 198.51.100.1 56324 25", "5");
    assert!(from_balancer(&system, b"PROXY TCP4 nonsense\r\n").expect_end().is_empty());
    assert_eq!(system.fetch("alice").len(), 2, "the others are served");
}

/// Guesses count by the client's address, over all its connections; others behind the same balancer may log in.
#[test]
fn failed_logins_are_limited_by_address() {
    let system = System::start_with(
        Mode::Single,
        &[
            ("PURO_PROXY_PROTOCOL_FROM", TRUSTED),
            ("PURO_ALLOW_PLAINTEXT_AUTH", "always"),
            ("PURO_MAX_FAILED_LOGINS_PER_ADDRESS", "3"),
        ],
    );
    let pop3 = |host: u8, user: &str, password: &str| {
        let mut raw = client_at(system.ports.pop3, host);
        raw.expect("+OK");
        raw.command(&format!("USER {user}@example.test"), "+OK");
        raw.send(format!("PASS {password}\r\n"));
        raw.line().unwrap()
    };
    for user in ["alice", "bob", "nobody"] {
        assert!(pop3(9, user, "wrong").starts_with("-ERR [AUTH]"), "{user}");
    }
    assert!(pop3(9, "alice", PASSWORD).starts_with("-ERR [SYS/TEMP]"));
    assert!(pop3(10, "alice", PASSWORD).starts_with("+OK"), "another address");

    let smtp = |host: u8, password: &str| {
        let mut raw = client_at(system.ports.submission, host);
        raw.expect("220 ");
        raw.command("EHLO client.example.net", "250");
        raw.command("AUTH LOGIN", "334");
        raw.command(&base64("alice@example.test"), "334");
        raw.send(format!("{}\r\n", base64(password)));
        raw.line().unwrap()
    };
    for _ in 0..3 {
        assert!(smtp(9, "wrong").starts_with("535 5.7.8"));
    }
    assert!(smtp(9, PASSWORD).starts_with("454 4.7.0"));
    assert!(smtp(10, PASSWORD).starts_with("235 "), "another address");
}

/// Beyond the limit a message is put off before it is sent; accounts and strangers each have their own.
#[test]
fn messages_are_limited_by_address_and_account() {
    let system = System::start_with(
        Mode::Single,
        &[
            ("PURO_PROXY_PROTOCOL_FROM", TRUSTED),
            ("PURO_ALLOW_PLAINTEXT_AUTH", "always"),
            ("PURO_SMTP_MAX_MESSAGES_PER_MINUTE_PER_ADDRESS", "2"),
            ("PURO_SMTP_MAX_MESSAGES_PER_MINUTE_PER_ACCOUNT", "1"),
        ],
    );
    let stranger = |host: u8| {
        let mut raw = client_at(system.ports.smtp, host);
        raw.expect("220 ");
        raw
    };
    send(&mut stranger(9), "one");
    send(&mut stranger(9), "two");
    let mut put_off = stranger(9);
    put_off.command("EHLO client.example.net", "250");
    put_off.command("MAIL FROM:<a@example.net>", "250");
    put_off.command("RCPT TO:<alice@example.test>", "451 4.7.1");
    put_off.command("RCPT TO:<bob@example.test>", "451 4.7.1");
    put_off.command("DATA", "554");
    send(&mut stranger(10), "three");

    let mut account = client_at(system.ports.submission, 9);
    account.expect("220 ");
    account.command("EHLO client.example.net", "250");
    account.command(&format!("AUTH PLAIN {}", base64(&format!("\0bob@example.test\0{PASSWORD}"))), "235");
    let reply =
        account.send_message("<bob@example.test>", &["alice@example.test"], &message("four", "x\r\n"));
    assert!(reply.starts_with("250 "), "{reply}");
    account.command("MAIL FROM:<bob@example.test>", "250");
    account.command("RCPT TO:<alice@example.test>", "451 4.7.1");
    assert_eq!(system.fetch("alice").len(), 4);
}

/// A client behind the balancer, as 203.0.113.HOST.
fn client_at(port: SocketAddr, host: u8) -> Raw {
    let mut raw = Raw::connect_from(BALANCER.into(), port);
    raw.try_send(format!("PROXY TCP4 203.0.113.{host} 198.51.100.1 56324 25\r\n").as_bytes());
    raw
}

fn from_balancer(system: &System, header: &[u8]) -> Raw {
    let mut raw = Raw::connect_from(BALANCER.into(), system.ports.smtp);
    raw.try_send(header);
    raw
}

/// A header of version 2: signature, version and command, family, length, addresses.
fn v2(command: u8, addresses: &[u8]) -> Vec<u8> {
    let family = if addresses.is_empty() { 0 } else { 0x11 };
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([command, family, 0, u8::try_from(addresses.len()).unwrap()]);
    header.extend_from_slice(addresses);
    header
}

fn send(smtp: &mut Raw, subject: &str) {
    smtp.command("EHLO client.example.net", "250");
    let reply = smtp.send_message("<a@example.net>", &["alice@example.test"], &message(subject, "x\r\n"));
    assert!(reply.starts_with("250 "), "{reply}");
    smtp.command("QUIT", "221");
}
