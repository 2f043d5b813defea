//! The stores: set up, described, audited.

use puro_api::model::Owners;
use puro_types::{MailboxId, TransactionId};

use crate::system::System;

const ME: &str = "me@example.org";

/// Stores a message that nobody delivers; returns its segment.
async fn forgotten(system: &System) -> String {
    let transaction = TransactionId::new(1_700_000_000_000, [9; 11]);
    let owners = Owners::of_delivery(&transaction, 1_700_000_000_000, [&MailboxId::new([9; 12])]);
    let mut stream = system.blob().store(&transaction);
    stream.send("Subject: nobody\r\n\r\n".into()).await.unwrap();
    stream.finish_for(&owners, 19).await.unwrap().object_name
}

#[tokio::test]
async fn embedded_stores_need_nothing() {
    let system = System::start().await;
    for line in ["store init", "store status"] {
        let rows = system.run(&format!("{line} --json")).await.json();
        let services: Vec<_> = rows.as_array().unwrap().iter().map(|row| &row["service"]).collect();
        assert_eq!(services, ["metadata", "blob"], "{line}");
        for row in rows.as_array().unwrap() {
            assert_eq!(row["state"], "ok", "{line}: {row}");
            assert!(row["detail"].as_str().unwrap().contains("when the service starts"), "{line}: {row}");
        }
        let text = system.run(line).await.done();
        assert!(text.contains("embedded") && text.contains("disk"), "{line}: {text}");
    }
    assert!(!system.folder.path().join("puro-data").exists(), "neither command makes anything");
}

#[tokio::test]
async fn an_audit_of_a_sound_system_finds_nothing() {
    let system = System::with_account(ME).await;
    system.deliver(ME, 1_700_000_000_000, "Subject: one\r\n\r\n").await;
    system.deliver(ME, 1_700_000_060_000, "Subject: two\r\n\r\n").await;
    system.delete_first(ME).await;
    let ended = system.run("store audit").await;
    assert_eq!((ended.code, ended.out.as_str()), (0, ""), "{ended:?}");
    assert!(
        ended.talk.contains("2 segments") && ended.talk.contains("1 messages in 1 mailboxes"),
        "{ended:?}"
    );
    let audited = system.run("store audit --repair --json").await.json();
    assert_eq!(audited["findings"], serde_json::json!([]));
    assert_eq!(audited["summary"]["messages"], 1);
}

#[tokio::test]
async fn space_that_nobody_owns_is_found_and_reclaimed() {
    let system = System::with_account(ME).await;
    system.deliver(ME, 1_700_000_000_000, "Subject: one\r\n\r\n").await;
    let segment = forgotten(&system).await;
    let ended = system.run("store audit").await;
    assert!(ended.out.starts_with(&format!("orphan\tno\t{segment}\t")), "{ended:?}");
    assert!(ended.talk.contains("--repair"), "{ended:?}");
    assert_eq!(ended.code, 0, "space is no loss: {ended:?}");
    let audited = system.run("store audit --repair --json").await.json();
    assert_eq!(audited["findings"][0]["segment"], segment.as_str());
    assert_eq!(
        (&audited["findings"][0]["repaired"], &audited["summary"]["repaired"]),
        (&true.into(), &1.into())
    );
    let left = system.blob().list_segments(None, 0).await.unwrap().items;
    assert!(left.len() == 1 && left[0].object_name != segment, "{left:?}");
    assert_eq!(system.run("store audit").await.done(), "");
}

#[tokio::test]
async fn lost_mail_is_said_aloud_and_ends_with_1() {
    let system = System::with_account(ME).await;
    let segment = system.deliver(ME, 1_700_000_000_000, "Subject: one\r\n\r\n").await;
    system.blob().delete_segments(std::slice::from_ref(&segment)).await.unwrap();
    for line in ["store audit", "store audit --repair"] {
        let ended = system.run(line).await;
        assert_eq!(ended.code, 1, "{ended:?}");
        let fields: Vec<&str> = ended.out.trim_end().split('\t').collect();
        assert_eq!((fields[0], fields[1], fields[2]), ("dangling", "no", segment.as_str()), "{ended:?}");
        assert_eq!(fields[5], ME, "whose it was");
        assert!(ended.talk.contains("LOST: message") && ended.talk.contains("mail is lost"), "{ended:?}");
    }
    let ended = system.run("store audit --json").await;
    assert_eq!(ended.code, 1, "{ended:?}");
    let audited: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!((&audited["summary"]["dangling"], &audited["findings"][0]["email"]), (&1.into(), &ME.into()));
}

#[tokio::test]
async fn an_audit_that_breaks_off_is_no_verdict() {
    let mut system = System::with_account(ME).await;
    system.metadata_url = "http://127.0.0.1:1".into();
    system.run("store audit").await.refused(69, &["puro serve"]);
}
