//! Compaction with a real blob service behind gRPC: what is left of a segment moves, octet for octet.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::join_all;
use puro_api::{
    BlobClient,
    model::{Delivery, Owners, Part},
};
use puro_blob::{
    BlobConfig, Blobs,
    store::{DiskConfig, DiskStore, MemoryStore, SegmentStore},
};
use puro_metadata::{
    BlobSegments, ManualClock, Metadata, MetadataConfig, SeededRandom, Snapshot,
    store::memory::MemoryStore as Items,
};
use puro_types::{Location, MailboxId, MessageId, TransactionId};

use crate::system::{backend, serve};

const START_MS: u64 = 1_800_000_000_000;
const HOUR_MS: u64 = 60 * 60 * 1000;

/// A message with a body that compresses, more or less.
fn text(number: u64) -> Bytes {
    let body: String =
        (0..number * 300).map(|line| format!("line {} of {number}\r\n", line * line)).collect();
    Bytes::from(format!("Subject: {number}\r\n\r\n{body}"))
}

struct Sent {
    mailbox: MailboxId,
    message: MessageId,
    text: Bytes,
}

/// Stores and delivers ten messages to two mailboxes, all in one segment.
async fn send(blob: &BlobClient, metadata: &Metadata) -> (Vec<Sent>, String) {
    let boxes = [MailboxId::new([1; 12]), MailboxId::new([2; 12])];
    let stored = (0..10).map(|number| {
        let transaction = TransactionId::new(START_MS, [u8::try_from(number).unwrap(); 11]);
        let mailboxes = boxes[..1 + usize::from(number % 3 == 0)].to_vec();
        async move {
            let text = text(number);
            let owners = Owners::of_delivery(&transaction, START_MS + number, &mailboxes);
            let mut stream = blob.store(&transaction);
            stream.send(text.clone()).await.unwrap();
            let location = stream.finish_for(&owners, text.len() as u64).await.unwrap();
            let delivery = Delivery { transaction, accepted_ms: START_MS + number, mailboxes, location };
            (delivery, owners, text)
        }
    });
    let mut sent = Vec::new();
    let mut segment = String::new();
    for (delivery, owners, text) in join_all(stored).await {
        metadata.deliver(&delivery).await.unwrap();
        let owners = owners.iter().map(|(mailbox, message)| (mailbox.clone(), message.clone()));
        sent.extend(owners.map(|(mailbox, message)| Sent { mailbox, message, text: text.clone() }));
        assert_eq!(delivery.location.slots, 10, "all in one segment");
        segment = delivery.location.object_name;
    }
    (sent, segment)
}

async fn place(metadata: &Metadata, sent: &Sent) -> Location {
    let Snapshot::Current(listing) = metadata.list(&sent.mailbox, 0).await.unwrap() else {
        panic!("nothing was known")
    };
    listing.messages.iter().find(|message| message.id == sent.message).unwrap().location.clone()
}

async fn read(blob: &BlobClient, location: &Location) -> Bytes {
    let mut stream = blob.read(location, Part::Message).await.unwrap();
    let mut octets = Vec::new();
    while let Some(chunk) = stream.next().await.unwrap() {
        octets.extend_from_slice(&chunk);
    }
    octets.into()
}

async fn segments(blob: &BlobClient) -> Vec<String> {
    let page = blob.list_segments(None, 0).await.unwrap();
    page.items.into_iter().map(|segment| segment.object_name).collect()
}

async fn compaction(store: Arc<dyn SegmentStore>) {
    let config = BlobConfig { linger: Duration::from_millis(300), ..BlobConfig::default() };
    let blob = BlobClient::new(backend(&serve(puro_blob::routes(Blobs::new(store, config))).await));
    let clock = Arc::new(ManualClock::new(START_MS));
    let metadata = Metadata::new(
        Arc::new(Items::new()),
        Arc::new(BlobSegments::new(blob.clone())),
        clock.clone(),
        Arc::new(SeededRandom::new(1)),
        MetadataConfig::default(),
    )
    .unwrap();
    let (sent, segment) = send(&blob, &metadata).await;
    let (stay, gone): (Vec<_>, Vec<_>) = sent
        .into_iter()
        .partition(|sent| [b"Subject: 3", b"Subject: 4"].iter().any(|s| sent.text.starts_with(*s)));
    for sent in &gone {
        metadata.remove(&sent.mailbox, std::slice::from_ref(&sent.message)).await.unwrap();
    }
    let mut old = Vec::new();
    for sent in &stay {
        old.push(place(&metadata, sent).await);
    }
    for hour in 1..=5 * 24 {
        clock.advance_ms(HOUR_MS);
        let round = metadata.work_once().await;
        assert_eq!(round.failed, 0, "hour {hour}");
        for (sent, old) in stay.iter().zip(&old) {
            assert_eq!(read(&blob, &place(&metadata, sent).await).await, sent.text, "hour {hour}");
            if hour < 36 {
                assert_eq!(read(&blob, old).await, sent.text, "hour {hour}: a session has the old place");
            }
        }
    }
    assert_eq!(stay.len(), 3, "one of them has two owners");
    let new = place(&metadata, &stay[0]).await.object_name;
    assert_ne!(new, segment);
    assert_eq!(segments(&blob).await, [new], "one small segment is left");
    for sent in &stay {
        metadata.remove(&sent.mailbox, std::slice::from_ref(&sent.message)).await.unwrap();
    }
    for _ in 0..24 {
        clock.advance_ms(HOUR_MS);
        metadata.work_once().await;
    }
    assert!(segments(&blob).await.is_empty());
}

#[tokio::test]
async fn what_is_left_moves_in_memory() {
    compaction(Arc::new(MemoryStore::new())).await;
}

#[tokio::test]
async fn what_is_left_moves_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    compaction(Arc::new(DiskStore::open(folder.path(), &DiskConfig::default()).unwrap())).await;
}
