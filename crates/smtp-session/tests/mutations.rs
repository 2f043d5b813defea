//! Valid dialogues, spoilt: the client's side of every transcript is cut, repeated, shuffled and flipped by a seeded
//! generator, against a service that answers at random; then the invariants are checked.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panic")]

mod dialogue;

use std::{fs, path::Path, time::Duration};

use dialogue::{Conversation, Event, Item, Random, Script};
use puro_session::Machine;
use puro_smtp_session::{Answer, Question, RecipientVerdict, SenderVerdict};

/// The pieces of all transcripts, and the settings they were made for.
fn scripts() -> Vec<Script> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| Script::parse(&fs::read_to_string(file).unwrap())).collect()
}

fn octets_of(script: &Script) -> Vec<u8> {
    let sent = script.items.iter().filter_map(|item| match item {
        Item::Send(octets) => Some(octets.as_slice()),
        _ => None,
    });
    sent.flatten().copied().take(20_000).collect()
}

fn mutate(octets: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    const NASTY: [&[u8]; 8] = [b"\r\n", b"\r", b"\n", b".\r\n", b"\r\n.\r\n", b"\0", b"\xff", b"RSET\r\n"];
    let at = random.below(octets.len() + 1);
    let end = (at + random.below(40)).min(octets.len());
    match random.below(6) {
        0 if at < octets.len() => octets[at] ^= 1 << random.below(8),
        1 => drop(octets.drain(at..end)),
        2 => {
            let again = octets[at..end].to_vec();
            octets.splice(at..at, again);
        }
        3 => {
            let nasty = NASTY[random.below(NASTY.len())];
            octets.splice(at..at, nasty.iter().copied());
        }
        4 => {
            let from = random.below(other.len() + 1);
            let to = (from + random.below(100)).min(other.len());
            octets.splice(at..at, other[from..to].iter().copied());
        }
        _ => octets.truncate(at.max(octets.len() / 2)),
    }
}

/// What the service has in hand, checked question by question.
#[derive(Default)]
struct Service {
    storing: bool,
    accepted: usize,
    /// The transaction that was last asked about.
    transaction: u32,
}

impl Service {
    fn answer(&mut self, question: &Question, random: &mut Random) -> Answer {
        if let Question::Sender { transaction, .. } | Question::Recipient { transaction, .. } = question {
            let is_first = matches!(question, Question::Sender { .. });
            assert!(
                *transaction >= self.transaction + u32::from(is_first),
                "back to a transaction that is past"
            );
            self.transaction = *transaction;
        }
        let fails = random.below(12) == 0;
        let rejected = Answer::Rejected { code: 554, status: "5.4.6", text: "Mail loop" };
        match question {
            Question::Authenticate(_) if random.below(2) == 0 => Answer::BadCredentials,
            Question::Authenticate(_) if !fails => {
                Answer::Authenticated { account: "me@local.example".to_owned() }
            }
            Question::Sender { .. } if !fails => Answer::Sender(SenderVerdict::Allowed),
            Question::Recipient { .. } if !fails => Answer::Recipient(RecipientVerdict::Accepted),
            Question::Recipient { .. } => Answer::Recipient(RecipientVerdict::UnknownUser),
            Question::Begin(envelope) => {
                assert!(!self.storing, "a message begins inside another");
                assert!(!envelope.recipients.is_empty(), "a message for nobody");
                self.storing = !fails;
                if fails { Answer::Unavailable } else { Answer::Ready }
            }
            Question::Chunk(octets) => {
                assert!(self.storing, "octets of no message");
                assert!(!octets.is_empty(), "a chunk of nothing");
                self.storing = !fails;
                if fails { rejected } else { Answer::Taken }
            }
            Question::Finish => {
                assert!(self.storing, "the end of no message");
                self.storing = false;
                self.accepted += usize::from(!fails);
                if fails { Answer::Unavailable } else { Answer::Accepted { queue_id: "0A1".to_owned() } }
            }
            Question::Abort(_) => {
                assert!(self.storing, "no message to give up");
                self.storing = false;
                Answer::Taken
            }
            Question::Authenticate(_) | Question::Sender { .. } => Answer::Unavailable,
        }
    }
}

fn check_replies(said: &[u8]) -> usize {
    let text = std::str::from_utf8(said).expect("replies are ASCII");
    assert!(text.is_empty() || text.ends_with("\r\n"));
    let mut queued = 0;
    for line in text.split_terminator("\r\n") {
        assert!(line.len() <= 510, "a reply line is too long");
        assert!(line.bytes().all(|octet| octet == b' ' || octet.is_ascii_graphic()), "{line:?}");
        let code: u16 = line[..3].parse().unwrap_or_else(|_| panic!("no code in {line:?}"));
        assert!((211..=555).contains(&code) && matches!(line.as_bytes()[3], b' ' | b'-'), "{line:?}");
        queued += usize::from(line.starts_with("250 2.0.0 Ok: queued"));
    }
    queued
}

/// Plays the octets; returns how many messages were accepted.
fn run(script: &Script, octets: &[u8], random: &mut Random) -> usize {
    let mut conversation = Conversation::new(script.config.clone(), script.peer.clone());
    let mut service = Service::default();
    let mut said = Vec::new();
    let mut rest = octets;
    let mut ended = false;
    while !ended {
        ended = rest.is_empty();
        let (piece, behind) = rest.split_at((1 + random.below(300)).min(rest.len()));
        rest = behind;
        conversation.send(piece);
        match random.below(60) {
            0 => conversation.wait(Duration::from_secs(200)),
            1 => conversation.session.drain(conversation.now),
            _ => {}
        }
        if ended {
            conversation.end();
        }
        conversation.pump(|event| match event {
            Event::Said(octets) => {
                said.extend_from_slice(&octets);
                None
            }
            Event::Asked(question) => Some(service.answer(&question, random)),
            _ => None,
        });
        assert!(conversation.closed || conversation.input.len() <= 12_288);
        assert!(conversation.session.buffered_bytes() <= 100_000);
    }
    assert!(conversation.closed, "the session outlives its client");
    assert!(!service.storing, "a message was begun and neither finished nor given up");
    assert_eq!(check_replies(&said), service.accepted, "250 means kept, and is said for what is kept");
    assert_eq!(conversation.session.summary().messages as usize, service.accepted);
    service.accepted
}

#[test]
fn spoilt_dialogues_break_nothing() {
    let scripts = scripts();
    let mut accepted = 0;
    for seed in 0..6_000 {
        let mut random = Random::new(seed);
        let script = &scripts[random.below(scripts.len())];
        let other = octets_of(&scripts[random.below(scripts.len())]);
        let mut octets = octets_of(script);
        for _ in 0..random.below(12) {
            mutate(&mut octets, &other, &mut random);
        }
        let outcome =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(script, &octets, &mut random)));
        accepted += outcome.unwrap_or_else(|panic| {
            eprintln!("seed {seed}: {}", octets.escape_ascii());
            std::panic::resume_unwind(panic)
        });
    }
    assert!(accepted > 100, "too much is spoilt for the test to mean anything: {accepted}");
}
