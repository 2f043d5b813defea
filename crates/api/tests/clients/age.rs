//! Servers ask old connections to go (`max_connection_age`), so that clients spread over new replicas. Nobody notices.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, future::join_all, stream};
use puro_api::{
    Backend, BlobClient, DeliveryClient, DirectoryClient, Endpoint, MaildropClient, Settings, in_process,
    model::{Delivered, Delivery, Listing, Part},
    pb::{blob::v1 as blob, metadata::v1 as metadata},
    server_builder,
};
use puro_types::{MailboxId, TransactionId};
use tokio::{
    net::TcpListener,
    time::{sleep, timeout},
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Status, Streaming, transport::Server};

use crate::scripted::{Script, Scripted, account, location, step};

/// How old a connection gets on TCP.
const AGE: Duration = Duration::from_millis(20);
/// Connections that are outlived.
const AGES: usize = 8;
/// Octets of a piece of a message.
const PIECE: usize = 64 * 1024;

/// Without `max_connection_age_grace`: with one, tonic 0.14 does not send GOAWAY, but cuts the connection after both.
fn aging(age: Duration) -> Server {
    server_builder().max_connection_age(age)
}

/// Counts the connections that arrive.
fn counted<S: stream::Stream>(incoming: S) -> (impl stream::Stream<Item = S::Item>, Arc<AtomicUsize>) {
    let connections = Arc::new(AtomicUsize::new(0));
    let count = connections.clone();
    let incoming = incoming.inspect(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
    });
    (incoming, connections)
}

async fn take(request: Request<Streaming<blob::StoreRequest>>) -> Result<blob::StoreResponse, Status> {
    let mut pieces = request.into_inner();
    let (mut octets, mut size) = (0, None);
    while let Some(piece) = pieces.message().await? {
        octets += piece.chunk.len() as u64;
        size = piece.finish.map(|finish| finish.size_bytes);
    }
    assert_eq!(size, Some(octets), "the message is whole");
    Ok(blob::StoreResponse { location: Some(location()) })
}

/// Answers every call after a pause, and reads in four chunks with a pause before each.
fn server(pause: Duration) -> Scripted {
    let chunk = move |_| async move {
        sleep(pause).await;
        Ok(blob::ReadResponse { chunk: Bytes::from_static(&[7; PIECE]) })
    };
    let page = || metadata::ListResponse { version: 4, ..metadata::ListResponse::default() };
    Scripted::new(Script {
        authenticate: step(move |_, _| async move {
            sleep(pause).await;
            Ok(account())
        }),
        deliver: step(move |_, _| async move {
            sleep(pause).await;
            Ok(metadata::DeliverResponse { delivered: 1, queued: 0 })
        }),
        list: step(move |_, _| async move {
            sleep(pause).await;
            Ok(stream::iter([Ok(page())]).boxed())
        }),
        store: step(move |_, request| async move {
            let answer = take(request).await;
            sleep(pause).await;
            answer
        }),
        read: step(move |_, _| async move { Ok(stream::iter(0..4).then(chunk).boxed()) }),
    })
}

/// Makes each kind of call once.
async fn call_all(backend: &Backend, size: usize) {
    let account = DirectoryClient::new(backend.clone()).authenticate("me", &"pw".to_owned().into()).await;
    assert!(account.unwrap().is_some());
    let location: puro_types::Location = location().try_into().unwrap();
    let delivery = Delivery {
        transaction: TransactionId::new(1, [1; 11]),
        accepted_ms: 1,
        mailboxes: vec![MailboxId::new([1; 12])],
        location: location.clone(),
    };
    let delivered = DeliveryClient::new(backend.clone()).deliver(delivery).await;
    assert_eq!(delivered, Ok(Delivered { delivered: 1, queued: 0 }));
    let listing = MaildropClient::new(backend.clone()).list(&MailboxId::new([1; 12]), 0).await;
    assert_eq!(listing, Ok(Listing::Current { version: 4, messages: Vec::new() }));
    let client = BlobClient::new(backend.clone());
    let mut message = client.store(&TransactionId::new(1, [1; 11]));
    for chunk in vec![7; size].chunks(30_000) {
        message.send(Bytes::copy_from_slice(chunk)).await.unwrap();
    }
    assert_eq!(message.finish(size as u64).await, Ok(location.clone()));
    let mut stream = client.read(&location, Part::Message).await.unwrap();
    let mut octets = 0;
    while let Some(chunk) = stream.next().await.unwrap() {
        octets += chunk.len();
    }
    assert_eq!(octets, 4 * PIECE);
}

#[tokio::test]
async fn no_call_is_lost_with_an_old_connection() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (incoming, connections) = counted(TcpListenerStream::new(listener));
    let server = server(Duration::ZERO);
    let serving = tokio::spawn(server.on(aging(AGE)).serve_with_incoming(incoming));
    let backend = Backend::new(Endpoint::Addresses(vec![address]), Settings::default());
    let enough = || connections.load(Ordering::SeqCst) > AGES && server.calls() >= 200;
    let clients = (0..4usize).map(|client| {
        let backend = &backend;
        async move {
            while !enough() {
                call_all(backend, 70_000 * client).await;
            }
        }
    });
    timeout(Duration::from_secs(60), join_all(clients)).await.unwrap();
    serving.abort();
}

/// Calls that last longer than a connection may live: it lives on for them, and others go elsewhere.
#[tokio::test(start_paused = true)]
async fn long_calls_end_on_the_connection_that_they_began_on() {
    let (connector, incoming) = in_process();
    let (incoming, connections) = counted(incoming);
    let server = server(Duration::from_millis(300));
    tokio::spawn(server.on(aging(Duration::from_millis(100))).serve_with_incoming(incoming));
    let backend = Backend::new(connector.into(), Settings::default());
    for round in 0..AGES {
        let client = BlobClient::new(backend.clone());
        // Half of it is sent on a connection, the rest when that is old and others have come.
        let mut message = client.store(&TransactionId::new(1, [1; 11]));
        for _ in 0..8 {
            message.send(Bytes::from_static(&[7; PIECE])).await.unwrap();
        }
        let before = connections.load(Ordering::SeqCst);
        join_all((0..3).map(|client| call_all(&backend, 100_000 * client))).await;
        assert!(connections.load(Ordering::SeqCst) > before, "round {round}");
        for _ in 0..8 {
            message.send(Bytes::from_static(&[7; PIECE])).await.unwrap();
        }
        message.finish(16 * PIECE as u64).await.unwrap();
    }
}
