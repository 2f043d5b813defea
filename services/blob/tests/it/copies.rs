//! Labels, and copies of messages as they are stored.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::join_all;
use puro_api::{
    Failure,
    model::{Owners, Part},
};
use puro_blob::{
    BlobConfig, Blobs, Labelled, Piece,
    store::{DiskConfig, DiskStore, Fault, Faults, Faulty, MemoryStore, Metered, SegmentStore},
};
use puro_types::{Location, MailboxId, TransactionId};

use crate::{rig, rig::message, served::Served};

fn label(number: u64) -> Bytes {
    Bytes::from(format!("label {number} ").repeat(usize::try_from(number).unwrap() % 7))
}

async fn store(blobs: &Blobs, message: &Bytes, label: Bytes) -> Location {
    let mut pieces = rig::pieces(message, 30_000);
    let Some(Ok(last)) = pieces.last_mut() else { panic!("no piece") };
    *last = Piece { label, ..last.clone() };
    blobs.store(futures_util::stream::iter(pieces)).await.unwrap()
}

fn blobs(store: Arc<dyn SegmentStore>) -> Blobs {
    Blobs::new(store, BlobConfig { linger: Duration::from_millis(100), ..BlobConfig::default() })
}

/// Messages of all sizes in one segment; every seventh has no label.
async fn shared(blobs: &Blobs) -> Vec<(Bytes, Location)> {
    let messages: Vec<Bytes> =
        (0..12).map(|number| message(300 + usize::try_from(number).unwrap() * 20_000, number)).collect();
    let stored = messages.iter().zip(0..).map(|(message, number)| store(blobs, message, label(number)));
    let places = join_all(stored).await;
    assert!(places.iter().all(|place| place.object_name == places[0].object_name && place.slots == 12));
    messages.into_iter().zip(places).collect()
}

async fn labels_and_copies(store: Arc<dyn SegmentStore>) {
    let metered = Metered::new(store);
    let meter = metered.meter();
    let blobs = blobs(Arc::new(metered));
    let mut stored = shared(&blobs).await;
    stored.sort_by_key(|(_, place)| place.slot);
    let object_name = stored[0].1.object_name.clone();
    let labels = blobs.labels(&object_name, 0).await.unwrap().unwrap();
    for (labelled, (_, place)) in labels.iter().zip(&stored) {
        assert_eq!(labelled.stored_length, place.stored_length());
    }
    for (message, place) in &stored {
        assert_eq!(rig::read(&blobs, place, Part::Message).await.unwrap(), *message);
    }

    // Some of them, in another order: one read of what lies together, one write.
    let some: Vec<usize> = vec![10, 2, 3, 7];
    let places: Vec<Location> = some.iter().map(|at| stored[*at].1.clone()).collect();
    let before = meter.counts();
    let copies = blobs.copy(&places).await.unwrap();
    let used = meter.counts();
    assert_eq!((used.puts - before.puts, used.gets - before.gets), (1, 2 + 1), "{used:?}");
    let mut offset = copies[0].offset;
    for (slot, (copy, at)) in (0..).zip(copies.iter().zip(&some)) {
        assert_eq!((copy.slot, copy.slots, copy.offset), (slot, 4, offset));
        assert_ne!(copy.object_name, object_name);
        let (message, place) = &stored[*at];
        assert_eq!((copy.header, copy.body), (place.header, place.body), "as it was stored");
        offset += copy.stored_length();
        for part in [Part::Header, Part::Body, Part::Message] {
            let read = rig::read(&blobs, copy, part).await.unwrap();
            assert_eq!(read, rig::read(&blobs, place, part).await.unwrap());
        }
        assert_eq!(rig::read(&blobs, copy, Part::Message).await.unwrap(), *message);
    }
    let copied = blobs.labels(&copies[0].object_name, 0).await.unwrap().unwrap();
    let expected: Vec<Labelled> = some.iter().map(|at| labels[*at].clone()).collect();
    assert_eq!(copied, expected);

    assert_eq!(blobs.copy(&[]).await.unwrap(), []);
    let mixed = [places[0].clone(), copies[0].clone()];
    assert!(matches!(blobs.copy(&mixed).await, Err(Failure::Invalid(_))));
    blobs.delete(std::slice::from_ref(&object_name)).await.unwrap();
    assert!(matches!(blobs.copy(&places).await, Err(Failure::NotFound(_))));
    assert_eq!(blobs.labels(&object_name, 0).await.unwrap(), None);
    assert!(rig::read(&blobs, &copies[3], Part::Message).await.is_ok());
}

#[tokio::test]
async fn labels_and_copies_in_memory() {
    labels_and_copies(Arc::new(MemoryStore::new())).await;
}

#[tokio::test]
async fn labels_and_copies_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    labels_and_copies(Arc::new(DiskStore::open(folder.path(), &DiskConfig::default()).unwrap())).await;
}

#[tokio::test]
async fn labels_and_copies_in_s3() {
    labels_and_copies(Arc::new(crate::s3::store().await)).await;
}

#[tokio::test]
async fn a_streamed_message_has_its_label_at_the_end() {
    let blobs = blobs(Arc::new(MemoryStore::new()));
    let whole = message(2_500_000, 1);
    let place = store(&blobs, &whole, label(3)).await;
    assert_eq!((place.offset, place.slots), (0, 1));
    assert_eq!(rig::read(&blobs, &place, Part::Message).await.unwrap(), whole);
    let listed = blobs.list(None, 10).await.unwrap().segments.remove(0);
    assert!(listed.size_bytes > place.stored_length());
    let labels = blobs.labels(&place.object_name, listed.size_bytes).await.unwrap().unwrap();
    assert_eq!(labels, [Labelled { stored_length: place.stored_length(), label: label(3) }]);
    assert_eq!(blobs.labels(&place.object_name, 0).await.unwrap(), None, "without its size it is not found");
}

#[tokio::test]
async fn what_has_no_labels_says_nothing() {
    let blobs = blobs(Arc::new(MemoryStore::new()));
    for length in [0, 10, 15, 16, 17, 5_000, 1_500_000] {
        let place = store(&blobs, &message(length, 3), Bytes::new()).await;
        assert_eq!(place.offset, 0);
        let size_bytes = place.stored_length();
        assert_eq!(blobs.labels(&place.object_name, size_bytes).await.unwrap(), None, "{length}");
    }
    let huge = Bytes::from(vec![b'x'; 256 * 1024 + 1]);
    let mut pieces = rig::pieces(&message(100, 1), 1_000);
    if let Some(Ok(last)) = pieces.last_mut() {
        last.label = huge;
    }
    let outcome = blobs.store(futures_util::stream::iter(pieces)).await;
    assert!(matches!(outcome, Err(Failure::Invalid(_))), "{outcome:?}");
}

#[tokio::test]
async fn a_damaged_message_is_not_copied() {
    let faulty = Arc::new(Faulty::new(Arc::new(MemoryStore::new()), Faults::Script(Vec::new())));
    let blobs = blobs(faulty.clone());
    let stored = shared(&blobs).await;
    let places: Vec<Location> = stored.iter().map(|(_, place)| place.clone()).collect();
    // After one put: the labels are two calls, the third is the read of the messages, and there is no fourth.
    for (bit, read) in [5, 90_000, 500_000].into_iter().zip([3, 6, 9]) {
        faulty.set(Faults::Script(vec![(read, Fault::FlipBit(bit))]));
        let outcome = blobs.copy(&places).await;
        assert!(matches!(outcome, Err(Failure::DataLoss(_))), "bit {bit}: {outcome:?}");
    }
    faulty.set(Faults::Script(Vec::new()));
    assert_eq!(blobs.list(None, 10).await.unwrap().segments.len(), 1, "no copy was written");
}

#[tokio::test]
async fn owners_travel_with_the_message_and_its_copy() {
    let served = Served::new(Arc::new(MemoryStore::new()));
    let boxes = [MailboxId::new([2; 12]), MailboxId::new([1; 12])];
    let transaction = TransactionId::new(5, [1; 11]);
    let owners = Owners::of_delivery(&transaction, 7, &boxes);
    let text = message(70_000, 1);
    let mut stream = served.client.store(&transaction);
    stream.send(text.clone()).await.unwrap();
    let place = stream.finish_for(&owners, text.len() as u64).await.unwrap();
    let read = async |object_name: &str| {
        let labels = served.client.labels(object_name, 0).await.unwrap();
        assert_eq!(labels.len(), 1);
        Owners::from_label(labels[0].label.clone()).unwrap()
    };
    assert_eq!(read(&place.object_name).await, owners);
    let copies = served.client.copy_messages(std::slice::from_ref(&place)).await.unwrap();
    assert_eq!(read(&copies[0].object_name).await, owners);
    assert_eq!(served.read(&copies[0], Part::Message).await.unwrap(), text);
    served.client.delete_segments(std::slice::from_ref(&place.object_name)).await.unwrap();
    assert_eq!(served.client.labels(&place.object_name, 0).await.unwrap(), []);
    let gone = served.client.copy_messages(&[place]).await;
    assert!(matches!(gone, Err(Failure::NotFound(_))), "{gone:?}");
    let page = served.client.segment_page(None, 0).await.unwrap();
    assert!(page.now_ms >= page.segments[0].created_ms);
}
