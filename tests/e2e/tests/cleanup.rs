//! The audit of a running system: while mail flows it finds nothing amiss and harms nothing, and when a service is killed
//! under it, it does not pretend to have finished.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops by panicking")]

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use puro_e2e::{Mode, Ran, System, everywhere, message};

everywhere! {
    fn an_audit_while_mail_flows(system) {
        let system = &*system;
        let over = AtomicBool::new(false);
        let sent = AtomicUsize::new(0);
        let audits = thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Acquire) {
                    let text = message(&sent.load(Ordering::Relaxed).to_string(), "to both\r\n");
                    let mut smtp = system.smtp();
                    smtp.command("EHLO client.example.net", "250");
                    let to = ["alice@example.test", "bob@example.test"];
                    assert!(smtp.send_message("<sender@example.net>", &to, &text).starts_with("250 "));
                    if sent.fetch_add(1, Ordering::Release) % 3 == 2 {
                        delete_all(system, "bob");
                    }
                }
            });
            let mut audits: Vec<Ran> = Vec::new();
            while audits.len() < 3 || sent.load(Ordering::Acquire) < 10 {
                audits.push(system.operator(&["store", "audit", "--repair", "--json"]));
            }
            over.store(true, Ordering::Release);
            audits
        });
        for audit in audits {
            let audit: serde_json::Value = serde_json::from_str(&audit.ok().out).unwrap();
            assert_eq!(audit["findings"], serde_json::json!([]), "{audit}");
        }
        let sent = sent.into_inner();
        assert_eq!(system.fetch("alice").len(), sent, "what was acknowledged is there");
    }
}

/// Deletes all messages of a user, as a session of POP3 does.
fn delete_all(system: &System, user: &str) {
    let mut pop3 = system.pop3_as(user);
    let stat = pop3.command("STAT", "+OK");
    let count: usize = stat.split(' ').nth(1).unwrap().parse().unwrap();
    for number in 1..=count {
        pop3.command(&format!("DELE {number}"), "+OK");
    }
    pop3.command("QUIT", "+OK");
}

#[test]
fn lost_bytes_are_said_aloud_single() {
    lost_bytes_are_said_aloud(&mut System::start(Mode::Single));
}

#[test]
fn lost_bytes_are_said_aloud_four() {
    lost_bytes_are_said_aloud(&mut System::start(Mode::Four));
}

/// The disk of the blob service is replaced by an empty one: all mail is lost, and nothing hides it.
fn lost_bytes_are_said_aloud(system: &mut System) {
    for number in 0..3 {
        system.deliver("alice@example.test", &message(&number.to_string(), "gone\r\n"));
    }
    system.operator(&["store", "audit"]).ok();
    let name = if system.mode() == Mode::Single { "puro" } else { "puro-blob" };
    system.process("puro-blob").kill();
    std::fs::remove_dir_all(system.data().join("blob")).unwrap();
    let unreachable = system.operator(&["store", "audit"]);
    assert_eq!(unreachable.code, Some(69), "{unreachable:?}");
    system.restart(name);
    let ran = system.operator(&["store", "audit", "--repair"]).code(1).says("mail is lost");
    assert_eq!(ran.out.lines().filter(|line| line.starts_with("dangling\tno\t")).count(), 3, "{ran:?}");
    assert!(ran.out.contains("alice@example.test"), "{ran:?}");
    system.operator(&["store", "audit"]).code(1);
}
