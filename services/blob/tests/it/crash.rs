//! A process killed while it stores: what it acknowledged is there.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use puro_api::model::Part;
use puro_blob::{
    BlobConfig, Blobs,
    store::{DiskConfig, DiskStore},
};
use puro_types::{Codec, Frame, Location};

use crate::rig::{message, read, store};

const DIRECTORY: &str = "PURO_BLOB_TEST_CRASH_DIRECTORY";
const FIRST: &str = "PURO_BLOB_TEST_CRASH_FIRST";
const CLIENTS: u64 = 8;
const ROUNDS: u64 = 12;

fn open(directory: &Path) -> Blobs {
    // Small volumes, so that a kill also falls between two of them.
    let disk = DiskStore::open(directory, &DiskConfig { volume_bytes: 512 * 1024 }).unwrap();
    Blobs::new(Arc::new(disk), BlobConfig { shared_max_bytes: 60_000, ..BlobConfig::default() })
}

fn length(number: u64) -> usize {
    [300, 4_000, 30_000, 200_000][usize::try_from(number % 4).unwrap()]
}

/// The child: stores for ever, and tells what is durable.
#[tokio::test(flavor = "multi_thread")]
async fn child() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let first: u64 = std::env::var(FIRST).unwrap().parse().unwrap();
    let blobs = open(directory.as_ref());
    let clients = (0..CLIENTS).map(|client| {
        let blobs = blobs.clone();
        tokio::spawn(async move {
            for number in (0..).map(|turn| first + client + turn * CLIENTS) {
                let location = store(&blobs, &message(length(number), number)).await.unwrap();
                let line = format!("ack {number} {}\n", encode(&location));
                std::io::stdout().write_all(line.as_bytes()).unwrap();
            }
        })
    });
    futures_util::future::join_all(clients).await;
}

fn encode(location: &Location) -> String {
    let frame = |frame: &Frame| {
        let zstd = u8::from(frame.codec == Codec::Zstd);
        format!("{} {} {zstd} {}", frame.stored_length, frame.length, frame.checksum)
    };
    let Location { object_name, offset, header, body, slot, slots, .. } = location;
    format!("{object_name} {offset} {} {} {slot} {slots}", frame(header), frame(body))
}

fn decode(line: &str) -> Option<(u64, Location)> {
    let mut words = line.strip_prefix("ack ")?.split(' ');
    let number = words.next()?.parse().ok()?;
    let object_name = words.next()?.to_owned();
    let numbers: Vec<u64> = words.map(|word| word.parse().ok()).collect::<Option<_>>()?;
    let [offset, frames @ .., slot, slots] = numbers.as_slice() else { return None };
    let frame = |at: usize| {
        let codec = if frames[at + 2] == 1 { Codec::Zstd } else { Codec::Plain };
        let checksum = u32::try_from(frames[at + 3]).unwrap();
        Frame { stored_length: frames[at], length: frames[at + 1], codec, checksum }
    };
    assert_eq!(frames.len(), 8);
    let (slot, slots) = (u32::try_from(*slot).unwrap(), u32::try_from(*slots).unwrap());
    let (header, body) = (frame(0), frame(4));
    let bucket = String::new();
    Some((number, Location { bucket, object_name, offset: *offset, header, body, slot, slots }))
}

/// Runs the child until it has acknowledged so many messages, kills it, and returns all that it acknowledged.
fn run_and_kill(directory: &Path, first: u64, acknowledged: u64) -> Vec<(u64, Location)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::child", "--nocapture"])
        .env(DIRECTORY, directory)
        .env(FIRST, first.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stored = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).split(b'\n') {
        let line = String::from_utf8(line.unwrap()).unwrap();
        stored.extend(decode(&line));
        if stored.len() as u64 == acknowledged {
            // SIGKILL; the lines that are already in the pipe count too.
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    stored
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let mut all: Vec<(u64, Location)> = Vec::new();
    for round in 0..ROUNDS {
        let wanted = 20 + round * 13;
        let path = directory.path().to_owned();
        let new = tokio::task::spawn_blocking(move || run_and_kill(&path, round * 1_000_000, wanted))
            .await
            .unwrap();
        assert!(new.len() as u64 >= wanted, "round {round}: the child ended after {} messages", new.len());
        all.extend(new);
        let blobs = open(directory.path());
        for (number, location) in &all {
            let octets = read(&blobs, location, Part::Message).await;
            let expected = message(length(*number), *number);
            assert!(octets.as_ref() == Ok(&expected), "round {round}, message {number} at {location:?}");
        }
        // No name twice: each place belongs to one message.
        let mut places: Vec<_> =
            all.iter().map(|(_, location)| (&location.object_name, location.offset)).collect();
        places.sort();
        assert!(places.windows(2).all(|two| two[0] != two[1]));
        let ended = blobs.ended();
        drop(blobs);
        ended.await;
    }
}
