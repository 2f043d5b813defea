//! Several addresses, some dead; servers that end and begin again. Each test has a loopback address of its own, so that
//! a port stays free once it was left.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use puro_api::{Backend, BlobClient, DirectoryClient, Endpoint, Failure, Settings, pb::blob::v1 as blob};
use puro_types::TransactionId;
use tokio::net::TcpListener;

use crate::scripted::{Script, Scripted, Serving, account, location, step};

fn any_port(host: u8) -> SocketAddr {
    (Ipv4Addr::new(127, 0, 77, host), 0).into()
}

fn healthy() -> Scripted {
    Scripted::new(Script {
        authenticate: step(|_, _| async { Ok(account()) }),
        store: step(|_, request: tonic::Request<tonic::Streaming<blob::StoreRequest>>| async move {
            let mut stream = request.into_inner();
            let (mut octets, mut finished) = (0, None);
            while let Some(piece) = stream.message().await? {
                octets += piece.chunk.len() as u64;
                finished = piece.finish.map(|finish| finish.size_bytes);
            }
            if finished == Some(octets) {
                Ok(blob::StoreResponse { location: Some(location()) })
            } else {
                Err(Failure::Invalid(format!("{octets} octets, {finished:?} announced")).into())
            }
        }),
        ..Script::default()
    })
}

/// An address where connections are refused.
async fn refusing(host: u8) -> SocketAddr {
    TcpListener::bind(any_port(host)).await.unwrap().local_addr().unwrap()
}

fn to(addresses: &[SocketAddr]) -> Backend {
    Backend::new(Endpoint::Addresses(addresses.to_vec()), Settings::default())
}

async fn log_in(client: &DirectoryClient) -> Result<(), Failure> {
    client.authenticate("me", &"pw".to_owned().into()).await.map(|account| assert!(account.is_some()))
}

#[tokio::test]
async fn calls_go_elsewhere_when_one_of_two_addresses_refuses() {
    let live = healthy();
    let serving = live.serve(any_port(1)).await;
    let backend = to(&[refusing(2).await, serving.address]);
    let client = DirectoryClient::new(backend);
    for count in 0..100 {
        assert_eq!(log_in(&client).await, Ok(()), "call {count}");
    }
    assert_eq!(live.calls(), 100);
    serving.stop().await;
}

#[tokio::test]
async fn messages_go_elsewhere_too_whatever_their_size() {
    let serving = healthy().serve(any_port(3)).await;
    let dead = refusing(4).await;
    for size in [0, 4096, 64 * 1024 + 1, 300 * 1024, 2_000_000] {
        for _ in 0..6 {
            // A new way each time, so that the dead address is not known yet.
            let client = BlobClient::new(to(&[dead, serving.address]));
            let mut stream = client.store(&TransactionId::new(1, [1; 11]));
            for chunk in vec![7u8; size].chunks(50_000) {
                stream.send(bytes::Bytes::copy_from_slice(chunk)).await.unwrap();
            }
            assert!(stream.finish(size as u64).await.is_ok(), "{size}");
        }
    }
    serving.stop().await;
}

#[tokio::test]
async fn both_of_two_live_replicas_are_used() {
    let (one, other) = (healthy(), healthy());
    let serving = [one.serve(any_port(5)).await, other.serve(any_port(6)).await];
    let client = DirectoryClient::new(to(&serving.each_ref().map(|server| server.address)));
    for _ in 0..200 {
        log_in(&client).await.unwrap();
    }
    assert!(one.calls() > 50 && other.calls() > 50, "{} {}", one.calls(), other.calls());
    serving.into_iter().for_each(drop);
}

#[tokio::test]
async fn nobody_there_is_unavailable_and_soon() {
    let client = DirectoryClient::new(to(&[refusing(7).await]));
    let outcome = tokio::time::timeout(Duration::from_secs(5), log_in(&client)).await.unwrap();
    assert!(matches!(outcome, Err(Failure::Unavailable(_))), "{outcome:?}");
}

#[tokio::test]
async fn a_server_that_comes_back_is_found_again() {
    let server = healthy();
    let mut serving: Serving = server.serve(any_port(8)).await;
    let address = serving.address;
    let client = DirectoryClient::new(to(&[address]));
    for _ in 0..3 {
        log_in(&client).await.unwrap();
        serving.stop().await;
        let outcome = log_in(&client).await;
        assert!(matches!(outcome, Err(Failure::Unavailable(_))), "{outcome:?}");
        serving = server.serve(address).await;
        log_in(&client).await.unwrap();
    }
    serving.stop().await;
}

#[tokio::test]
async fn a_name_is_looked_up_and_a_wrong_one_is_unavailable() {
    let serving = healthy().serve((Ipv4Addr::LOCALHOST, 0).into()).await;
    let url = format!("http://localhost:{}", serving.address.port()).parse().unwrap();
    log_in(&DirectoryClient::new(Backend::new(url, Settings::default()))).await.unwrap();
    let wrong = Backend::new("http://name.invalid:1".parse().unwrap(), Settings::default());
    let outcome = log_in(&DirectoryClient::new(wrong)).await;
    assert!(matches!(outcome, Err(Failure::Unavailable(_))), "{outcome:?}");
    serving.stop().await;
}

#[tokio::test]
async fn a_service_is_waited_for_until_it_answers() {
    let address = refusing(11).await;
    let backend = to(&[address]);
    let mut reached = std::pin::pin!(backend.reached());
    let early = tokio::time::timeout(std::time::Duration::from_millis(50), &mut reached).await;
    assert!(early.is_err(), "nobody is there yet");
    let serving = healthy().serve(address).await;
    reached.await;
    serving.stop().await;
}

#[tokio::test]
async fn check_says_whether_somebody_answers() {
    let serving = healthy().serve(any_port(9)).await;
    assert_eq!(to(&[serving.address]).check().await, Ok(()), "no health service, but an answer");
    assert!(matches!(to(&[refusing(10).await]).check().await, Err(Failure::Unavailable(_))));
    serving.stop().await;
}
