//! kill -9 under load: after a restart every message that got a 250 is there exactly once, whole.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops by panicking")]

use std::{path::PathBuf, thread, time::Duration};

use puro_e2e::{Mode, PASSWORD, Ran, System, Tool};

const USERS: usize = 8;
const KILLS: usize = 4;

#[test]
fn the_one_process() {
    kill_under_load(Mode::Single, &["puro"]);
}

#[test]
fn the_smtp_front_end() {
    kill_under_load(Mode::Four, &["puro-smtp"]);
}

#[test]
fn the_pop3_front_end() {
    kill_under_load(Mode::Four, &["puro-pop3"]);
}

#[test]
fn the_metadata_service() {
    kill_under_load(Mode::Four, &["puro-metadata"]);
}

#[test]
fn the_blob_service() {
    kill_under_load(Mode::Four, &["puro-blob"]);
}

#[test]
fn each_of_the_four_in_turn() {
    kill_under_load(Mode::Four, &["puro-blob", "puro-smtp", "puro-metadata", "puro-pop3"]);
}

fn kill_under_load(mode: Mode, victims: &[&'static str]) {
    let mut system = System::start(mode);
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
    let polls = {
        let pop3 = system.ports.pop3.to_string();
        let ledger = PathBuf::new();
        thread::spawn(move || {
            load(
                &["pop3", "--address", &pop3, "--connections", "2", "--seconds", "8", "--visit", "poll"],
                &ledger,
            )
        })
    };
    for kill in 0..KILLS {
        // The moment of the kill is left to chance on purpose; the ledger tells what has to be there.
        thread::sleep(Duration::from_millis(1300 + 217 * kill as u64));
        system.kill_and_restart(victims[kill % victims.len()]);
    }
    let report = delivering.join().unwrap();
    polls.join().unwrap();
    let json: serde_json::Value = serde_json::from_str(&report.out)
        .unwrap_or_else(|error| panic!("{error}: {}{}", report.out, report.err));
    let acknowledged = std::fs::read_to_string(&ledger).unwrap().lines().count();
    assert!(acknowledged > 100, "there was load: {json}");
    let pop3 = system.ports.pop3.to_string();
    load(&["verify", "--address", &pop3], &ledger).ok();
}

/// Runs the load tool with the accounts of the test.
fn load(arguments: &[&str], ledger: &std::path::Path) -> Ran {
    let mut tool = Tool::binary("puro-load").args(arguments).args([
        "--users",
        &USERS.to_string(),
        "--domain",
        "example.test",
        "--password",
        PASSWORD,
        "--patience",
        "20",
    ]);
    if !ledger.as_os_str().is_empty() {
        tool = tool.args(["--ledger".as_ref(), ledger.as_os_str()]);
    }
    tool.run()
}
