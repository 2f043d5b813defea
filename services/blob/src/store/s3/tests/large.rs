//! Large segments: their parts, and writers that are dropped.

use std::sync::Arc;

use futures_util::FutureExt;
use puro_stand_ins::{Fault, Rule};

use super::*;
use crate::store::{StoreError, contract::read};

#[tokio::test]
async fn a_segment_of_any_length_comes_back() {
    let store = store().await;
    for length in [0, 1, PART - 1, PART, PART + 1, 2 * PART, 3 * PART + 77] {
        let whole = some(length);
        let name = stream(&store, &whole).await.unwrap();
        assert!(read(&store, &name, 0..length as u64).await.unwrap() == whole, "{length}");
    }
    assert_eq!(uploads(&store).await, 0);
}

#[tokio::test]
async fn one_piece_may_be_many_parts() {
    let store = store().await;
    let whole = some(3 * PART + 5);
    let mut writer = store.begin().await.unwrap();
    writer.write(whole.clone()).await.unwrap();
    let name = writer.finish().await.unwrap().object_name;
    assert!(read(&store, &name, 0..whole.len() as u64).await.unwrap() == whole);
    assert_eq!(store.requests().counts().multiparts, 1 + 4 + 1);
}

#[tokio::test]
async fn a_dropped_writer_leaves_no_upload_behind() {
    let (store, proxy) = behind_proxy().await;
    // With a part under way, and with none.
    for slow in [true, false] {
        if slow {
            proxy.set(Rule::new(Fault::Delay(Duration::from_millis(300))).on(&["UploadPart"]));
        } else {
            proxy.clear();
        }
        let mut writer = store.begin().await.unwrap();
        writer.write(some(2 * PART + PART / 2)).await.unwrap();
        assert_eq!(uploads(&store).await, 1);
        drop(writer);
        store.bucket.tasks().settled().await;
        assert_eq!(uploads(&store).await, 0, "a part under way: {slow}");
    }
    assert_eq!(segments(&store).await, 0);
    assert_eq!(store.requests().counts().aborts, 2);
}

#[tokio::test]
async fn a_call_dropped_half_way_aborts_too_and_breaks_the_writer() {
    let (store, proxy) = behind_proxy().await;
    proxy.set(Rule::new(Fault::Delay(Duration::from_millis(300))).on(&["UploadPart"]));
    let mut writer = store.begin().await.unwrap();
    {
        let mut write = writer.write(some(3 * PART));
        // Until the first part is on its way.
        while proxy.requests_of("UploadPart") == 0 {
            assert!((&mut write).now_or_never().is_none());
            tokio::task::yield_now().await;
        }
    }
    let outcome = writer.write(some(1)).await;
    assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
    drop(writer);
    store.bucket.tasks().settled().await;
    assert_eq!((uploads(&store).await, segments(&store).await), (0, 0));
}

#[tokio::test]
async fn an_abort_that_fails_is_tried_again() {
    let (store, proxy) = behind_proxy().await;
    let mut writer = store.begin().await.unwrap();
    writer.write(some(2 * PART)).await.unwrap();
    // The SDK's three attempts, and one more.
    proxy.set(Rule::new(Fault::ErrorBefore).on(&["AbortMultipartUpload"]).at_most(4));
    drop(writer);
    store.bucket.tasks().settled().await;
    assert_eq!(proxy.requests_of("AbortMultipartUpload"), 5);
    assert_eq!(uploads(&store).await, 0);
}

#[tokio::test]
async fn the_end_of_a_process_does_not_wait_for_a_store_that_is_down() {
    let (store, proxy) = behind_proxy().await;
    let mut writer = store.begin().await.unwrap();
    writer.write(some(2 * PART)).await.unwrap();
    proxy.set(Rule::new(Fault::ErrorBefore).on(&["AbortMultipartUpload"]));
    drop(writer);
    store.end().await;
    // Tried, and left to the lifecycle rule without the pauses between further tries.
    assert!((3..=6).contains(&proxy.requests_of("AbortMultipartUpload")));
    assert_eq!(uploads(&store).await, 1);
}

#[tokio::test]
async fn memory_for_parts_is_shared_out_and_given_back() {
    let config = S3Config { parts_in_memory: 3, ..bucket().await };
    let store = S3Store::open(config).await.unwrap();
    let whole = some(3 * PART + 1);
    // Three at a time: none of them is left with a part that it cannot send.
    let writes = (0..8).map(|_| stream(&store, &whole));
    for name in futures_util::future::join_all(writes).await {
        assert!(read(&store, &name.unwrap(), 0..whole.len() as u64).await.unwrap() == whole);
    }
    assert_eq!(store.bucket.parts().available_permits(), 3);
    // A writer that has all the memory there is.
    let writers: Vec<_> = futures_util::future::join_all((0..3).map(|_| store.begin())).await;
    assert_eq!(store.bucket.parts().available_permits(), 0);
    assert!(store.begin().now_or_never().is_none(), "the next one waits");
    drop(writers);
    assert_eq!(store.bucket.parts().available_permits(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_writer_waits_for_memory_no_longer_than_its_patience() {
    let mut config = S3Config { parts_in_memory: 1, ..config() };
    config.patience = Duration::from_secs(15);
    // Nothing is asked of any server.
    let connection = connect(&config).await.unwrap();
    let gate = puro_aws::Gate::new("S3", config.gate);
    let bucket = Arc::new(super::super::Bucket::new(connection.client, config, gate));
    let first = super::super::Writer::begin(bucket.clone()).await.unwrap();
    let begun = tokio::time::Instant::now();
    let outcome = super::super::Writer::begin(bucket).await;
    assert!(matches!(outcome, Err(StoreError::Unavailable(_))));
    assert_eq!(begun.elapsed(), Duration::from_secs(15));
    drop(first);
}
