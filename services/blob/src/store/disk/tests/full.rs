//! A disk that is full, or read-only, on a real file system made for the test.

use std::process::Command;

use super::*;

const INSIDE: &str = "PURO_BLOB_TEST_OWN_MOUNTS";

/// Says whether this process may mount. If not, runs the test again where it may, and fails if that fails.
fn may_mount(test: &str) -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    assert!(std::env::var_os(INSIDE).is_none(), "not root even in a namespace of its own");
    let name = format!("store::disk::tests::full::{test}");
    let status = Command::new("unshare")
        .args(["-Urm".as_ref(), std::env::current_exe().unwrap().as_os_str()])
        .args(["--exact", &name, "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .expect("the test needs root or unshare(1)");
    assert!(status.success(), "in a namespace of its own: {status}");
    false
}

struct Mount(TempDir);

impl Mount {
    fn new(options: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        run("mount", &["-t", "tmpfs", "-o", options, "tmpfs", directory.path().to_str().unwrap()]);
        Self(directory)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn remount(&self, options: &str) {
        run("mount", &["-o", &format!("remount,{options}"), self.path().to_str().unwrap()]);
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        run("umount", &["--lazy", self.path().to_str().unwrap()]);
    }
}

fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status().unwrap();
    assert!(status.success(), "{program} {arguments:?}: {status}; the test needs a file system of its own");
}

#[tokio::test]
async fn a_full_disk_refuses_keeps_what_it_has_and_recovers() {
    if !may_mount("a_full_disk_refuses_keeps_what_it_has_and_recovers") {
        return;
    }
    let mount = Mount::new("size=2m");
    let config = DiskConfig { volume_bytes: 1 << 20 };
    let store = DiskStore::open(mount.path(), &config).unwrap();
    let mut names = Vec::new();
    let full = loop {
        match store.put(vec![octets(50_000, names.len() as u64)]).await {
            Ok(written) => names.push(written.object_name),
            Err(error) => break error,
        }
    };
    assert!(matches!(full, StoreError::Unavailable(_)), "{full:?}");
    assert!(names.len() >= 30, "{} segments of 50,000 octets fit into 2 MiB", names.len());
    let mut writer = store.begin().await.unwrap();
    let mut outcome = Ok(());
    for n in 0..20 {
        outcome = outcome.and(writer.write(octets(100_000, n)).await);
    }
    assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
    drop(writer);
    let listed: Vec<_> = list(&store, 100).await.into_iter().map(|(name, _)| name).collect();
    assert_eq!(listed, names, "nothing half-visible");
    for (n, name) in names.iter().enumerate() {
        assert_eq!(read(&store, name, 0..50_000).await.unwrap(), octets(50_000, n as u64));
    }
    // Deleting works on a full disk, and what it frees can be used without a restart.
    store.delete(&names[..20]).await.unwrap();
    let new = put(&store, &octets(50_000, 99)).await;
    assert!(!names.contains(&new));
    assert_eq!(read(&store, &new, 0..50_000).await.unwrap(), octets(50_000, 99));
    let mut writer = store.begin().await.unwrap();
    writer.write(octets(300_000, 98)).await.unwrap();
    let large = writer.finish().await.unwrap().object_name;
    drop(store);
    let store = reopen(mount.path(), &config);
    assert_eq!(list(&store, 100).await.len(), names.len() - 20 + 2);
    assert_eq!(read(&store, &large, 0..300_000).await.unwrap(), octets(300_000, 98));
}

#[tokio::test]
async fn a_read_only_file_system_refuses_and_recovers() {
    if !may_mount("a_read_only_file_system_refuses_and_recovers") {
        return;
    }
    let mount = Mount::new("size=8m");
    let store = DiskStore::open(mount.path(), &small_volumes()).unwrap();
    let mut writer = store.begin().await.unwrap();
    writer.write(octets(300_000, 1)).await.unwrap();
    let name = writer.finish().await.unwrap().object_name;
    mount.remount("ro");
    for _ in 0..200 {
        let refused = store.put(vec![octets(100, 1)]).await;
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    }
    assert!(matches!(store.begin().await.err(), Some(StoreError::Unavailable(_))));
    assert!(matches!(store.delete(std::slice::from_ref(&name)).await, Err(StoreError::Unavailable(_))));
    assert_eq!(read(&store, &name, 0..300_000).await.unwrap(), octets(300_000, 1));
    mount.remount("rw");
    let after = put(&store, &octets(100, 2)).await;
    assert_eq!(read(&store, &after, 0..100).await.unwrap(), octets(100, 2));
    assert_eq!(list(&store, 10).await.len(), 2);
}
