//! The contract suite on every adapter and wrapper that needs no server.

#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

use std::sync::Arc;

use puro_metadata::store::{
    ItemStore, contract,
    counted::CountedStore,
    embedded::{EmbeddedOptions, EmbeddedStore},
    faulty::{FaultPlan, FaultyStore},
    memory::MemoryStore,
    metered::MeteredStore,
};
use tempfile::TempDir;

fn memory() -> Arc<dyn ItemStore> {
    Arc::new(MemoryStore::new())
}

fn embedded() -> (TempDir, Arc<dyn ItemStore>) {
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(folder.path(), EmbeddedOptions::default()).unwrap();
    (folder, Arc::new(store))
}

#[tokio::test]
async fn memory_keeps_the_contract() {
    contract::suite(memory()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn memory_keeps_the_contract_on_many_threads() {
    contract::suite(memory()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn embedded_keeps_the_contract() {
    let (_folder, store) = embedded();
    contract::suite(store).await;
}

#[tokio::test]
async fn embedded_keeps_the_contract_on_one_thread() {
    let (_folder, store) = embedded();
    contract::suite(store).await;
}

#[tokio::test]
async fn metered_memory_keeps_the_contract() {
    contract::suite(Arc::new(MeteredStore::new(memory()))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn metered_embedded_keeps_the_contract() {
    let (_folder, store) = embedded();
    contract::suite(Arc::new(MeteredStore::new(store))).await;
}

#[tokio::test]
async fn counted_memory_keeps_the_contract() {
    contract::suite(Arc::new(CountedStore::new(memory()))).await;
}

#[tokio::test]
async fn faulty_without_faults_keeps_the_contract() {
    contract::suite(Arc::new(FaultyStore::new(memory(), FaultPlan::none()))).await;
}
