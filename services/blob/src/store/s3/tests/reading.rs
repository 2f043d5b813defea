//! Readers that take their time, or go away.

use futures_util::StreamExt;

use super::*;
use crate::store::contract::read;

/// A store whose readers lose their connection soon.
async fn impatient(readers: usize) -> S3Store {
    let config = S3Config { slow_reader: Duration::from_millis(100), readers, ..bucket().await };
    S3Store::open(config).await.unwrap()
}

/// Waits until no read holds a connection.
async fn free(store: &S3Store) {
    while store.bucket.readers().available_permits() < store.bucket.config().readers {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_slow_reader_loses_the_connection_and_not_the_read() {
    let store = impatient(1).await;
    let whole = some(6_000_000);
    let name = store.put(vec![whole.clone()]).await.unwrap().object_name;
    let mut chunks = store.read(&name, 1..5_999_999).await.unwrap();
    let mut octets = chunks.next().await.unwrap().unwrap().to_vec();
    for pauses in 1..=5 {
        // Another one reads meanwhile, on the only connection.
        free(&store).await;
        assert_eq!(read(&store, &name, 0..10).await.unwrap(), whole.slice(..10));
        // More where a busy machine made this one slow by itself.
        assert!(store.requests().counts().gets >= 2 * pauses);
        while octets.len() < 1_000_000 * usize::try_from(pauses).unwrap() {
            octets.extend_from_slice(&chunks.next().await.unwrap().unwrap());
        }
    }
    while let Some(chunk) = chunks.next().await {
        octets.extend_from_slice(&chunk.unwrap());
    }
    assert!(octets == whole[1..5_999_999]);
}

#[tokio::test]
async fn a_small_message_is_off_its_connection_before_it_is_read() {
    let store = S3Store::open(S3Config { slow_reader: Duration::MAX, ..bucket().await }).await.unwrap();
    let name = store.put(vec![some(200_000)]).await.unwrap().object_name;
    let chunks = store.read(&name, 0..200_000).await.unwrap();
    free(&store).await;
    let chunks: Vec<_> = chunks.map(Result::unwrap).collect().await;
    assert_eq!(chunks.concat(), some(200_000));
    assert_eq!(store.requests().counts().gets, 1);
}

#[tokio::test]
async fn a_reader_that_goes_away_takes_its_read_along() {
    let store = S3Store::open(S3Config { slow_reader: Duration::MAX, ..bucket().await }).await.unwrap();
    let name = store.put(vec![some(6_000_000)]).await.unwrap().object_name;
    let mut chunks = store.read(&name, 0..6_000_000).await.unwrap();
    chunks.next().await.unwrap().unwrap();
    drop(chunks);
    store.bucket.tasks().settled().await;
    free(&store).await;
}
