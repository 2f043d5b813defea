use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use tempfile::TempDir;

use super::*;
use crate::store::contract::{self, list, octets, read};

mod crash;
mod full;

fn small_volumes() -> DiskConfig {
    DiskConfig { volume_bytes: 64 * 1024 }
}

fn open(directory: &TempDir) -> DiskStore {
    reopen(directory.path(), &small_volumes())
}

/// Opens a store that this process may just have closed. A command started by another test holds copies of all open
/// files, and with them the lock, until its program runs: that is waited for.
fn try_reopen(directory: &Path, config: &DiskConfig) -> Result<DiskStore, OpenError> {
    let given_up = Instant::now() + Duration::from_secs(20);
    loop {
        match DiskStore::open(directory, config) {
            Err(OpenError::InUse(_)) if Instant::now() < given_up => std::thread::yield_now(),
            outcome => return outcome,
        }
    }
}

fn reopen(directory: &Path, config: &DiskConfig) -> DiskStore {
    try_reopen(directory, config).unwrap()
}

async fn put(store: &DiskStore, octets: &Bytes) -> String {
    store.put(vec![octets.clone()]).await.unwrap().object_name
}

fn files(directory: &Path) -> usize {
    fs::read_dir(directory).unwrap().count()
}

async fn contract_with(config: DiskConfig) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    contract::run(Box::new(move || Arc::new(reopen(&path, &config)))).await;
}

#[tokio::test]
async fn contract_in_small_volumes() {
    contract_with(small_volumes()).await;
}

#[tokio::test]
async fn contract_in_large_volumes() {
    contract_with(DiskConfig::default()).await;
}

#[test]
fn a_second_process_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let first = open(&directory);
    // The lock belongs to the open file, so that a second store stands for a second process.
    assert!(matches!(DiskStore::open(directory.path(), &small_volumes()), Err(OpenError::InUse(_))));
    drop(first);
    open(&directory);
}

#[tokio::test]
async fn a_volume_goes_with_its_last_segment() {
    let directory = tempfile::tempdir().unwrap();
    let volumes = directory.path().join("volumes");
    let store = open(&directory);
    let mut names = Vec::new();
    for n in 0..30 {
        names.push(put(&store, &octets(10_000, n)).await);
    }
    let before = files(&volumes);
    assert!(before >= 5, "{before} volumes");
    store.delete(&names[..15]).await.unwrap();
    assert!(files(&volumes) <= before - 2, "deleted while open");
    drop(store);
    let store = open(&directory);
    for (name, n) in names[15..].iter().zip(15..) {
        assert_eq!(read(&store, name, 0..10_000).await.unwrap(), octets(10_000, n));
    }
    store.delete(&names).await.unwrap();
    assert_eq!(files(&volumes), 0, "deleted after a restart");
}

#[tokio::test]
async fn a_volume_whose_removal_a_crash_cut_short_goes_when_it_is_listed() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory);
    let name = put(&store, &octets(1000, 1)).await;
    drop(store);
    // Seals it.
    drop(open(&directory));
    let path = volume::path(&directory.path().join("volumes"), 1);
    volume::mark(&File::options().write(true).open(&path).unwrap(), 0, record::State::Dead).unwrap();
    let store = open(&directory);
    assert!(path.exists());
    assert_eq!(list(&store, 10).await, []);
    assert!(!path.exists());
    assert_ne!(put(&store, &octets(1000, 1)).await, name);
}

#[tokio::test]
async fn deleting_gives_blocks_back_at_once() {
    use std::os::unix::fs::MetadataExt;
    let directory = tempfile::tempdir().unwrap();
    let store = DiskStore::open(directory.path(), &DiskConfig::default()).unwrap();
    let name = put(&store, &octets(8_000_000, 1)).await;
    let kept = put(&store, &octets(1000, 2)).await;
    let path = volume::path(&directory.path().join("volumes"), 1);
    let before = fs::metadata(&path).unwrap().blocks();
    store.delete(&[name]).await.unwrap();
    let freed = (before - fs::metadata(&path).unwrap().blocks()) * 512;
    assert!(freed >= 7_900_000, "{freed} octets freed");
    assert_eq!(read(&store, &kept, 0..1000).await.unwrap(), octets(1000, 2));
}

#[tokio::test]
async fn what_a_crash_left_unfinished_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory);
    let mut writer = store.begin().await.unwrap();
    writer.write(octets(300_000, 1)).await.unwrap();
    // As a killed process: nothing is dropped.
    std::mem::forget(writer);
    drop(store);
    let large = directory.path().join("large");
    assert_eq!(files(&large), 1);
    let store = open(&directory);
    assert_eq!(files(&large), 0);
    let name = store.begin().await.unwrap().finish().await.unwrap().object_name;
    assert_ne!(name, "l0000000001", "its number is not given again");
}

#[tokio::test]
async fn a_failed_sync_ends_its_volume_and_nothing_of_the_write_is_seen() {
    let directory = tempfile::tempdir().unwrap();
    let broken = Arc::new(AtomicBool::new(false));
    let flag = broken.clone();
    let sync = files::FileSync(Arc::new(move |file| {
        if flag.load(Relaxed) { Err(io::Error::other("injected")) } else { file.sync_data() }
    }));
    let store = DiskStore::open_with(directory.path(), &small_volumes(), sync).unwrap();
    let kept = put(&store, &octets(1000, 1)).await;
    broken.store(true, Relaxed);
    let failed = store.put(vec![octets(1000, 2)]).await;
    assert!(matches!(failed, Err(StoreError::OutcomeUnknown(_))), "{failed:?}");
    let mut writer = store.begin().await.unwrap();
    writer.write(octets(1000, 3)).await.unwrap();
    assert!(matches!(writer.finish().await, Err(StoreError::Unavailable(_))));
    assert_eq!(list(&store, 100).await, [(kept.clone(), 1000)]);
    broken.store(false, Relaxed);
    let after = put(&store, &octets(1000, 4)).await;
    assert_ne!(kept[..11], after[..11], "another volume");
    drop(store);
    let store = open(&directory);
    assert_eq!(list(&store, 100).await, [(kept.clone(), 1000), (after.clone(), 1000)]);
    assert_eq!(read(&store, &kept, 0..1000).await.unwrap(), octets(1000, 1));
    assert_eq!(read(&store, &after, 0..1000).await.unwrap(), octets(1000, 4));
}
