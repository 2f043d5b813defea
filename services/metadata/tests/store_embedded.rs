//! What is particular to the embedded store: its lock, its groups, its start.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panic")]

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use puro_metadata::store::{
    Condition, Consistency, Item, ItemStore, Key, PutCall, Table, Update, UpdateCall, Value,
    embedded::{EmbeddedOptions, EmbeddedStore, OpenError},
};

const FOLDER: &str = "PURO_TEST_LOCK_FOLDER";

fn open(folder: &Path) -> Result<EmbeddedStore, OpenError> {
    EmbeddedStore::open(folder, EmbeddedOptions::default())
}

fn key(partition: &str) -> Key {
    Key { partition: partition.into(), sort: String::new() }
}

fn item(n: i64) -> Item {
    Item::from([("n".to_owned(), Value::Number(n))])
}

async fn put(store: &EmbeddedStore, partition: &str, n: i64) {
    store.put(Table::User, key(partition), item(n), Condition::default()).await.unwrap();
}

async fn read(store: &EmbeddedStore, partition: &str) -> Option<Item> {
    store.get(Table::User, &key(partition), Consistency::Strong).await.unwrap()
}

#[tokio::test]
async fn a_second_store_on_the_directory_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path()).unwrap();
    let refused = open(folder.path()).unwrap_err();
    assert!(matches!(&refused, OpenError::InUse(at) if at == folder.path()), "{refused:?}");
    assert!(refused.to_string().contains("in use by another process"), "{refused}");
    put(&first, "a", 1).await;
    drop(first);
    assert_eq!(read(&open(folder.path()).unwrap(), "a").await, Some(item(1)));
}

#[test]
#[ignore = "the child that the test below starts"]
fn child() {
    let folder = std::env::var_os(FOLDER).expect("only the lock test starts this");
    let _store = open(Path::new(&folder)).unwrap();
    println!("open");
    // Until the parent closes its end.
    let _ = std::io::stdin().read_line(&mut String::new());
}

#[test]
fn another_process_is_refused_until_the_first_has_ended() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "child", "--nocapture"])
        .env(FOLDER, folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("open")), "the child did not open the store");
    assert!(matches!(open(folder.path()), Err(OpenError::InUse(_))));
    child.kill().unwrap();
    child.wait().unwrap();
    open(folder.path()).unwrap();
}

#[tokio::test]
async fn writes_that_wait_share_a_commit() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(open(folder.path()).unwrap());
    let before = store.stats();
    // On one thread all of them are queued before any can be answered: the first may go alone.
    let tasks: Vec<_> = (0..500)
        .map(|n| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { put(&store, &format!("p{n}"), n).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let stats = store.stats();
    assert_eq!(stats.writes - before.writes, 500);
    let commits = stats.commits - before.commits;
    assert!((1..100).contains(&commits), "{commits} commits for 500 writes that waited together");
}

#[tokio::test]
async fn what_changes_nothing_costs_no_fsync() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    put(&store, "a", 1).await;
    let before = store.stats();
    put(&store, "a", 1).await;
    store.delete(Table::User, key("none"), Condition::default()).await.unwrap();
    store.update(Table::User, key("a"), Update::default(), Condition::default()).await.unwrap();
    assert_eq!((store.stats().commits, store.stats().writes), (before.commits, before.writes + 3));
}

#[tokio::test]
async fn a_caller_that_gives_up_harms_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(open(folder.path()).unwrap());
    for n in 0..50 {
        let abandoned = {
            let store = Arc::clone(&store);
            tokio::spawn(async move { put(&store, "abandoned", n).await })
        };
        tokio::task::yield_now().await;
        abandoned.abort();
    }
    // More than the queue's length would show places that were not given back.
    let small = EmbeddedOptions { queue_length: 4, ..EmbeddedOptions::default() };
    let other = tempfile::tempdir().unwrap();
    let narrow = Arc::new(EmbeddedStore::open(other.path(), small).unwrap());
    for n in 0..20 {
        let abandoned = {
            let store = Arc::clone(&narrow);
            tokio::spawn(async move { put(&store, "abandoned", n).await })
        };
        tokio::task::yield_now().await;
        abandoned.abort();
    }
    put(&store, "kept", 1).await;
    put(&narrow, "kept", 1).await;
    assert_eq!(read(&store, "kept").await, Some(item(1)));
    assert_eq!(read(&narrow, "kept").await, Some(item(1)));
}

#[tokio::test]
async fn a_start_that_was_cut_short_is_begun_again() {
    let folder = tempfile::tempdir().unwrap();
    // What a kill in the middle of the first start leaves behind.
    fs::create_dir_all(folder.path().join("creating/keyspaces/7")).unwrap();
    fs::write(folder.path().join("creating/0.jnl"), b"half").unwrap();
    fs::write(folder.path().join("creating/version"), b"").unwrap();
    let store = open(folder.path()).unwrap();
    put(&store, "a", 1).await;
    drop(store);
    assert!(!folder.path().join("creating").exists());
    assert_eq!(read(&open(folder.path()).unwrap(), "a").await, Some(item(1)));
}

#[tokio::test]
async fn more_than_fits_in_memory_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let options = EmbeddedOptions { memtable_bytes: 256 * 1024, ..EmbeddedOptions::default() };
    let store = Arc::new(EmbeddedStore::open(folder.path(), options).unwrap());
    let large = |n: i64| Item::from([("o".to_owned(), Value::Text(format!("{n:04}").repeat(2048)))]);
    for round in 0..8 {
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..64 {
            let store = Arc::clone(&store);
            tasks.spawn(async move {
                let put =
                    store.put(Table::User, key(&format!("p{n}")), large(round + n), Condition::default());
                put.await.unwrap();
            });
        }
        tasks.join_all().await;
    }
    drop(store);
    let store = EmbeddedStore::open(folder.path(), options).unwrap();
    for n in 0..64 {
        assert_eq!(read(&store, &format!("p{n}")).await, Some(large(7 + n)));
    }
    let page = store.scan(Table::User, None, 0).await.unwrap();
    assert_eq!(page.items.len(), 64);
}

#[test]
fn a_file_in_place_of_the_directory_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, b"").unwrap();
    let error = open(&file).unwrap_err();
    assert!(matches!(error, OpenError::Folder { .. }), "{error:?}");
    assert!(error.to_string().contains("file"), "{error}");
}

#[tokio::test]
async fn a_put_and_the_update_behind_it_are_one_commit() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    let before = store.stats();
    let condition = Condition::default;
    let put = PutCall { table: Table::User, key: key("a"), item: item(1), condition: condition() };
    let update = Update { add: vec![("n".to_owned(), 2)], ..Update::default() };
    let update = UpdateCall { table: Table::User, key: key("b"), update, condition: condition() };
    assert_eq!(store.put_then_update(put, update).await, Ok(Ok(item(2))));
    let after = store.stats();
    assert_eq!((after.writes - before.writes, after.commits - before.commits), (2, 1));
    drop(store);
    let store = open(folder.path()).unwrap();
    assert_eq!((read(&store, "a").await, read(&store, "b").await), (Some(item(1)), Some(item(2))));
}
