//! Every dialogue: turn by turn, whole, octet by octet, and in random pieces.

use std::path::{Path, PathBuf};

use crate::{
    client::{Client, Event},
    script::{Line, Script},
};

/// How the client's octets are cut.
#[derive(Debug, Clone, Copy)]
enum Cut {
    Whole,
    Octets,
    Random(u64),
}

fn all() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "pop3"));
    paths.sort();
    assert!(paths.len() >= 30, "the dialogues are there");
    paths
}

fn merge(events: &mut Vec<Event>, event: Event) {
    match (events.last_mut(), event) {
        (Some(Event::Sent(before)), Event::Sent(octets)) => before.extend(octets),
        (_, event) => events.push(event),
    }
}

fn show(events: &[Event]) -> String {
    events
        .iter()
        .map(|event| match event {
            Event::Sent(octets) => octets.escape_ascii().to_string().replace("\\r\\n", "\\r\\n\n"),
            other => format!("{other:?}\n"),
        })
        .collect()
}

fn connect(script: &Script) -> Client {
    Client::connect(script.config.clone(), script.peer.clone(), script.world.clone())
}

fn perform(client: &mut Client, line: &Line) {
    match line {
        Line::Send(octets) => client.send(octets),
        Line::Shut => client.shut(),
        Line::Wait(time) => client.wait(*time),
        Line::Drain => client.drain(),
        Line::StartTls => client.start_tls(),
        Line::Expect(_) => {}
    }
}

fn check_end(name: &str, script: &Script, client: &Client) {
    let ending = client.session.ending().map_or("open", |ending| ending.name());
    assert_eq!(ending, script.ending, "{name}");
    if !script.questions.is_empty() {
        assert_eq!(client.world.asked, script.questions, "{name}");
    }
}

/// Each reply comes before the next command is sent.
fn turn_by_turn(name: &str, script: &Script) {
    let mut client = connect(script);
    let mut expected = Vec::new();
    for line in &script.lines {
        match line {
            Line::Expect(event) => {
                merge(&mut expected, event.clone());
                continue;
            }
            Line::StartTls => expected.push(Event::StartTls),
            _ => {}
        }
        assert_eq!(show(&client.events), show(&expected), "{name}, before {line:?}");
        perform(&mut client, line);
    }
    finish(name, script, &client, expected);
}

fn finish(name: &str, script: &Script, client: &Client, mut expected: Vec<Event>) {
    if script.ending != "open" {
        expected.push(Event::Closed);
    }
    assert_eq!(show(&client.events), show(&expected), "{name}");
    check_end(name, script, client);
}

/// All that the client sends up to the next thing that is not sending goes together, cut in some way.
fn in_pieces(name: &str, script: &Script, cut: Cut) {
    let mut client = connect(script);
    let mut expected = Vec::new();
    let mut pending = Vec::new();
    for line in &script.lines {
        match line {
            Line::Expect(event) => merge(&mut expected, event.clone()),
            Line::Send(octets) => pending.extend_from_slice(octets),
            line => {
                send(&mut client, &std::mem::take(&mut pending), cut);
                if *line == Line::StartTls {
                    expected.push(Event::StartTls);
                }
                perform(&mut client, line);
            }
        }
    }
    send(&mut client, &pending, cut);
    finish(&format!("{name}, {cut:?}"), script, &client, expected);
}

fn send(client: &mut Client, octets: &[u8], cut: Cut) {
    match cut {
        Cut::Whole => client.send(octets),
        Cut::Octets => octets.iter().for_each(|octet| client.send(std::slice::from_ref(octet))),
        Cut::Random(seed) => {
            let mut state = seed | 1;
            let mut rest = octets;
            while !rest.is_empty() {
                // xorshift64: any sequence will do, as long as it is the same each time.
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                let length = (1 + usize::try_from(state % 40).unwrap()).min(rest.len());
                let (piece, behind) = rest.split_at(length);
                client.send(piece);
                rest = behind;
            }
        }
    }
}

fn each(run: impl Fn(&str, &Script)) {
    for path in all() {
        run(&path.file_name().unwrap().to_string_lossy(), &Script::read(&path));
    }
}

#[test]
fn each_turn_by_turn() {
    each(turn_by_turn);
}

#[test]
fn each_sent_whole() {
    each(|name, script| in_pieces(name, script, Cut::Whole));
}

#[test]
fn each_octet_by_octet() {
    // An octet behind STLS can only be seen if it arrives together with it.
    each(|name, script| {
        if !script.lines.contains(&Line::Expect(Event::Injection)) {
            in_pieces(name, script, Cut::Octets);
        }
    });
}

#[test]
fn each_in_random_pieces() {
    each(|name, script| {
        if !script.lines.contains(&Line::Expect(Event::Injection)) {
            (1..=50).for_each(|seed| in_pieces(name, script, Cut::Random(seed)));
        }
    });
}

#[test]
fn each_with_the_service_answering_in_small_pieces() {
    each(|name, script| {
        // A scripted answer to the n-th More belongs to the pieces as they are.
        if script.world.more.is_empty() && script.questions.is_empty() {
            for chunk in [1, 2, 7] {
                let mut script = script.clone();
                script.world.chunk = chunk;
                in_pieces(name, &script, Cut::Whole);
            }
        }
    });
}
