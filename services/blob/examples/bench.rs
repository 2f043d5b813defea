//! How fast messages are stored on disk, without gRPC: `cargo run --release -p puro-blob --example bench [DIRECTORY]`.
//!
//! Prints, for each size and number of clients, messages and megabytes a second, puts a message, CPU time a message,
//! and what a message takes on disk.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use bytes::Bytes;
use futures_util::{future::try_join_all, stream};
use puro_blob::{
    BlobConfig, Blobs, Piece,
    store::{DiskConfig, DiskStore, Metered},
};

const RUN: Duration = Duration::from_secs(2);
const CHUNK: usize = 64 * 1024;

#[tokio::main]
async fn main() -> Result<()> {
    let directory = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    println!(
        "{:>9} {:>7} {:>5} {:>9} {:>8} {:>9} {:>11} {:>9}",
        "octets", "clients", "level", "msgs/s", "MB/s", "puts/msg", "CPU µs/msg", "on disk"
    );
    for size in [4 << 10, 64 << 10, 500_000, 5_000_000] {
        for (clients, level) in [(1, 1), (16, 1), (64, 1), (16, 3)] {
            run(&directory, size, clients, level).await?;
        }
    }
    Ok(())
}

async fn run(directory: &std::path::Path, size: usize, clients: usize, level: i32) -> Result<()> {
    let directory = tempfile::tempdir_in(directory)?;
    let disk = DiskStore::open(directory.path(), &DiskConfig::default())?;
    let store = Metered::new(Arc::new(disk));
    let meter = store.meter();
    let blobs = Blobs::new(Arc::new(store), BlobConfig { zstd_level: level, ..BlobConfig::default() });
    let message = message(size);
    let (started, cpu_before) = (Instant::now(), cpu()?);
    let tasks = (0..clients).map(|_| {
        let (blobs, message) = (blobs.clone(), message.clone());
        tokio::spawn(async move {
            let mut stored = 0_u32;
            while started.elapsed() < RUN {
                blobs.store(stream::iter(pieces(&message))).await?;
                stored += 1;
            }
            anyhow::Ok(stored)
        })
    });
    let stored = try_join_all(tasks).await?.into_iter().sum::<Result<u32>>()?;
    let (took, cpu) = (started.elapsed().as_secs_f64(), (cpu()? - cpu_before).as_secs_f64());
    let (count, counts) = (f64::from(stored), meter.counts());
    #[allow(clippy::cast_precision_loss)] // For people.
    let (size_mb, puts, put_bytes) = (size as f64 / 1e6, counts.puts as f64, counts.put_bytes as f64);
    println!(
        "{size:>9} {clients:>7} {level:>5} {:>9.0} {:>8.1} {:>9.3} {:>11.1} {:>8.0}%",
        count / took,
        count * size_mb / took,
        puts / count,
        cpu * 1e6 / count,
        put_bytes / count / size_mb / 1e4,
    );
    Ok(())
}

fn pieces(message: &Bytes) -> Vec<Result<Piece, puro_api::Failure>> {
    let chunks = message.chunks(CHUNK).map(|chunk| Piece {
        chunk: message.slice_ref(chunk),
        finish: None,
        label: Bytes::new(),
    });
    let mut pieces: Vec<_> = chunks.collect();
    if let Some(last) = pieces.last_mut() {
        last.finish = Some(message.len() as u64);
    }
    pieces.into_iter().map(Ok).collect()
}

/// Header fields, some text, and the rest as an attachment in base64 would be: noise in 64 characters.
fn message(size: usize) -> Bytes {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut message = Vec::with_capacity(size);
    for n in 0..20 {
        message.extend_from_slice(
            format!("X-Field-{n}: by mail.example.org with ESMTPS id {}\r\n", n * 7919).as_bytes(),
        );
    }
    message.extend_from_slice(b"\r\n");
    for n in 0..20 {
        message.extend_from_slice(format!("The quick brown fox jumps over {n} lazy dogs.\r\n").as_bytes());
    }
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    while message.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        message.extend(state.to_le_bytes().map(|octet| ALPHABET[usize::from(octet % 64)]));
        if message.len() % 78 < 8 {
            message.extend_from_slice(b"\r\n");
        }
    }
    message.truncate(size);
    message.into()
}

/// User and system time of this process (proc_pid_stat(5), fields 14 and 15, in hundredths of a second).
fn cpu() -> Result<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit(')').next().context("no fields")?.split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).map(str::parse::<u64>).sum::<Result<_, _>>()?;
    Ok(Duration::from_millis(ticks * 10))
}
