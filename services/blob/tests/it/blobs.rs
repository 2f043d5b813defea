//! The core above a store, without faults and with them.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream};
use proptest::prelude::*;
use puro_api::{Failure, model::Part};
use puro_blob::{
    BlobConfig, Blobs, Piece,
    store::{Counts, Fault, Faults, Faulty, MemoryStore, Metered, SegmentStore, StoreError},
};
use puro_types::Location;

use crate::rig::{message, pieces, read, store};

/// Streams what is longer than a few kilobytes, so that both ways are tried with little.
fn small() -> BlobConfig {
    BlobConfig { shared_max_bytes: 20_000, ..BlobConfig::default() }
}

fn blobs() -> (Blobs, Arc<MemoryStore>) {
    let store = Arc::new(MemoryStore::new());
    (Blobs::new(store.clone(), small()), store)
}

async fn segments(store: &MemoryStore) -> usize {
    store.list(None, 1000).await.unwrap().segments.len()
}

#[tokio::test]
async fn header_body_and_message_come_back() {
    let (blobs, _) = blobs();
    let table: [(&[u8], &[u8]); 6] = [
        (b"A: b\r\n\r\n", b"body\r\n"),
        (b"\r\n", b"body without header\r\n\r\nmore"),
        (b"A: b\r\n\r\n", b""),
        (b"no blank line\r\n", b""),
        (b"", b""),
        (b"A: b\r\n\r\n", b"\r\n\r\n"),
    ];
    for (header, body) in table {
        for length in [0, 3_000, 100_000] {
            let filler = if body.is_empty() { Bytes::new() } else { message(length, 1) };
            let body = [body, &filler].concat();
            let whole = Bytes::from([header, &body].concat());
            let location = store(&blobs, &whole).await.unwrap();
            assert_eq!(location.header.length, header.len() as u64);
            assert_eq!(location.size_bytes(), whole.len() as u64);
            assert_eq!(read(&blobs, &location, Part::Header).await.unwrap(), header);
            assert_eq!(read(&blobs, &location, Part::Body).await.unwrap(), body);
            assert_eq!(read(&blobs, &location, Part::Message).await.unwrap(), whole);
        }
    }
}

#[tokio::test]
async fn a_part_is_one_ranged_read_of_just_its_octets() {
    let metered = Metered::new(Arc::new(MemoryStore::new()));
    let meter = metered.meter();
    let blobs = Blobs::new(Arc::new(metered), small());
    let location = store(&blobs, &message(10_000, 1)).await.unwrap();
    for (part, octets) in [
        (Part::Header, location.header.stored_length),
        (Part::Body, location.body.stored_length),
        (Part::Message, location.stored_length()),
    ] {
        let before = meter.counts();
        read(&blobs, &location, part).await.unwrap();
        let expected = Counts { gets: before.gets + 1, get_bytes: before.get_bytes + octets, ..before };
        assert_eq!(meter.counts(), expected);
    }
}

#[tokio::test]
async fn a_message_that_is_not_complete_is_not_stored() {
    let (blobs, memory) = blobs();
    for length in [100, 1000, 100_000] {
        let whole = message(length, 1);
        let complete = pieces(&whole, 1000);
        let without_finish = complete[..complete.len() - 1].to_vec();
        let broken_off = [&without_finish[..], &[Err(Failure::Unavailable("reset".to_owned()))]].concat();
        let wrong = Piece { chunk: Bytes::new(), finish: Some(whole.len() as u64 - 1), label: Bytes::new() };
        let wrong_size = [&without_finish[..], &[Ok(wrong)]].concat();
        for pieces in [Vec::new(), without_finish.clone(), wrong_size] {
            let outcome = blobs.store(stream::iter(pieces)).await;
            assert!(matches!(outcome, Err(Failure::Invalid(_))), "{outcome:?}");
        }
        let outcome = blobs.store(stream::iter(broken_off)).await;
        assert_eq!(outcome, Err(Failure::Unavailable("reset".to_owned())));
        // The caller goes away in the middle.
        let endless = stream::iter(without_finish).chain(stream::pending());
        assert!(blobs.store(endless).now_or_never().is_none());
    }
    assert_eq!(segments(&memory).await, 0);
    store(&blobs, &message(100, 2)).await.unwrap();
    assert_eq!(segments(&memory).await, 1);
}

#[tokio::test]
async fn a_message_may_be_as_large_as_the_limit_and_no_larger() {
    let config = BlobConfig { max_message_bytes: 50_000, ..small() };
    let memory = Arc::new(MemoryStore::new());
    let blobs = Blobs::new(memory.clone(), config);
    store(&blobs, &message(60_000, 1).slice(..50_000)).await.unwrap();
    let outcome = store(&blobs, &message(60_000, 1).slice(..50_001)).await;
    assert!(matches!(outcome, Err(Failure::TooLarge(_))), "{outcome:?}");
    assert_eq!(segments(&memory).await, 1);
}

#[tokio::test]
async fn every_failing_call_fails_the_message_and_leaves_no_half_of_it() {
    for length in [5_000, 100_000] {
        let whole = message(length, 1);
        let calls = {
            let faulty = Arc::new(Faulty::new(Arc::new(MemoryStore::new()), Faults::Script(Vec::new())));
            store(&Blobs::new(faulty.clone(), small()), &whole).await.unwrap();
            faulty.calls()
        };
        assert!(calls >= if length > 20_000 { 3 } else { 1 });
        for call in 0..calls {
            for fault in [Fault::Before, Fault::After, Fault::Unknown] {
                let memory = Arc::new(MemoryStore::new());
                let faulty = Faulty::new(memory.clone(), Faults::Script(vec![(call, fault)]));
                let blobs = Blobs::new(Arc::new(faulty), small());
                let outcome = store(&blobs, &whole).await;
                assert!(
                    matches!(outcome, Err(Failure::Unavailable(_) | Failure::OutcomeUnknown(_))),
                    "call {call}, {fault:?}: {outcome:?}"
                );
                // All of it, as an orphan, or nothing.
                let complete = fault != Fault::Before && call == calls - 1;
                assert!(segments(&memory).await <= usize::from(complete), "call {call}, {fault:?}");
                let location = store(&blobs, &whole).await.unwrap();
                assert_eq!(read(&blobs, &location, Part::Message).await.unwrap(), whole);
            }
        }
    }
}

/// Reads with one fault, and returns what was handed out before the end.
async fn read_with(fault: Fault, location: &Location, memory: &Arc<MemoryStore>) -> (usize, Option<Failure>) {
    let faulty = Faulty::new(memory.clone(), Faults::Script(vec![(0, fault)]));
    let blobs = Blobs::new(Arc::new(faulty), small());
    let mut octets = 0;
    let mut chunks = match blobs.read(location, Part::Message).await {
        Ok(chunks) => chunks,
        Err(failure) => return (0, Some(failure)),
    };
    while let Some(chunk) = chunks.next().await {
        match chunk {
            Ok(chunk) => octets += chunk.len(),
            Err(failure) => return (octets, Some(failure)),
        }
    }
    (octets, None)
}

#[tokio::test]
async fn a_damaged_or_short_read_is_data_loss_before_the_message_is_complete() {
    for length in [3_000, 700_000] {
        let (blobs, memory) = blobs();
        let whole = message(length, 1);
        let location = store(&blobs, &whole).await.unwrap();
        let stored = location.stored_length();
        for place in (0..stored).step_by(usize::try_from(stored / 40).unwrap()).chain([stored - 1]) {
            for fault in [Fault::FlipBit(place), Fault::CutRead(place)] {
                let (octets, failure) = read_with(fault, &location, &memory).await;
                assert!(matches!(failure, Some(Failure::DataLoss(_))), "{fault:?}: {failure:?}");
                assert!(octets < whole.len(), "{fault:?}");
            }
        }
        assert_eq!(read_with(Fault::FlipBit(stored), &location, &memory).await, (whole.len(), None));
        let (_, failure) = read_with(Fault::Before, &location, &memory).await;
        assert!(matches!(failure, Some(Failure::Unavailable(_))));
    }
}

#[tokio::test]
async fn a_wrong_location_is_an_error_and_nothing_worse() {
    let (blobs, _) = blobs();
    let location = store(&blobs, &message(3_000, 1)).await.unwrap();
    let with = |change: &dyn Fn(&mut Location)| {
        let mut location = location.clone();
        change(&mut location);
        location
    };
    let gone = with(&|l| l.object_name = "m00000000000000ff".to_owned());
    assert!(matches!(read(&blobs, &gone, Part::Message).await, Err(Failure::NotFound(_))));
    let hostile = with(&|l| l.object_name = "../../etc/passwd".to_owned());
    assert!(matches!(read(&blobs, &hostile, Part::Message).await, Err(Failure::Invalid(_))));
    for offset in [1 << 40, u64::MAX] {
        let beyond = with(&|l| l.offset = offset);
        let outcome = read(&blobs, &beyond, Part::Message).await;
        assert!(matches!(outcome, Err(Failure::NotFound(_) | Failure::Invalid(_))), "{outcome:?}");
    }
    let shifted = with(&|l| {
        l.offset = 1;
        l.body.stored_length -= 1;
    });
    assert!(matches!(read(&blobs, &shifted, Part::Message).await, Err(Failure::DataLoss(_))));
}

#[tokio::test]
async fn deleting_and_listing_reach_the_store() {
    let (blobs, _) = blobs();
    let location = store(&blobs, &message(3_000, 1)).await.unwrap();
    let page = blobs.list(None, 10).await.unwrap();
    assert_eq!(page.segments[0].object_name, location.object_name);
    assert_eq!(page.segments[0].size_bytes, location.stored_length());
    blobs.delete(std::slice::from_ref(&location.object_name)).await.unwrap();
    assert!(matches!(read(&blobs, &location, Part::Message).await, Err(Failure::NotFound(_))));
    assert!(matches!(blobs.delete(&["../x".to_owned()]).await, Err(Failure::Invalid(_))));
    assert_eq!(StoreError::InvalidName("x".into()).to_string(), "not a segment name: x");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn any_message_in_any_chunks(
        head in prop::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'a')], 0..20),
        tail in prop::collection::vec(any::<u8>(), 0..2000),
        repeat in 0..30_usize,
        chunk in 1..30_000_usize,
    ) {
        let whole = Bytes::from([head, tail.repeat(repeat)].concat());
        let header_length = match () {
            () if whole.starts_with(b"\r\n") => 2,
            () => whole.windows(4).position(|four| four == b"\r\n\r\n").map_or(whole.len(), |at| at + 4),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (blobs, _) = blobs();
            let location = blobs.store(stream::iter(pieces(&whole, chunk))).await.unwrap();
            assert_eq!(read(&blobs, &location, Part::Header).await.unwrap(), whole.slice(..header_length));
            assert_eq!(read(&blobs, &location, Part::Body).await.unwrap(), whole.slice(header_length..));
            assert_eq!(read(&blobs, &location, Part::Message).await.unwrap(), whole);
        });
    }
}
