//! A full disk, and one that turns read-only: `Unavailable` while it lasts, and recovery without a restart.
//!
//! The tests run on small file systems in memory, mounted in a mount namespace of their own: each starts itself again
//! under `unshare -m` as root, and under `unshare -Urm` (a user namespace) otherwise. Where user namespaces are not
//! allowed (`sysctl kernel.apparmor_restrict_unprivileged_userns=0` allows them on Ubuntu), run the tests as root.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panic")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use puro_metadata::store::{
    Check, Condition, Consistency, Item, ItemStore, Key, StoreError, Table, Update, Value,
    embedded::{EmbeddedOptions, EmbeddedStore},
};

const FOLDER: &str = "PURO_TEST_DISK_FOLDER";
/// More than any recovery takes; no test waits for it to pass.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs an ignored test of this file in a mount namespace of its own.
fn in_namespace(test: &str) {
    let folder = tempfile::tempdir().unwrap();
    let is_root = fs::metadata("/proc/self").map(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0).unwrap();
    let output = Command::new("unshare")
        .arg(if is_root { "-m" } else { "-Urm" })
        .arg(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", test, "--nocapture"])
        .env(FOLDER, folder.path())
        .output()
        .expect("`unshare` (util-linux) is needed");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{test} failed, or no mount namespace could be made (see the head of this file):\n{text}{}",
        String::from_utf8_lossy(&output.stderr),
    );
}

#[test]
fn a_full_disk_is_survived() {
    in_namespace("inside_full_disk");
}

#[test]
fn a_failure_in_the_background_is_survived() {
    in_namespace("inside_background");
}

#[test]
fn a_read_only_disk_is_survived() {
    in_namespace("inside_read_only");
}

#[test]
fn a_first_start_on_a_full_disk_can_be_repeated() {
    in_namespace("inside_first_start");
}

struct Disk(PathBuf);

impl Disk {
    fn mount(size: &str) -> Self {
        let folder = std::env::var_os(FOLDER).expect("only the tests above start this");
        let disk = Self(PathBuf::from(folder));
        disk.run(&["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]);
        disk
    }

    /// Puts space aside, to be given back by removing the file. (A remount that makes the disk larger is not
    /// allowed in a user namespace.)
    fn reserve(&self, name: u64, bytes: usize) {
        fs::write(self.0.join(format!("reserve{name}")), vec![0; bytes]).unwrap();
    }

    fn give_back(&self, name: u64) {
        fs::remove_file(self.0.join(format!("reserve{name}"))).unwrap();
    }

    fn run(&self, arguments: &[&str]) {
        let status = Command::new("mount").args(arguments).arg(&self.0).status().unwrap();
        assert!(status.success(), "mount {arguments:?} failed: run as root, or allow user namespaces");
    }

    fn store(&self) -> PathBuf {
        self.0.join("data")
    }

    /// Takes up all space that is left.
    fn fill(&self) {
        let mut ballast = fs::File::create(self.0.join("ballast")).unwrap();
        let zeroes = [0; 4096];
        while std::io::Write::write_all(&mut ballast, &zeroes).is_ok() {}
    }

    fn empty(&self) {
        fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

fn open(folder: &Path, memtable_bytes: u64) -> Arc<EmbeddedStore> {
    let options = EmbeddedOptions { memtable_bytes, ..EmbeddedOptions::default() };
    Arc::new(EmbeddedStore::open(folder, options).unwrap())
}

fn key(n: u64) -> Key {
    Key { partition: "p".into(), sort: format!("{n:08}") }
}

fn body(n: u64) -> Item {
    Item::from([("b".to_owned(), Value::Text(format!("{n:08}").repeat(500)))])
}

async fn put(store: &EmbeddedStore, n: u64) -> Result<(), StoreError> {
    store.put(Table::MetaMail, key(n), body(n), Condition(vec![Check::Absent])).await
}

/// Writes the numbers from `from` in groups of 32 until one is refused; returns those that were answered, and the
/// refusals by number.
async fn write_until_refused(store: &Arc<EmbeddedStore>, from: u64) -> (Vec<u64>, Vec<(u64, StoreError)>) {
    let (mut kept, mut refused) = (Vec::new(), Vec::new());
    for base in (from..).step_by(32) {
        let tasks: Vec<_> = (base..base + 32)
            .map(|n| {
                let store = Arc::clone(store);
                tokio::spawn(async move { (n, put(&store, n).await) })
            })
            .collect();
        for task in tasks {
            match task.await.unwrap() {
                (n, Ok(())) => kept.push(n),
                (n, Err(error)) => refused.push((n, error)),
            }
        }
        if !refused.is_empty() {
            break;
        }
    }
    (kept, refused)
}

async fn all_there(store: &EmbeddedStore, kept: &[u64]) {
    for n in kept {
        let found = store.get(Table::MetaMail, &key(*n), Consistency::Strong).await;
        assert_eq!(found, Ok(Some(body(*n))), "{n} was answered");
    }
}

/// Repeats a write until it is taken. The store sees by itself that the fault is over: within its retry interval.
async fn until_taken(store: &EmbeddedStore, n: u64) {
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = put(store, n).await {
        assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
        assert!(Instant::now() < deadline, "the store does not recover: {error:?}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
#[ignore = "needs the namespace that the tests above make"]
async fn inside_full_disk() {
    let disk = Disk::mount("40m");
    (1..=3).for_each(|round| disk.reserve(round, 8 << 20));
    let store = open(&disk.store(), 1 << 30);
    let (mut kept, mut next) = (Vec::new(), 0);
    for round in 1..=3 {
        let (written, refused) = write_until_refused(&store, next).await;
        assert!(round > 1 || written.len() > 500, "{} writes in 16 MB", written.len());
        kept.extend(&written);
        next = kept.last().unwrap_or(&0) + 100;
        // Nothing was applied, and the store knows it: the group was cut off when the journal was opened again.
        for (n, error) in &refused {
            assert!(matches!(error, StoreError::Unavailable(_)), "{n}: {error:?}");
            let found = store.get(Table::MetaMail, &key(*n), Consistency::Strong).await;
            assert_eq!(found, Ok(None), "{n} was refused");
        }
        disk.fill();
        // Reads go on, writes are refused.
        all_there(&store, &kept).await;
        assert!(matches!(put(&store, next).await, Err(StoreError::Unavailable(_))));
        let update = Update { add: vec![("n".into(), 1)], ..Update::default() };
        let user = Key { partition: "u".into(), sort: String::new() };
        let refused = store.update(Table::User, user, update, Condition::default()).await;
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");

        disk.give_back(round);
        disk.empty();
        until_taken(&store, next).await;
        kept.push(next);
        next += 1;
        all_there(&store, &kept).await;
    }
    assert!(store.stats().reopens >= 3, "{:?}", store.stats());
    drop(store);
    all_there(&open(&disk.store(), 1 << 30), &kept).await;
}

/// The database's own thread fails, not a commit: it writes sorted runs into new files, and there are no inodes left.
#[tokio::test]
#[ignore = "needs the namespace that the tests above make"]
async fn inside_background() {
    let disk = Disk::mount("256m,nr_inodes=300");
    let store = open(&disk.store(), 256 * 1024);
    let mut kept = write_some(&store, 0).await;
    let files: Vec<_> =
        (0..).map(|n| disk.0.join(format!("file{n}"))).take_while(|at| fs::write(at, b"").is_ok()).collect();
    assert!(!files.is_empty());
    let (written, refused) = write_until_refused(&store, 1000).await;
    kept.extend(&written);
    for (n, error) in &refused {
        assert!(matches!(error, StoreError::Unavailable(_)), "{n}: {error:?}");
    }
    assert!(store.stats().reopens >= 1, "{:?}", store.stats());
    all_there(&store, &kept).await;

    files.iter().for_each(|file| fs::remove_file(file).unwrap());
    let next = kept.last().unwrap() + 1000;
    until_taken(&store, next).await;
    kept.push(next);
    kept.extend(write_some(&store, next + 1).await);
    all_there(&store, &kept).await;
    drop(store);
    all_there(&open(&disk.store(), 256 * 1024), &kept).await;
}

async fn write_some(store: &EmbeddedStore, from: u64) -> Vec<u64> {
    let numbers: Vec<u64> = (from..from + 200).collect();
    for n in &numbers {
        put(store, *n).await.unwrap();
    }
    numbers
}

#[tokio::test]
#[ignore = "needs the namespace that the tests above make"]
async fn inside_read_only() {
    let disk = Disk::mount("32m");
    let store = open(&disk.store(), 1 << 30);
    let mut kept = write_some(&store, 0).await;
    // A file system cannot be made read-only while a file is open for writing. A read-only bind mount works for
    // whatever is opened from now on; the full disk makes the store close its files.
    let data = disk.store();
    bind_read_only(&data, true);
    disk.fill();
    let refused = put(&store, 10_000).await;
    assert!(
        matches!(refused, Err(StoreError::Unavailable(_) | StoreError::OutcomeUnknown(_))),
        "{refused:?}"
    );
    assert!(matches!(put(&store, 10_001).await, Err(StoreError::Unavailable(_))));
    // A failure never looks like emptiness.
    let read = store.get(Table::MetaMail, &key(0), Consistency::Strong).await;
    assert!(matches!(read, Err(StoreError::Unavailable(_))) || read == Ok(Some(body(0))), "{read:?}");

    disk.empty();
    bind_read_only(&data, false);
    // Reads come back by themselves, without a write to wake the store.
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = store.get(Table::MetaMail, &key(0), Consistency::Strong).await {
        assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
        assert!(Instant::now() < deadline, "the store does not come back: {error:?}");
        tokio::task::yield_now().await;
    }
    until_taken(&store, 20_000).await;
    kept.push(20_000);
    all_there(&store, &kept).await;
}

fn bind_read_only(folder: &Path, on: bool) {
    let run = |program: &str, arguments: &[&str]| {
        let status = Command::new(program).args(arguments).arg(folder).status().unwrap();
        assert!(status.success(), "{program} {arguments:?} failed");
    };
    if on {
        run("mount", &["--bind", folder.to_str().unwrap()]);
        run("mount", &["-o", "remount,bind,ro"]);
    } else {
        run("umount", &["--lazy"]);
    }
}

#[test]
#[ignore = "needs the namespace that the tests above make"]
fn inside_first_start() {
    let disk = Disk::mount("4m");
    disk.fill();
    let error = EmbeddedStore::open(&disk.store(), EmbeddedOptions::default()).unwrap_err();
    assert!(!error.to_string().is_empty());
    disk.empty();
    EmbeddedStore::open(&disk.store(), EmbeddedOptions::default()).unwrap();
}
