//! Many sessions at once, every message accounted for.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops by panicking")]

use puro_e2e::{PASSWORD, System, Tool, everywhere};
use serde_json::Value;

const USERS: usize = 6;

everywhere! {
    /// Deliveries, retrievals with deletion, and polls go on side by side without a single error.
    fn readers_and_writers_do_not_disturb_each_other(system) {
        let address = system.ports.smtp.to_string();
        let pop3 = system.ports.pop3.to_string();
        let report = load(
            system,
            &["mixed", "--address", &address, "--pop3-address", &pop3, "--seconds", "4", "--connections", "6"],
        );
        let runs = report["runs"].as_array().unwrap();
        assert_eq!(runs.len(), 3);
        for run in runs {
            assert!(run["done"].as_u64().unwrap() > 20, "{run:#}");
            assert!(run["errors"].as_object().unwrap().is_empty(), "{run:#}");
            assert_eq!(run["integrity"]["corrupted"], 0, "{run:#}");
            assert_eq!(run["integrity"]["duplicated"], 0, "{run:#}");
        }
    }

    /// Each way of encryption carries messages of several sizes; all of them are there, once and whole.
    fn every_encryption_carries_every_size(system) {
        let ledger = system.folder().join("ledger").display().to_string();
        for (address, encryption) in [
            (system.ports.smtp, "none"),
            (system.ports.smtp, "starttls"),
            (system.ports.submission, "starttls"),
            (system.ports.smtps, "tls"),
        ] {
            for size in ["700", "70000", "2000000"] {
                let address = address.to_string();
                let mut arguments = vec!["smtp", "--address", &address, "--encryption", encryption, "--size", size];
                arguments.extend(["--messages", "12", "--connections", "3", "--incompressible", "--ledger", &ledger]);
                if encryption != "none" {
                    arguments.push("--login");
                }
                assert_eq!(load(system, &arguments)["done"], 12);
            }
        }
        for (address, encryption) in
            [(system.ports.pop3, "none"), (system.ports.pop3, "starttls"), (system.ports.pop3s, "tls")]
        {
            let address = address.to_string();
            let verdict =
                load(system, &["verify", "--address", &address, "--encryption", encryption, "--ledger", &ledger]);
            assert_eq!((&verdict["acknowledged"], &verdict["intact"]), (&144.into(), &144.into()), "{verdict:#}");
            assert_eq!(verdict["unknown"], 0);
        }
    }

    /// Sessions which are logged in and idle stay alive while others work.
    fn idle_sessions_stay_alive(system) {
        let pop3 = system.ports.pop3.to_string();
        let report = load(system, &["idle", "--address", &pop3, "--connections", "300", "--seconds", "1"]);
        assert_eq!((&report["opened"], &report["alive"]), (&300.into(), &300.into()));
    }
}

/// Runs the load tool with the accounts of the test; anything that is not all well fails.
fn load(system: &System, arguments: &[&str]) -> Value {
    for n in 1..=USERS {
        let user = format!("user{n}@example.test");
        if system.operator(&["user", "show", &user]).code != Some(0) {
            system.add_user(&user);
        }
    }
    let ran = Tool::binary("puro-load")
        .args(arguments)
        .args(["--users", &USERS.to_string(), "--domain", "example.test"])
        .env("PURO_LOAD_PASSWORD", PASSWORD)
        .run()
        .ok();
    serde_json::from_str(&ran.out).expect("a report")
}
