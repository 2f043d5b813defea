//! What a transaction writes to the log.

use puro_api::Failure;
use puro_scripted::{Log, Services, mailbox};
use puro_types::ByteSize;
use tokio::io::AsyncWriteExt;

use crate::client::{Front, QUEUE_ID, ask};

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

#[tokio::test(start_paused = true)]
async fn a_session_with_trouble_is_seen_and_one_without_is_not() {
    let wrong_login = "AUTH PLAIN AG1lAHdyb25n\r\nQUIT\r\n";
    let login = "AUTH PLAIN AG1lAHNlY3JldA==\r\nQUIT\r\n";
    let message = "MAIL FROM:<>\r\nRCPT TO:<user-a@local.example>\r\nDATA\r\nA: 1\r\n.\r\nQUIT\r\n";
    let full = "MAIL FROM:<>\r\nRCPT TO:<full@local.example>\r\nRCPT TO:<away@local.example>\r\nQUIT\r\n";
    let nothing = "\"errors\":0,\"failed_logins\":0,\"put_off\":0";
    for (fails, commands, level, part) in [
        ("nothing", message, "DEBUG", nothing),
        ("nothing", login, "DEBUG", nothing),
        ("nothing", "NOOP\r\n", "DEBUG", nothing),
        ("nothing", "MAIL FROM:<>\r\nRCPT TO:<nobody@local.example>\r\nQUIT\r\n", "INFO", "\"errors\":1"),
        ("nothing", "NONSENSE\r\nQUIT\r\n", "INFO", "\"errors\":1"),
        ("nothing", wrong_login, "INFO", "\"failed_logins\":1,\"put_off\":0"),
        ("nothing", full, "INFO", "\"errors\":0,\"failed_logins\":0,\"put_off\":2"),
        ("nothing", "GET / HTTP/1.1\r\n", "INFO", "\"put_off\":1"),
        ("authenticate", login, "INFO", "\"failed_logins\":0,\"put_off\":1"),
        ("resolve", message, "INFO", "\"put_off\":1"),
        ("deliver", message, "INFO", "\"errors\":0,\"failed_logins\":0,\"put_off\":1"),
    ] {
        let log = Log::begin();
        let services = Services::default();
        services.fail(fails, Failure::Unavailable("gone".to_owned()));
        Front::new(&services).dialogue(commands).await;
        let lines = log.lines("\"message\":\"session\"");
        let [line] = lines.as_slice() else { panic!("{lines:?}") };
        assert!(line.contains(&format!("\"level\":\"{level}\"")) && line.contains(part), "{line}");
        assert!(log.lines("nobody").is_empty() && log.lines("wrong").is_empty());
    }
}

/// Of two that did nothing, the one that was shut down is no trouble.
#[tokio::test(start_paused = true)]
async fn a_session_that_times_out_is_seen() {
    for (drains, level, end) in [(false, "INFO", "timed out"), (true, "DEBUG", "closed")] {
        let log = Log::begin();
        let front = Front::new(&Services::default());
        let (mut stream, session) = front.connect();
        ask(&mut stream, "EHLO client.example\r\n", "250 ").await;
        if drains {
            front.drain();
        }
        ask(&mut stream, "", "421 ").await;
        drop(stream);
        session.await.unwrap();
        let lines = log.lines("\"message\":\"session\"");
        let [line] = lines.as_slice() else { panic!("{lines:?}") };
        let end = format!("\"end\":\"{end}\"");
        assert!(line.contains(&format!("\"level\":\"{level}\"")) && line.contains(&end), "{line}");
        assert!(line.contains("\"put_off\":0"), "{line}");
    }
}

/// How the client goes on behind what it has sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Quits,
    Leaves,
    IsSilent,
}

#[tokio::test(start_paused = true)]
async fn every_outcome_has_its_line() {
    let bug = || Failure::Internal("a bug".to_owned());
    let whole = "A: 1\r\n.\r\n".to_owned();
    let half = "A: 1\r\n".to_owned();
    for (method, failure, message, then, outcome) in [
        ("none", bug(), whole.clone(), Then::Quits, "accepted"),
        ("deliver", bug(), whole.clone(), Then::Quits, "unavailable"),
        ("store", bug(), whole.clone(), Then::Quits, "unavailable"),
        ("store", Failure::TooLarge("1 octet".to_owned()), whole, Then::Quits, "too_large"),
        ("none", bug(), format!("{}.\r\n", "x\r\n".repeat(1_000)), Then::Quits, "too_large"),
        ("none", bug(), "x\r\n".repeat(1_000), Then::IsSilent, "too_large"),
        ("none", bug(), format!("{}.\r\n", "Received: x\r\n".repeat(101)), Then::Quits, "loop"),
        ("none", bug(), "bare\nlf\r\n.\r\n".to_owned(), Then::Quits, "bare_line_end"),
        ("none", bug(), half.clone(), Then::IsSilent, "timed_out"),
        ("none", bug(), half, Then::Leaves, "disconnected"),
    ] {
        let log = Log::begin();
        let services = Services::default();
        services.fail(method, failure);
        let front = Front::tuned("smtp.listen", &services, false, |settings| {
            settings.smtp.max_message_bytes = ByteSize(2_000);
        });
        let (mut stream, session) = front.connect();
        let begin = "EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<user-a@local.example>\r\nDATA\r\n";
        ask(&mut stream, begin, "354 ").await;
        stream.write_all(message.as_bytes()).await.unwrap();
        match then {
            Then::Quits => drop(ask(&mut stream, "QUIT\r\n", "221 ").await),
            Then::Leaves => {}
            Then::IsSilent => drop(ask(&mut stream, "", "421 ").await),
        }
        drop(stream);
        session.await.unwrap();
        let lines = log.lines("\"message\":\"message\"");
        assert_eq!(lines.len(), 1, "{outcome}: {lines:?}");
        assert!(lines[0].contains(&format!("\"outcome\":\"{outcome}\"")), "{outcome}: {lines:?}");
        assert!(lines[0].contains(&format!("\"queue_id\":\"{QUEUE_ID}\"")), "{outcome}: {lines:?}");
    }
}

/// Whoever looks for a message that was put off finds why, and whoever sees a failure finds whose message it befell.
#[tokio::test(start_paused = true)]
async fn a_failure_names_the_client_and_the_message() {
    let gone = || Failure::Unavailable("gone".to_owned());
    for (method, failure, lines, level, call, is_of_message) in [
        ("resolve", gone(), 1, "WARN", "resolve", false),
        ("store", gone(), 1, "WARN", "deliver", true),
        ("store", gone(), 200_000, "WARN", "store", true),
        ("store at the end", gone(), 1, "WARN", "deliver", true),
        ("deliver", gone(), 1, "WARN", "deliver", true),
        ("deliver", Failure::Internal("a bug".to_owned()), 1, "ERROR", "deliver", true),
    ] {
        let log = Log::begin();
        let services = Services::default();
        services.fail(method, failure);
        let message = format!("A: 1\r\n\r\n{}", "0123456789\r\n".repeat(lines));
        Front::new(&services).send(&["user-a@local.example"], &message).await;
        let lines = log.lines(&format!("\"level\":\"{level}\""));
        let [line] = lines.as_slice() else { panic!("{method}: {lines:?}") };
        for part in ["\"client\":\"192.0.2.1\"".to_owned(), format!("\"call\":\"{call}\"")] {
            assert!(line.contains(&part), "{part} is missing in {line}");
        }
        let queue_id = format!("\"queue_id\":\"{QUEUE_ID}\"");
        assert_eq!(line.contains(&queue_id), is_of_message, "{line}");
        let messages = log.lines("\"outcome\":\"unavailable\"");
        assert_eq!(
            messages.iter().filter(|line| line.contains(&queue_id)).count(),
            usize::from(is_of_message)
        );
    }
}

/// A full mailbox does not silence a group, and whoever misses a message can find out which. What reaches a mailbox by
/// another address is not missed, and what is not accepted nobody misses.
#[tokio::test(start_paused = true)]
async fn members_that_a_message_does_not_reach_are_named() {
    let group = ["user-ab-cde0@local.example", "user-f-c@local.example", "user-d@local.example"];
    for (fails, is_told) in [("nothing", true), ("deliver", false)] {
        let log = Log::begin();
        let services = Services::default();
        services.fail(fails, Failure::Unavailable("gone".to_owned()));
        Front::new(&services).send(&group, "A: 1\r\n").await;
        let delivered: Vec<_> =
            services.state().delivered.iter().map(|delivery| delivery.mailboxes.clone()).collect();
        let expected = ['a', 'b', 'f', 'd'].map(|letter| mailbox(letter).to_string()).to_vec();
        assert_eq!(delivered, if is_told { vec![expected] } else { Vec::new() });
        let missed = log.lines("do not get the message");
        assert_eq!(missed.len(), if is_told { 2 } else { 0 }, "{missed:?}");
        let full = ['c', 'e'].map(|letter| mailbox(letter).to_string()).join(" ");
        for (line, (reason, mailboxes)) in
            missed.iter().zip([("over_quota", full), ("unknown_user", "none".to_owned())])
        {
            for (key, value) in [("queue_id", QUEUE_ID), ("reason", reason), ("mailboxes", &mailboxes)] {
                let part = format!("\"{key}\":\"{value}\"");
                assert!(line.contains(&part) && line.contains("\"level\":\"INFO\""), "{part} in {line}");
            }
        }
        let lines = log.lines("\"message\":\"message\"");
        assert!(lines[0].contains("\"mailboxes\":4") && lines[0].contains("\"left_out\":3"), "{lines:?}");
        assert!(log.lines("local.example").is_empty());
    }
}
