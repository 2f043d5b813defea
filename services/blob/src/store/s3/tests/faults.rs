//! What a write or a read comes to when the server has a bad day.

use puro_stand_ins::{Fault, Plan, Rule};

use super::*;
use crate::store::{StoreError, contract::read};

fn is_unavailable<T: std::fmt::Debug>(outcome: Result<T, StoreError>) {
    assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
}

fn is_unknown<T: std::fmt::Debug>(outcome: Result<T, StoreError>) {
    assert!(matches!(outcome, Err(StoreError::OutcomeUnknown(_))), "{outcome:?}");
}

#[tokio::test]
async fn a_put_whose_answer_is_lost_is_ours_when_the_repeat_is_refused() {
    let (store, proxy) = behind_proxy().await;
    for (fault, puts) in [(Fault::ErrorAfter, 2), (Fault::ResetAfter, 2), (Fault::CutAnswer, 2)] {
        proxy.forget_counts();
        proxy.set(Rule::new(fault).on(&["PutObject"]).at_most(1));
        let name = store.put(vec![some(1000)]).await.unwrap().object_name;
        assert_eq!(read(&store, &name, 0..1000).await.unwrap(), some(1000), "{fault:?}");
        assert!(proxy.requests_of("PutObject") <= puts, "{fault:?}");
    }
    assert_eq!(segments(&store).await, 3, "each once");
}

#[tokio::test]
async fn a_put_whose_answers_are_all_lost_is_asked_for() {
    let (store, proxy) = behind_proxy().await;
    for fault in [Fault::ErrorAfter, Fault::ResetAfter] {
        proxy.set(Rule::new(fault).on(&["PutObject"]));
        let name = store.put(vec![some(1000)]).await.unwrap().object_name;
        assert_eq!(read(&store, &name, 0..1000).await.unwrap(), some(1000), "{fault:?}");
        // And where that question fails too, nobody knows.
        proxy.set(Plan::from(Rule::new(fault).on(&["PutObject"])).with(Rule::new(fault).on(&["HeadObject"])));
        is_unknown(store.put(vec![some(1000)]).await);
        proxy.clear();
    }
    assert_eq!(segments(&store).await, 4, "two of them orphans");
}

#[tokio::test]
async fn a_put_that_fails_before_leaves_nothing() {
    let (store, proxy) = behind_proxy().await;
    for fault in [Fault::ErrorBefore, Fault::ResetBefore] {
        proxy.set(Rule::new(fault).on(&["PutObject"]).at_most(2));
        store.put(vec![some(10)]).await.unwrap();
        proxy.set(Rule::new(fault).on(&["PutObject"]));
        // It might come yet, for all that is known.
        is_unknown(store.put(vec![some(10)]).await);
    }
    proxy.set(Rule::new(Fault::Throttle).on(&["PutObject"]));
    is_unavailable(store.put(vec![some(10)]).await);
    proxy.clear();
    assert_eq!(segments(&store).await, 2);
}

#[tokio::test]
async fn an_upload_whose_end_is_lost_is_asked_for() {
    let (store, proxy) = behind_proxy().await;
    let whole = some(PART + 1);
    for fault in [Fault::ErrorAfter, Fault::ResetAfter, Fault::CutAnswer] {
        for rule in [Rule::new(fault).at_most(1), Rule::new(fault)] {
            proxy.set(rule.on(&["CompleteMultipartUpload"]));
            let name = stream(&store, &whole).await.unwrap();
            assert!(read(&store, &name, 0..whole.len() as u64).await.unwrap() == whole, "{fault:?}");
        }
    }
    assert_eq!(segments(&store).await, 6);
    for fault in [Fault::ErrorBefore, Fault::ResetBefore] {
        proxy.set(Rule::new(fault).on(&["CompleteMultipartUpload"]));
        is_unknown(stream(&store, &whole).await);
    }
    proxy.set(Rule::new(Fault::Throttle).on(&["CompleteMultipartUpload"]));
    is_unavailable(stream(&store, &whole).await);
    store.bucket.tasks().settled().await;
    assert_eq!((segments(&store).await, uploads(&store).await), (6, 0), "all else is thrown away");
}

#[tokio::test]
async fn parts_are_sent_again_and_a_part_that_fails_fails_the_segment() {
    let (store, proxy) = behind_proxy().await;
    let whole = some(2 * PART + 1);
    for fault in [Fault::ErrorBefore, Fault::ResetAfter, Fault::CutAnswer, Fault::Throttle] {
        proxy.set(Rule::new(fault).on(&["UploadPart"]).at_most(2));
        let name = stream(&store, &whole).await.unwrap();
        assert!(read(&store, &name, 0..whole.len() as u64).await.unwrap() == whole, "{fault:?}");
    }
    proxy.set(Rule::new(Fault::ErrorAfter).on(&["UploadPart"]));
    is_unavailable(stream(&store, &whole).await);
    proxy.set(Rule::new(Fault::ErrorBefore).on(&["CreateMultipartUpload"]));
    is_unavailable(stream(&store, &whole).await);
    proxy.clear();
    store.bucket.tasks().settled().await;
    assert_eq!((segments(&store).await, uploads(&store).await), (4, 0));
}

#[tokio::test]
async fn a_read_that_breaks_off_is_taken_up_where_it_was() {
    let (store, proxy) = behind_proxy().await;
    let whole = some(3_000_000);
    let name = store.put(vec![whole.clone()]).await.unwrap().object_name;
    for cuts in 1..=3 {
        proxy.forget_counts();
        proxy.set(Rule::new(Fault::CutAnswer).on(&["GetObject"]).at_most(cuts));
        assert!(read(&store, &name, 1..2_999_999).await.unwrap() == whole.slice(1..2_999_999));
        assert_eq!(proxy.requests_of("GetObject"), cuts + 1, "{cuts} cuts");
    }
    // Small ones too, and those whose answer does not come at all.
    for fault in [Fault::CutAnswer, Fault::ResetAfter, Fault::ErrorAfter, Fault::Throttle] {
        proxy.set(Rule::new(fault).on(&["GetObject"]).at_most(2));
        assert_eq!(read(&store, &name, 5..905).await.unwrap(), whole.slice(5..905), "{fault:?}");
    }
}

#[tokio::test]
async fn a_read_that_breaks_off_again_and_again_is_an_error() {
    let (store, proxy) = behind_proxy().await;
    let name = store.put(vec![some(100_000)]).await.unwrap().object_name;
    for fault in [Fault::CutAnswer, Fault::ErrorBefore, Fault::Throttle, Fault::ResetBefore] {
        proxy.set(Rule::new(fault).on(&["GetObject"]));
        is_unavailable(read(&store, &name, 0..100_000).await);
    }
    proxy.set(Rule::new(Fault::ErrorBefore).on(&["HeadObject"]));
    is_unavailable(read(&store, &name, 0..0).await);
    proxy.clear();
    store.bucket.tasks().settled().await;
    assert_eq!(store.bucket.readers().available_permits(), store.bucket.config().readers);
}

#[tokio::test]
async fn a_segment_deleted_while_it_is_read_is_not_found() {
    let (store, proxy) = behind_proxy().await;
    let name = store.put(vec![some(2_000_000)]).await.unwrap().object_name;
    proxy.set(Rule::new(Fault::CutAnswer).on(&["GetObject"]).at_most(1));
    let mut chunks = store.read(&name, 0..2_000_000).await.unwrap();
    store.delete(std::slice::from_ref(&name)).await.unwrap();
    let error = loop {
        match futures_util::StreamExt::next(&mut chunks).await {
            Some(Ok(_)) => {}
            Some(Err(error)) => break error,
            None => panic!("it cannot be whole"),
        }
    };
    assert_eq!(error, StoreError::NotFound(name));
}

#[tokio::test]
async fn deletions_and_lists_are_repeated_and_then_fail() {
    let (store, proxy) = behind_proxy().await;
    let names = [store.put(vec![some(1)]).await.unwrap().object_name];
    for fault in [Fault::ErrorBefore, Fault::ResetAfter, Fault::ErrorAfter, Fault::Throttle] {
        proxy.set(Rule::new(fault).on(&["ListObjectsV2", "DeleteObjects"]));
        is_unavailable(store.list(None, 10).await);
        match fault {
            Fault::Throttle => is_unavailable(store.delete(&names).await),
            _ => is_unknown(store.delete(&names).await),
        }
        proxy.set(Rule::new(fault).on(&["ListObjectsV2", "DeleteObjects"]).at_most(2));
        store.delete(&names).await.unwrap();
        assert_eq!(segments(&store).await, 0, "{fault:?}");
    }
}

#[tokio::test]
async fn a_store_that_is_down_is_left_alone_and_found_again() {
    let (store, proxy) = behind_proxy().await;
    let name = store.put(vec![some(10)]).await.unwrap().object_name;
    proxy.take_down();
    // The SDK's repeats cost a moment each, until the gate closes.
    while !store.gate().counts().is_down {
        is_unavailable(store.put(vec![some(10)]).await);
    }
    let sent = store.requests().counts();
    for _ in 0..100 {
        is_unavailable(store.read(&name, 0..10).await.map(drop));
    }
    assert!(store.requests().counts().gets - sent.gets <= 9, "only to try whether it is back");
    proxy.bring_up();
    while store.gate().counts().is_down {
        let _ = store.read(&name, 0..10).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(read(&store, &name, 0..10).await.unwrap(), some(10));
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_goes_wrong_what_is_acknowledged_is_there() {
    for seed in 0..6 {
        let (store, proxy) = behind_proxy().await;
        proxy.set(Plan::mixture(seed, 250));
        let tasks = (0..40_usize).map(|n| {
            let store = store.clone();
            tokio::spawn(async move {
                let length = if n % 8 == 0 { PART + n } else { n * 3_000 };
                let whole = octets(length, n as u64);
                let put = if n % 2 == 0 {
                    stream(&store, &whole).await
                } else {
                    store.put(vec![whole.clone()]).await.map(|written| written.object_name)
                };
                put.map(|name| (name, whole))
            })
        });
        let outcomes: Vec<_> = futures_util::future::join_all(tasks).await;
        let outcomes: Vec<_> = outcomes.into_iter().map(Result::unwrap).collect();
        assert!(proxy.faults() > 10, "seed {seed}");
        proxy.clear();
        let mut kept = 0;
        for outcome in outcomes {
            match outcome {
                Ok((name, whole)) => {
                    kept += 1;
                    let found = read(&store, &name, 0..whole.len() as u64).await.unwrap();
                    assert!(found == whole, "seed {seed}: {name}");
                }
                Err(StoreError::Unavailable(_) | StoreError::OutcomeUnknown(_)) => {}
                Err(error) => panic!("seed {seed}: {error}"),
            }
        }
        assert!(kept >= 30, "seed {seed}: {kept}");
        store.bucket.tasks().settled().await;
        assert!(segments(&store).await >= kept);
    }
}
