//! What reaches the store and the mailboxes.

use puro_api::model::{MAILBOXES_MAX, Owners};
use puro_scripted::{Services, mailbox};

use crate::client::{Front, QUEUE_ID};

#[tokio::test]
async fn a_message_is_stored_with_its_trace_and_delivered() {
    let services = Services::default();
    let front = Front::new(&services);
    let reply = front.send(&["user-a@local.example"], "Subject: x\r\n\r\n..dot\r\nbody\r\n").await;
    assert_eq!(reply, format!("250 2.0.0 Ok: queued as {QUEUE_ID}"));
    let state = services.state();
    let [stored] = state.stored.as_slice() else { panic!("{:?}", state.stored) };
    assert_eq!(
        String::from_utf8(stored.octets.clone()).unwrap(),
        format!(
            "Return-Path: <a@remote.example>\r\n\
             Received: from client.example ([192.0.2.1])\r\n\
             \tby mail.example with ESMTP id {QUEUE_ID}\r\n\
             \tfor <user-a@local.example>;\r\n\
             \tTue, 14 Nov 2023 22:13:20 +0000\r\n\
             Subject: x\r\n\r\n.dot\r\nbody\r\n"
        )
    );
    assert_eq!(stored.transaction_id, QUEUE_ID);
    let [delivery] = state.delivered.as_slice() else { panic!("{:?}", state.delivered) };
    assert_eq!(delivery.transaction_id, QUEUE_ID);
    assert_eq!(delivery.accepted_ms, 1_700_000_000_000);
    assert_eq!(delivery.mailboxes, [mailbox('a').to_string()]);
    let location = delivery.location.as_ref().unwrap();
    assert_eq!(location.object_name, format!("segment-{QUEUE_ID}"));
}

#[tokio::test]
async fn every_mailbox_gets_it_once_and_bytes_are_stored_once() {
    let services = Services::default();
    let recipients = ["user-ab@local.example", "user-bc@local.example", "user-a@local.example"];
    let reply = Front::new(&services).send(&recipients, "A: 1\r\n\r\n").await;
    assert!(reply.starts_with("250 "), "{reply}");
    let state = services.state();
    assert_eq!(state.stored.len(), 1);
    assert_eq!(state.delivered[0].mailboxes, ['a', 'b', 'c'].map(|letter| mailbox(letter).to_string()));
    // Whoever cleans up goes by this: all of them, by the ids that the delivery gives them.
    let owners = Owners::from_label(state.stored[0].label.clone()).unwrap();
    let transaction = QUEUE_ID.parse().unwrap();
    let accepted_ms = state.delivered[0].accepted_ms;
    let boxes = ['a', 'b', 'c'].map(mailbox);
    assert_eq!(owners, Owners::of_delivery(&transaction, accepted_ms, &boxes));
    let text = String::from_utf8_lossy(&state.stored[0].octets);
    assert!(!text.contains("user-"), "no recipient learns of the others: {text}");
}

/// Aliases make more mailboxes than recipients: what a delivery would not take is for another transaction.
#[tokio::test]
async fn no_more_mailboxes_than_a_delivery_takes() {
    const EACH: usize = 59;
    let services = Services::default();
    let fitting = MAILBOXES_MAX / EACH;
    // Addresses that differ: their numbers in letters.
    let address = |number: usize| {
        let letters: String =
            (0..EACH).map(|bit| if bit < 16 && number >> bit & 1 == 1 { 'b' } else { 'a' }).collect();
        format!("RCPT TO:<user-{letters}@local.example>\r\n")
    };
    let recipients: String = (0..=fitting).map(address).collect();
    let replies = Front::new(&services)
        .dialogue(&format!(
            "MAIL FROM:<>\r\n{recipients}RCPT TO:<user-c@local.example>\r\nDATA\r\nA: 1\r\n.\r\n\
             MAIL FROM:<>\r\n{}QUIT\r\n",
            address(fitting)
        ))
        .await;
    let codes: Vec<&str> = replies.lines().map(|line| line.split_once(' ').unwrap().0).collect();
    let (accepted, rest) = codes[1..].split_at(fitting);
    assert!(accepted.iter().all(|code| *code == "250"), "{accepted:?}");
    assert_eq!(rest, ["452", "250", "354", "250", "250", "250", "221"]);
    assert!(replies.contains("452 4.5.3 Too many recipients\r\n"), "{replies}");
    assert_eq!(services.state().delivered[0].mailboxes.len(), 3, "a, b and c");
}

#[tokio::test]
async fn refused_recipients_and_earlier_transactions_get_nothing() {
    let services = Services::default();
    let replies = Front::new(&services)
        .dialogue(
            "MAIL FROM:<>\r\nRCPT TO:<user-a@local.example>\r\nRSET\r\n\
             MAIL FROM:<> SIZE=77\r\nRCPT TO:<nobody@local.example>\r\nRCPT TO:<me@other.example>\r\n\
             RCPT TO:<full@local.example>\r\nRCPT TO:<away@local.example>\r\nRCPT TO:<circle@local.example>\r\n\
             RCPT TO:<me@broken.example>\r\nRCPT TO:<user-b@local.example>\r\nDATA\r\nA: 1\r\n.\r\nQUIT\r\n",
        )
        .await;
    let codes: Vec<&str> = replies.lines().map(|line| line.split_once(' ').unwrap().0).collect();
    assert_eq!(
        codes,
        ["250", "250", "250", "250", "550", "550", "452", "450", "550", "553", "250", "354", "250", "221"],
        "{replies}"
    );
    let state = services.state();
    assert_eq!(state.delivered[0].mailboxes, [mailbox('b').to_string()]);
    assert!(
        state.resolved.contains(&("user-b@local.example".to_owned(), 77)),
        "the announced size is asked about"
    );
    assert!(state.stored[0].octets.starts_with(b"Return-Path: <>\r\n"));
}

#[tokio::test]
async fn a_large_message_arrives_whole() {
    let services = Services::default();
    let message: String = (0..60_000).map(|line| format!("line {line} of a large message\r\n")).collect();
    let message = format!("Subject: large\r\n\r\n{message}");
    let reply = Front::new(&services).send(&["user-a@local.example"], &message).await;
    assert!(reply.starts_with("250 "), "{reply}");
    let state = services.state();
    assert!(state.stored[0].octets.ends_with(format!("+0000\r\n{message}").as_bytes()));
}

#[tokio::test]
async fn an_older_return_path_goes_and_a_loop_is_refused() {
    let services = Services::default();
    let front = Front::new(&services);
    let recipient = ["user-a@local.example"];
    front.send(&recipient, "Return-Path: <old@remote.example>\r\nA: 1\r\n\r\nx\r\n").await;
    let stored = String::from_utf8(services.state().stored[0].octets.clone()).unwrap();
    assert_eq!(stored.matches("Return-Path:").count(), 1, "{stored}");
    assert!(stored.starts_with("Return-Path: <a@remote.example>\r\n"));

    let received = "Received: from a by b; some day\r\n";
    let reply = front.send(&recipient, &format!("{}\r\nx\r\n", received.repeat(100))).await;
    assert!(reply.starts_with("250 "), "{reply}");
    let reply = front.send(&recipient, &format!("{}\r\nx\r\n", received.repeat(101))).await;
    assert!(reply.starts_with("554 5.4.6 "), "{reply}");
    assert_eq!(services.state().delivered.len(), 2);
}
