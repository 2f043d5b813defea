//! Mail in a mailbox.

use serde_json::json;

use crate::system::System;

const ME: &str = "me@example.org";
const FIRST: &str = "Return-Path: <ann@example.net>\r\nSubject: one\r\n\r\nFrom here\r\nto \u{e9}ternity\r\n";
const SECOND: &str = "Subject: two\r\n\r\nno end of line";

async fn with_mail() -> System {
    let system = System::with_account(ME).await;
    system.deliver(ME, 1_700_000_000_000, FIRST).await;
    system.deliver(ME, 1_700_000_060_000, SECOND).await;
    system
}

const MBOX: &str = "\
From ann@example.net Tue Nov 14 22:13:20 2023
Return-Path: <ann@example.net>
Subject: one

>From here
to \u{e9}ternity

From MAILER-DAEMON Tue Nov 14 22:14:20 2023
Subject: two

no end of line

";

#[tokio::test]
async fn messages_are_listed_and_shown() {
    let system = with_mail().await;
    let listed = system.run("mail list me@example.org --json").await.json();
    let [first, second] = listed.as_array().unwrap().as_slice() else { panic!("{listed}") };
    assert_eq!((&first["number"], &first["size_bytes"]), (&json!(1), &json!(FIRST.len())));
    assert_eq!(first["accepted"], "2023-11-14T22:13:20Z");
    let id = second["id"].as_str().unwrap();
    let plain = system.run("mail list me@example.org").await.done();
    assert_eq!(
        plain.lines().nth(1),
        Some(format!("2\t{id}\t{}\t2023-11-14T22:14:20Z", SECOND.len()).as_str())
    );

    assert_eq!(system.run("mail show me@example.org 1").await.done(), FIRST);
    assert_eq!(system.run(&format!("mail show me@example.org {id}")).await.done(), SECOND);
    assert_eq!(system.run("mail show me@example.org 2 --headers").await.done(), "Subject: two\r\n\r\n");
    system.run("mail show me@example.org 3").await.refused(1, &["no message 3", "mail list"]);
    system.run("mail list nobody@example.org").await.refused(1, &["not found", "nobody@example.org"]);
}

#[tokio::test]
async fn a_mailbox_is_exported() {
    let system = with_mail().await;
    assert_eq!(system.run("mail export me@example.org").await.done(), MBOX);
    assert_eq!(system.run("mail export me@example.org --output me.mbox").await.done(), "");
    let path = system.folder.path().join("me.mbox");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), MBOX);
    system.run("mail export me@example.org --output me.mbox").await.refused(1, &["me.mbox", "exists"]);
    system.run("user disable me@example.org").await.done();
    assert_eq!(system.run("mail export me@example.org").await.done(), MBOX, "also of who may not log in");
}

#[tokio::test]
async fn an_empty_mailbox_is_an_empty_file() {
    let system = System::with_account(ME).await;
    assert_eq!(system.run("mail export me@example.org").await.done(), "");
    assert_eq!(system.run("mail list me@example.org --json").await.json(), json!([]));
}

#[tokio::test]
async fn a_lost_message_is_named_and_the_rest_exported() {
    let system = System::with_account(ME).await;
    let segment = system.deliver(ME, 1_700_000_000_000, FIRST).await;
    system.deliver(ME, 1_700_000_060_000, SECOND).await;
    let listed = system.run("mail list me@example.org --json").await.json();
    system.blob().delete_segments(&[segment]).await.unwrap();
    let ended = system.run("mail export me@example.org --output me.mbox").await;
    ended.refused(1, &[listed[0]["id"].as_str().unwrap(), "damaged or lost"]);
    let mbox = std::fs::read_to_string(system.folder.path().join("me.mbox")).unwrap();
    assert!(MBOX.ends_with(&mbox) && mbox.starts_with("From MAILER-DAEMON"), "{mbox}");
}

#[tokio::test]
async fn a_failed_export_leaves_no_file() {
    let mut system = with_mail().await;
    system.blob_url = "http://127.0.0.1:1".into();
    let ended = system.run("mail export me@example.org --output me.mbox").await;
    ended.refused(69, &["blob service", "http://127.0.0.1:1", "PURO_BLOB_URL"]);
    assert_eq!(std::fs::read_dir(system.folder.path()).unwrap().count(), 0);
}
