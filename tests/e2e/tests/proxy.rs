//! Behind a load balancer: the client's address comes by PROXY protocol, and only from networks that are trusted.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops by panicking")]

use puro_e2e::{Mode, Raw, System, message};

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
