//! Message bytes: pieces, back-pressure, early ends.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use puro_api::{BlobClient, Failure, Settings, model::Part, pb::blob::v1 as pb};
use puro_types::{Location, TransactionId};
use tokio::{sync::oneshot, time::timeout};
use tonic::{Request, Status, Streaming};

use crate::scripted::{Notes, Script, Scripted, location, step, within_ms};

fn transaction() -> TransactionId {
    TransactionId::new(1, [1; 11])
}

fn here() -> Location {
    location().try_into().unwrap()
}

/// A server that notes each request, and at the end of the stream an `Err` with the status, if any.
fn noting() -> (Scripted, Notes<Result<pb::StoreRequest, Option<Status>>>) {
    let notes = Notes::default();
    let seen = notes.clone();
    let script = Script {
        store: step(move |_, request: Request<Streaming<pb::StoreRequest>>| {
            let seen = seen.clone();
            async move {
                let mut stream = request.into_inner();
                loop {
                    match stream.message().await {
                        Ok(Some(piece)) => seen.add(Ok(piece)),
                        Ok(None) => break seen.add(Err(None)),
                        Err(status) => break seen.add(Err(Some(status))),
                    }
                }
                Ok(pb::StoreResponse { location: Some(location()) })
            }
        }),
        ..Script::default()
    };
    (Scripted::new(script), notes)
}

#[tokio::test]
async fn a_small_message_is_one_request() {
    for chunks in [&[4096][..], &[], &[1, 1, 1], &[30_000, 30_000], &[64 * 1024]] {
        let (server, notes) = noting();
        let client = BlobClient::new(server.in_process(Settings::default()));
        let mut stream = client.store(&transaction());
        for size in chunks {
            stream.send(vec![b'x'; *size].into()).await.unwrap();
        }
        let size = chunks.iter().sum::<usize>();
        assert_eq!(stream.octets(), size as u64);
        assert_eq!(stream.finish(size as u64).await, Ok(here()));
        let pieces: Vec<_> = notes.take().into_iter().filter_map(Result::ok).collect();
        assert_eq!(pieces.len(), 1, "{chunks:?}");
        assert_eq!(pieces[0].transaction_id, transaction().as_str());
        assert_eq!(pieces[0].chunk.len(), size);
        assert_eq!(pieces[0].finish, Some(pb::StoreFinish { size_bytes: size as u64 }));
    }
}

#[tokio::test]
async fn a_large_message_arrives_as_it_is_in_pieces_of_64_kib() {
    let message: Vec<u8> = (0..1_000_000u32).map(|at| (at % 251) as u8).collect();
    for chunk in [1000, 65_536, 70_000, 400_000] {
        let (server, notes) = noting();
        let client = BlobClient::new(server.in_process(Settings::default()));
        let mut stream = client.store(&transaction());
        for octets in message.chunks(chunk) {
            stream.send(Bytes::copy_from_slice(octets)).await.unwrap();
        }
        stream.finish(message.len() as u64).await.unwrap();
        let pieces: Vec<_> = notes.take().into_iter().filter_map(Result::ok).collect();
        let arrived: Vec<u8> = pieces.iter().flat_map(|piece| piece.chunk.to_vec()).collect();
        assert!(arrived == message, "chunks of {chunk}");
        assert_eq!(pieces.len(), message.len().div_ceil(64 * 1024), "chunks of {chunk}");
        assert!(pieces.iter().skip(1).all(|piece| piece.transaction_id.is_empty()));
        let finished: Vec<_> = pieces.iter().map(|piece| piece.finish.is_some()).collect();
        assert_eq!(finished.iter().position(|last| *last), Some(pieces.len() - 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_stream_is_not_finished() {
    for size in [0, 10, 65_537, 200_000] {
        let (server, notes) = noting();
        let client = BlobClient::new(server.in_process(Settings::default()));
        let mut stream = client.store(&transaction());
        stream.send(vec![b'x'; size].into()).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        drop(stream);
        // Paused time moves on only when nobody has anything left to do.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let notes = notes.take();
        assert!(notes.iter().flatten().all(|piece| piece.finish.is_none()), "{size}");
        if size > 64 * 1024 {
            assert!(matches!(notes.first(), Some(Ok(_))), "{size}: the first piece is not held back");
            assert!(matches!(notes.last(), Some(Err(_))), "{size}: the server is not left waiting");
        } else {
            assert!(notes.is_empty(), "{size}: nothing was begun");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_read_holds_up_the_sender() {
    let (go, gone) = oneshot::channel::<()>();
    let gone = std::sync::Mutex::new(Some(gone));
    let server = Scripted::new(Script {
        store: step(move |_, request: Request<Streaming<pb::StoreRequest>>| {
            let gone = gone.lock().unwrap().take().unwrap();
            async move {
                gone.await.unwrap();
                let mut stream = request.into_inner();
                while stream.message().await?.is_some() {}
                Ok(pb::StoreResponse { location: Some(location()) })
            }
        }),
        ..Script::default()
    });
    let client = BlobClient::new(server.in_process(Settings::default()));
    let mut stream = client.store(&transaction());
    let piece = Bytes::from(vec![b'x'; 64 * 1024]);
    let mut sent = 0u64;
    let second = Duration::from_secs(1);
    loop {
        let mut send = Box::pin(stream.send(piece.clone()));
        if let Ok(outcome) = timeout(second, &mut send).await {
            outcome.unwrap();
            sent += piece.len() as u64;
            assert!(sent < 4_000_000, "nothing holds the sender up");
            continue;
        }
        assert!(timeout(second, &mut send).await.is_err(), "still held up");
        go.send(()).unwrap();
        timeout(second, send).await.expect("the sender goes on when the server reads").unwrap();
        sent += piece.len() as u64;
        break;
    }
    assert_eq!(stream.finish(sent).await, Ok(here()));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stalls_for_ever_fails_the_sender() {
    let server = Scripted::new(Script { store: step(|_, _| std::future::pending()), ..Script::default() });
    let client = BlobClient::new(server.in_process(within_ms(500)));
    let mut stream = client.store(&transaction());
    stream.send(Bytes::from_static(b"x")).await.unwrap();
    assert!(matches!(stream.finish(1).await, Err(Failure::Unavailable(_))));
    let mut stream = client.store(&transaction());
    let failure = loop {
        if let Err(failure) = stream.send(vec![b'x'; 64 * 1024].into()).await {
            break failure;
        }
    };
    assert!(matches!(failure, Failure::Unavailable(_)), "{failure:?}");
}

#[tokio::test(start_paused = true)]
async fn an_early_refusal_is_noticed_and_stays() {
    let full = || Failure::Exhausted("the disk is full".into());
    let server = Scripted::new(Script {
        store: step(move |_, request: Request<Streaming<pb::StoreRequest>>| async move {
            request.into_inner().message().await?;
            Err(full().into())
        }),
        ..Script::default()
    });
    let client = BlobClient::new(server.in_process(Settings::default()));
    let mut stream = client.store(&transaction());
    let mut sent = 0;
    let failure = loop {
        match stream.send(vec![b'x'; 64 * 1024].into()).await {
            Ok(()) => sent += 1,
            Err(failure) => break failure,
        }
        assert!(sent < 100, "the refusal is not noticed");
        tokio::task::yield_now().await;
    };
    assert_eq!(failure, full());
    assert_eq!(stream.send(vec![b'x'; 128 * 1024].into()).await, Err(full()));
    assert_eq!(stream.finish(0).await, Err(full()));
    assert_eq!(server.calls(), 1);
}

fn chunk(text: &'static str) -> Result<pb::ReadResponse, Status> {
    Ok(pb::ReadResponse { chunk: Bytes::from_static(text.as_bytes()) })
}

#[tokio::test(start_paused = true)]
async fn a_read_is_begun_again_only_before_its_first_octets() {
    let server = Scripted::new(Script {
        read: step(|count, request: Request<pb::ReadRequest>| async move {
            assert_eq!(request.get_ref().part(), pb::Part::Header);
            match count {
                0 => Err(Status::unavailable("lost")),
                1 => Ok(stream::iter([Err(Status::unavailable("lost"))]).boxed()),
                2 => Ok(stream::iter([chunk("ab"), chunk("c")]).boxed()),
                3 => Ok(stream::iter([chunk("ab"), Err(Status::unavailable("lost"))]).boxed()),
                4 => Ok(stream::iter([chunk("ab"), Err(Failure::DataLoss("crc".into()).into())]).boxed()),
                5 => Err(Failure::DataLoss("gone".into()).into()),
                6 => Ok(stream::iter([chunk("ab")]).chain(stream::pending()).boxed()),
                _ => Ok(stream::empty().boxed()),
            }
        }),
        ..Script::default()
    });
    let client = BlobClient::new(server.in_process(within_ms(5000)));
    let read = async || -> (String, Option<Failure>) {
        let mut text = String::new();
        let mut stream = match client.read(&here(), Part::Header).await {
            Ok(stream) => stream,
            Err(failure) => return (text, Some(failure)),
        };
        loop {
            match stream.next().await {
                Ok(Some(octets)) => text.push_str(std::str::from_utf8(&octets).unwrap()),
                Ok(None) => return (text, None),
                Err(failure) => return (text, Some(failure)),
            }
        }
    };
    assert_eq!(read().await, ("abc".into(), None));
    assert_eq!(server.calls(), 3);
    assert!(matches!(read().await, (text, Some(Failure::Unavailable(_))) if text == "ab"));
    assert_eq!(server.calls(), 4);
    assert_eq!(read().await, ("ab".into(), Some(Failure::DataLoss("crc".into()))));
    assert_eq!(read().await, (String::new(), Some(Failure::DataLoss("gone".into()))));
    assert!(matches!(read().await, (text, Some(Failure::Unavailable(_))) if text == "ab"), "a stalled rest");
    assert_eq!(read().await, (String::new(), None), "an empty part");
}

/// A POP3 client that takes nothing leaves its message unread on the connection that all share.
#[tokio::test(start_paused = true)]
async fn readers_that_stand_still_hold_up_nobody_and_take_little() {
    const READERS: u64 = 40;
    const PIECES: u64 = 64;
    let piece = Bytes::from(vec![b'x'; 64 * 1024]);
    let taken = Arc::new(AtomicU64::new(0));
    let (octets, counter) = (piece.clone(), taken.clone());
    let server = Scripted::new(Script {
        read: step(move |_, _| {
            let (octets, counter) = (octets.clone(), counter.clone());
            let chunk = move |_| {
                counter.fetch_add(1, Ordering::Relaxed);
                Ok(pb::ReadResponse { chunk: octets.clone() })
            };
            async move { Ok(stream::iter(0..PIECES).map(chunk).boxed()) }
        }),
        ..Script::default()
    });
    let client = BlobClient::new(server.in_process(within_ms(5000)));
    let mut still = Vec::new();
    for _ in 0..READERS {
        still.push(client.read(&here(), Part::Message).await.unwrap());
    }
    // Paused time goes on when nobody has anything left to do.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let kept = taken.load(Ordering::Relaxed);
    assert!(kept < 10 * READERS, "{kept} pieces of 64 KiB for {READERS} readers");
    for mut stream in [client.read(&here(), Part::Message).await.unwrap(), still.remove(0)] {
        let mut pieces = 0;
        while let Some(octets) = stream.next().await.expect("no other reader is in the way") {
            assert_eq!(octets, piece);
            pieces += 1;
        }
        assert_eq!(pieces, PIECES);
    }
}
