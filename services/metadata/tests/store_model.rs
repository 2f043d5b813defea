//! Random operations do the same on the memory store and on the embedded one, restarts included.

#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

#[path = "model/steps.rs"]
mod steps;

use std::sync::Arc;

use proptest::prelude::*;
use puro_metadata::store::{
    Table,
    embedded::{EmbeddedOptions, EmbeddedStore},
    memory::MemoryStore,
};

use crate::steps::{Step, everything, step, take};

fn open(folder: &std::path::Path) -> EmbeddedStore {
    EmbeddedStore::open(folder, EmbeddedOptions::default()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn embedded_does_what_memory_does(steps in prop::collection::vec(step(), 1..120)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let memory = MemoryStore::new();
            let mut embedded = open(folder.path());
            for step in steps {
                if matches!(step, Step::Restart) {
                    drop(embedded);
                    embedded = open(folder.path());
                }
                let expected = take(&memory, step.clone()).await;
                prop_assert_eq!(take(&embedded, step.clone()).await, expected, "after {:?}", step);
            }
            drop(embedded);
            let embedded = open(folder.path());
            for table in Table::ALL {
                let expected = everything(&memory, table, 0).await;
                prop_assert_eq!(everything(&embedded, table, 0).await, expected);
            }
            Ok(())
        })?;
    }

    /// Writes that wait together are decided in one group, each seeing the ones before it.
    #[test]
    fn a_group_does_what_one_by_one_does(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let memory = MemoryStore::new();
            let embedded = Arc::new(open(folder.path()));
            let is_write = |step: &Step| matches!(step, Step::Put(..) | Step::Update(..) | Step::Delete(..));
            let mut tasks = Vec::new();
            // On one thread, tasks start in the order in which they were spawned.
            for step in steps.into_iter().filter(is_write) {
                let expected = take(&memory, step.clone()).await;
                let store = Arc::clone(&embedded);
                let task = tokio::spawn(async move { take(store.as_ref(), step).await });
                tasks.push((task, expected));
            }
            for (task, expected) in tasks {
                prop_assert_eq!(task.await.unwrap(), expected);
            }
            for table in Table::ALL {
                let expected = everything(&memory, table, 0).await;
                prop_assert_eq!(everything(embedded.as_ref(), table, 0).await, expected);
            }
            Ok(())
        })?;
    }
}
