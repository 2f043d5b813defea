//! Settings that change what a client sees: each is set to something else than its default, and does what it says.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops by panicking")]

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use puro_e2e::{Mode, PASSWORD, Raw, System, Tool, base64, message, wait_until};

fn start(settings: &[(&str, &str)]) -> System {
    System::start_with(Mode::Single, settings)
}

fn hello(system: &System) -> Raw {
    let mut smtp = system.smtp();
    smtp.command("EHLO client.example.net", "250");
    smtp
}

/// Begins a transaction and returns the connection after the 354.
fn in_data(system: &System) -> Raw {
    let mut smtp = hello(system);
    smtp.command("MAIL FROM:<a@example.net>", "250");
    smtp.command("RCPT TO:<alice@example.test>", "250");
    smtp.command("DATA", "354");
    smtp
}

/// A bare line end becomes CRLF, and still ends nothing.
#[test]
fn bare_line_ends_are_normalised() {
    let system = start(&[("PURO_SMTP_BARE_LINE_ENDS", "normalise")]);
    let mut smtp = in_data(&system);
    smtp.send("Subject: bare\r\n\r\na\nb\rc\r\nd\n.\nQUIT\n\r\n.\r\n");
    smtp.expect("250 2.0.0");
    let mail = &system.fetch("alice")[0];
    let text = String::from_utf8_lossy(mail);
    assert!(text.ends_with("\r\n\r\na\r\nb\r\nc\r\nd\r\n.\r\nQUIT\r\n\r\n"), "{text:?}");
}

#[test]
fn the_largest_message_is_set() {
    let system = start(&[("PURO_SMTP_MAX_MESSAGE_BYTES", "70000")]);
    let mut smtp = system.smtp();
    smtp.send("EHLO client.example.net\r\n");
    let told: Vec<String> = std::iter::from_fn(|| smtp.line()).take(3).collect();
    assert!(told.iter().any(|line| line == "250-SIZE 70000"), "{told:?}");
    let mut smtp = hello(&system);
    smtp.command("MAIL FROM:<> SIZE=70001", "552 5.3.4");
    let text = |octets: usize| {
        let mut text = message("size", "");
        text.resize(octets - 2, b'x');
        text.extend(b"\r\n");
        text
    };
    // A line of so many octets is no fault of its own: RFC 5321 section 4.5.3.1.6 is for those who send.
    let reply = smtp.send_message("<>", &["alice@example.test"], &text(70_001));
    assert!(reply.starts_with("552 5.3.4"), "{reply}");
    let reply = smtp.send_message("<>", &["alice@example.test"], &text(70_000));
    assert!(reply.starts_with("250 "), "{reply}");
}

/// It is the front end's own affair: the blob service has no limit that would have to be set with it.
#[test]
fn the_largest_message_is_set_on_the_front_end_alone() {
    let mut system = System::start(Mode::Four);
    system.restart_with("puro-smtp", &[("PURO_SMTP_MAX_MESSAGE_BYTES", "70000000")]);
    let text = message("large", &format!("{}\r\n", "n".repeat(76)).repeat(800_000));
    assert!(text.len() > 62_000_000, "more than the default");
    system.deliver("alice@example.test", &text);
    assert!(system.fetch("alice")[0].ends_with(&text));
}

#[test]
fn the_most_recipients_are_set() {
    let system = start(&[("PURO_SMTP_MAX_RECIPIENTS", "100")]);
    let mut smtp = hello(&system);
    smtp.command("MAIL FROM:<>", "250");
    for _ in 0..100 {
        smtp.command("RCPT TO:<alice@example.test>", "250");
    }
    smtp.command("RCPT TO:<bob@example.test>", "452 4.5.3");
}

/// A network of which no client of these tests is, and one of which each is.
const BALANCER: (&str, &str) = ("PURO_PROXY_PROTOCOL_FROM", "127.0.0.77/32");

/// Connects as a client at `from` whom the balancer passes on.
fn through_balancer(to: SocketAddr, from: &str) -> Raw {
    let mut raw = Raw::connect_from([127, 0, 0, 77].into(), to);
    raw.send(format!("PROXY TCP4 {from} 198.51.100.1 56324 25\r\n"));
    raw
}

/// Who may log in without TLS: with `never` nobody, with `loopback` this machine, with `always` everybody.
#[test]
fn clear_text_logins_are_set() {
    for (setting, here, there) in [("never", false, false), ("loopback", true, false), ("always", true, true)]
    {
        let system = start(&[("PURO_ALLOW_PLAINTEXT_AUTH", setting), BALANCER]);
        for (address, allowed) in [("127.0.0.9", here), ("203.0.113.9", there)] {
            let why = format!("{setting} for {address}");
            let mut smtp = through_balancer(system.ports.smtp, address);
            smtp.expect("220 ");
            assert_eq!(login_smtp(&mut smtp), allowed, "SMTP, {why}");
            let mut pop3 = through_balancer(system.ports.pop3, address);
            pop3.expect("+OK");
            assert_eq!(login_pop3(&mut pop3), allowed, "POP3, {why}");
        }
        let user = format!("alice@example.test:{PASSWORD}");
        let url = format!("pop3://{}/", system.ports.pop3);
        Tool::new("curl").args(["-sS", "--insecure", "--ssl-reqd", "--user", &user, &url]).run().ok();
    }
}

/// Logs in where AUTH is offered; asserts that it is refused where it is not.
fn login_smtp(smtp: &mut Raw) -> bool {
    let plain = base64(&format!("\0alice@example.test\0{PASSWORD}"));
    smtp.send("EHLO client.example.net\r\n");
    let mut offered = false;
    loop {
        let line = smtp.line().expect("a reply to EHLO");
        offered |= line[4..].starts_with("AUTH ");
        if !line.starts_with("250-") {
            break;
        }
    }
    let reply = smtp.command(&format!("AUTH PLAIN {plain}"), if offered { "235" } else { "5" });
    assert!(offered || reply.starts_with("538 ") || reply.starts_with("502 "), "{reply}");
    offered
}

/// Logs in in each way that is offered; asserts that they are refused where they are not.
fn login_pop3(pop3: &mut Raw) -> bool {
    pop3.command("CAPA", "+OK");
    let capabilities = String::from_utf8(pop3.multi_line()).unwrap();
    let offered = capabilities.contains("USER\r\n");
    assert_eq!(offered, capabilities.contains("SASL "), "{capabilities}");
    if !offered {
        pop3.command(&format!("AUTH PLAIN {}", base64(&format!("\0alice@example.test\0{PASSWORD}"))), "-ERR");
    }
    pop3.send("USER alice@example.test\r\n");
    let user = pop3.line().expect("an answer to USER");
    pop3.send(format!("PASS {PASSWORD}\r\n"));
    let pass = pop3.line().expect("an answer to PASS");
    assert_eq!(user.starts_with("+OK") && pass.starts_with("+OK"), offered, "{user} {pass}");
    offered
}

/// An address gets so many connections and no more; another one is none the worse, and who leaves makes room.
#[test]
fn connections_of_one_address_are_limited() {
    let system = start(&[
        BALANCER,
        ("PURO_SMTP_MAX_CONNECTIONS_PER_ADDRESS", "2"),
        ("PURO_POP3_MAX_CONNECTIONS_PER_ADDRESS", "2"),
    ]);
    for (port, welcome, refusal) in
        [(system.ports.smtp, "220 ", "421 4.7.0"), (system.ports.pop3, "+OK", "-ERR [SYS/TEMP]")]
    {
        let come = |from: &str| {
            let mut raw = through_balancer(port, from);
            let line = raw.line().expect("a greeting or a refusal");
            (raw, line)
        };
        let (first, second) = (come("203.0.113.9"), come("203.0.113.9"));
        assert!(first.1.starts_with(welcome) && second.1.starts_with(welcome));
        let (mut third, line) = come("203.0.113.9");
        assert!(line.starts_with(refusal), "{line}");
        assert!(third.expect_end().is_empty());
        assert!(come("203.0.113.10").1.starts_with(welcome));
        drop(first);
        wait_until("there is room again", || come("203.0.113.9").1.starts_with(welcome).then_some(()));
    }
}

#[test]
fn all_connections_are_limited() {
    let system = start(&[("PURO_SMTP_MAX_CONNECTIONS", "2"), ("PURO_POP3_MAX_CONNECTIONS", "2")]);
    for (port, welcome, refusal) in
        [(system.ports.smtp, "220 ", "421 4.3.2"), (system.ports.pop3, "+OK", "-ERR [SYS/TEMP]")]
    {
        let mut inside = [Raw::connect(port), Raw::connect(port)];
        inside.iter_mut().for_each(|raw| drop(raw.expect(welcome)));
        Raw::connect(port).expect(refusal);
    }
}

/// A pause inside a message is one thing, a message that trickles without end another.
#[test]
fn a_message_may_take_so_long() {
    let system = start(&[("PURO_SMTP_DATA_TIMEOUT", "1s")]);
    let mut smtp = in_data(&system);
    smtp.send("Subject: half\r\n");
    assert_eq!(smtp.expect_end(), ["421 4.4.2 Timeout, closing connection"]);

    let system = start(&[("PURO_SMTP_MESSAGE_TIMEOUT", "2s")]);
    let mut smtp = in_data(&system);
    wait_until("the trickle is ended", || (!smtp.try_send("x")).then_some(()));
    assert!(system.fetch("alice").is_empty());
}

/// A client that takes no octet of its replies is cut off: it cannot even go on sending then.
#[test]
fn a_client_that_takes_nothing_is_cut_off() {
    let system = start(&[("PURO_SMTP_WRITE_TIMEOUT", "1s"), ("PURO_POP3_WRITE_TIMEOUT", "1s")]);
    for (port, command) in [(system.ports.smtp, "EHLO c\r\n"), (system.ports.pop3, "CAPA\r\n")] {
        let began = Instant::now();
        let mut deaf = Raw::connect(port);
        while deaf.try_send(command.repeat(1000)) {}
        // Without the limit it is this side that gives up, after 20 seconds.
        assert!(began.elapsed() < Duration::from_secs(15), "{command:?} took {:?}", began.elapsed());
    }
}

#[test]
fn a_silent_handshake_is_ended() {
    let system = start(&[("PURO_TLS_HANDSHAKE_TIMEOUT", "1s")]);
    for port in [system.ports.smtps, system.ports.pop3s] {
        assert!(Raw::connect(port).rest().is_empty());
    }
}

/// For trials: mail goes through, and nothing of it is left in the data folder or after a restart.
#[test]
fn stores_in_memory_keep_nothing() {
    let mut system = start(&[("PURO_METADATA_STORE", "memory"), ("PURO_BLOB_STORE", "memory")]);
    system.deliver("alice@example.test", &message("fleeting", "x\r\n"));
    assert!(system.fetch("alice")[0].ends_with(&message("fleeting", "x\r\n")));
    for folder in ["metadata", "blob"] {
        assert!(!system.data().join(folder).exists(), "{folder}");
    }
    system.process("puro").terminate();
    assert_eq!(system.process("puro").exit_code(), Some(0));
    system.restart("puro");
    let reply = system.try_deliver("alice@example.test", b"x\r\n").expect_err("alice is forgotten");
    assert!(reply.starts_with("550 "), "{reply}");
}

/// Each message waits for others, as long as it is set; they then share a write.
#[test]
fn the_blob_service_lingers() {
    for mode in [Mode::Single, Mode::Four] {
        let system = System::start_with(mode, &[("PURO_BLOB_LINGER_MS", "900")]);
        let began = Instant::now();
        system.deliver("alice@example.test", &message("lingers", "x\r\n"));
        assert!(began.elapsed() >= Duration::from_millis(900), "{mode:?}: {:?}", began.elapsed());
    }
}

/// Wrong commands and refused logins in one connection.
#[test]
fn errors_are_limited() {
    let system = start(&[("PURO_SMTP_MAX_ERRORS", "4"), ("PURO_POP3_MAX_ERRORS", "4")]);
    let mut smtp = hello(&system);
    let mut pop3 = system.pop3();
    for _ in 0..4 {
        smtp.try_send("BOGUS\r\n");
        pop3.try_send("BOGUS\r\n");
    }
    let said = smtp.expect_end();
    assert!(said.last().is_some_and(|line| line.starts_with("421 ")), "{said:?}");
    assert_eq!(pop3.expect_end().len(), 4);
}

/// What the protocols or good sense forbid is refused, by name, before anything starts.
#[test]
fn what_is_out_of_bounds_is_refused() {
    for (variable, value, path) in [
        ("PURO_POP3_IDLE_TIMEOUT", "599s", "pop3.idle_timeout"),
        ("PURO_SMTP_MAX_RECIPIENTS", "99", "smtp.max_recipients"),
        ("PURO_SMTP_MAX_RECIPIENTS", "10001", "smtp.max_recipients"),
        ("PURO_SMTP_MAX_MESSAGE_BYTES", "65535", "smtp.max_message_bytes"),
        ("PURO_SMTP_MAX_MESSAGE_BYTES", "1001MiB", "smtp.max_message_bytes"),
        ("PURO_SMTP_MAX_CONNECTIONS", "0", "smtp.max_connections"),
        ("PURO_SMTP_DATA_TIMEOUT", "0s", "smtp.data_timeout"),
        ("PURO_BLOB_LINGER_MS", "1001", "blob.linger_ms"),
    ] {
        Tool::binary("puro").args(["serve", "--check-config"]).env(variable, value).run().code(64).says(path);
    }
    for binary in ["puro", "puro-pop3"] {
        Tool::binary(binary).args(["--check-config"]).env("PURO_POP3_IDLE_TIMEOUT", "10m").run().ok();
    }
}
