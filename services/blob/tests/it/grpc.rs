//! Through the client, over an in-memory connection.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use puro_api::{
    Backend, BlobClient, Connector, Endpoint, Failure, Settings, in_process,
    model::Part,
    pb::blob::v1::{StoreFinish, StoreRequest, blob_service_client::BlobServiceClient},
};
use puro_blob::{
    BlobConfig, Blobs, routes,
    store::{DiskConfig, DiskStore, Fault, Faults, Faulty, MemoryStore, SegmentStore},
};
use puro_types::{Location, TransactionId};
use tonic::{
    Code,
    transport::{Channel, Server, Uri},
};

use crate::rig::message;

/// Serves a store; it ends with the runtime.
fn serve(store: Arc<dyn SegmentStore>) -> (BlobClient, Connector) {
    let config = BlobConfig { max_message_bytes: 3_000_000, ..BlobConfig::default() };
    let (connector, incoming) = in_process();
    let server = Server::builder().add_routes(routes(Blobs::new(store, config)));
    tokio::spawn(server.serve_with_incoming(incoming));
    let backend = Backend::new(Endpoint::InProcess(connector.clone()), Settings::default());
    (BlobClient::new(backend), connector)
}

async fn raw(connector: Connector) -> BlobServiceClient<Channel> {
    let endpoint = tonic::transport::Endpoint::from(Uri::from_static("http://pipe"));
    BlobServiceClient::new(endpoint.connect_with_connector(connector).await.unwrap())
}

async fn store(client: &BlobClient, message: &Bytes) -> Result<Location, Failure> {
    let mut stream = client.store(&TransactionId::new(1, [7; 11]));
    for chunk in message.chunks(30_000) {
        stream.send(message.slice_ref(chunk)).await?;
    }
    stream.finish(message.len() as u64).await
}

async fn read(client: &BlobClient, location: &Location, part: Part) -> Result<Bytes, Failure> {
    let mut stream = client.read(location, part).await?;
    let mut octets = Vec::new();
    while let Some(chunk) = stream.next().await? {
        assert!(chunk.len() <= 64 * 1024);
        octets.extend_from_slice(&chunk);
    }
    Ok(octets.into())
}

#[tokio::test]
async fn messages_of_all_sizes_come_back() {
    let directory = tempfile::tempdir().unwrap();
    let disk = DiskStore::open(directory.path(), &DiskConfig::default()).unwrap();
    let (client, _) = serve(Arc::new(disk));
    for length in [0, 100, 70_000, 999_000, 1_100_000, 2_900_000] {
        let whole = if length == 0 { Bytes::new() } else { message(length, 1) };
        let location = store(&client, &whole).await.unwrap();
        let (header, body) = whole.split_at(usize::try_from(location.header.length).unwrap());
        assert!(length == 0 || header.ends_with(b"\r\n\r\n"));
        assert_eq!(read(&client, &location, Part::Header).await.unwrap(), header);
        assert_eq!(read(&client, &location, Part::Body).await.unwrap(), body);
        assert_eq!(read(&client, &location, Part::Message).await.unwrap(), whole);
    }
}

#[tokio::test]
async fn segments_are_listed_in_pages_and_deleted() {
    let (client, _) = serve(Arc::new(MemoryStore::new()));
    let mut names = Vec::new();
    for n in 0..5 {
        names.push(store(&client, &message(1000, n)).await.unwrap().object_name);
    }
    let mut listed = Vec::new();
    let mut after = None;
    loop {
        let page = client.list_segments(after.as_deref(), 2).await.unwrap();
        assert!(page.items.len() <= 2);
        listed.extend(page.items.into_iter().map(|segment| segment.object_name));
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert_eq!(listed, names);
    assert_eq!(client.list_segments(None, 0).await.unwrap().items.len(), 5);
    for _ in 0..2 {
        client.delete_segments(&names[..3]).await.unwrap();
    }
    assert_eq!(client.list_segments(None, 0).await.unwrap().items.len(), 2);
    let hostile = client.delete_segments(&["../../etc/passwd".to_owned()]).await;
    assert!(matches!(hostile, Err(Failure::Invalid(_))), "{hostile:?}");
    let too_many = client.delete_segments(&vec![names[0].clone(); 1001]).await;
    assert!(matches!(too_many, Err(Failure::Invalid(_))), "{too_many:?}");
}

#[tokio::test]
async fn failures_keep_their_kind() {
    let faulty = Arc::new(Faulty::new(Arc::new(MemoryStore::new()), Faults::Script(Vec::new())));
    let (client, _) = serve(faulty.clone());
    let location = store(&client, &message(5000, 1)).await.unwrap();
    faulty.set(Faults::Script((1..100).map(|call| (call, Fault::Before)).collect()));
    assert!(matches!(store(&client, &message(5000, 2)).await, Err(Failure::Unavailable(_))));
    faulty.set(Faults::Script((1..100).map(|call| (call, Fault::FlipBit(2000))).collect()));
    assert!(matches!(read(&client, &location, Part::Message).await, Err(Failure::DataLoss(_))));
    faulty.set(Faults::Script(Vec::new()));
    assert!(matches!(store(&client, &message(3_000_001, 3)).await, Err(Failure::Exhausted(_))));
    client.delete_segments(std::slice::from_ref(&location.object_name)).await.unwrap();
    let gone = read(&client, &location, Part::Message).await;
    assert!(matches!(gone, Err(Failure::NotFound(_) | Failure::DataLoss(_))), "{gone:?}");
}

#[tokio::test]
async fn a_stream_without_its_end_stores_nothing() {
    let memory = Arc::new(MemoryStore::new());
    let (_, connector) = serve(memory.clone());
    let mut client = raw(connector).await;
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
