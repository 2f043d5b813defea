//! What every store must do, and random operations beside the memory store.

use std::sync::Arc;

use proptest::prelude::*;
use puro_metadata::store::{
    ItemStore, Table, contract,
    counted::CountedStore,
    faulty::{FaultPlan, FaultyStore},
    memory::MemoryStore,
    metered::MeteredStore,
};

use crate::{
    rig::fresh,
    steps::{Step, everything, step, take},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn dynamodb_keeps_the_contract() {
    contract::suite(Arc::new(fresh().await.store)).await;
}

#[tokio::test]
async fn dynamodb_in_every_wrapper_keeps_the_contract() {
    let metered = Arc::new(MeteredStore::new(Arc::new(fresh().await.store)));
    let counted = Arc::new(CountedStore::new(metered));
    contract::suite(Arc::new(FaultyStore::new(counted, FaultPlan::none()))).await;
}

/// What a step says, but for the words of an error and for where pages end, which are each store's own.
async fn said(store: &dyn ItemStore, step: Step) -> String {
    let Step::Query(mut query) = step else {
        let said = take(store, step).await;
        return if said.starts_with("Err(Internal(") { "invalid".to_owned() } else { said };
    };
    let mut items = Vec::new();
    loop {
        let page = store.query(&query).await.unwrap();
        items.extend(page.items);
        match page.next {
            Some(next) => query.after = next.sort,
            None => return format!("{items:?}"),
        }
    }
}

proptest! {
    // Each case has tables of its own.
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 60, ..ProptestConfig::default() })]

    #[test]
    fn dynamodb_does_what_memory_does(steps in prop::collection::vec(step(), 1..150)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let memory = MemoryStore::new();
            let store = fresh().await.store;
            for step in steps {
                let expected = said(&memory, step.clone()).await;
                prop_assert_eq!(said(&store, step.clone()).await, expected, "after {:?}", step);
            }
            for table in Table::ALL {
                let expected = everything(&memory, table, 0).await;
                prop_assert_eq!(everything(&store, table, 0).await, expected);
            }
            Ok(())
        })?;
    }
}
