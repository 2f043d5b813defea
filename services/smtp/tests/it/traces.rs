//! Which trace each call to a back end is part of.

use puro_scripted::{Services, Traces};
use tokio::io::DuplexStream;

use crate::client::{Front, ask};

const MAIL_FROM_ME: &str = "AUTH PLAIN AG1lAHNlY3JldA==\r\nMAIL FROM:<me@local.example>\r\n";
const TO_TWO: &str = "RCPT TO:<user-a@local.example>\r\nRCPT TO:<user-b@local.example>\r\n";
const MESSAGE: &str = "DATA\r\nA: 1\r\n\r\n.\r\n";

#[tokio::test]
async fn a_transaction_is_one_trace_from_its_first_question_to_the_delivery() {
    let _traces = Traces::begin();
    let services = Services::default();
    let front = Front::new(&services);
    let other = "MAIL FROM:<>\r\nRCPT TO:<nobody@local.example>\r\nRCPT TO:<user-c@local.example>\r\n";
    front
        .dialogue(&format!("MAIL FROM:<>\r\n{TO_TWO}{MESSAGE}{other}RSET\r\n{other}{MESSAGE}QUIT\r\n"))
        .await;
    let first = ["resolve", "resolve", "store", "deliver"].map(|method| (method, Some(0)));
    let reset = ["resolve", "resolve"].map(|method| (method, Some(1)));
    let last = ["resolve", "resolve", "store", "deliver"].map(|method| (method, Some(2)));
    assert_eq!(services.calls(), [&first[..], &reset, &last].concat());
}

#[tokio::test]
async fn a_login_is_a_trace_and_a_submission_another() {
    let _traces = Traces::begin();
    let services = Services::default();
    let front = Front::new(&services);
    front.dialogue(&format!("{MAIL_FROM_ME}{TO_TWO}{MESSAGE}QUIT\r\n")).await;
    let submission =
        ["check_sender", "resolve", "resolve", "store", "deliver"].map(|method| (method, Some(1)));
    assert_eq!(services.calls(), [&[("authenticate", Some(0))], &submission[..]].concat());
}

#[tokio::test]
async fn a_transaction_sent_ahead_behind_rset_is_a_trace_of_its_own() {
    let _traces = Traces::begin();
    let services = Services::default();
    let null_sender = "MAIL FROM:<>\r\nRCPT TO:<user-a@local.example>\r\n";
    Front::new(&services).dialogue(&format!("{MAIL_FROM_ME}RSET\r\n{null_sender}QUIT\r\n")).await;
    let expected = [("authenticate", Some(0)), ("check_sender", Some(1)), ("resolve", Some(2))];
    assert_eq!(services.calls(), expected);
}

/// A session in which EHLO was said.
async fn greeted(services: &Services) -> DuplexStream {
    let (mut stream, _session) = Front::new(services).connect();
    ask(&mut stream, "", "220 ").await;
    ask(&mut stream, "EHLO client.example\r\n", "250 ").await;
    stream
}

/// A span that stays open is told to the collector with the time that the client was idle, or never.
#[tokio::test]
async fn a_transaction_without_a_message_ends_when_it_ends() {
    for end in ["RSET", "EHLO again.example", "HELO again.example"] {
        let traces = Traces::begin();
        let mut stream = greeted(&Services::default()).await;
        ask(&mut stream, "MAIL FROM:<>\r\n", "250 ").await;
        for recipient in ["user-a", "nobody"] {
            ask(&mut stream, &format!("RCPT TO:<{recipient}@local.example>\r\n"), "").await;
            assert_eq!(traces.open("transaction"), 1, "{recipient}");
        }
        ask(&mut stream, &format!("{end}\r\n"), "250 ").await;
        assert_eq!(traces.open("transaction"), 0, "{end}");
    }
}

/// A sender who may not is no transaction, and neither is a message that cannot begin or is given up.
#[tokio::test]
async fn a_transaction_that_is_refused_ends_with_the_refusal() {
    let traces = Traces::begin();
    let mut stream = greeted(&Services::default()).await;
    ask(&mut stream, "AUTH PLAIN AG1lAHNlY3JldA==\r\n", "235 ").await;
    ask(&mut stream, "MAIL FROM:<you@local.example>\r\n", "553 ").await;
    assert_eq!(traces.open("transaction"), 0);
    for message in ["bare\nlf\r\n.\r\n".to_owned(), format!("{}\r\n.\r\n", "Received: x\r\n".repeat(101))] {
        ask(&mut stream, "MAIL FROM:<me@local.example>\r\n", "250 ").await;
        ask(&mut stream, "RCPT TO:<user-a@local.example>\r\n", "250 ").await;
        ask(&mut stream, "DATA\r\n", "354 ").await;
        assert_eq!(traces.open("transaction"), 1);
        ask(&mut stream, &message, "55").await;
        assert_eq!(traces.open("transaction"), 0);
    }
}

#[tokio::test]
async fn without_a_collector_nothing_is_traced() {
    Traces::without_collector();
    let services = Services::default();
    Front::new(&services).send(&["user-a@local.example"], "A: 1\r\n").await;
    let untraced = ["resolve", "store", "deliver"].map(|method| (method, None));
    assert_eq!(services.calls(), untraced);
}
