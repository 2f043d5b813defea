//! The contract of every store, and what it costs.

use std::sync::Arc;

use aws_sdk_s3::primitives::ByteStream;

use super::*;
use crate::store::{
    Faults, Faulty, Metered, RequestCounts, StoreError,
    contract::{self, read},
    s3::name::Name,
};

#[tokio::test(flavor = "multi_thread")]
async fn contract() {
    let store = store().await;
    contract::run(Box::new(move || Arc::new(store.clone()))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn contract_with_counters_and_a_plan_of_no_faults() {
    let store = store().await;
    let faults = Faults::Script(Vec::new());
    contract::run(Box::new(move || {
        let faulty = Faulty::new(Arc::new(store.clone()), faults.clone());
        Arc::new(Metered::new(Arc::new(faulty)))
    }))
    .await;
}

#[tokio::test]
async fn every_verb_costs_what_it_should() {
    let store = store().await;
    let requests = store.requests();
    let mut spent = requests.counts();
    assert_eq!(spent, RequestCounts { heads: 1, ..RequestCounts::default() }, "the bucket, at the start");
    let mut expect = |what: &str, add: &dyn Fn(&mut RequestCounts)| {
        add(&mut spent);
        assert_eq!(requests.counts(), spent, "{what}");
    };

    let name = store.put(vec![some(100), some(50)]).await.unwrap().object_name;
    expect("a put", &|spent| spent.puts += 1);
    read(&store, &name, 10..150).await.unwrap();
    expect("a read", &|spent| spent.gets += 1);
    read(&store, &name, 150..150).await.unwrap();
    expect("nothing read", &|spent| spent.heads += 1);
    let up_to_a_part = stream(&store, &some(PART)).await.unwrap();
    expect("a large segment that fits a part", &|spent| spent.puts += 1);
    let three_parts = stream(&store, &some(2 * PART + 1)).await.unwrap();
    expect("one of three parts", &|spent| spent.multiparts += 1 + 3 + 1);
    drop(store.begin().await.unwrap());
    expect("one begun and dropped", &|_| {});
    let page = store.list(None, 1000).await.unwrap();
    assert_eq!(page.segments.len(), 3);
    expect("a page", &|spent| spent.lists += 1);
    let mut names = vec![name, up_to_a_part, three_parts];
    names.extend((0..998).map(|_| Name::draw().unwrap().to_string()));
    names.extend(names.clone());
    store.delete(&names).await.unwrap();
    expect("1,001 deleted, each named twice", &|spent| spent.deletes += 2);
    assert_eq!(segments(&store).await, 0);
}

#[tokio::test]
async fn a_name_is_put_once() {
    let store = store().await;
    let name = Name::draw().unwrap();
    store.bucket.put(&name, some(100)).await.unwrap();
    // The server refuses the second one.
    let config = store.bucket.config();
    let put = client(config).await.put_object().bucket(&config.bucket).key(name.as_str());
    let refused = put.if_none_match("*").body(ByteStream::from(some(7))).send().await.unwrap_err();
    assert_eq!(refused.raw_response().unwrap().status().as_u16(), 412);
    // So it is not ours.
    let outcome = store.bucket.put(&name, some(99)).await;
    assert!(matches!(outcome, Err(StoreError::Internal(_))), "{outcome:?}");
    assert_eq!(read(&store, name.as_str(), 0..100).await.unwrap(), some(100));
}

#[tokio::test]
async fn objects_that_are_not_ours_are_neither_listed_nor_in_the_way() {
    let store = store().await;
    let config = store.bucket.config();
    let client = client(config).await;
    for n in 0..5 {
        for key in [format!("!{n}"), format!("80-{n}"), format!("~{n}")] {
            client.put_object().bucket(&config.bucket).key(key).send().await.unwrap();
        }
    }
    assert_eq!(contract::list(&store, 2).await, []);
    let mut names: Vec<_> = Vec::new();
    for n in 0..9 {
        names.push((store.put(vec![some(n)]).await.unwrap().object_name, n as u64));
    }
    names.sort();
    for limit in [1, 2, 3, 1000] {
        assert_eq!(contract::list(&store, limit).await, names, "pages of {limit}");
    }
}
