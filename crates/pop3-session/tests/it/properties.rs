//! What holds for any octets.

use bytes::BytesMut;
use proptest::prelude::*;
use puro_pop3_session::Session;
use puro_session::{Machine, dots::Unstuffer};

use crate::{
    client::Client,
    world::{World, header_length},
};

/// Octets of a line inside AUTH at most: the longest that the machine leaves unconsumed.
const LINE_MAX: usize = 12_288;

/// Messages made of what matters to lines: dots, CRs, LFs, blank lines, text, any octet.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => Just(b"\r\n".to_vec()),
        2 => Just(b".".to_vec()),
        1 => Just(b"\r".to_vec()),
        1 => Just(b"\n".to_vec()),
        1 => Just(b"\r\n.\r\n".to_vec()),
        3 => "[a-z :]{0,12}".prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>(), 0..6),
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// Commands, and what looks like them.
fn input() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        6 => proptest::sample::select(vec![
            "USER me@example.org\r\n", "PASS secret\r\n", "STAT\r\n", "LIST\r\n", "UIDL\r\n", "RETR 1\r\n",
            "TOP 1 1\r\n", "TOP 2 0\r\n", "DELE 1\r\n", "DELE 2\r\n", "RSET\r\n", "NOOP\r\n", "CAPA\r\n",
            "AUTH PLAIN\r\n", "AUTH LOGIN\r\n", "*\r\n", "AG1lQGV4YW1wbGUub3JnAHNlY3JldA==\r\n", "AUTH\r\n",
        ]).prop_map(|text| text.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..40),
        1 => (any::<u8>(), 0..15_000usize).prop_map(|(octet, length)| vec![octet; length]),
        1 => Just(b"\r\n".to_vec()),
        1 => "[A-Za-z]{3,4} [ -~]{0,30}\r\n".prop_map(String::into_bytes),
    ];
    proptest::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}

fn world(messages: Vec<Vec<u8>>, chunk: usize) -> World {
    World { messages, chunk, ..World::default() }
}

fn logged_in(message: Vec<u8>, chunk: usize) -> Client {
    let mut client = Client::local(world(vec![message], chunk));
    client.send(b"USER me@example.org\r\nPASS secret\r\n");
    client.sent();
    client
}

/// Returns the message in a reply of several lines, and whether its last line had to be ended for it.
fn unstuffed(reply: &[u8]) -> (Vec<u8>, usize) {
    let line = reply.iter().position(|octet| *octet == b'\n').unwrap() + 1;
    assert!(reply.starts_with(b"+OK "));
    let mut out = BytesMut::new();
    let mut unstuffer = Unstuffer::default();
    let result = unstuffer.decode(&reply[line..], &mut out);
    assert!(result.end, "the reply ends");
    (out.to_vec(), reply.len() - line - result.consumed)
}

/// TOP as RFC 1939 section 7 tells it, over the whole message.
fn model(message: &[u8], lines: usize) -> Vec<u8> {
    let (header, body) = message.split_at(header_length(message));
    let body: Vec<&[u8]> = body.split_inclusive(|octet| *octet == b'\n').take(lines).collect();
    [header, &body.concat()].concat()
}

fn ended(mut message: Vec<u8>) -> Vec<u8> {
    if !message.is_empty() && !message.ends_with(b"\r\n") {
        message.extend_from_slice(b"\r\n");
    }
    message
}

/// Takes off the dot that is added behind a bare LF, so that clients which end lines there see no end of data.
fn without_extra_dots(octets: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::new();
    for (at, octet) in octets.iter().enumerate() {
        let behind_bare_lf = at > 0 && octets[at - 1] == b'\n' && (at < 2 || octets[at - 2] != b'\r');
        if *octet == b'.' && behind_bare_lf {
            continue;
        }
        out.push(*octet);
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_octets_leave_bounded_buffers_and_whole_lines(
        input in input(), message in message(), cuts in proptest::collection::vec(1..200usize, 1..20), end: bool,
    ) {
        let messages = vec![message.clone(), message];
        let mut whole = Client::local(world(messages.clone(), 7));
        let mut cut = Client::local(world(messages, 100));
        whole.send(&input);
        let mut rest = input.as_slice();
        for length in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, behind) = rest.split_at((*length).min(rest.len()));
            cut.send(piece);
            prop_assert!(cut.left_peak <= LINE_MAX, "{}", cut.left_peak);
            rest = behind;
        }
        if end {
            whole.shut();
            cut.shut();
            prop_assert!(whole.over());
        }
        prop_assert!(cut.output_peak <= Session::OUTPUT_HIGH_WATER + 2048);
        prop_assert_eq!(&whole.events, &cut.events);
        prop_assert_eq!(whole.session.ending(), cut.session.ending());
        // Nobody said QUIT.
        prop_assert!(!whole.world.asked.iter().any(|asked| asked.starts_with("remove")));
    }

    #[test]
    fn no_reply_line_is_longer_than_512_octets(input in input()) {
        let mut client = Client::local(world(vec![b"x\r\n\r\n".to_vec(); 3], 100));
        client.send(&input);
        let sent = client.sent();
        prop_assert!(sent.ends_with(b"\r\n"));
        for line in sent.split_inclusive(|octet| *octet == b'\n') {
            prop_assert!(line.len() <= 512 && line.ends_with(b"\r\n"));
        }
    }

    #[test]
    fn any_message_comes_through_retr(message in message(), chunk in 1..64usize) {
        let mut client = logged_in(message.clone(), chunk);
        client.send(b"RETR 1\r\n");
        let reply = client.sent();
        let head = format!("+OK {} octets\r\n", message.len());
        prop_assert!(reply.starts_with(head.as_bytes()));
        let (got, behind) = unstuffed(&reply);
        prop_assert_eq!(behind, 0);
        prop_assert_eq!(without_extra_dots(&got), ended(message));
    }

    #[test]
    fn top_is_its_model(message in message(), chunk in 1..64usize, lines in 0..30usize) {
        let mut client = logged_in(message.clone(), chunk);
        client.send(format!("TOP 1 {lines}\r\nNOOP\r\n").as_bytes());
        let (got, behind) = unstuffed(&client.sent());
        prop_assert_eq!(behind, "+OK nothing done\r\n".len());
        prop_assert_eq!(without_extra_dots(&got), ended(model(&message, lines)));
        prop_assert!(client.session.output().is_empty());
    }
}
