//! Through the client, over an in-memory connection: what the suite in `contract` does not show.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use puro_api::{
    Failure,
    model::Part,
    pb::blob::v1::{StoreFinish, StoreRequest},
};
use puro_blob::store::{Fault, Faults, Faulty, MemoryStore, SegmentStore};
use tonic::Code;

use crate::{rig::message, served::Served};

#[tokio::test]
async fn a_page_has_at_most_a_thousand_segments() {
    let memory = MemoryStore::new();
    for _ in 0..1001 {
        memory.put(vec![Bytes::new()]).await.unwrap();
    }
    let served = Served::new(Arc::new(memory));
    for asked in [0, 1000, 1001, u32::MAX] {
        let page = served.client.list_segments(None, asked).await.unwrap();
        assert_eq!(page.items.len(), 1000, "{asked}");
        assert_eq!(served.list(asked).await.len(), 1001, "{asked}");
    }
}

#[tokio::test]
async fn failures_keep_their_kind() {
    let faulty = Arc::new(Faulty::new(Arc::new(MemoryStore::new()), Faults::Script(Vec::new())));
    let served = Served::new(faulty.clone());
    let location = served.store(&message(5000, 1)).await.unwrap();
    faulty.set(Faults::Script((1..100).map(|call| (call, Fault::Before)).collect()));
    assert!(matches!(served.store(&message(5000, 2)).await, Err(Failure::Unavailable(_))));
    faulty.set(Faults::Script((1..100).map(|call| (call, Fault::FlipBit(2000))).collect()));
    assert!(matches!(served.read(&location, Part::Message).await, Err(Failure::DataLoss(_))));
    faulty.set(Faults::Script(Vec::new()));
    assert!(matches!(served.store(&message(3_000_001, 3)).await, Err(Failure::TooLarge(_))));
    served.client.delete_segments(std::slice::from_ref(&location.object_name)).await.unwrap();
    let gone = served.read(&location, Part::Message).await;
    assert!(matches!(gone, Err(Failure::NotFound(_) | Failure::DataLoss(_))), "{gone:?}");
}

#[tokio::test]
async fn a_stream_without_its_end_stores_nothing() {
    let memory = Arc::new(MemoryStore::new());
    let mut client = Served::new(memory.clone()).raw().await;
    let chunk = |octets: Bytes| StoreRequest { chunk: octets, ..StoreRequest::default() };
    let finish =
        |size_bytes| StoreRequest { finish: Some(StoreFinish { size_bytes }), ..StoreRequest::default() };
    for length in [1000, 1_500_000] {
        let whole = message(length, 1);
        let chunks: Vec<_> = whole.chunks(100_000).map(|part| chunk(whole.slice_ref(part))).collect();
        let status = client.store(stream::iter(chunks.clone())).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        let wrong = chunks.clone().into_iter().chain([finish(length as u64 * 2)]);
        let status = client.store(stream::iter(wrong.collect::<Vec<_>>())).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        // Reset in the middle, once the server has taken what there was.
        let (sent, taken) = tokio::sync::oneshot::channel();
        let last = stream::once(async move {
            sent.send(()).unwrap();
            std::future::pending().await
        });
        let call = client.store(stream::iter(chunks).chain(last));
        tokio::select! {
            outcome = call => panic!("answered before its end: {outcome:?}"),
            outcome = taken => outcome.unwrap(),
        }
    }
    // A message stored now shows that the server is past all of them.
    let whole = message(1000, 2);
    let size = whole.len() as u64;
    client.store(stream::iter([chunk(whole), finish(size)])).await.unwrap();
    assert_eq!(memory.list(None, 100).await.unwrap().segments.len(), 1);
}
