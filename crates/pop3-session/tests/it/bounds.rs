//! Memory and order where a transcript would be long: large messages, many messages, floods of commands.

use std::time::Duration;

use puro_pop3_session::{Config, Ending, Session};
use puro_session::Machine;

use crate::{
    client::{Client, Event},
    world::World,
};

/// The largest piece of a message that a service sends.
const CHUNK: usize = 64 * 1024;
/// The output may hold its high water mark and one stuffed piece behind it.
const OUTPUT_MAX: usize = Session::OUTPUT_HIGH_WATER + 2 * CHUNK;

fn logged_in(messages: Vec<Vec<u8>>) -> Client {
    let mut client = Client::local(World { messages, ..World::default() });
    client.send(b"USER me@example.org\r\nPASS secret\r\n");
    assert!(client.sent().ends_with(b"octets)\r\n"));
    client
}

#[test]
fn a_large_message_passes_in_constant_memory() {
    let mut message = b"Subject: large\r\n\r\n".to_vec();
    while message.len() < 50_000_000 {
        message.extend_from_slice(b".a line that begins with a dot, which is the costliest kind\r\n");
    }
    let length = message.len();
    let lines = message.iter().filter(|octet| **octet == b'\n').count() - 2;
    let mut client = logged_in(vec![message]);
    client.send(b"RETR 1\r\n");
    let sent = client.sent();
    let head = format!("+OK {length} octets\r\n");
    assert_eq!(sent.len(), head.len() + length + lines + 3);
    assert!(client.output_peak <= OUTPUT_MAX, "{}", client.output_peak);
}

#[test]
fn a_small_message_is_one_write() {
    let mut client = logged_in(vec![b"Subject: small\r\n\r\nhi\r\n".to_vec()]);
    client.writes = 0;
    client.send(b"RETR 1\r\n");
    assert_eq!(client.sent(), b"+OK 22 octets\r\nSubject: small\r\n\r\nhi\r\n.\r\n");
    assert_eq!(client.writes, 1);
}

#[test]
fn listings_of_many_messages_come_in_bounded_pieces() {
    let count = 20_000;
    let mut client = logged_in(vec![b"x\r\n\r\n".to_vec(); count]);
    for (command, line) in [("LIST", "19999 5\r\n"), ("UIDL", "\r\n19999 ")] {
        client.output_peak = 0;
        client.send(format!("DELE 7\r\n{command}\r\nNOOP\r\n").as_bytes());
        let sent = String::from_utf8(client.sent()).unwrap();
        assert_eq!(sent.lines().count(), 1 + 1 + (count - 1) + 1 + 1, "{command}");
        assert!(sent.contains(line) && !sent.contains("\r\n7 "), "{command}");
        assert!(sent.ends_with(".\r\n+OK nothing done\r\n"), "{command}");
        assert!(client.output_peak <= Session::OUTPUT_HIGH_WATER + 512, "{}", client.output_peak);
        client.send(b"RSET\r\n");
        client.sent();
    }
}

#[test]
fn a_flood_of_commands_does_not_swell_the_output() {
    let mut client = logged_in(Vec::new());
    client.output_peak = 0;
    client.send(&b"CAPA\r\n".repeat(40_000));
    let sent = client.sent();
    let one = sent.len() / 40_000;
    assert!(one > 100 && sent.len() == one * 40_000, "every CAPA is answered, alike");
    assert!(client.output_peak <= Session::OUTPUT_HIGH_WATER + 2 * one, "{}", client.output_peak);
}

#[test]
fn an_idle_session_is_small() {
    assert!(size_of::<Session>() <= 512, "{}", size_of::<Session>());
    let mut client = logged_in(vec![b"x\r\n\r\n".repeat(20_000)]);
    client.send(b"RETR 1\r\nUIDL\r\n");
    assert_eq!(client.session.output().capacity(), 0, "the driver took the memory with the octets");
}

#[test]
fn pauses_grow_to_half_a_minute() {
    let mut config = Config::new("mail.example.org");
    config.limits.failed_logins = u32::MAX;
    let peer = puro_session::Peer { ip: [127, 0, 0, 1].into(), tls: None };
    let mut client = Client::connect(config, peer, World::default());
    for _ in 0..40 {
        client.send(b"AUTH PLAIN AG1lAG5v\r\n");
    }
    let pauses: Vec<u64> = client
        .events
        .iter()
        .filter_map(|event| if let Event::Paused(time) = event { Some(time.as_secs()) } else { None })
        .collect();
    // The time for a login is over before long, so some of the last ones meet a closed connection.
    assert_eq!(pauses[..7], [1, 2, 4, 8, 16, 30, 30]);
    assert!(pauses.iter().all(|pause| *pause <= 30));
}

#[test]
fn a_drain_lets_the_message_in_hand_pass() {
    // The driver tells of a drain between two steps of a transfer: here, as early as it can.
    let mut client = logged_in(vec![b"x\r\n\r\nbody\r\n".to_vec()]);
    client.world.chunk = 4;
    client.drain_in_transfer(b"RETR 1\r\nDELE 1\r\n");
    assert_eq!(
        client.sent(),
        b"+OK 11 octets\r\nx\r\n\r\nbody\r\n.\r\n-ERR [SYS/TEMP] server is shutting down, nothing was deleted\r\n"
    );
    assert!(client.over());
}

#[test]
fn commands_that_arrive_after_a_drain_are_not_taken() {
    let mut client = logged_in(vec![b"x\r\n\r\n".to_vec()]);
    client.drain_before(b"DELE 1\r\nQUIT\r\n");
    assert_eq!(client.session.ending(), Some(Ending::Drained));
    assert_eq!(client.world.asked, ["open me@example.org"]);
}

#[test]
fn a_drain_before_the_greeting_says_so_instead() {
    let peer = puro_session::Peer { ip: [127, 0, 0, 1].into(), tls: None };
    let mut session = Session::new(std::sync::Arc::new(Config::new("mail.example.org")), peer);
    let now = std::time::Instant::now();
    session.drain(now);
    assert!(matches!(session.step(now), puro_session::Step::Close));
    assert!(session.output().starts_with(b"-ERR [SYS/TEMP]"));
}

#[test]
fn commands_with_the_end_of_the_stream_behind_them_count() {
    let mut client = logged_in(vec![b"x\r\n\r\nbody\r\n".to_vec(), b"y\r\n\r\n".to_vec()]);
    client.send_and_shut(b"DELE 1\r\nRETR 2\r\nQUIT\r\n");
    assert!(client.sent().ends_with(b".\r\n+OK bye\r\n"));
    assert_eq!(client.session.ending(), Some(Ending::Quit));
    assert_eq!(client.world.asked.last().unwrap(), "remove 0");
}

#[test]
fn the_end_of_the_stream_without_quit_removes_nothing() {
    let mut client = logged_in(vec![b"x\r\n\r\nbody\r\n".to_vec()]);
    client.send_and_shut(b"DELE 1\r\nRETR 1\r\nRSET\r\nDELE 1\r\nQUIT");
    assert_eq!(client.session.ending(), Some(Ending::Disconnected));
    assert_eq!(client.world.asked, ["open me@example.org"]);
}

#[test]
fn the_tally_counts_what_went_out() {
    let mut client = logged_in(vec![b"x\r\n\r\nbody\r\n".to_vec(), b"y\r\n\r\n".to_vec()]);
    client.send(b"RETR 1\r\nTOP 2 0\r\nDELE 1\r\nDELE 2\r\nRSET\r\nDELE 2\r\nQUIT\r\n");
    let tally = client.session.tally();
    assert_eq!((tally.retrieved, tally.topped, tally.message_bytes, tally.removed), (1, 1, 16, 1));
}

#[test]
fn the_time_for_an_answer_does_not_count_as_silence() {
    let mut client = logged_in(Vec::new());
    client.wait(Duration::from_secs(599));
    client.send(b"NOOP\r\n");
    client.wait(Duration::from_secs(599));
    assert!(!client.over());
    client.wait(Duration::from_secs(1));
    assert!(client.over());
}
