//! What holds for any octets.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panic")]

mod dialogue;

use bytes::BytesMut;
use dialogue::{Conversation, Event};
use proptest::{collection::vec, prelude::*};
use puro_session::{Peer, dots::Stuffer};
use puro_smtp_session::{Answer, Config, Question, RecipientVerdict};

/// The longest unfinished line, which the session may leave to the driver.
const LINE_MAX: usize = 12_288;
/// What `Session::buffered_bytes` promises.
const BUFFERED_MAX: usize = 100_000;

fn conversation() -> Conversation {
    let peer = Peer { ip: "127.0.0.1".parse().unwrap(), tls: None };
    Conversation::new(Config::new("mail.example".to_owned()), peer)
}

/// A service that takes everything.
fn willing(question: &Question) -> Answer {
    match question {
        Question::Authenticate(_) => Answer::Authenticated { account: "me@local.example".to_owned() },
        Question::Sender { .. } => Answer::Sender(puro_smtp_session::SenderVerdict::Allowed),
        Question::Recipient { .. } => Answer::Recipient(RecipientVerdict::Accepted),
        Question::Begin(_) => Answer::Ready,
        Question::Chunk(_) | Question::Abort(_) => Answer::Taken,
        Question::Finish => Answer::Accepted { queue_id: "0A1".to_owned() },
    }
}

/// Sends in pieces; returns what was said and the message that was stored.
fn send(conversation: &mut Conversation, octets: &[u8], piece: usize) -> (Vec<u8>, Vec<u8>) {
    let (mut said, mut stored) = (Vec::new(), Vec::new());
    for piece in octets.chunks(piece) {
        conversation.send(piece);
        conversation.pump(|event| match event {
            Event::Said(octets) => {
                said.extend_from_slice(&octets);
                None
            }
            Event::Asked(question) => {
                if let Question::Chunk(octets) = &question {
                    stored.extend_from_slice(octets);
                }
                Some(willing(&question))
            }
            _ => None,
        });
        assert!(conversation.closed || conversation.input.len() <= LINE_MAX, "too much is left over");
        assert!(conversation.session.buffered_bytes() <= BUFFERED_MAX, "too much is held");
    }
    (said, stored)
}

fn start_message(conversation: &mut Conversation) {
    let (said, _) = send(conversation, b"HELO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\n", 1_000);
    assert!(said.ends_with(b"354 End data with <CR><LF>.<CR><LF>\r\n"));
}

/// Lines of any octets but CR and LF, with dots where they hurt.
fn lines() -> impl Strategy<Value = Vec<u8>> {
    let octet = any::<u8>().prop_map(|octet| if matches!(octet, b'\r' | b'\n') { b'.' } else { octet });
    let line = prop_oneof![Just(Vec::new()), Just(b".".to_vec()), Just(b"..".to_vec()), vec(octet, 0..200),];
    vec(line, 0..60)
        .prop_map(|lines| lines.iter().flat_map(|line| [line, b"\r\n".as_slice()].concat()).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    /// RFC 5321 section 4.5.2: what was sent is what is stored.
    #[test]
    fn a_message_passes_unchanged(message in lines(), piece in 1usize..5_000) {
        let mut wire = BytesMut::new();
        let mut stuffer = Stuffer::default();
        stuffer.encode(&message, &mut wire);
        stuffer.finish(&mut wire);
        let mut conversation = conversation();
        start_message(&mut conversation);
        let (said, stored) = send(&mut conversation, &wire, piece);
        prop_assert_eq!(said, b"250 2.0.0 Ok: queued as 0A1\r\n".to_vec());
        prop_assert_eq!(stored, message);
    }

    #[test]
    fn any_octets_do_no_harm(octets in vec(any::<u8>(), 0..30_000), piece in 1usize..20_000) {
        let (said, _) = send(&mut conversation(), &octets, piece);
        prop_assert!(said.starts_with(b"220 "));
    }

    #[test]
    fn any_octets_in_a_message_do_no_harm(octets in vec(any::<u8>(), 0..200_000), piece in 1usize..200_000) {
        let mut conversation = conversation();
        start_message(&mut conversation);
        send(&mut conversation, &octets, piece);
    }

    /// Whatever the line holds, one line gets one reply.
    #[test]
    fn one_line_one_reply(line in "[ -~]{0,80}") {
        let (said, _) = send(&mut conversation(), format!("{line}\r\n").as_bytes(), 1_000);
        let finals = said.split(|octet| *octet == b'\n').filter(|line| line.get(3) == Some(&b' ')).count();
        prop_assert_eq!(finals, 2, "greeting and reply: {:?}", String::from_utf8_lossy(&said));
    }
}

#[test]
fn a_large_message_is_never_held() {
    let mut conversation = conversation();
    start_message(&mut conversation);
    let line = [b'x'; 64 * 1024];
    let mut stored = 0;
    for _ in 0..(40 * 1024 * 1024 / line.len()) {
        stored += send(&mut conversation, &line, line.len()).1.len();
    }
    let (said, last) = send(&mut conversation, b"\r\n.\r\n", 10);
    assert_eq!(said, b"250 2.0.0 Ok: queued as 0A1\r\n");
    assert_eq!(stored + last.len(), 40 * 1024 * 1024 + 2);
}

#[test]
fn a_message_too_large_is_read_on_but_not_for_ever() {
    let mut conversation = conversation();
    start_message(&mut conversation);
    let line = [b'x'; 64 * 1024];
    let mut sent = 0usize;
    let mut stored = 0usize;
    let mut said = Vec::new();
    while !conversation.closed {
        let (reply, kept) = send(&mut conversation, &line, line.len());
        said.extend_from_slice(&reply);
        stored += kept.len();
        sent += line.len();
        assert!(sent < 200 * 1024 * 1024, "it reads for ever");
    }
    assert!(stored <= 50_000_000, "nothing beyond the limit reaches the store");
    assert!(sent > 100_000_000, "as much again is read, to find the end: {sent}");
    assert_eq!(said, b"552 5.3.4 Message size exceeds the limit\r\n");
}

#[test]
fn many_commands_at_once_are_answered_in_bounded_memory() {
    let mut conversation = conversation();
    let octets = b"HELP\r\n".repeat(20_000);
    conversation.send(&octets);
    let (mut said, mut most) = (0, 0);
    conversation.pump(|event| {
        if let Event::Said(octets) = event {
            said += octets.iter().filter(|octet| **octet == b'\n').count();
            most = most.max(octets.len());
        }
        None
    });
    assert_eq!(said, 20_001, "the greeting, and a reply to each");
    assert!(most < 70_000, "{most} octets of replies were held");
}
