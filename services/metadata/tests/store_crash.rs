//! What the embedded store answered survives SIGKILL at any moment.
//!
//! The test starts itself again as a child that writes and says on its standard output what was answered; kills it;
//! and looks.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panic")]

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use puro_metadata::store::{
    Check, Condition, Consistency, Item, ItemStore, Key, Table, Update, Value,
    embedded::{EmbeddedOptions, EmbeddedStore},
};

const FOLDER: &str = "PURO_TEST_CRASH_FOLDER";
const FIRST: &str = "PURO_TEST_CRASH_FIRST";
const ROUNDS: u64 = 12;
const WRITERS: u64 = 8;

fn mail(n: u64) -> Key {
    Key { partition: format!("box{}", n % WRITERS), sort: format!("{n:012}") }
}

fn counter(writer: u64) -> Key {
    Key { partition: "counters".into(), sort: format!("{writer}") }
}

fn body(n: u64) -> Item {
    Item::from([("b".to_owned(), Value::Text(format!("{n}/").repeat(40)))])
}

/// Writes until it is killed: a mail item, then the writer's counter; prints `n` when both were answered.
#[test]
#[ignore = "the child that the test below starts and kills"]
fn child() {
    let (Some(folder), Ok(first)) = (std::env::var_os(FOLDER), std::env::var(FIRST)) else {
        panic!("only the crash test starts this");
    };
    let first: u64 = first.parse().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let store = EmbeddedStore::open(Path::new(&folder), EmbeddedOptions::default()).unwrap();
        let store = Arc::new(store);
        let mut tasks = tokio::task::JoinSet::new();
        for writer in 0..WRITERS {
            let store = Arc::clone(&store);
            tasks.spawn(async move {
                for n in (0..).map(|step| first + writer + step * WRITERS) {
                    let absent = Condition(vec![Check::Absent]);
                    store.put(Table::MetaMail, mail(n), body(n), absent).await.unwrap();
                    let add = Update { add: vec![("n".into(), 1)], ..Update::default() };
                    store.update(Table::Folder, counter(writer), add, Condition::default()).await.unwrap();
                    // One write, so that the parent never reads half a line of a living child.
                    std::io::stdout().write_all(format!("answered {n}\n").as_bytes()).unwrap();
                }
            });
        }
        tasks.join_all().await;
    });
}

fn start(folder: &Path, first: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "child", "--nocapture"])
        .env(FOLDER, folder)
        .env(FIRST, first.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn every_answered_write_survives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let mut answered = Vec::new();
    for round in 0..ROUNDS {
        // Numbers of a round are its own; the moment of the kill differs from round to round.
        let mut child = start(folder.path(), round * 10_000_000);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let wanted = answered.len() + 1 + usize::try_from(round * round * 37 % 1500).unwrap();
        let number =
            |line: std::io::Result<String>| line.ok()?.split("answered ").nth(1)?.parse::<u64>().ok();
        while answered.len() < wanted {
            let line = lines.next().expect("the child writes until it is killed");
            answered.extend(number(line));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it printed between our decision and its death was answered as well.
        answered.extend(lines.filter_map(number));
        look(folder.path(), &answered).await;
    }
    assert!(answered.len() > 1000, "only {} writes", answered.len());
}

async fn look(folder: &Path, answered: &[u64]) {
    let store = EmbeddedStore::open(folder, EmbeddedOptions::default()).unwrap();
    for n in answered {
        let found = store.get(Table::MetaMail, &mail(*n), Consistency::Strong).await.unwrap();
        assert_eq!(found, Some(body(*n)), "{n} was answered and is gone");
    }
    for writer in 0..WRITERS {
        let counted = answered.iter().filter(|n| **n % WRITERS == writer).count();
        let found = store.get(Table::Folder, &counter(writer), Consistency::Strong).await.unwrap();
        let found = found.map_or(0, |item| match item["n"] {
            Value::Number(n) => usize::try_from(n).unwrap(),
            _ => panic!("not a number"),
        });
        // A kill may fall between a write and its line: one for each round at most.
        let most = counted + usize::try_from(ROUNDS).unwrap();
        assert!((counted..=most).contains(&found), "writer {writer}: {counted} answered, {found} found");
    }
}
