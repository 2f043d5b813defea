//! How many durable writes the embedded store takes, and how many fsyncs they cost.
//!
//! ```text
//! cargo run --release -p puro-metadata --example store_bench -- [FOLDER] [SECONDS]
//! ```
//! The folder (default: a temporary one) must be on the disk that is to be measured. Each task does what a delivery
//! does: it puts a `meta_mail` item if absent and adds to a `folder` item.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measuring tool")]

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use puro_metadata::store::{
    Check, Condition, Consistency, Item, ItemStore, Key, Query, Table, Update, Value,
    embedded::{EmbeddedOptions, EmbeddedStore},
};

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let temporary = tempfile::tempdir().unwrap();
    let folder = arguments.next().map_or_else(|| temporary.path().to_owned(), PathBuf::from);
    let seconds = arguments.next().map_or(2, |seconds| seconds.parse().unwrap());
    let opening = Instant::now();
    let store = Arc::new(EmbeddedStore::open(&folder, EmbeddedOptions::default()).unwrap());
    println!("opened in {:?}, {} KB resident", opening.elapsed(), resident_kb());
    println!(
        "{:>6} {:>10} {:>10} {:>12} {:>12}",
        "tasks", "writes/s", "fsyncs/s", "writes/fsync", "mean wait"
    );
    for tasks in [1_u64, 4, 16, 64, 256] {
        measure(&store, tasks, Duration::from_secs(seconds)).await;
    }
    reads(&store).await;
    println!("{} KB resident at the end", resident_kb());
}

#[allow(clippy::cast_precision_loss, reason = "for people")]
async fn measure(store: &Arc<EmbeddedStore>, tasks: u64, length: Duration) {
    let (before, start) = (store.stats(), Instant::now());
    let mut running = tokio::task::JoinSet::new();
    for task in 0..tasks {
        let store = Arc::clone(store);
        running.spawn(async move {
            let mut n = 0_u64;
            while start.elapsed() < length {
                deliver(store.as_ref(), &format!("box{tasks}-{task}"), n).await;
                n += 1;
            }
        });
    }
    running.join_all().await;
    let (after, seconds) = (store.stats(), start.elapsed().as_secs_f64());
    let writes = (after.writes - before.writes) as f64;
    let fsyncs = (after.commits - before.commits) as f64;
    println!(
        "{tasks:>6} {:>10.0} {:>10.0} {:>12.1} {:>9.0} µs",
        writes / seconds,
        fsyncs / seconds,
        writes / fsyncs,
        seconds / writes * tasks as f64 * 1e6,
    );
}

async fn deliver(store: &dyn ItemStore, mailbox: &str, n: u64) {
    let key = Key { partition: mailbox.into(), sort: format!("{n:016}") };
    let item = Item::from([
        ("object_name".to_owned(), Value::Text("3f/0192f0c1-7e55-7c1b-8d3a-0123456789ab".into())),
        ("offset".to_owned(), Value::Number(123_456)),
        ("size".to_owned(), Value::Number(4096)),
        ("stored_length".to_owned(), Value::Number(2048)),
        ("header_length".to_owned(), Value::Number(512)),
        ("checksum".to_owned(), Value::Number(0x1234_5678)),
        ("timestamp".to_owned(), Value::Number(1_700_000_000_000)),
        ("state".to_owned(), Value::Text("live".into())),
    ]);
    store.put(Table::MetaMail, key, item, Condition(vec![Check::Absent])).await.unwrap();
    let folder = Key { partition: mailbox.into(), sort: "INBOX".into() };
    let add = vec![("version".into(), 1), ("messages".into(), 1), ("bytes".into(), 4096)];
    let update = Update { add, ..Update::default() };
    store.update(Table::Folder, folder, update, Condition::default()).await.unwrap();
}

async fn reads(store: &EmbeddedStore) {
    let folder = Key { partition: "box16-3".into(), sort: "INBOX".into() };
    let start = Instant::now();
    for _ in 0..20_000 {
        store.get(Table::Folder, &folder, Consistency::Strong).await.unwrap();
    }
    println!("a point read takes {:?}", start.elapsed() / 20_000);
    let query = Query {
        table: Table::MetaMail,
        partition: "box16-3".into(),
        after: String::new(),
        before: None,
        limit: 1000,
        consistency: Consistency::Strong,
    };
    let start = Instant::now();
    let mut items = 0;
    for _ in 0..50 {
        items = store.query(&query).await.unwrap().items.len();
    }
    println!("a query of {items} items takes {:?}", start.elapsed() / 50);
}

fn resident_kb() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.map_or_else(|| "?".to_owned(), |line| line.trim().trim_end_matches(" kB").to_owned())
}
