//! The faulty wrapper fails when and how its plan says.

#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

use std::{sync::Arc, time::Duration};

use puro_metadata::store::{
    Condition, Consistency, Item, ItemStore, Key, StoreError, Table, Update, Value,
    faulty::{Calls, Fault, FaultPlan, FaultyStore},
    memory::MemoryStore,
};

fn key() -> Key {
    Key { partition: "p".into(), sort: String::new() }
}

async fn add(store: &dyn ItemStore) -> Result<Item, StoreError> {
    let update = Update { add: vec![("n".into(), 1)], ..Update::default() };
    store.update(Table::User, key(), update, Condition::default()).await
}

async fn count(store: &dyn ItemStore) -> i64 {
    match store.get(Table::User, &key(), Consistency::Strong).await.unwrap() {
        Some(item) => match item["n"] {
            Value::Number(n) => n,
            _ => panic!("not a number"),
        },
        None => 0,
    }
}

fn stores(plan: FaultPlan) -> (Arc<MemoryStore>, FaultyStore) {
    let memory = Arc::new(MemoryStore::new());
    let faulty = FaultyStore::new(Arc::clone(&memory) as Arc<dyn ItemStore>, plan);
    (memory, faulty)
}

#[tokio::test]
async fn each_fault_leaves_what_it_says() {
    for (fault, applied, unknown) in
        [(Fault::Before, 0, false), (Fault::BeforeUnknown, 0, true), (Fault::AfterUnknown, 1, true)]
    {
        let (memory, faulty) = stores(FaultPlan::nth(0, Calls::Any, fault));
        match add(&faulty).await {
            Err(StoreError::OutcomeUnknown(_)) => assert!(unknown, "{fault:?}"),
            Err(StoreError::Unavailable(_)) => assert!(!unknown, "{fault:?}"),
            other => panic!("{fault:?}: {other:?}"),
        }
        assert_eq!(count(memory.as_ref()).await, applied, "{fault:?}");
        assert!(add(&faulty).await.is_ok(), "only the call chosen fails");
        assert_eq!(faulty.injected(), 1);
    }
}

#[tokio::test]
async fn a_plan_counts_its_own_kind_of_call() {
    for (calls, failing_read, failing_write) in
        [(Calls::Reads, Some(1), None), (Calls::Writes, None, Some(1)), (Calls::Any, None, Some(0))]
    {
        let (_, faulty) = stores(FaultPlan::nth(1, calls, Fault::Before));
        for n in 0..3 {
            let read = faulty.get(Table::User, &key(), Consistency::Strong).await;
            assert_eq!(read.is_err(), failing_read == Some(n), "{calls:?} read {n}");
            assert_eq!(add(&faulty).await.is_err(), failing_write == Some(n), "{calls:?} write {n}");
        }
        assert_eq!(
            (faulty.calls(Calls::Reads), faulty.calls(Calls::Writes), faulty.calls(Calls::Any)),
            (3, 3, 6)
        );
    }
}

#[tokio::test]
async fn every_call_of_an_operation_can_be_made_to_fail() {
    async fn operation(store: &dyn ItemStore) -> Result<(), StoreError> {
        for _ in 0..3 {
            add(store).await?;
        }
        Ok(())
    }
    for fault in Fault::ALL {
        let mut tried = 0;
        for n in 0.. {
            let (memory, faulty) = stores(FaultPlan::nth(n, Calls::Any, fault));
            let result = operation(&faulty).await;
            if faulty.injected() == 0 {
                assert_eq!(result, Ok(()));
                break;
            }
            assert!(result.is_err());
            let applied = i64::try_from(n).unwrap() + i64::from(fault == Fault::AfterUnknown);
            assert_eq!(count(memory.as_ref()).await, applied, "{fault:?} at {n}");
            tried += 1;
        }
        assert_eq!(tried, 3);
    }
}

#[tokio::test]
async fn an_outage_ends() {
    let (_, faulty) = stores(FaultPlan::during(1..4, Calls::Any, Fault::Before));
    let mut fared = Vec::new();
    for _ in 0..5 {
        fared.push(add(&faulty).await.is_ok());
    }
    assert_eq!(fared, [true, false, false, false, true]);
    faulty.set_plan(FaultPlan::nth(0, Calls::Any, Fault::Before));
    assert_eq!((faulty.calls(Calls::Any), faulty.injected()), (0, 0));
    assert!(add(&faulty).await.is_err());
}

#[tokio::test]
async fn one_seed_makes_one_run() {
    async fn run(seed: u64) -> Vec<Option<bool>> {
        let (_, faulty) = stores(FaultPlan::seeded(seed, 300));
        let mut fared = Vec::new();
        for _ in 0..400 {
            fared.push(match add(&faulty).await {
                Ok(_) => None,
                Err(error) => Some(matches!(error, StoreError::OutcomeUnknown(_))),
            });
        }
        fared
    }
    let first = run(7).await;
    assert_eq!(first, run(7).await);
    assert_ne!(first, run(8).await);
    let failed = first.iter().flatten().count();
    assert!((80..160).contains(&failed), "{failed} of 400 failed, 120 were asked for");
    assert!(first.contains(&Some(true)) && first.contains(&Some(false)));
}

#[tokio::test(start_paused = true)]
async fn delays_pass_by_the_tests_clock() {
    let plan = || FaultPlan::none().with_delay(3, Duration::from_secs(60));
    let mut took = Vec::new();
    for _ in 0..2 {
        let (_, faulty) = stores(plan());
        let start = tokio::time::Instant::now();
        for _ in 0..10 {
            add(&faulty).await.unwrap();
        }
        took.push(start.elapsed());
    }
    assert_eq!(took[0], took[1]);
    assert!(took[0] > Duration::from_secs(60) && took[0] <= Duration::from_secs(600), "{took:?}");
}
