//! A message of 50 MB passes in bounded memory, both ways.

use std::{process::Command, sync::Arc};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use puro_api::model::Part;
use puro_blob::{
    BlobConfig, Blobs, Piece,
    store::{DiskConfig, DiskStore},
};

use crate::rig::message;

const DIRECTORY: &str = "PURO_BLOB_TEST_LARGE_DIRECTORY";
const CHUNKS: u64 = 800;
const GROWTH_MAX_KB: u64 = 30_000;

/// The most memory that this process has ever had resident, in KB.
fn peak_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The child: alone in its process, so that its memory is its own.
#[tokio::test(flavor = "multi_thread")]
async fn child() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let disk = DiskStore::open(directory.as_ref(), &DiskConfig::default()).unwrap();
    let blobs = Blobs::new(Arc::new(disk), BlobConfig::default());
    // 64 KiB each; every second one compresses, so that both ways through a frame are long.
    let chunk = |n: u64| message(65_536, n).slice(..65_536);
    let before = peak_kb();
    let pieces = stream::iter(0..CHUNKS).map(|n| Ok(Piece { chunk: chunk(n), finish: None }));
    let finish = Piece { chunk: Bytes::new(), finish: Some(CHUNKS * 65_536) };
    let location = blobs.store(pieces.chain(stream::iter([Ok(finish)]))).await.unwrap();
    assert_eq!(location.size_bytes(), CHUNKS * 65_536);
    let mut chunks = blobs.read(&location, Part::Message).await.unwrap();
    let (mut checksum, mut octets) = (0, 0);
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.unwrap();
        octets += chunk.len() as u64;
        checksum = crc32c::crc32c_append(checksum, &chunk);
    }
    assert_eq!(octets, CHUNKS * 65_536);
    assert_eq!(checksum, (0..CHUNKS).fold(0, |checksum, n| crc32c::crc32c_append(checksum, &chunk(n))));
    let growth = peak_kb() - before;
    assert!(growth < GROWTH_MAX_KB, "{growth} KB for a message of 52 MB");
    println!("grew by {growth} KB");
}

#[test]
fn fifty_megabytes_pass_in_bounded_memory() {
    let directory = tempfile::tempdir().unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "large::child", "--nocapture"])
        .env(DIRECTORY, directory.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("grew by"),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
