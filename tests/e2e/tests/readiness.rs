//! /readyz: what a load balancer goes by.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops by panicking")]

use std::net::SocketAddr;

use puro_e2e::{Mode, Raw, System, message, wait_until};

#[test]
fn the_smtp_front_end() {
    waits_for_both_back_ends_once("puro-smtp");
}

#[test]
fn the_pop3_front_end() {
    waits_for_both_back_ends_once("puro-pop3");
}

/// A front end is ready once both back ends have answered, and stays so when one of them goes: all front ends would drop
/// out of the balancer at once, and clients would see no answer instead of "try again later".
fn waits_for_both_back_ends_once(front: &'static str) {
    let mut system = System::start(Mode::Four);
    let admin = system.process(front).port("admin");
    for (first, second) in [("puro-metadata", "puro-blob"), ("puro-blob", "puro-metadata")] {
        for name in [front, first, second] {
            system.process(name).kill();
        }
        system.restart(front);
        tries_again(&mut system, front);
        assert_eq!(ready(admin), 503, "without back ends");
        system.restart(first);
        tries_again(&mut system, front);
        assert_eq!(ready(admin), 503, "with {first} alone");
        system.restart(second);
        wait_until("the front end is ready", || (ready(admin) == 200).then_some(()));
    }
    system.process("puro-metadata").kill();
    assert_eq!(ready(admin), 200);
    let reply = match front {
        "puro-smtp" => {
            let mut smtp = system.smtp();
            smtp.command("EHLO client.example.net", "250");
            smtp.command("MAIL FROM:<>", "250");
            smtp.command("RCPT TO:<alice@example.test>", "45")
        }
        _ => {
            let mut pop3 = system.pop3();
            pop3.command("USER alice@example.test", "+OK");
            pop3.command("PASS x", "-ERR [SYS/TEMP]")
        }
    };
    assert_eq!(ready(admin), 200, "after {reply}");
}

/// Waits until the front end has asked for a back end once more, and one whole attempt after that.
fn tries_again(system: &mut System, front: &str) {
    let attempts =
        |system: &mut System| system.process(front).log().matches("waiting for a back end").count();
    let before = attempts(system);
    wait_until("the front end tries again", || (attempts(system) >= before + 3).then_some(()));
}

#[test]
fn draining_single() {
    a_draining_process_is_alive_and_not_ready(Mode::Single, &["puro"]);
}

#[test]
fn draining_four() {
    a_draining_process_is_alive_and_not_ready(Mode::Four, &["puro-smtp", "puro-pop3"]);
}

/// SIGTERM: not ready at once, so that the balancer learns of it; until then clients are still served.
fn a_draining_process_is_alive_and_not_ready(mode: Mode, fronts: &[&'static str]) {
    let mut system = System::start_with(mode, &[("PURO_DRAIN_WAIT", "5s")]);
    for name in system.names() {
        let admin = system.process(name).port("admin");
        wait_until("the process is ready", || (ready(admin) == 200).then_some(()));
        assert_eq!(status(admin, "/livez"), 200, "{name}");
    }
    for name in fronts {
        system.process(name).terminate();
    }
    for name in fronts {
        let admin = system.process(name).port("admin");
        wait_until("the process is not ready", || (ready(admin) == 503).then_some(()));
        assert_eq!(status(admin, "/livez"), 200, "{name}");
    }
    system.deliver("alice@example.test", &message("late", "x\r\n"));
    assert_eq!(system.fetch("alice").len(), 1);
    for name in fronts {
        assert_eq!(system.process(name).exit_code(), Some(0), "{name}");
    }
}

fn ready(admin: SocketAddr) -> u16 {
    status(admin, "/readyz")
}

fn status(admin: SocketAddr, path: &str) -> u16 {
    let mut http = Raw::connect(admin);
    http.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
    let answer = String::from_utf8(http.rest()).unwrap();
    answer
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .unwrap_or_else(|| panic!("{path}: {answer}"))
}
