//! What a transaction writes to the log.

use puro_api::Failure;
use puro_scripted::{Log, Services};

use crate::client::{Front, QUEUE_ID};

#[tokio::test]
async fn a_transaction_leaves_one_line_without_addresses() {
    let log = Log::begin();
    let services = Services::default();
    let front = Front::new(&services);
    front.send(&["user-a@local.example", "user-b@local.example"], "Subject: private\r\n\r\ntext\r\n").await;
    let lines = log.lines("\"message\":\"message\"");
    let [line] = lines.as_slice() else { panic!("{lines:?}") };
    let queue_id = format!("\"queue_id\":\"{QUEUE_ID}\"");
    for part in [
        queue_id.as_str(),
        "\"client\":\"192.0.2.1\"",
        "\"listener\":\"smtp.listen\"",
        "\"protocol\":\"ESMTP\"",
        "\"sender_domain\":\"remote.example\"",
        "\"recipients\":2",
        "\"mailboxes\":2",
        "\"delivered\":2",
        "\"size_bytes\":",
        "\"outcome\":\"accepted\"",
        "\"duration_ms\":",
    ] {
        assert!(line.contains(part), "{part} is missing in {line}");
    }
    assert_eq!(log.lines("\"message\":\"session\"").len(), 1);
    for private in ["a@remote", "user-a", "user-b", "private"] {
        assert!(log.lines(private).is_empty(), "{private} is in the log: {:?}", log.lines(private));
    }
}

#[tokio::test]
async fn a_session_with_errors_is_seen_and_one_without_is_not() {
    let wrong_login = "AUTH PLAIN AG1lAHdyb25n\r\nQUIT\r\n";
    let message = "MAIL FROM:<>\r\nRCPT TO:<user-a@local.example>\r\nDATA\r\nA: 1\r\n.\r\nQUIT\r\n";
    for (commands, level, part) in [
        (message, "DEBUG", "\"errors\":0,\"failed_logins\":0"),
        ("MAIL FROM:<>\r\nRCPT TO:<nobody@local.example>\r\nQUIT\r\n", "INFO", "\"errors\":1"),
        ("NONSENSE\r\nQUIT\r\n", "INFO", "\"errors\":1"),
        (wrong_login, "INFO", "\"failed_logins\":1"),
    ] {
        let log = Log::begin();
        Front::new(&Services::default()).dialogue(commands).await;
        let lines = log.lines("\"message\":\"session\"");
        let [line] = lines.as_slice() else { panic!("{lines:?}") };
        assert!(line.contains(&format!("\"level\":\"{level}\"")) && line.contains(part), "{line}");
        assert!(log.lines("nobody").is_empty() && log.lines("wrong").is_empty());
    }
}

#[tokio::test]
async fn every_outcome_has_its_line() {
    for (method, message, outcome) in [
        ("deliver", "A: 1\r\n".to_owned(), "unavailable"),
        ("store", "A: 1\r\n".to_owned(), "unavailable"),
        ("none", "Received: x\r\n".repeat(101), "loop"),
        ("none", "bare\nlf\r\n".to_owned(), "given_up"),
    ] {
        let log = Log::begin();
        let services = Services::default();
        services.fail(method, Failure::Internal("a bug".to_owned()));
        Front::new(&services).send(&["user-a@local.example"], &message).await;
        let lines = log.lines("\"message\":\"message\"");
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains(&format!("\"outcome\":\"{outcome}\"")), "{lines:?}");
    }
}
