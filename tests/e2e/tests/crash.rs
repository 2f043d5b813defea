//! kill -9 under load: every message that got a 250 is there exactly once and whole, and at no moment does a maildrop
//! seem to hold less than it did.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use puro_e2e::{Mode, PASSWORD, Ran, Raw, Stores, System, Tool};

const USERS: usize = 8;
const KILLS: usize = 4;

/// Makes each of these tests on embedded stores and on those of AWS.
macro_rules! on_both {
    ($($name:ident: $mode:ident $victims:expr;)*) => {
        mod embedded {
            use super::*;
            $(#[test] fn $name() { kill_under_load(Mode::$mode, Stores::Embedded, &$victims); })*
        }

        mod aws {
            use super::*;
            $(#[test] fn $name() { kill_under_load(Mode::$mode, Stores::Aws, &$victims); })*
        }
    };
}

on_both! {
    the_one_process: Single ["puro"];
    the_smtp_front_end: Four ["puro-smtp"];
    the_pop3_front_end: Four ["puro-pop3"];
    the_metadata_service: Four ["puro-metadata"];
    the_blob_service: Four ["puro-blob"];
    each_of_the_four_in_turn: Four ["puro-blob", "puro-smtp", "puro-metadata", "puro-pop3"];
}

fn kill_under_load(mode: Mode, stores: Stores, victims: &[&'static str]) {
    let mut system = System::start_on(mode, stores, &[]);
    for n in 1..=USERS {
        system.add_user(&format!("user{n}@example.test"));
    }
    let ledger = system.folder().join("ledger");
    let smtp = system.ports.smtp.to_string();
    let seconds = (KILLS * 2 + 1).to_string();
    let delivering = {
        let ledger = ledger.clone();
        thread::spawn(move || {
            load(
                &["smtp", "--address", &smtp, "--connections", "8", "--seconds", &seconds, "--size", "3000"],
                &ledger,
            )
        })
    };
    let over = Arc::new(AtomicBool::new(false));
    let polling = {
        let (pop3, ledger, over) = (system.ports.pop3, ledger.clone(), over.clone());
        thread::spawn(move || poll(pop3, &ledger, &over))
    };
    for kill in 0..KILLS {
        // The moment of the kill is left to chance on purpose; the ledger tells what has to be there.
        thread::sleep(Duration::from_millis(1300 + 217 * kill as u64));
        system.kill_and_restart(victims[kill % victims.len()]);
    }
    let delivered = json(&delivering.join().unwrap());
    over.store(true, Ordering::Release);
    assert!(polling.join().unwrap() > USERS, "maildrops were looked at while processes died");
    let acknowledged = delivered["done"].as_u64().unwrap();
    assert!(acknowledged > 100, "there was load: {delivered:#}");
    let pop3 = system.ports.pop3.to_string();
    let verdict = json(&load(&["verify", "--address", &pop3], &ledger).ok());
    assert_eq!((&verdict["acknowledged"], &verdict["intact"]), (&acknowledged.into(), &acknowledged.into()));
    for wrong in ["lost", "duplicated", "corrupted"] {
        assert!(verdict[wrong].as_array().is_some_and(Vec::is_empty), "{verdict:#}");
    }
}

/// Looks at one maildrop after the other until it is over; returns how often one was seen. A failure must look like a
/// failure: no maildrop ever holds fewer messages than before, or than were acknowledged before the session began.
fn poll(pop3: SocketAddr, ledger: &Path, over: &AtomicBool) -> usize {
    let mut last = BTreeMap::<String, usize>::new();
    let mut seen = 0;
    while !over.load(Ordering::Acquire) {
        for user in (1..=USERS).map(|n| format!("user{n}@example.test")) {
            let least = acknowledged(ledger, &user).max(last.get(&user).copied().unwrap_or(0));
            match stat(pop3, &user) {
                Ok(count) => {
                    assert!(count >= least, "{user} holds {count} messages, and held {least}");
                    last.insert(user, count);
                    seen += 1;
                }
                Err(answer) => {
                    assert!(answer == "closed" || answer.starts_with("-ERR [SYS/TEMP]"), "{user}: {answer}");
                    // The process that died is being started again.
                    thread::sleep(Duration::from_millis(20));
                }
            }
        }
    }
    seen
}

fn stat(pop3: SocketAddr, user: &str) -> Result<usize, String> {
    let mut pop3 = Raw::try_connect(pop3).ok_or("closed")?;
    pop3.ask("", "+OK")?;
    pop3.ask(&format!("USER {user}"), "+OK")?;
    pop3.ask(&format!("PASS {PASSWORD}"), "+OK")?;
    let stat = pop3.ask("STAT", "+OK")?;
    Ok(stat.split(' ').nth(1).and_then(|count| count.parse().ok()).expect("STAT tells a number"))
}

/// Returns how many messages for a user the ledger tells to be acknowledged so far.
fn acknowledged(ledger: &Path, user: &str) -> usize {
    let text = fs::read_to_string(ledger).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let (mut tried, mut count) = (BTreeSet::new(), 0);
    for line in whole.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["try", id, recipient, ..] if *recipient == user => drop(tried.insert(*id)),
            ["ack", id] => count += usize::from(tried.contains(id)),
            _ => {}
        }
    }
    count
}

fn json(ran: &Ran) -> serde_json::Value {
    serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {}{}", ran.out, ran.err))
}

/// Runs the load tool with the accounts of the test.
fn load(arguments: &[&str], ledger: &Path) -> Ran {
    Tool::binary("puro-load")
        .args(arguments)
        .args(["--users", &USERS.to_string(), "--domain", "example.test", "--patience", "20"])
        .args(["--ledger".as_ref(), ledger.as_os_str()])
        .env("PURO_LOAD_PASSWORD", PASSWORD)
        .run()
}
