//! Services that fail, clients that leave: 250 means kept, and what is not kept leaves nothing.

use puro_api::Failure;
use puro_scripted::Services;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::Front;

const RECIPIENT: [&str; 1] = ["user-a@local.example"];

#[tokio::test(start_paused = true)]
async fn whatever_fails_is_451_and_the_next_try_works() {
    let failures = [
        Failure::Unavailable("gone".to_owned()),
        Failure::Exhausted("the disk is full".to_owned()),
        Failure::Internal("a bug".to_owned()),
        Failure::Invalid("a bug".to_owned()),
        Failure::OutcomeUnknown("lost".to_owned()),
    ];
    for method in ["store", "store at the end", "deliver"] {
        for failure in &failures {
            let services = Services::default();
            let front = Front::new(&services);
            services.fail(method, failure.clone());
            let reply = front.send(&RECIPIENT, "A: 1\r\n\r\nx\r\n").await;
            assert_eq!(reply, "451 4.3.0 Temporarily unavailable, try again later", "{method}: {failure}");
            assert!(services.state().delivered.is_empty());
            services.recover();
            let reply = front.send(&RECIPIENT, "A: 1\r\n\r\nx\r\n").await;
            assert!(reply.starts_with("250 "), "{method}: {failure}: {reply}");
        }
    }
}

/// Tried again it would be too large again.
#[tokio::test(start_paused = true)]
async fn what_the_store_finds_too_large_is_refused_for_good() {
    for (method, lines) in [("store", 1), ("store", 200_000), ("store at the end", 1)] {
        let services = Services::default();
        services.fail(method, Failure::TooLarge("1 octet".to_owned()));
        let message = format!("A: 1\r\n\r\n{}", "0123456789\r\n".repeat(lines));
        let reply = Front::new(&services).send(&RECIPIENT, &message).await;
        assert_eq!(reply, "552 5.3.4 Message size exceeds the limit", "{method}, {lines} lines");
        assert!(services.state().delivered.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_in_the_middle_of_a_large_message() {
    let services = Services::default();
    services.fail("store", Failure::Unavailable("gone".to_owned()));
    let message = format!("A: 1\r\n\r\n{}", "0123456789\r\n".repeat(200_000));
    let replies = Front::new(&services)
        .dialogue(&format!(
            "MAIL FROM:<>\r\nRCPT TO:<user-a@local.example>\r\nDATA\r\n{message}.\r\nNOOP\r\nQUIT\r\n"
        ))
        .await;
    let tail: Vec<&str> = replies.lines().rev().take(3).collect();
    assert_eq!(
        tail,
        ["221 2.0.0 Bye", "250 2.0.0 Ok", "451 4.3.0 Temporarily unavailable, try again later"],
        "the message is read to its end"
    );
}

/// The password was not looked at, so it is not called wrong: many programs forget one that is.
#[tokio::test(start_paused = true)]
async fn a_login_that_is_put_off_is_not_refused() {
    for failure in [Failure::Exhausted("too many failed".to_owned()), Failure::Unavailable("gone".to_owned())]
    {
        let services = Services::default();
        services.fail("authenticate", failure);
        let replies = Front::new(&services).dialogue("AUTH PLAIN AGEAYg==\r\nQUIT\r\n").await;
        assert_eq!(replies, "454 4.7.0 Temporary authentication failure\r\n221 2.0.0 Bye\r\n");
    }
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_cannot_answer_refuses_nobody_for_good() {
    let services = Services::default();
    services.fail("resolve", Failure::Unavailable("gone".to_owned()));
    let replies = Front::new(&services)
        .dialogue("MAIL FROM:<>\r\nRCPT TO:<user-a@local.example>\r\nDATA\r\nQUIT\r\n")
        .await;
    let codes: Vec<&str> = replies.lines().map(|line| &line[..3]).collect();
    assert_eq!(codes, ["250", "451", "554", "221"], "{replies}");
}

/// Begins a message larger than what is gathered before an upload begins.
async fn begin_large_message(stream: &mut tokio::io::DuplexStream) {
    stream
        .write_all(b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<user-a@local.example>\r\nDATA\r\nA: 1\r\n\r\n")
        .await
        .unwrap();
    stream.write_all("0123456789\r\n".repeat(100_000).as_bytes()).await.unwrap();
}

#[tokio::test]
async fn a_client_that_leaves_inside_a_message_leaves_nothing() {
    let services = Services::default();
    let (mut stream, session) = Front::new(&services).connect();
    begin_large_message(&mut stream).await;
    drop(stream);
    session.await.unwrap();
    services.upload_given_up().await;
    assert!(services.state().stored.is_empty() && services.state().delivered.is_empty());
}

#[tokio::test]
async fn a_message_that_breaks_a_rule_leaves_nothing() {
    let services = Services::default();
    let (mut stream, session) = Front::new(&services).connect();
    begin_large_message(&mut stream).await;
    stream.write_all(b"bare\nlf\r\n.\r\nQUIT\r\n").await.unwrap();
    let mut replies = String::new();
    stream.read_to_string(&mut replies).await.unwrap();
    drop(stream);
    session.await.unwrap();
    assert!(replies.ends_with("550 5.6.11 Message holds a bare CR or LF\r\n221 2.0.0 Bye\r\n"), "{replies}");
    services.upload_given_up().await;
    assert!(services.state().stored.is_empty() && services.state().delivered.is_empty());
}
