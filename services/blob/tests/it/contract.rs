//! What the service promises to its clients, whichever store is behind it: one suite, through the client and gRPC, on
//! every adapter. A rule that only one store can show, or that a client never meets, has its test in `grpc`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, OpenOptions},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use futures_util::{TryStreamExt, future::join_all};
use puro_api::{Failure, model::Part};
use puro_blob::store::{DiskConfig, DiskStore, Fault, Faults, Faulty, MemoryStore, Metered, SegmentStore};
use puro_types::{Location, TransactionId};

use crate::{
    rig::message,
    served::{MESSAGE_MAX, Served, store},
};

/// More than fits into a segment that messages share: such a message is streamed into one of its own.
const STREAMED: usize = 2_500_000;

#[tokio::test]
async fn memory() {
    run(Arc::new(MemoryStore::new()), None).await;
}

#[tokio::test]
async fn disk() {
    let directory = tempfile::tempdir().unwrap();
    let disk = open(directory.path());
    run(Arc::new(disk), Some(Damage::OnDisk(directory.path().to_owned()))).await;
}

/// Opens a disk whose volumes are so small that several are filled.
fn open(directory: &Path) -> DiskStore {
    DiskStore::open(directory, &DiskConfig { volume_bytes: 2 << 20 }).unwrap()
}

/// As in production: the counters around the disk.
#[tokio::test]
async fn metered() {
    let directory = tempfile::tempdir().unwrap();
    let disk = open(directory.path());
    let metered = Metered::new(Arc::new(disk));
    let meter = metered.meter();
    run(Arc::new(metered), Some(Damage::OnDisk(directory.path().to_owned()))).await;
    let counts = meter.counts();
    assert!(counts.puts > 0 && counts.gets > 0 && counts.deletes > 0 && counts.lists > 0, "{counts:?}");
}

#[tokio::test]
async fn faulty_without_faults() {
    let memory: Arc<dyn SegmentStore> = Arc::new(MemoryStore::new());
    let faulty = Arc::new(Faulty::new(memory, Faults::Script(Vec::new())));
    run(faulty.clone(), Some(Damage::OnTheWay(faulty))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s3() {
    let store = crate::s3::store().await;
    run(Arc::new(store.clone()), None).await;
    // Whoever went away with half a message left nothing, not even in the background.
    store.end().await;
    assert_eq!(store.unfinished_uploads().await.unwrap(), 0);
}

/// As in production, the counters around S3; and between the two what spoils an answer.
#[tokio::test(flavor = "multi_thread")]
async fn s3_metered_and_faulty() {
    let store: Arc<dyn SegmentStore> = Arc::new(crate::s3::store().await);
    let faulty = Arc::new(Faulty::new(store, Faults::Script(Vec::new())));
    run(Arc::new(Metered::new(faulty.clone())), Some(Damage::OnTheWay(faulty))).await;
}

/// Runs the whole suite on an empty store.
async fn run(segments: Arc<dyn SegmentStore>, damage: Option<Damage>) {
    let served = Served::new(segments.clone());
    parts_come_back(&served).await;
    chunks_do_not_matter(&served).await;
    what_is_not_there(&served).await;
    hostile_names(&served).await;
    deletion(&served).await;
    listing(&served).await;
    at_the_same_time(&served).await;
    if let Some(damage) = damage {
        damage_is_never_passed_on(&served, &*segments, &damage).await;
    }
    let before: BTreeSet<_> = served.list(1000).await.into_iter().collect();
    refused_messages(&served).await;
    let kept = dropped_uploads(&served).await;
    served.end().await;
    // The server has ended: nothing can come any more.
    let after = segments.list(None, 1000).await.unwrap().segments;
    let new = after.into_iter().map(|segment| (segment.object_name, segment.size_bytes));
    let new: BTreeSet<_> = new.filter(|segment| !before.contains(segment)).collect();
    assert_eq!(new, kept, "only what was stored");
}

/// Checks that a message is there in all its parts.
async fn check(served: &Served, location: &Location, header: &[u8], body: &[u8]) {
    assert_eq!((location.header.length, location.body.length), (header.len() as u64, body.len() as u64));
    assert_eq!(served.read(location, Part::Header).await.unwrap(), header);
    assert_eq!(served.read(location, Part::Body).await.unwrap(), body);
    let whole = served.read(location, Part::Message).await.unwrap();
    assert!(whole == [header, body].concat(), "{} octets", whole.len());
}

async fn parts_come_back(served: &Served) {
    let table: [(&[u8], &[u8]); 9] = [
        (b"", b""),
        (b"A: b\r\n\r\n", b""),
        (b"A: b\r\n", b""),
        (b"A: b\r\n\r\n", b"text\r\n"),
        (b"A: b\r\n\r\n", b"no CRLF at the end"),
        (b"A: b\r\n\r\n", b"\r\n\r\n"),
        (b"\r\n", b"no header\r\n\r\nmore\r\n"),
        (b"A: \0\xff\r\n\r\n", b"\0\xff\x80.\r\n.\r\n\r"),
        (b"A: b\n\n\r\n\r\n", b"\n.\n"),
    ];
    for (header, body) in table {
        let whole = Bytes::from([header, body].concat());
        let location = served.store(&whole).await.unwrap();
        check(served, &location, header, body).await;
    }
    for length in [70_000, 999_000, 1_000_001, STREAMED] {
        let whole = message(length, 1);
        let end = whole.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        let location = served.store(&whole).await.unwrap();
        check(served, &location, &whole[..end], &whole[end..]).await;
    }
    // All of it is header.
    let whole = Bytes::from(b"A: b\r\n".repeat(STREAMED / 6));
    let location = served.store(&whole).await.unwrap();
    check(served, &location, &whole, b"").await;
}

async fn chunks_do_not_matter(served: &Served) {
    for (length, chunk) in [(500, 1), (70_000, 65_536), (70_000, 70_000), (1_200_000, 300_000)] {
        let whole = message(length, 2);
        let location = served.store_in(chunk, &whole).await.unwrap();
        assert!(served.read(&location, Part::Message).await.unwrap() == whole, "{length} by {chunk}");
    }
}

async fn what_is_not_there(served: &Served) {
    let location = served.store(&message(5_000, 3)).await.unwrap();
    for offset in [1, 1 << 40] {
        let beyond = Location { offset: location.offset + offset, ..location.clone() };
        let outcome = served.read(&beyond, Part::Message).await;
        assert!(matches!(outcome, Err(Failure::NotFound(_))), "{outcome:?}");
    }
    let shifted = Location { header: location.body, body: location.header, ..location.clone() };
    let outcome = served.read(&shifted, Part::Message).await;
    assert!(matches!(outcome, Err(Failure::DataLoss(_))), "{outcome:?}");
    served.client.delete_segments(std::slice::from_ref(&location.object_name)).await.unwrap();
    for part in [Part::Header, Part::Body, Part::Message] {
        let outcome = served.read(&location, part).await;
        assert!(matches!(outcome, Err(Failure::NotFound(_))), "{outcome:?}");
    }
}

async fn hostile_names(served: &Served) {
    let whole = message(5_000, 4);
    let location = served.store(&whole).await.unwrap();
    let name = &location.object_name;
    let mut hostile: Vec<String> =
        [".", "..", "../../etc/passwd", "/etc/passwd", "LOCK", "numbers", "a\0b", "\u{1f600}", "%2e%2e"]
            .map(String::from)
            .into();
    hostile.extend(["x".repeat(1000), format!("{name}/"), format!("{name}\0"), format!(" {name}")]);
    let invalid = |outcome: Result<(), Failure>, name: &str| {
        assert!(matches!(outcome, Err(Failure::Invalid(_))), "{name:?}: {outcome:?}");
    };
    for other in &hostile {
        let moved = Location { object_name: other.clone(), ..location.clone() };
        invalid(served.read(&moved, Part::Message).await.map(drop), other);
        invalid(served.client.list_segments(Some(other), 10).await.map(drop), other);
        // A wrong name among right ones: not even those are deleted.
        invalid(served.client.delete_segments(&[name.clone(), other.clone()]).await, other);
        invalid(served.client.delete_segments(&[other.clone(), name.clone()]).await, other);
    }
    for other in ["", &"x".repeat(100_000)] {
        let moved = Location { object_name: other.to_owned(), ..location.clone() };
        invalid(served.read(&moved, Part::Message).await.map(drop), other);
        invalid(served.client.delete_segments(&[other.to_owned()]).await, other);
    }
    assert!(served.read(&location, Part::Message).await.unwrap() == whole);
}

async fn deletion(served: &Served) {
    let kept = message(9_000, 5);
    let kept_at = served.store(&kept).await.unwrap();
    let small = served.store(&message(9_000, 6)).await.unwrap().object_name;
    let streamed = served.store(&message(STREAMED, 7)).await.unwrap().object_name;
    let names = [small.clone(), streamed.clone(), small.clone()];
    for _ in 0..2 {
        served.client.delete_segments(&names).await.unwrap();
        let left = served.list(1000).await;
        assert!(!left.iter().any(|(name, _)| [&small, &streamed].contains(&name)));
    }
    served.client.delete_segments(&[]).await.unwrap();
    let too_many = vec![kept_at.object_name.clone(); 1001];
    let outcome = served.client.delete_segments(&too_many).await;
    assert!(matches!(outcome, Err(Failure::Invalid(_))), "{outcome:?}");
    assert!(served.read(&kept_at, Part::Message).await.unwrap() == kept, "its neighbours are untouched");
    served.client.delete_segments(&too_many[..1000]).await.unwrap();
    assert!(!served.list(1000).await.iter().any(|(name, _)| *name == kept_at.object_name));
}

async fn listing(served: &Served) {
    let before: BTreeSet<_> = served.list(1000).await.into_iter().collect();
    let mut added = BTreeSet::new();
    for number in 0..10 {
        let location = served.store(&message(1_000 + 100 * number, number as u64)).await.unwrap();
        added.insert((location.object_name.clone(), location.stored_length()));
    }
    let large = served.store(&message(STREAMED, 8)).await.unwrap();
    added.insert((large.object_name.clone(), large.stored_length()));
    assert_eq!(added.len(), 11, "messages that come one after the other have a segment each");
    for limit in [1, 3, 1000, u32::MAX, 0] {
        let all = served.list(limit).await;
        let set: BTreeSet<_> = all.iter().cloned().collect();
        assert_eq!(set.len(), all.len(), "none is listed twice");
        assert_eq!(set, before.union(&added).cloned().collect(), "pages of {limit}");
    }
    // A page that begins where a segment was is the same as before.
    let after = added.first().unwrap().0.clone();
    let expected = served.client.list_segments(Some(&after), 1000).await.unwrap();
    served.client.delete_segments(std::slice::from_ref(&after)).await.unwrap();
    assert_eq!(served.client.list_segments(Some(&after), 1000).await.unwrap(), expected);
    assert!(!served.list(1000).await.iter().any(|(name, _)| *name == after));
}

async fn at_the_same_time(served: &Served) {
    let before: BTreeSet<_> = served.list(1000).await.into_iter().collect();
    let messages: Vec<_> = (0..32u64)
        .map(|number| message(if number.is_multiple_of(11) { STREAMED } else { 3_000 }, number))
        .collect();
    let stores = messages.iter().cloned().map(|whole| {
        let client = served.client.clone();
        tokio::spawn(async move { store(&client, 30_000, &whole).await.unwrap() })
    });
    let locations: Vec<_> = join_all(stores).await.into_iter().map(Result::unwrap).collect();
    let mut segments: BTreeMap<String, Vec<&Location>> = BTreeMap::new();
    for (whole, location) in messages.iter().zip(&locations) {
        assert!(served.read(location, Part::Message).await.unwrap() == whole);
        segments.entry(location.object_name.clone()).or_default().push(location);
    }
    // A segment is what its messages are, and they count themselves.
    let mut expected = BTreeSet::new();
    for (name, mut members) in segments {
        members.sort_by_key(|location| location.slot);
        let slots: Vec<_> = members.iter().map(|location| (location.slot as usize, location.slots)).collect();
        let all = u32::try_from(members.len()).unwrap();
        assert_eq!(slots, (0..members.len()).map(|slot| (slot, all)).collect::<Vec<_>>());
        expected.insert((name, members.iter().map(|location| location.stored_length()).sum()));
    }
    let new = served.list(1000).await.into_iter().filter(|segment| !before.contains(segment));
    assert_eq!(new.collect::<BTreeSet<_>>(), expected);
}

/// How the octets of a stored message are spoilt.
enum Damage {
    /// In the files of this directory.
    OnDisk(PathBuf),
    /// Between the store and the service.
    OnTheWay(Arc<Faulty<dyn SegmentStore>>),
}

impl Damage {
    /// Turns a bit at a place of the stored octets; or back, the second time.
    fn turn(&self, stored: &[u8], place: usize, first: bool) {
        match self {
            Self::OnDisk(directory) => {
                let mut found = stored.to_vec();
                found[place] ^= if first { 0 } else { 1 };
                assert_eq!(turn_in_files(directory, &found, place), 1, "it is stored in one place");
            }
            Self::OnTheWay(faulty) => {
                let next = faulty.calls();
                let faults = (next..next + 10).map(|call| (call, Fault::FlipBit(place as u64)));
                faulty.set(Faults::Script(if first { faults.collect() } else { Vec::new() }));
            }
        }
    }
}

/// Turns a bit wherever these octets are in a file, and returns in how many places.
fn turn_in_files(directory: &Path, octets: &[u8], place: usize) -> usize {
    let mut places = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            places += turn_in_files(&path, octets, place);
            continue;
        }
        let whole = fs::read(&path).unwrap();
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        let starts = memchr::memmem::find_iter(&whole, octets);
        for start in starts {
            file.write_all_at(&[octets[place] ^ 1], (start + place) as u64).unwrap();
            places += 1;
        }
    }
    places
}

async fn damage_is_never_passed_on(served: &Served, segments: &dyn SegmentStore, damage: &Damage) {
    for length in [3_000, STREAMED] {
        let whole = message(length, 77);
        let location = served.store(&whole).await.unwrap();
        let range = location.offset..location.offset + location.stored_length();
        let chunks = segments.read(&location.object_name, range).await.unwrap();
        let stored = chunks.try_collect::<Vec<_>>().await.unwrap().concat();
        let header = usize::try_from(location.header.stored_length).unwrap();
        for place in [0, header - 1, header, stored.len() / 2, stored.len() - 1] {
            damage.turn(&stored, place, true);
            let outcome = served.read(&location, Part::Message).await;
            assert!(matches!(outcome, Err(Failure::DataLoss(_))), "octet {place} of {}", stored.len());
            damage.turn(&stored, place, false);
            assert!(served.read(&location, Part::Message).await.unwrap() == whole);
        }
    }
}

/// Messages that are not what their sender says, or too large. Nothing of them is kept.
async fn refused_messages(served: &Served) {
    for length in [0, 1_000, STREAMED] {
        let whole = message(length, 9);
        for size in [whole.len() as u64 + 1, whole.len() as u64 - 1, u64::MAX] {
            let mut stream = served.client.store(&TransactionId::new(1, [7; 11]));
            stream.send(whole.clone()).await.unwrap();
            let outcome = stream.finish(size).await;
            assert!(matches!(outcome, Err(Failure::Invalid(_))), "{outcome:?}");
        }
    }
    let outcome = served.store(&message(MESSAGE_MAX + 100, 9).slice(..=MESSAGE_MAX)).await;
    assert!(matches!(outcome, Err(Failure::TooLarge(_))), "{outcome:?}");
}

/// Uploads whose client goes away before their end. Returns the segments that were stored among them.
async fn dropped_uploads(served: &Served) -> BTreeSet<(String, u64)> {
    let mut kept = BTreeSet::new();
    for length in [0, 1_000, 300_000, STREAMED] {
        let whole = message(length, 10);
        let mut stream = served.client.store(&TransactionId::new(1, [7; 11]));
        for chunk in whole.chunks(30_000) {
            stream.send(whole.slice_ref(chunk)).await.unwrap();
        }
        drop(stream);
        // The connection serves on.
        let location = served.store(&message(1_000, length as u64)).await.unwrap();
        kept.insert((location.object_name.clone(), location.stored_length()));
    }
    kept
}
