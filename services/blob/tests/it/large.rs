//! A large message passes in bounded memory, both ways.

use std::{env, process::Command, sync::Arc};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use puro_api::model::Part;
use puro_blob::{
    BlobConfig, Blobs, Piece,
    store::{DiskConfig, DiskStore, SegmentStore},
};

use crate::rig::message;

const DIRECTORY: &str = "PURO_BLOB_TEST_LARGE_DIRECTORY";
const CHUNKS: &str = "PURO_BLOB_TEST_LARGE_CHUNKS";

/// The most memory that this process has ever had resident, in KB.
fn peak_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The child: alone in its process, so that its memory is its own.
#[tokio::test(flavor = "multi_thread")]
async fn child() {
    let Ok(chunks_all) = env::var(CHUNKS) else { return };
    let chunks_all: u64 = chunks_all.parse().unwrap();
    let store: Arc<dyn SegmentStore> = match env::var_os(DIRECTORY) {
        Some(directory) => Arc::new(DiskStore::open(directory.as_ref(), &DiskConfig::default()).unwrap()),
        None => Arc::new(crate::s3::store().await),
    };
    let config = BlobConfig { max_message_bytes: u64::MAX, ..BlobConfig::default() };
    let blobs = Blobs::new(store, config);
    // 64 KiB each; every second one compresses, so that both ways through a frame are long.
    let chunk = |n: u64| message(65_536, n).slice(..65_536);
    let before = peak_kb();
    let pieces =
        stream::iter(0..chunks_all).map(|n| Ok(Piece { chunk: chunk(n), finish: None, label: Bytes::new() }));
    let finish = Piece { chunk: Bytes::new(), finish: Some(chunks_all * 65_536), label: Bytes::new() };
    let location = blobs.store(pieces.chain(stream::iter([Ok(finish)]))).await.unwrap();
    assert_eq!(location.size_bytes(), chunks_all * 65_536);
    let mut chunks = blobs.read(&location, Part::Message).await.unwrap();
    let (mut checksum, mut octets) = (0, 0);
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.unwrap();
        octets += chunk.len() as u64;
        checksum = crc32c::crc32c_append(checksum, &chunk);
    }
    assert_eq!(octets, chunks_all * 65_536);
    assert_eq!(checksum, (0..chunks_all).fold(0, |checksum, n| crc32c::crc32c_append(checksum, &chunk(n))));
    let growth = peak_kb() - before;
    println!("grew by {growth} KB");
}

/// Sends a message of so many chunks through a process of its own, and returns by how many KB that grew.
fn growth_kb(chunks: u64, directory: Option<&std::path::Path>) -> u64 {
    let mut child = Command::new(env::current_exe().unwrap());
    child.args(["--exact", "large::child", "--nocapture"]).env(CHUNKS, chunks.to_string());
    child.envs(directory.map(|directory| (DIRECTORY, directory)));
    let output = child.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let said = text.split_once("grew by ").and_then(|(_, rest)| rest.split_once(" KB"));
    let said = said.filter(|_| output.status.success());
    let said = said.unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)));
    said.0.parse().unwrap()
}

#[test]
fn fifty_megabytes_pass_in_bounded_memory() {
    let directory = tempfile::tempdir().unwrap();
    let growth = growth_kb(800, Some(directory.path()));
    assert!(growth < 30_000, "{growth} KB for a message of 52 MB");
}

#[test]
fn two_hundred_megabytes_pass_to_s3_and_back_in_a_few_parts_of_eight() {
    let growth = growth_kb(3200, None);
    assert!(growth < 50_000, "{growth} KB for a message of 210 MB, 100 MB of it noise");
}
